"""Dates that lie apart by more on one side than on the other: laid on one another, only the change is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from scipy import ndimage as ndi

from ecowatch.grid import Grid
from ecowatch.raster import write_geotiff

from .conftest import Reviewer, Run, run

SIDE = 2560
GRID = Grid.from_parts("EPSG:32650", (10, 0, 600_000, 0, -10, 3_400_000), (SIDE, SIDE))
CHANGED = (slice(1800, 1840), slice(2300, 2360))
OUTLINE = shapely.box(*GRID.bounds).buffer(-100, join_style="mitre")
PLAIN = {
    "product": "geotiff",
    "sensor": "plain",
    "bands": [{"role": r, "index": i, "scale": 1e-4} for i, r in enumerate(("red", "green", "blue"), 1)],
}


def fields(rng: np.random.Generator) -> np.ndarray:
    """Ground of fields and trees, three bands, as a sensor with some blur sees it."""
    cells = rng.normal(0, 1, (SIDE // 16, SIDE // 16)).repeat(16, 0).repeat(16, 1)
    trees = ndi.gaussian_filter(rng.standard_normal((SIDE, SIDE), np.float32), 1.5, mode="wrap")
    brightness = ndi.gaussian_filter(cells.astype(np.float32), 0.8) + 3 * trees
    return np.stack([level + contrast * brightness for level, contrast in ((1500, 300), (1300, 240), (1000, 180))])


def stretched(band: np.ndarray, by_px: float) -> np.ndarray:
    """The band about its centre, so that the rims lie `by_px` further out than they did."""
    scale, centre = 1 + 2 * by_px / SIDE, (SIDE - 1) / 2
    offset = centre - centre / scale
    return ndi.affine_transform(band, [1 / scale] * 2, offset, order=3, mode="nearest", output=np.float32)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The later date reaches from a pixel too far up and left to one too far down and right."""
    folder = tmp_path_factory.mktemp("scenes")
    rng = np.random.default_rng(3)
    ground = fields(rng)
    later = 1.05 * ground + 40
    later[:, *CHANGED] += 2500
    dates = ground, np.stack([stretched(band, 1.0) for band in later])
    for values, day in zip(dates, ("20250420", "20260425"), strict=True):
        noisy = values + rng.normal(0, 15, values.shape)
        write_geotiff(folder / f"s_{day}.tif", np.clip(noisy, 1, 9999).astype(np.uint16), GRID, nodata=0)
    return folder


def made_with(reviewer: Reviewer, scenes: Path, folder: Path, max_degree: int) -> Run:
    folder.mkdir()
    pipeline = f'name = "bitemporal"\n[align]\nmax_degree = {max_degree}\nmax_residual_px = 2.0\n'
    (folder / "bitemporal.toml").write_text(pipeline, "utf-8")
    return run(reviewer(scenes, OUTLINE, "EPSG:32650", PLAIN, pipelines=folder))


def test_a_sloping_displacement_is_taken_out(scenes: Path, reviewer: Reviewer, tmp_path: Path) -> None:
    made = made_with(reviewer, scenes, tmp_path / "sloping", 1)
    (fit,) = (row["fit"] for row in made.record["coverage"])
    assert fit["applied"]["believed"] >= 20 and len(fit["applied"]["row_terms"]) == 3
    assert fit["applied"]["rmse_px"] < 0.05
    summary = made.layer("area_summary").iloc[0]
    assert summary.shift_measured_px == pytest.approx(np.sqrt(2), abs=0.1)
    assert summary.shift_px < 0.1
    (patch,) = made.layer().to_crs(GRID.crs.to_epsg()).geometry
    left, top = GRID.transform @ (CHANGED[1].start, CHANGED[0].start)
    right, bottom = GRID.transform @ (CHANGED[1].stop, CHANGED[0].stop)
    planted = shapely.box(left, bottom, right, top)
    assert shapely.intersection(patch, planted).area > 0.95 * shapely.union(patch, planted).area


def test_a_constant_would_leave_false_patches(scenes: Path, reviewer: Reviewer, tmp_path: Path) -> None:
    made = made_with(reviewer, scenes, tmp_path / "constant", 0)
    # One is the true one; the others lie where the constant is off by a pixel.
    assert len(made.layer()) >= 4
