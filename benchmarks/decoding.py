"""Decode-only: every raster of a pair read through rasterio as its user would, on workers that are up already.

Aligned windows of 1024 pixels, 64 MB of GDAL's block cache (more does not help aligned windows), own handles per thread or
process, arrays reused. This is the yardstick of `speed.py`: the same bytes, the same number of workers, the same kind. The same
windows through the fast reader tell what of a review with it is decoding.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from rasterio.windows import Window

from ecowatch import grid
from ecowatch.raster.tiles import TileReader

os.environ.setdefault("GDAL_CACHEMAX", "64")
WINDOW_PX = 1024
_OWN = threading.local()


class Piece(NamedTuple):
    """A row of windows of one file, and whether the fast reader reads it."""

    path: str
    row0: int
    rows: int
    fast: bool


def pieces(folder: Path, *, fast: bool) -> list[Piece]:
    """Return all that must be read of a folder's rasters, the large ones first."""
    found = []
    for path in sorted(folder.glob("*.tif"), key=lambda p: (-p.stat().st_size, p.name)):
        with rasterio.open(path) as dataset:
            height = dataset.height
        found += [Piece(str(path), row, min(WINDOW_PX, height - row), fast) for row in range(0, height, WINDOW_PX)]
    return found


def read(piece: Piece) -> int:
    """Read a row of windows, all bands; return the pixels read."""
    dataset = _dataset(piece.path)
    pixels = 0
    for col in range(0, dataset.width, WINDOW_PX):
        cols = min(WINDOW_PX, dataset.width - col)
        out = _array(dataset.count, piece.rows, cols, dataset.dtypes[0])
        if piece.fast:
            place = grid.Window(piece.row0, col, piece.row0 + piece.rows, col + cols)
            if not _OWN.tiles[piece.path].read(dataset.indexes, place, out):
                raise SystemExit(f"{piece.path} is not for the fast reader")
        else:
            dataset.read(window=Window(col, piece.row0, cols, piece.rows), out=out)
        pixels += out.size
    return pixels


def _dataset(path: str) -> Any:
    if not hasattr(_OWN, "datasets"):
        _OWN.datasets, _OWN.tiles, _OWN.arrays = {}, {}, {}
    if path not in _OWN.datasets:
        _OWN.datasets[path] = rasterio.open(path, sharing=False)
        _OWN.tiles[path] = TileReader.of(Path(path))
    return _OWN.datasets[path]


def _array(bands: int, rows: int, cols: int, dtype: str) -> np.ndarray:
    key = (bands, rows, cols, dtype)
    if key not in _OWN.arrays:
        _OWN.arrays[key] = np.empty((bands, rows, cols), dtype)
    return _OWN.arrays[key]


class Decoder(NamedTuple):
    """Workers that decode a folder."""

    pool: Executor
    work: list[Piece]

    def run(self) -> int:
        """Decode everything once."""
        return sum(self.pool.map(read, self.work))


@contextmanager
def decoder(folder: Path, kind: str, workers: int, *, fast: bool = False) -> Iterator[Decoder]:
    """Start threads or processes that decode, and let them open their files; yield what runs them."""
    processes = kind == "processes"
    made = ProcessPoolExecutor(workers, get_context("spawn")) if processes else ThreadPoolExecutor(workers)
    with made as pool:
        yield Decoder(pool, pieces(folder, fast=fast))
