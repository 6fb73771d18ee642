"""Read bands of checked files on an area's grid: whole lattice blocks, decoded once, warped only where they must be."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import shapely
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.features import geometry_mask
from rasterio.warp import reproject
from rasterio.windows import Window as RasterWindow

from ..errors import SceneError
from ..grid import BLOCK_PX, Grid, Window, transformed
from ..prepare import (
    ShiftField,
    field_support_px,
    nearest_by_field,
    shifted,
    shifted_by_field,
    support_px,
)
from .files import gdal_env, open_checked, reason_of

Array = np.ndarray[Any, Any]

_CACHE_BYTES = 192 * 2**20
_ALIGNED_PX = 1e-3


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


class _Placement(NamedTuple):
    """How layer pixels lie under grid pixels: layer row = (grid row + row_offset) / factor."""

    factor: int
    row_offset: int
    col_offset: int


def placement(layer_grid: Grid, grid: Grid) -> _Placement | None:
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
    return _Placement(factor, round(row_offset), round(col_offset))


class GridReader:
    """Reads layers on one grid; holds open files and recently decoded blocks, for one task in one thread.

    The lattice block of the grid is the unit that is decoded or warped. Any window is put together from whole blocks, so
    that what is read cannot depend on how an area was cut into tiles.

    Parameters
    ----------
    grid
        The area's grid.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._stack = ExitStack()
        self._open: dict[Path, Any] = {}
        self._places: dict[tuple[Path, int], _Placement | None] = {}
        self._cache: OrderedDict[tuple[Any, ...], Pixels] = OrderedDict()
        self._cached_bytes = 0

    def __enter__(self) -> Self:
        self._stack.enter_context(gdal_env())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cache.clear()
        self._stack.close()

    def read(
        self,
        layers: Sequence[Layer],
        window: Window,
        *,
        shift: ShiftField | None = None,
        categorical: bool = False,
    ) -> Pixels:
        """Read `layers` over `window` of the grid.

        Parameters
        ----------
        layers
            Bands of one data type and one fill value.
        window
            Any window, also one that reaches beyond the scene.
        shift
            The scene is sampled at places of its own georeference moved by this: the measured displacement; None for
            none. Layers that must be warped are moved by what it says of the middle of each lattice block.
        categorical
            Classes: nearest neighbour instead of cubic convolution.

        Returns
        -------
        Pixels
            Values in the layers' data type; pixels no file covers hold the fill value (0 without one).

        Raises
        ------
        SceneError
            ``RASTER_UNREADABLE`` with the file, where a block cannot be decoded.
        """
        group = tuple(layers)
        if shift is None or not all(self._place(layer) for layer in group):
            return self._assemble(group, window, shift, categorical)
        if shift.degree:
            return self._bent(group, window, shift, categorical)
        return self._moved(group, window, shift.mean_px, categorical)

    def _moved(
        self, layers: tuple[Layer, ...], window: Window, shift_px: tuple[float, float], categorical: bool
    ) -> Pixels:
        """One displacement everywhere."""
        if categorical:
            rows, cols = (math.floor(s + 0.5) for s in shift_px)
            moved = Window(window.row0 + rows, window.col0 + cols, window.row1 + rows, window.col1 + cols)
            return self._assemble(layers, moved, None, True)
        pad = support_px(shift_px)
        padded = self._assemble(layers, window.padded(pad), None, False)
        return Pixels(*shifted(*padded, shift_px=shift_px, pad_px=pad, fill=layers[0].fill))

    def _bent(self, layers: tuple[Layer, ...], window: Window, field: ShiftField, categorical: bool) -> Pixels:
        """A displacement that differs from place to place."""
        pad = field_support_px(field)
        padded = self._assemble(layers, window.padded(pad), None, categorical)
        row0, col0 = window.row0, window.col0
        if categorical:
            return Pixels(*nearest_by_field(*padded, field=field, row0=row0, col0=col0, pad_px=pad))
        fill = layers[0].fill
        return Pixels(*shifted_by_field(*padded, field=field, row0=row0, col0=col0, pad_px=pad, fill=fill))

    def _assemble(
        self, layers: tuple[Layer, ...], window: Window, shift: ShiftField | None, categorical: bool
    ) -> Pixels:
        blocks = list(_blocks_of(window))
        if len(blocks) == 1 and blocks[0] == window:
            return self._block(layers, blocks[0], shift, categorical)
        values = np.empty((len(layers), *window.shape), layers[0].dtype)
        covered: Array | None = None
        for block in blocks:
            pixels = self._block(layers, block, shift, categorical)
            common = window.intersection(block)
            assert common is not None
            target, source = common.within(window), common.within(block)
            values[:, *target] = pixels.values[:, *source]
            if pixels.covered is not None:
                covered = np.ones(window.shape, bool) if covered is None else covered
                covered[target] = pixels.covered[source]
        return Pixels(values, covered)

    def _block(self, layers: tuple[Layer, ...], block: Window, shift: ShiftField | None, categorical: bool) -> Pixels:
        key = (tuple((layer.path, layer.index) for layer in layers), block, shift)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        pixels = self._decode(layers, block, shift, categorical)
        self._cache[key] = pixels
        self._cached_bytes += pixels.values.nbytes
        while self._cached_bytes > _CACHE_BYTES and len(self._cache) > 1:
            self._cached_bytes -= self._cache.popitem(last=False)[1].values.nbytes
        return pixels

    def _decode(self, layers: tuple[Layer, ...], block: Window, shift: ShiftField | None, categorical: bool) -> Pixels:
        fill = layers[0].fill or 0
        values = np.full((len(layers), *block.shape), fill, layers[0].dtype)
        covered: Array | None = None
        for first, last in same_file(layers):
            group = layers[first:last]
            place = self._place(group[0])
            try:
                if place is None:
                    part: Array | None = self._warp(group, block, shift, categorical, values[first:last])
                elif shift is not None:
                    # It shares a read with layers that must be warped, and is moved as it would be without them.
                    values[first:last], part = self.read(group, block, shift=shift, categorical=categorical)
                else:
                    part = self._copy(group, block, place, values[first:last])
            except (RasterioError, CPLE_BaseError) as error:
                raise SceneError(
                    "RASTER_UNREADABLE", group[0].path, reason_of(error), "fetch the file again"
                ) from error
            if part is not None:
                covered = part if covered is None else covered & part
        return Pixels(values, covered)

    def _place(self, layer: Layer) -> _Placement | None:
        key = (layer.path, layer.index)
        if key not in self._places:
            self._places[key] = placement(layer.grid, self._grid)
        return self._places[key]

    def _dataset(self, layer: Layer) -> Any:
        if layer.path not in self._open:
            self._open[layer.path] = self._stack.enter_context(open_checked(layer.path, layer.driver))
        return self._open[layer.path]

    def _copy(self, group: Sequence[Layer], block: Window, place: _Placement, out: Array) -> Array | None:
        factor = place.factor
        on_layer = Window(
            block.row0 + place.row_offset,
            block.col0 + place.col_offset,
            block.row1 + place.row_offset,
            block.col1 + place.col_offset,
        )
        rows, cols = group[0].grid.shape
        common = on_layer.intersection(Window(0, 0, rows * factor, cols * factor))
        if common is None:
            return np.zeros(block.shape, bool)
        row0, col0 = common.row0 // factor, common.col0 // factor
        row1, col1 = -(-common.row1 // factor), -(-common.col1 // factor)
        window = RasterWindow(col0, row0, col1 - col0, row1 - row0)
        indexes = [layer.index for layer in group]
        if common == on_layer and factor == 1:
            if group[0].quantum is None:
                self._dataset(group[0]).read(indexes, window=window, out=out)
            else:
                out[:] = whole_numbers(group[0], self._dataset(group[0]).read(indexes, window=window))
            return None
        data = whole_numbers(group[0], self._dataset(group[0]).read(indexes, window=window))
        fine = data.repeat(factor, axis=1).repeat(factor, axis=2)
        target = common.within(on_layer)
        out[:, *target] = fine[:, *common.within(Window(row0 * factor, col0 * factor, row1 * factor, col1 * factor))]
        if common == on_layer:
            return None
        covered = np.zeros(block.shape, bool)
        covered[target] = True
        return covered

    def _warp(
        self,
        group: Sequence[Layer],
        block: Window,
        shift: ShiftField | None,
        categorical: bool,
        out: Array,
    ) -> Array:
        # The measured shift is folded into the target transform: position and warp in one interpolation.
        shift_px = (0.0, 0.0) if shift is None else shift.around(block.row0, block.col0, BLOCK_PX)
        target = self._grid.cropped(block)
        transform = target.transform * Affine.translation(shift_px[1], shift_px[0])
        covered = footprint_mask(group[0].grid, target, transform)
        if not covered.any():
            return covered
        layer = group[0]
        reach = math.ceil(max(map(abs, shift_px))) + 4
        source = window_over(layer.grid, self._grid.cropped(block.padded(reach)))
        if source is None:
            return np.zeros_like(covered)
        window = RasterWindow(source.col0, source.row0, *source.shape[::-1])
        reproject(
            whole_numbers(layer, self._dataset(layer).read([g.index for g in group], window=window)),
            out,
            src_transform=layer.grid.cropped(source).transform,
            src_crs=layer.grid.crs.to_wkt(),
            src_nodata=layer.fill,
            dst_transform=transform,
            dst_crs=target.crs.to_wkt(),
            dst_nodata=layer.fill or 0,
            resampling=Resampling.nearest if categorical else Resampling.cubic,
            num_threads=1,
        )
        return covered


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


def _blocks_of(window: Window) -> Iterator[Window]:
    for row in range(window.row0 // BLOCK_PX, -(-window.row1 // BLOCK_PX)):
        for col in range(window.col0 // BLOCK_PX, -(-window.col1 // BLOCK_PX)):
            yield Window(row * BLOCK_PX, col * BLOCK_PX, (row + 1) * BLOCK_PX, (col + 1) * BLOCK_PX)


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
    footprint = transformed(dense, layer_grid.crs, target.crs, frozenset({"EPSG:4326=EPSG:4490"}))
    result: Array = geometry_mask([footprint], target.shape, transform, invert=True)
    return result


def window_over(layer_grid: Grid, grid: Grid) -> Window | None:
    """Return the pixels of a layer that lie under `grid`, with a margin; None where there are none."""
    outline = shapely.segmentize(shapely.box(*grid.bounds), max(grid.shape) * max(grid.pixel_size) / 16)
    box = transformed(outline, grid.crs, layer_grid.crs, frozenset({"EPSG:4326=EPSG:4490"})).bounds
    col0, row0 = ~layer_grid.transform * (box[0], box[3])
    col1, row1 = ~layer_grid.transform * (box[2], box[1])
    if not np.isfinite([col0, row0, col1, row1]).all():
        return None
    window = Window(math.floor(row0) - 3, math.floor(col0) - 3, math.ceil(row1) + 3, math.ceil(col1) + 3)
    return window.intersection(layer_grid.window)
