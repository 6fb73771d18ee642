"""The order of work from overviews: most change first, what cannot be told last with its reason, nothing written."""

from __future__ import annotations

import json
import time
from pathlib import Path

import geopandas
import pytest
import rasterio
import shapely
from rasterio.shutil import copy
from typer.testing import CliRunner

from ecowatch.cli import app
from ecowatch.review import Comparison, Triaged, make_plan, triage
from ecowatch.settings import Review

from ..walk.many_tiles import write_review, write_scenes

# Changed pixels by area: much, some, none, little.
CHANGED = {"a": (200, 160), "b": (100, 80), "c": (0, 0), "d": (40, 40)}


@pytest.fixture(scope="module")
def review(tmp_path_factory: pytest.TempPathFactory) -> tuple[Review, Path]:
    folder = tmp_path_factory.mktemp("triage")
    return write_review(folder, write_scenes(folder / "scenes", CHANGED))


def test_areas_with_most_change_come_first(review: tuple[Review, Path]) -> None:
    told: list[tuple[str, int, int]] = []
    found = triage(make_plan(review[0]), workers=2, progress=lambda *step: told.append(step))
    assert [one.area_id for one in found] == ["a", "b", "d", "c"]
    for one in found:
        rows, cols = CHANGED[one.area_id]
        assert one.usable_share is not None and one.changed_ha is not None
        assert one.usable_share > 0.97
        # Edges of a block of pixels belong to it or not: four of its own sides at the most.
        assert one.changed_ha == pytest.approx(rows * cols * 0.01, abs=0.01 * 4 * (rows + cols) + 0.01)
    assert sorted(name for name, _, _ in told) == ["a", "b", "c", "d"]
    assert [(done, of) for _, done, of in told] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_number_of_workers_changes_nothing(review: tuple[Review, Path]) -> None:
    assert triage(make_plan(review[0]), workers=1) == triage(make_plan(review[0]), workers=4)


def test_a_scene_that_cannot_be_read_leaves_its_areas_untold(tmp_path: Path) -> None:
    made, _ = write_review(tmp_path, write_scenes(tmp_path / "scenes", CHANGED))
    # What is damaged beforehand is quarantined by the plan.
    plan = make_plan(made)
    damaged = tmp_path / "scenes" / "s_20260425.tif"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 4 : len(data) // 2] = bytes(len(data) // 4)
    damaged.write_bytes(data)
    found = triage(plan, workers=2)
    assert [one.area_id for one in found] == ["a", "b", "c", "d"]
    for one in found:
        assert (one.usable_share, one.changed_share, one.changed_ha) == (None, None, None)
        assert "s_20260425.tif" in one.note


def test_an_area_without_a_pair_is_told_as_such(tmp_path: Path) -> None:
    scenes = write_scenes(tmp_path / "scenes", CHANGED)
    (scenes / "s_20260425.tif").unlink()
    made, _ = write_review(tmp_path, scenes)
    found = triage(make_plan(made), workers=1)
    assert len(found) == 4 and all(one.changed_share is None and one.note for one in found)


def test_an_area_narrower_than_a_coarse_pixel_is_not_cleared(tmp_path: Path) -> None:
    made, _ = write_review(tmp_path, write_scenes(tmp_path / "scenes", CHANGED))
    west, north = 600_000, 3_400_000
    sliver = shapely.box(west + 1000, north - 3000, west + 1012, north - 1000)
    frame = geopandas.GeoDataFrame({"id": ["thin"], "name": ["thin"]}, geometry=[sliver], crs="EPSG:32650")
    frame.to_file(tmp_path / "areas.gpkg")
    (one,) = triage(make_plan(made), workers=1)
    assert (one.usable_share, one.changed_share) == (0.0, None) and one.note.startswith("TOO_FEW_PIXELS")


def test_overviews_tell_the_same_order(review: tuple[Review, Path], tmp_path: Path) -> None:
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    for path in sorted((review[1].parent / "scenes").glob("*.tif")):
        copy(path, scenes / path.name, driver="COG", blocksize=256, overview_resampling="average")
        with rasterio.open(scenes / path.name) as dataset:
            assert 4 in dataset.overviews(1)
    made, _ = write_review(tmp_path, scenes)
    found = {one.area_id: one for one in triage(make_plan(made), workers=1)}
    assert list(found) == ["a", "b", "d", "c"]
    for one in triage(make_plan(review[0]), workers=1):
        assert found[one.area_id].changed_share == pytest.approx(one.changed_share, abs=0.01)


def test_radar_is_left_to_the_review(review: tuple[Review, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecowatch.review.first_look.is_radar", lambda _comparison: True)
    for one in triage(make_plan(review[0]), workers=1):
        assert (one.usable_share, one.changed_share) == (None, None) and one.note.startswith("RADAR")


def test_whoever_stops_it_does_not_wait_for_the_other_areas(
    review: tuple[Review, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(review[0])
    begun: list[str] = []

    def slow(comparison: Comparison) -> Triaged:
        begun.append(comparison.area.area_id)
        time.sleep(0.2)
        return Triaged(comparison.area.area_id, "", "", "", "", None, None, None)

    def stop(*_: object) -> None:
        raise SystemExit(75)

    monkeypatch.setattr("ecowatch.review.first_look._looked_over", slow)
    with pytest.raises(SystemExit):
        triage(plan, workers=1, progress=stop)
    assert 1 <= len(begun) <= 2 < len(plan.comparisons)


def test_the_command_prints_the_list_and_keeps_nothing(review: tuple[Review, Path], tmp_path: Path) -> None:
    made, path = review
    done = CliRunner().invoke(app, ["plan", str(path), "--triage", "--json", "--lang", "en"])
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert [one["area_id"] for one in printed] == ["a", "b", "d", "c"]
    assert "not cleared" in done.stderr
    assert not list(made.runs.glob("*/plan.jsonl"))
    table = CliRunner().invoke(app, ["plan", str(path), "--triage", "--lang", "zh"])
    assert "变化比例" in table.stdout and "不作结论" in table.stderr
    refused = CliRunner().invoke(app, ["plan", str(path), "--triage", "--out", str(tmp_path / "plan.jsonl")])
    assert refused.exit_code == 2 and not (tmp_path / "plan.jsonl").exists()
