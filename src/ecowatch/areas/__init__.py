"""Boundaries of protected areas and red lines: read, repaired, versioned, laid over patches."""

from .boundaries import read_areas, read_carriers, zone_code
from .model import Area, Carriers, ZonePart, boundary_version
from .overlay import (
    Overlay,
    majority,
    overlap_shares,
    overlap_shares_of,
    overlaps_between,
    prepared,
    union_area_m2,
)

__all__ = [
    "Area",
    "Carriers",
    "Overlay",
    "ZonePart",
    "boundary_version",
    "majority",
    "overlap_shares",
    "overlap_shares_of",
    "overlaps_between",
    "prepared",
    "read_areas",
    "read_carriers",
    "union_area_m2",
    "zone_code",
]
