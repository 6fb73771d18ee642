"""Run a plan: futures, one task per tile, a bounded window; the only importer of Dask and the only place that catches."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dask.config
from distributed import Client, LocalCluster, as_completed
from pyproj import CRS

from ..atomic import write_text
from ..codes import TaskStatus
from ..errors import EcowatchError, ExitCode, StorageError, UnavailableError
from ..patches import PixelPatch
from ..settings import Cluster, Review
from .assemble import assemble, not_compared, pixel_patches
from .fit import Fit, fit_comparison
from .kept import drop_damaged, fit_path, seal, seal_path
from .look import CHUNK, NOT_LOOKED, Looked, load_looks, look_at, look_order, save_looks
from .pair import Comparison
from .plan import Plan, PlannedTask, make_plan, planned_tasks
from .product import write_geopackage
from .rasters import write_rasters
from .record import provenance, write_record
from .result import AreaResult, Surroundings
from .tile import Task, TileResult, process, warm_up

# Dask's own setting gives every freed block back to the system at once: the pages of the next one are then faulted in
# anew, which made tiles 1.7 times slower. One thread in every library: parallelism is Dask's.
_WORKER_ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": str(512 * 2**20),
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}
# Dask's sampling profiler serves a dashboard that is not started, and takes some per cent of every tile.
_DASK_SETTINGS = {
    "distributed.nanny.pre-spawn-environ": _WORKER_ENVIRONMENT,
    "distributed.worker.profile.enabled": False,
}


@dataclass(frozen=True)
class TaskResult:
    """What became of one task: done, skipped (it was done before) or failed, and why."""

    area_id: str
    what: str
    status: TaskStatus
    error: str | None = None


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder, its results by area, what failed, and the exit code that says so."""

    plan: Plan
    folder: Path
    results: tuple[AreaResult, ...]
    failures: tuple[TaskResult, ...]
    reused: bool

    @property
    def exit_code(self) -> ExitCode:
        """PARTIAL where something failed or was quarantined; what is published is complete and says so."""
        return ExitCode.PARTIAL if self.failures or self.plan.quarantined else ExitCode.DONE


Progress = Callable[[str, str, int, int], None]
"""Called with area, step, done, total."""
Product = Callable[[Path, Plan, Sequence[AreaResult]], None]
"""Writes further files of a run into its folder."""


def run_review(
    review: Review,
    cluster: Cluster,
    *,
    progress: Progress | None = None,
    products: Iterable[Product] = (),
    shuffle: Callable[[list[PlannedTask]], list[PlannedTask]] | None = None,
) -> RunResult:
    """Carry out a review and write its products.

    Parameters
    ----------
    review
        What, when, with what.
    cluster
        Where; cannot change a result.
    progress
        Told of every finished task.
    products
        Writers of further files, such as pictures.
    shuffle
        Reorders the tasks; results must not depend on it.

    Raises
    ------
    EcowatchError
        Where the review cannot begin (settings, boundaries, no scenes) or its products cannot be written.
    """
    started = datetime.now(UTC)
    plan = make_plan(review)
    if _complete(plan.run_folder):
        return RunResult(plan, plan.run_folder, (), (), reused=True)
    report = progress or (lambda *_: None)
    tasks = planned_tasks(plan, cluster)
    if shuffle is not None:
        tasks = shuffle(tasks)
    for comparison in plan.comparisons:
        if damaged := drop_damaged(seal_path(plan, comparison)):
            report(comparison.area.area_id, "damaged", len(damaged), len(damaged))
    with _client(cluster) as client:
        fits, failures = _fit_all(client, plan, cluster, report)
        failures += _tiles_all(client, tasks, fits, cluster, report)
        looks, unlooked = _looks_all(client, plan, tasks, fits, cluster, report)
        failures += unlooked
    for comparison in plan.comparisons:
        kept = (*(t.path for t in _done(tasks, comparison)), fit_path(plan, comparison))
        seal(seal_path(plan, comparison), [path for path in kept if path.exists()])
    results = _assembled(plan, tasks, fits, looks, failures)
    for leftover in plan.run_folder.glob("*"):
        # An earlier attempt at this very run that did not end well.
        leftover.unlink()
    if review.output.rasters:
        write_rasters(plan.run_folder, tasks)
    _publish(plan, results, failures, products, started, cluster)
    return RunResult(plan, plan.run_folder, results, tuple(failures), reused=False)


