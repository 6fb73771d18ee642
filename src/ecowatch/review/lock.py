"""One run of a review at a time, and what killed writers left: swept by whoever holds the lock.

The lock is ``flock`` on a file that nothing else opens; the kernel takes it back when its holder dies, by kill -9 too. Worker
processes are forked from a program that was started anew, not from the holder, so that none of them keeps it for a dead
coordinator. A run holds it alone; the shards of a run hold it together. Where nothing but the lock came of it, it goes with its
folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from ..atomic import storage_error
from ..errors import LockedError, StorageError

NAME = "run.lock"
_WAIT_S = 0.5
_POLL_S = 0.05


class Held(StrEnum):
    """Who holds the lock of a review."""

    NOBODY = "nobody"
    RUN = "run"
    SHARDS = "shards"


@contextmanager
def review_lock(folder: Path, *, shared: bool = False, wait_s: float = _WAIT_S) -> Iterator[None]:
    """Hold the lock of a review for the length of a ``with`` block.

    Parameters
    ----------
    folder
        ``<runs>/<review>``; made if absent.
    shared
        Together with other shards; a run or a merge holds it alone.
    wait_s
        Seconds to wait: whoever asks after the holder takes the lock for an instant, which must not refuse a run.

    Raises
    ------
    LockedError
        ``REVIEW_LOCKED``: who holds it, and since when.
    StorageError
        ``CANNOT_WRITE``, or ``NO_LOCKS`` where the file system knows none.
    """
    path = folder / NAME
    try:
        absent = [each for each in folder.parents if not each.exists()]
    except OSError as error:
        raise storage_error(path, error) from error
    try:
        handle = _acquired(path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, wait_s)
        try:
            _sign(handle, path, "shard" if shared else "run")
            yield
        finally:
            _free(handle, path)
    finally:
        for each in (folder, *absent):
            # What holds anything stays.
            with suppress(OSError):
                each.rmdir()


def holder_of(folder: Path) -> Held:
    """Tell who holds the lock of a review; takes it for an instant where nobody does.

    Parameters
    ----------
    folder
        ``<runs>/<review>``.
    """
    path = folder / NAME
    try:
        # NFS gives a lock of its own only on what is open for writing.
        handle = os.open(path, os.O_RDWR if os.access(path, os.W_OK) else os.O_RDONLY)
    except OSError:
        return Held.NOBODY
    try:
        for kind, told in ((fcntl.LOCK_EX, Held.NOBODY), (fcntl.LOCK_SH, Held.SHARDS)):
            try:
                fcntl.flock(handle, kind | fcntl.LOCK_NB)
            except OSError:
                continue
            return told
        return Held.RUN
    finally:
        os.close(handle)


def sweep_work(work: Path) -> int:
    """Remove the temporary files of killed writers from the folders of kept work; return how many.

    Only for whoever holds the lock alone: then they are nobody's. A worker of a killed coordinator that still writes loses its
    file, and with it a result that nobody asks for.

    Parameters
    ----------
    work
        ``<runs>/<review>/work``, with a folder per area and in it one per pipeline.
    """
    swept = 0
    for folder in (inner for area in _folders(work) for inner in _folders(area)):
        with os.scandir(folder) as entries:
            left = [e.path for e in entries if e.name.startswith(".") and e.is_file(follow_symlinks=False)]
        for name in left:
            Path(name).unlink(missing_ok=True)
        swept += len(left)
    return swept


def _folders(parent: str | Path) -> list[str]:
    try:
        with os.scandir(parent) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _acquired(path: Path, kind: int, wait_s: float) -> int:
    """Return an open handle that holds the lock."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            # Whoever held it last may be removing the folder just now.
            gone = isinstance(error, FileNotFoundError | FileExistsError)
            if not gone or time.monotonic() >= deadline:
                raise storage_error(path, error) from error
        else:
            if _locked(handle, path, kind, last=time.monotonic() >= deadline):
                return handle
        time.sleep(_POLL_S)


def _locked(handle: int, path: Path, kind: int, *, last: bool) -> bool:
    """Try to lock; a handle that does not hold the lock in the end is closed."""
    held = False
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
        # Its former holder may have removed it between opening and locking: then others no longer meet it.
        held = _is_at(handle, path)
    except BlockingIOError:
        if last:
            raise LockedError("REVIEW_LOCKED", path, _holder(path), "wait for it, or stop it; then run again") from None
    except OSError as error:
        remedy = "mount it with locks (Lustre: -o flock), or put 'runs' on another file system"
        raise StorageError("NO_LOCKS", path, error.strerror or str(error), remedy) from error
    finally:
        if not held:
            os.close(handle)
    return held


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _free(handle: int, path: Path) -> None:
    """Let the lock go, and its file with it where the folder holds nothing else."""
    try:
        with suppress(OSError):
            # Removed by one that holds it alone only; beside other shards this lets go and takes nothing.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(handle, path) and [*path.parent.iterdir()] == [path]:
                path.unlink()
    finally:
        os.close(handle)


def _sign(handle: int, path: Path, what: str) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    told = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": now, "what": what}, sort_keys=True)
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, told.encode(), 0)
    except OSError as error:
        raise storage_error(path, error) from error


def _holder(path: Path) -> str:
    try:
        told = json.loads(path.read_text("utf-8"))
        return f"a {told['what']} holds it: {told['host']}, process {told['pid']}, since {told['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another run holds it"
