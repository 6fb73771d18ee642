"""Kill a review at random moments, let it finish, and look whether anything is other than if it had not been disturbed.

    python tests/walk/kills.py --n 200 --seed 1 [--who worker | --who scheduler]

Each round carries out ``ecowatch run … --ledger`` (every fourth also ``ecowatch publish``) over two small areas in a process of
its own, kills its whole process group with SIGKILL, perhaps more than once, and then lets it run to its end. The ledger's
digest, its check, the GeoPackages' bytes and the list of files must be those of an undisturbed run; temporary files that would
stay for ever are counted apart.
"""

# ruff: noqa: E402 - the parent must have one thread only, else it could not fork

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import hashlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import geopandas
import numpy as np
import shapely

import ecowatch.report.published  # noqa: F401 - loaded here, so that no child need load it
from ecowatch.cli import app
from ecowatch.errors import EcowatchError
from ecowatch.grid import Grid
from ecowatch.ledger import Ledger
from ecowatch.ledger.verify import verify
from ecowatch.raster import write_geotiff
from ecowatch.review import make_plan, planned_tasks
from ecowatch.review.candidates import pixel_patches
from ecowatch.review.fit import fit_comparison
from ecowatch.review.look import look_at
from ecowatch.review.tile import process
from ecowatch.settings import Cluster, Review, load
from ecowatch.simulate import Conditions, simulated_pair

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.walk import kill_workers

PERIOD = "2026H1"
SIDE = 256
GRID = Grid.from_parts("EPSG:32650", (10, 0, 600_000, 0, -10, 3_400_000), (SIDE, SIDE))
ROLES = ("blue", "green", "red", "nir")
NOISE = (".db-wal", ".db-shm", ".db.lock")
"""SQLite's own two files and the lock come and go with readers and writers."""


@dataclass(frozen=True)
class Case:
    """One review with its ledger, all in one folder."""

    folder: Path
    publishing: bool = True

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger" / "ledger.db"

    @property
    def journal(self) -> Path:
        """Is there from the first transaction on, while a ledger is open."""
        return self.folder / "ledger" / "ledger.db-wal"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def steps(self) -> list[list[str]]:
        """What is carried out, as a person would type it."""
        review, cluster, ledger = (str(self.folder / f"{name}.toml") for name in ("review", "cluster", "ledger"))
        publishing = [["publish", PERIOD, "--ledger", ledger]] if self.publishing else []
        return [["run", review, "--cluster", cluster, "--ledger", ledger], *publishing]

    def clear(self, *, kept: str) -> None:
        """Take away what a review made, but for ``nothing``, its ``tiles`` or the whole finished ``run``."""
        finished = [record.parent for record in self.runs.rglob("run.json")]
        gone = {"nothing": [self.runs], "tiles": finished, "run": []}[kept]
        for folder in (self.folder / "ledger", self.folder / "published", *gone):
            shutil.rmtree(folder, ignore_errors=True)


class Outcome(NamedTuple):
    """What a finished review left."""

    digest: str
    head: str
    events: int
    findings: tuple[str, ...]
    packages: tuple[str, ...]
    files: tuple[str, ...]


def make_case(folder: Path) -> Case:
    """Write scenes, areas and settings."""
    scenes = folder / "scenes"
    scenes.mkdir(parents=True)
    left, bottom, right, top = GRID.bounds
    half, edge = (left + right) / 2, 200
    boxes = {
        "west": shapely.box(left + edge, bottom + edge, half - edge, top - edge),
        "east": shapely.box(half, bottom + edge, right - edge, top - edge),
    }
    pair = simulated_pair(
        GRID,
        seed=11,
        before=Conditions(),
        after=Conditions(shift_px=(0.2, -0.1), gain=1.02),
        counts={"mine": 2, "pond": 3, "building": 4},
        under_cloud=0,
    )
    for date, day in ((pair.before, "20250420"), (pair.after, "20260425")):
        bands = np.stack([date.bands[role] for role in ROLES])
        write_geotiff(scenes / f"s_{day}.tif", bands, GRID, nodata=0)
    frame = geopandas.GeoDataFrame(
        {"id": list(boxes), "name": list(boxes)}, geometry=list(boxes.values()), crs=GRID.crs
    )
    frame.to_file(folder / "areas.gpkg")
    bands = ", ".join(f'{{role = "{role}", index = {i}, scale = 1e-4}}' for i, role in enumerate(ROLES, 1))
    review = f"""
name = "kills"
period = "{PERIOD}"
roots = ["."]
runs = "runs"
pipelines = "{ROOT / "pipelines"}"
[[areas]]
path = "areas.gpkg"
id_field = "id"
name_field = "name"
[[sources]]
path = "scenes"
product = "geotiff"
sensor = "plain"
bands = [{bands}]
"""
    (folder / "review.toml").write_text(review, "utf-8")
    (folder / "cluster.toml").write_text('scheduler = "threads"\nworkers = 2\n', "utf-8")
    (folder / "ledger.toml").write_text('path = "ledger/ledger.db"\npublished = "published"\n', "utf-8")
    return Case(folder)


