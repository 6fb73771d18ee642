"""A second reader for plainly tiled GeoTIFF: raw tiles, decoded without GDAL's block cache; the same bits, sooner.

GDAL spends a third of its decoding time on copies between its cache and the caller. Whatever is not plain, and every tile in
which anything is odd, is left to the first reader, which also has the last word on what is wrong with it.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..grid import Window
from ..tiff import TileIndex, read_tile_index
from ._kernels import spread_bands

Array = np.ndarray[Any, Any]


class _Scratch(threading.local):
    """Room for one coded and one decoded tile, of each thread: with fresh memory the system would clear it every time."""

    def __init__(self) -> None:
        self._coded, self._decoded = np.empty(0, np.uint8), np.empty(0, np.uint8)

    def coded(self, size: int) -> Array:
        """Return so many bytes, with any content; they hold until it is asked for again."""
        if size > self._coded.size:
            self._coded = np.empty(size, np.uint8)
        return self._coded[:size]

    def decoded(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an array, with any content; it holds until it is asked for again."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size > self._decoded.size:
            self._decoded = np.empty(size, np.uint8)
        tile: Array = self._decoded[:size].view(dtype).reshape(shape)
        return tile


_SCRATCH = _Scratch()


def require_fast() -> None:
    """Refuse the fast reader where its decoder is not installed.

    Raises
    ------
    ConfigError
        ``EXTRA_MISSING``.
    """
    if find_spec("imagecodecs") is None:
        raise ConfigError(
            "EXTRA_MISSING", "reader", "'fast' needs imagecodecs", "install ecowatch[fast], or set reader = 'rasterio'"
        )


class TileReader:
    """Reads windows of one plainly tiled TIFF; for one thread.

    Parameters
    ----------
    path
        The file.
    index
        Where its tiles lie.
    """

    def __init__(self, path: Path, index: TileIndex) -> None:
        self._index = index
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        codec: Callable[..., Any] | None = None
        if index.codec != "none":
            codec = getattr(import_module("imagecodecs"), f"{index.codec}_decode")
        self._decode = codec
        self._shape = (*index.tile, index.bands if index.interleaved else 1)

    @classmethod
    def of(cls, path: Path) -> TileReader | None:
        """Return a reader of `path`, None where the file is not plain enough."""
        index = read_tile_index(path)
        return None if index is None else cls(path, index)

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)

    def read(self, indexes: Sequence[int], window: Window, out: Array) -> bool:
        """Fill `out` with a window of the image.

        Parameters
        ----------
        indexes
            Band numbers, from 1.
        window
            Pixels wanted, all within the image.
        out
            ``(band, row, col)`` of the file's integers.

        Returns
        -------
        bool
            False where a tile is left out of the file or does not decode to its full length; `out` is then undefined.
        """
        height, width = self._index.tile
        if out.dtype != self._index.dtype:
            return False
        for row in range(window.row0 // height, -(-window.row1 // height)):
            for col in range(window.col0 // width, -(-window.col1 // width)):
                place = Window(row * height, col * width, (row + 1) * height, (col + 1) * width)
                common = place.intersection(window)
                assert common is not None
                part = out[:, *common.within(window)]
                if not self._spread(indexes, row, col, common.row0 - place.row0, common.col0 - place.col0, part):
                    return False
        return True

    def _spread(self, indexes: Sequence[int], row: int, col: int, first_row: int, first_col: int, out: Array) -> bool:
        differenced, tile = self._index.differenced, _SCRATCH.decoded(self._shape, self._index.dtype)
        if self._index.interleaved:
            wanted = np.array(indexes, np.int64) - 1
            if not self._load(0, row, col, tile):
                return False
            spread_bands(tile, first_row, first_col, differenced, wanted, out)
            return True
        only = np.zeros(1, np.int64)
        for k, index in enumerate(indexes):
            if not self._load(index - 1, row, col, tile):
                return False
            spread_bands(tile, first_row, first_col, differenced, only, out[k : k + 1])
        return True

    def _load(self, plane: int, row: int, col: int, tile: Array) -> bool:
        length = int(self._index.lengths[plane, row, col])
        # Nothing that is coded takes twice its own room.
        if not 0 < length <= 2 * tile.nbytes:
            return False
        raw, target = _SCRATCH.coded(length), tile.reshape(-1).view(np.uint8)
        try:
            if os.preadv(self._handle, [raw.data], int(self._index.offsets[plane, row, col])) != length:
                return False
        except OSError:
            # GDAL has the last word on it, and names the file.
            return False
        if self._decode is None:
            if length != target.nbytes:
                return False
            target[:] = raw
            return True
        try:
            done = self._decode(raw, out=target)
        except Exception:  # the package has an error class of its own for every codec
            return False
        return len(done) == target.nbytes