def _complete(folder: Path) -> bool:
    """Tell whether a run stands finished, without failures and with its products as they were written."""
    record = folder / "run.json"
    if not record.exists():
        return False
    told = json.loads(record.read_text("utf-8"))
    if told["failures"]:
        return False
    return all((folder / name).is_file() and _digest(folder / name) == sha for name, sha in told["products"].items())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def _client(cluster: Cluster) -> Iterator[Client]:
    if cluster.scheduler.startswith(("tcp://", "tls://")):
        try:
            remote = Client(cluster.scheduler, timeout="30s")
        except (OSError, TimeoutError) as error:
            raise UnavailableError(
                "SCHEDULER_UNAVAILABLE", cluster.scheduler, str(error), "start it, or correct 'scheduler'"
            ) from error
        with remote as client:
            yield client
        return
    # One thread per process: GDAL handles are never shared, and Python's lock is not in the way.
    processes = cluster.scheduler == "processes"
    with (
        dask.config.set(_DASK_SETTINGS),
        LocalCluster(
            n_workers=cluster.workers if processes else 1,
            threads_per_worker=1 if processes else cluster.workers,
            processes=processes,
            memory_limit=cluster.memory_limit if processes else 0,
            dashboard_address=None,
            silence_logs="ERROR",
        ) as local,
        Client(local) as client,
    ):
        # One worker fits first; the others load their compiled code meanwhile.
        addresses = client.scheduler_info()["workers"] if processes else ()
        warming = [client.submit(warm_up, workers=[address], pure=False) for address in addresses]
        yield client
        del warming


def _attempt_fit(comparison: Comparison, path: Path) -> str | None:
    """Fit one comparison in a worker and keep the result; return the error as text, if any."""
    try:
        fit = fit_comparison(comparison)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, fit.to_json())
    except Exception as error:
        return _as_text(error)
    return None


def _attempt_tile(task: Task, fit: Fit, path: Path) -> str | None:
    """Process one tile in a worker and keep the result; return the error as text, if any."""
    try:
        process(task, fit).save(path)
    except Exception as error:
        return _as_text(error)
    return None


def _as_text(error: BaseException) -> str:
    return str(error) if isinstance(error, EcowatchError) else f"UNEXPECTED {type(error).__name__}: {error}"


def _each(
    client: Client, jobs: Iterable[tuple[Any, Callable[..., str | None], tuple[Any, ...]]], cluster: Cluster
) -> Iterator[tuple[Any, str | None]]:
    """Run jobs with a bounded number under way; yield each job's name and error as it ends."""
    waiting = iter(jobs)
    names: dict[str, Any] = {}
    flow = as_completed()
    workers = max(len(client.scheduler_info()["workers"]), 1)
    threads = cluster.workers if cluster.scheduler == "threads" else 1

    def submit() -> bool:
        job = next(waiting, None)
        if job is None:
            return False
        name, function, arguments = job
        future = client.submit(function, *arguments, pure=False, retries=0)
        names[future.key] = name
        flow.add(future)
        return True

    for _ in range(workers * threads * cluster.tasks_per_worker):
        if not submit():
            break
    for future in flow:
        error = future.result() if future.status == "finished" else _as_text(future.exception())
        yield names.pop(future.key), error
        submit()


def _fit_all(client: Client, plan: Plan, cluster: Cluster, report: Progress) -> tuple[dict[str, Fit], list[TaskResult]]:
    todo = [c for c in plan.comparisons if not fit_path(plan, c).exists()]
    jobs = [(c, _attempt_fit, (c, fit_path(plan, c))) for c in todo]
    failures: list[TaskResult] = []
    for done, (comparison, error) in enumerate(_each(client, jobs, cluster), 1):
        report(comparison.area.area_id, "fit", done, len(jobs))
        if error is not None:
            what = f"fit {comparison.pipeline.name}"
            failures.append(TaskResult(comparison.area.area_id, what, TaskStatus.FAILED, error))
    fits = {
        c.key: Fit.from_json(fit_path(plan, c).read_text("utf-8"))
        for c in plan.comparisons
        if fit_path(plan, c).exists()
    }
    return fits, sorted(failures, key=lambda f: (f.area_id, f.what))


def _tiles_all(
    client: Client,
    tasks: Sequence[PlannedTask],
    fits: dict[str, Fit],
    cluster: Cluster,
    report: Progress,
) -> list[TaskResult]:
    todo = [t for t in tasks if not t.path.exists() and t.task.comparison.key in fits]
    for folder in {t.path.parent for t in todo}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as reason:
            raise StorageError("CANNOT_WRITE", folder, str(reason), "free space or permissions") from reason
    jobs = ((t, _attempt_tile, (t.task, fits[t.task.comparison.key], t.path)) for t in todo)
    failures: list[TaskResult] = []
    for done, (item, error) in enumerate(_each(client, jobs, cluster), 1):
        area_id = item.task.comparison.area.area_id
        report(area_id, "tile", done, len(todo))
        if error is not None:
            what = f"tile {'_'.join(map(str, item.task.tile))} {item.task.comparison.pipeline.name}"
            failures.append(TaskResult(area_id, what, TaskStatus.FAILED, error))
    return sorted(failures, key=lambda f: (f.area_id, f.what))


