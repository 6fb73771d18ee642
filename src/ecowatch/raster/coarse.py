"""Few pixels of a large raster: decimated, for pictures and cloud cover; sampled, for checks of its numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from affine import Affine
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.warp import reproject
from rasterio.windows import Window as RasterWindow

from ..grid import BLOCK_PX, Grid, Window
from ..objects import is_object
from .files import gdal_env, open_checked, unreadable
from .kept import own
from .layer import Layer, Pixels, Reading, footprint_mask, same_file, whole_numbers, window_over
from .read import GridReader

Array = np.ndarray[Any, Any]

_SAMPLE_BLOCKS = 4
_SAMPLE_PX = 128


def read_coarse(layers: Sequence[Layer], grid: Grid) -> Pixels:
    """Read `layers` on a coarse grid from a decimated read.

    Parameters
    ----------
    layers
        Bands of one data type.
    grid
        Target grid, much coarser than the layers; nearest neighbour.

    Raises
    ------
    SceneError
        ``RASTER_UNREADABLE`` with the file.
    """
    fill = layers[0].fill or 0
    values = np.full((len(layers), *grid.shape), fill, layers[0].dtype)
    covered = np.zeros(grid.shape, bool)
    with gdal_env():
        for first, last in same_file(layers):
            layer = layers[first]
            window = window_over(layer.grid, grid)
            if window is None:
                continue
            step = max(1, int(grid.pixel_m / layer.grid.pixel_m))
            if min(window.shape) <= step // 2:
                # A scene of which a sliver lies under the grid: the middle one of `step` pixels is not there.
                step = min(window.shape)
            data = _decimated(layers[first:last], window, step)
            scale = Affine.scale(window.shape[1] / data.shape[2], window.shape[0] / data.shape[1])
            reproject(
                data,
                values[first:last],
                src_transform=layer.grid.cropped(window).transform * scale,
                src_crs=layer.grid.crs.to_wkt(),
                src_nodata=layer.fill,
                dst_transform=grid.transform,
                dst_crs=grid.crs.to_wkt(),
                dst_nodata=fill,
                resampling=Resampling.nearest,
                num_threads=1,
            )
            covered |= _lies_within(window, layer) or footprint_mask(layer.grid, grid, grid.transform)
    return Pixels(values, covered)


def _lies_within(window: Window, layer: Layer) -> bool:
    """Whether the margin of a window of `window_over` was not cut off at any edge of the layer."""
    rows, cols = layer.grid.shape
    return window.row0 > 0 and window.col0 > 0 and window.row1 < rows and window.col1 < cols


class Sample(NamedTuple):
    """Numbers from all over a scene.

    Parameters
    ----------
    pixels
        How many there are of each band, at most.
    parts
        Arrays ``(band, row, col)``, each read when it is asked for.
    """

    pixels: int
    parts: Iterator[Array]


def sample_numbers(layers: Sequence[Layer], grid: Grid, *, max_px: int) -> Sample:
    """Return numbers from all over a scene, band by band at the same places, for statistics.

    From overviews where the file has them; else from small windows in the middle of a lattice of blocks, since a
    decimated read of a file without overviews decodes all of it.

    Parameters
    ----------
    layers
        Bands of one data type and fill.
    grid
        Grid of the finest of them.
    max_px
        Longer side of a read from overviews, pixels.
    """
    if _has_overviews(layers[0]):
        rows, cols = grid.shape
        step = -(-max(rows, cols) // max_px)
        shape = (max(1, rows // step), max(1, cols // step))
        coarse = Grid.from_parts(grid.crs, grid.transform * Affine.scale(step), shape)
        return Sample(math.prod(shape), iter([read_coarse(layers, coarse).values]))
    windows = _sample_windows(grid)
    return Sample(sum(math.prod(window.shape) for window in windows), _read_windows(layers, grid, windows))


def _read_windows(layers: Sequence[Layer], grid: Grid, windows: Sequence[Window]) -> Iterator[Array]:
    # Every block is read once: none is worth keeping.
    with GridReader(grid, Reading(cache_bytes=0)) as reader:
        for window in windows:
            yield reader.read(layers, window).values


def _sample_windows(grid: Grid) -> list[Window]:
    if max(grid.shape) <= _SAMPLE_BLOCKS * BLOCK_PX:
        return [grid.window]
    tops, lefts = (
        sorted({int(side * (i + 0.5) / _SAMPLE_BLOCKS) // BLOCK_PX * BLOCK_PX for i in range(_SAMPLE_BLOCKS)})
        for side in grid.shape
    )
    inset = (BLOCK_PX - _SAMPLE_PX) // 2
    return [
        Window(top + inset, left + inset, top + inset + _SAMPLE_PX, left + inset + _SAMPLE_PX)
        for top in tops
        for left in lefts
    ]


def _has_overviews(layer: Layer) -> bool:
    with gdal_env(), _opened(layer) as dataset:
        return bool(dataset.overviews(layer.index))


@contextmanager
def _opened(layer: Layer) -> Iterator[Any]:
    """Open the file of a layer, or take the one the thread keeps; an object of a store is asked for anew each time."""
    if is_object(layer.path):
        with open_checked(layer.path, layer.driver, layer.digest) as dataset:
            yield dataset
    else:
        # Areas lie close together: what GDAL has decoded for one of them serves the next.
        key = (layer.path, layer.digest, layer.driver)
        yield own().file(key, lambda: open_checked(layer.path, layer.driver))


def _decimated(group: Sequence[Layer], window: Window, step: int) -> Array:
    """Every `step`-th pixel of `window`, ``(band, row, col)``, from overviews or from one pass over the strips."""
    layer, indexes = group[0], [g.index for g in group]
    try:
        with _opened(layer) as dataset:
            if dataset.overviews(layer.index):
                place = RasterWindow(window.col0, window.row0, *window.shape[::-1])
                shape = tuple(max(1, side // step) for side in window.shape)
                data: Array = dataset.read(indexes, window=place, out_shape=(len(indexes), *shape))
                return whole_numbers(layer, data)
            # GDAL's own decimation decodes a block again for each of its rows: 40 times the cost of one pass.
            strips = []
            first = window.row0
            while first < window.row1:
                last = min((first // BLOCK_PX + 1) * BLOCK_PX, window.row1)
                place = RasterWindow(window.col0, first, window.shape[1], last - first)
                # The middle one of every `step` pixels, counted from the window's corner.
                offset = (step // 2 - (first - window.row0)) % step
                strip = dataset.read(indexes, window=place)[:, offset::step, step // 2 :: step]
                # A view would keep the whole strip, and in the end the whole image.
                strips.append(whole_numbers(layer, strip.copy()))
                first = last
            return np.concatenate(strips, axis=1)
    except RasterioError as error:
        raise unreadable(layer.path, error) from error
