"""Write a large pair of simulated Sentinel-2-like scenes for the benchmarks, strip by strip in little memory.

``make_pair.py [SIZE] OUTDIR`` writes two six-band GeoTIFFs of SIZE × SIZE pixels with their scene classes, a STAC item
collection over them and one area. All fields are functions of position, so no strip needs another one.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from affine import Affine
from pyproj import CRS
from shapely.geometry import mapping

from ecowatch.grid import Grid, transformed
from ecowatch.simulate import ROLES, SPECTRA, Cover

Array = np.ndarray[Any, Any]

SEED = 20260425
STRIP = 512
ORIGIN = (300_000, 3_900_000)
DATES = (("20250420", "2025-04-20T02:55:51Z", 0.06), ("20260425", "2026-04-25T02:55:49Z", 0.12))
PATCHES_PER_FULL_TILE = 600
FULL_TILE = 10980
SHADOW_PX = (-26, -19)
# uint16, reflectance × 10000; rows by Cover, columns by ROLES.
LEVELS = np.array(
    [
        [460, 560, 360, 240, 130, 90],
        [260, 480, 310, 3100, 1500, 680],
        [480, 780, 640, 2850, 2200, 1250],
        [440, 740, 580, 3200, 2000, 1100],
        [1250, 1650, 2100, 2700, 3450, 3000],
        [1250, 1450, 1600, 2050, 2250, 2050],
    ],
    np.float32,
)
SEASON = np.array([0.01, 0.01, 0.05, -0.08, 0.04, 0.06], np.float32)
KINDS = ("mine", "building", "pond")


@dataclass(frozen=True)
class Noise:
    """Smooth random field: lattices of several spacings, blended; any strip of rows can be had alone."""

    lattices: tuple[tuple[int, float, Array], ...]

    @classmethod
    def seeded(cls, size: int, seed: int, *, spacings: tuple[int, ...], fall: float) -> Noise:
        """Draw the lattices; `fall` is the exponent by which finer ones get weaker."""
        rng = np.random.default_rng([SEED, seed])
        weights = np.array([(s / spacings[0]) ** fall for s in spacings])
        # A bilinear blend of independent numbers has 4/9 of their variance.
        weights /= math.sqrt(float((weights**2).sum()) * 4 / 9)
        return cls(
            tuple(
                (s, float(w), rng.standard_normal((size // s + 3, size // s + 3), dtype=np.float32))
                for s, w in zip(spacings, weights, strict=True)
            )
        )

    def strip(self, row0: int, row1: int, cols: int, *, shift: tuple[int, int] = (0, 0)) -> Array:
        """Return rows ``row0 … row1-1``: float32, standard deviation about 1; read at `shift` pixels away."""
        out = np.zeros((row1 - row0, cols), np.float32)
        for spacing, weight, lattice in self.lattices:
            rows = np.clip(np.arange(row0, row1) + shift[0], 0, None)
            across = np.clip(np.arange(cols) + shift[1], 0, None)
            top, down = np.divmod(rows, spacing)
            left, right = np.divmod(across, spacing)
            fy = (down / spacing).astype(np.float32)[:, None]
            fx = (right / spacing).astype(np.float32)[None, :]
            lines = lattice[top] * (1 - fy) + lattice[top + 1] * fy
            steps = np.diff(lines, axis=1)
            out += np.float32(weight) * (lines[:, left] + steps[:, left] * fx)
        return out


@dataclass(frozen=True)
class Patch:
    """One planted change: an ellipse or rectangle of pixels."""

    kind: str
    row: int
    col: int
    height: int
    width: int

    def paint(self, bands: Array, row0: int, rng_level: float) -> None:
        """Paint the part of the patch that lies in the strip starting at `row0` (``(band, row, col)``)."""
        first, last = max(self.row, row0), min(self.row + self.height, row0 + bands.shape[1])
        if first >= last:
            return
        view = bands[:, first - row0 : last - row0, self.col : self.col + self.width]
        y = (np.arange(first, last) - self.row + 0.5) * 2 / self.height - 1
        x = (np.arange(view.shape[2]) + 0.5) * 2 / self.width - 1
        inside = y[:, None] ** 2 + x[None] ** 2 <= 1 if self.kind == "mine" else np.ones(view.shape[1:], bool)
        for band, role in zip(view, ROLES, strict=True):
            band[inside] = SPECTRA[self.kind][role] * 10_000 * rng_level


@dataclass(frozen=True)
class Scene:
    """The fields of both dates."""

    size: int
    relief: Noise
    moisture: Noise
    texture: Noise
    skies: tuple[Noise, Noise]
    thresholds: tuple[float, float]
    patches: tuple[Patch, ...]


def main() -> None:
    """Read the arguments and write everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", type=int, nargs="?", default=FULL_TILE, help="pixels a side")
    parser.add_argument("out", type=Path, help="folder to write")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    scene = draw(arguments.size)
    grid = Grid.from_parts("EPSG:32650", Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1]), (scene.size, scene.size))
    for number, (day, _, _) in enumerate(DATES):
        write_date(scene, number, grid, arguments.out / f"pair_{day}.tif", arguments.out / f"pair_{day}_SCL.tif")
    write_json(arguments.out / "items.json", items(grid))
    write_json(arguments.out / "areas.geojson", areas(grid))