def _attempt_look(comparison: Comparison, fit: Fit, patches: Sequence[PixelPatch], path: Path) -> str | None:
    """Look at some candidates again in a worker and keep the result; return the error as text, if any."""
    try:
        save_looks(path, look_at(comparison, fit, patches))
    except Exception as error:
        return _as_text(error)
    return None


def _looks_all(
    client: Client,
    plan: Plan,
    tasks: Sequence[PlannedTask],
    fits: dict[str, Fit],
    cluster: Cluster,
    report: Progress,
) -> tuple[dict[str, list[Looked]], list[TaskResult]]:
    """Look at all candidates again; one that cannot be looked at stays, at the lowest stage, and the failure is told."""
    jobs: list[tuple[Any, Callable[..., str | None], tuple[Any, ...]]] = []
    chunks: list[tuple[Comparison, list[int], Path]] = []
    looks: dict[str, list[Looked]] = {}
    for comparison in plan.comparisons:
        if comparison.key not in fits:
            continue
        patches = pixel_patches(comparison, [TileResult.load(t.path) for t in _done(tasks, comparison)])
        looks[comparison.key] = [NOT_LOOKED] * len(patches)
        order = look_order(patches)
        folder = fit_path(plan, comparison).parent
        for numbers in (order[i : i + CHUNK] for i in range(0, len(order), CHUNK)):
            own = [patches[i] for i in numbers]
            digest = hashlib.sha256(comparison.key.encode() + b"".join(p.runs.tobytes() for p in own)).hexdigest()
            path = folder / f"look.{digest[:20]}.json"
            chunks.append((comparison, numbers, path))
            if not path.exists():
                jobs.append((comparison, _attempt_look, (comparison, fits[comparison.key], own, path)))
    failures: list[TaskResult] = []
    for done, (comparison, error) in enumerate(_each(client, jobs, cluster), 1):
        report(comparison.area.area_id, "look", done, len(jobs))
        if error is not None:
            what = f"look {comparison.pipeline.name}"
            failures.append(TaskResult(comparison.area.area_id, what, TaskStatus.FAILED, error))
    for comparison, numbers, path in chunks:
        for i, look in zip(numbers, load_looks(path) if path.exists() else [NOT_LOOKED] * len(numbers), strict=True):
            looks[comparison.key][i] = look
    return looks, sorted(failures, key=lambda f: (f.area_id, f.what))


def _done(tasks: Sequence[PlannedTask], comparison: Comparison) -> list[PlannedTask]:
    return [t for t in tasks if t.task.comparison.key == comparison.key and t.path.exists()]


def _assembled(
    plan: Plan,
    tasks: Sequence[PlannedTask],
    fits: dict[str, Fit],
    looks: dict[str, list[Looked]],
    failures: Sequence[TaskResult],
) -> tuple[AreaResult, ...]:
    crs = CRS.from_user_input(plan.review.output.crs)
    placed = tuple(area.in_crs(crs, plan.allowed) for area in plan.neighbours)
    carriers = plan.carriers.in_crs(crs, plan.allowed) if plan.carriers else None
    surroundings = Surroundings(crs, plan.allowed, placed, carriers)
    results = []
    for comparison in plan.comparisons:
        if comparison.key not in fits:
            own_fit = (comparison.area.area_id, f"fit {comparison.pipeline.name}")
            errors = [f.error for f in failures if (f.area_id, f.what) == own_fit]
            results.append(not_compared(comparison.area, comparison.pipeline, str(errors[0]), surroundings))
            continue
        good = [TileResult.load(t.path) for t in _done(tasks, comparison)]
        bad = [t.task.tile for t in tasks if t.task.comparison.key == comparison.key and not t.path.exists()]
        key = comparison.key
        results.append(assemble(comparison, fits[key], good, bad, looks[key], surroundings))
    for lone in plan.unpaired:
        results.append(not_compared(lone.area, lone.pipeline, f"{lone.code}: {lone.finding}", surroundings))
    return tuple(sorted(results, key=lambda r: (r.area.area_id, r.pipeline.name if r.pipeline else "")))


def _publish(
    plan: Plan,
    results: Sequence[AreaResult],
    failures: Sequence[TaskResult],
    products: Iterable[Product],
    started: datetime,
    cluster: Cluster,
) -> None:
    folder = plan.run_folder
    package = folder / "flagged.gpkg"
    write_geopackage(
        package,
        results,
        period=plan.review.period,
        as_of=plan.review.after_range.last.isoformat(),
        crs=CRS.from_user_input(plan.review.output.crs),
        metadata=provenance(plan),
    )
    for product in products:
        product(folder, plan, results)
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    digests = {p.name: _digest(p) for p in files if p.name != "run.json"}
    place = {
        "scheduler": cluster.scheduler,
        "workers": cluster.workers,
        "tile_px": cluster.tile_px,
        "pid": os.getpid(),
    }
    rows = [vars(f) for f in failures]
    write_record(folder / "run.json", plan, results, rows, started=started, place=place, digests=digests)
