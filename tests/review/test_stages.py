"""Fits and tiles: a small area goes through in one go, and that changes nothing but the blocks that are decoded twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecowatch.codes import TaskStatus
from ecowatch.digests import sha256_of
from ecowatch.errors import ExitCode, PairError
from ecowatch.raster import GridReader
from ecowatch.raster.kept import given_up
from ecowatch.review import run_review, stages
from ecowatch.review.accounts import read_accounts
from ecowatch.settings import Cluster, Review

from ..walk.many_tiles import write_review, write_scenes

TOGETHER = Cluster(scheduler="threads", workers=1)
# Too little for one block of both dates: every fit and every tile is a job of its own.
APART = TOGETHER.model_copy(update={"memory_budget": "4MiB"})


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("stages") / "scenes")


@pytest.fixture
def review(scenes: Path, tmp_path: Path) -> Review:
    return write_review(tmp_path, scenes)[0]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[Any]:
    """How often each block was decoded."""
    seen: Counter[Any] = Counter()
    real = GridReader._decode

    def counting(reader: GridReader, layers: Any, block: Any, *rest: Any) -> Any:
        grid = tuple(reader.grid.transform)[:6]
        seen[grid, tuple((str(layer.path), layer.index) for layer in layers), tuple(block)] += 1
        return real(reader, layers, block, *rest)

    monkeypatch.setattr(GridReader, "_decode", counting)
    return seen


def steps(told: list[tuple[str, str]]) -> Callable[[str, str, int, int], None]:
    return lambda area_id, step, _, __: told.append((area_id, step))


def test_a_small_area_is_decoded_once_for_its_fit_and_its_tile(review: Review, decoded: Counter[Any]) -> None:
    told: list[tuple[str, str]] = []
    given_up()
    together = run_review(review, TOGETHER, progress=steps(told))
    assert told[:8] == [(area, step) for area in "abcd" for step in ("fit", "tile")]
    assert decoded and set(decoded.values()) == {1}
    decoded.clear()
    told.clear()
    apart = run_review(review.model_copy(update={"name": "apart"}), APART, progress=steps(told))
    assert [step for _, step in told[:5]] == ["fit"] * 4 + ["tile"]
    assert min(decoded.values()) > 1, "the test counts what it should"
    assert together.tasks["tile"] == {"expected": 4, "produced": 4, "skipped": 0, "failed": 0, "quarantined": 0}
    assert [rows(r) for r in together.results] == [rows(r) for r in apart.results]


def rows(result: Any) -> Any:
    return result.coverage, [{**row, "geometry": row["geometry"].wkb} for row in result.patches]


def test_tiles_are_counted_on_from_small_areas_to_large_ones(review: Review) -> None:
    told: list[tuple[str, int, int]] = []

    def tell(area_id: str, step: str, done: int, total: int) -> None:
        if step == "tile":
            told.append((area_id, done, total))

    result = run_review(review, TOGETHER.model_copy(update={"tile_px": 512}), progress=tell)
    assert len(told) == result.tasks["tile"]["produced"] and [done for _, done, _ in told] == [*range(1, len(told) + 1)]
    areas = [area_id for area_id, _, _ in told]
    small = [area_id for area_id in areas if areas.count(area_id) == 1]
    assert areas[: len(small)] == small and "d" in small and areas.count("a") > 1
    assert told[-1][2] == len(told) and [total for *_, total in told] == sorted(total for *_, total in told)


def test_what_is_there_is_not_done_again(review: Review) -> None:
    first = run_review(review, TOGETHER)
    digest = sha256_of(first.folder / "flagged.gpkg")
    tiles, fits = (sorted(review.runs.glob(f"many/work/*/*/{name}")) for name in ("*.npz", "fit.*"))
    assert len(tiles) == len(fits) == 4
    for lost, left in ((tiles[0], fits[0]), (fits[1], tiles[1])):
        (first.folder / "run.json").unlink()
        was = left.stat().st_mtime_ns
        lost.unlink()
        again = run_review(review, TOGETHER)
        stage = "tile" if lost in tiles else "fit"
        assert again.tasks[stage]["produced"] == 1 and again.tasks[stage]["skipped"] == 3
        other = "fit" if lost in tiles else "tile"
        assert again.tasks[other]["produced"] == 0 and again.tasks[other]["skipped"] == 4
        assert lost.exists() and left.stat().st_mtime_ns == was
        assert sha256_of(again.folder / "flagged.gpkg") == digest


def test_an_area_that_cannot_be_fitted_is_told_once_and_its_tile_not_tried(
    review: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = stages.fit_comparison

    def refusing(comparison: Any, *rest: Any, **named: Any) -> Any:
        if comparison.area.area_id == "b":
            raise PairError("FIT_FAILED", "pair", "its covariance is singular", "use fewer bands")
        return real(comparison, *rest, **named)

    monkeypatch.setattr(stages, "fit_comparison", refusing)
    told: list[tuple[str, str]] = []
    result = run_review(review, TOGETHER, progress=steps(told))
    assert result.exit_code == ExitCode.PARTIAL
    ((area_id, what, status, error),) = [tuple(vars(f).values()) for f in result.failures]
    assert (area_id, what, status) == ("b", "fit bitemporal", TaskStatus.FAILED) and error.startswith("FIT_FAILED")
    assert ("b", "fit") in told and ("b", "tile") not in told
    assert result.tasks["fit"] == {"expected": 4, "produced": 3, "skipped": 0, "failed": 1, "quarantined": 0}
    assert result.tasks["tile"] == {"expected": 4, "produced": 3, "skipped": 0, "failed": 1, "quarantined": 0}
    books = read_accounts(review.runs / review.name)
    assert books is not None and [f["what"] for f in books["failures"]] == ["fit bitemporal"]


def test_a_tile_that_fails_after_its_fit_is_a_failure_of_the_tile(
    review: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = stages.process

    def refusing(task: Any, *rest: Any) -> Any:
        if task.comparison.area.area_id == "c":
            raise PairError("FIT_FAILED", "pair", "made up", "nothing")
        return real(task, *rest)

    monkeypatch.setattr(stages, "process", refusing)
    result = run_review(review, TOGETHER)
    ((area_id, what, _, _),) = [tuple(vars(f).values()) for f in result.failures]
    assert area_id == "c" and what.startswith("tile ")
    assert result.tasks["fit"]["failed"] == 0 and result.tasks["tile"]["failed"] == 1
    (unseen,) = [r.coverage for r in result.results if r.area.area_id == "c"]
    assert unseen.failed_px == unseen.expected_px > 0
