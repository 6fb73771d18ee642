"""Read bands of checked files on an area's grid: whole lattice blocks, decoded once, warped only where they must be."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.warp import reproject
from rasterio.windows import Window as RasterWindow

from ..grid import BLOCK_PX, Grid, Window
from ..objects import is_object
from ..prepare import (
    ShiftField,
    field_support_px,
    nearest_by_field,
    shifted,
    shifted_by_field,
    support_px,
)
from .files import gdal_env, open_checked, unreadable
from .kept import Kept, given_up, own
from .layer import Layer, Pixels, Placement, Reading, footprint_mask, placement, same_file, whole_numbers, window_over
from .tiles import TileReader

Array = np.ndarray[Any, Any]
Found = TypeVar("Found")


class _Group(NamedTuple):
    """Layers that are read together: their files by name and content, and how they lie on the grid; None to be warped."""

    layers: tuple[Layer, ...]
    files: tuple[tuple[Any, ...], ...]
    places: tuple[Placement, ...] | None


class GridReader:
    """Reads layers on one grid; for one task in one thread, with what that thread keeps open and decoded.

    The lattice block of the grid is the unit that is decoded or warped. Any window is put together from whole blocks, so
    that what is read cannot depend on how an area was cut into tiles.

    Parameters
    ----------
    grid
        The area's grid.
    reading
        By which reader, and how much it may keep.
    """

    def __init__(self, grid: Grid, reading: Reading = Reading()) -> None:  # noqa: B008 - a frozen value
        self.grid = grid
        self.reading = reading
        self._env = gdal_env()
        self._kept = own()
        self._places: dict[tuple[Path, int], Placement | None] = {}
        self._groups: dict[tuple[int, ...], _Group] = {}
        self._keys: dict[Window, set[tuple[Any, ...]]] = {}

    def __enter__(self) -> Self:
        self._env.__enter__()
        self._kept = own()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._env.__exit__(kind, error, trace)

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
        UnavailableError
            ``STORE_UNAVAILABLE`` where the store of an object does not answer.
        """
        group = tuple(layers)
        if shift is None or self._group(group).places is None:
            return self._assemble(group, window, shift, categorical)
        if shift.degree:
            return self._bent(group, window, shift, categorical)
        return self._moved(group, window, shift.mean_px, categorical)

    def hold(self, window: Window, *, soon: bool = False) -> None:
        """Keep what is decoded of a window, of all layers read so far, when its blocks are given up.

        Parameters
        ----------
        window
            What is likely to be read once more.
        soon
            When the next row of blocks is read; else later.
        """
        for block in _blocks_of(window):
            common = window.intersection(block)
            assert common is not None
            for key in self._keys.get(block, ()):
                self._kept.hold(key, common.moved(-block.row0, -block.col0), soon=soon)

    def turn(self) -> None:
        """Tell that a tile is done: what was held for it by the one before is given up, what it held itself is kept."""
        self._kept.turn()

    def _moved(
        self, layers: tuple[Layer, ...], window: Window, shift_px: tuple[float, float], categorical: bool
    ) -> Pixels:
        """One displacement everywhere."""
        if categorical:
            rows, cols = (math.floor(s + 0.5) for s in shift_px)
            return self._assemble(layers, window.moved(rows, cols), None, True)
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
            return self._part(layers, blocks[0], window, shift, categorical)
        values = np.empty((len(layers), *window.shape), layers[0].dtype)
        covered: Array | None = None
        for block in blocks:
            common = window.intersection(block)
            assert common is not None
            pixels = self._part(layers, block, common, shift, categorical)
            target = common.within(window)
            values[:, *target] = pixels.values
            if pixels.covered is not None:
                covered = np.ones(window.shape, bool) if covered is None else covered
                covered[target] = pixels.covered
        return Pixels(values, covered)

    def _part(
        self, layers: tuple[Layer, ...], block: Window, part: Window, shift: ShiftField | None, categorical: bool
    ) -> Pixels:
        key = self._key(layers, block, shift, categorical)
        self._keys.setdefault(block, set()).add(key)
        return self._kept.part(
            key,
            part.moved(-block.row0, -block.col0),
            lambda: self._decode(layers, block, shift, categorical),
            most_bytes=self.reading.cache_bytes,
        )

    def _key(
        self, layers: tuple[Layer, ...], block: Window, shift: ShiftField | None, categorical: bool
    ) -> tuple[Any, ...]:
        """What a block depends on; of a copy that is its place in the file, whichever grid it was asked for on."""
        group = self._group(layers)
        if shift is None and group.places is not None:
            spots = tuple((p.factor, block.row0 + p.row_offset, block.col0 + p.col_offset) for p in group.places)
            return group.files, spots, block.shape
        return group.files, block, shift, categorical, self._grid_name

    def _group(self, layers: tuple[Layer, ...]) -> _Group:
        # By identity: the group itself holds its layers, so that no other one can take their numbers.
        key = tuple(map(id, layers))
        if key not in self._groups:
            files = tuple((str(y.path), y.digest, y.index, y.quantum, y.fill, y.file_fill) for y in layers)
            places = [self._place(layer) for layer in layers]
            self._groups[key] = _Group(layers, files, None if None in places else tuple(p for p in places if p))
        return self._groups[key]

    @cached_property
    def _grid_name(self) -> tuple[Any, ...]:
        return self.grid.crs.to_wkt(), tuple(self.grid.transform)[:6]

    def _decode(self, layers: tuple[Layer, ...], block: Window, shift: ShiftField | None, categorical: bool) -> Pixels:
        values = self._kept.buffer((len(layers), *block.shape), layers[0].dtype)
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
                raise unreadable(group[0].path, error) from error
            if part is not None:
                covered = part if covered is None else covered & part
        return Pixels(values, covered)

    def _place(self, layer: Layer) -> Placement | None:
        key = (layer.path, layer.index)
        if key not in self._places:
            self._places[key] = placement(layer.grid, self.grid)
        return self._places[key]

    def _dataset(self, layer: Layer) -> Any:
        key = (layer.path, layer.digest, layer.driver)
        return self._kept.file(key, lambda: open_checked(layer.path, layer.driver, layer.digest))

    def _copy(self, group: Sequence[Layer], block: Window, place: Placement, out: Array) -> Array | None:
        factor = place.factor
        on_layer = block.moved(place.row_offset, place.col_offset)
        rows, cols = group[0].grid.shape
        common = on_layer.intersection(Window(0, 0, rows * factor, cols * factor))
        if common is None:
            out[:] = group[0].fill or 0
            return np.zeros(block.shape, bool)
        target = common.within(on_layer)
        if common != on_layer:
            out[:] = group[0].fill or 0
        if factor == 1:
            self._numbers(group, common, out[:, *target])
        else:
            coarse = Window(
                common.row0 // factor, common.col0 // factor, -(-common.row1 // factor), -(-common.col1 // factor)
            )
            data = np.empty((len(group), *coarse.shape), out.dtype)
            self._numbers(group, coarse, data)
            fine = data.repeat(factor, axis=1).repeat(factor, axis=2)
            over = Window(*(edge * factor for edge in coarse))
            out[:, *target] = fine[:, *common.within(over)]
        if common == on_layer:
            return None
        covered = np.zeros(block.shape, bool)
        covered[target] = True
        return covered

    def _numbers(self, group: Sequence[Layer], window: Window, out: Array) -> None:
        """Fill `out` with a window of a file, as the layers' own integers."""
        indexes = [layer.index for layer in group]
        tiles = self._tile_reader(group[0]) if group[0].quantum is None else None
        if tiles is not None and tiles.read(indexes, window, out):
            return
        place = RasterWindow(window.col0, window.row0, *window.shape[::-1])
        if group[0].quantum is None and out.flags.c_contiguous:
            self._dataset(group[0]).read(indexes, window=place, out=out)
        else:
            out[:] = whole_numbers(group[0], self._dataset(group[0]).read(indexes, window=place))

    def _tile_reader(self, layer: Layer) -> TileReader | None:
        if not self.reading.fast or layer.driver != "GTiff" or is_object(layer.path):
            return None
        tiles: TileReader | None = self._kept.file(
            (layer.path, layer.digest, "tiles"), lambda: TileReader.of(layer.path)
        )
        return tiles

    def _warp(
        self,
        group: Sequence[Layer],
        block: Window,
        shift: ShiftField | None,
        categorical: bool,
        out: Array,
    ) -> Array:
        # The measured shift is folded into the target transform: position and warp in one interpolation.
        out[:] = group[0].fill or 0
        shift_px = (0.0, 0.0) if shift is None else shift.around(block.row0, block.col0, BLOCK_PX)
        target = self.grid.cropped(block)
        transform = target.transform * Affine.translation(shift_px[1], shift_px[0])
        covered = footprint_mask(group[0].grid, target, transform)
        if not covered.any():
            return covered
        layer = group[0]
        reach = math.ceil(max(map(abs, shift_px))) + 4
        source = window_over(layer.grid, self.grid.cropped(block.padded(reach)))
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


