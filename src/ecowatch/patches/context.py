"""What pixels tell of a patch beyond its means: shares of covers, its rim, the ground around, regular spacing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import ndimage

Array = np.ndarray[Any, Any]

_VEGETATED = 0.35
_BRIGHT = 0.25
_MIN_SIDE_PX = 12


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
    before: Array, after: Array, valid: Array, inside: Array, roles: Sequence[str], *, ring_px: int
) -> Context:
    """Return the context of one patch from the pixels of its window.

    Parameters
    ----------
    before, after
        float, ``(band, row, col)``, reflectance or brightness 0–1 over the patch's window and at least `ring_px` around.
    valid
        Bool, ``(row, col)``: usable in both dates.
    inside
        Bool, ``(row, col)``: the patch.
    roles
        Band roles.
    ring_px
        Width of the ring, in pixels.

    Raises
    ------
    ValueError
        Where the arrays are not of one shape.
    """
    if not before.shape == after.shape == (len(roles), *valid.shape) or inside.shape != valid.shape:
        raise ValueError(
            f"shapes {before.shape}, {after.shape}, {valid.shape} and {inside.shape} do not belong together"
        )
    core = inside & valid
    ring = ndimage.binary_dilation(inside, iterations=ring_px) & ~inside & valid
    return Context(
        _shares(before[:, core], roles),
        _shares(after[:, core], roles),
        _shares(before[:, ring], roles).get("water"),
        _shares(after[:, ring], roles).get("water"),
        regularity(after, inside),
    )


def covers(values: Array, roles: Sequence[str]) -> dict[str, Array]:
    """Return which pixels are ``water``, ``vegetation`` and ``bright``: bool, one per pixel each, as far as bands tell.

    Parameters
    ----------
    values
        float, ``(band, …)``, reflectance 0–1.
    roles
        Band roles.
    """
    band = dict(zip(roles, values, strict=True))
    found: dict[str, Array] = {}
    visible = [band[role] for role in ("green", "red", "blue") if role in band]
    infrared = [band[role] for role in ("nir", "swir1", "swir2") if role in band]
    if visible and infrared:
        found["water"] = visible[0] > np.max(infrared, axis=0)
    if {"red", "nir"} <= band.keys():
        found["vegetation"] = band["nir"] - band["red"] > _VEGETATED * (band["nir"] + band["red"])
    if visible:
        found["bright"] = np.mean(visible, axis=0) > _BRIGHT
    return found


def _shares(values: Array, roles: Sequence[str]) -> dict[str, float]:
    if values.shape[1] == 0:
        return {}
    return {name: round(float(cover.mean()), 3) for name, cover in covers(values, roles).items()}


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
    part = np.s_[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    within = inside[part].astype(np.float64)
    grey = values.mean(axis=0, dtype=np.float64)[part]
    smooth = ndimage.gaussian_filter(grey * within, 4.0) / np.maximum(ndimage.gaussian_filter(within, 4.0), 1e-6)
    detail = (grey - smooth) * within
    peaks = []
    for profile in (detail.sum(axis=0), detail.sum(axis=1), *_diagonals(detail)):
        peaks.append(_second_peak(profile))
    return round(max(peaks), 2)


def _diagonals(detail: Array) -> tuple[Array, Array]:
    row, col = np.indices(detail.shape)
    down = np.bincount((row + col).ravel(), weights=detail.ravel())
    up = np.bincount((row - col + detail.shape[1] - 1).ravel(), weights=detail.ravel())
    return down, up


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
