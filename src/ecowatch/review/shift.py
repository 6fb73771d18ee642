"""The displacement between the dates of an area, measured on windows of the lattice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..codes import State
from ..errors import PairError, SceneError
from ..grid import Window
from ..prepare import PairShift, WindowShift, pair_shift, window_shift
from ..raster import GridReader
from .pair import Comparison
from .pixels import NO_SHIFT, read_pair

Array = np.ndarray[Any, Any]


def measure_shift(
    reader: GridReader, comparison: Comparison, blocks: list[Window], shift_px: tuple[float, float]
) -> PairShift | None:
    """Return the displacement of the after date on the given blocks; None where no window can be believed.

    Parameters
    ----------
    reader
        Open on the comparison's grid.
    comparison
        Two dates, pipeline.
    blocks
        Of the lattice.
    shift_px
        What is taken out already.
    """
    align = comparison.pipeline.align
    windows = [w for block in blocks for w in _sub_windows(block, align.window_px)]
    step = max(1, len(windows) // align.max_windows)
    shifts = [_shift_of(reader, comparison, w, shift_px) for w in windows[::step]]
    believed = [s for s in shifts if s is not None]
    return pair_shift(believed, min_peak=align.min_peak, max_shift_px=align.max_shift_px)


def _sub_windows(block: Window, side: int) -> Iterator[Window]:
    for row in range(block.row0, block.row1 - side + 1, side):
        for col in range(block.col0, block.col1 - side + 1, side):
            yield Window(row, col, row + side, col + side)


def _shift_of(
    reader: GridReader, comparison: Comparison, window: Window, shift_px: tuple[float, float]
) -> WindowShift | None:
    align = comparison.pipeline.align
    role = align.band if align.band in comparison.roles else comparison.roles[0]
    try:
        # All bands, not one: the sample reads the same blocks again, and finds them decoded.
        pair = read_pair(reader, comparison, window, shift_px=shift_px, inside=None, features=False)
    except SceneError:
        return None
    valid = pair.state == State.USABLE
    if pair.before is None or pair.after is None or valid.mean() < align.min_valid_share:
        return None
    number = comparison.roles.index(role)
    before, after = pair.before[number], pair.after[number]
    for values, fill in zip((before, after), pair.fills, strict=True):
        if fill is not None:
            valid &= values != fill
    return window_shift(before.astype(np.float64), after.astype(np.float64), valid)


def shift_to_apply(comparison: Comparison, measured: PairShift | None) -> tuple[float, float]:
    """Return the rows and columns that are taken out while reading.

    Raises
    ------
    PairError
        ``SHIFT_TOO_LARGE`` where the dates do not lie on one another.
    """
    align = comparison.pipeline.align
    if measured is None or measured.length_px < align.apply_from_px:
        return NO_SHIFT
    if measured.length_px > align.max_shift_px:
        raise PairError(
            "SHIFT_TOO_LARGE",
            comparison.area.area_id,
            f"the dates lie {measured.length_px:.2f} px apart ({comparison.before.scene_ids} | {comparison.after.scene_ids})",
            f"at most {align.max_shift_px} px are corrected; register the scenes anew",
        )
    return measured.row_px, measured.col_px


def refuse_residual(comparison: Comparison, residual: PairShift | None) -> None:
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
