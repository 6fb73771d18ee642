"""The one place where a benchmark calls a review: in this process on workers that are up, or as a program of its own.

Run as ``python reviews.py REVIEW.toml JSON`` it carries out one review in a fresh process and prints its cost as JSON.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from ecowatch.settings import Cluster
from turns import Spent, spent, spent_apart

HERE = Path(__file__).resolve().parent
# The last is the fastest that is here: without the extra ``fast`` only rasterio is measured.
READERS = ("rasterio", "fast") if find_spec("imagecodecs") else ("rasterio",)

TEMPLATE = """
name = "{name}"
period = "2026H1"
roots = ["{data}"]
runs = "{runs}"
pipelines = "{pipelines}"
[[areas]]
path = "{areas}"
id_field = "area_id"
[[sources]]
{source}
[output]
quicklook = {quicklook}
"""
PAIR = 'path = "{data}/items.json"\nproduct = "stac"'


class How(NamedTuple):
    """Where a review is carried out: `scheduler` is threads, processes or the address of workers that are up."""

    reader: str = "rasterio"
    scheduler: str = "processes"
    workers: int = 2
    tile_px: int | None = None

    def settings(self) -> dict[str, Any]:
        """Return what a cluster file says."""
        chosen: dict[str, Any] = {"scheduler": self.scheduler, "workers": self.workers, "reader": self.reader}
        if self.tile_px is not None:
            chosen["tile_px"] = self.tile_px
        return chosen

    def cluster(self) -> Cluster:
        """Return them checked."""
        return Cluster(**self.settings())


class Told(NamedTuple):
    """What a review said of itself: seconds of `run_review`, what it found, seconds until each step ended, peaks in MB."""

    run_s: float
    patches: int
    areas: int
    failures: int
    steps_s: dict[str, float]
    imports_mb: float = 0.0
    coordinator_mb: float = 0.0
    worker_mb: float = 0.0
    warm_mb: float = 0.0


@contextmanager
def review_file(
    folder: Path, *, areas: Path | None = None, source: str = PAIR, quicklook: bool = False
) -> Iterator[Path]:
    """Write a review over a folder of scenes into a scratch folder beside it; what it leaves behind goes with it."""
    folder = folder.resolve()
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="runs_") as scratch:
        path = Path(scratch) / "review.toml"
        text = TEMPLATE.format(
            name="bench",
            data=folder,
            runs=Path(scratch) / "runs",
            pipelines=HERE.parent / "pipelines",
            areas=(areas or folder / "areas.geojson").resolve(),
            source=source.format(data=folder),
            quicklook=str(quicklook).lower(),
        )
        path.write_text(text, "utf-8")
        yield path


def forget(review: Path, *, digests: bool = True) -> None:
    """Remove everything a review has kept, so that the next run computes all of it; the digests of its scenes too, if asked."""
    for kept in (review.parent / "runs").glob("*"):
        if kept.is_dir():
            shutil.rmtree(kept, ignore_errors=True)
        elif digests:
            kept.unlink()


def carried_out(review: Path, how: How, only: Sequence[str] = ()) -> Told:
    """Carry out a review in this process from nothing kept.

    Raises
    ------
    SystemExit
        Where anything failed: the figures would not be those of the whole work.
    """
    from ecowatch.cli.lean import lean_imports  # noqa: PLC0415 - the parent of a whole-process run needs no imports

    # As the program does it: what was imported is never searched for rubbish again.
    with lean_imports():
        from ecowatch.review import run_review  # noqa: PLC0415
        from ecowatch.settings import Review, load  # noqa: PLC0415

    forget(review)
    steps: dict[str, float] = {}
    settings = load(Review, review)
    if only:
        settings = settings.model_copy(update={"only": tuple(only)})
    start = time.perf_counter()

    def progress(_area: str, step: str, _done: int, _total: int) -> None:
        steps[step] = time.perf_counter() - start

    result = run_review(settings, how.cluster(), progress=progress)
    took = time.perf_counter() - start
    if result.failures:
        raise SystemExit(f"{len(result.failures)} tasks failed, the first: {result.failures[0]}")
    patches = sum(len(r.patches) for r in result.results)
    return Told(took, patches, len(result.results), len(result.failures), steps)


def in_process(review: Path, how: How, only: Sequence[str] = ()) -> Callable[[], Spent]:
    """Return a case that carries out a review here; imports and compiled code are those of the warm-up."""

    def case() -> Spent:
        return spent(lambda: carried_out(review, how, only))

    return case


def apart(review: Path, how: How, *, warm: Sequence[str] = (), only: Sequence[str] = ()) -> tuple[Spent, Told]:
    """Carry out a review in a process of its own; `warm` names areas that it first reviews without being measured."""
    asked = json.dumps({"how": how._asdict(), "warm": list(warm), "only": list(only)})
    cost, printed = spent_apart([sys.executable, str(HERE / "reviews.py"), str(review), asked])
    return cost, Told(**json.loads(printed.splitlines()[-1]))


def program(review: Path, how: How | None, only: Sequence[str] = ()) -> Spent:
    """Carry out a review as a user does: the whole program with all its processes; with no cluster file where `how` is None."""
    # Whoever reviews an area again has reviewed it before: then the digests of its scenes are remembered.
    forget(review, digests=not only)
    command = [sys.executable, "-m", "ecowatch", "rerun" if only else "run", str(review)]
    if how is not None:
        place = review.with_name("cluster.toml")
        place.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in how.settings().items()), "utf-8")
        command += ["--cluster", str(place)]
    return spent_apart([*command, *(part for area in only for part in ("--area", area))])[0]


@contextmanager
def workers_up(how: How) -> Iterator[How]:
    """Start the product's own workers once; yield how to use them. Threads start within a run, in no time."""
    if how.scheduler == "threads":
        yield how
        return
    from dask import config  # noqa: PLC0415

    from ecowatch.review.engine import started  # noqa: PLC0415

    # Whoever was stopped for long while others were measured is not given up.
    with config.set({"distributed.scheduler.worker-ttl": None}), started(how.cluster()) as engine:
        engine.client.wait_for_workers(how.workers)
        yield how._replace(scheduler=engine.client.scheduler.address)


