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

import pytest

from ecowatch.codes import TaskStatus
from ecowatch.errors import UnavailableError
from ecowatch.review.accounts import status_of
from ecowatch.review.engine import Job, started
from ecowatch.settings import Cluster

POISON = 7


def task(number: int, folder: Path) -> str | None:
    """One of twenty: tells that it began, ends its process where it is the poison, tells that it ended."""
    with (folder / f"{number}.began").open("a") as tries:
        tries.write("x")
    if number == POISON:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    (folder / f"{number}.done").write_text("")
    return "SCENE_TORN a.tif: cut off; fetch it again" if number == 3 else None


def slow_task(number: int, folder: Path) -> str | None:
    (folder / f"{number}.worker").write_text(str(os.getpid()))
    time.sleep(1.0)
    (folder / f"{number}.done").write_text("")
    return None


def test_a_task_that_kills_its_worker_is_quarantined_alone(tmp_path: Path) -> None:
    with started(Cluster(workers=2)) as engine:
        told = dict(engine.each(Job(n, task, (n, tmp_path)) for n in range(20)))
    assert sorted(told) == list(range(20))
    assert {n: error for n, error in told.items() if error and n != POISON} == {
        3: "SCENE_TORN a.tif: cut off; fetch it again"
    }
    assert str(told[POISON]).startswith("WORKER_DIED") and status_of(told[POISON]) is TaskStatus.QUARANTINED
    assert {p.stem for p in tmp_path.glob("*.done")} == {str(n) for n in range(20) if n != POISON}
    # Twice in company, twice alone.
    assert (tmp_path / f"{POISON}.began").read_text() == "xxxx"


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


@pytest.fixture
def scheduler() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
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
        yield address, serving
    finally:
        for process in (serving, working):
            process.kill()
            process.wait()


def test_a_scheduler_that_dies_is_a_coded_error(scheduler: tuple[str, subprocess.Popen[bytes]], tmp_path: Path) -> None:
    address, serving = scheduler
    done = []
    told = r"SCHEDULER_LOST tcp://.*went away.*finished work is kept"
    with pytest.raises(UnavailableError, match=told) as caught, started(Cluster(scheduler=address)) as engine:
        engine.client.wait_for_workers(1, timeout=60)
        for name, error in engine.each(Job(n, slow_task, (n, tmp_path)) for n in range(6)):
            assert error is None
            done.append(name)
            serving.kill()
    assert caught.value.exit_code == 69 and done and (tmp_path / f"{done[0]}.done").exists()
