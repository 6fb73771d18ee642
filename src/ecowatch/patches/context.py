"""What pixels tell of a patch beyond its means: shares of covers, its rim, the ground around, regular spacing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ._look_kernels import count_covers, detail_profiles, mark_ring

Array = np.ndarray[Any, Any]

_VEGETATED = 0.35
_BRIGHT = 0.25
_MIN_SIDE_PX = 12
# A Gaussian of four pixels, cut off at four times that.
_SMOOTHING = np.exp(-0.5 * (np.arange(-16, 17) / 4.0) ** 2)
_SMOOTHING /= _SMOOTHING.sum()


@dataclass(frozen=True)
class Context:
    """Facts about a patch that need its pixels.

    Parameters
    ----------
    before, after
        Shares 0–1 of the patch that were ``water``, ``vegetation``, ``bright``; a cover that the bands cannot tell is
        absent.
    around_before, around_after
        Shares 0–1 of a ring around the patch that were ``water``.
    regularity
        Height 0–1 of the strongest repeated spacing inside the patch; 0 where there is none.
    """

    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)
    around_before: float | None = None
    around_after: float | None = None
    regularity: float = 0.0


def context_of(
    before: Array,
    after: Array,
    valid: Array,
    inside: Array,
    roles: Sequence[str],
    *,
    ring_px: int,
    dark: tuple[Mapping[str, float], Mapping[str, float]] = ({}, {}),
) -> Context:
    """Return the context of one patch from the pixels of its window.

    Parameters
    ----------
    before, after
        float32, ``(band, row, col)``, reflectance or brightness 0–1 over the patch's window and at least `ring_px` around.
    valid
        Bool, ``(row, col)``: usable in both dates.
    inside
        Bool, ``(row, col)``: the patch.
    roles
        Band roles.
    ring_px
        Width of the ring, in pixels.
    dark
        Dark level by role of each date, taken off before anything is judged; 0 where it is absent.

    Raises
    ------
    ValueError
        Where the arrays are not of one shape.
    """
    if not before.shape == after.shape == (len(roles), *valid.shape) or inside.shape != valid.shape:
        raise ValueError(
            f"shapes {before.shape}, {after.shape}, {valid.shape} and {inside.shape} do not belong together"
        )
    ring = np.empty(inside.shape, bool)
    mark_ring(inside, valid, ring_px, ring)
    core = inside & valid
    levels = [np.array([level.get(role, 0.0) for role in roles], np.float32) for level in dark]
    return Context(
        cover_shares(before, core, roles, dark=levels[0]),
        cover_shares(after, core, roles, dark=levels[1]),
        cover_shares(before, ring, roles, dark=levels[0]).get("water"),
        cover_shares(after, ring, roles, dark=levels[1]).get("water"),
        regularity(after, inside),
    )


def cover_shares(values: Array, where: Array, roles: Sequence[str], *, dark: Array) -> dict[str, float]:
    """Return the shares 0–1 of pixels that are ``water``, ``vegetation`` and ``bright``, 3 decimals, as far as bands tell.

    Parameters
    ----------
    values
        float32, ``(band, row, col)``, reflectance 0–1.
    where
        Bool, ``(row, col)``: the pixels; without any, nothing is told.
    roles
        Band roles.
    dark
        float32, ``(band,)``, taken off the values.
    """
    number = {role: i for i, role in enumerate(roles)}
    visible = [number[role] for role in ("green", "red", "blue") if role in number]
    infrared = [number[role] for role in ("nir", "swir1", "swir2") if role in number]
    counts = np.empty(4, np.int64)
    count_covers(
        values,
        where,
        dark,
        np.array(visible, np.int64),
        np.array(infrared, np.int64),
        number.get("red", -1),
        number.get("nir", -1),
        np.float32(_VEGETATED),
        np.float32(_BRIGHT),
        counts,
    )
    told = {
        "water": bool(visible and infrared),
        "vegetation": {"red", "nir"} <= number.keys(),
        "bright": bool(visible),
    }
    *found, pixels = counts.tolist()
    return {
        name: round(n / pixels, 3) for (name, known), n in zip(told.items(), found, strict=True) if known and pixels
    }


def regularity(values: Array, inside: Array) -> float:
    """Return how regularly the inside of a patch repeats itself, 0–1: rows of panels, ponds, roofs.

    The mean of the bands, less its own smooth course, is correlated with itself; of interest is the highest peak that
    is parted from the centre by a trough.

    Parameters
    ----------
    values
        float, ``(band, row, col)``.
    inside
        Bool, ``(row, col)``.

    Source
    ------
    Autocorrelation by Wiener & Khinchin; the trough rule is ours.
    """
    rows, cols = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if len(rows) < _MIN_SIDE_PX or len(cols) < _MIN_SIDE_PX:
        return 0.0
    row, col = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
    part = inside[row, col]
    height, width = part.shape
    profiles = np.zeros((4, height + width))
    detail_profiles(values[:, row, col], part, _SMOOTHING, profiles)
    lengths = (width, height, height + width - 1, height + width - 1)
    return round(max(_second_peak(profile[:n]) for profile, n in zip(profiles, lengths, strict=True)), 2)


def _second_peak(profile: Array) -> float:
    """Height of the first peak of the autocorrelation after its first trough, 0–1."""
    profile = profile - profile.mean()
    power = float(profile @ profile)
    if power <= 0:
        return 0.0
    lags = np.correlate(profile, profile, "full")[len(profile) - 1 :][: len(profile) // 2] / power
    negative = np.flatnonzero(lags < 0)
    return float(max(lags[negative[0] :].max(), 0.0)) if len(negative) else 0.0


def dark_levels(values: Array, valid: Array, *, quantile: float) -> tuple[float, ...]:
    """Return the dark level of each band: what air and sensor add where the ground sends nothing back.

    Only for images that are not surface reflectance (8-bit numbers, say): there the indices of activity are wrong until
    it is taken off.

    Parameters
    ----------
    values
        float, ``(band, row, col)`` or ``(band, n)``.
    valid
        Bool, of the pixels.
    quantile
        Share of pixels that are darker.

    Source
    ------
    Chavez (1988), dark-object subtraction.
    """
    return tuple(float(v) for v in np.quantile(values[:, valid].astype(np.float64), quantile, axis=1))
