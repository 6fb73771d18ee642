"""Radar dates of one track as evidence, through a whole review: a lasting step, a swing and quiet ground."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import shapely
from scipy import ndimage as ndi

from ecowatch.grid import Grid
from ecowatch.raster import write_geotiff
from ecowatch.review import run_review
from ecowatch.settings import AreaSource, Cluster, Review, SceneSource

ROOT = Path(__file__).parents[2]
GRID = Grid.from_parts("EPSG:32650", (10, 0, 600_000, 0, -10, 3_400_000), (260, 260))
STEP, SWING, FLASH = (
    (slice(100, 130), slice(60, 100)),
    (slice(150, 180), slice(150, 190)),
    (slice(60, 90), slice(170, 200)),
)
# Backscatter of the three places against their ground, by date.
ASCENDING = {
    "20220506": (0, 0, 0),
    "20220710": (0, -8, 0),
    "20230505": (0, 0, 0),
    "20240501": (-8, -8, -8),
    "20240705": (-8, 0, 0),
}
LOOKS = 5


def _box(place: tuple[slice, slice]) -> shapely.Polygon:
    (left, top), (right, bottom) = (
        (GRID.transform @ (place[1].start, place[0].start)),
        (GRID.transform @ (place[1].stop, place[0].stop)),
    )
    return shapely.box(left, bottom, right, top)


def _write(folder: Path, day: str, track: str, changes_db: tuple[int, ...], seed: int) -> None:
    pattern = np.random.default_rng(len(track)).normal(size=GRID.shape)
    ground_db = -11 + 40 * ndi.gaussian_filter(pattern, 10)
    for place, change_db in zip((STEP, SWING, FLASH), changes_db, strict=True):
        ground_db[place] += change_db
    speckle = np.random.default_rng(seed).gamma(LOOKS, 1 / LOOKS, (2, *GRID.shape))
    power = speckle * 10 ** (np.stack([ground_db, ground_db - 6]) / 10)
    write_geotiff(folder / f"S1_{day}_{track}.tif", power.astype(np.float32), GRID, nodata=0)


def _reviewed(folder: Path, days: list[str]) -> tuple[geopandas.GeoDataFrame, geopandas.GeoDataFrame]:
    scenes = folder / "scenes"
    scenes.mkdir()
    for seed, day in enumerate(days):
        _write(scenes, day, "asc", ASCENDING[day], seed)
    # Another look from the other side, nearer in season: everything would differ from it.
    for seed, day in ((70, "20230503"), (71, "20240430"), (72, "20240704")):
        _write(scenes, day, "descending", (0, 0, 0), seed)
    outline = shapely.box(*GRID.bounds).buffer(-200, join_style="mitre")
    geopandas.GeoDataFrame({"id": ["a"], "name": ["区"]}, geometry=[outline], crs="EPSG:32650").to_file(
        folder / "area.gpkg"
    )
    review = Review(
        name="radar",
        period="2024H1",
        roots=(folder,),
        runs=folder / "runs",
        pipelines=ROOT / "pipelines",
        areas=(AreaSource(path=folder / "area.gpkg", id_field="id", name_field="name"),),
        sources=(
            SceneSource(
                path=scenes,
                product="geotiff",
                sensor="s1_rtc",
                pipeline="sar",
                date_pattern=r"S1_(?P<date>\d{8})_(?P<track>asc|desc)",
            ),
        ),
    )
    package = run_review(review, Cluster(scheduler="threads", workers=1)).folder / "flagged.gpkg"
    layers = [geopandas.read_file(package, layer=name).to_crs("EPSG:32650") for name in ("patch", "suppressed")]
    return layers[0], layers[1]


def _at(layer: geopandas.GeoDataFrame, place: tuple[slice, slice]) -> geopandas.GeoDataFrame:
    return layer[layer.intersects(_box(place).buffer(-50))]


def test_a_track_confirms_a_step_and_sets_a_swing_aside(tmp_path: Path) -> None:
    patches, aside = _reviewed(tmp_path, list(ASCENDING))
    (step,) = _at(patches, STEP).itertuples()
    assert step.geometry.intersection(_box(STEP)).area > 0.85 * step.geometry.union(_box(STEP)).area
    assert step.stage == "confirmed"
    assert "earlier_dates=2" in step.time_facts and "later_dates=1" in step.time_facts
    (flash,) = _at(patches, FLASH).itertuples()
    assert flash.stage == "one_date" and "kept_share=0.0" in flash.time_facts
    (swing,) = _at(aside, SWING).itertuples()
    assert swing.reason == "returning" and "returning_share=" in swing.facts
    # Quiet ground stays quiet, and both dates are of one track.
    assert len(patches) == 2 and len(aside) == 1
    for row in (step, flash, swing):
        assert (row.before_date, row.after_date) == ("2023-05-05", "2024-05-01")
        assert "asc" in row.before_scenes and "asc" in row.after_scenes


def test_without_later_dates_a_step_exceeds_history_and_without_any_it_is_one_date(tmp_path: Path) -> None:
    stages = {}
    for name, days in (("history", ["20220506", "20230505", "20240501"]), ("pair", ["20230505", "20240501"])):
        (tmp_path / name).mkdir()
        patches, aside = _reviewed(tmp_path / name, days)
        assert not len(aside) and len(patches) == 3
        stages[name] = set(patches.stage)
        if name == "pair":
            assert not patches.time_facts.fillna("").str.contains("share").any()
    assert stages == {"history": {"exceeds_history"}, "pair": {"one_date"}}
