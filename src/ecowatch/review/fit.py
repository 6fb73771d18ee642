"""What must be known of a whole area before its tiles: the shift between the dates, the transform, the thresholds.

Everything is measured on a fixed lattice of blocks of the area's grid, so that it cannot depend on how the area is cut.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import shapely

from ..codes import State
from ..detect import (
    METHODS,
    WINDOWED,
    LinearScore,
    PairBlock,
    Thresholds,
    WaterTurn,
    fit_thresholds,
    fit_water_turn,
    sample_score,
)
from ..errors import SceneError
from ..grid import BLOCK_PX, Window
from ..patches import dark_levels
from ..prepare import PlacedShift, ShiftField
from ..raster import GridReader, Reading, burn, by_block
from .pair import Comparison
from .pixels import PairPixels, feature_radiometry, is_calibrated, is_radar, physical_block, read_pair
from .shift import field_of, measured_windows, refuse_residual, shift_to_apply, shifts_of
from .windows import around
from .witness import Witness, fit_witnesses

if TYPE_CHECKING:
    from .choice import DateGroup

Array = np.ndarray[Any, Any]
_DARK_QUANTILE = 0.005
_KEPT_BLOCKS = 9
# What is masked is grown, and what is displaced is read beside its place: neither reaches so far.
_RIM_PX = 48


@dataclass(frozen=True)
class Fit:
    """Result of the fit of one comparison.

    Parameters
    ----------
    measured
        Displacement of the after date as delivered; None where no window could be believed.
    applied
        What of it is taken out while reading; None where it was too small to be worth a resampling.
    residual
        Displacement after that; None where it could not be measured.
    score, thresholds
        None where too few pixels were usable: then nothing is decided and the area is not observed. `score` is None too
        for a method that looks at surroundings.
    windowed
        Fit of such a method, as plain numbers by name.
    parts
        Of a comparison that joins several sensors: the fit of each.
    earlier, others
        Further dates that bear witness.
    dark_before, dark_after
        Of pictures that are not surface reflectance: dark level by role, which air and sensor add.
    water
        Levels that tell water from land in both dates; None where the bands or the scene do not tell.
    sample_px
        Usable pixels of the sample.
    """

    measured: ShiftField | None
    applied: ShiftField | None
    residual: ShiftField | None
    score: LinearScore | None
    thresholds: Thresholds | None
    sample_px: int
    windowed: Mapping[str, Any] | None = None
    parts: tuple[Fit, ...] = ()
    earlier: tuple[Witness, ...] = ()
    others: tuple[Witness, ...] = ()
    dark_before: Mapping[str, float] = field(default_factory=dict)
    dark_after: Mapping[str, float] = field(default_factory=dict)
    water: WaterTurn | None = None

    @cached_property
    def shift_px(self) -> float | None:
        """Length of the displacement left after alignment where it is largest, pixels; what a patch edge may be off by."""
        shift = self.residual or self.measured
        return None if shift is None else round(shift.length_px, 3)

    def to_json(self) -> str:
        """Return the fit as canonical JSON; `from_json` gives back an equal value."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Fit:
        """Return the fit that `to_json` wrote."""
        return cls._from_plain(json.loads(text))

    @classmethod
    def _from_plain(cls, d: dict[str, Any]) -> Fit:
        return cls(
            measured=_field_from(d["measured"]),
            applied=_field_from(d["applied"]),
            residual=_field_from(d["residual"]),
            score=_score_from(d["score"]),
            thresholds=Thresholds(**d["thresholds"]) if d["thresholds"] else None,
            sample_px=d["sample_px"],
            windowed=d["windowed"],
            parts=tuple(cls._from_plain(part) for part in d["parts"]),
            earlier=tuple(_witness_from(w) for w in d["earlier"]),
            others=tuple(_witness_from(w) for w in d["others"]),
            dark_before=d["dark_before"],
            dark_after=d["dark_after"],
            water=WaterTurn(**{k: tuple(v) for k, v in d["water"].items()}) if d["water"] else None,
        )


def _dark(comparison: Comparison, values: Array) -> dict[str, float]:
    """Dark level by role of a sample ``(band, n)``; none where the numbers are reflectance or backscatter."""
    if is_calibrated(comparison) or is_radar(comparison):
        return {}
    levels = dark_levels(values, np.ones(values.shape[1], bool), quantile=_DARK_QUANTILE)
    return dict(zip(comparison.roles, levels, strict=False))


def _water(comparison: Comparison, before: Array, after: Array) -> WaterTurn | None:
    water = comparison.pipeline.detect.water
    return fit_water_turn(
        before,
        after,
        comparison.roles,
        wet_share=water.wet_share,
        dry_share=water.dry_share,
        least_range=water.least_range,
    )


