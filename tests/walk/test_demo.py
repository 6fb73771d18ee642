"""The demo's truth: everything planted is found, and nothing else; the same bytes however it is computed."""

from __future__ import annotations

import json
import random
import sqlite3
import weakref
from contextlib import closing
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import shapely
from distributed import LocalCluster
from PIL import Image
from pyproj import CRS

from ecowatch.areas import read_areas, union_area_m2
from ecowatch.grid import geodesic_area_m2
from ecowatch.intake import RASTER_KINDS, admit
from ecowatch.raster import inspect
from ecowatch.report import run_table, write_quicklooks
from ecowatch.review import make_plan, planned_tasks, run_review, shelf
from ecowatch.review.kept import KeptFits, fit_path
from ecowatch.review.product import LAYERS
from ecowatch.settings import AreaSource, Cluster

from .conftest import Run, demo_review, run

CGCS = CRS.from_epsg(4490)


@pytest.fixture(scope="module")
def truth(sample: Path) -> geopandas.GeoDataFrame:
    return geopandas.read_file(sample / "truth.geojson")


def test_every_planted_change_in_sight_is_found(demo_run: Run, truth: geopandas.GeoDataFrame) -> None:
    patches = demo_run.layer()
    in_sight = truth[~truth.under_cloud]
    assert set(in_sight.kind) == {"mine", "road", "pond", "building"} and len(in_sight) >= 14
    for row in in_sight.itertuples():
        seen = shapely.intersection(row.geometry, patches.union_all()).area / row.geometry.area
        assert seen > 0.7, f"{row.kind} of {row.area_m2:.0f} m² in {row.scene}"


def test_nothing_else_is_flagged(demo_run: Run, truth: geopandas.GeoDataFrame) -> None:
    """Neither season, nor haze, nor the planted misregistration, nor the edges of clouds make a patch."""
    patches = demo_run.layer()
    assert len(patches) > 0
    strangers = patches[~patches.intersects(truth.union_all())]
    assert strangers.empty, strangers[["patch_id", "area_ha", "reasons"]]


def test_a_patch_stays_near_what_was_planted(demo_run: Run, truth: geopandas.GeoDataFrame) -> None:
    patches = demo_run.layer().to_crs(32650)
    for scene, pixels_m in (("s2", 30), ("uav", 2.5)):
        near = truth[truth.scene == scene].to_crs(32650).buffer(pixels_m).union_all()
        own = patches[patches.intersects(near)]
        assert own.difference(near).area.sum() <= 0.02 * own.area.sum()


def test_no_patch_lies_in_cloud(demo_run: Run) -> None:
    patches, unseen = demo_run.layer(), demo_run.layer("not_observed")
    assert not unseen.empty
    common = shapely.intersection(patches.union_all(), unseen.union_all())
    assert geodesic_area_m2(common, CGCS) <= 0.01 * geodesic_area_m2(patches.union_all(), CGCS)
    hidden = geopandas.read_file(demo_run.result.plan.review.sources[0].path.parent / "truth.geojson")
    hidden = hidden[hidden.under_cloud]
    assert len(hidden) >= 1 and not patches.intersects(hidden.union_all()).any()


def test_activities_of_the_plain_kinds(demo_run: Run, truth: geopandas.GeoDataFrame) -> None:
    expected = {"mine": {"03", "02"}, "road": {"09"}, "pond": {"08", "00"}, "building": {"02", "03"}}
    patches = demo_run.layer()
    for row in truth[~truth.under_cloud].itertuples():
        codes = set(patches[patches.intersects(row.geometry)].activity_code)
        assert codes <= expected[row.kind], f"{row.kind}: {codes}"


def test_layers_and_columns_are_those_documented(demo_run: Run) -> None:
    for layer, (kind, columns) in LAYERS.items():
        info = pyogrio.read_info(demo_run.package, layer=layer)
        assert (list(info["fields"]), info["geometry_type"]) == (list(columns), kind)
    text = (Path(__file__).parents[2] / "docs" / "columns.md").read_text("utf-8")
    missing = [c for _, columns in LAYERS.values() for c in columns if f"`{c}`" not in text]
    assert missing == []


