"""Degrees, minutes and seconds, the form in which coordinates are read out and written on forms."""

from __future__ import annotations

import math
from typing import Literal

_SIGNS = {"longitude": ("E", "W", 180), "latitude": ("N", "S", 90)}


def dms(degrees: float, axis: Literal["longitude", "latitude"]) -> str:
    """Return a coordinate as ``112°30'15.00"E``.

    It is rounded once, to a hundredth of a second (0.3 m), before it is cut into parts: there is never a 60th second.

    Parameters
    ----------
    degrees
        Decimal degrees, positive east and north.
    axis
        Which of the two.

    Raises
    ------
    ValueError
        For a coordinate that is on no globe.
    """
    positive, negative, limit = _SIGNS[axis]
    if not math.isfinite(degrees) or abs(degrees) > limit:
        raise ValueError(f"{degrees} is no {axis}")
    hundredths = round(abs(degrees) * 360_000)
    whole, rest = divmod(hundredths, 360_000)
    minutes, rest = divmod(rest, 6_000)
    seconds, hundredths = divmod(rest, 100)
    letter = negative if degrees < 0 and (whole or minutes or rest) else positive
    return f"{whole}°{minutes:02d}'{seconds:02d}.{hundredths:02d}\"{letter}"
