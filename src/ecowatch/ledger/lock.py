"""One writer at a time: a lock on a file that nothing else opens, and the name of whoever holds it.

SQLite's own lock cannot serve: any other copy of SQLite in the process drops it by closing the file (POSIX locks belong to
the process). ``flock`` on a file of its own survives that. A writer that was stopped keeps its lock; who takes over puts a new
lock file in its place and raises the fencing token in the ledger, so that the old writer's next commit is refused.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ..errors import LockedError, StorageError

_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "ceph", "9p", "afs", "beegfs", "glusterfs", "gpfs"}
)
_POLL_S = 0.1


def holder_text() -> str:
    """Return who this process is, as JSON: host, process number, start of holding."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": now}, sort_keys=True)


def check_local(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> None:
    """Refuse a network file system: locks and fsync cannot be relied on there.

    Raises
    ------
    StorageError
        ``NETWORK_DISK`` with the kind of file system.
    """
    if not mounts.exists():
        return
    entries = [line.split() for line in mounts.read_text("utf-8", "replace").splitlines()]
    real = folder.resolve()
    points = [(Path(e[1].replace("\\040", " ")), e[2]) for e in entries if len(e) > 2]
    kind = max(
        ((p, k) for p, k in points if real.is_relative_to(p)), key=lambda m: len(m[0].parts), default=(real, "")
    )[1]
    if kind in _NETWORK or kind.startswith("fuse.ssh"):
        raise StorageError(
            "NETWORK_DISK", folder, f"it lies on {kind}", "keep the ledger on a local disk and publish from it"
        )


@contextmanager
def writer_lock(path: Path, *, wait_s: float = 0.0, take_over: bool = False) -> Iterator[None]:
    """Hold the lock file `path` as the one writer.

    Parameters
    ----------
    path
        The lock file; made if absent, never deleted.
    wait_s
        Seconds to wait for another holder.
    take_over
        Replace the lock of a holder that does not answer; its commits are refused from then on.

    Raises
    ------
    LockedError
        ``LEDGER_LOCKED``: who holds it, and since when.
    StorageError
        ``CANNOT_WRITE`` or ``NETWORK_DISK``.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        check_local(path.parent)
        handle = _acquired(path, time.monotonic() + wait_s, take_over)
    except OSError as error:
        if isinstance(error, LockedError | StorageError):
            raise
        raise StorageError("CANNOT_WRITE", path, error.strerror or str(error), "free space or permissions") from error
    try:
        yield
    finally:
        os.close(handle)


def _acquired(path: Path, deadline: float, take_over: bool) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            if take_over:
                path.unlink(missing_ok=True)
                take_over = False
            elif time.monotonic() >= deadline:
                raise LockedError(
                    "LEDGER_LOCKED", path, _holder(path), "wait for it, or stop it; then run again"
                ) from None
            else:
                time.sleep(_POLL_S)
            continue
        try:
            # Another process may have put a new lock file in place between opening and locking.
            if _same_file(handle, path):
                os.ftruncate(handle, 0)
                os.pwrite(handle, holder_text().encode(), 0)
                return handle
        except OSError:
            # Else the lock would be held for as long as this process lives.
            os.close(handle)
            raise
        os.close(handle)


def _same_file(handle: int, path: Path) -> bool:
    try:
        return os.fstat(handle).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    try:
        told = json.loads(path.read_text("utf-8"))
        return f"{told['host']}, process {told['pid']}, has held it since {told['since']}"
    except (OSError, ValueError, KeyError):
        return "another writer holds it"
