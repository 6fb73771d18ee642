"""What a boundary is once it is read: an area with its zones, a layer of carriers, and the digest that names a version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from ..errors import BoundaryError
from ..grid import epsg_of, geodesic_area_m2, same_crs, transformed, wkt_of

_FINE_DEG = 0.001
_FINE_M = 100.0
_DIGEST_DECIMALS_DEG = 9
_DIGEST_DECIMALS_M = 4


@dataclass(frozen=True)
class ZonePart:
    """One management zone of an area: a code of `codes.Zone`, or the file's own text where it is none."""

    zone: str
    geometry: BaseGeometry


@dataclass(frozen=True)
class Area:
    """A protected area or red line, repaired, with its zones.

    Parameters
    ----------
    area_id, name, kind
        Identity, name and ``protected_area`` or ``red_line``.
    geometry
        Polygon or MultiPolygon, valid, in `crs`, longitude/easting first.
    crs
        CRS of `geometry` and of the zones.
    zones
        Zones sorted by code; empty where the layer tells none.
    version
        SHA-256 of what the file says (see `boundary_version`); a transformed area keeps the version of its source.
    source
        Name of the file.
    notes
        What was repaired or looks odd, one sentence each, beginning with a stable name.
    """

    area_id: str
    name: str
    kind: str
    geometry: BaseGeometry
    crs: CRS
    zones: tuple[ZonePart, ...]
    version: str
    source: str
    notes: tuple[str, ...] = ()

    @property
    def area_m2(self) -> float:
        """Area on the ellipsoid, in m²."""
        return geodesic_area_m2(self.geometry, self.crs)

    def in_crs(self, crs: CRS, allowed: frozenset[str] = frozenset()) -> Area:
        """Return the area in `crs`; version and notes stay those of the source.

        Parameters
        ----------
        crs
            Target CRS.
        allowed
            Pairs of datums that may be taken as equal, see `grid.coordinate_transformer`.

        Raises
        ------
        GridError
            ``DATUM_AMBIGUOUS`` where only a guessed datum shift exists and the pair is not allowed.
        BoundaryError
            ``OUTSIDE_CRS`` where the target projection has no coordinates for the area.
        """
        if same_crs(crs, self.crs):
            return self
        return replace(
            self,
            geometry=moved(self.geometry, self.crs, crs, allowed, self.area_id),
            crs=crs,
            zones=tuple(ZonePart(z.zone, moved(z.geometry, self.crs, crs, allowed, self.area_id)) for z in self.zones),
        )


@dataclass(frozen=True, eq=False)
class Carriers:
    """Polygons of what was there before.

    Parameters
    ----------
    geometries
        object, (polygon,), valid shapely polygons in `crs`.
    labels
        The carrier of each polygon.
    crs
        CRS of `geometries`.
    version
        SHA-256 of labels, CRS and geometries, independent of row order and file format.
    source
        Name of the file.
    notes
        Repairs and rows left out.
    """

    geometries: NDArray[np.object_]
    labels: tuple[str, ...]
    crs: CRS
    version: str
    source: str
    notes: tuple[str, ...] = ()

    @property
    def parts(self) -> list[tuple[str, BaseGeometry]]:
        """The polygons as (label, geometry), the form `overlay` takes."""
        return list(zip(self.labels, self.geometries, strict=True))

    def in_crs(self, crs: CRS, allowed: frozenset[str] = frozenset()) -> Carriers:
        """Return the carriers in `crs`; what is refused is as in `Area.in_crs`."""
        if crs == self.crs:
            return self
        geometries = np.empty(len(self.geometries), dtype=object)
        geometries[:] = [moved(g, self.crs, crs, allowed, self.source) for g in self.geometries]
        return replace(self, geometries=geometries, crs=crs)


def polygonal(geometry: BaseGeometry) -> BaseGeometry:
    """Return the polygon parts of any geometry as Polygon or MultiPolygon (empty where there are none)."""
    if geometry.geom_type in ("Polygon", "MultiPolygon"):
        return geometry
    flat = shapely.get_parts(shapely.get_parts(geometry))
    kept = [p for p in flat if p.geom_type == "Polygon" and not p.is_empty]
    return kept[0] if len(kept) == 1 else shapely.MultiPolygon(kept)


def dissolved(geometries: Sequence[BaseGeometry]) -> BaseGeometry:
    """Return the union of polygons, the same for any order of them; a single one is returned as it is."""
    if len(geometries) == 1:
        return geometries[0]
    ordered = sorted((shapely.normalize(g) for g in geometries), key=shapely.to_wkb)
    return polygonal(shapely.union_all(ordered))


def moved(geometry: BaseGeometry, source: CRS, target: CRS, allowed: frozenset[str], where: str) -> BaseGeometry:
    """Return polygons in `target`; long edges are cut first, so that they stay where they were drawn.

    Raises
    ------
    BoundaryError
        ``OUTSIDE_CRS`` where the projection has no finite coordinates.
    """
    dense = shapely.segmentize(geometry, _step(source, _FINE_DEG * 10, _FINE_M * 10))
    result = transformed(dense, source, target, allowed)
    if not np.isfinite(shapely.get_coordinates(result)).all():
        raise BoundaryError(
            "OUTSIDE_CRS",
            where,
            f"it has no coordinates in {target.name}",
            "check the CRS of the file and of the scenes",
        )
    if not result.is_valid:
        return polygonal(shapely.make_valid(result, method="structure"))
    # Of two systems that are taken as equal, the outline that is held already.
    return geometry if result.wkb == geometry.wkb else result


def boundary_version(head: Sequence[str], crs: CRS, parts: Sequence[tuple[str, BaseGeometry]]) -> str:
    """Return the SHA-256 hex that names one version of a boundary, whatever file and row order it came in.

    Coordinates are taken to 1e-9 degree or 0.1 mm: text formats lose the last bits of a number.

    Parameters
    ----------
    head
        Texts that belong to the identity: id, name, kind.
    crs
        CRS of the geometries.
    parts
        (label, geometry) pairs; their order does not matter.
    """
    decimals = _DIGEST_DECIMALS_DEG if crs.is_geographic else _DIGEST_DECIMALS_M
    total = hashlib.sha256(json.dumps([*head, crs_name(crs)], ensure_ascii=False).encode())
    for label, wkb in sorted((label, _canonical_wkb(geometry, decimals)) for label, geometry in parts):
        total.update(json.dumps([label, len(wkb)], ensure_ascii=False).encode())
        total.update(wkb)
    return total.hexdigest()


def crs_name(crs: CRS) -> str:
    """Return ``EPSG:…`` where the CRS is one of that register, else its WKT."""
    code = epsg_of(crs)
    return f"EPSG:{code}" if code else wkt_of(crs)


def _canonical_wkb(geometry: BaseGeometry, decimals: int) -> bytes:
    # Adding zero turns -0.0 into 0.0; one polygon and a multipolygon of one are the same boundary.
    rounded = shapely.transform(geometry, lambda xy: np.round(xy, decimals) + 0.0)
    many = shapely.multipolygons(shapely.get_parts(rounded))
    return bytes(shapely.to_wkb(shapely.normalize(many), byte_order=1))


def _step(crs: CRS, degrees: float, metres: float) -> float:
    if crs.is_geographic:
        return degrees
    return metres / float(crs.axis_info[0].unit_conversion_factor or 1.0)
