"""Scenes that differ in grid: neighbours of one pass, another zone, degrees; overlapping areas; what was there before."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from rasterio.warp import Resampling, reproject
from scipy import ndimage as ndi

from ecowatch.grid import Grid, geodesic_area_m2, utm_crs
from ecowatch.raster import write_geotiff
from ecowatch.settings import AreaSource, CarrierSource

from .conftest import Reviewer, run

GRID = Grid.from_parts("EPSG:32650", (10, 0, 600_000, 0, -10, 3_400_000), (700, 700))
CHANGED = (slice(300, 340), slice(320, 380))
PLAIN = {
    "product": "geotiff",
    "sensor": "plain",
    "bands": [{"role": r, "index": i, "scale": 1e-4} for i, r in enumerate(("red", "green", "blue"), 1)],
}
OUTLINE = shapely.box(*GRID.bounds).buffer(-600, join_style="mitre")


def dates() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    ground = 1500 + 8000 * ndi.gaussian_filter(rng.standard_normal((3, *GRID.shape)), (0, 3, 3))
    before = ground + rng.normal(0, 15, ground.shape)
    after = 1.05 * ground + 40 + rng.normal(0, 15, ground.shape)
    after[:, *CHANGED] += 2500
    return tuple(np.clip(v, 1, 9999).astype(np.uint16) for v in (before, after))  # type: ignore[return-value]


def planted() -> shapely.Polygon:
    left, top = GRID.transform @ (CHANGED[1].start, CHANGED[0].start)
    right, bottom = GRID.transform @ (CHANGED[1].stop, CHANGED[0].stop)
    return shapely.box(left, bottom, right, top)


def warped(values: np.ndarray, crs: str, transform: Affine, shape: tuple[int, int]) -> tuple[np.ndarray, Grid]:
    target = Grid.from_parts(crs, transform, shape)
    out = np.zeros((len(values), *shape), np.uint16)
    reproject(
        values,
        out,
        src_transform=GRID.transform,
        src_crs="EPSG:32650",
        src_nodata=0,
        dst_transform=transform,
        dst_crs=crs,
        dst_nodata=0,
        resampling=Resampling.cubic,
    )
    return out, target


def only_the_planted_patch(made: object) -> None:
    patches = made.layer().to_crs(32650)  # type: ignore[attr-defined]
    assert len(patches) == 1
    common = shapely.intersection(patches.geometry.iloc[0], planted()).area
    assert common > 0.9 * planted().area and patches.geometry.iloc[0].area < 1.3 * planted().area


def test_a_finer_and_a_coarser_sensor_are_brought_together(tmp_path: Path, reviewer: Reviewer) -> None:
    """10 m before, 30 m after: edges alone would be flagged everywhere; the planted change is what is found."""
    before, after = dates()
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    write_geotiff(scenes / "fine_20250420.tif", before, GRID, nodata=0)
    rows, cols = (side // 3 for side in GRID.shape)
    seen = ndi.gaussian_filter(after.astype(np.float32), (0, 1.8, 1.8))[:, 1::3, 1::3][:, :rows, :cols]
    coarse = Grid.from_parts("EPSG:32650", (30, 0, 600_000, 0, -30, 3_400_000), (rows, cols))
    write_geotiff(scenes / "coarse_20260425.tif", seen.astype(np.uint16), coarse, nodata=0)
    made = run(reviewer(scenes, OUTLINE, "EPSG:32650", PLAIN))
    patches = made.layer().to_crs(32650)
    found = shapely.intersection(patches.union_all(), planted()).area
    assert found > 0.9 * planted().area
    assert patches.union_all().area < 1.5 * planted().area


def test_neighbours_of_one_pass_are_one_mosaic(tmp_path: Path, reviewer: Reviewer) -> None:
    """Two halves that overlap by some pixels, the seam through the change: the patch of the undivided scene."""
    before, after = dates()
    scenes, halves = tmp_path / "scenes", tmp_path / "halves"
    for folder in (scenes, halves):
        folder.mkdir()
    write_geotiff(scenes / "whole_20250420.tif", before, GRID, nodata=0)
    write_geotiff(scenes / "whole_20260425.tif", after, GRID, nodata=0)
    write_geotiff(halves / "whole_20250420.tif", before, GRID, nodata=0)
    for name, first, last in (("a", 0, 360), ("b", 340, 700)):
        part = GRID.cropped(GRID.window._replace(col0=first, col1=last))
        write_geotiff(halves / f"{name}_20260425.tif", after[:, :, first:last], part, nodata=0)
    whole = run(reviewer(scenes, OUTLINE, "EPSG:32650", PLAIN))
    split = run(reviewer(halves, OUTLINE, "EPSG:32650", PLAIN, runs=tmp_path / "runs2"))
    only_the_planted_patch(whole)
    assert split.layer().geometry.iloc[0].equals_exact(whole.layer().geometry.iloc[0], 1e-9)
    assert split.layer("area_summary").iloc[0].observed_share == 1.0
    assert "a_20260425" in split.layer().after_scenes[0] and "b_20260425" in split.layer().after_scenes[0]


def test_a_scene_of_the_next_zone_is_warped_alone(tmp_path: Path, reviewer: Reviewer) -> None:
    before, after = dates()
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    write_geotiff(scenes / "z50_20250420.tif", before, GRID, nodata=0)
    moved, grid = warped(after, "EPSG:32651", Affine(10, 0, 25_000, 0, -10, 3_412_000), (1600, 1800))
    write_geotiff(scenes / "z51_20260425.tif", moved, grid, nodata=0)
    made = run(reviewer(scenes, OUTLINE, "EPSG:32650", PLAIN))
    assert not made.result.failures
    assert made.result.results[0].comparison.grid.crs.to_epsg() == 32650
    assert made.layer("area_summary").iloc[0].observed_share > 0.99
    only_the_planted_patch(made)


def test_geographic_scenes_are_compared_in_the_areas_zone(tmp_path: Path, reviewer: Reviewer) -> None:
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    transform = Affine(1.05e-4, 0, 118.04, 0, -9e-5, 30.735)
    for values, day in zip(dates(), ("20250420", "20260425"), strict=True):
        moved, grid = warped(values, "EPSG:4326", transform, (800, 900))
        write_geotiff(scenes / f"degrees_{day}.tif", moved, grid, nodata=0)
    made = run(reviewer(scenes, OUTLINE, "EPSG:32650", PLAIN))
    comparison = made.result.results[0].comparison
    assert comparison is not None and comparison.grid.crs == utm_crs(118, 30)
    assert comparison.grid.pixel_m == pytest.approx(10, rel=0.05)
    assert made.layer("area_summary").iloc[0].observed_share > 0.98
    only_the_planted_patch(made)


def test_overlapping_areas_are_listed_for_each_and_counted_once(tmp_path: Path, reviewer: Reviewer) -> None:
    before, after = dates()
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    write_geotiff(scenes / "s_20250420.tif", before, GRID, nodata=0)
    write_geotiff(scenes / "s_20260425.tif", after, GRID, nodata=0)
    middle = planted().centroid.x
    left, right = (
        OUTLINE.intersection(shapely.box(*box)) for box in ((0, 0, middle + 100, 9e6), (middle - 100, 0, 9e6, 9e6))
    )
    areas = tmp_path / "two.gpkg"
    geopandas.GeoDataFrame({"id": ["w", "e"]}, geometry=[left, right], crs=32650).to_file(areas)
    carriers = tmp_path / "carriers.gpkg"
    geopandas.GeoDataFrame({"kind": ["forest"]}, geometry=[OUTLINE], crs=32650).to_file(carriers)
    review = reviewer(scenes, OUTLINE, "EPSG:32650", PLAIN).model_copy(
        update={
            "areas": (AreaSource(path=areas, id_field="id"),),
            "carrier": CarrierSource(path=carriers, field="kind"),
        }
    )
    made = run(review)
    patches, record = made.layer(), made.record
    assert sorted(patches.area_id) == ["e", "w"]
    assert set(patches.carrier) == {"forest"}
    for row in patches.itertuples():
        assert f'"{row.area_id}": 1.0' in row.area_shares and row.area_shares.count(":") == 2
    once = geodesic_area_m2(patches.union_all(), patches.crs) / 1e4
    assert record["totals"]["patch_ha"] == pytest.approx(once, abs=1e-3)
    assert patches.area_ha.sum() > 1.2 * once
    (overlap,) = record["totals"]["overlaps"]
    assert overlap["areas"] == ["e", "w"]
    assert record["totals"]["area_ha"] == pytest.approx(geodesic_area_m2(OUTLINE, GRID.crs) / 1e4, rel=1e-6)
