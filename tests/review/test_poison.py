"""Tasks that end their worker, workers that die of something else, a scheduler that goes away: with real processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from distributed import Client

from ecowatch.codes import TaskStatus
from ecowatch.errors import SceneError, UnavailableError
from ecowatch.review.accounts import status_of
from ecowatch.review.engine import started
from ecowatch.review.jobs import Job, together
from ecowatch.settings import Cluster

POISON = 7
GONE = 107


def task(number: int, folder: Path) -> None:
    """One of twenty: tells that it began, ends its process where it is the poison, tells that it ended."""
    with (folder / f"{number}.began").open("a") as tries:
        tries.write("x")
    if number == POISON:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    (folder / f"{number}.done").write_text("")
    if number == 3:
        raise SceneError("SCENE_TORN", "a.tif", "cut off", "fetch it again")
    if number == GONE:
        raise UnavailableError("STORE_UNAVAILABLE", "s3://a/b.tif", "refused, 4 times", "run again")


def slow_task(number: int, folder: Path) -> None:
    (folder / f"{number}.worker").write_text(str(os.getpid()))
    time.sleep(1.0)
    (folder / f"{number}.done").write_text("")


@pytest.mark.parametrize("count", [1, 80], ids=["one by one", "ten together"])
def test_a_task_that_kills_its_worker_is_quarantined_alone(count: int, tmp_path: Path) -> None:
    with started(Cluster(workers=2)) as engine:
        told = dict(engine.each((Job(n, task, (n, tmp_path), 0.05) for n in range(20)), count=count))
    assert sorted(told) == list(range(20))
    assert {n: error for n, error in told.items() if error and n != POISON} == {
        3: "SCENE_TORN a.tif: cut off; fetch it again"
    }
    assert str(told[POISON]).startswith("WORKER_DIED") and status_of(told[POISON]) is TaskStatus.QUARANTINED
    assert {p.stem for p in tmp_path.glob("*.done")} == {str(n) for n in range(20) if n != POISON}
    # Twice in company, twice alone.
    assert (tmp_path / f"{POISON}.began").read_text() == "xxxx"


def test_small_jobs_go_together_and_each_is_told_for_itself(tmp_path: Path) -> None:
    jobs = [Job(n, task, (n, tmp_path), 0.01 if n < 40 else 1.0) for n in range(1, 60) if n != POISON]
    assert [len(bundle) for bundle in together(iter(jobs), 128, 2)] == [16, 16, 7, *[1] * 19]
    assert [len(bundle) for bundle in together(iter(jobs), 8, 2)] == [1] * len(jobs)
    with started(Cluster(workers=2, scheduler="threads")) as engine:
        told = dict(engine.each(jobs[:38], count=128))
    assert {n: error for n, error in told.items() if error} == {3: "SCENE_TORN a.tif: cut off; fetch it again"}
    assert len(told) == 38


@pytest.mark.parametrize(
    ("slots", "sizes"), [(1, [6, 6]), (2, [6, 6]), (3, [4, 2, 4, 2]), (12, [1] * 12), (50, [1] * 12)]
)
def test_a_chain_goes_together_as_long_as_every_worker_gets_some(slots: int, sizes: list[int], tmp_path: Path) -> None:
    jobs = [Job(n, task, (n, tmp_path), chain=("area", n // 6)) for n in range(12)]
    bundles = list(together(iter(jobs), len(jobs), slots))
    assert [len(bundle) for bundle in bundles] == sizes
    assert [job.name for bundle in bundles for job in bundle] == list(range(12))
    loose = [job._replace(chain=None) for job in jobs]
    assert [len(bundle) for bundle in together(iter(loose), len(loose), slots)] == [1] * 12


def test_what_follows_a_job_is_never_parted_from_it_and_told_after_it(tmp_path: Path) -> None:
    def pair(number: int, then: int) -> Job:
        return Job(number, task, (number, tmp_path), then=(Job(then, task, (then, tmp_path)),))

    jobs = [pair(3, 4), pair(5, POISON), pair(8, 9)]
    assert [[job.name for job in bundle] for bundle in together(jobs, 1, 12)] == [[3, 4], [5, POISON], [8, 9]]
    with started(Cluster(workers=2)) as engine:
        told = list(engine.each(jobs, count=6))
    names = [name for name, _ in told]
    assert sorted(names) == [3, 4, 5, POISON, 8, 9]
    assert all(names.index(first) < names.index(then) for first, then in ((3, 4), (5, POISON), (8, 9)))
    errors = {name: error for name, error in told if error}
    # What a job raises holds back nothing that follows it; what ends its worker is blamed alone.
    assert errors.keys() == {3, POISON} and str(errors[POISON]).startswith("WORKER_DIED")
    assert (tmp_path / "4.done").exists() and (tmp_path / "5.done").exists()


def test_a_worker_killed_from_outside_costs_no_task(tmp_path: Path) -> None:
    killed = False
    with started(Cluster(workers=2)) as engine:
        told = {}
        for name, error in engine.each(Job(n, slow_task, (n, tmp_path)) for n in range(6)):
            told[name] = error
            if not killed:
                killed = True
                time.sleep(0.3)
                last = max(tmp_path.glob("*.worker"), key=lambda p: p.stat().st_mtime)
                os.kill(int(last.read_text()), signal.SIGKILL)
    assert told == dict.fromkeys(range(6)) and len(list(tmp_path.glob("*.done"))) == 6


def test_what_a_run_needs_and_misses_ends_it_whole(tmp_path: Path) -> None:
    """The way from a worker process keeps all four parts of the error; the tasks after it are not begun."""
    told = []
    with (
        pytest.raises(
            UnavailableError, match=r"^STORE_UNAVAILABLE s3://a/b\.tif: refused, 4 times; run again$"
        ) as caught,
        started(Cluster(workers=1, tasks_per_worker=1)) as engine,
    ):
        told += list(engine.each(Job(n, task, (n, tmp_path)) for n in range(GONE - 2, GONE + 20)))
    assert caught.value.exit_code == 69 and caught.value.where == "s3://a/b.tif"
    assert len(list(tmp_path.glob("*.began"))) == 3


class Dask(NamedTuple):
    """A scheduler and its one worker, processes of their own that are up."""

    address: str
    serving: subprocess.Popen[bytes]
    working: subprocess.Popen[bytes]


@pytest.fixture
def scheduler() -> Iterator[Dask]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    dask = [sys.executable, "-m", "distributed.cli"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    here = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": here}
    serving = subprocess.Popen(
        [*dask[:2], "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"],
        **quiet,  # type: ignore[arg-type]
    )
    working = subprocess.Popen(
        [*dask[:2], "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"],
        env=environment,
        **quiet,  # type: ignore[arg-type]
    )
    try:
        with Client(address) as client:
            client.wait_for_workers(1, timeout=60)
        yield Dask(address, serving, working)
    finally:
        for process in (serving, working):
            process.kill()
            process.wait()


def test_a_scheduler_that_dies_is_a_coded_error(scheduler: Dask, tmp_path: Path) -> None:
    address, serving, _ = scheduler
    done = []
    told = r"SCHEDULER_LOST tcp://.*went away.*finished work is kept"
    with pytest.raises(UnavailableError, match=told) as caught, started(Cluster(scheduler=address)) as engine:
        for name, error in engine.each(Job(n, slow_task, (n, tmp_path)) for n in range(6)):
            assert error is None
            done.append(name)
            serving.kill()
    assert caught.value.exit_code == 69 and done and (tmp_path / f"{done[0]}.done").exists()


def test_a_scheduler_that_died_between_two_stages_is_the_same_error_at_once(scheduler: Dask, tmp_path: Path) -> None:
    """The coordinator works alone for minutes: nothing was under way that could be cancelled."""
    address, serving, _ = scheduler
    with started(Cluster(scheduler=address)) as engine:
        assert list(engine.each([Job(0, slow_task, (0, tmp_path))])) == [(0, None)]
        serving.kill()
        while engine.client.status == "running":
            time.sleep(0.01)
        for _ in range(2):
            with pytest.raises(UnavailableError, match=r"SCHEDULER_LOST tcp://.*went away"):
                list(engine.each([Job(1, slow_task, (1, tmp_path))]))
            # Given up for good by Dask itself.
            engine.client.close()