def draw(size: int) -> Scene:
    """Draw the fields and the patches of a scene."""
    fine = (256, 96, 40, 16, 8)
    skies = tuple(Noise.seeded(size, 11 + i, spacings=(700, 250, 90, 35), fall=1.3) for i in range(2))
    thresholds = [
        float(np.quantile(coarse(sky, size), 1 - share)) for sky, (_, _, share) in zip(skies, DATES, strict=True)
    ]
    rng = np.random.default_rng([SEED, 20])
    count = max(1, round(PATCHES_PER_FULL_TILE * (size / FULL_TILE) ** 2))
    return Scene(
        size,
        Noise.seeded(size, 1, spacings=fine, fall=0.9),
        Noise.seeded(size, 2, spacings=fine, fall=0.7),
        Noise.seeded(size, 3, spacings=(60, 20, 7, 3), fall=0.3),
        (skies[0], skies[1]),
        (thresholds[0], thresholds[1]),
        tuple(random_patch(size, rng) for _ in range(count)),
    )


def coarse(field: Noise, size: int) -> Array:
    """Return a sample of a field: every 16th row."""
    return np.concatenate([field.strip(row, row + 1, size) for row in range(0, size, 16)])


def random_patch(size: int, rng: np.random.Generator) -> Patch:
    """Draw a patch of 3–120 pixels a side, small ones far more often."""
    side = int(np.clip(3 + rng.pareto(1.2) * 4, 3, 120))
    height, width = (int(np.clip(side * rng.uniform(0.6, 1.6), 3, min(120, size // 2))) for _ in range(2))
    row, col = int(rng.integers(size - height)), int(rng.integers(size - width))
    return Patch(KINDS[int(rng.integers(3))], row, col, height, width)


def write_date(scene: Scene, number: int, grid: Grid, image: Path, classes: Path) -> None:
    """Write one date: the bands and the scene classes."""
    common = {
        "driver": "GTiff",
        "height": scene.size,
        "width": scene.size,
        "crs": grid.crs.to_wkt(),
        "transform": grid.transform,
        "nodata": 0,
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
        "bigtiff": "IF_SAFER",
    }
    bands = {"count": len(ROLES), "dtype": "uint16", "predictor": 2, "zlevel": 1, "interleave": "pixel"}
    with (
        rasterio.open(image, "w", **common, **bands) as target,
        rasterio.open(classes, "w", **common, count=1, dtype="uint8") as quality,
    ):
        for row0 in range(0, scene.size, STRIP):
            row1 = min(row0 + STRIP, scene.size)
            values, scl = strip(scene, number, row0, row1)
            window = rasterio.windows.Window(0, row0, scene.size, row1 - row0)
            target.write(values, window=window)
            quality.write(scl, 1, window=window)


def strip(scene: Scene, number: int, row0: int, row1: int) -> tuple[Array, Array]:
    """Return the bands (uint16, ``(band, row, col)``) and scene classes (uint8) of some rows of one date."""
    size = scene.size
    relief, moisture, texture = (f.strip(row0, row1, size) for f in (scene.relief, scene.moisture, scene.texture))
    cover = cover_of(relief, moisture)
    cloud = np.clip((scene.skies[number].strip(row0, row1, size) - scene.thresholds[number]) * 4, 0, 1)
    away = scene.skies[number].strip(row0, row1, size, shift=(-SHADOW_PX[0], -SHADOW_PX[1]))
    shadow = (away > scene.thresholds[number]) & (cloud == 0)
    shade = (1 + np.float32(0.07) * texture) * np.float32(1.0 + 0.04 * number)
    bands = np.empty((len(ROLES), row1 - row0, size), np.float32)
    for band in range(len(ROLES)):
        factors = 1 + SEASON[band] * number * np.array([0, 0.6, 1, 1, 0, 0], np.float32)
        np.multiply((LEVELS[:, band] * factors)[cover], shade, out=bands[band])
    if number:
        levels = np.random.default_rng([SEED, 21]).uniform(0.9, 1.1, len(scene.patches))
        for patch, level in zip(scene.patches, levels, strict=True):
            patch.paint(bands, row0, float(level))
    return digitised(bands, cloud, shadow, number, row0), scene_classes(cover, cloud, shadow)


def cover_of(relief: Array, moisture: Array) -> Array:
    """Return the land cover of some pixels: uint8 `Cover`."""
    cover = np.full(relief.shape, Cover.FOREST, np.uint8)
    cover[moisture > 0.2] = Cover.CROP
    cover[relief > 0.7] = Cover.GRASS
    cover[(relief > 1.6) & (moisture > 0)] = Cover.BARE
    cover[(moisture > 1.5) & (relief < 0.5)] = Cover.BUILT
    cover[relief < -1.7] = Cover.WATER
    return cover


def digitised(bands: Array, cloud: Array, shadow: Array, number: int, row0: int) -> Array:
    """Add sky and sensor noise and return uint16, ``(band, row, col)``, 1 or more; swir has 20 m pixels."""
    rng = np.random.default_rng([SEED, 30, number, row0])
    lit = np.where(shadow, np.float32(0.45), np.float32(1))
    out = np.empty(bands.shape, np.uint16)
    for index, band in enumerate(bands):
        seen = band * lit
        seen += cloud * (6800 - seen)
        seen += rng.standard_normal(seen.shape, dtype=np.float32) * (12 + np.float32(0.008) * seen)
        if ROLES[index].startswith("swir"):
            seen = seen[::2, ::2].repeat(2, axis=0).repeat(2, axis=1)[: band.shape[0], : band.shape[1]]
        np.clip(seen, 1, 16_000, out=seen)
        out[index] = seen
    return out


def scene_classes(cover: Array, cloud: Array, shadow: Array) -> Array:
    """Return Sentinel-2 scene classes: uint8, ``(row, col)``."""
    classes = np.array([6, 4, 4, 4, 5, 5], np.uint8)[cover]
    classes[shadow] = 3
    classes[cloud > 0] = 8
    classes[cloud > 0.6] = 9
    return classes


def items(grid: Grid) -> dict[str, Any]:
    """Return the STAC item collection of the pair."""
    outline = footprint(grid, 0)
    return {"type": "FeatureCollection", "features": [item(grid, day, moment, outline) for day, moment, _ in DATES]}


def item(grid: Grid, day: str, moment: str, outline: shapely.Polygon) -> dict[str, Any]:
    """Return one STAC item with a six-band asset and a classification asset."""
    extensions = ("eo/v1.1.0", "raster/v1.1.0", "projection/v1.1.0")
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [f"https://stac-extensions.github.io/{e}/schema.json" for e in extensions],
        "id": f"pair_{day}",
        "bbox": list(outline.bounds),
        "geometry": mapping(outline),
        "properties": {
            "datetime": moment,
            "platform": "sentinel-2b",
            "instruments": ["msi"],
            "constellation": "sentinel-2",
            "proj:epsg": grid.crs.to_epsg(),
            "proj:shape": list(grid.shape),
            "proj:transform": list(grid.transform)[:6],
            "proj:bbox": list(grid.bounds),
        },
        "links": [],
        "assets": assets(day),
    }


def assets(day: str) -> dict[str, Any]:
    """Return the assets of one date."""
    common = (*ROLES[:4], "swir16", "swir22")
    tiff = "image/tiff; application=geotiff"
    reflectance = {"data_type": "uint16", "nodata": 0, "scale": 0.0001, "offset": 0, "spatial_resolution": 10}
    return {
        "image": {
            "href": f"./pair_{day}.tif",
            "type": tiff,
            "roles": ["data", "reflectance"],
            "eo:bands": [{"name": n, "common_name": c} for n, c in zip(ROLES, common, strict=True)],
            "raster:bands": [reflectance] * len(ROLES),
        },
        "scl": {
            "href": f"./pair_{day}_SCL.tif",
            "type": tiff,
            "roles": ["data"],
            "raster:bands": [{"data_type": "uint8", "nodata": 0}],
        },
    }


def areas(grid: Grid) -> dict[str, Any]:
    """Return the whole scene, 200 m in from its edge, as one area."""
    feature = {
        "type": "Feature",
        "properties": {"area_id": "bench", "name": "bench", "zone": None},
        "geometry": mapping(footprint(grid, -200)),
    }
    name = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::4326"}}
    return {"type": "FeatureCollection", "crs": name, "features": [feature]}


def footprint(grid: Grid, margin_m: float) -> shapely.Polygon:
    """Return the outline of a grid, grown by `margin_m`, in longitude and latitude."""
    box = shapely.box(*grid.bounds).buffer(margin_m, join_style="mitre")
    return transformed(shapely.segmentize(box, 5000), grid.crs, CRS.from_epsg(4326))


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(value, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
