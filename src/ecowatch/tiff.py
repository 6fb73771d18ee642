"""Structure check of a TIFF file in pure Python, before GDAL sees it.

GDAL learns of a cut-off download only at the first missing block, hours into a run, and says so without the file's name.
The index of blocks tells at once, in milliseconds.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .errors import IntakeError

Array = np.ndarray[Any, Any]

MAX_PIXELS_A_SIDE = 200_000
MAX_BANDS = 1024
MAX_BLOCK_BYTES = 512 * 2**20
_MAX_ENTRIES = 4096
_MAX_BLOCKS = 1 << 26
_TYPE_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_INTEGER_FORMATS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_WIDTH, _HEIGHT, _BITS, _BANDS, _ROWS_PER_STRIP = 256, 257, 258, 277, 278
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_STRIP_OFFSETS, _STRIP_COUNTS, _TILE_OFFSETS, _TILE_COUNTS = 273, 279, 324, 325
# Grey either way, plain colours, and numbers of a palette: what a reader gives is what is stored.
_PHOTOMETRIC, _AS_STORED = 262, (0, 1, 2, 3)
_COMPRESSION, _FILL_ORDER, _PLANAR, _PREDICTOR, _SAMPLE_FORMAT = 259, 266, 284, 317, 339
_CODECS = {1: "none", 8: "deflate", 32946: "deflate", 50000: "zstd"}


class Seekable(Protocol):
    """What can be read from any offset: an open file, or an object of a store."""

    def seek(self, offset: int, /) -> int:
        """Go to an offset from the beginning."""
        ...

    def read(self, count: int, /) -> bytes:
        """Read bytes; fewer at the end."""
        ...


@dataclass(frozen=True)
class _Directory:
    """The first image directory: byte order, BigTIFF or not, and the raw entries by tag."""

    stream: Seekable
    order: str
    big: bool
    tags: dict[int, tuple[int, int, bytes]]

    def values(self, tag: int) -> tuple[int, ...]:
        """Return the integers of a tag, wherever in the file they lie."""
        kind, count, value = self.tags[tag]
        if kind not in _INTEGER_FORMATS or count > _MAX_BLOCKS:
            raise ValueError(f"tag {tag} has {count} values of type {kind}")
        width = _TYPE_BYTES[kind] * count
        if width > len(value):
            self.stream.seek(struct.unpack(self.order + ("Q" if self.big else "I"), value)[0])
            value = self.stream.read(width)
        return struct.unpack(f"{self.order}{count}{_INTEGER_FORMATS[kind]}", value[:width])

    def number(self, tag: int, default: int | None = None) -> int:
        """Return the first integer of a tag, or `default` where the tag is absent."""
        if tag not in self.tags and default is not None:
            return default
        return self.values(tag)[0]


def check_tiff(path: Path) -> None:
    """Check the first image of a TIFF or BigTIFF file: sizes within limits, every block inside the file.

    Blocks of offset and length 0 are "sparse" by GDAL's convention: they read as fill and come out as "not observed".

    Parameters
    ----------
    path
        A regular file that begins with a TIFF signature.

    Raises
    ------
    IntakeError
        ``RASTER_STRUCTURE``, ``RASTER_TOO_LARGE`` or ``RASTER_TRUNCATED``.
    """
    with path.open("rb") as stream:
        check_tiff_stream(stream, path, path.stat().st_size)


def check_tiff_stream(stream: Seekable, path: object, size_bytes: int) -> None:
    """Check a TIFF that is read through a stream, as `check_tiff` does.

    Parameters
    ----------
    stream
        Can be sought from the beginning.
    path
        Name for messages.
    size_bytes
        Bytes there are in all.

    Raises
    ------
    IntakeError
        As `check_tiff`.
    """
    try:
        directory = _read_directory(stream)
        too_large = _excess(directory)
        tiled = _TILE_OFFSETS in directory.tags
        offsets = directory.values(_TILE_OFFSETS if tiled else _STRIP_OFFSETS)
        counts = directory.values(_TILE_COUNTS if tiled else _STRIP_COUNTS)
    except (struct.error, KeyError, ValueError, IndexError, OverflowError) as error:
        raise IntakeError(
            "RASTER_STRUCTURE", path, f"its TIFF directory cannot be read ({error})", "fetch it again"
        ) from error
    if too_large:
        raise IntakeError("RASTER_TOO_LARGE", path, too_large, "cut the image into smaller files")
    _check_blocks(path, size_bytes, offsets, counts)


def _read_directory(stream: Seekable) -> _Directory:
    head = stream.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = struct.unpack(order + "H", head[2:4])[0] == 43
    stream.seek(struct.unpack(order + ("Q" if big else "I"), head[8:16] if big else head[4:8])[0])
    number = struct.unpack(order + ("Q" if big else "H"), stream.read(8 if big else 2))[0]
    if not 0 < number <= _MAX_ENTRIES:
        raise ValueError(f"{number} entries")
    entry = struct.Struct(order + ("HHQ8s" if big else "HHI4s"))
    entries = entry.iter_unpack(stream.read(entry.size * number))
    tags: dict[int, tuple[int, int, bytes]] = {}
    for tag, kind, count, value in entries:
        # Of a tag that stands there twice, libtiff takes the first: nobody may check one and read the other.
        tags.setdefault(tag, (kind, count, value))
    return _Directory(stream, order, big, tags)


def _excess(directory: _Directory) -> str | None:
    width, height = directory.number(_WIDTH), directory.number(_HEIGHT)
    bands = directory.number(_BANDS, 1)
    block_width = directory.number(_TILE_WIDTH, width)
    block_height = directory.number(_TILE_HEIGHT, min(directory.number(_ROWS_PER_STRIP, height), height))
    block_bytes = block_width * block_height * bands * max(directory.number(_BITS, 1) // 8, 1)
    if min(width, height, block_width, block_height) < 1:
        raise ValueError(f"{width} x {height} pixels in blocks of {block_width} x {block_height}")
    if max(width, height) > MAX_PIXELS_A_SIDE:
        return f"{width} x {height} pixels, more than {MAX_PIXELS_A_SIDE} a side"
    if bands > MAX_BANDS:
        return f"{bands} bands, more than {MAX_BANDS}"
    if block_bytes > MAX_BLOCK_BYTES:
        return f"one block takes {block_bytes} bytes, more than {MAX_BLOCK_BYTES}"
    return None


def _check_blocks(path: object, size: int, offsets: tuple[int, ...], counts: tuple[int, ...]) -> None:
    if len(offsets) != len(counts):
        raise IntakeError("RASTER_STRUCTURE", path, "block offsets and lengths differ in number", "fetch it again")
    beyond = sum(1 for o, c in zip(offsets, counts, strict=True) if o + c > size)
    if beyond:
        raise IntakeError(
            "RASTER_TRUNCATED",
            path,
            f"{beyond} of {len(offsets)} blocks lie beyond its {size} bytes",
            "the download was cut off; fetch it again",
        )


@dataclass(frozen=True)
class TileIndex:
    """Where the tiles of a plainly coded TIFF lie: whole unsigned or signed integers, no colour transform, no subsampling.

    Parameters
    ----------
    shape, tile
        Rows and columns of the image, and of one tile.
    bands
        Bands of the image.
    interleaved
        Whether a tile holds all bands, pixel by pixel; else one band each.
    codec
        ``none``, ``deflate`` or ``zstd``.
    differenced
        Whether rows are kept as differences (predictor 2).
    dtype
        NumPy name of the numbers.
    offsets, lengths
        int64, ``(band planes, tile row, tile column)``: where each tile begins and how many bytes it takes; length 0 where
        the file leaves it out.
    """

    shape: tuple[int, int]
    tile: tuple[int, int]
    bands: int
    interleaved: bool
    codec: str
    differenced: bool
    dtype: str
    offsets: Array
    lengths: Array


def read_tile_index(path: Path) -> TileIndex | None:
    """Return the tiles of a TIFF that is coded plainly, None where it is anything else.

    Parameters
    ----------
    path
        A file that `check_tiff` let pass.
    """
    try:
        with path.open("rb") as stream:
            directory = _read_directory(stream)
            return _tile_index(directory) if _TILE_OFFSETS in directory.tags else None
    except (struct.error, KeyError, ValueError, ArithmeticError, IndexError, OSError):
        # Whatever is odd about it, another reader will say.
        return None


def _tile_index(directory: _Directory) -> TileIndex | None:
    bands = directory.number(_BANDS, 1)
    bits, kinds = set(directory.values(_BITS)), {1}
    if _SAMPLE_FORMAT in directory.tags:
        kinds = set(directory.values(_SAMPLE_FORMAT))
    codec, predictor = _CODECS.get(directory.number(_COMPRESSION, 1)), directory.number(_PREDICTOR, 1)
    plain = bits in ({8}, {16}) and kinds in ({1}, {2}) and directory.order == "<"
    plain &= directory.number(_PHOTOMETRIC, 1) in _AS_STORED
    if not plain or codec is None or predictor not in (1, 2) or directory.number(_FILL_ORDER, 1) != 1:
        return None
    interleaved = bands == 1 or directory.number(_PLANAR, 1) == 1
    shape = directory.number(_HEIGHT), directory.number(_WIDTH)
    tile = directory.number(_TILE_HEIGHT), directory.number(_TILE_WIDTH)
    grid = (1 if interleaved else bands, -(-shape[0] // tile[0]), -(-shape[1] // tile[1]))
    offsets, lengths = (
        np.array(directory.values(tag), np.int64).reshape(grid) for tag in (_TILE_OFFSETS, _TILE_COUNTS)
    )
    dtype = f"{'u' if kinds == {1} else ''}int{bits.pop()}"
    return TileIndex(shape, tile, bands, interleaved, codec, predictor == 2, dtype, offsets, lengths)
