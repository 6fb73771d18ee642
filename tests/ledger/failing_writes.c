/* A disk that fills up: preloaded before the system's library, it lets k writes pass and fails all later ones with ENOSPC,
   until it is disarmed. Only calls that can need room on the disk are counted; fsync, rename and reads are left alone.
   Built and driven by test_faults.py: arm(k) makes the k-th write and all after it fail, arm(0) none; fired() tells how many
   have failed since. kill_at(k) ends the process with SIGKILL instead, before its k-th write. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long passed, first, failed, last;

void arm(long k) {
  atomic_store(&first, 0);
  atomic_store(&passed, 0);
  atomic_store(&failed, 0);
  atomic_store(&first, k);
}

void kill_at(long k) {
  atomic_store(&last, k);
  arm(k);
}

long fired(void) { return atomic_load(&failed); }

/* Pipes and terminals never fill a disk. */
static int full(int fd) {
  struct stat told;
  long k = atomic_load(&first);
  if (k == 0 || fstat(fd, &told) != 0 || !S_ISREG(told.st_mode)) return 0;
  if (atomic_fetch_add(&passed, 1) + 1 < k) return 0;
  if (atomic_load(&last)) raise(SIGKILL);
  atomic_fetch_add(&failed, 1);
  errno = ENOSPC;
  return 1;
}

#define REAL(name, type) \
  static type real; \
  if (!real) real = (type)dlsym(RTLD_NEXT, #name)

typedef ssize_t (*write_t)(int, const void *, size_t);
ssize_t write(int fd, const void *data, size_t size) {
  REAL(write, write_t);
  return full(fd) ? -1 : real(fd, data, size);
}

typedef ssize_t (*pwrite_t)(int, const void *, size_t, off_t);
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
  REAL(pwrite, pwrite_t);
  return full(fd) ? -1 : real(fd, data, size, offset);
}

typedef ssize_t (*pwrite64_t)(int, const void *, size_t, off64_t);
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
  REAL(pwrite64, pwrite64_t);
  return full(fd) ? -1 : real(fd, data, size, offset);
}

typedef ssize_t (*writev_t)(int, const struct iovec *, int);
ssize_t writev(int fd, const struct iovec *parts, int count) {
  REAL(writev, writev_t);
  return full(fd) ? -1 : real(fd, parts, count);
}

typedef int (*ftruncate_t)(int, off_t);
int ftruncate(int fd, off_t size) {
  REAL(ftruncate, ftruncate_t);
  return full(fd) ? -1 : real(fd, size);
}

typedef int (*ftruncate64_t)(int, off64_t);
int ftruncate64(int fd, off64_t size) {
  REAL(ftruncate64, ftruncate64_t);
  return full(fd) ? -1 : real(fd, size);
}

typedef int (*fallocate_t)(int, off_t, off_t);
int posix_fallocate(int fd, off_t offset, off_t size) {
  REAL(posix_fallocate, fallocate_t);
  return full(fd) ? ENOSPC : real(fd, offset, size);
}

typedef int (*fallocate64_t)(int, off64_t, off64_t);
int posix_fallocate64(int fd, off64_t offset, off64_t size) {
  REAL(posix_fallocate64, fallocate64_t);
  return full(fd) ? ENOSPC : real(fd, offset, size);
}
