"""Water where there was none, or none where there was: told by the infrared, whatever else the two dates differ in.

Water takes nearly all infrared light, land sends it back. Where season, haze or stretching differ so much between two dates
that a score finds them alike in nothing, a place that turned from one into the other still stands out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._kernels import flag_turns

Array = np.ndarray[Any, Any]

INFRARED = ("nir", "swir1", "swir2")
_DARK, _LAND = 0.005, 0.9


@dataclass(frozen=True)
class WaterTurn:
    """Levels between which infrared is neither clearly water nor clearly land.

    Parameters
    ----------
    bands
        Numbers of the infrared bands, in the order of the pipeline's bands.
    wet_before, wet_after
        One level per band, reflectance or brightness: below it in every band is water.
    dry_before, dry_after
        Above it in every band is land.
    """

    bands: tuple[int, ...]
    wet_before: tuple[float, ...]
    wet_after: tuple[float, ...]
    dry_before: tuple[float, ...]
    dry_after: tuple[float, ...]


def fit_water_turn(
    before: Array,
    after: Array,
    roles: tuple[str, ...],
    *,
    wet_share: float,
    dry_share: float,
    least_range: float,
) -> WaterTurn | None:
    """Place the levels on each date's own range from its darkest to its bright ground.

    Parameters
    ----------
    before, after
        float, ``(band, n)``, reflectance or brightness of the same usable pixels; further rows than roles are not looked at.
    roles
        Role of each band.
    wet_share, dry_share
        Share of the range below which a pixel is water, and above which it is land, 0–1.
    least_range
        Smaller ranges, reflectance or brightness, do not tell water from land.

    Returns
    -------
    WaterTurn or None
        None with fewer than two infrared bands, or where one date's range is too small.

    Source
    ------
    Work, E. A. & Gilmer, D. S. (1976): Utilization of satellite data for inventorying prairie ponds and lakes,
    Photogramm. Eng. 42, 685–694, a level in near infrared; here in every infrared band, and of both dates.
    """
    bands = tuple(i for i, role in enumerate(roles) if role in INFRARED)
    if len(bands) < 2:
        return None
    levels = []
    for values in (before, after):
        dark, land = np.quantile(values[list(bands)], (_DARK, _LAND), axis=1)
        if (land - dark).min() < least_range:
            return None
        levels.append([tuple(map(float, dark + share * (land - dark))) for share in (wet_share, dry_share)])
    (wet_b, dry_b), (wet_a, dry_a) = levels
    return WaterTurn(bands, wet_b, wet_a, dry_b, dry_a)


def flag_water_turns(
    before: Array,
    after: Array,
    state: Array,
    fitted: WaterTurn,
    *,
    before_radiometry: tuple[tuple[float, float], ...],
    after_radiometry: tuple[tuple[float, float], ...],
) -> None:
    """Raise usable and weak pixels to STRONG where land became water or water land.

    Parameters
    ----------
    before, after
        Integer, ``(band, row, col)``, the files' own numbers.
    state
        uint8 of `State`, ``(row, col)``, raised in place.
    fitted
        Levels.
    before_radiometry, after_radiometry
        (scale, offset) per band.
    """
    wet = _limits(fitted.bands, (fitted.wet_before, fitted.wet_after), (before_radiometry, after_radiometry), math.ceil)
    dry = _limits(
        fitted.bands, (fitted.dry_before, fitted.dry_after), (before_radiometry, after_radiometry), math.floor
    )
    flag_turns(before, after, np.array(fitted.bands, np.int64), wet, dry, state)


def _limits(
    bands: tuple[int, ...],
    levels: tuple[tuple[float, ...], tuple[float, ...]],
    radiometry: tuple[tuple[tuple[float, float], ...], tuple[tuple[float, float], ...]],
    whole: Callable[[float], int],
) -> Array:
    """Levels as whole numbers of the files, int64 ``(2, band)``: what is compared is not converted."""
    rows = [
        [whole((level - own[band][1]) / own[band][0]) for band, level in zip(bands, date, strict=True)]
        for date, own in zip(levels, radiometry, strict=True)
    ]
    return np.array(rows, np.int64)
