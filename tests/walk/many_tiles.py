"""A small review of many tiles: four areas of unlike size over one pair of scenes; not a test by itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import geopandas
import numpy as np
import shapely
from scipy import ndimage as ndi

from ecowatch.grid import Grid
from ecowatch.raster import write_geotiff
from ecowatch.settings import AreaSource, Review, SceneSource
from ecowatch.settings.example import commented_toml

ROOT = Path(__file__).parents[2]
SIDE = 1024
GRID = Grid.from_parts("EPSG:32650", (10, 0, 600_000, 0, -10, 3_400_000), (SIDE, SIDE))
# A large area, two middling ones and a small one: no two shards can be given the same number of areas.
BOXES_PX = {"a": (20, 20, 620, 1000), "b": (660, 20, 1000, 400), "c": (660, 440, 1000, 760), "d": (700, 820, 860, 960)}

CHANGED = dict.fromkeys(BOXES_PX, (35, 50))


def write_scenes(folder: Path, changed: Mapping[str, tuple[int, int]] = CHANGED) -> Path:
    """Write two dates; of each area so many rows and columns change, the same in all without `changed`."""
    folder.mkdir()
    rng = np.random.default_rng(11)
    ground = np.stack([ndi.gaussian_filter(rng.standard_normal((SIDE, SIDE), np.float32), 2) for _ in range(3)])
    levels = np.array([1500, 1300, 1000], np.float32)[:, None, None] + 2500 * ground
    later = 1.05 * levels + 40
    for name, (rows, cols) in changed.items():
        left, top = BOXES_PX[name][:2]
        later[:, top + 60 : top + 60 + rows, left + 40 : left + 40 + cols] += 2500
    for values, day in zip((levels, later), ("20250420", "20260425"), strict=True):
        noisy = values + rng.normal(0, 15, values.shape)
        write_geotiff(folder / f"s_{day}.tif", np.clip(noisy, 1, 9999).astype(np.uint16), GRID, nodata=0)
    return folder


def write_review(folder: Path, scenes: Path, name: str = "many") -> tuple[Review, Path]:
    """Write boundaries and the review file; return the review and the file."""
    folder.mkdir(parents=True, exist_ok=True)
    west, north = 600_000, 3_400_000
    shapes = [
        shapely.box(west + 10 * x0, north - 10 * y1, west + 10 * x1, north - 10 * y0)
        for x0, y0, x1, y1 in BOXES_PX.values()
    ]
    frame = geopandas.GeoDataFrame({"id": list(BOXES_PX), "name": list(BOXES_PX)}, geometry=shapes, crs="EPSG:32650")
    frame.to_file(folder / "areas.gpkg")
    bands = [{"role": r, "index": i, "scale": 1e-4} for i, r in enumerate(("red", "green", "blue"), 1)]
    source = SceneSource(path=scenes, product="geotiff", sensor="plain", bands=bands)  # type: ignore[arg-type]
    review = Review(
        name=name,
        period="2026H1",
        roots=(folder, scenes),
        runs=folder / "runs",
        pipelines=ROOT / "pipelines",
        areas=(AreaSource(path=folder / "areas.gpkg", id_field="id", name_field="name"),),
        sources=(source,),
    )
    path = folder / "review.toml"
    path.write_text(commented_toml(review, title="many tiles"), "utf-8")
    return review, path