def forked(case: Case) -> int:
    """Carry the steps out in a child of this process, in a process group of its own."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        log = os.open(case.folder / "child.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        for step in case.steps:
            code = int(app(step, standalone_mode=False) or 0)
            if code:
                break
    except BaseException as error:
        os.write(2, repr(error).encode())
    finally:
        os._exit(code)


def commanded(case: Case) -> int:
    """Carry the steps out by the real command, in a process group of its own."""
    line = " && ".join(f"{sys.executable} -m ecowatch {' '.join(step)}" for step in case.steps)
    with (case.folder / "child.log").open("a") as log:
        return subprocess.Popen(["sh", "-c", line], stdout=log, stderr=log, start_new_session=True).pid


def ended(child: int) -> int:
    """Wait for a child; return its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def finish(case: Case) -> float:
    """Let the review run to its end; return the seconds it took."""
    started = time.monotonic()
    code = ended(forked(case))
    if code:
        raise SystemExit(f"the review ends with {code}:\n{(case.folder / 'child.log').read_text()[-3000:]}")
    return time.monotonic() - started


def outcome(case: Case) -> Outcome:
    """Read back what a finished review left."""
    found = verify(case.ledger)
    made = [p for p in case.folder.rglob("*") if p.is_file() and p.name != "child.log" and not p.name.startswith(".")]
    packages = sorted(p for p in made if p.suffix == ".gpkg" and p.parent != case.folder)
    digests = tuple(hashlib.sha256(p.read_bytes()).hexdigest() for p in packages)
    files = tuple(sorted(str(p.relative_to(case.folder)) for p in made if not p.name.endswith(NOISE)))
    return Outcome(found.digest, found.head.hash, found.events, found.findings, digests, files)


def staying(case: Case) -> list[str]:
    """Return the temporary files that killed processes left and that the same work done two days later does not sweep."""
    # The digests of inputs are remembered from run to run, in a file that stays.
    left = [p for p in case.folder.rglob(".*") if p.is_file() and not p.name.startswith(".digests.sqlite")]
    if left:
        for path in left:
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 2 * 86_400))
        read_back(case)
    stay = [p for p in left if p.exists()]
    for path in stay:
        path.unlink()
    return [str(p.relative_to(case.folder)) for p in stay]


def stage(case: Case, right: Outcome) -> str:
    """Tell how far a killed review had come."""
    try:
        with Ledger.reader(case.ledger) as ledger:
            events = ledger.head.seq
    except EcowatchError:
        events = 0
    if events == 0:
        entering = case.ledger.exists()
        return "opening the ledger" if entering else "in the run"
    if events < right.events:
        return "between the ledger's transactions"
    return "in publishing or after"


def warm(case: Case) -> None:
    """Load and compile here what a review needs, so that a forked child need not; without Dask: its threads would stay."""
    plan = make_plan(load(Review, case.folder / "review.toml"))
    for planned in planned_tasks(plan, Cluster()):
        comparison = planned.task.comparison
        fit = fit_comparison(comparison)
        look_at(comparison, fit, pixel_patches(comparison, [process(planned.task, fit).blocks]))


