"""What a second look at a candidate measures: its own window on all dates that show it.

Every fact is a number (None where the image cannot tell); `suppress` decides on them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from ..codes import State
from ..prepare import ndvi
from ._look_kernels import (
    band_medians,
    change_left,
    main_axis,
    mark_alike,
    rim_step,
    squared_gap,
    survey,
    within_patch,
)
from ._shape_kernels import greatest_squared_depth, squared_depth
from .candidate import Candidate, Look

Array = np.ndarray[Any, Any]
Spectrum = dict[str, float]

# Ground nearer to the patch than this, squared, shares its mixed pixels.
_APART_PX2 = 4
_MIN_TEXTURE_PX = 16
_SMOOTH = 1e-4
_MIN_GROUND_PX = 20
_DIRECTIONS = tuple((np.sin(a), np.cos(a)) for a in np.arange(8) * np.pi / 4)


class _Within(NamedTuple):
    """What the pixels of a patch show: mean spectra, shares at the top, spreads of brightness and of its change."""

    before: Spectrum
    after: Spectrum
    saturated_before: float
    saturated_after: float
    spread_before: float
    spread_after: float
    together: float
    change: float
    change_spread: float


class Facts:
    """What can be measured on a candidate; each fact is measured when it is first asked for, since most rules ask for few.

    Parameters
    ----------
    candidate
        Its window.
    slack_px
        A displacement is tried up to the residual plus this.
    alike
        Ground looked like the patch where no band differed by more than this, reflectance.
    gap_px
        "Near" a pixel without data.
    saturated
        Reflectance or brightness from which a number is at the top.

    Raises
    ------
    ValueError
        Where the arrays do not belong together or no pixel of the patch is usable in both dates.
    """

    def __init__(self, candidate: Candidate, *, slack_px: float, alike: float, gap_px: int, saturated: float) -> None:
        self._c = candidate
        self._slack_px, self._alike_limit, self._gap_px, self._top = slack_px, alike, gap_px, saturated
        _check_shapes(candidate)
        self._usable, self._core, counts = *np.empty((2, *candidate.inside.shape), bool), np.empty(4, np.int64)
        survey(candidate.before.state, candidate.after.state, candidate.inside, self._usable, self._core, counts)
        self._core_px, *masked, self._gaps_px = counts.tolist()
        if not self._core_px:
            raise ValueError("no pixel of the candidate is usable in both dates")
        self._masked_before, self._masked_after = (count / candidate.inside.size for count in masked)

    @cached_property
    def _gap(self) -> Array:
        gap = np.empty(self._c.inside.shape, np.uint8)
        squared_gap(self._c.inside, gap)
        return gap

    @cached_property
    def _ground(self) -> Array:
        ground: Array = self._usable & (self._gap > _APART_PX2)
        return ground

    @cached_property
    def _ground_px(self) -> int:
        return int(np.count_nonzero(self._ground))

    @cached_property
    def _levels(self) -> Array:
        """What the ground around did, by band: float64; 0 where there is too little of it."""
        levels = np.zeros(len(self._c.roles))
        if self._ground_px >= _MIN_GROUND_PX:
            band_medians(self._c.after.values - self._c.before.values, self._ground, levels)
        return levels

    @cached_property
    def _within(self) -> _Within:
        """What the pixels of the patch show that both dates show."""
        means, told = np.empty((2, len(self._c.roles))), np.empty(7)
        within_patch(self._c.before.values, self._c.after.values, self._core, np.float32(self._top), means, told)
        return _Within(_spectrum(self._c.roles, means[0]), _spectrum(self._c.roles, means[1]), *told.tolist())

    @property
    def before(self) -> Spectrum:
        """Mean spectrum of the patch on the before date, by role."""
        return self._within.before

    @property
    def after(self) -> Spectrum:
        """Mean spectrum of the patch on the after date, by role."""
        return self._within.after

    @cached_property
    def earlier(self) -> tuple[Spectrum, ...]:
        """Mean spectra of the earlier dates that show at least half of the patch."""
        return _spectra(self._c, self._c.earlier)

    @cached_property
    def later(self) -> tuple[Spectrum, ...]:
        """Mean spectra of the later dates that show at least half of the patch."""
        return _spectra(self._c, self._c.later)

    @cached_property
    def _alike(self) -> tuple[int, Array]:
        """How many pixels of the ground around looked like the patch before, and which."""
        like = np.empty(self._core.shape, bool)
        spectrum = np.array(list(self.before.values()))
        return mark_alike(self._c.before.values, self._ground, spectrum, self._alike_limit, like), like

    def _alike_in(self, look: Look) -> Spectrum:
        if self.alike_px < _MIN_GROUND_PX:
            return {}
        medians = np.empty(len(self._c.roles))
        band_medians(look.values, self._alike[1], medians)
        return _spectrum(self._c.roles, medians)

    @property
    def alike_px(self) -> int:
        """Pixels of the ground around that looked like the patch before."""
        return self._alike[0]

    @cached_property
    def alike_before(self) -> Spectrum:
        """Median spectrum of that ground on the before date; empty where there is too little of it."""
        return self._alike_in(self._c.before)

    @cached_property
    def alike_after(self) -> Spectrum:
        """Median spectrum of that ground on the after date; empty where there is too little of it."""
        return self._alike_in(self._c.after)

    @property
    def texture_kept(self) -> float | None:
        """Correlation of the brightness detail of both dates inside, −1…1; None of too few pixels or too smooth ones."""
        own = self._within
        if self._core_px < _MIN_TEXTURE_PX or min(own.spread_before, own.spread_after) < _SMOOTH:
            return None
        return own.together / (own.spread_before * own.spread_after)

    @property
    def texture_gain(self) -> float | None:
        """Spread of brightness inside after over before; None of too few pixels."""
        if self._core_px < _MIN_TEXTURE_PX:
            return None
        return self._within.spread_after / max(self._within.spread_before, _SMOOTH)

    @property
    def offset_noise(self) -> float:
        """Spread of the change inside over its size: 0 is one constant offset."""
        return self._within.change_spread / max(abs(self._within.change), 1e-6)

    @cached_property
    def sharpness(self) -> float | None:
        """Step of the change at the rim over its full height: about 0.6 for an object, near 0 for what fades out."""
        if self._ground_px < _MIN_GROUND_PX:
            return None
        depth = np.empty(self._core.shape, np.int32)
        squared_depth(self._core, depth)
        before, after = self._c.before.values, self._c.after.values
        step = rim_step(before, after, self._core, self._ground, self._usable, self._gap, depth, self._levels)
        return None if np.isnan(step) else step

    @cached_property
    def width_px(self) -> float:
        """Greatest width."""
        return 2 * math.sqrt(greatest_squared_depth(self._c.inside)) - 1

    @cached_property
    def _line(self) -> tuple[float, float, float]:
        told = np.empty(3)
        main_axis(self._c.inside, told)
        length, bend, angle = told.tolist()
        return length, bend, abs((math.degrees(angle) + 22.5) % 45 - 22.5)

    @property
    def length_px(self) -> float:
        """Extent along the main axis."""
        return self._line[0]

    @property
    def bend_px(self) -> float:
        """Root mean square distance from the main axis."""
        return self._line[1]

    @property
    def axis_deg(self) -> float:
        """Direction of the main axis off the nearest row, column or diagonal, 0–22.5."""
        return self._line[2]

    @cached_property
    def explained(self) -> float | None:
        """Part of the change that a displacement of at most the residual explains, 0–1; None for wider patches."""
        # A displacement explains an edge of its own width only; trying it on any other patch costs time for nothing.
        if self._c.shift_px is None or self.width_px > 2 * (self._c.shift_px + self._slack_px) + 1:
            return None
        return _explained(self._c, self._core, self._ground, self._c.shift_px + self._slack_px)

    @property
    def masked_before(self) -> float:
        """Share of the window that the before date hides under cloud or shadow."""
        return self._masked_before

    @property
    def masked_after(self) -> float:
        """Share of the window that the after date hides under cloud or shadow."""
        return self._masked_after

    @cached_property
    def along_gap(self) -> float:
        """Share of the patch near a pixel for which one date has no data."""
        return _along_gap(self._c, self._gap_px) if self._gaps_px else 0.0

    @property
    def saturated_before(self) -> float:
        """Share of the patch with at least two bands (or the only one) at the top on the before date."""
        return self._within.saturated_before

    @property
    def saturated_after(self) -> float:
        """Share of the patch with at least two bands (or the only one) at the top on the after date."""
        return self._within.saturated_after

    @cached_property
    def _rim(self) -> tuple[float, float]:
        rim = self._usable & ~self._c.inside & (self._gap <= _APART_PX2)
        return _rim(self._c, rim, self._ground)

    @property
    def shore_share(self) -> float:
        """Share of its rim that is water in both dates."""
        return self._rim[0]

    @property
    def bright_beside(self) -> float:
        """Share of its rim that is brighter than the ground around in both dates."""
        return self._rim[1]


def water_index(values: Array, roles: Sequence[str]) -> Array | None:
    """Return the water index per pixel as `indices.water` does for means; None where the bands are missing."""
    dry = "swir1" if "swir1" in roles else "nir"
    wet = "green" if "green" in roles else "red"
    if dry not in roles or wet not in roles:
        return None
    high, low = (values[list(roles).index(role)].astype(np.float64) for role in (wet, dry))
    result: Array = (high - low) / np.maximum(high + low, 1e-6)
    return result


def _check_shapes(c: Candidate) -> None:
    shape = (len(c.roles), *c.inside.shape)
    for look in (c.before, c.after, *c.earlier, *c.later):
        if look.values.shape != shape or look.state.shape != c.inside.shape:
            raise ValueError(f"shapes {look.values.shape}, {look.state.shape} and {shape} do not belong together")


def _seen(look: Look) -> Array:
    seen: Array = (look.state == State.USABLE) | (look.state == State.WEAK) | (look.state == State.STRONG)
    return seen


def _spectrum(roles: Sequence[str], values: Array) -> Spectrum:
    return {role: round(value, 4) for role, value in zip(roles, values.tolist(), strict=True)}


def _spectra(c: Candidate, looks: Sequence[Look]) -> tuple[Spectrum, ...]:
    if not looks:
        return ()
    parts = ((look, c.inside & _seen(look)) for look in looks)
    least = max(1, 0.5 * c.inside.sum())
    return tuple(
        _spectrum(c.roles, look.values[:, where].mean(axis=1, dtype=np.float64))
        for look, where in parts
        if where.sum() >= least
    )


def _explained(c: Candidate, core: Array, ground: Array, reach_px: float) -> float | None:
    """Part of the change that the best displacement of the before date within the reach takes away.

    Source: Thonfeld et al. (2016), robust change vector analysis, here over one patch and below the pixel.
    """
    scratch = np.empty(core.size)

    def left(row_px: float, col_px: float) -> float:
        rest: float = change_left(
            c.before.values, c.after.values, core, ground, _MIN_GROUND_PX, row_px, col_px, scratch
        )
        return rest

    still = left(0.0, 0.0)
    if still <= 0:
        return None
    moved = (left(row * px, col * px) for row, col in _DIRECTIONS for px in (reach_px / 2, reach_px))
    return 1 - min(still, *moved) / still


def _along_gap(c: Candidate, gap_px: int) -> float:
    gap = (c.before.state == State.NO_DATA) ^ (c.after.state == State.NO_DATA)
    near = ndimage.maximum_filter(gap.astype(np.uint8), size=2 * gap_px + 1, mode="constant") > 0
    return float(near[c.inside].mean())


def _rim(c: Candidate, rim: Array, ground: Array) -> tuple[float, float]:
    """Shares of the rim that are water in both dates, and brighter than the ground around in both."""
    if not rim.any():
        return 0.0, 0.0
    wet = [water_index(look.values, c.roles) for look in (c.before, c.after)]
    shores = [w[rim] > 0 for w in wet if w is not None]
    shore = float(np.logical_and.reduce(shores).mean()) if shores else 0.0
    bright = []
    for look in (c.before, c.after):
        level = look.values.mean(axis=0, dtype=np.float64)
        middle = float(np.median(level[ground])) if ground.any() else np.inf
        bright.append(level[rim] > 1.25 * middle)
    return shore, float((bright[0] & bright[1]).mean())


def ndvi_swing(spectra: Sequence[Spectrum]) -> float | None:
    """Return the range of NDVI over dates; None with fewer than two."""
    values = [v for v in map(ndvi, spectra) if v is not None]
    return max(values) - min(values) if len(values) >= 2 else None
