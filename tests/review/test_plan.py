"""Plans of some hundred areas: against a slow oracle, as a list and as a stream, in flat memory; hours by simulation."""

from __future__ import annotations

import hashlib
import json
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ecowatch.cli import app
from ecowatch.errors import BoundaryError, ConfigError, ExitCode
from ecowatch.grid import Grid, Window
from ecowatch.raster import write_geotiff
from ecowatch.review import Comparison, DateGroup, make_plan, plan_to_file, planned_tasks
from ecowatch.review.cost import (
    STAGES,
    Expectation,
    Schedule,
    block_work,
    fit_seconds,
    slow_files,
    tile_seconds,
)
from ecowatch.review.inputs import pairs_of, read_inputs
from ecowatch.review.plan import PlannedTask, TasksOf, by_place
from ecowatch.settings import AreaSource, Cluster, Rates, Review, SceneSource

ROOT = Path(__file__).parents[2]
SIDE = 700
LEFT, TOP, EAST = 600_000, 3_400_000, 6_000
BANDS = [{"role": "red", "index": 1}, {"role": "nir", "index": 2}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dates of two scenes that lie over one another by 1 km, and a third place of one date only."""
    folder = tmp_path_factory.mktemp("plan")
    (folder / "scenes").mkdir()
    days = ("20250410", "20260415")
    for number, day in enumerate((*days, *days, days[1])):
        place = number // 2
        grid = Grid.from_parts("EPSG:32650", (10, 0, LEFT + place * EAST, 0, -10, TOP), (SIDE, SIDE))
        values = np.full((2, SIDE, SIDE), 900 + number, np.uint16)
        write_geotiff(folder / "scenes" / f"s{place}_{day}.tif", values, grid)
    return folder


def review_of(folder: Path, runs: Path, count: int, *, radius_m: float = 200) -> Review:
    """A review of circles in a row of rows; the last fifth lies where there is one date or none."""
    rng = np.random.default_rng(count)
    x = LEFT + rng.uniform(300, 2 * EAST + SIDE * 10 + 3_000, count)
    y = TOP - rng.uniform(300, SIDE * 10 - 300, count)
    outlines = [shapely.Point(*place).buffer(radius_m * rng.uniform(0.5, 3)) for place in zip(x, y, strict=True)]
    path = folder / f"areas_{count}.gpkg"
    ids = [f"a{number:04d}" for number in range(count)]
    if not path.exists():
        geopandas.GeoDataFrame({"id": ids}, geometry=outlines, crs="EPSG:32650").to_file(path)
    return Review(
        name="plan",
        period="2026H1",
        roots=(folder,),
        runs=runs,
        pipelines=ROOT / "pipelines",
        areas=(AreaSource(path=path, id_field="id"),),
        sources=(
            SceneSource(path=folder / "scenes", product="geotiff", sensor="plain", bands=BANDS),  # type: ignore[arg-type]
        ),
    )


class Told(NamedTuple):
    """What the oracle says of one tile."""

    area_id: str
    tile: tuple[int, ...]
    blocks: int


def oracle(review: Review) -> Iterator[Told]:
    """Every tile of 512 pixels of a lattice over all scenes, one by one, in plain geometry; inner edges lie 16 px early."""
    areas = geopandas.read_file(review.areas[0].path).sort_values("id")
    places = [shapely.box(LEFT + p * EAST, TOP - SIDE * 10, LEFT + p * EAST + SIDE * 10, TOP) for p in range(3)]
    for area_id, outline in zip(areas["id"], areas.geometry, strict=True):
        over = [p for p, box in enumerate(places) if box.intersects(outline)]
        if not {0, 1} & set(over):
            continue
        # Of as many scenes on either side the grids tie in all but their origin: the first in the list is taken.
        origin = LEFT + over[0] * EAST
        left, bottom, right, top = outline.bounds
        col0, row0 = int((left - origin) // 5120), int((TOP - top) // 5120)
        col1, row1 = int(-((origin - right) // 5120)), int(-((bottom - TOP) // 5120))
        for row in range(row0, row1):
            for col in range(col0, col1):
                upper, lower = row * 512 - 16 * (row > row0), (row + 1) * 512 - 16 * (row + 1 < row1)
                first, last = col * 512 - 16 * (col > col0), (col + 1) * 512 - 16 * (col + 1 < col1)
                x, y = origin + np.array([first, last]) * 10, TOP - np.array([lower, upper]) * 10
                if shapely.box(x[0], y[0], x[1], y[1]).intersects(outline):
                    tile = (upper - row0 * 512, first - col0 * 512, lower - row0 * 512, last - col0 * 512)
                    yield Told(area_id, tile, 1)


def test_a_plan_of_some_hundred_areas_equals_a_slow_oracle(folder: Path, tmp_path: Path) -> None:
    review = review_of(folder, tmp_path, 150)
    plan = make_plan(review)
    tasks = planned_tasks(plan, Cluster(tile_px=512))
    found = [Told(t.task.comparison.area.area_id, tuple(t.task.tile), t.blocks) for t in tasks]
    assert found == list(oracle(review))
    assert len({t.task.key for t in tasks}) == len(tasks) > 80
    lone = {u.area.area_id for u in plan.unpaired}
    assert len(lone) > 10 and lone == {a.area_id for a in plan.areas} - {told.area_id for told in found}
    assert {u.code for u in plan.unpaired} == {"NO_PAIR"}
    assert [u.pipeline is None for u in plan.unpaired].count(True) > 5, "some touch no scene at all"


def test_the_only_tile_of_an_area_whose_blocks_can_be_kept_follows_its_fit(folder: Path, tmp_path: Path) -> None:
    plan = make_plan(review_of(folder, tmp_path, 24))
    rates, block_bytes = Rates(), 2 * 2 * 2 * 512**2  # two bands of two dates, no quality layer
    for budget, most in (("1GiB", 204), ("20MiB", 4), ("6MiB", 1), ("1MiB", 0)):
        cluster = Cluster(memory_budget=budget)
        assert most == cluster.cache_bytes // block_bytes
        listed = planned_tasks(plan, cluster)
        tiles = Counter(task.number for task in listed)
        for task in listed:
            assert task.follows_fit == (tiles[task.number] == 1 and task.blocks <= most)
            work = block_work(task.task.comparison, rates)
            full = tile_seconds(task.task.comparison, task.blocks, work, rates)
            # The blocks are decoded once: the fit has those seconds.
            saved = task.blocks * work.decode_s if task.follows_fit else 0.0
            assert task.seconds == pytest.approx(full - saved) and task.fit_seconds > 0
    assert {task.blocks for task in planned_tasks(plan, Cluster())} > {1}, "some areas touch several blocks"


def test_by_place_every_block_is_come_to_once_and_tiles_keep_their_order(folder: Path, tmp_path: Path) -> None:
    plan = make_plan(review_of(folder, tmp_path, 150))
    listed = planned_tasks(plan, Cluster(tile_px=128))
    tasks = by_place(listed)
    assert list(tasks) != list(listed) and sorted(t.task.key for t in tasks) == sorted(t.task.key for t in listed)
    assert list(by_place(tasks)) == list(tasks)

    def where(comparison: Comparison) -> tuple[str, int, int]:
        middle = shapely.box(*comparison.area.geometry.bounds).centroid
        origin = LEFT + EAST * comparison.before.scene_ids.startswith("s1")
        dates = f"{comparison.before.scene_ids} {comparison.after.scene_ids}"
        return dates, int((TOP - middle.y) // 5120), int((middle.x - origin) // 5120)

    blocks = [where(t.task.comparison) for t in tasks]
    visits = [block for block, former in zip(blocks, [None, *blocks], strict=False) if block != former]
    assert len(visits) == len(set(visits)) > 4
    both = {True: 0, False: 0}
    for area_id in {t.area_id for t in listed}:
        own = [t.tile for t in tasks if t.area_id == area_id]
        assert own == [t.tile for t in listed if t.area_id == area_id]
        both[len(own) > 1] += 1
    assert min(both.values()) > 3


def test_each_comparison_has_its_tasks_in_the_order_of_all(folder: Path, tmp_path: Path) -> None:
    plan = make_plan(review_of(folder, tmp_path, 24))
    listed = list(planned_tasks(plan, Cluster(tile_px=128)))
    for tasks in (listed, listed[::-1], listed[::2], []):
        grouped = TasksOf(tasks, len(plan.comparisons))
        expected = [[t for t in tasks if t.number == number] for number in range(len(plan.comparisons))]
        assert [list(own) for own in grouped] == expected and len(grouped) == len(expected)
    assert max(map(len, expected)) == 0 and len({t.number for t in listed}) > 3
    with pytest.raises(IndexError):
        grouped[len(plan.comparisons)]


def test_four_blocks_are_walked_like_a_z(folder: Path, tmp_path: Path) -> None:
    plan = make_plan(review_of(folder, tmp_path, 24))
    task = planned_tasks(plan, Cluster())[0]
    x, y = LEFT + 40 * 5120.0, TOP - 50 * 5120.0

    def moved(number: int, right: float, down: float) -> PlannedTask:
        box = shapely.Point(x + right, y - down).buffer(9.0)
        former = task.task.comparison
        comparison = replace(former, area=replace(former.area, geometry=box, version=str(number)))
        return task._replace(comparisons=(comparison,), number=0, comparison_key=comparison.key)

    # Right and left above, right and left below.
    places = [(2560.0, -2560.0), (-2560.0, -2560.0), (2560.0, 2560.0), (-2560.0, 2560.0)]
    tasks = [moved(n, *place) for n, place in enumerate(places)]
    order = [int(t.task.comparison.area.version) for t in by_place(tasks)]
    assert order == [1, 0, 3, 2]


@pytest.mark.parametrize("tile_px", [128, 512, 5632])
def test_the_stream_holds_the_tasks_of_the_plan_in_their_order(folder: Path, tmp_path: Path, tile_px: int) -> None:
    review, cluster = review_of(folder, tmp_path, 24), Cluster(tile_px=tile_px)
    plan = make_plan(review)
    summary = plan_to_file(review, cluster, tmp_path / "stream.jsonl", workers=(1, 8))
    assert summary.run_id == plan.run_id and summary.comparisons == len(plan.comparisons)
    rows = [json.loads(line) for line in (tmp_path / "stream.jsonl").read_text("utf-8").splitlines()]
    tasks = planned_tasks(plan, cluster)
    told = [(row["run_id"], row["key"], row["tile"], row["blocks"], row["seconds"]) for row in rows]
    assert told == [(plan.run_id, t.task.key, list(t.tile), t.blocks, round(t.seconds, 2)) for t in tasks]
    assert summary.lines == len(rows) == sum(summary.expected.counts.values())
    first = {row["comparison"]: row["fit_seconds"] for row in reversed(rows)}
    assert summary.expected.fits == len(first) and min(first.values()) > 0
    assert [row["fit_seconds"] > 0 for row in rows].count(True) == len(first), "a fit stands at its first tile only"
    hours = summary.expected.hours()
    assert hours[8] < hours[1] < 8 * hours[8]


def test_a_scene_of_which_a_sliver_lies_under_a_large_area_does_not_stop_the_plan(folder: Path, tmp_path: Path) -> None:
    review = review_of(folder, tmp_path, 24)
    path = folder / "large.gpkg"
    # 16 km across in 160 coarse pixels: the second scene begins 30 m before its eastern edge.
    outline = shapely.box(LEFT + EAST + 30 - 16_000, TOP - 6_000, LEFT + EAST + 30, TOP - 1_000)
    geopandas.GeoDataFrame({"id": ["large"]}, geometry=[outline], crs="EPSG:32650").to_file(path)
    plan = make_plan(review.model_copy(update={"areas": (AreaSource(path=path, id_field="id"),)}))
    (comparison,) = plan.comparisons
    assert len(comparison.before.scenes) == 2


def test_nothing_is_written_where_the_plan_is_refused(folder: Path, tmp_path: Path) -> None:
    review = review_of(folder, tmp_path, 24)
    far = folder / "far.gpkg"
    geopandas.GeoDataFrame({"id": ["x"]}, geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:4490").to_file(far)
    path = tmp_path / "plan.jsonl"
    with pytest.raises(BoundaryError, match=r"NO_OVERLAP.*none of its 1 areas overlaps any of the 5 scenes"):
        plan_to_file(review.model_copy(update={"areas": (AreaSource(path=far, id_field="id"),)}), Cluster(), path)
    with pytest.raises(ConfigError, match="NOTHING_JOINED"):
        plan_to_file(review.model_copy(update={"joined": ("bitemporal",)}), Cluster(), path)
    assert not path.exists() and not list(tmp_path.glob(".plan*"))


def test_what_is_kept_is_skipped_and_what_is_stale_is_done_anew(folder: Path, tmp_path: Path) -> None:
    review = review_of(folder, tmp_path, 24)
    cluster = Cluster(tile_px=512)
    first, second, *rest = planned_tasks(make_plan(review), cluster)
    assert first.task.comparison is not second.task.comparison and first.fit_seconds > 0
    first.path.parent.mkdir(parents=True)
    first.path.touch()
    first.path.with_name(f"fit.{first.task.comparison.key[:20]}.json").touch()
    second.path.parent.mkdir(parents=True)
    place = "_".join(map(str, second.task.tile))
    second.path.with_name(f"{place}.{'0' * 20}.npz").touch()
    again = planned_tasks(make_plan(review), cluster)
    assert [t.status for t in again] == ["skip", "recompute", *["new"] * len(rest)]
    assert again[0].fit_seconds == 0 and again[1].fit_seconds == second.fit_seconds
    summary = plan_to_file(review, cluster, tmp_path / "plan.jsonl")
    assert summary.expected.counts == {"new": len(rest), "skip": 1, "recompute": 1}
    assert summary.expected.megabytes == pytest.approx(sum(t.megabytes for t in again[1:]))


def test_a_comparison_is_let_go_before_the_next_but_one_is_made(folder: Path, tmp_path: Path) -> None:
    """Peaks of memory wander with the size of single areas; what is alive does not."""
    alive: list[weakref.ref[Comparison]] = []
    most = 0
    for found in pairs_of(read_inputs(review_of(folder, tmp_path, 60))):
        if isinstance(found, Comparison):
            assert found.key
            alive.append(weakref.ref(found))
        del found
        most = max(most, sum(ref() is not None for ref in alive))
    assert len(alive) > 30 and most <= 1


@given(st.integers(1, 9), st.lists(st.tuples(st.sampled_from(STAGES), st.floats(0.01, 50)), min_size=1, max_size=60))
def test_hours_are_those_of_a_simulation(workers: int, tasks: list[tuple[str, float]]) -> None:
    schedule = Schedule(workers)
    for stage, seconds in tasks:
        schedule.add(stage, seconds)
    schedule.add_alone(3.0)
    clock = 3.0
    for stage in STAGES:
        ends = [0.0] * workers
        for seconds in [s for name, s in tasks if name == stage]:
            who = min(range(workers), key=lambda i: (ends[i], i))
            ends[who] += seconds
        clock += max(ends)
    work = sum(seconds for _, seconds in tasks)
    assert schedule.seconds == pytest.approx(clock)
    assert schedule.seconds >= work / workers + 3 - 1e-9
    # Graham's bound, stage by stage.
    longest = sum(max([s for name, s in tasks if name == stage], default=0.0) for stage in STAGES)
    assert schedule.seconds <= work / workers + longest * (1 - 1 / workers) + 3 + 1e-9
    assert 0 < schedule.busy_share <= 1


def _as_jpeg2000(comparison: Comparison) -> Comparison:
    """The same comparison, its bands declared to be JPEG 2000: a plan opens none of them."""

    def slow(group: DateGroup) -> DateGroup:
        scenes = [
            replace(s, bands=tuple(replace(b, layer=replace(b.layer, driver="JP2OpenJPEG")) for b in s.bands))
            for s in group.scenes
        ]
        return replace(group, scenes=tuple(scenes))

    return replace(comparison, before=slow(comparison.before), after=slow(comparison.after))


def test_costs_follow_bytes_blocks_and_format(folder: Path, tmp_path: Path) -> None:
    rates = Rates()
    c = make_plan(review_of(folder, tmp_path, 24)).comparisons[0]
    work, jpeg = block_work(c, rates), block_work(_as_jpeg2000(c), rates)
    assert work.megabytes == jpeg.megabytes == pytest.approx(2 * 2 * 512**2 * 2 / 1e6), (
        "two dates, two bands, two bytes"
    )
    assert work.decode_s == pytest.approx(work.megabytes / rates.decode_mb_s)
    assert jpeg.decode_s == pytest.approx(jpeg.megabytes / rates.jpeg2000_mb_s)
    assert block_work(_as_jpeg2000(c), rates, copied=True) == work
    for cost in (tile_seconds, fit_seconds):
        assert cost(c, 4, work, rates) > cost(c, 1, work, rates)
        assert cost(c, 4, jpeg, rates) - cost(c, 4, work, rates) == pytest.approx(4 * (jpeg.decode_s - work.decode_s))
    most = c.pipeline.detect.max_blocks
    assert fit_seconds(c, most, jpeg, rates) == fit_seconds(c, 10 * most, jpeg, rates), "a fit reads no more than that"


def test_a_slow_file_is_copied_once_for_all_areas(folder: Path, tmp_path: Path) -> None:
    rates = Rates()
    c = make_plan(review_of(folder, tmp_path, 24)).comparisons[0]
    assert slow_files(c, rates) == {}
    files = slow_files(_as_jpeg2000(c), rates)
    scenes = {s.bands[0].layer.digest for group in (c.before, c.after) for s in group.scenes}
    assert files == {digest: pytest.approx(SIDE**2 * 2 / 1e6 / rates.jpeg2000_mb_s) for digest in scenes}
    once, twice = Expectation((1,), rates), Expectation((1,), rates)
    once.add_comparison(files)
    for _ in range(2):
        twice.add_comparison(files)
    assert twice.hours()[1] - once.hours()[1] == pytest.approx(rates.area_s / 3600)
    assert once.hours()[1] == pytest.approx((rates.start_s + rates.area_s + sum(files.values())) / 3600)


@given(st.tuples(*[st.integers(-600, 2600)] * 4))
def test_blocks_over_a_window_are_those_that_meet_it(corners: tuple[int, int, int, int]) -> None:
    grid = Grid.from_parts("EPSG:32650", (10, 0, LEFT, 0, -10, TOP), (1900, 1300))
    over = Window(
        min(corners[0], corners[2]),
        min(corners[1], corners[3]),
        max(corners[0], corners[2]) + 1,
        max(corners[1], corners[3]) + 1,
    )
    assert list(grid.blocks(over)) == [b for b in grid.blocks() if b.intersection(over)]


def test_the_run_is_named_after_what_it_depends_on(folder: Path, tmp_path: Path) -> None:
    review = review_of(folder, tmp_path, 24)
    names = {make_plan(review).run_id, make_plan(review.model_copy(update={"name": "other"})).run_id}
    assert len(names) == 1, "the name of a review is no input"
    changed = [
        {"only": ("a0001",)},
        {"only": ("a0002",)},
        {"period": "2026"},
        {"allow_datum": ("EPSG:4326=EPSG:4490",)},
    ]
    names |= {make_plan(review.model_copy(update=change)).run_id for change in changed}
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in names)
    assert len(names) >= 4 and hashlib.sha256(b"").hexdigest()[:16] not in names


def test_the_command_tells_hours_and_refuses_what_is_no_number(folder: Path, tmp_path: Path) -> None:
    review_of(folder, tmp_path, 24)
    path = tmp_path / "review.toml"
    bands = "".join(f'[[sources.bands]]\nrole = "{b["role"]}"\nindex = {b["index"]}\n' for b in BANDS)
    path.write_text(
        f'name = "plan"\nperiod = "2026H1"\nroots = ["{folder}"]\nruns = "{tmp_path}"\npipelines = "{ROOT}/pipelines"\n'
        f'[[areas]]\npath = "{folder}/areas_24.gpkg"\nid_field = "id"\n'
        f'[[sources]]\npath = "{folder}/scenes"\nproduct = "geotiff"\nsensor = "plain"\n{bands}',
        "utf-8",
    )
    rates = tmp_path / "rates.toml"
    rates.write_text("start_s = 7200.0\n", "utf-8")
    call = CliRunner().invoke
    told = json.loads(call(app, ["plan", str(path), "--workers", "1,8", "--json"]).stdout)
    assert list(told["hours"]) == ["2", "1", "8"], "those of the cluster file first"
    assert told["hours"]["8"] < told["hours"]["2"] < told["hours"]["1"] and told["tiles"] == told["new"] > 0
    slow = json.loads(call(app, ["plan", str(path), "--rates", str(rates), "--json"]).stdout)
    assert slow["minutes"] == pytest.approx(told["minutes"] + 120 - Rates().start_s / 60, abs=0.1)
    table = call(app, ["plan", str(path), "--workers", "8", "--lang", "en"]).stdout
    assert "workers" in table and "hours" in table
    for wrong in ("1,x", "0", "1,,2", "-3"):
        assert call(app, ["plan", str(path), "--workers", wrong]).exit_code == ExitCode.USAGE
    rates.write_text("start_h = 2\n", "utf-8")
    assert call(app, ["plan", str(path), "--rates", str(rates)]).exit_code == ExitCode.BAD_CONFIG
