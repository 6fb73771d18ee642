"""Kill a worker, or the scheduler, of a review at random moments; ``kills.py --who worker`` calls this.

A review whose worker process is killed must itself end complete. One whose scheduler is killed must end with exit code 69, and
the next, under a new scheduler, must carry out what is left and nothing else. Either way the GeoPackage's bytes must be those
of an undisturbed review.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

PYTHON = sys.executable
_STEM_SHARE = 0.25


class Round(NamedTuple):
    """What one killed review left: its bytes, and whether its accounts hold."""

    digest: str
    sound: bool
    told: str


def command(folder: Path, name: str) -> list[str]:
    return [PYTHON, "-m", "ecowatch", name, str(folder / "review.toml"), "--cluster", str(folder / "cluster.toml")]


def write_cluster(folder: Path, scheduler: str) -> None:
    text = f'scheduler = "{scheduler}"\nworkers = 2\ntile_px = 128\n'
    (folder / "cluster.toml").write_text(text, "utf-8")


def start(folder: Path, name: str = "run") -> subprocess.Popen[bytes]:
    with (folder / "child.log").open("ab") as log:
        return subprocess.Popen(command(folder, name), stdout=log, stderr=log, start_new_session=True)


def finished(folder: Path, process: subprocess.Popen[bytes], *codes: int) -> int:
    code = process.wait(timeout=240)
    if code not in codes:
        raise SystemExit(f"the review ends with {code}:\n{(folder / 'child.log').read_text()[-3000:]}")
    return code


def digest(folder: Path) -> str:
    (package,) = folder.glob("runs/*/*/flagged.gpkg")
    return hashlib.sha256(package.read_bytes()).hexdigest()


def accounts(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("runs/*/accounts.json")
    return dict(json.loads(path.read_text("utf-8")))


def kept(folder: Path) -> dict[str, int]:
    """Count the results that are there, by stage."""
    work = [p.name for p in folder.glob("runs/*/work/*/*/[!._]*")]
    looks, fits = (sum(name.startswith(f"{kind}.") for name in work) for kind in ("look", "fit"))
    # Its scenes are GeoTIFF: nothing is copied.
    return {"ingest": 0, "fit": fits, "tile": sum(name.endswith(".npz") for name in work), "look": looks}


def workers_of(pid: int) -> tuple[list[int], list[int]]:
    """Return the worker processes of a process, and the one they are forked from, which has imported what they need."""
    parents, lines = {}, {}
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            lines[int(entry.name)] = (entry / "cmdline").read_bytes()
            parents[int(entry.name)] = parent
        except (OSError, ValueError, IndexError):
            continue
    stem = [each for each, parent in parents.items() if parent == pid and b"forkserver" in lines[each]]
    return [each for each, parent in parents.items() if parent in stem], stem


def await_workers(process: subprocess.Popen[bytes]) -> float:
    while not workers_of(process.pid)[0] and process.poll() is None:
        time.sleep(0.01)
    return time.monotonic()


def worker_round(folder: Path, rng: random.Random, span_s: float) -> Round:
    """Kill a worker once, and half of the time another one, or what they are forked from; the review must not notice."""
    shutil.rmtree(folder / "runs", ignore_errors=True)
    process = start(folder)
    hits = 0
    await_workers(process)
    for _ in range(1 + (rng.random() < 0.5)):
        time.sleep(rng.uniform(0.0, 0.7 * span_s))
        workers, stem = workers_of(process.pid)
        if victims := stem if rng.random() < _STEM_SHARE else workers:
            os.kill(rng.choice(victims), signal.SIGKILL)
            hits += 1
    finished(folder, process, 0)
    if not hits:
        # It had ended before: no kill, no round.
        return worker_round(folder, rng, 0.7 * span_s)
    told = accounts(folder)
    return Round(digest(folder), told["state"] == "done" and not told["failures"], f"{hits} processes killed")


@contextmanager
def scheduler_up(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a scheduler and a worker of it, as a site would; write the cluster file to its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    write_cluster(folder, address)
    kinds = (
        ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"],
        ["distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"],
    )
    quiet = subprocess.DEVNULL
    both = [subprocess.Popen([PYTHON, "-m", *kind], stdout=quiet, stderr=quiet) for kind in kinds]
    try:
        yield both[0]
    finally:
        for process in both:
            process.kill()
            process.wait()


def scheduler_round(folder: Path, rng: random.Random, span_s: float) -> Round:
    """Kill the scheduler, start another, resume: what is kept is not carried out again."""
    shutil.rmtree(folder / "runs", ignore_errors=True)
    with scheduler_up(folder) as scheduler:
        process = start(folder)
        while not list(folder.glob("runs/*/accounts.json")) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, span_s))
        scheduler.kill()
        code = finished(folder, process, 69, 0)
    if code == 0:
        return Round(digest(folder), accounts(folder)["state"] == "done", "it had ended")
    before = kept(folder)
    with scheduler_up(folder):
        finished(folder, start(folder, "resume"), 0)
    stages = accounts(folder)["stages"]
    sound = all(
        counts["skipped"] == before[stage] and counts["produced"] == counts["expected"] - before[stage]
        for stage, counts in stages.items()
    )
    return Round(digest(folder), sound, f"{before['tile']} of {stages['tile']['expected']} tiles kept")


def undisturbed(folder: Path) -> tuple[str, float]:
    """Return the bytes of an undisturbed review, and its seconds from the first worker on."""
    write_cluster(folder, "processes")
    for _ in range(2):
        # The first one compiles.
        shutil.rmtree(folder / "runs", ignore_errors=True)
        process = start(folder)
        began = await_workers(process)
        finished(folder, process, 0)
    return digest(folder), time.monotonic() - began


def rounds(folder: Path, who: str, n: int, rng: random.Random) -> int:
    """Kill `n` times; return how many reviews ended as if nothing had happened, with accounts that hold."""
    right, span_s = undisturbed(folder)
    print(f"undisturbed: {span_s:.2f} s from the first worker on", flush=True)
    identical = 0
    for number in range(1, n + 1):
        one = (worker_round if who == "worker" else scheduler_round)(folder, rng, span_s)
        identical += one.digest == right and one.sound
        right_or_not = "identical" if one.digest == right else "other bytes"
        print(
            f"round {number}: {one.told}, {right_or_not}, accounts {'hold' if one.sound else 'do not hold'}", flush=True
        )
    return identical
