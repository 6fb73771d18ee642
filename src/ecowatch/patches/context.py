"""What pixels tell of a patch beyond its means: shares of covers, its rim, the ground around, regular spacing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ._context_kernels import count_covers, detail_profiles, mark_parts, mark_spans, second_peak

Array = np.ndarray[Any, Any]

_COVERS = ("water", "vegetation", "bright")
_VEGETATED = np.float32(0.35)
_BRIGHT = np.float32(0.25)
_MIN_SIDE_PX = 12
# A Gaussian of four pixels, cut off at four times that; the kernel takes three taps at a time.
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
    parts = np.empty(inside.shape, np.uint8)
    mark_parts(inside, valid, ring_px, parts)
    levels = [np.array([level.get(role, 0.0) for role in roles], np.float32) for level in dark]
    own_before, around_before = cover_shares(before, parts, roles, dark=levels[0])
    own_after, around_after = cover_shares(after, parts, roles, dark=levels[1])
    return Context(
        own_before, own_after, around_before.get("water"), around_after.get("water"), regularity(after, inside)
    )


class _CoverBands(NamedTuple):
    """Numbers of the bands that tell covers; -1 for a red or nir that is missing; `told` are the covers that can be told."""

    visible: Array
    infrared: Array
    red: int
    nir: int
    told: tuple[bool, bool, bool]


@lru_cache(maxsize=16)
def _cover_bands(roles: tuple[str, ...]) -> _CoverBands:
    number = {role: i for i, role in enumerate(roles)}
    visible = [number[role] for role in ("green", "red", "blue") if role in number]
    infrared = [number[role] for role in ("nir", "swir1", "swir2") if role in number]
    told = bool(visible and infrared), {"red", "nir"} <= number.keys(), bool(visible)
    bands = np.array(visible, np.int64), np.array(infrared, np.int64)
    return _CoverBands(*bands, number.get("red", -1), number.get("nir", -1), told)


def cover_shares(values: Array, parts: Array, roles: Sequence[str], *, dark: Array) -> list[dict[str, float]]:
    """Return the shares 0–1 of pixels that are ``water``, ``vegetation`` and ``bright``, 3 decimals, as far as bands tell.

    Parameters
    ----------
    values
        float32, ``(band, row, col)``, reflectance 0–1.
    parts
        uint8, ``(row, col)``: pixels of the patch (1) and of the ring (2); of a part without any, nothing is told.
    roles
        Band roles.
    dark
        float32, ``(band,)``, taken off the values.

    Returns
    -------
    list
        Of the patch, then of the ring.
    """
    *bands, told = _cover_bands(tuple(roles))
    counts = np.empty((2, 4), np.int64)
    count_covers(values, parts, dark, *bands, _VEGETATED, _BRIGHT, counts)
    return [
        {name: round(n / pixels, 3) for name, known, n in zip(_COVERS, told, found, strict=True) if known and pixels}
        for *found, pixels in counts.tolist()
    ]


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
    spans = np.empty((len(inside), 2), np.int64)
    mark_spans(inside, spans)
    rows = np.flatnonzero(spans[:, 1])
    if len(rows) < _MIN_SIDE_PX:
        return 0.0
    row0, col0 = int(rows[0]), int(spans[rows, 0].min())
    spans = np.maximum(spans[row0 : rows[-1] + 1] - col0, 0)
    height, width = len(spans), int(spans.max())
    if width < _MIN_SIDE_PX:
        return 0.0
    profiles = np.zeros((4, height + width))
    detail_profiles(values, inside, spans, row0, col0, _SMOOTHING, profiles)
    lengths = (width, height, height + width - 1, height + width - 1)
    highest: float = max(second_peak(profile[:n]) for profile, n in zip(profiles, lengths, strict=True))
    return round(highest, 2)


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
