"""Write the sample: two Sentinel-2 dates, two UAV orthomosaics, two areas, and the truth about what changed.

Everything is simulated and seeded; running it twice gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import shapely
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from ecowatch.grid import Grid, transformed
from ecowatch.raster import write_geotiff
from ecowatch.simulate import (
    Conditions,
    PlantedChange,
    flight_outline,
    simulated_pair,
    simulated_uav_pair,
    write_safe,
)

SEED = 20260427
SATELLITE = Grid.from_parts("EPSG:32650", (10, 0, 512_000, 0, -10, 3_456_000), (700, 700))
# CGCS2000 / 3-degree Gauss-Krüger, central meridian 117° E: what surveyors in this place deliver.
UAV = Grid.from_parts("EPSG:4548", (0.25, 0, 521_000, 0, -0.25, 3_446_500), (700, 900))
CGCS2000 = CRS.from_epsg(4490)

BEFORE = Conditions(cloud_share=0.04)
AFTER = Conditions(shift_px=(0.35, -0.25), gain=1.04, haze=0.006, season=-0.08, lake_gain=1.12, cloud_share=0.06)
UAV_AFTER = Conditions(shift_px=(1.6, -1.2), gain=1.05, haze=0.01)
ALLOWED = frozenset({"EPSG:4326=EPSG:4490"})


def main() -> None:
    """Read the arguments and write the sample."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "demo", help="folder to write")
    out = parser.parse_args().out
    for name in ("sentinel2", "uav"):
        shutil.rmtree(out / name, ignore_errors=True)
    reserve, redline = reserve_zones(SATELLITE), uav_redline(UAV)
    satellite = write_satellite(out / "sentinel2", shapely.union_all(list(reserve.values())))
    uav = write_uav(out / "uav", redline)
    write_reserve(out / "reserve.geojson", reserve)
    write_redline(out / "redline.geojson", redline)
    truth = [feature(c, "s2", SATELLITE.crs) for c in satellite] + [feature(c, "uav", UAV.crs) for c in uav]
    write_geojson(out / "truth.geojson", truth)


def write_satellite(folder: Path, within: BaseGeometry) -> tuple[PlantedChange, ...]:
    """Write the two SAFE trees and return what changed."""
    pair = simulated_pair(SATELLITE, seed=SEED, before=BEFORE, after=AFTER, within=within)
    for date, acquired, platform in (
        (pair.before, datetime(2025, 4, 22, 2, 55, 51, tzinfo=UTC), "S2B"),
        (pair.after, datetime(2026, 4, 27, 2, 55, 49, tzinfo=UTC), "S2C"),
    ):
        write_safe(folder, date.bands, date.scl, SATELLITE, acquired, platform=platform)
    return pair.changes


def write_uav(folder: Path, within: BaseGeometry) -> tuple[PlantedChange, ...]:
    """Write the two orthomosaics and return what changed."""
    pair = simulated_uav_pair(UAV, seed=SEED, after=UAV_AFTER, within=within)
    for name, values in (("uav_20250510.tif", pair.before), ("uav_20260512.tif", pair.after)):
        write_geotiff(folder / name, values, UAV, alpha=True, color=True)
    return pair.changes


def reserve_zones(grid: Grid) -> dict[str, BaseGeometry]:
    """Return the zones of the reserve, from the inside out; they share their edges and do not overlap."""
    left, bottom, right, top = grid.bounds
    outer = shapely.box(left, bottom, right, top).buffer(-250, join_style="mitre")
    # Bent edges, as real boundaries have them.
    corner = shapely.Polygon([(left, top), (left + 1500, top), (left, top - 1100)])
    notch = shapely.Polygon([(right, bottom), (right - 1300, bottom), (right, bottom + 1700)])
    outer = outer.difference(corner).difference(notch)
    buffer, core = (shapely.Point(*outer.centroid.coords[0]).buffer(r, quad_segs=12) for r in (2600, 1500))
    return {"核心区": core, "缓冲区": buffer.difference(core), "实验区": outer.difference(buffer)}


def uav_redline(grid: Grid) -> BaseGeometry:
    """Return the red line's polygon: inside both flights, a little smaller."""
    flown = shapely.intersection_all([flight_outline(grid, seed=SEED + number) for number in range(2)])
    return flown.buffer(-6).simplify(1.0)


def write_reserve(path: Path, reserve: dict[str, BaseGeometry]) -> None:
    """Write the reserve, one row per zone, in CGCS2000 longitude and latitude."""
    rows = [
        polygon(geometry, SATELLITE.crs, area_id="demo-reserve", name="示范自然保护区", zone=zone)
        for zone, geometry in reserve.items()
    ]
    write_geojson(path, rows)


def write_redline(path: Path, redline: BaseGeometry) -> None:
    """Write the red line, one row without zones, in CGCS2000 longitude and latitude."""
    write_geojson(path, [polygon(redline, UAV.crs, area_id="demo-redline", name="示范生态红线")])


def feature(change: PlantedChange, scene: str, crs: CRS) -> dict[str, Any]:
    """Return a planted change as a GeoJSON feature."""
    area = round(change.area_m2, 1)
    return polygon(change.geometry, crs, kind=change.kind, scene=scene, area_m2=area, under_cloud=change.under_cloud)


def polygon(geometry: BaseGeometry, crs: CRS, **properties: object) -> dict[str, Any]:
    """Return a GeoJSON feature in CGCS2000, rounded to a centimetre."""
    # A straight edge in the plane is a curve in degrees; points every 200 m keep it in place.
    moved = transformed(shapely.segmentize(geometry, 200.0), crs, CGCS2000, ALLOWED)
    rounded = shapely.set_precision(moved, 1e-7)
    return {"type": "Feature", "properties": properties, "geometry": shapely.geometry.mapping(rounded)}


def write_geojson(path: Path, features: list[dict[str, Any]]) -> None:
    """Write features with the CRS named, as GeoJSON of 2008 did and GIS programs still read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    collection = {
        "type": "FeatureCollection",
        "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::4490"}},
        "features": features,
    }
    path.write_text(json.dumps(collection, ensure_ascii=False, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
