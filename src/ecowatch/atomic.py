"""Write a file beside its place, fsync it and rename it: a reader sees the old file or the new one, never a part."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import StorageError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is fsynced and renamed, on failure removed.

    Raises
    ------
    StorageError
        ``CANNOT_WRITE`` with the path and the system's reason.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise StorageError("CANNOT_WRITE", path, error.strerror or str(error), "free space or permissions") from error
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
    except OSError as error:
        raise StorageError("CANNOT_WRITE", path, error.strerror or str(error), "free space or permissions") from error
    finally:
        beside.unlink(missing_ok=True)


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
        ``CANNOT_WRITE``.
    """
    with replacing(path) as beside:
        beside.write_text(text, "utf-8")