def test_the_file_is_a_geopackage_of_version_1_2_without_leftovers(demo_run: Run) -> None:
    with closing(sqlite3.connect(demo_run.package)) as database:
        assert database.execute("PRAGMA user_version").fetchone()[0] == 10200
        assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        text = database.execute("SELECT metadata FROM gpkg_metadata").fetchone()[0]
    assert "limits" in text and "digest" in text
    assert not [p.name for p in demo_run.package.parent.iterdir() if p.name.startswith(".") or p.suffix in (".xml", "")]


def test_roads_are_lines_with_length_and_width(demo_run: Run, truth: geopandas.GeoDataFrame) -> None:
    roads, patches = demo_run.layer("patch_road"), demo_run.layer()
    assert set(roads.patch_id) == set(patches[patches.activity_code == "09"].patch_id)
    planted = truth[(truth.kind == "road") & (truth.scene == "s2")].to_crs(32650)
    for row in planted.itertuples():
        line = roads[roads.intersects(geopandas.GeoSeries([row.geometry], crs=32650).to_crs(4490).iloc[0])].iloc[0]
        expected = row.geometry.length / 2  # outline of a thin strip
        assert line.length_m == pytest.approx(expected, rel=0.15)


def test_the_record_has_every_fit_as_it_is_kept_one_area_a_line(demo_run: Run) -> None:
    plan = demo_run.result.plan
    fits = KeptFits(plan)
    assert len(fits) == len(set(fits)) == len(plan.comparisons) > 1
    text = (demo_run.result.folder / "run.json").read_text("utf-8")
    lines = [json.loads(line.strip().rstrip(",")) for line in text.splitlines() if line.startswith('  {"area_id"')]
    assert lines == demo_run.record["coverage"] == json.loads(text)["coverage"]
    kept = {c.area.area_id: json.loads(fit_path(plan, c).read_text("utf-8")) for c in plan.comparisons}
    assert {row["area_id"]: row["fit"] for row in lines if row["fit"]} == kept


def test_only_the_last_fit_asked_for_is_held(demo_run: Run) -> None:
    fits = KeptFits(demo_run.result.plan)
    one, other = list(fits)[:2]
    first = weakref.ref(fits[one])
    assert fits[one] is first() and len(fits) not in fits and -1 not in fits
    with pytest.raises(KeyError):
        fits[-1]
    assert fits[other].sample_px > 0
    assert first() is None


def test_areas_add_up_wherever_they_are_shown(demo_run: Run) -> None:
    summary, patches, record = demo_run.layer("area_summary"), demo_run.layer(), demo_run.record
    parts = summary.observed_ha + summary.not_observed_ha + summary.failed_ha
    assert np.allclose(parts, summary.area_ha, atol=1e-4)
    for row in record["coverage"]:
        assert row["expected_px"] == row["observed_px"] + row["not_observed_px"] + row["failed_px"]
    for row in patches.itertuples():
        assert row.area_ha == pytest.approx(geodesic_area_m2(row.geometry, CGCS) / 1e4, abs=6e-5)
    by_area = patches.groupby("area_id").area_ha.sum()
    for row in summary.itertuples():
        assert row.patch_ha == pytest.approx(by_area.get(row.area_id, 0.0), abs=1e-3)
    assert record["totals"]["patch_ha"] == pytest.approx(union_area_m2(list(patches.geometry), CGCS) / 1e4, abs=1e-3)


