"""What must be known of a whole area before its tiles: the shift between the dates, the transform, the thresholds.

Everything is measured on a fixed lattice of blocks of the area's grid, so that it cannot depend on how the area is cut.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely

from ..codes import State
from ..detect import METHODS, WINDOWED, LinearScore, PairBlock, Thresholds, fit_thresholds, sample_score
from ..errors import PairError, SceneError
from ..grid import BLOCK_PX, Window
from ..prepare import PairShift, WindowShift, pair_shift, window_shift
from ..raster import GridReader, burn
from .pair import Comparison
from .pixels import NO_SHIFT, feature_radiometry, physical_block, read_pair

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Fit:
    """Result of the fit of one comparison.

    Parameters
    ----------
    measured
        Displacement of the after date as delivered; None where no window could be believed.
    applied_px
        Rows and columns taken out while reading; (0, 0) where it was too small to be worth a resampling.
    residual
        Displacement after that; None where it could not be measured.
    score, thresholds
        None where too few pixels were usable: then nothing is decided and the area is not observed. `score` is None too
        for a method that looks at surroundings.
    windowed
        Fit of such a method, as plain numbers by name.
    sample_px
        Usable pixels of the sample.
    """

    measured: PairShift | None
    applied_px: tuple[float, float]
    residual: PairShift | None
    score: LinearScore | None
    thresholds: Thresholds | None
    sample_px: int
    windowed: Mapping[str, Any] | None = None

    @property
    def shift_px(self) -> float | None:
        """Length of the displacement left after alignment, pixels; what a patch edge may be off by."""
        shift = self.residual or self.measured
        return None if shift is None else round(shift.length_px, 3)

    def to_json(self) -> str:
        """Return the fit as canonical JSON; `from_json` gives back an equal value."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Fit:
        """Return the fit that `to_json` wrote."""
        d = json.loads(text)
        score = d["score"]
        if score is not None:
            for key in ("before_weights", "after_weights"):
                score[key] = tuple(tuple(row) for row in score[key])
            for key in ("constant", "inverse_variance", "correlation"):
                score[key] = tuple(score[key])
        return cls(
            measured=PairShift(*d["measured"]) if d["measured"] else None,
            applied_px=(d["applied_px"][0], d["applied_px"][1]),
            residual=PairShift(*d["residual"]) if d["residual"] else None,
            score=LinearScore(**score) if score else None,
            thresholds=Thresholds(**d["thresholds"]) if d["thresholds"] else None,
            sample_px=d["sample_px"],
            windowed=d["windowed"],
        )


def fit_comparison(comparison: Comparison) -> Fit:
    """Measure shift, transform and thresholds of a comparison.

    Raises
    ------
    PairError
        ``SHIFT_TOO_LARGE`` where the dates do not lie on one another, ``FIT_FAILED`` where the sample cannot be fitted.
    SceneError
        Where no block of the lattice can be read.
    """
    blocks = lattice_blocks(comparison)
    with GridReader(comparison.grid) as reader:
        measured = _measure_shift(reader, comparison, blocks, NO_SHIFT)
        applied = _shift_to_apply(comparison, measured)
        residual = measured if applied == NO_SHIFT else _measure_shift(reader, comparison, blocks, applied)
        _refuse_residual(comparison, residual)
        if comparison.pipeline.detect.method in WINDOWED:
            windowed, count = _fit_windowed(reader, comparison, blocks, applied)
            return Fit(measured, applied, residual, None, None, count, windowed)
        before, after = _sample(reader, comparison, blocks, applied)
    count = before.shape[1]
    if count < comparison.pipeline.prepare.min_valid_px:
        return Fit(measured, applied, residual, None, None, count)
    detect = comparison.pipeline.detect
    fitted = METHODS[detect.method](
        before, after, max_iterations=detect.max_iterations, tolerance=detect.tolerance, noise_floor=detect.noise_floor
    )
    score = sample_score(fitted, before, after)
    thresholds = fit_thresholds(
        score, variates=len(fitted.constant), weak_sigma=detect.weak_sigma, strong_sigma=detect.strong_sigma
    )
    return Fit(measured, applied, residual, fitted, thresholds, count)


