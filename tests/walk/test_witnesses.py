"""What earlier faults of the evidence looked like: each was published, or lost, before it was mended."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from scipy import ndimage as ndi

from ecowatch.raster import write_geotiff

from .conftest import Reviewer, run
from .test_evidence import BARE, EARLIER, GREEN, GRID, MINE, OUTLINE, PLAIN, SIDE, scene, touching

ROOF = (slice(300, 308), slice(300, 316))


def white(folder: Path, day: str) -> None:
    """A roof, white and sharp, on a scene already written."""
    with rasterio.open(folder / f"s_{day}.tif") as dataset:
        values = dataset.read()
    values[:, *ROOF] = np.array([3000, 3000, 3000, 3100, 2600])[:, None, None]
    (folder / f"s_{day}.tif").unlink()
    write_geotiff(folder / f"s_{day}.tif", values, GRID, nodata=0)


@pytest.mark.slow
def test_dates_before_the_change_do_not_speak_against_it(tmp_path: Path, reviewer: Reviewer) -> None:
    """Last spring's other dates show no mine and no roof: they were not there yet. March 2026 shows both."""
    for number, day in enumerate((*EARLIER, "20250420", "20250425", "20250430")):
        scene(tmp_path, day, number, ())
    for number, day in enumerate(("20260301", "20260421")):
        scene(tmp_path, day, 20 + number, (MINE,))
        white(tmp_path, day)
    made = run(reviewer(tmp_path, OUTLINE, "EPSG:32650", PLAIN))
    assert len(touching(made, "patch", ROOF)) == 1
    assert set(touching(made, "patch", MINE).stage) == {"confirmed"}


def test_a_date_without_data_over_the_area_is_not_clear(tmp_path: Path, reviewer: Reviewer) -> None:
    for number, (day, bare) in enumerate((("20250420", ()), ("20260415", (MINE,)), ("20260430", (MINE,)))):
        scene(tmp_path, day, number, bare)
    with rasterio.open(tmp_path / "s_20260430.tif") as dataset:
        values = dataset.read()
    values[:, :, 20:] = 0
    (tmp_path / "s_20260430.tif").unlink()
    write_geotiff(tmp_path / "s_20260430.tif", values, GRID, nodata=0)
    made = run(reviewer(tmp_path, OUTLINE, "EPSG:32650", PLAIN))
    assert made.layer("area_summary").iloc[0].observed_share > 0.9


def test_ground_beyond_the_boundary_that_changed_too_is_no_like_ground(tmp_path: Path, reviewer: Reviewer) -> None:
    """What was laid bare reaches far beyond the area: none of it is a crop that its neighbours share."""
    for day, bare in (("20250420", False), ("20260430", True)):
        rng = np.random.default_rng(0)
        ground = GREEN * (1 + ndi.gaussian_filter(rng.standard_normal((5, SIDE, SIDE)), (0, 3, 3)))
        if bare:
            ground[:, :, :240] = (BARE * (1 + 0.3 * rng.standard_normal((1, SIDE, SIDE))))[:, :, :240]
        noisy = ground + np.random.default_rng(int(bare)).normal(0, 0.003, ground.shape)
        write_geotiff(tmp_path / f"s_{day}.tif", np.clip(noisy * 1e4, 1, 9999).astype(np.uint16), GRID, nodata=0)
    outline = shapely.box(*GRID.bounds).buffer(-150, join_style="mitre")
    made = run(reviewer(tmp_path, outline, "EPSG:32650", PLAIN))
    assert len(made.layer()) == 1, made.layer("suppressed")[["reason", "facts", "area_ha"]].to_string()
