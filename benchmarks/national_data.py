"""A nation on paper: national reserves and red line as made-up polygons, and a grid of empty scenes under them, two dates.

The totals are public (474 national reserves of 0.97 million km², 3 million km² of red line on land); sizes are log-normal,
shapes and places are made up. Polygons may lie over one another, as reserves lie in the red line. The scenes are real GeoTIFF
files of 10 980² pixels without a single stored block of bands, and with one scene class everywhere: a plan reads no more.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
import shapely
from affine import Affine
from pyproj import CRS
from shapely.geometry import mapping

from ecowatch.grid import Grid, geodesic_area_m2, transformed, utm_crs
from ecowatch.simulate import ROLES
from make_pair import DATES, FULL_TILE, item

SEED = 20261127
RESERVES, RESERVES_KM2 = 474, 0.97e6
RED_LINES, RED_LINE_KM2 = 10_000, 3.0e6
GEOGRAPHIC = CRS.from_epsg(4490)
# A coarse outline drawn by hand, longitude and latitude; only good for spreading polygons.
OUTLINE = shapely.Polygon(
    [
        (74, 39.5), (80, 45), (87, 49), (91, 46), (96, 42.8), (105, 42), (112, 44.5), (119.5, 46.5), (117, 49.5), (121, 53),
        (126, 52.5), (131, 48), (134.5, 48), (131, 45), (130, 42.5), (124, 40), (121, 39), (118, 38.5), (122.3, 37),
        (119.5, 35), (121.8, 31.5), (121, 28), (117, 23.7), (110, 21), (106, 22.5), (101, 21.5), (98, 24), (97.5, 28),
        (92, 28), (86, 28), (79, 31), (78, 35),
    ]
)  # fmt: skip
TILE_M, STEP_M, PIXEL_M = 109_800, 100_000, 10


class Kind(NamedTuple):
    """A kind of areas: how many, how large together, how unequal (deviation of the logarithm)."""

    name: str
    number: int
    km2: float
    spread: float


@dataclass(frozen=True)
class Place:
    """One scene footprint: name, CRS, upper left corner."""

    name: str
    epsg: int
    left: int
    top: int

    @property
    def grid(self) -> Grid:
        """Grid of 10 m."""
        return Grid.from_parts(
            f"EPSG:{self.epsg}", Affine(PIXEL_M, 0, self.left, 0, -PIXEL_M, self.top), (FULL_TILE, FULL_TILE)
        )

    def outline(self, margin_m: float = 0.0) -> shapely.Polygon:
        """Outline in longitude and latitude."""
        box = shapely.box(*self.grid.bounds).buffer(-margin_m, join_style="mitre")
        return transformed(
            shapely.segmentize(box, 20_000),
            CRS.from_epsg(self.epsg),
            GEOGRAPHIC,
            frozenset({"EPSG:4326=EPSG:4490"}),
        )


def make_nation(folder: Path, share: float) -> dict[str, int]:
    """Write `share` of a nation's areas with the scenes they need, once; return the numbers of areas and scenes."""
    done = folder / "made.txt"
    if done.exists() and json.loads(done.read_text("utf-8"))["share"] == share:
        return dict(json.loads(done.read_text("utf-8"))["made"])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(SEED)
    kinds = (
        Kind("protected_area", RESERVES, RESERVES_KM2, 1.6),
        Kind("red_line", RED_LINES, RED_LINE_KM2, 1.4),
    )
    outlines: list[shapely.Polygon] = []
    for kind in kinds:
        made = list(polygons(kind._replace(number=round(kind.number * share), km2=kind.km2 * share), rng))
        write_areas(folder / f"{kind.name}.geojson", kind.name, made)
        outlines += made
    places = places_over(outlines)
    write_scenes(folder, places)
    counts = {"areas": len(outlines), "scenes": len(places) * len(DATES)}
    done.write_text(json.dumps({"share": share, "made": counts}), "utf-8")
    return counts


def polygons(kind: Kind, rng: np.random.Generator) -> Iterator[shapely.Polygon]:
    """Yield star-shaped polygons whose areas add up to the total, inside the outline by their centres."""
    sizes = rng.lognormal(0, kind.spread, kind.number)
    sizes *= kind.km2 / sizes.sum()
    for km2 in sizes:
        lon, lat = point_inside(rng)
        corners = int(np.clip(24 + 3 * km2**0.35, 24, 240))
        yield blob(lon, lat, float(km2), corners, rng)


def point_inside(rng: np.random.Generator) -> tuple[float, float]:
    """Draw a point of the outline, evenly by surface."""
    left, bottom, right, top = OUTLINE.bounds
    while True:
        lon = float(rng.uniform(left, right))
        lat = float(np.degrees(np.arcsin(rng.uniform(np.sin(np.radians(bottom)), np.sin(np.radians(top))))))
        if OUTLINE.contains(shapely.Point(lon, lat)):
            return lon, lat


