"""The inputs of the benchmarks, made once and kept: a pair of scenes, areas over a share of it, many small areas."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely
from affine import Affine
from pyproj import CRS
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from ecowatch.grid import transformed
from make_pair import ORIGIN

HERE = Path(__file__).resolve().parent
PIXEL_M, BLOCK_PX = 10.0, 512
SEED = 3
UTM, GEOGRAPHIC = CRS.from_epsg(32650), CRS.from_epsg(4326)
TRANSFORM = Affine(PIXEL_M, 0, ORIGIN[0], 0, -PIXEL_M, ORIGIN[1])


def pair(folder: Path, size: int) -> Path:
    """Return the folder of the pair of the wanted side, made where it is not there yet."""
    target = folder / f"pair_{size}"
    if not (target / "areas.geojson").exists():
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run([sys.executable, str(HERE / "make_pair.py"), str(size), str(target)], check=True)
    return target


def write_areas(path: Path, shapes: Sequence[BaseGeometry]) -> Path:
    """Write areas ``a00000 …`` given in the pair's UTM zone as GeoJSON in longitude and latitude."""
    features = [
        {
            "type": "Feature",
            "properties": {"area_id": f"a{number:05d}", "name": f"area {number}"},
            "geometry": mapping(transformed(shape, UTM, GEOGRAPHIC)),
        }
        for number, shape in enumerate(shapes)
    ]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::4326"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}), "utf-8")
    return path


def small_areas(
    size: int, *, spacing_m: float = 1000.0, least_m: float = 300.0, most_m: float = 700.0
) -> list[BaseGeometry]:
    """Return small areas on a lattice over the pair, in random order: the first n are a fair sample of all.

    Parameters
    ----------
    size
        Side of the pair, pixels.
    spacing_m
        Distance of the lattice, so that no two areas overlap.
    least_m, most_m
        Sides of the areas.
    """
    rng = np.random.default_rng([SEED, size])
    steps = int((size * PIXEL_M - 2 * spacing_m) // spacing_m)
    places = [(row, col) for row in range(steps) for col in range(steps)]
    sides = rng.uniform(least_m, most_m, (len(places), 2))
    shapes = [
        shapely.box(
            x := ORIGIN[0] + (col + 1) * spacing_m, y := ORIGIN[1] - (row + 1) * spacing_m, x + width, y + height
        )
        for (row, col), (width, height) in zip(places, sides, strict=True)
    ]
    return [shapes[i] for i in rng.permutation(len(shapes))]


def zones(size: int, count: int = 12) -> list[BaseGeometry]:
    """Return round zones with wavy rims that together touch about two fifths of the pair's blocks."""
    rng = np.random.default_rng(SEED)
    turn = np.linspace(0, 2 * np.pi, 97)[:-1]
    side_m, found = size * PIXEL_M, []
    for _ in range(count):
        centre = rng.uniform(0.08, 0.92, 2) * side_m
        wave = 1 + 0.2 * np.sin(3 * turn + rng.uniform(0, 6)) + 0.05 * rng.standard_normal(96)
        radius = rng.uniform(0.045, 0.1) * side_m * wave
        rim = np.column_stack(
            [ORIGIN[0] + centre[0] + radius * np.cos(turn), ORIGIN[1] - centre[1] + radius * np.sin(turn)]
        )
        found.append(shapely.Polygon(rim).buffer(0))
    within = shapely.box(ORIGIN[0], ORIGIN[1] - side_m, ORIGIN[0] + side_m, ORIGIN[1]).buffer(-200)
    return [zone.intersection(within) for zone in found]


def touched_share(size: int, shape: BaseGeometry) -> float:
    """Return the share of a pair's pixels that lie in blocks of 512 which `shape` touches."""
    edges = np.r_[np.arange(0, size, BLOCK_PX), size]
    rows, cols = (part.ravel() for part in np.meshgrid(edges[:-1], edges[:-1], indexing="ij"))
    ends = np.minimum(rows + BLOCK_PX, size), np.minimum(cols + BLOCK_PX, size)
    west, east = ORIGIN[0] + cols * PIXEL_M, ORIGIN[0] + ends[1] * PIXEL_M
    touched = shapely.intersects(
        shapely.box(west, ORIGIN[1] - ends[0] * PIXEL_M, east, ORIGIN[1] - rows * PIXEL_M), shape
    )
    return float(((ends[0] - rows) * (ends[1] - cols))[touched].sum() / size**2)