def _field_from(d: dict[str, Any] | None) -> ShiftField | None:
    if d is None:
        return None
    plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in d.items()}
    return ShiftField(**plain)


def _score_from(d: dict[str, Any] | None) -> LinearScore | None:
    if d is None:
        return None
    rows = {key: tuple(tuple(row) for row in d[key]) for key in ("before_weights", "after_weights")}
    lists = {key: tuple(d[key]) for key in ("constant", "inverse_variance", "correlation")}
    return LinearScore(**(d | rows | lists))


def _witness_from(d: dict[str, Any]) -> Witness:
    limits = d["thresholds"]
    shift = _field_from(d["applied"])
    return Witness(d["day"], shift, _score_from(d["score"]), Thresholds(**limits) if limits else None)


def fit_comparison(
    comparison: Comparison,
    reading: Reading = Reading(),  # noqa: B008 - a frozen value
    *,
    hands: int = 1,
) -> Fit:
    """Measure shift, transform and thresholds of a comparison.

    Parameters
    ----------
    comparison
        What is compared.
    reading
        How files are read.
    hands
        Threads that share the blocks of the lattice; they change nothing but the time it takes.

    Raises
    ------
    PairError
        ``SHIFT_TOO_LARGE`` where the dates do not lie on one another, ``FIT_FAILED`` where the sample cannot be fitted.
    SceneError
        Where no block of the lattice can be read.
    """
    if comparison.parts:
        parts = tuple(fit_comparison(part, reading, hands=hands) for part in comparison.parts)
        return replace(parts[0], sample_px=sum(part.sample_px for part in parts), parts=parts)
    blocks = lattice_blocks(comparison)
    with GridReader(comparison.grid, _sparing(reading, comparison, len(blocks))) as reader:
        sample = _Sample(reader, comparison, blocks, hands)
        measured = sample.taken(None)
        applied = shift_to_apply(comparison, measured)
        residual = measured if applied is None else sample.taken(applied)
        refuse_residual(comparison, residual)
        if sample.windowed:
            made = _fit_windowed(reader, comparison, blocks, applied)
            return replace(made, measured=measured, applied=applied, residual=residual)
        before, after = sample.values()
        earlier, others = fit_witnesses(reader, comparison, blocks, applied, sample_px=sample.stride)
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
    dark = (_dark(comparison, before), _dark(comparison, after))
    water = _water(comparison, before, after)
    return Fit(measured, applied, residual, fitted, thresholds, count, None, (), earlier, others, *dark, water)


def _sparing(reading: Reading, comparison: Comparison, blocks: int) -> Reading:
    """How so many blocks are read.

    The tiles of a small area find its blocks decoded. A large one is read block by block, all over it, and its sums need the
    memory more than its blocks do: what is kept is one, and of those around it that which says where pixels are clear.
    """
    if blocks <= _KEPT_BLOCKS:
        return reading
    bands, quality = comparison.block_bytes
    most_bytes = bands + 9 * quality if quality else 9 * bands
    return reading._replace(cache_bytes=min(reading.cache_bytes, most_bytes))


def _fit_windowed(reader: GridReader, comparison: Comparison, blocks: list[Window], shift: ShiftField | None) -> Fit:
    """Fit a method that looks at surroundings on whole blocks; nothing is fitted where too few pixels are usable."""
    method = WINDOWED[comparison.pipeline.detect.method]
    if method.require is not None:
        method.require(comparison.roles, **comparison.numbers)
    found = _physical_blocks(reader, comparison, blocks, shift)
    count = sum(int(block.valid.sum()) for block in found)
    nothing = Fit(None, shift, None, None, None, count)
    if count < comparison.pipeline.prepare.min_valid_px:
        return nothing
    made = replace(nothing, windowed=dataclasses.asdict(method.fit(found, **comparison.numbers)))
    if is_radar(comparison):
        return made
    samples = [np.concatenate([b[date][:, b.valid] for b in found], axis=1) for date in (0, 1)]
    stride = _stride(comparison, count)
    earlier, others = fit_witnesses(reader, comparison, blocks, shift, sample_px=stride)
    before, after = (_dark(comparison, sample) for sample in samples)
    water = _water(comparison, *samples)
    return replace(made, earlier=earlier, others=others, dark_before=before, dark_after=after, water=water)


def _physical_blocks(
    reader: GridReader, comparison: Comparison, blocks: list[Window], shift: ShiftField | None
) -> list[PairBlock]:
    found: list[PairBlock] = []
    unreadable: list[SceneError] = []
    for block in blocks:
        inside = burn(comparison.area.geometry, comparison.grid.cropped(block))
        try:
            _, pair = _readable(reader, comparison, block, (block, inside), shift)
        except SceneError as error:
            # The tile that holds the block will say so; the area is fitted on the others.
            unreadable.append(error)
            continue
        physical = physical_block(comparison, pair)
        if physical is not None:
            found.append(physical)
    if len(unreadable) == len(blocks):
        raise unreadable[0]
    return found


