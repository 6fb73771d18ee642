"""What changed between two versions of an area's boundary, zones included."""

from __future__ import annotations

from pyproj import CRS

from ..grid import CGCS2000
from ..outlines import BoundaryDiff, diff_outlines
from .model import Area


def diff_areas(old: Area, new: Area, *, crs: CRS = CGCS2000, allowed: frozenset[str] = frozenset()) -> BoundaryDiff:
    """Return what changed from `old` to `new`.

    Parameters
    ----------
    old, new
        Two versions of one area, in any CRS.
    crs
        CRS of the geometries returned.
    allowed
        Pairs of datums that may be taken as equal, see `grid.coordinate_transformer`.

    Raises
    ------
    GridError
        ``DATUM_AMBIGUOUS`` where only a guessed datum shift exists: it would look like a moved boundary.
    """
    before, after = old.in_crs(crs, allowed), new.in_crs(crs, allowed)
    zones = [[(part.zone, part.geometry) for part in area.zones] for area in (before, after)]
    return diff_outlines(before.geometry, after.geometry, zones[0], zones[1], crs=crs)
