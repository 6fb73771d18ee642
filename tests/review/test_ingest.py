"""The stage before the fit: what is copied, and that nothing that comes out can tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ecowatch.cli import app
from ecowatch.raster import is_sound, seal_of
from ecowatch.review import Ingested, RunResult, ingest_review, make_plan, planned_tasks, run_review
from ecowatch.review.accounts import Accounts
from ecowatch.review.engine import started
from ecowatch.review.ingest import Copies, ingest, sound_copies, with_copies
from ecowatch.settings import Cluster, Review
from ecowatch.settings.review import Cache

from ..walk.conftest import demo_review

THREADS = Cluster(scheduler="threads", workers=2)


@pytest.fixture
def review(sample: Path, tmp_path: Path) -> Callable[..., Review]:
    def make(name: str, **cache: object) -> Review:
        made = demo_review(sample, tmp_path / name)
        return made.model_copy(update={"sources": made.sources[:1], "cache": Cache(**cache)})  # type: ignore[arg-type]

    return make


def copies_in(review: Review) -> list[Path]:
    return sorted(review.cache_folder.glob("??/*.tif"))


def products(result: RunResult) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in result.folder.iterdir() if p.name != "run.json"}


def test_a_run_from_copies_equals_a_run_from_jpeg_2000_byte_by_byte(review: Callable[..., Review]) -> None:
    told: list[str] = []
    plain = run_review(review("plain", jpeg2000="never"), THREADS)
    copied = run_review(review("copied"), THREADS, progress=lambda _, step, *__: told.append(step))
    assert copies_in(review("plain")) == []
    made = copies_in(review("copied"))
    assert len(made) == told.count("ingest") >= 14 and all(is_sound(copy) for copy in made)
    ingest_stage = copied.tasks["ingest"]
    assert ingest_stage["produced"] == ingest_stage["expected"] == len(made) and plain.tasks["ingest"]["expected"] == 0
    assert told.index("fit") > max(i for i, step in enumerate(told) if step == "ingest")
    assert plain.plan.run_id == copied.plan.run_id
    assert products(plain) == products(copied)
    fits = [sorted((review(n).runs).rglob("fit.*.json")) for n in ("plain", "copied")]
    assert [p.read_bytes() for p in fits[0]] == [p.read_bytes() for p in fits[1]] and fits[0]


def test_what_is_read_is_the_copy_and_what_is_said_is_the_source(review: Callable[..., Review]) -> None:
    settings = review("r")
    plan, told = ingest_review(settings, THREADS)
    assert (told.made, told.kept, told.left_out, told.failures) == (len(copies_in(settings)), 0, 0, ())
    comparison = plan.comparisons[0]
    fast = with_copies(comparison, sound_copies(plan, [comparison]))
    layer, source = fast.before.scenes[0].bands[0].layer, comparison.before.scenes[0].bands[0].layer
    assert layer.driver == "GTiff" and source.driver == "JP2OpenJPEG"
    assert (layer.digest, layer.grid, layer.dtype, layer.fill) == (
        source.digest,
        source.grid,
        source.dtype,
        source.fill,
    )
    assert {band.layer.driver for band in fast.after.scenes[0].bands} == {"GTiff"}
    assert fast.after.scenes[0].quality and fast.after.scenes[0].quality.layer.driver == "GTiff"
    assert fast.key == comparison.key
    # Native 20 m bands stay 20 m.
    assert {band.layer.grid.pixel_m for band in fast.before.scenes[0].bands} == {10.0, 20.0}


def test_a_second_ingest_copies_only_what_is_missing_or_damaged(review: Callable[..., Review]) -> None:
    settings = review("r")
    _, first = ingest_review(settings, THREADS)
    one, other, *_ = copies_in(settings)
    one.write_bytes(one.read_bytes()[:-9])
    seal_of(other).unlink()
    _, second = ingest_review(settings, THREADS)
    assert (second.made, second.kept) == (2, first.made - 2)


def test_a_full_cache_is_told_and_nothing_is_removed_for_room(review: Callable[..., Review]) -> None:
    told: list[tuple[str, str, int, int]] = []
    some = review("r", max_gb=0.001)
    _, first = ingest_review(some, THREADS, progress=lambda *event: told.append(event))
    assert first.left_out > 0
    assert [event for event in told if event[1] == "cache_full"] == [
        (str(some.cache_folder), "cache_full", first.left_out, first.left_out + first.made)
    ]
    before = copies_in(some)
    none = some.model_copy(update={"cache": Cache(max_gb=1e-9)})
    _, second = ingest_review(none, THREADS)
    assert second.made == 0 and copies_in(none) == before


def ingested(settings: Review) -> tuple[Copies, Ingested, list[str]]:
    """The stage alone, as a run comes to it."""
    told: list[str] = []
    plan = make_plan(settings)
    books = Accounts()
    with started(THREADS) as engine:
        tasks = planned_tasks(plan, THREADS)
        copies, figures = ingest(engine, plan, tasks, lambda where, step, *_: told.append(f"{step} {where}"), books)
    # Every band stands in the books once: copied, there before, or not to be copied.
    booked = books.totals()["ingest"]
    books.check()
    assert (booked["produced"], booked["skipped"]) == (figures.made, figures.kept)
    assert booked["failed"] == books.failures_in_all == len(figures.failures)
    return copies, figures, told


def test_a_cache_that_cannot_be_written_is_told_and_done_without(review: Callable[..., Review], tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, where a folder should be")
    copies, figures, told = ingested(review("r", path=blocked))
    assert copies == {} and figures.made == 0 and len(figures.failures) == len(told) >= 14
    assert all(line.startswith("not_ingested") and "CANNOT_WRITE" in line for line in told)
    plan = make_plan(review("r"))
    assert with_copies(plan.comparisons[0], copies) is plan.comparisons[0]


def test_a_small_area_in_a_large_scene_is_read_as_it_is(
    review: Callable[..., Review], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The share is of the scene's ground: the demo's scenes are needed whole, at 50 times their size they would not be."""
    monkeypatch.setattr("ecowatch.review.ingest._WORTH_SHARE", 50.0)
    assert ingested(review("r"))[1].made == 0
    assert ingested(review("always", jpeg2000="always"))[1].made >= 14
    assert ingested(review("never", jpeg2000="never"))[1].made == 0


def test_the_command_says_what_it_did(review: Callable[..., Review], tmp_path: Path) -> None:
    from typer.testing import CliRunner  # noqa: PLC0415

    from ecowatch.settings.example import commented_toml  # noqa: PLC0415

    settings, place = tmp_path / "r.toml", tmp_path / "c.toml"
    made = review("r").model_copy(update={"pipelines": Path(__file__).parents[2] / "pipelines"})
    settings.write_text(commented_toml(made, title="r"), "utf-8")
    place.write_text('scheduler = "threads"\nworkers = 2\n')
    done = CliRunner().invoke(app, ["ingest", str(settings), "--cluster", str(place), "--lang", "en"])
    assert done.exit_code == 0, done.output
    assert "copied 14, there before 0, no room for 0, failed 0" in done.output
    again = CliRunner().invoke(app, ["ingest", str(settings), "--cluster", str(place), "--lang", "zh"])
    assert "转存 0,已有 14" in again.output