def test_unseen_ground_is_drawn_and_measured_alike(demo_run: Run) -> None:
    summary, unseen = demo_run.layer("area_summary"), demo_run.layer("not_observed")
    row = summary[summary.area_id == "demo-reserve"].iloc[0]
    drawn = unseen[unseen.area_id == "demo-reserve"].area_ha.sum()
    # Pixels along the boundary are counted by their centres: half a pixel of the perimeter may differ.
    assert drawn == pytest.approx(row.not_observed_ha, rel=0.02)


def test_zones_are_told(demo_run: Run) -> None:
    patches = demo_run.layer()
    shares = patches[patches.area_id == "demo-reserve"].zone_shares
    assert shares.str.contains("core|buffer|experimental").all()


def test_the_measured_shift_is_the_planted_one(demo_run: Run) -> None:
    fits = {row["area_id"]: row["fit"] for row in demo_run.record["coverage"]}
    terms = {area: (*fit["applied"]["row_terms"], *fit["applied"]["col_terms"]) for area, fit in fits.items()}
    assert terms["demo-reserve"] == pytest.approx((0.35, -0.25), abs=0.03)
    assert terms["demo-redline"] == pytest.approx((1.6, -1.2), abs=0.25)
    summary = demo_run.layer("area_summary")
    assert (summary.shift_px < 0.1).all()


def test_the_boundary_is_published_as_it_was_read(demo_run: Run, sample: Path) -> None:
    """In the CRS it came in, it has not been on the grid of the scenes and back."""
    summary = demo_run.layer("area_summary").set_index("area_id")
    read = read_areas(AreaSource(path=sample / "redline.geojson", id_field="area_id"), (sample,))[0]
    assert read.crs == CGCS
    assert summary.geometry[read.area_id].equals_exact(shapely.multipolygons(shapely.get_parts(read.geometry)), 0)


