"""The lock of a review, held by real processes, and the sweep of what killed writers left."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ecowatch.errors import LockedError
from ecowatch.review.lock import Held, holder_of, review_lock, sweep_work

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
