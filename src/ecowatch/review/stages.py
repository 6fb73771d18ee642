"""The stages of a run that need workers: fits, tiles, second looks."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..atomic import lost_error, write_text
from ..codes import TaskStatus
from ..patches import PixelPatch
from ..raster import Reading
from .accounts import Accounts
from .candidates import patch_key
from .engine import Engine, Job
from .fit import Fit, fit_comparison
from .found import Found, found_in
from .ingest import ingest, reading_copies, sound_copies, with_copies
from .kept import KeptFits, fit_path
from .look import CHUNK, NOT_LOOKED, Looked, look_at, look_order, looks_of, looks_text
from .pair import Comparison
from .plan import Plan, PlannedTask
from .tile import Task, TileResult, process

Progress = Callable[[str, str, int, int], None]
"""Called with area, step, done, total."""


TasksByKey = Mapping[str, Sequence[PlannedTask]]
"""Tasks by the key of their comparison."""


@dataclass(frozen=True)
class TaskResult:
    """What became of one task: done, skipped (it was done before), failed or quarantined, and why."""

    area_id: str
    what: str
    status: TaskStatus
    error: str | None = None


def _do_fit(comparison: Comparison, path: Path, reading: Reading, hands: int) -> None:
    """Fit one comparison in a worker and keep the result."""
    # It may have been done by a worker that was lost before it could tell.
    if not path.exists():
        fit = fit_comparison(comparison, reading, hands=hands)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, fit.to_json())


def _do_tile(task: Task, fit: Fit, path: Path, reading: Reading) -> None:
    """Process one tile in a worker and keep the result."""
    # It may have been done by a worker that was lost before it could tell.
    if not path.exists():
        process(task, fit, reading).save(path)


def fit_all(
    engine: Engine, plan: Plan, tasks: Sequence[PlannedTask], report: Progress, accounts: Accounts
) -> tuple[KeptFits, list[TaskResult]]:
    """Fit what is not fitted yet, in the order of the tasks; return the fits by key of the comparison, and what failed."""
    todo = []
    for comparison in plan.comparisons:
        kept = fit_path(plan, comparison).exists()
        accounts.expect("fit", comparison.area.area_id, kept=kept)
        if not kept:
            todo.append(comparison)
    seconds = {t.task.comparison.key: t.fit_seconds for t in tasks if t.fit_seconds}
    order = {key: number for number, key in enumerate(dict.fromkeys(t.task.comparison.key for t in tasks))}
    # Areas that touch no block have no tasks.
    todo.sort(key=lambda c: order.get(c.key, len(order)))
    hands = engine.hands(len(todo))
    jobs = (Job(c, _do_fit, (c, fit_path(plan, c), engine.reading, hands), seconds.get(c.key, math.inf)) for c in todo)
    failures: list[TaskResult] = []
    for done, (comparison, error) in enumerate(engine.each(jobs, count=len(todo)), 1):
        area_id, what = comparison.area.area_id, f"fit {comparison.pipeline.name}"
        report(area_id, "fit", done, len(todo))
        status = accounts.ended("fit", area_id, what, error)
        if error is not None:
            failures.append(TaskResult(area_id, what, status, error))
    return KeptFits(plan), sorted(failures, key=lambda f: (f.area_id, f.what))


def tiles_all(
    engine: Engine, tasks: Sequence[PlannedTask], fits: KeptFits, report: Progress, accounts: Accounts
) -> list[TaskResult]:
    """Process the tiles that are not done yet; return what failed."""
    todo = []
    for item in tasks:
        kept = item.path.exists()
        accounts.expect("tile", item.task.comparison.area.area_id, kept=kept)
        if not kept and item.task.comparison.key in fits:
            todo.append(item)
    jobs = (
        Job(t, _do_tile, (t.task, fits[t.task.comparison.key], t.path, engine.reading), t.seconds, _row_of(t.task))
        for t in todo
    )
    failures: list[TaskResult] = []
    for done, (item, error) in enumerate(engine.each(jobs, count=len(todo)), 1):
        area_id, what = item.task.comparison.area.area_id, item.name
        report(area_id, "tile", done, len(todo))
        status = accounts.ended("tile", area_id, what, error)
        if error is not None:
            failures.append(TaskResult(area_id, what, status, error))
    return sorted(failures, key=lambda f: (f.area_id, f.what))


def _row_of(task: Task) -> tuple[str, int]:
    """Tiles of one row follow one another: what one leaves decoded at its right edge serves the next."""
    return task.comparison.key, task.tile.row0


Measure = Callable[[Engine, Plan, Sequence[PlannedTask], Progress, Accounts], tuple[KeptFits, list[TaskResult]]]
"""Brings fits and tiles about; returns the fits by key of the comparison, and what failed."""


def measured(
    engine: Engine, plan: Plan, tasks: Sequence[PlannedTask], report: Progress, accounts: Accounts
) -> tuple[KeptFits, list[TaskResult]]:
    """Copy slow bands, then fit and process what is not there yet."""
    copies, _ = ingest(engine, plan, tasks, report, accounts)
    plan, tasks = reading_copies(plan, tasks, copies)
    fits, failures = fit_all(engine, plan, tasks, report, accounts)
    return fits, failures + tiles_all(engine, tasks, fits, report, accounts)


def _do_look(comparison: Comparison, fit: Fit, patches: Sequence[PixelPatch], path: Path, reading: Reading) -> None:
    """Look at some candidates again in a worker and keep the result."""
    # It may have been done by a worker that was lost before it could tell.
    if not path.exists():
        write_text(path, looks_text(look_at(comparison, fit, patches, reading)))


class Lookings(NamedTuple):
    """What looking again gave.

    By key of the comparison: what its tiles found, the looks at the candidates, the files these are kept in; and what failed.
    """

    found: dict[str, Found]
    looks: dict[str, list[Looked]]
    paths: dict[str, list[Path]]
    failures: list[TaskResult]


def looks_all(
    engine: Engine, plan: Plan, tasks: TasksByKey, fits: KeptFits, report: Progress, accounts: Accounts
) -> Lookings:
    """Look at all candidates again; one that cannot be looked at stays, at the lowest stage, and the failure is told."""
    jobs: list[Job] = []
    chunks: list[tuple[Comparison, list[int], Path]] = []
    found: dict[str, Found] = {}
    looks: dict[str, list[Looked]] = {}
    for comparison in plan.comparisons:
        if comparison.key not in fits:
            continue
        tiles = [TileResult.load(t.path) for t in done_tasks(tasks, comparison)]
        found[comparison.key] = found_in(comparison, tiles)
        patches = found[comparison.key].patches
        # Candidates that lay in a tile whole were looked at there, while its blocks were at hand.
        known = {key: look for tile in tiles for key, look in tile.looks.items()}
        keys = [patch_key(patch) for patch in patches]
        looks[comparison.key] = [known.get(key, NOT_LOOKED) for key in keys]
        order = [i for i in look_order(patches) if keys[i] not in known]
        folder = fit_path(plan, comparison).parent
        for numbers in (order[i : i + CHUNK] for i in range(0, len(order), CHUNK)):
            own = [patches[i] for i in numbers]
            digest = hashlib.sha256(comparison.key.encode() + b"".join(p.runs.tobytes() for p in own)).hexdigest()
            path = folder / f"look.{digest[:20]}.json"
            chunks.append((comparison, numbers, path))
            kept = path.exists()
            accounts.expect("look", comparison.area.area_id, kept=kept)
            if not kept:
                fit = fits[comparison.key]
                jobs.append(Job((comparison, path), _do_look, (comparison, fit, own, path, engine.reading)))
    copies = sound_copies(plan, [job.arguments[0] for job in jobs])
    jobs = [job._replace(arguments=(with_copies(job.arguments[0], copies), *job.arguments[1:])) for job in jobs]
    failures: list[TaskResult] = []
    not_looked: set[Path] = set()
    for done, ((comparison, path), error) in enumerate(engine.each(jobs), 1):
        area_id, what = comparison.area.area_id, f"look {comparison.pipeline.name}"
        report(area_id, "look", done, len(jobs))
        status = accounts.ended("look", area_id, what, error)
        if error is not None:
            not_looked.add(path)
            failures.append(TaskResult(area_id, what, status, error))
    paths: dict[str, list[Path]] = {}
    for comparison, numbers, path in chunks:
        paths.setdefault(comparison.key, []).append(path)
        if path not in not_looked:
            for i, look in zip(numbers, _kept_looks(path), strict=True):
                looks[comparison.key][i] = look
    return Lookings(found, looks, paths, sorted(failures, key=lambda f: (f.area_id, f.what)))


def _kept_looks(path: Path) -> list[Looked]:
    try:
        return looks_of(path.read_text("utf-8"))
    except OSError as error:
        raise lost_error(path, error) from error


def done_tasks(tasks: TasksByKey, comparison: Comparison) -> list[PlannedTask]:
    """Return the tasks of a comparison whose result is there."""
    return [t for t in tasks.get(comparison.key, ()) if t.path.exists()]
