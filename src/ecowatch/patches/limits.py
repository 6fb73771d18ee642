"""What the images of a review cannot show: stated on the output, never guessed."""

from __future__ import annotations

from collections.abc import Collection

from ..codes import Limit

_RADAR = frozenset({"vv", "vh", "hh", "hv"})
_SHARP_M = 2.0


def limits_of(pixel_m: float, roles: Collection[str], *, slope: bool = False) -> tuple[Limit, ...]:
    """Return what patches of these images cannot tell, in a fixed order.

    Parameters
    ----------
    pixel_m
        Side of a pixel, metres.
    roles
        Band roles that both dates have.
    slope
        Whether the slope of the ground is given to the rules.

    Returns
    -------
    tuple of Limit
        Each with its Chinese and English sentence. Underwater acts, wind turbines and dredging always stand there: no
        image of a review shows them.
    """
    told = {Limit.BLASTING, Limit.DREDGING, Limit.TURBINES}
    if pixel_m > _SHARP_M:
        told |= {Limit.SMALL_WEIRS, Limit.NARROW_ROADS}
    if roles and _RADAR.issuperset(roles):
        told.add(Limit.RADAR_ONLY)
    else:
        told |= {Limit.NO_INFRARED} if "nir" not in roles else set()
        told |= {Limit.NO_SWIR} if not {"swir1", "swir2"} & set(roles) else set()
    if not slope:
        told.add(Limit.NO_SLOPE)
    return tuple(limit for limit in Limit if limit in told)
