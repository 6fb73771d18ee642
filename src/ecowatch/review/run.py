"""Run a plan, stage by stage, and publish what comes of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pyproj import CRS

from ..atomic import lost_error
from ..digests import sha256_of
from ..errors import ExitCode
from ..settings import Cluster, Review
from .accounts import STAGES, Accounts
from .assemble import assemble, not_compared
from .engine import started
from .kept import KeptFits, drop_damaged, fit_path, seal, seal_path
from .lock import review_lock, sweep_work
from .plan import Plan, PlannedTask, TasksOf, by_place, make_plan, planned_tasks, work_folder
from .product import write_geopackage
from .rasters import write_rasters
from .record import RECORD_NAME, Doing, products_beside, provenance, read_record, write_record
from .result import AreaResult, Surroundings
from .shelf import Shelf, View
from .stages import Lookings, Measure, Progress, TaskResult, done_tasks, looks_all, measured


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder, its results by area, what failed, the exit code that says so, and its tasks by stage."""

    plan: Plan
    folder: Path
    results: Sequence[AreaResult]
    failures: tuple[TaskResult, ...]
    reused: bool
    tasks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def exit_code(self) -> ExitCode:
        """PARTIAL where something failed or was quarantined; what is published is complete and says so."""
        return ExitCode.PARTIAL if self.failures or self.plan.quarantined else ExitCode.DONE


Product = Callable[[Path, Plan, Sequence[AreaResult]], None]
"""Writes further files of a run into its folder."""


