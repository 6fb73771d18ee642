"""Write a large pair of UAV orthomosaics for the benchmarks, strip by strip in little memory.

``make_uav.py [SIDE] OUTDIR`` writes two RGB GeoTIFFs of SIDE × SIDE pixels of 5 cm (tiled, JPEG, about 0.1 byte a pixel) and
their area. The ground is a pattern of 2048 pixels, repeated and lit anew along the strips; the later date has new roofs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.windows import Window
from scipy import ndimage
from shapely.geometry import box, mapping

from ecowatch.grid import transformed

SEED, STRIP, PATTERN = 20260512, 512, 2048
PIXEL_M, ORIGIN = 0.05, (500_000.0, 3_800_000.0)
DATES = ("20250510", "20260512")
ROOF_PX, ROOF_STEP = 160, 4096
COLOURS = np.array([[96, 110, 70], [120, 104, 84], [70, 92, 60]], np.float32)


def pattern() -> np.ndarray:
    """Ground of three covers with shade: float32 ``(3, row, col)``, wrapping round its edges."""
    rng = np.random.default_rng(SEED)
    rough = ndimage.gaussian_filter(rng.standard_normal((PATTERN, PATTERN)), 40, mode="wrap")
    cover = np.digitize(rough, np.quantile(rough, (0.4, 0.75)))
    shade = ndimage.gaussian_filter(rng.standard_normal((PATTERN, PATTERN)), 1.5, mode="wrap")
    bands = COLOURS[cover].transpose(2, 0, 1) * (1 + 0.35 * shade)
    return np.asarray(ndimage.gaussian_filter(bands, (0, 0.8, 0.8), mode="wrap"), np.float32)


def strip(ground: np.ndarray, number: int, row0: int, rows: int, side: int) -> np.ndarray:
    """Return some rows of one date: uint8 ``(3, row, col)``."""
    lines = (row0 + np.arange(rows)) % PATTERN
    light = np.float32(1 + 0.08 * number + 0.05 * np.sin(row0 / 9000))
    part = np.clip(ground[:, lines] * light, 1, 255).astype(np.uint8)
    out = np.tile(part, (1, 1, -(-side // PATTERN)))[:, :, :side]
    if number:
        inside = (row0 + np.arange(rows)) % ROOF_STEP < ROOF_PX
        for col in range(ROOF_STEP // 2, side - ROOF_PX, ROOF_STEP):
            out[:, inside, col : col + ROOF_PX] = np.array([205, 214, 222], np.uint8)[:, None, None]
    return out


def write_date(path: Path, ground: np.ndarray, number: int, side: int) -> None:
    """Write one date."""
    profile = {
        "driver": "GTiff",
        "height": side,
        "width": side,
        "count": 3,
        "dtype": "uint8",
        "crs": "EPSG:32650",
        "transform": Affine(PIXEL_M, 0, ORIGIN[0], 0, -PIXEL_M, ORIGIN[1]),
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "jpeg",
        "photometric": "ycbcr",
        "jpeg_quality": 75,
        "bigtiff": "IF_SAFER",
    }
    with rasterio.open(path, "w", **profile) as target:
        for row0 in range(0, side, STRIP):
            rows = min(STRIP, side - row0)
            target.write(strip(ground, number, row0, rows, side), window=Window(0, row0, side, rows))


def main() -> None:
    """Read the arguments and write everything; the areas last, as the sign that all is there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("side", type=int, nargs="?", default=40_000, help="pixels a side")
    parser.add_argument("out", type=Path, help="folder to write")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    ground = pattern()
    for number, day in enumerate(DATES):
        write_date(options.out / f"uav_{day}.tif", ground, number, options.side)
    side_m = options.side * PIXEL_M
    whole = box(ORIGIN[0], ORIGIN[1] - side_m, ORIGIN[0] + side_m, ORIGIN[1]).buffer(-2, join_style="mitre")
    geometry = mapping(transformed(whole, CRS.from_epsg(32650), CRS.from_epsg(4326)))
    feature = {"type": "Feature", "properties": {"area_id": "a00000", "name": "site"}, "geometry": geometry}
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::4326"}}
    layer = {"type": "FeatureCollection", "crs": crs, "features": [feature]}
    (options.out / "areas.geojson").write_text(json.dumps(layer), "utf-8")


if __name__ == "__main__":
    main()