def peak_mb() -> float:
    """Return the kernel's high-water mark of this process in MB.

    That of `resource` may be the one of the process that started this one.
    """
    return next(
        int(line.split()[1]) / 1024
        for line in Path("/proc/self/status").read_text("ascii").splitlines()
        if line.startswith("VmHWM")
    )


class Workers:
    """Follows the high-water marks of the processes that this one starts.

    What the system says of children that have ended cannot be used: it counts what the parent held when it started them.
    """

    def __init__(self) -> None:
        self._most_kb: dict[str, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while not self._over.wait(0.05):
            for child in psutil.Process().children(recursive=True):
                # It may end between two looks; the mark itself only rises.
                with suppress(OSError, ValueError):
                    status = Path(f"/proc/{child.pid}/status").read_text("ascii")
                    told = dict(line.split(":", 1) for line in status.splitlines())
                    # Workers are forked from a process that only imports; until they are named, all have its command line.
                    parent = Path(f"/proc/{int(told['PPid'])}/cmdline").read_bytes()
                    own = Path(f"/proc/{child.pid}/cmdline").read_bytes()
                    if (b"forkserver" in parent or b"spawn_main" in own) and "VmHWM" in told:
                        self._most_kb[f"{child.pid}"] = int(told["VmHWM"].split()[0])

    def peak_mb(self) -> float:
        """Stop following; return the mark of the largest one in MB, 0 where there was none."""
        self._over.set()
        self._thread.join()
        return max(self._most_kb.values(), default=0) / 1024


def main() -> None:
    """Carry out one review and print what it cost."""
    review, asked = Path(sys.argv[1]), json.loads(sys.argv[2])
    import ecowatch.review  # noqa: F401, PLC0415 - what imports alone take

    imports_mb, warm_mb = peak_mb(), 0.0
    workers = Workers()
    how = How(**asked["how"])
    if asked["warm"]:
        with workers_up(how) as up:
            carried_out(review, up, asked["warm"])
            warm_mb = peak_mb()
            told = carried_out(review, up, asked["only"])
    else:
        told = carried_out(review, how, asked["only"])
    told = told._replace(
        imports_mb=imports_mb,
        coordinator_mb=peak_mb(),
        worker_mb=workers.peak_mb(),
        warm_mb=warm_mb,
    )
    print(json.dumps(told._asdict()))


if __name__ == "__main__":
    main()
