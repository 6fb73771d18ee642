"""The displacement between the dates of an area, measured on windows of the lattice."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np

from ..codes import State
from ..errors import PairError, SceneError
from ..grid import Window
from ..prepare import PlacedShift, ShiftField, WindowShift, fit_field, window_shift, with_cells
from ..raster import GridReader
from .pair import Comparison
from .pixels import read_pair

Array = np.ndarray[Any, Any]


def measure_shift(
    reader: GridReader, comparison: Comparison, blocks: list[Window], shift: ShiftField | None
) -> ShiftField | None:
    """Return the displacement of the after date on the given blocks; None where no window can be believed.

    Parameters
    ----------
    reader
        Open on the comparison's grid.
    comparison
        Two dates, pipeline.
    blocks
        Of the lattice.
    shift
        What is taken out already; None for nothing.
    """
    chosen = measured_windows(comparison, blocks)
    return field_of(comparison, [s for block in blocks for s in shifts_of(reader, comparison, chosen[block], shift)])


def measured_windows(comparison: Comparison, blocks: Sequence[Window]) -> dict[Window, list[Window]]:
    """Return the windows of each of the given blocks on which the displacement is measured."""
    align = comparison.pipeline.align
    within = {w: block for block in blocks for w in _sub_windows(block, align.window_px)}
    chosen: dict[Window, list[Window]] = {block: [] for block in blocks}
    for window in far_apart(list(within), align.max_windows):
        chosen[within[window]].append(window)
    return chosen


def shifts_of(
    reader: GridReader, comparison: Comparison, windows: Sequence[Window], shift: ShiftField | None
) -> list[PlacedShift]:
    """Return the displacements that could be measured on the given windows.

    Parameters
    ----------
    reader, comparison, shift
        As for `measure_shift`.
    windows
        Some of `measured_windows`.
    """
    pair = _pair_name(comparison, shift)
    found = [_shift_of(reader, comparison, window, shift, pair) for window in windows]
    return [s for s in found if s is not None]


def field_of(comparison: Comparison, shifts: Sequence[PlacedShift]) -> ShiftField | None:
    """Return the displacement that measured ones agree upon; None where they are too few or do not agree."""
    align = comparison.pipeline.align
    return fit_field(
        list(shifts),
        min_peak=align.min_peak,
        max_shift_px=align.max_shift_px,
        agree_px=align.agree_px,
        min_agree=align.min_agree,
        max_degree=align.max_degree,
        min_gain_px=align.min_gain_px,
        half_window_px=align.window_px / 2,
    )


def far_apart(windows: Sequence[Window], count: int) -> list[Window]:
    """Return at most `count` windows that lie as far from one another as they can, in the order given.

    What slopes over an area is known by its ends; every n-th window of a list could leave out a whole side.

    Parameters
    ----------
    windows
        Of the lattice.
    count
        At least 1.

    Source
    ------
    Gonzalez (1985), farthest-first traversal, from the first window; of windows equally far the first is taken.
    """
    if len(windows) <= count:
        return list(windows)
    places = np.array([(w.row0, w.col0) for w in windows], np.int64)
    chosen = [0]
    apart = np.sum((places - places[0]) ** 2, axis=1)
    while len(chosen) < count:
        chosen.append(int(np.argmax(apart)))
        apart = np.minimum(apart, np.sum((places - places[chosen[-1]]) ** 2, axis=1))
    return [windows[i] for i in sorted(chosen)]


def _sub_windows(block: Window, side: int) -> Iterator[Window]:
    for row in range(block.row0, block.row1 - side + 1, side):
        for col in range(block.col0, block.col1 - side + 1, side):
            yield Window(row, col, row + side, col + side)


def _shift_of(
    reader: GridReader, comparison: Comparison, window: Window, shift: ShiftField | None, pair: Hashable
) -> PlacedShift | None:
    name = (pair, comparison.grid.window_bounds(window))
    try:
        measured = _MEASURED.of(name, lambda: _measured(reader, comparison, window, shift))
    except SceneError:
        return None
    if measured is None:
        return None
    return PlacedShift((window.row0 + window.row1 - 1) / 2, (window.col0 + window.col1 - 1) / 2, measured)


class _Memory:
    """Displacements of windows measured last: of a hundred small areas in one place, each would measure the same ones."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[Hashable, WindowShift | None] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, name: Hashable, measured: Callable[[], WindowShift | None]) -> WindowShift | None:
        with self._lock:
            if name in self._known:
                self._known.move_to_end(name)
                return self._known[name]
        value = measured()
        with self._lock:
            self._known[name] = value
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        return value


_MEASURED = _Memory(4096)


def _pair_name(comparison: Comparison, shift: ShiftField | None) -> Hashable:
    """All that the displacement of a window depends on, but for its place on the ground."""
    grid = comparison.grid
    # A displacement that varies is told by places on the area's grid.
    varying = None if shift is None else (shift, tuple(grid.transform)[:6])
    dates = tuple(tuple(scene.digest for scene in group.scenes) for group in (comparison.before, comparison.after))
    return grid.crs.to_wkt(), varying, dates, comparison.roles, comparison.pipeline.digest()


def _measured(
    reader: GridReader, comparison: Comparison, window: Window, shift: ShiftField | None
) -> WindowShift | None:
    align = comparison.pipeline.align
    role = align.band if align.band in comparison.roles else comparison.roles[0]
    # All bands, not one: the sample reads the same block next, and finds it decoded.
    pair = read_pair(reader, comparison, window, shift=shift, inside=None, features=False)
    valid = pair.state == State.USABLE
    if pair.before is None or pair.after is None or valid.mean() < align.min_valid_share:
        return None
    number = comparison.roles.index(role)
    before, after = pair.before[number], pair.after[number]
    for values, fill in zip((before, after), pair.fills, strict=True):
        if fill is not None:
            valid &= values != fill
    return window_shift(before.astype(np.float64), after.astype(np.float64), valid)


def shift_to_apply(comparison: Comparison, measured: ShiftField | None) -> ShiftField | None:
    """Return what is taken out while reading; None where that is not worth a resampling.

    Raises
    ------
    PairError
        ``SHIFT_TOO_LARGE`` where the dates do not lie on one another.
    """
    align = comparison.pipeline.align
    if measured is None or measured.length_px < align.apply_from_px:
        return None
    if measured.length_px > align.max_shift_px:
        raise PairError(
            "SHIFT_TOO_LARGE",
            comparison.area.area_id,
            f"the dates lie {measured.length_px:.2f} px apart ({comparison.before.scene_ids} | {comparison.after.scene_ids})",
            f"at most {align.max_shift_px} px are corrected; register the scenes anew",
        )
    return with_cells(measured, max_step_px=align.max_step_px)


def refuse_residual(comparison: Comparison, residual: ShiftField | None) -> None:
    """Refuse a pair that does not lie on one another even once aligned.

    Raises
    ------
    PairError
        ``RESIDUAL_TOO_LARGE``.
    """
    limit = comparison.pipeline.align.max_residual_px
    if residual is not None and residual.length_px > limit:
        raise PairError(
            "RESIDUAL_TOO_LARGE",
            comparison.area.area_id,
            f"{residual.length_px:.2f} px are left after alignment",
            f"at most {limit} px are accepted; the images are distorted against one another",
        )
