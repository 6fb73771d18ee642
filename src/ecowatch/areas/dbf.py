"""The text encoding of a shapefile, told from the bytes of its table.

Without a ``.cpg`` file GDAL takes the text for ISO 8859-1, and 祁连山 becomes ÆîÁ¬É½. The language byte of the header does not
help: Chinese systems write "ANSI" there. The text itself decides: UTF-8 is so strict that GBK text does not pass for it.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import BoundaryError

_MAX_BYTES = 64 * 2**20
_CANDIDATES = ("UTF-8", "GB18030")


def text_encoding(shp: Path) -> str | None:
    """Return the encoding of a shapefile's text, or None where its ``.cpg`` file tells it.

    Parameters
    ----------
    shp
        The ``.shp`` file; its ``.dbf`` lies beside it.

    Raises
    ------
    BoundaryError
        ``TEXT_ENCODING`` where the text is neither UTF-8 nor GB18030, ``VECTOR_UNREADABLE`` for a broken table.
    """
    if any(shp.with_suffix(suffix).is_file() for suffix in (".cpg", ".CPG")):
        return None
    texts = set(_texts(shp.with_suffix(".dbf")))
    for encoding in _CANDIDATES:
        if _decodes(texts, encoding):
            return encoding
    raise BoundaryError(
        "TEXT_ENCODING",
        shp,
        "the text of the .dbf is neither UTF-8 nor GB18030",
        "name it: encoding = 'cp1252' or the like",
    )


def check_row_counts(shp: Path) -> None:
    """Refuse a shapefile whose index and table tell different numbers of rows.

    Raises
    ------
    BoundaryError
        ``VECTOR_UNREADABLE`` with both numbers.
    """
    shapes = (shp.with_suffix(".shx").stat().st_size - 100) // 8
    with shp.with_suffix(".dbf").open("rb") as stream:
        rows = struct.unpack("<I", _header(stream.read(32), shp)[4:8])[0]
    if shapes != rows:
        raise BoundaryError(
            "VECTOR_UNREADABLE",
            shp,
            f"{shapes} shapes in the .shx but {rows} rows in the .dbf",
            "copy all its parts again",
        )


def _header(head: bytes, where: Path) -> bytes:
    if len(head) < 32:
        raise BoundaryError("VECTOR_UNREADABLE", where, "the .dbf ends within its header", "copy all its parts again")
    return head


def _texts(dbf: Path) -> Iterator[tuple[bytes, bool]]:
    """Yield names and text values as (bytes, may be cut); a value that fills its field may end within a character."""
    with dbf.open("rb") as stream:
        data = stream.read(_MAX_BYTES)
    start, width = struct.unpack("<HH", _header(data, dbf)[8:12])
    columns: list[tuple[int, int]] = []
    offset = 1
    for position in range(32, min(start, len(data)) - 31, 32):
        field = data[position : position + 32]
        if field[0] == 0x0D:
            break
        name = field[:11].split(b"\0")[0]
        yield name, len(name) >= 10
        if field[11:12] == b"C":
            columns.append((offset, field[16]))
        offset += field[16]
    for row in range(start, len(data) - width + 1, max(width, 1)):
        for column, length in columns:
            value = data[row + column : row + column + length].rstrip(b" \0")
            yield value, len(value) == length


def _decodes(texts: Iterable[tuple[bytes, bool]], encoding: str) -> bool:
    try:
        for value, cut in texts:
            codecs.getincrementaldecoder(encoding)().decode(value, final=not cut)
    except UnicodeDecodeError:
        return False
    return True