def _fit_windowed(
    reader: GridReader, comparison: Comparison, blocks: list[Window], shift_px: tuple[float, float]
) -> tuple[Mapping[str, Any] | None, int]:
    """Fit a method that looks at surroundings on whole blocks; None where too few pixels are usable."""
    detect = comparison.pipeline.detect
    found: list[PairBlock] = []
    unreadable: list[SceneError] = []
    for block in blocks:
        inside = burn(comparison.area.geometry, comparison.grid.cropped(block))
        try:
            pair = read_pair(reader, comparison, block, shift_px=shift_px, inside=inside)
        except SceneError as error:
            unreadable.append(error)
            continue
        physical = physical_block(comparison, pair)
        if physical is not None:
            found.append(physical)
    if len(unreadable) == len(blocks):
        raise unreadable[0]
    count = sum(int(block.valid.sum()) for block in found)
    if count < comparison.pipeline.prepare.min_valid_px:
        return None, count
    method = WINDOWED[detect.method]
    return dataclasses.asdict(method.fit(found, **detect.numbers())), count


def area_blocks(comparison: Comparison, window: Window | None = None) -> list[Window]:
    """Return the lattice blocks that touch the area (and `window`), row by row; no others are ever read."""
    grid = comparison.grid
    blocks = [b for b in grid.blocks() if window is None or b.intersection(window)]
    boxes = shapely.box(*np.array([grid.window_bounds(b) for b in blocks]).T)
    geometry = comparison.area.geometry
    shapely.prepare(geometry)
    return [b for b, touches in zip(blocks, shapely.intersects(geometry, boxes), strict=True) if touches]


def lattice_blocks(comparison: Comparison) -> list[Window]:
    """Return the blocks the fit reads: all of a small area, else every n-th in both directions."""
    blocks = area_blocks(comparison)
    step = max(1, math.ceil(math.sqrt(len(blocks) / comparison.pipeline.detect.max_blocks)))
    while True:
        chosen = [b for b in blocks if b.row0 // BLOCK_PX % step == 0 and b.col0 // BLOCK_PX % step == 0]
        if chosen:
            return chosen
        step -= 1


def _measure_shift(
    reader: GridReader, comparison: Comparison, blocks: list[Window], shift_px: tuple[float, float]
) -> PairShift | None:
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


def _shift_to_apply(comparison: Comparison, measured: PairShift | None) -> tuple[float, float]:
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


def _refuse_residual(comparison: Comparison, residual: PairShift | None) -> None:
    limit = comparison.pipeline.align.max_residual_px
    if residual is not None and residual.length_px > limit:
        raise PairError(
            "RESIDUAL_TOO_LARGE",
            comparison.area.area_id,
            f"{residual.length_px:.2f} px are left after alignment",
            f"at most {limit} px are accepted; the images are distorted against one another",
        )


def _sample(
    reader: GridReader, comparison: Comparison, blocks: list[Window], shift_px: tuple[float, float]
) -> tuple[Array, Array]:
    """Reflectances (float64, band × n) of usable pixels on a fixed pixel lattice."""
    grid, geometry = comparison.grid, comparison.area.geometry
    insides = [burn(geometry, grid.cropped(block)) for block in blocks]
    total = sum(int(inside.sum()) for inside in insides)
    stride = max(1, math.ceil(math.sqrt(total / comparison.pipeline.detect.sample_px)))
    names, radiometry_b = feature_radiometry(comparison, comparison.before)
    _, radiometry_a = feature_radiometry(comparison, comparison.after)
    columns: tuple[list[Array], list[Array]] = ([], [])
    unreadable: list[SceneError] = []
    for block, inside in zip(blocks, insides, strict=True):
        try:
            pair = read_pair(reader, comparison, block, shift_px=shift_px, inside=inside)
        except SceneError as error:
            # The tile that holds the block will say so; the area is fitted on the others.
            unreadable.append(error)
            continue
        if pair.before is None or pair.after is None:
            continue
        lattice = np.zeros(pair.state.shape, bool)
        lattice[-block.row0 % stride :: stride, -block.col0 % stride :: stride] = True
        usable = lattice & (pair.state == State.USABLE)
        for values, fill in zip((pair.before, pair.after), pair.fills, strict=True):
            if fill is not None:
                usable &= (values != fill).all(axis=0)
        for column, values, radiometry in zip(
            columns, (pair.before, pair.after), (radiometry_b, radiometry_a), strict=True
        ):
            scale, offset = np.array(radiometry).T
            column.append(values[:, usable] * scale[:, None] + offset[:, None])
    if len(unreadable) == len(blocks):
        raise unreadable[0]
    empty = np.empty((len(names), 0))
    before, after = (np.concatenate([empty, *column], axis=1) for column in columns)
    return before, after