def by_block(
    reader: GridReader, function: Callable[[GridReader, Window], Found], blocks: Sequence[Window], *, hands: int
) -> list[Found]:
    """Call a function with each block, and return what it gives, in their order; threads share the blocks out.

    Decoding and compiled code work without Python's lock. Each thread reads with handles of its own; what they decoded is
    then kept by the calling one.

    Parameters
    ----------
    reader
        Open, of the calling thread.
    function
        Is given a reader and a block.
    blocks
        Windows of the grid.
    hands
        Threads, the calling one among them.
    """
    hands = max(1, min(hands, len(blocks)))

    def share(number: int) -> tuple[list[Found], Kept]:
        try:
            with GridReader(reader.grid, reader.reading) as other:
                found = [function(other, block) for block in blocks[number::hands]]
        finally:
            kept = given_up()
        return found, kept

    if hands == 1:
        return [function(reader, block) for block in blocks]
    with ThreadPoolExecutor(hands - 1, thread_name_prefix="hand") as pool:
        others = [pool.submit(share, number) for number in range(1, hands)]
        found = {0: [function(reader, block) for block in blocks[::hands]]}
        for number, other in enumerate(others, 1):
            found[number], kept = other.result()
            own().take_over(kept, most_bytes=reader.reading.cache_bytes)
    return [found[index % hands][index // hands] for index in range(len(blocks))]


def _blocks_of(window: Window) -> Iterator[Window]:
    for row in range(window.row0 // BLOCK_PX, -(-window.row1 // BLOCK_PX)):
        for col in range(window.col0 // BLOCK_PX, -(-window.col1 // BLOCK_PX)):
            yield Window(row * BLOCK_PX, col * BLOCK_PX, (row + 1) * BLOCK_PX, (col + 1) * BLOCK_PX)