def _readable(
    reader: GridReader, comparison: Comparison, block: Window, own: tuple[Window, Array], shift: ShiftField | None
) -> tuple[Window, PairPixels]:
    """Read a window of a block, or what of it needs no pixel of the blocks around where one of these cannot be read."""
    window, inside = own
    try:
        return window, read_pair(reader, comparison, window, shift=shift, inside=inside)
    except SceneError:
        inner = window.intersection(block.padded(-_RIM_PX))
        if inner is None or inner == window:
            raise
        return inner, read_pair(reader, comparison, inner, shift=shift, inside=inside[inner.within(window)])


def area_blocks(comparison: Comparison, window: Window | None = None) -> list[Window]:
    """Return the lattice blocks that touch the area (and `window`), row by row; no others are ever read."""
    grid = comparison.grid
    blocks = list(grid.blocks(window))
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


class _BlockSample(NamedTuple):
    """Of one block: displacements measured on it, reflectances ``(band, n)`` of both dates, or why it cannot be read."""

    shifts: list[PlacedShift]
    dates: tuple[Array, Array] | None = None
    unreadable: SceneError | None = None


class _Sample:
    """Reflectances of usable pixels on a fixed pixel lattice, gathered while displacements are measured on the same blocks."""

    def __init__(self, reader: GridReader, comparison: Comparison, blocks: list[Window], hands: int) -> None:
        self.windowed = comparison.pipeline.detect.method in WINDOWED
        self._reader, self._comparison, self._blocks, self._hands = reader, comparison, blocks, hands
        geometry, grid = comparison.area.geometry, comparison.grid
        insides = {} if self.windowed else {block: burn(geometry, grid.cropped(block)) for block in blocks}
        # Of a block that a small area touches, most is not asked.
        self._own = {block: around(block, inside) for block, inside in insides.items()}
        self.stride = _stride(comparison, sum(int(inside.sum()) for inside in insides.values()))
        self._measured = measured_windows(comparison, blocks)
        self._found: list[_BlockSample] = []

    def taken(self, shift: ShiftField | None) -> ShiftField | None:
        """Take the sample with a displacement taken out; return the displacement that is left."""
        # A second time, the blocks of a small area lie decoded with this thread.
        hands = 1 if self._found and len(self._blocks) <= _KEPT_BLOCKS else self._hands
        self._found = by_block(self._reader, partial(self._block, shift=shift), self._blocks, hands=hands)
        return field_of(self._comparison, [s for block in self._found for s in block.shifts])

    def values(self) -> tuple[Array, Array]:
        """Return both dates of what was taken last, float64 ``(band, n)``."""
        unreadable = [block.unreadable for block in self._found if block.unreadable is not None]
        if len(unreadable) == len(self._blocks):
            raise unreadable[0]
        empty = np.empty((len(feature_radiometry(self._comparison, self._comparison.before)[0]), 0))
        dates = [block.dates for block in self._found if block.dates is not None]
        before, after = (np.concatenate([empty, *(pair[date] for pair in dates)], axis=1) for date in (0, 1))
        return before, after

    def _block(self, reader: GridReader, block: Window, *, shift: ShiftField | None) -> _BlockSample:
        comparison, stride = self._comparison, self.stride
        shifts = shifts_of(reader, comparison, self._measured[block], shift)
        window, inside = (block, None) if self.windowed else self._own[block]
        if inside is None or not inside.size:
            return _BlockSample(shifts)
        try:
            window, pair = _readable(reader, comparison, block, (window, inside), shift)
        except SceneError as error:
            # The tile that holds the block will say so; the area is fitted on the others.
            return _BlockSample(shifts, unreadable=error)
        if pair.before is None or pair.after is None:
            return _BlockSample(shifts)
        lattice = np.zeros(pair.state.shape, bool)
        lattice[-window.row0 % stride :: stride, -window.col0 % stride :: stride] = True
        usable = lattice & (pair.state == State.USABLE)
        for values, fill in zip((pair.before, pair.after), pair.fills, strict=True):
            if fill is not None:
                usable &= (values != fill).all(axis=0)

        def reflectance(values: Array, group: DateGroup) -> Array:
            scale, offset = np.array(feature_radiometry(comparison, group)[1]).T
            result: Array = values[:, usable] * scale[:, None] + offset[:, None]
            return result

        dates = reflectance(pair.before, comparison.before), reflectance(pair.after, comparison.after)
        return _BlockSample(shifts, dates)


def _stride(comparison: Comparison, pixels: int) -> int:
    return max(1, math.ceil(math.sqrt(pixels / comparison.pipeline.detect.sample_px)))
