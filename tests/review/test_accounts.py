"""The accounts of a run: every task stands in them once, a stopped run is taken up where it stopped, status tells it all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ecowatch.atomic import write_text
from ecowatch.cli import app
from ecowatch.codes import TaskStatus
from ecowatch.errors import ConfigError, LockedError, StorageError, UnavailableError
from ecowatch.review import run_review, standing
from ecowatch.review.accounts import Accounts, RunState, read_accounts
from ecowatch.review.lock import review_lock
from ecowatch.settings import Cluster, Review, load
from tests.walk.kills import Case, make_case

from .test_poison import Dask, scheduler  # noqa: F401 - a fixture

CLUSTER = Cluster(scheduler="threads", workers=2, tile_px=128)


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, [*arguments], env={"LANG": "C"})


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    made = make_case(tmp_path_factory.mktemp("case"))
    (made.folder / "cluster.toml").write_text('scheduler = "threads"\nworkers = 2\ntile_px = 128\n', "utf-8")
    return made


@pytest.fixture
def review(case: Case) -> Review:
    case.clear(kept="nothing")
    return load(Review, case.folder / "review.toml")


class Stop:
    """Ends a run after some tiles, as SIGTERM does."""

    def __init__(self, after: int) -> None:
        self.after = after

    def __call__(self, *told: Any) -> None:
        _, step, done, _ = told
        if step == "tile" and done == self.after:
            raise SystemExit(75)


def files(case: Case, pattern: str) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in case.runs.glob(f"kills/work/*/*/{pattern}")}


def test_a_stopped_run_is_taken_up_and_only_unfinished_tasks_run_again(case: Case, review: Review) -> None:
    toml, place = str(case.folder / "review.toml"), str(case.folder / "cluster.toml")
    assert "no run yet" in call("status", toml).stdout
    refused = call("resume", toml)
    assert refused.exit_code == 65 and "NOTHING_TO_RESUME" in refused.stderr
    with pytest.raises(SystemExit):
        run_review(review, CLUSTER, progress=Stop(3))
    told = standing(case.runs / "kills")
    assert (told["state"], told["exit_code"], told["attempt"]) == ("stopped", 75, 1)
    assert told["stages"]["fit"]["left"] == 0 and told["stages"]["tile"]["left"] > 0
    before, fits = files(case, "*.npz"), files(case, "fit.*")
    assert len(fits) == 2 and len(before) >= 3
    resumed = call("resume", toml, "--cluster", place)
    assert resumed.exit_code == 0 and "taking up run" in resumed.stdout and "left" in resumed.stdout
    after = json.loads(call("status", toml, "--json").stdout)["review"]
    tiles = after["stages"]["tile"]
    assert (after["state"], after["attempt"], tiles["left"]) == ("done", 2, 0)
    assert tiles["skipped"] == len(before) and tiles["produced"] == tiles["expected"] - len(before)
    assert after["stages"]["fit"] == {
        "expected": 2,
        "produced": 0,
        "skipped": 2,
        "failed": 0,
        "quarantined": 0,
        "left": 0,
    }
    assert {p: t for p, t in files(case, "*.npz").items() if p in before} == before and files(case, "fit.*") == fits
    again = call("resume", toml)
    assert again.exit_code == 65 and "is complete" in again.stderr
    (record,) = case.runs.glob("kills/*/run.json")
    assert json.loads(record.read_text("utf-8"))["tasks"]["stages"]["tile"]["produced"] == tiles["produced"]


def test_a_run_whose_workers_are_gone_for_good_ends_and_is_taken_up(
    case: Case,
    review: Review,
    scheduler: Dask,  # noqa: F811
) -> None:
    place = Cluster(scheduler=scheduler.address, tile_px=128, worker_wait_s=1)

    def kill(_: str, step: str, done: int, __: int) -> None:
        if step == "tile" and done == 2:
            scheduler.working.kill()

    said = r"NO_WORKER tcp://.*: no worker for 1 s; start workers, or raise 'worker_wait_s'; then resume: finished work"
    # The scheduler lives on; it would keep the tasks for a worker that never comes.
    with pytest.raises(UnavailableError, match=said) as caught:
        run_review(review, place, progress=kill)
    assert caught.value.exit_code == 69
    told = standing(case.runs / "kills")
    assert (told["state"], told["exit_code"]) == ("stopped", 69) and told["error"].startswith("NO_WORKER")
    kept = len(files(case, "[!.]*.npz"))
    # Nor is one waited for longer where there is none from the start.
    with pytest.raises(UnavailableError, match="NO_WORKER"):
        run_review(review, place)
    assert kept >= 2 and told["stages"]["tile"]["left"] > 0
    resumed = run_review(review, CLUSTER)
    tiles = resumed.tasks["tile"]
    assert resumed.failures == () and (tiles["skipped"], tiles["produced"]) == (kept, tiles["expected"] - kept)


def test_a_run_killed_before_its_last_word_is_known_to_be_complete(case: Case, review: Review) -> None:
    run_review(review, CLUSTER)
    path = case.runs / "kills" / "accounts.json"
    told = json.loads(path.read_text("utf-8"))
    write_text(path, json.dumps(told | {"state": "running"}))
    assert standing(case.runs / "kills")["state"] == "killed"
    assert run_review(review, CLUSTER).reused
    after = json.loads(path.read_text("utf-8"))
    assert after["state"] == "done" and after["stages"] == told["stages"]


def test_looks_are_sealed_like_fits_and_tiles(case: Case, review: Review) -> None:
    result = run_review(review, CLUSTER)
    seals = [json.loads(p.read_text("utf-8")) for p in case.runs.glob("kills/work/*/*/_DONE.*.json")]
    sealed = {name for seal in seals for name in seal}
    kept = {p.name for p in case.runs.glob("kills/work/*/*/[!._]*") if p.is_file()}
    assert sealed == kept
    looks = list(case.runs.glob("kills/work/*/*/look.*.json"))
    if looks:
        looks[0].write_text(looks[0].read_text("utf-8").replace("stage", "stagf"), "utf-8")
        (result.folder / "run.json").unlink()
        anew = run_review(review, CLUSTER)
        assert anew.tasks["look"]["produced"] == 1 and not anew.failures


def test_a_second_run_of_the_same_review_is_refused(case: Case, review: Review) -> None:
    with review_lock(case.runs / "kills"), pytest.raises(LockedError, match="REVIEW_LOCKED"):
        run_review(review, CLUSTER)
    assert read_accounts(case.runs / "kills") is None


def test_a_second_run_is_refused_before_it_reads_anything(case: Case, review: Review) -> None:
    """Its scenes are not there: had it planned first, it would have said so."""
    nowhere = tuple(s.model_copy(update={"path": s.path / "absent"}) for s in review.sources)
    blind = review.model_copy(update={"sources": nowhere})
    with pytest.raises(ConfigError, match="PATH_MISSING"):
        run_review(blind, CLUSTER)
    with review_lock(case.runs / "kills"), pytest.raises(LockedError, match="REVIEW_LOCKED") as caught:
        run_review(blind, CLUSTER)
    assert caught.value.exit_code == 75


def test_a_copy_that_failed_is_told_and_does_not_make_a_run_partial(tmp_path: Path) -> None:
    books = Accounts(tmp_path, "r", "2026H1", run_id="x")
    books.expect("ingest", "scene", kept=False)
    books.ended("ingest", "scene", "copy B04.jp2", "DISK_FULL B04.tif: no space; free some")
    books.close([], 0)
    told = read_accounts(tmp_path)
    assert told is not None and (told["state"], told["failures_in_all"]) == ("done", 1)
    assert told["failures"][0]["what"] == "copy B04.jp2" and told["stages"]["ingest"]["failed"] == 1


def test_what_shards_produced_is_not_taken_for_kept(tmp_path: Path) -> None:
    """Two shards computed the same fit of b: it is one fit."""
    books = Accounts(tmp_path, "r", "2026H1", run_id="x")
    for area_id, kept in (("a", True), ("a", True), ("b", True), ("c", False)):
        books.expect("fit", area_id, kept=kept)
    shards = ({"a": {"expected": 1, "produced": 1}, "b": {"produced": 1}}, {"b": {"produced": 1}, "c": {"failed": 1}})
    books.join({"areas": {"fit": areas}} for areas in shards)
    books.settle("fit")
    books.check()
    assert books.totals()["fit"] == {"expected": 4, "produced": 2, "skipped": 1, "failed": 1, "quarantined": 0}


def test_every_task_stands_in_the_books_once(tmp_path: Path) -> None:
    books = Accounts(tmp_path, "r", "2026H1", run_id="x")
    books.begin()
    for number in range(20):
        books.expect("tile", "a" if number < 15 else "b", kept=number % 5 == 0)
    for number in (n for n in range(15) if n % 5):
        error = {6: "WORKER_DIED task: twice; look", 7: "SCENE_TORN x: cut; fetch"}.get(number)
        status = books.ended("tile", "a", f"tile {number}", error)
        assert status is {6: TaskStatus.QUARANTINED, 7: TaskStatus.FAILED}.get(number, TaskStatus.DONE)
    with pytest.raises(AssertionError, match="b: tasks of stage tile do not add up"):
        books.close([], 0)
    books.settle("tile")
    failures = [{"area_id": "a", "what": f"tile {n}", "error": "e", "status": "failed"} for n in range(300)]
    books.close(failures, 3)
    told = read_accounts(tmp_path)
    assert told is not None and told["state"] == RunState.PARTIAL and told["failures_in_all"] == 300
    assert len(told["failures"]) == 100 and told["pid"] == os.getpid()
    # 20 expected, 4 kept; of the 12 others of a two failed, and nobody tried the 4 of b.
    assert told["stages"]["tile"] == {"expected": 20, "produced": 10, "skipped": 4, "failed": 6, "quarantined": 1}


def test_books_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "accounts.json").write_text('{"state": "done"}')
    with pytest.raises(StorageError, match=r"ACCOUNTS_UNREADABLE .*delete it"):
        read_accounts(tmp_path)
    # A run does not stumble over them.
    Accounts(tmp_path, "r", "2026H1", run_id="x").begin()
    assert read_accounts(tmp_path) is not None


def test_the_hot_path_stays_cheap(tmp_path: Path) -> None:
    """Ten thousand tasks of as many areas: far below a millisecond each, files written included."""
    books = Accounts(tmp_path, "r", "2026H1", run_id="x")
    times = os.times()
    for number in range(10_000):
        books.expect("tile", f"area-{number}", kept=False)
        books.ended("tile", f"area-{number}", "tile", None)
    spent = os.times()
    assert (spent.user - times.user + spent.system - times.system) / 10_000 < 1e-3


def test_status_needs_something_to_speak_of() -> None:
    done = call("status")
    assert done.exit_code == 2


def test_areas_with_the_same_figures_hold_them_once() -> None:
    books = Accounts()
    for number in range(200):
        books.expect("fit", f"a{number}", kept=number % 2 == 0)
        for _ in range(number):
            books.expect("tile", "large", kept=False)
        if number % 2:
            books.ended("fit", f"a{number}", "fit", None if number % 3 else "X")
    books.settle("tile")
    books.check()
    assert len({id(counts) for counts in books.counts["fit"].values()}) == 3
    tiles = sum(range(200))
    assert books.totals()["tile"] == {"expected": tiles, "produced": 0, "skipped": 0, "failed": tiles, "quarantined": 0}
    # Figures that a large area has on the way to its end are not kept.
    assert len(books._alike) < 50