def test_the_same_bytes_where_all_lies_in_the_file(
    demo_run: Run, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ten thousand areas, few comparisons and results are held at a time; here, none but the last."""
    monkeypatch.setattr(shelf, "_FEW", 0)
    other = Run(run_review(demo_review(sample, tmp_path), Cluster(scheduler="threads", workers=2)))
    assert len(other.result.plan.comparisons) > 1 and other.digest == demo_run.digest
    assert [r.patches for r in other.result.results] == [r.patches for r in demo_run.result.results]
    for name in ("coverage", "totals", "tasks", "boundaries", "scenes", "pipelines"):
        assert other.record[name] == demo_run.record[name]


def test_no_boundary_stays_prepared(demo_run: Run) -> None:
    """What GEOS makes of one to answer many questions takes several times its memory, and there may be ten thousand."""
    plan = demo_run.result.plan
    held = [area.geometry for area in (*plan.areas, *plan.neighbours, *(c.area for c in plan.comparisons))]
    held += [result.area.geometry for result in demo_run.result.results]
    assert not shapely.is_prepared(held).any()


# Every size and either number of workers are in `make test`, every pair of them in `make test-slow`.
@pytest.mark.parametrize(
    ("tile_px", "workers"),
    [(256, 2), (512, 1), (1024, 2)]
    + [pytest.param(*pair, marks=pytest.mark.slow) for pair in ((256, 1), (512, 2), (1024, 1))],
)
def test_the_same_bytes_for_any_tile_size_worker_count_and_order(
    demo_run: Run, sample: Path, tmp_path: Path, tile_px: int, workers: int
) -> None:
    def shuffled(tasks: list) -> list:  # type: ignore[type-arg]
        return random.Random(tile_px).sample(tasks, len(tasks))

    cluster = Cluster(scheduler="threads", workers=workers, tile_px=tile_px)
    other = Run(run_review(demo_review(sample, tmp_path), cluster, shuffle=shuffled))
    assert other.result.folder.name == demo_run.result.folder.name
    assert other.digest == demo_run.digest


def test_the_same_bytes_from_processes(demo_run: Run, sample: Path, tmp_path: Path) -> None:
    other = run(demo_review(sample, tmp_path), scheduler="processes", workers=2, tile_px=512)
    assert other.digest == demo_run.digest


@pytest.mark.slow
def test_the_same_bytes_from_a_scheduler_by_address(demo_run: Run, sample: Path, tmp_path: Path) -> None:
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as elsewhere:
        other = run(demo_review(sample, tmp_path), scheduler=elsewhere.scheduler_address)
    assert other.digest == demo_run.digest


def test_a_complete_run_is_reported_not_rewritten(demo_run: Run, sample: Path) -> None:
    before = demo_run.package.stat().st_mtime_ns
    again = run(demo_review(sample, demo_run.result.plan.review.runs))
    assert again.result.reused
    assert demo_run.package.stat().st_mtime_ns == before


def test_a_damaged_product_is_made_anew(sample: Path, tmp_path: Path) -> None:
    review = demo_review(sample, tmp_path, only=("demo-redline",))
    first = run(review)
    digest = first.digest
    first.package.write_bytes(b"spoiled")
    assert run(review).digest == digest


def test_rerun_of_one_area_is_the_same_code_on_fewer_tasks(demo_run: Run, sample: Path, tmp_path: Path) -> None:
    alone = run(demo_review(sample, tmp_path, only=("demo-redline",)))
    whole = demo_run.layer()
    columns = [c for c in whole.columns if c != "geometry"]
    expected = whole[whole.area_id == "demo-redline"].reset_index(drop=True)
    assert expected[columns].equals(alone.layer()[columns])


def test_plan_tells_new_skip_and_recompute(sample: Path, tmp_path: Path) -> None:
    review = demo_review(sample, tmp_path, only=("demo-redline",))
    cluster = Cluster(scheduler="threads", workers=1)

    def statuses(reviewed: object) -> set[str]:
        return {t.status for t in planned_tasks(make_plan(reviewed), cluster)}  # type: ignore[arg-type]

    assert statuses(review) == {"new"}
    run(review, workers=1)
    assert statuses(review) == {"skip"}
    pipelines = tmp_path / "pipelines"
    pipelines.mkdir()
    for path in review.pipelines.glob("*.toml"):
        (pipelines / path.name).write_text(path.read_text("utf-8").replace('version = "2"', 'version = "3"'), "utf-8")
    assert statuses(review.model_copy(update={"pipelines": pipelines})) == {"recompute"}


def test_pictures_and_table(demo_run: Run, tmp_path: Path) -> None:
    write_quicklooks(tmp_path, demo_run.result.plan, demo_run.result.results)
    pictures = sorted(tmp_path.glob("quicklook_*.png"))
    assert len(pictures) == 2
    red = 0
    for path in pictures:
        image = np.asarray(Image.open(path).convert("RGB"))
        assert image.std() > 10
        third = image[:, 2 * image.shape[1] // 3 :]
        red += int(((third == (230, 30, 30)).all(axis=2)).sum())
    assert red > 100
    for language in ("zh", "en"):
        header, rows = run_table(demo_run.result.folder, language)  # type: ignore[arg-type]
        assert all(len(row) == len(header) for row in rows)
    assert any("79." in cell for row in rows for cell in row)
    assert rows[-1][-2] == str(len(demo_run.layer()))


def test_rasters_on_request(sample: Path, tmp_path: Path) -> None:
    review = demo_review(sample, tmp_path, only=("demo-redline",))
    review = review.model_copy(update={"output": review.output.model_copy(update={"rasters": True})})
    made = run(review)
    names = sorted(p.name for p in made.result.folder.glob("*.tif"))
    assert [n.split("_")[0] for n in names] == ["score", "valid"]
    score, valid = (inspect(admit(made.result.folder / n, roots=[tmp_path], kinds=RASTER_KINDS)) for n in names)
    assert (score.dtype, valid.dtype) == ("float32", "uint8")
    assert score.grid == valid.grid == made.result.results[0].comparison.grid
    assert run(demo_review(sample, tmp_path / "plain", only=("demo-redline",))).digest == made.digest
