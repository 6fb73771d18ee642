"""Write a file beside its place, fsync it and rename it: a reader sees the old file or the new one, never a part."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from .errors import EcowatchError, StorageError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FULL_WORDS = ("no space left", "disk is full", "quota exceeded")
# What a write through SQLite leaves beside its file where it was broken off.
_JOURNALS = ("-journal", "-wal", "-shm")


def storage_error(path: Path, error: Exception) -> StorageError:
    """Return the coded error of a write that failed: a full disk is told apart, since the remedy is another.

    Parameters
    ----------
    path
        What was to be written.
    error
        What the system or a library said; a library's words are searched for a full disk.

    Returns
    -------
    StorageError
        ``DISK_FULL`` or ``CANNOT_WRITE``.
    """
    number = error.errno if isinstance(error, OSError) else None
    told = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if number in _FULL or any(words in told.lower() for words in _FULL_WORDS):
        return StorageError("DISK_FULL", path, told, "free space, then run again; finished work is kept")
    return StorageError("CANNOT_WRITE", path, told, "free space or permissions")


def lost_error(path: Path, error: OSError) -> StorageError:
    """Return the coded error of a finished result that is not there any more, or cannot be read: ``KEPT_LOST``."""
    finding = f"a finished result cannot be read any more: {error.strerror or error}"
    remedy = "let nobody touch 'work' while a review is under way, then run again; what is left of it is kept"
    return StorageError("KEPT_LOST", path, finding, remedy)


def damaged_error(path: Path, error: Exception) -> StorageError:
    """Take away a finished result that cannot be understood, and return its coded error: ``KEPT_DAMAGED``."""
    with suppress(OSError):
        path.unlink()
    finding = f"a finished result was damaged and has been removed: {type(error).__name__} {error}"
    return StorageError("KEPT_DAMAGED", path, finding, "run again: it is computed anew, all others are kept")


def sqlite_uri(path: Path, mode: str = "ro", *, immutable: bool = False) -> str:
    """Return the address by which SQLite opens a file, whatever stands in its name.

    Parameters
    ----------
    path
        The file.
    mode
        ``ro``, ``rw`` or ``rwc``.
    immutable
        Nobody writes to it: neither locks nor journals are looked for.
    """
    return f"file:{quote(str(path))}?mode={mode}{'&immutable=1' if immutable else ''}"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is fsynced and renamed, on failure removed.

    Raises
    ------
    StorageError
        ``DISK_FULL`` or ``CANNOT_WRITE`` with the path and the system's reason.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise storage_error(path, error) from error
    beside = Path(name)
    try:
        yield beside
        with beside.open("rb") as stream:
            os.fsync(stream.fileno())
        beside.chmod(0o644)
        beside.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    except EcowatchError:
        # Some of the family are OSErrors too; what they say must not be said anew.
        raise
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        for left in (beside, *(Path(f"{beside}{suffix}") for suffix in _JOURNALS)):
            left.unlink(missing_ok=True)


def sweep(path: Path, *, older_s: float = 86_400.0) -> None:
    """Remove what killed writers of `path` left beside it; younger files may be another writer's, and stay.

    Parameters
    ----------
    path
        The file that `replacing` writes.
    older_s
        Age in seconds from which a temporary file is nobody's.
    """
    for left in path.parent.glob(f".{path.stem}.*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > older_s:
                left.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file as a whole.

    Raises
    ------
    StorageError
        ``DISK_FULL`` or ``CANNOT_WRITE``.
    """
    with replacing(path) as beside:
        beside.write_text(text, "utf-8")
