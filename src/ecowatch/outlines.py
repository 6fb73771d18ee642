"""What changed between two outlines: ground gained, ground lost, and ground under weaker protection.

Plain geometries, for two layers need it that must not know each other: `areas`, which reads boundaries, and `ledger`, which
keeps their versions. Which of it matters, the ledger decides: it knows the problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import shapely
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from .codes import Zone
from .grid import CGCS2000, geodesic_area_m2

_STRICTNESS: dict[str, int] = {
    Zone.CORE: 3,
    Zone.CORE_PROTECTION: 3,
    Zone.BUFFER: 2,
    Zone.EXPERIMENTAL: 1,
    Zone.GENERAL_CONTROL: 1,
}
# Ground of the area that no zone covers, and zones that neither system knows.
_UNZONED = 0

Zones = Sequence[tuple[str, BaseGeometry]]


@dataclass(frozen=True)
class ZoneChange:
    """What one zone gained and lost, to whichever neighbour, in m²."""

    zone: str
    gained_m2: float
    lost_m2: float


@dataclass(frozen=True)
class Downgrade:
    """Ground that stayed in the area but is under weaker protection; `to_zone` is '' where no zone covers it any more."""

    from_zone: str
    to_zone: str
    area_m2: float
    geometry: BaseGeometry


@dataclass(frozen=True)
class BoundaryDiff:
    """The difference of two versions of a boundary.

    Parameters
    ----------
    gained_m2, lost_m2
        Area on the ellipsoid; their difference is the difference of the two areas, within 1 m².
    gained, lost
        Polygons, empty where there is nothing.
    zones
        Per zone of either version, by name; zones without change are left out.
    downgraded
        By zones; what left the area altogether is in `lost`, not here.
    """

    gained_m2: float
    lost_m2: float
    gained: BaseGeometry
    lost: BaseGeometry
    zones: tuple[ZoneChange, ...] = ()
    downgraded: tuple[Downgrade, ...] = ()


def diff_outlines(
    old: BaseGeometry, new: BaseGeometry, old_zones: Zones = (), new_zones: Zones = (), *, crs: CRS = CGCS2000
) -> BoundaryDiff:
    """Return what changed between two outlines with their zones.

    Where one of the two versions tells no zones at all, nothing is said of zones: a file without the field is not a
    decision to lift the protection.

    Parameters
    ----------
    old, new
        Polygons in `crs`.
    old_zones, new_zones
        (zone, polygon) pairs in `crs`, one per zone; zones of one version may overlap, the strictest counts.
    crs
        Their CRS.
    """
    old, new = polygon_parts(old), polygon_parts(new)
    old_zones, new_zones = ([(zone, polygon_parts(g)) for zone, g in zones] for zones in (old_zones, new_zones))
    gained, lost = _minus(new, old), _minus(old, new)
    told = bool(old_zones) and bool(new_zones)
    return BoundaryDiff(
        gained_m2=geodesic_area_m2(gained, crs),
        lost_m2=geodesic_area_m2(lost, crs),
        gained=gained,
        lost=lost,
        zones=_zone_changes(dict(old_zones), dict(new_zones), crs) if told else (),
        downgraded=_downgrades(old_zones, new_zones, new, crs) if told else (),
    )


def polygon_parts(geometry: BaseGeometry) -> BaseGeometry:
    """Return the polygons of any geometry, valid, as Polygon or MultiPolygon; empty where there are none."""
    if geometry.geom_type not in ("Polygon", "MultiPolygon"):
        flat = shapely.get_parts(shapely.get_parts(geometry))
        kept = [p for p in flat if p.geom_type == "Polygon" and not p.is_empty]
        geometry = kept[0] if len(kept) == 1 else shapely.MultiPolygon(kept)
    return geometry if geometry.is_valid else polygon_parts(shapely.make_valid(geometry, method="structure"))


def _minus(a: BaseGeometry, b: BaseGeometry) -> BaseGeometry:
    return polygon_parts(shapely.difference(a, b))


def _zone_changes(old: dict[str, BaseGeometry], new: dict[str, BaseGeometry], crs: CRS) -> tuple[ZoneChange, ...]:
    none = shapely.Polygon()
    changes = []
    for zone in sorted(old.keys() | new.keys()):
        before, after = old.get(zone, none), new.get(zone, none)
        gained, lost = (geodesic_area_m2(_minus(*pair), crs) for pair in ((after, before), (before, after)))
        if gained > 0 or lost > 0:
            changes.append(ZoneChange(zone, gained, lost))
    return tuple(changes)


def _downgrades(old_zones: Zones, new_zones: Zones, new: BaseGeometry, crs: CRS) -> tuple[Downgrade, ...]:
    found = []
    for zone, before in old_zones:
        rank = _rank(zone)
        if rank == _UNZONED:
            continue
        as_strict = [geometry for name, geometry in new_zones if _rank(name) >= rank or name == zone]
        weaker = polygon_parts(shapely.intersection(_minus(before, _union(as_strict)), new))
        # Nor is it a downgrade where the old version had a stricter zone too: that zone tells it.
        weaker = _minus(weaker, _union([geometry for name, geometry in old_zones if _rank(name) > rank]))
        found += _by_new_zone(zone, weaker, new_zones, crs)
    return tuple(sorted(found, key=lambda d: (d.from_zone, d.to_zone)))


def _by_new_zone(zone: str, weaker: BaseGeometry, new_zones: Zones, crs: CRS) -> list[Downgrade]:
    """Share the ground out among the zones that now cover it; where several do, the strictest takes it."""
    parts, rest = [], weaker
    # Zones that neither system knows rank below all: whether they protect less is for a person to say.
    for name, geometry in sorted(new_zones, key=lambda pair: (-_rank(pair[0]), pair[0])):
        parts.append((name, polygon_parts(shapely.intersection(rest, geometry))))
        rest = _minus(rest, geometry)
    measured = [(name, part, geodesic_area_m2(part, crs)) for name, part in (*parts, ("", rest))]
    return [Downgrade(zone, name, area_m2, part) for name, part, area_m2 in measured if area_m2 > 0]


def _union(geometries: Sequence[BaseGeometry]) -> BaseGeometry:
    return polygon_parts(shapely.union_all(list(geometries))) if geometries else shapely.Polygon()


def _rank(zone: str) -> int:
    return _STRICTNESS.get(zone, _UNZONED)