def blob(lon: float, lat: float, km2: float, corners: int, rng: np.random.Generator) -> shapely.Polygon:
    """Return a polygon around a point whose radius wanders with the angle, of the given area within some per cent."""
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    waves = sum(rng.normal(0, 0.35 / n) * np.cos(n * angles + rng.uniform(0, 2 * np.pi)) for n in range(1, 9))
    radii = np.clip(1 + np.asarray(waves), 0.2, 2.5)
    # The surface of a star is half the sum of squared radii times the angle.
    radii *= np.sqrt(km2 / (0.5 * float((radii**2).sum()) * 2 * np.pi / corners)) / 111.2
    return shapely.Polygon(
        np.column_stack([lon + radii * np.cos(angles) / np.cos(np.radians(lat)), lat + radii * np.sin(angles)])
    )


def write_areas(path: Path, kind: str, outlines: list[shapely.Polygon]) -> None:
    """Write one boundary layer."""
    features = [
        {
            "type": "Feature",
            "properties": {"area_id": f"{kind}-{number:05d}", "name": f"{kind} {number}"},
            "geometry": mapping(shapely.set_precision(outline, 1e-7)),
        }
        for number, outline in enumerate(outlines)
    ]
    name = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::4490"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": name, "features": features}), "utf-8")


def places_over(outlines: list[shapely.Polygon]) -> list[Place]:
    """Return the footprints of a 100 km lattice in each UTM zone that touch an area and lie mostly in their zone."""
    tree = shapely.STRtree(outlines)
    return [place for place in lattice() if len(tree.query(place.outline(), predicate="intersects"))]


def lattice() -> Iterator[Place]:
    """Yield every footprint of the country's zones."""
    for zone in range(43, 54):
        middle = -183 + 6 * zone
        crs = utm_crs(middle, 30)
        for left in range(200_000 - STEP_M, 900_000, STEP_M):
            for top in range(2_200_000, 6_000_000, STEP_M):
                place = Place(f"{zone}_{left // STEP_M}_{top // STEP_M}", int(crs.to_epsg() or 0), left, top)
                centre = place.outline().centroid
                if abs(centre.x - middle) <= 3.3 and 17 < centre.y < 54:
                    yield place


def write_scenes(folder: Path, places: list[Place]) -> None:
    """Write two dates of every footprint: the same two files again and again, each moved to its place."""
    bands, classes = folder / "bands.template", folder / "classes.template"
    write_template(bands, len(ROLES), "uint16", FULL_TILE, None)
    write_template(classes, 1, "uint8", FULL_TILE // 2, 4)
    for place in places:
        for day, moment, _ in DATES:
            write_scene(folder, place, day, moment)
    bands.unlink()
    classes.unlink()


def write_template(path: Path, count: int, dtype: str, side: int, value: int | None) -> None:
    """Write a tiled file: sparse, or of one value."""
    options: dict[str, Any] = {
        "driver": "GTiff", "height": side, "width": side, "count": count, "dtype": dtype, "nodata": 0, "tiled": True,
        "blockxsize": 512, "blockysize": 512, "compress": "deflate", "interleave": "pixel", "sparse_ok": True,
        "crs": "EPSG:32650", "transform": Affine(PIXEL_M, 0, 0, 0, -PIXEL_M, 0),
    }  # fmt: skip
    with rasterio.open(path, "w", **options) as target:
        if value is not None:
            target.write(np.full((side, side), value, dtype), 1)


def write_scene(folder: Path, place: Place, day: str, moment: str) -> None:
    """Write bands, classes and STAC item of one date."""
    name = f"{place.name}_{day}"
    files = (("bands", f"{name}.tif", PIXEL_M), ("classes", f"{name}_SCL.tif", 2 * PIXEL_M))
    for template, file, pixel_m in files:
        shutil.copyfile(folder / f"{template}.template", folder / file)
        with rasterio.open(folder / file, "r+") as target:
            target.crs = f"EPSG:{place.epsg}"
            target.transform = Affine(pixel_m, 0, place.left, 0, -pixel_m, place.top)
            # So that no two scenes are the same file.
            target.update_tags(date=day)
    told = item(place.grid, day, moment, place.outline())
    told["id"] = name
    told["assets"]["image"]["href"], told["assets"]["scl"]["href"] = f"./{name}.tif", f"./{name}_SCL.tif"
    told["assets"]["scl"]["raster:bands"][0]["spatial_resolution"] = 20
    (folder / f"{name}.json").write_text(json.dumps(told), "utf-8")


def total_km2(outlines: list[shapely.Polygon]) -> float:
    """Return the sum of areas, on the ellipsoid."""
    return sum(geodesic_area_m2(outline, GEOGRAPHIC) for outline in outlines) / 1e6
