"""The lock of a review, held by real processes, and the sweep of what killed writers left."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ecowatch.errors import EcowatchError, LockedError
from ecowatch.review import lock, run_review
from ecowatch.review.lock import Held, holder_of, review_lock, sweep_work
from ecowatch.settings import AreaSource, Cluster, Review, SceneSource

SPAWN = multiprocessing.get_context("spawn")


def hold(folder: Path, shared: bool, ready: Path) -> None:
    with review_lock(folder, shared=shared):
        ready.write_text("")
        time.sleep(600)


@contextmanager
def held(folder: Path, *, shared: bool = False) -> Iterator[int]:
    ready = folder.with_name(f"ready.{time.monotonic_ns()}")
    process = SPAWN.Process(target=hold, args=(folder, shared, ready), daemon=True)
    process.start()
    until = time.monotonic() + 60
    while not ready.exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert process.pid is not None and ready.exists()
    try:
        yield process.pid
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.join()


def test_a_second_run_is_refused_by_name_and_a_killed_one_frees_it(tmp_path: Path) -> None:
    folder = tmp_path / "review"
    with held(folder) as pid:
        assert holder_of(folder) is Held.RUN
        told = rf"REVIEW_LOCKED .*a run holds it: .*process {pid}, since 20"
        with pytest.raises(LockedError, match=told) as caught, review_lock(folder):
            pass
        assert caught.value.exit_code == 75
        with pytest.raises(LockedError, match="a run holds it"), review_lock(folder, shared=True):
            pass
    # It was killed, not ended.
    with review_lock(folder):
        pass
    assert holder_of(folder) is Held.NOBODY


def test_shards_share_it_and_keep_a_run_out(tmp_path: Path) -> None:
    folder = tmp_path / "review"
    with held(folder, shared=True), held(folder, shared=True), review_lock(folder, shared=True):
        assert holder_of(folder) is Held.SHARDS
        with pytest.raises(LockedError, match="a shard holds it"), review_lock(folder):
            pass


def test_whoever_asks_after_the_holder_refuses_nobody(tmp_path: Path) -> None:
    for _ in range(20):
        assert holder_of(tmp_path) is Held.NOBODY
        with review_lock(tmp_path, wait_s=0.0):
            pass


def test_a_review_that_cannot_be_planned_leaves_nothing_behind(tmp_path: Path) -> None:
    review = Review(
        name="test",
        period="2026",
        roots=(tmp_path,),
        runs=tmp_path / "made" / "runs",
        pipelines=tmp_path,
        trust_mtime=False,
        areas=(AreaSource(path=tmp_path / "absent.gpkg", id_field="id"),),
        sources=(SceneSource(path=tmp_path, product="geotiff", sensor="uav_rgb"),),
    )
    before = sorted(tmp_path.iterdir())

    def refused() -> None:
        with pytest.raises(EcowatchError, match=r"absent\.gpkg"):
            run_review(review, Cluster(scheduler="threads"))

    refused()
    assert sorted(tmp_path.iterdir()) == before
    # What was there stays: another review, and what an earlier run of this one left.
    other, work = review.runs / "other", review.runs / "test" / "work"
    other.mkdir(parents=True)
    refused()
    assert list(review.runs.iterdir()) == [other]
    work.mkdir(parents=True)
    refused()
    assert work.exists()


def test_a_shard_that_leaves_nothing_leaves_the_lock_to_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "review"
    with review_lock(folder, shared=True):
        with held(folder, shared=True):
            with review_lock(folder, shared=True):
                pass
            assert holder_of(folder) is Held.SHARDS and (folder / lock.NAME).exists()
        assert holder_of(folder) is Held.SHARDS
    assert not folder.exists()


def test_a_lock_that_is_removed_between_opening_and_locking_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its former holder lets go just then: whoever comes next would not meet the file that is open here."""
    calls = []

    def late(handle: int, kind: int) -> None:
        calls.append(kind)
        if len(calls) == 1:
            (tmp_path / lock.NAME).unlink()
        flock(handle, kind)

    flock = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", late)
    with review_lock(tmp_path):
        assert len(calls) == 2 and holder_of(tmp_path) is Held.RUN


def test_the_lock_of_another_is_never_removed(tmp_path: Path) -> None:
    with review_lock(tmp_path):
        (tmp_path / lock.NAME).unlink()
        (tmp_path / lock.NAME).write_text("another's")
    assert (tmp_path / lock.NAME).read_text() == "another's"


def take_turns(folder: Path, rounds: int, told: Path) -> None:
    """Hold the lock many times for nothing, alone and as a shard by turns; tell of whoever is met inside."""
    lock._POLL_S = 0.001
    inside = folder.parents[1] / "inside"
    for number in range(rounds):
        shared = number % 3 > 0
        try:
            with review_lock(folder, shared=shared, wait_s=60.0):
                if shared:
                    assert not inside.exists()
                else:
                    inside.mkdir()
                    time.sleep(0.0002)
                    inside.rmdir()
        except (AssertionError, OSError) as error:
            told.write_text(f"round {number}: {error!r}")
            return
    told.write_text("kept")


def test_a_lock_that_comes_and_goes_is_never_held_twice(tmp_path: Path) -> None:
    """Removed while others wait for it, open it or lock it: none of them holds a file that the next one cannot meet."""
    folder = tmp_path / "runs" / "review"
    notes = [tmp_path / f"told.{number}" for number in range(3)]
    processes = [SPAWN.Process(target=take_turns, args=(folder, 60, note)) for note in notes]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [note.read_text() for note in notes] == ["kept"] * 3
    assert not folder.exists()


def test_only_temporary_files_among_kept_work_are_swept(tmp_path: Path) -> None:
    work = tmp_path / "work"
    folder = work / "a-1234" / "bitemporal"
    folder.mkdir(parents=True)
    stays = [folder / "0_0_1_1.abc.npz", folder / "fit.1.json", folder / "_DONE.1.json", work / ".x.json", work / "y"]
    goes = [folder / ".0_0_1_1.abc.k3_x.npz", folder / ".fit.1.q.json", folder / ".look.1.x.json-journal"]
    for path in (*stays, *goes):
        path.write_text("")
    (folder / ".folder").mkdir()
    assert sweep_work(work) == 3
    assert all(p.exists() for p in stays) and not any(p.exists() for p in goes) and (folder / ".folder").is_dir()
    assert sweep_work(tmp_path / "absent") == 0
