"""The one door in: a file from outside is checked here, in pure Python, before anything opens it.

GDAL chooses a driver by content, so a text file called ``scene.tif`` may make it read other files or call a server. Here a
file must be a regular one under a configured root, below a size limit, of a kind known by its first bytes and allowed
where it is used; the driver that may open it is named. Sidecars (``.aux.xml``, ``.ovr``, ``.msk``, world files) are not
looked at.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree
from xml.parsers import expat

from .digests import file_digests
from .errors import IntakeError
from .objects import ObjectStream, is_object, object_state, read_object, url_of
from .tiff import check_tiff, check_tiff_stream

MAX_TEXT_BYTES = 16 * 2**20
MAX_JSON_DEPTH = 64


class FileKind(StrEnum):
    """What a file is, told from its first bytes; the value is the GDAL driver where there is one."""

    TIFF = "GTiff"
    JP2 = "JP2OpenJPEG"
    GPKG = "GPKG"
    SHAPEFILE = "ESRI Shapefile"
    FILEGDB = "OpenFileGDB"
    GEOJSON = "GeoJSON"
    PARQUET = "Parquet"
    XML = "xml"
    TEXT = "text"


RASTER_KINDS = frozenset({FileKind.TIFF, FileKind.JP2})
VECTOR_KINDS = frozenset({FileKind.GPKG, FileKind.SHAPEFILE, FileKind.FILEGDB, FileKind.GEOJSON})

# Parts of a shapefile that change what is read; each is checked and digested with the main file.
_SHAPEFILE_PARTS = (".shp", ".shx", ".dbf", ".prj", ".cpg")


@dataclass(frozen=True)
class Admitted:
    """A checked file: its real path, what it is, its size in bytes and the SHA-256 of its content.

    Of an object in a store, `digest` is the store's word for its content: made of ETag, size and version.
    """

    path: Path
    kind: FileKind
    size_bytes: int
    digest: str


def admit(
    path: Path,
    *,
    roots: Sequence[Path],
    kinds: Collection[FileKind],
    max_bytes: int = 64 * 2**30,
) -> Admitted:
    """Check one file from outside and return what may be opened.

    Parameters
    ----------
    path
        The file, or the folder of a file geodatabase.
    roots
        Folders under which input may lie; links are followed first.
    kinds
        What is acceptable at this place.
    max_bytes
        Larger files are refused.

    Raises
    ------
    IntakeError
        ``FILE_MISSING``, ``OUTSIDE_ROOTS``, ``NOT_A_FILE``, ``FILE_EMPTY``, ``FILE_TOO_LARGE``, ``FILE_KIND``,
        ``RASTER_*`` (from the structure check of TIFF files), ``FILE_UNREADABLE`` or ``FILE_CHANGING``.
    """
    return admit_all([path], roots=roots, kinds=kinds, max_bytes=max_bytes)[0]


def admit_all(
    paths: Sequence[Path],
    *,
    roots: Sequence[Path],
    kinds: Collection[FileKind],
    max_bytes: int = 64 * 2**30,
) -> list[Admitted]:
    """Check several files: all of them before any is read whole, then their digests by a thread per core.

    Parameters
    ----------
    paths, roots, kinds, max_bytes
        As for `admit`.

    Raises
    ------
    IntakeError
        As `admit`, for the first file it happens to.
    """
    checked = [(_checked_object if is_object(path) else _checked)(path, roots, kinds, max_bytes) for path in paths]
    digests = _digests_of([part for one in checked for part in one.parts])
    return [
        Admitted(one.path, one.kind, one.size_bytes, one.identity or _joined([(p, digests[p]) for p in one.parts]))
        for one in checked
    ]


class _Checked(NamedTuple):
    """A file that may be read: its real path, what it is, the files it consists of and their bytes."""

    path: Path
    kind: FileKind
    parts: list[Path]
    size_bytes: int
    identity: str = ""


def _checked(path: Path, roots: Sequence[Path], kinds: Collection[FileKind], max_bytes: int) -> _Checked:
    real = resolve_under(path, roots)
    try:
        kind = _kind_of(real)
        parts = _parts_of(real, kind)
        size = sum(part.stat().st_size for part in parts)
        _check_use(path, kind, _describe(real, kind), size, kinds, max_bytes)
        if kind is FileKind.TIFF:
            check_tiff(real)
        return _Checked(real, kind, parts, size)
    except IntakeError:
        raise
    except OSError as error:
        raise _unreadable(path, error) from error


def _check_use(
    path: object, kind: FileKind, described: str, size: int, kinds: Collection[FileKind], max_bytes: int
) -> None:
    if kind not in kinds:
        remedy = f"give one of: {', '.join(sorted(k.value for k in kinds))}"
        raise IntakeError("FILE_KIND", path, f"the content is {described}", remedy)
    if size > max_bytes:
        raise IntakeError("FILE_TOO_LARGE", path, f"{size} bytes", f"at most {max_bytes} bytes are read")


# What is read of objects: single files whose head tells what they are.
_OBJECT_KINDS = frozenset({FileKind.TIFF, FileKind.JP2, FileKind.GEOJSON})


def _checked_object(path: Path, roots: Sequence[Path], kinds: Collection[FileKind], max_bytes: int) -> _Checked:
    """Check an object by its head: nothing is read that is not needed."""
    if not any(is_object(root) and path.is_relative_to(root) for root in roots):
        raise IntakeError("OUTSIDE_ROOTS", url_of(path), "it lies under none of the input roots", "add it to 'roots'")
    if FileKind.GPKG in kinds:
        raise IntakeError(
            "FILE_KIND", url_of(path), "polygons are not read from a store", "give a file of this machine"
        )
    state = object_state(path)
    if not state.size_bytes:
        raise IntakeError("FILE_EMPTY", url_of(path), "0 bytes", "fetch it again")
    stream = ObjectStream(path, state)
    head = stream.read(512)
    kind = _kind_of_head(head)
    described = kind.value if kind is not FileKind.TEXT else "none of the known formats"
    _check_use(url_of(path), kind, described, state.size_bytes, _OBJECT_KINDS & set(kinds), max_bytes)
    if kind is FileKind.TIFF:
        stream.seek(0)
        check_tiff_stream(stream, url_of(path), state.size_bytes)
    return _Checked(path, kind, [], state.size_bytes, state.identity)


def check_unchanged(path: Path, digest: str) -> None:
    """See that an object is still the one that was admitted; files of this machine are not asked.

    Raises
    ------
    IntakeError
        ``FILE_CHANGING``.
    """
    if is_object(path) and object_state(path).identity != digest:
        raise IntakeError("FILE_CHANGING", url_of(path), "it was replaced since the run began", "run again")


def _digests_of(parts: Sequence[Path]) -> dict[Path, str]:
    try:
        return dict(zip(parts, file_digests(parts), strict=True))
    except IntakeError:
        raise
    except OSError as error:
        raise _unreadable(error.filename, error) from error


def _unreadable(path: object, error: OSError) -> IntakeError:
    return IntakeError("FILE_UNREADABLE", path, error.strerror or str(error), "check the permissions")


def _joined(digests: Sequence[tuple[Path, str]]) -> str:
    """One digest of the parts of a file."""
    if len(digests) == 1:
        return digests[0][1]
    return hashlib.sha256("".join(f"{part.suffix}{digest}" for part, digest in digests).encode()).hexdigest()


def resolve_under(path: Path, roots: Sequence[Path]) -> Path:
    """Return the real path of a file or folder that lies under one of `roots`.

    Raises
    ------
    IntakeError
        ``FILE_MISSING`` or ``OUTSIDE_ROOTS``.
    """
    if "\0" in str(path):
        raise IntakeError("FILE_MISSING", repr(str(path)), "the name holds a NUL byte", "give a plain path")
    real = Path(os.path.realpath(path))
    if not real.exists():
        raise IntakeError("FILE_MISSING", path, "no such file", "check the path")
    if not any(real.is_relative_to(os.path.realpath(root)) for root in roots if not is_object(root)):
        raise IntakeError(
            "OUTSIDE_ROOTS",
            path,
            f"it lies at {real}, under none of the input roots",
            "add its folder to 'roots'",
        )
    return real


def _kind_of(real: Path) -> FileKind:
    if real.is_dir():
        if (real / "a00000001.gdbtable").is_file():
            return FileKind.FILEGDB
        raise IntakeError("NOT_A_FILE", real, "it is a folder", "give a file, or a file geodatabase")
    if not real.is_file():
        raise IntakeError("NOT_A_FILE", real, "it is a device, pipe or socket", "give a regular file")
    with real.open("rb") as stream:
        head = stream.read(512)
    if not head:
        raise IntakeError("FILE_EMPTY", real, "0 bytes", "fetch it again")
    return _kind_of_head(head)


def _kind_of_head(head: bytes) -> FileKind:
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return FileKind.TIFF
    if head[:12] == b"\0\0\0\x0cjP  \r\n\x87\n" or head[:4] == b"\xffO\xffQ":
        return FileKind.JP2
    if head[:16] == b"SQLite format 3\0":
        return FileKind.GPKG
    if head[:4] == b"PAR1":
        return FileKind.PARQUET
    if head[:4] == b"\0\0\x27\x0a":
        return FileKind.SHAPEFILE
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:1] in (b"{", b"["):
        return FileKind.GEOJSON
    if text[:1] == b"<":
        return FileKind.XML
    return FileKind.TEXT


def _describe(real: Path, kind: FileKind) -> str:
    if kind is FileKind.XML:
        with real.open("rb") as stream:
            head = stream.read(64).lstrip().lower()
        if head.startswith((b"<!doctype html", b"<html")):
            return "an HTML page (a login page saved under this name?)"
        return "XML"
    return "none of the known formats" if kind is FileKind.TEXT else kind.value


def _parts_of(real: Path, kind: FileKind) -> list[Path]:
    if kind is FileKind.SHAPEFILE:
        beside = {p.suffix.lower(): p for p in sorted(real.parent.glob(f"{glob.escape(real.stem)}.*")) if p.is_file()}
        missing = [real.stem + suffix for suffix in _SHAPEFILE_PARTS[1:3] if suffix not in beside]
        if missing:
            raise IntakeError("SHAPEFILE_INCOMPLETE", real, f"{', '.join(missing)} is missing", "copy all its parts")
        return [beside[suffix] for suffix in _SHAPEFILE_PARTS if suffix in beside]
    if kind is FileKind.FILEGDB:
        return sorted(p for p in real.iterdir() if p.is_file() and not p.name.endswith(".lock"))
    return [real]


def read_json(admitted: Admitted) -> Any:
    """Parse a JSON file; duplicate keys, NaN, too deep nesting and more than 16 MB are refused.

    Raises
    ------
    IntakeError
        ``JSON_INVALID`` with the reason.
    """
    text = read_text(admitted)
    try:
        value = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = str(error) or "nested too deeply"
        raise IntakeError("JSON_INVALID", admitted.path, reason, "repair the file") from error
    if _depth(value) > MAX_JSON_DEPTH:
        raise IntakeError("JSON_INVALID", admitted.path, f"nested deeper than {MAX_JSON_DEPTH}", "repair the file")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(f"key {twice[0]!r} stands twice in one object")
    return result


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _depth(value: Any) -> int:
    level, front = 0, [value]
    while front:
        level += 1
        if level > MAX_JSON_DEPTH:
            break
        children: list[Any] = []
        for item in front:
            children.extend(item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
        front = children
    return level


def read_xml(admitted: Admitted) -> ElementTree.Element:
    """Parse an XML file without a document type: no DTD, no entities of its own, at most 16 MB.

    Raises
    ------
    IntakeError
        ``XML_INVALID`` with the reason.
    """
    text = read_text(admitted).encode()
    gate = expat.ParserCreate()
    gate.StartDoctypeDeclHandler = _refuse_doctype
    try:
        # The gate sees the text first: no entity is expanded and nothing is fetched.
        gate.Parse(text, True)
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, expat.ExpatError, ValueError) as error:
        raise IntakeError("XML_INVALID", admitted.path, str(error), "fetch the product again") from error


def _refuse_doctype(*_: object) -> None:
    raise ValueError("it declares a document type (DTD)")


def read_text(admitted: Admitted) -> str:
    """Read a UTF-8 text file of at most 16 MB.

    Raises
    ------
    IntakeError
        ``FILE_TOO_LARGE`` or ``TEXT_ENCODING``.
    """
    if admitted.size_bytes > MAX_TEXT_BYTES:
        raise IntakeError(
            "FILE_TOO_LARGE",
            admitted.path,
            f"{admitted.size_bytes} bytes",
            f"at most {MAX_TEXT_BYTES} bytes of text",
        )
    try:
        if is_object(admitted.path):
            return _object_text(admitted)
        return admitted.path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise IntakeError("TEXT_ENCODING", admitted.path, str(error), "save it as UTF-8") from error


def _object_text(admitted: Admitted) -> str:
    state = object_state(admitted.path)
    if state.identity != admitted.digest:
        raise IntakeError("FILE_CHANGING", url_of(admitted.path), "it was replaced while it was read", "run again")
    return read_object(admitted.path, state).decode("utf-8-sig")
