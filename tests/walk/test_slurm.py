"""A review on a real SLURM of one machine: jobs cancelled in the middle change neither its end nor a byte of it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecowatch.errors import ExitCode, UnavailableError
from ecowatch.review import run_review
from ecowatch.review.engine import started
from ecowatch.settings import Cluster, Queue
from ecowatch.settings.example import commented_toml

from .conftest import ROOT, Run
from .many_tiles import write_review, write_scenes

pytest.importorskip("dask_jobqueue")
SCRIPT = ROOT / "tools" / "slurm_up.sh"
TILE_PX = 128


def told(*command: str, timeout: float = 60) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout.strip()


def wait_for(what: str, found: object, timeout_s: float = 200) -> None:
    """Wait until a function returns something true."""
    until = time.monotonic() + timeout_s
    while not found():  # type: ignore[operator]
        assert time.monotonic() < until, f"{what} did not come to pass within {timeout_s} s"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """SLURM with a state folder of its own, or a skip that says why there is none."""
    if os.geteuid() != 0:
        pytest.skip("SLURM is started by root only")
    if not all(map(shutil.which, ("slurmctld", "slurmd", "munged"))):
        pytest.skip("slurm-wlm and munge are not installed (make debian)")
    folder = tmp_path_factory.mktemp("slurm")
    up = subprocess.run([SCRIPT, "up", folder], capture_output=True, text=True, timeout=60, check=False)
    if up.returncode:
        pytest.skip(f"SLURM cannot be started here: {up.stderr.strip()[-300:]}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        yield folder
        subprocess.run([SCRIPT, "down", folder], timeout=60, check=False)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("many") / "scenes")


@pytest.fixture(scope="module")
def undisturbed(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    review, _ = write_review(tmp_path_factory.mktemp("undisturbed"), scenes)
    return Run(run_review(review, Cluster(scheduler="threads", workers=2, tile_px=TILE_PX)))


def on_slurm(folder: Path, wait_s: int = 240, **queue: object) -> Cluster:
    wanted = {"partition": "main", "memory": "1200MiB", "walltime": "00:10:00", "interface": "lo"}
    jobs = Queue(**(wanted | {"lifetime_margin_s": 60, "log_folder": folder / "jobs"} | queue))  # type: ignore[arg-type]
    place = {"workers": 2, "memory_limit": "1GiB", "tile_px": TILE_PX, "worker_wait_s": wait_s}
    return Cluster(scheduler="slurm", queue=jobs, **place)  # type: ignore[arg-type]


def running() -> list[str]:
    return told("squeue", "--noheader", "--states=R", "--format=%i").split()


def test_all_jobs_are_cancelled_in_the_middle_and_the_review_is_complete(
    slurm: Path, undisturbed: Run, scenes: Path, tmp_path: Path
) -> None:
    """One job after the third tile, the other one after the tenth: none of the first two sees the end."""
    review, _ = write_review(tmp_path, scenes)
    cancelled: list[str] = []

    def cancel(area: str, step: str, done: int, total: int) -> None:
        if step == "tile" and total > 20 and done in (3, 10):
            victim = next(job for job in running() if job not in cancelled)
            told("scancel", victim)
            cancelled.append(victim)

    run = Run(run_review(review, on_slurm(tmp_path), progress=cancel))
    assert len(cancelled) == 2
    assert run.result.exit_code == ExitCode.DONE and run.result.failures == ()
    assert run.result.tasks["tile"]["produced"] == run.result.tasks["tile"]["expected"] > 20
    assert run.digest == undisturbed.digest
    wait_for("an empty queue", lambda: not told("squeue", "--noheader"))


def test_a_job_that_is_refused_ends_the_review_at_once(slurm: Path, tmp_path: Path) -> None:
    refused = on_slurm(tmp_path, partition="nosuch")
    with (
        pytest.raises(UnavailableError, match=r"JOB_REFUSED slurm: .*[Ii]nvalid partition") as caught,
        started(refused),
    ):
        pass
    assert caught.value.exit_code == ExitCode.UNAVAILABLE


def test_a_queue_that_gives_no_job(slurm: Path, tmp_path: Path) -> None:
    held = on_slurm(tmp_path, wait_s=2, directives=("--hold",))
    with (
        pytest.raises(UnavailableError, match=r"NO_WORKER slurm: no worker for 2 s; look at the queue"),
        started(held),
    ):
        pass
    wait_for("an empty queue", lambda: not told("squeue", "--noheader"))


@pytest.mark.slow
def test_an_array_job_with_a_lost_shard_and_a_stopped_one(
    slurm: Path, undisturbed: Run, scenes: Path, tmp_path: Path
) -> None:
    """Shard 1 is cancelled and submitted anew; shard 0 is stopped as at its time limit and goes back into the queue."""
    _, path = write_review(tmp_path, scenes)
    place = Cluster(scheduler="threads", workers=1, tile_px=TILE_PX)
    cluster = tmp_path / "cluster.toml"
    cluster.write_text(commented_toml(place, title="one thread"), "utf-8")
    ecowatch = Path(sys.executable).with_name("ecowatch")
    plan = tmp_path / "plan.jsonl"
    told(str(ecowatch), "plan", str(path), "--cluster", str(cluster), "--out", str(plan), timeout=200)
    words = [str(ROOT / "configs/slurm_array.sbatch"), str(path), str(plan), "3", str(cluster)]
    options = [
        "--parsable",
        "--mem=1G",
        "--cpus-per-task=1",
        f"--chdir={tmp_path}",
        f"--export=ALL,ECOWATCH={ecowatch}",
    ]

    def submit(*more: str) -> str:
        return told("sbatch", *options, *more, *words)

    def ended() -> bool:
        return not told("squeue", "--noheader")

    array = submit("--array=0-2")
    wait_for("running shards", lambda: {f"{array}_0", f"{array}_1"} <= set(running()))
    told("scancel", f"{array}_1")
    # What --signal=B:TERM does near the time limit, once the shard is at work.
    wait_for("a shard at work", lambda: list((tmp_path / "runs").glob("many/shards/*/0_of_3.json")))
    told("scancel", "--batch", "--signal=TERM", f"{array}_0")
    output = tmp_path / f"slurm-{array}_0.out"
    wait_for("the requeue", lambda: output.exists() and "exit code 75, back into the queue" in output.read_text())
    merge = submit(f"--dependency=afterany:{array}")
    # Do not wait for SLURM's own delay; yet within a second the former start's credential is still revoked.
    time.sleep(5)
    subprocess.run(["scontrol", "update", f"JobId={array}_0", "StartTime=now"], check=False)
    wait_for("the end of all jobs", ended, 280)
    first = (tmp_path / f"slurm-{merge}.out").read_text("utf-8")
    assert "SHARD_MISSING shard 1/3" in first and "shard 0/3" not in first and "shard 2/3" not in first
    package = next((tmp_path / "runs" / "many").glob("*/flagged.gpkg"))
    assert _digest(package) != undisturbed.digest
    again = submit("--array=1")
    merge = submit(f"--dependency=afterany:{again}")
    wait_for("the end of all jobs", ended, 280)
    assert "SHARD_MISSING" not in (tmp_path / f"slurm-{merge}.out").read_text("utf-8")
    assert package.parent.name == undisturbed.result.folder.name
    assert _digest(package) == undisturbed.digest


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_up_and_down_may_be_said_twice(slurm: Path) -> None:
    assert told(str(SCRIPT), "up", str(slurm)) == f"export SLURM_CONF={slurm}/slurm.conf"
    assert told("sinfo", "--noheader", "--format=%P") == "main*"
    bad = subprocess.run([SCRIPT, "sideways", slurm], capture_output=True, text=True, check=False)
    assert bad.returncode == 2 and "usage" in bad.stderr
