"""What a second look at a candidate measures: its own window on all dates that show it.

Every fact is a number (None where the image cannot tell); `suppress` decides on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from scipy import ndimage

from ..codes import State
from ..prepare import ndvi
from .candidate import Candidate, Look

Array = np.ndarray[Any, Any]
Spectrum = dict[str, float]

# Ground nearer to the patch than this shares its mixed pixels.
_APART_PX = 2.0
_MIN_TEXTURE_PX = 16
_MIN_GROUND_PX = 20
_DIRECTIONS = tuple((np.sin(a), np.cos(a)) for a in np.arange(8) * np.pi / 4)


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
        self._usable = _usable(candidate)
        self._core = candidate.inside & self._usable
        if not self._core.any():
            raise ValueError("no pixel of the candidate is usable in both dates")

    @cached_property
    def _outside_px(self) -> Array:
        distance: Array = ndimage.distance_transform_edt(~self._c.inside)
        return distance

    @cached_property
    def _ground(self) -> Array:
        ground: Array = self._usable & (self._outside_px > _APART_PX)
        return ground

    @cached_property
    def _within(self) -> tuple[Array, Array]:
        """Pixels of the patch that both dates show: ``(band, n)`` of the before and of the after date."""
        return self._c.before.values[:, self._core], self._c.after.values[:, self._core]

    @cached_property
    def before(self) -> Spectrum:
        """Mean spectrum of the patch on the before date, by role."""
        return _means(self._c.roles, self._within[0])

    @cached_property
    def after(self) -> Spectrum:
        """Mean spectrum of the patch on the after date, by role."""
        return _means(self._c.roles, self._within[1])

    @cached_property
    def earlier(self) -> tuple[Spectrum, ...]:
        """Mean spectra of the earlier dates that show at least half of the patch."""
        return _spectra(self._c, self._c.earlier)

    @cached_property
    def later(self) -> tuple[Spectrum, ...]:
        """Mean spectra of the later dates that show at least half of the patch."""
        return _spectra(self._c, self._c.later)

    @cached_property
    def _like(self) -> Array:
        near = np.abs(self._c.before.values - _column(self.before, self._c.roles)).max(axis=0) <= self._alike_limit
        like: Array = self._ground & near
        return like

    @cached_property
    def alike_px(self) -> int:
        """Pixels of the ground around that looked like the patch before."""
        return int(self._like.sum())

    @cached_property
    def alike_before(self) -> Spectrum:
        """Median spectrum of that ground on the before date; empty where there is too little of it."""
        return _middle(self._c, self._c.before, self._like) if self.alike_px >= _MIN_GROUND_PX else {}

    @cached_property
    def alike_after(self) -> Spectrum:
        """Median spectrum of that ground on the after date; empty where there is too little of it."""
        return _middle(self._c, self._c.after, self._like) if self.alike_px >= _MIN_GROUND_PX else {}

    @cached_property
    def _texture(self) -> tuple[float | None, float | None]:
        return _texture(*self._within)

    @property
    def texture_kept(self) -> float | None:
        """Correlation of the brightness detail of both dates inside, −1…1."""
        return self._texture[0]

    @property
    def texture_gain(self) -> float | None:
        """Spread of brightness inside after over before, each without the noise of its smallest detail."""
        return self._texture[1]

    @cached_property
    def offset_noise(self) -> float:
        """Spread of the change inside over its size: 0 is one constant offset."""
        return _offset_noise(*self._within)

    @cached_property
    def sharpness(self) -> float | None:
        """Step of the change at the rim over its full height: about 0.6 for an object, near 0 for what fades out."""
        delta = _levelled_change(self._c, self._ground)
        return _sharpness(delta, self._core, self._ground, self._outside_px, self._usable)

    @cached_property
    def width_px(self) -> float:
        """Greatest width."""
        return 2 * float(ndimage.distance_transform_edt(np.pad(self._c.inside, 1)).max()) - 1

    @cached_property
    def _line(self) -> tuple[float, float, float]:
        return _line(self._c.inside)

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
        return _explained(self._c, self._core, self._ground, self._slack_px, self.width_px)

    @cached_property
    def masked_before(self) -> float:
        """Share of the window that the before date hides under cloud or shadow."""
        return float((self._c.before.state == State.MASKED).mean())

    @cached_property
    def masked_after(self) -> float:
        """Share of the window that the after date hides under cloud or shadow."""
        return float((self._c.after.state == State.MASKED).mean())

    @cached_property
    def along_gap(self) -> float:
        """Share of the patch near a pixel for which one date has no data."""
        return _along_gap(self._c, self._gap_px)

    @cached_property
    def saturated_before(self) -> float:
        """Share of the patch with at least two bands (or the only one) at the top on the before date."""
        return _saturated(self._within[0], self._top)

    @cached_property
    def saturated_after(self) -> float:
        """Share of the patch with at least two bands (or the only one) at the top on the after date."""
        return _saturated(self._within[1], self._top)

    @cached_property
    def _rim(self) -> tuple[float, float]:
        rim = self._usable & ~self._c.inside & (self._outside_px <= _APART_PX)
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


def _usable(c: Candidate) -> Array:
    shape = (len(c.roles), *c.inside.shape)
    for look in (c.before, c.after, *c.earlier, *c.later):
        if look.values.shape != shape or look.state.shape != c.inside.shape:
            raise ValueError(f"shapes {look.values.shape}, {look.state.shape} and {shape} do not belong together")
    usable: Array = _seen(c.before) & _seen(c.after)
    return usable


def _seen(look: Look) -> Array:
    seen: Array = (look.state == State.USABLE) | (look.state == State.WEAK) | (look.state == State.STRONG)
    return seen


def _means(roles: Sequence[str], values: Array) -> Spectrum:
    means = values.mean(axis=1, dtype=np.float64)
    return {role: round(float(value), 4) for role, value in zip(roles, means, strict=True)}


def _middle(c: Candidate, look: Look, where: Array) -> Spectrum:
    if not where.any():
        return {}
    values = np.median(look.values[:, where], axis=1)
    return {role: round(float(value), 4) for role, value in zip(c.roles, values, strict=True)}


def _spectra(c: Candidate, looks: Sequence[Look]) -> tuple[Spectrum, ...]:
    parts = ((look, c.inside & _seen(look)) for look in looks)
    least = max(1, 0.5 * c.inside.sum())
    return tuple(_means(c.roles, look.values[:, where]) for look, where in parts if where.sum() >= least)


def _column(spectrum: Spectrum, roles: Sequence[str]) -> Array:
    return np.array([spectrum[role] for role in roles])[:, None, None]


def _levelled_change(c: Candidate, ground: Array) -> Array:
    """After minus before, without what the ground around did: float64, ``(band, row, col)``."""
    delta = c.after.values.astype(np.float64) - c.before.values
    level = np.median(delta[:, ground], axis=1) if ground.sum() >= _MIN_GROUND_PX else np.zeros(len(delta))
    result: Array = delta - level[:, None, None]
    return result


def _texture(before: Array, after: Array) -> tuple[float | None, float | None]:
    if before.shape[1] < _MIN_TEXTURE_PX:
        return None, None
    first, second = (values.mean(axis=0, dtype=np.float64) for values in (before, after))
    spread = float(first.std()), float(second.std())
    if min(spread) < 1e-4:
        return None, spread[1] / max(spread[0], 1e-4)
    kept = float(np.mean((first - first.mean()) * (second - second.mean())) / (spread[0] * spread[1]))
    return kept, spread[1] / spread[0]


def _offset_noise(before: Array, after: Array) -> float:
    delta = (after - before).mean(axis=0, dtype=np.float64)
    return float(delta.std() / max(abs(delta.mean()), 1e-6))


def _sharpness(delta: Array, core: Array, ground: Array, outside_px: Array, usable: Array) -> float | None:
    depth = ndimage.distance_transform_edt(core)
    middle = depth >= 3
    if middle.sum() < 4 or ground.sum() < _MIN_GROUND_PX:
        return None
    main = delta[:, middle].mean(axis=1)
    along = np.tensordot(main / max(float(np.linalg.norm(main)), 1e-9), delta, axes=1)
    rim, beyond = core & (depth < 1.5), usable & (outside_px > 0) & (outside_px < 1.5)
    if not rim.any() or not beyond.any():
        return None
    height = float(np.median(along[middle])) - float(np.median(along[ground]))
    return float(np.median(along[rim]) - np.median(along[beyond])) / height if height > 1e-6 else None


def _line(inside: Array) -> tuple[float, float, float]:
    """Extent along the main axis, root mean square distance from it, and its angle off a multiple of 45°."""
    points = np.argwhere(inside).astype(np.float64)
    points -= points.mean(axis=0)
    (xx, xy), (_, yy) = (points.T @ points) / len(points)
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    along = points @ np.array([np.cos(angle), np.sin(angle)])
    across = points @ np.array([-np.sin(angle), np.cos(angle)])
    off = abs((np.degrees(angle) + 22.5) % 45 - 22.5)
    return float(np.ptp(along)) + 1, float(np.sqrt(np.mean(across**2))), float(off)


def _explained(c: Candidate, core: Array, ground: Array, slack_px: float, width_px: float) -> float | None:
    """Part of the change that the best displacement of the before date within the residual takes away.

    Source: Thonfeld et al. (2016), robust change vector analysis, here over one patch and below the pixel.
    """
    # A displacement explains an edge of its own width only; trying it on any other patch costs time for nothing.
    if c.shift_px is None or width_px > 2 * (c.shift_px + slack_px) + 1:
        return None
    reach = c.shift_px + slack_px
    still = float(np.sum(_levelled_change(c, ground)[:, core] ** 2))
    if still <= 0:
        return None
    least = still
    for row, col in _DIRECTIONS:
        for length in (reach / 2, reach):
            step = (0, row * length, col * length)
            moved = ndimage.shift(c.before.values.astype(np.float64), step, order=1, mode="nearest")
            rest = c.after.values - moved
            rest -= np.median(rest[:, ground], axis=1)[:, None, None] if ground.sum() >= _MIN_GROUND_PX else 0
            least = min(least, float(np.sum(rest[:, core] ** 2)))
    return 1 - least / still


def _along_gap(c: Candidate, gap_px: int) -> float:
    gap = (c.before.state == State.NO_DATA) ^ (c.after.state == State.NO_DATA)
    if not gap.any():
        return 0.0
    near = ndimage.maximum_filter(gap.astype(np.uint8), size=2 * gap_px + 1, mode="constant") > 0
    return float(near[c.inside].mean())


def _saturated(values: Array, top: float) -> float:
    bands = (values >= top).sum(axis=0)
    return float((bands >= min(2, values.shape[0])).mean())


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