def read_back(case: Case) -> None:
    """Carry out a review that is there and entered, in this process: what is left is to read, to tell and to publish."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        for step in case.steps:
            app(step, standalone_mode=False)


def kill_once(case: Case, start: Callable[[Case], int], wait: Callable[[int], None]) -> None:
    """Start the review, wait, and kill its process group."""
    child = start(case)
    wait(child)
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(child, signal.SIGKILL)  # It has not come to its own group yet.
    ended(child)


class Killer:
    """Chooses the moments.

    Parameters
    ----------
    case
        The review.
    rng
        Of the moments.
    span_s, ledger_s
        How long an undisturbed review takes in all, and from the first sign of the ledger to its end.
    """

    def __init__(self, case: Case, rng: random.Random, span_s: float, ledger_s: float) -> None:
        self._case = case
        self._rng = rng
        self._span_s = span_s
        self._ledger_s = ledger_s

    def anywhere(self, _: int) -> None:
        """Wait for a moment of the whole time that a review takes."""
        time.sleep(self._rng.uniform(0.0, 1.05 * self._span_s))

    def at_the_ledger(self, child: int) -> None:
        """Wait until the review comes to the ledger, then for a moment of what follows."""
        until = time.monotonic() + 60.0
        while not self._case.journal.exists() and time.monotonic() < until:
            if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return
            time.sleep(0.001)
        time.sleep(self._rng.uniform(0.0, self._ledger_s))


def undisturbed(case: Case) -> tuple[float, float]:
    """Return how long a review takes from its first step, and from the first sign of the ledger on."""
    started, child = time.monotonic(), forked(case)
    while not case.journal.exists() and not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        time.sleep(0.001)
    at_ledger = time.monotonic()
    if ended(child):
        raise SystemExit(f"an undisturbed review fails:\n{(case.folder / 'child.log').read_text()[-3000:]}")
    return time.monotonic() - started, time.monotonic() - at_ledger


class Known(NamedTuple):
    """What is known of undisturbed reviews: what they leave, and how long they take by what was kept."""

    right: Outcome
    spans: dict[str, tuple[float, float]]


def known(case: Case) -> dict[bool, Known]:
    """Carry out undisturbed reviews, publishing and not."""
    warm(case)
    spans = {"nothing": undisturbed(case)}
    right = outcome(case)
    read_back(case)
    quiet, quiet_spans = replace(case, publishing=False), {}
    for kept in ("tiles", "run"):
        for one, into in ((case, spans), (quiet, quiet_spans)):
            one.clear(kept=kept)
            into[kept] = undisturbed(one)
            if outcome(one)[:4] != right[:4] or (one is case and outcome(one) != right):
                raise SystemExit(f"two undisturbed reviews differ: {differing(outcome(one), right)}")
    total_s = spans["nothing"][0] - spans["tiles"][0] + quiet_spans["tiles"][0]
    quiet_spans["nothing"] = total_s, quiet_spans["tiles"][1]
    for kept, (span_s, ledger_s) in sorted(quiet_spans.items()):
        print(f"undisturbed, {kept} kept: {span_s:.2f} s, of it {ledger_s:.2f} s from the ledger on", flush=True)
    return {True: Known(right, spans), False: Known(outcome(quiet), quiet_spans)}


class Result(NamedTuple):
    """Rounds that ended as if nothing had happened, where the kills fell, temporary files that stay."""

    identical: int
    hits: Counter[str]
    left: list[str]


def rounds(case: Case, n: int, rng: random.Random) -> Result:
    """Kill and compare `n` times."""
    facts, identical, hits, left = known(case), 0, Counter[str](), []
    for number in range(1, n + 1):
        publishing = number % 4 == 0
        own, (right, spans) = replace(case, publishing=publishing), facts[publishing]
        hits.update(disturbed(own, number, rng, spans, right))
        finish(own)
        made = outcome(own)
        left += staying(own)
        identical += made == right
        if made != right:
            print(f"round {number}: {differing(made, right)}", flush=True)
        if number % 10 == 0:
            print(f"{number}/{n}: {identical} identical", flush=True)
    return Result(identical, hits, left)


def disturbed(
    case: Case, number: int, rng: random.Random, spans: dict[str, tuple[float, float]], right: Outcome
) -> list[str]:
    """Kill a review once or more; return how far it had come each time.

    Every tenth round goes through the real command, every seventh starts from nothing. Half of them are killed at any moment
    of the whole time, half from the moment on at which the ledger is opened: its transactions are a small part of the time.
    """
    real, near = number % 10 == 5, number % 2 == 0 or number % 10 == 5
    kept = "nothing" if number % 7 == 3 else "run" if near and not real else "tiles"
    case.clear(kept=kept)
    killer, places = Killer(case, rng, *spans[kept]), []
    for again in range(1 + (rng.random() < 0.3)):
        start = commanded if real and not again else forked
        kill_once(case, start, killer.at_the_ledger if near else killer.anywhere)
        places.append("for a second time" if again else stage(case, right))
    return places


def differing(left: Outcome, right: Outcome) -> str:
    """Tell in what two outcomes differ."""
    told = []
    for name, have, should in zip(Outcome._fields, left, right, strict=True):
        if have != should and isinstance(have, tuple):
            told.append(
                f"{name}: too much {sorted(set(have) - set(should))}, too little {sorted(set(should) - set(have))}"
            )
        elif have != should:
            told.append(f"{name} {have} instead of {should}")
    return "; ".join(told)


def main() -> int:
    """Read the arguments, do the rounds, tell the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=200, help="rounds")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--who", choices=("coordinator", "worker", "scheduler"), default="coordinator")
    arguments = parser.parse_args()
    if arguments.who != "coordinator":
        with tempfile.TemporaryDirectory(prefix="kills.") as folder:
            case, rng = make_case(Path(folder)), random.Random(arguments.seed)
            identical = kill_workers.rounds(case.folder, arguments.who, arguments.n, rng)
        print(f"kills: {identical}/{arguments.n} identical")
        return int(identical != arguments.n)
    with tempfile.TemporaryDirectory(prefix="kills.") as folder:
        result = rounds(make_case(Path(folder)), arguments.n, random.Random(arguments.seed))
    print("killed", ", ".join(f"{place}: {count}" for place, count in sorted(result.hits.items())))
    print(f"temporary files that stay: {len(result.left)}", *result.left)
    print(f"kills: {result.identical}/{arguments.n} identical")
    return int(result.identical != arguments.n)


if __name__ == "__main__":
    sys.exit(main())
