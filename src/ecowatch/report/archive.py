"""Zip files that go between offices: written with the same bytes for the same content, read with nothing taken on trust."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..atomic import replacing
from ..errors import IntakeError

MAX_ZIP_BYTES = 2 * 2**30
_END = struct.Struct("<4sHHHHIIH")
_REMEDY = "fetch it again from the sender"
_CHUNK = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_zip(path: Path, parts: Mapping[str, bytes]) -> None:
    """Write a zip with fixed times, modes and order: the same parts give the same bytes.

    Raises
    ------
    StorageError
        ``CANNOT_WRITE``.
    """
    with replacing(path) as beside, zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as made:
        for name in sorted(parts):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            made.writestr(entry, parts[name])


@contextmanager
def opened_zip(path: Path, names: Collection[str]) -> Iterator[zipfile.ZipFile]:
    """Open a zip that must hold exactly the named regular files; nothing is unpacked by it.

    Raises
    ------
    IntakeError
        ``ZIP_INVALID`` (no zip, truncated, something behind its end), ``ZIP_CONTENT`` (other, missing or doubled names,
        links, folders, encryption) or ``FILE_TOO_LARGE``.
    """
    _check_end(path, len(names))
    try:
        with zipfile.ZipFile(path) as archive:
            _check_entries(path, archive, names)
            yield archive
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, NotImplementedError, EOFError) as error:
        if isinstance(error, IntakeError):
            raise
        raise IntakeError("ZIP_INVALID", path, str(error)[:200] or type(error).__name__, _REMEDY) from error


def _check_end(path: Path, count: int) -> None:
    """Look at the last 22 bytes before the directory is read: a directory of a million names is not worth its reading."""
    try:
        if path.is_symlink() or not path.is_file():
            raise IntakeError("ZIP_INVALID", path, "it is no regular file", "give a package file")
        size = path.stat().st_size
        with path.open("rb") as stream:
            stream.seek(max(0, size - _END.size))
            tail = stream.read(_END.size)
    except OSError as error:
        if isinstance(error, IntakeError):
            raise
        raise IntakeError("ZIP_INVALID", path, error.strerror or str(error), _REMEDY) from error
    if size > MAX_ZIP_BYTES:
        raise IntakeError("FILE_TOO_LARGE", path, f"{size} bytes", f"at most {MAX_ZIP_BYTES} bytes are read")
    if len(tail) < _END.size or tail[:4] != b"PK\5\6" or tail[-2:] != b"\0\0":
        raise IntakeError("ZIP_INVALID", path, "it does not end like a package (truncated?)", _REMEDY)
    _, disk, first, here, total, length, offset, _ = _END.unpack(tail)
    if disk or first or here != total or length + offset + _END.size != size:
        raise IntakeError("ZIP_INVALID", path, "its directory does not fit its size", _REMEDY)
    if total != count:
        raise IntakeError("ZIP_CONTENT", path, f"it holds {total} entries", f"a package holds {count}")


def _check_entries(path: Path, archive: zipfile.ZipFile, names: Collection[str]) -> None:
    entries = archive.infolist()
    found = [entry.orig_filename for entry in entries]
    if sorted(found) != sorted(names):
        odd = sorted(set(found).symmetric_difference(names)) or sorted(found)
        raise IntakeError("ZIP_CONTENT", path, f"unexpected or missing: {odd[0][:80]!r}", f"only {', '.join(names)}")
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG) or entry.is_dir():
            raise IntakeError("ZIP_CONTENT", path, f"{entry.filename} is a link or a folder", _REMEDY)
        if entry.flag_bits & 0x41 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise IntakeError("ZIP_CONTENT", path, f"{entry.filename} is encrypted or packed oddly", _REMEDY)


def read_member(archive: zipfile.ZipFile, name: str, max_bytes: int) -> bytes:
    """Return one file of an opened zip; the cap holds for what comes out, whatever the directory says.

    Raises
    ------
    IntakeError
        ``ZIP_BOMB``.
    """
    read, total = [], 0
    with archive.open(name) as stream:
        while chunk := stream.read(min(_CHUNK, max_bytes - total + 1)):
            total += len(chunk)
            if total > max_bytes:
                raise IntakeError(
                    "ZIP_BOMB", f"{archive.filename}: {name}", f"over {max_bytes} bytes come out", _REMEDY
                )
            read.append(chunk)
    return b"".join(read)