def run_review(
    review: Review,
    cluster: Cluster,
    *,
    progress: Progress | None = None,
    products: Iterable[Product] = (),
    shuffle: Callable[[Sequence[PlannedTask]], Sequence[PlannedTask]] | None = None,
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
    LockedError
        ``REVIEW_LOCKED``: another run of this review is under way.
    EcowatchError
        Where the review cannot begin (settings, boundaries, no scenes) or its products cannot be written.
    """
    # Before the plan: two starts at once must not both read all scenes, one of them for nothing.
    with review_lock(work_folder(review).parent):
        return run_plan(make_plan(review), cluster, progress=progress, products=products, shuffle=shuffle)


def run_plan(
    plan: Plan,
    cluster: Cluster,
    *,
    progress: Progress | None = None,
    products: Iterable[Product] = (),
    shuffle: Callable[[Sequence[PlannedTask]], Sequence[PlannedTask]] | None = None,
    measure: Measure = measured,
) -> RunResult:
    """Carry out a plan, as `run_review` does; `measure` brings fits and tiles about, or finds what shards left.

    For whoever holds the lock of the review alone.
    """
    review, folder = plan.review, plan.work_folder.parent
    accounts = Accounts(folder, review.name, review.period, review.only, plan.run_id)
    with accounts.kept():
        sweep_work(plan.work_folder)
        record = read_record(plan.run_folder)
        if record is not None and _complete(plan.run_folder, record):
            if accounts.found_complete(record):
                accounts.write()
            return RunResult(plan, plan.run_folder, (), (), reused=True, tasks=accounts.totals())
        accounts.begin()
        tasks: Sequence[PlannedTask] = by_place(planned_tasks(plan, cluster))
        if shuffle is not None:
            tasks = shuffle(tasks)
        return _carry_out(plan, cluster, accounts, tasks, progress or (lambda *_: None), products, measure)


def _carry_out(
    plan: Plan,
    cluster: Cluster,
    accounts: Accounts,
    tasks: Sequence[PlannedTask],
    report: Progress,
    products: Iterable[Product],
    measure: Measure,
) -> RunResult:
    tasks_of = TasksOf(tasks, len(plan.comparisons))
    for comparison in plan.comparisons:
        if damaged := drop_damaged(seal_path(plan, comparison)):
            report(comparison.area.area_id, "damaged", len(damaged), len(damaged))
    with started(cluster) as engine:
        fits, failures = measure(engine, plan, tasks, report, accounts)
        looked = looks_all(engine, plan, tasks_of, fits, report, accounts)
        failures += looked.failures
    for stage in STAGES:
        accounts.settle(stage)
    for number, comparison in enumerate(plan.comparisons):
        tiles = (task.path for task in done_tasks(tasks_of[number]))
        kept = (*tiles, *looked.paths(number), fit_path(plan, comparison))
        seal(seal_path(plan, comparison), [path for path in kept if path.exists()])
    results = _assembled(plan, tasks_of, fits, looked, failures)
    accounts.check()
    with products_beside(plan.run_folder) as beside:
        if plan.review.output.rasters:
            write_rasters(beside, tasks_of)
        _publish(beside, plan, results, failures, products, accounts, cluster)
    result = RunResult(plan, plan.run_folder, results, tuple(failures), reused=False, tasks=accounts.totals())
    accounts.close([vars(f) for f in failures], int(result.exit_code))
    return result


def _complete(folder: Path, record: Mapping[str, Any]) -> bool:
    """Tell whether a run stands finished, without failures and with its products as they were written."""
    if record["failures"]:
        return False
    return all(
        (folder / name).is_file() and sha256_of(folder / name) == sha for name, sha in record["products"].items()
    )


def _assembled(
    plan: Plan,
    tasks: TasksOf,
    fits: KeptFits,
    looked: Lookings,
    failures: Sequence[TaskResult],
) -> Sequence[AreaResult]:
    crs = CRS.from_user_input(plan.review.output.crs)
    placed = Shelf(area.in_crs(crs, plan.allowed) for area in plan.neighbours)
    carriers = plan.carriers.in_crs(crs, plan.allowed) if plan.carriers else None
    surroundings = Surroundings(crs, plan.allowed, placed, carriers)
    told = {(f.area_id, f.what): str(f.error) for f in failures}
    # A comparison is the plan's, and put back when a result is asked for.
    held: Shelf[tuple[AreaResult, int | None]] = Shelf()
    names: list[tuple[str, str]] = []

    def keep(result: AreaResult, number: int | None = None) -> None:
        held.append((replace(result, comparison=None), number))
        names.append((result.area.area_id, result.pipeline.name if result.pipeline else ""))

    def whole(kept: tuple[AreaResult, int | None]) -> AreaResult:
        result, number = kept
        return result if number is None else replace(result, comparison=plan.comparisons[number])

    for number, comparison in enumerate(plan.comparisons):
        area_id = comparison.area.area_id
        if number not in fits:
            error = told.get((area_id, f"fit {comparison.pipeline.name}"))
            if error is None:
                raise lost_error(fit_path(plan, comparison), FileNotFoundError("it is gone"))
            keep(not_compared(comparison.area, comparison.pipeline, error, surroundings))
            continue
        missing = [task for task in tasks[number] if not task.path.exists()]
        for task in missing:
            if (area_id, task.name) not in told:
                raise lost_error(task.path, FileNotFoundError("it is gone"))
        bad = [t.tile for t in missing]
        keep(assemble(comparison, fits[number], *looked.of(number), bad, surroundings), number)
    for lone in plan.unpaired:
        keep(not_compared(lone.area, lone.pipeline, f"{lone.code}: {lone.finding}", surroundings))
    return View(held, sorted(range(len(names)), key=names.__getitem__), whole)


def _publish(
    folder: Path,
    plan: Plan,
    results: Sequence[AreaResult],
    failures: Sequence[TaskResult],
    products: Iterable[Product],
    accounts: Accounts,
    cluster: Cluster,
) -> None:
    package, made = folder / "flagged.gpkg", provenance(plan)
    write_geopackage(
        package,
        results,
        period=plan.review.period,
        as_of=plan.review.after_range.last.isoformat(),
        crs=CRS.from_user_input(plan.review.output.crs),
        metadata=made,
    )
    for product in products:
        product(folder, plan, results)
    digests = {path.name: sha256_of(path) for path in sorted(folder.iterdir())}
    place = {
        "scheduler": cluster.scheduler,
        "workers": cluster.workers,
        "tile_px": cluster.tile_px,
        "pid": os.getpid(),
    }
    rows = [vars(f) for f in failures]
    doing = Doing(accounts.started, accounts.totals(), accounts.by_area(), place)
    write_record(folder / RECORD_NAME, plan, results, rows, made=made, doing=doing, digests=digests)
