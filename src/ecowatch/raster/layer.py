"""What is read: bands of files, where their pixels lie on a grid, and by which reader."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely
from affine import Affine
from rasterio.features import geometry_mask

from ..grid import Grid, Window, transformed

Array = np.ndarray[Any, Any]

_ALIGNED_PX = 1e-3
_SAME_GROUND = frozenset({"EPSG:4326=EPSG:4490"})


@dataclass(frozen=True)
class Layer:
    """One band of one checked file.

    Parameters
    ----------
    path, driver, digest
        As `intake.admit` told them.
    index
        Band number in the file, from 1.
    grid
        Where its pixels lie.
    dtype
        NumPy name of its numbers.
    fill
        Number that means "no data", or None where every number is data.
    quantum
        For a file of floats: its numbers are read as whole multiples of this (int32), so that sums stay exact; NaN and
        the file's own fill become `fill`. None for integers, which are read as they are.
    file_fill
        For a file of floats: the number that means "no data" in the file itself, besides NaN.
    """

    path: Path
    driver: str
    digest: str
    index: int
    grid: Grid
    dtype: str
    fill: float | None
    quantum: float | None = None
    file_fill: float | None = None


class Pixels(NamedTuple):
    """Values ``(band, row, col)`` in the files' own numbers, and which pixels the files cover (None: all)."""

    values: Array
    covered: Array | None


class Reading(NamedTuple):
    """How files are read; cannot change a number that comes out.

    Parameters
    ----------
    fast
        Decode plainly tiled GeoTIFF without GDAL; needs the extra ``fast``.
    cache_bytes
        Decoded blocks that a reader keeps.
    """

    fast: bool = False
    cache_bytes: int = 96 * 2**20


class Placement(NamedTuple):
    """How layer pixels lie under grid pixels: layer row = (grid row + row_offset) / factor."""

    factor: int
    row_offset: int
    col_offset: int


def placement(layer_grid: Grid, grid: Grid) -> Placement | None:
    """Return how a layer lies on `grid` if its pixels coincide with (a whole number of) grid pixels, else None."""
    if layer_grid.crs != grid.crs:
        return None
    height, width = grid.pixel_size
    ratio_row, ratio_col = layer_grid.pixel_size[0] / height, layer_grid.pixel_size[1] / width
    factor = round(ratio_row)
    if factor < 1 or max(abs(ratio_row - factor), abs(ratio_col - factor)) > 1e-6 * factor:
        return None
    col, row = ~layer_grid.transform * (grid.transform.c, grid.transform.f)
    row_offset, col_offset = row * factor, col * factor
    if max(abs(row_offset - round(row_offset)), abs(col_offset - round(col_offset))) > _ALIGNED_PX:
        return None
    return Placement(factor, round(row_offset), round(col_offset))


def whole_numbers(layer: Layer, values: Array) -> Array:
    """Return what was read of a file as the layer's own integers; integers pass through."""
    if layer.quantum is None or layer.fill is None:
        return values
    known = np.isfinite(values)
    if layer.file_fill is not None:
        known &= values != layer.file_fill
    limit = np.iinfo(np.int32).max
    scaled = np.rint(np.where(known, values, 0.0).astype(np.float64) / layer.quantum)
    numbers: Array = np.where(known, np.clip(scaled, -limit, limit), layer.fill).astype(np.int32)
    return numbers


def same_file(layers: Sequence[Layer]) -> Iterator[tuple[int, int]]:
    """Yield first and last + 1 of each group of neighbouring layers of one file."""
    first = 0
    for last in range(1, len(layers) + 1):
        if last == len(layers) or layers[last].path != layers[first].path:
            yield first, last
            first = last


def footprint_mask(layer_grid: Grid, target: Grid, transform: Affine) -> Array:
    """Pixels of `target` (sampled at `transform`) whose cubic support lies inside the layer."""
    left, bottom, right, top = layer_grid.bounds
    height, width = layer_grid.pixel_size
    inner = shapely.box(left + 2 * width, bottom + 2 * height, right - 2 * width, top - 2 * height)
    dense = shapely.segmentize(inner, max(right - left, top - bottom) / 32)
    footprint = transformed(dense, layer_grid.crs, target.crs, _SAME_GROUND)
    result: Array = geometry_mask([footprint], target.shape, transform, invert=True)
    return result


def window_over(layer_grid: Grid, grid: Grid) -> Window | None:
    """Return the pixels of a layer that lie under `grid`, with a margin; None where there are none."""
    outline = shapely.segmentize(shapely.box(*grid.bounds), max(grid.shape) * max(grid.pixel_size) / 16)
    box = transformed(outline, grid.crs, layer_grid.crs, _SAME_GROUND).bounds
    col0, row0 = ~layer_grid.transform * (box[0], box[3])
    col1, row1 = ~layer_grid.transform * (box[2], box[1])
    if not np.isfinite([col0, row0, col1, row1]).all():
        return None
    window = Window(math.floor(row0) - 3, math.floor(col0) - 3, math.ceil(row1) + 3, math.ceil(col1) + 3)
    return window.intersection(layer_grid.window)
