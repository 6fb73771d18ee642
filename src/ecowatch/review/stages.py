"""The stages of a run that need workers: fits, tiles, second looks; the only place that catches, once per task."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..atomic import write_text
from ..codes import TaskStatus
from ..errors import StorageError
from ..patches import PixelPatch
from .assemble import pixel_patches
from .engine import Engine, Job, as_text
from .fit import Fit, fit_comparison
from .kept import fit_path
from .look import CHUNK, NOT_LOOKED, Looked, load_looks, look_at, look_order, save_looks
from .pair import Comparison
from .plan import Plan, PlannedTask
from .tile import Task, TileResult, process

Progress = Callable[[str, str, int, int], None]
"""Called with area, step, done, total."""


TasksByKey = Mapping[str, Sequence[PlannedTask]]
"""Tasks by the key of their comparison."""


@dataclass(frozen=True)
class TaskResult:
    """What became of one task: done, skipped (it was done before) or failed, and why."""

    area_id: str
    what: str
    status: TaskStatus
    error: str | None = None


def _attempt_fit(comparison: Comparison, path: Path) -> str | None:
    """Fit one comparison in a worker and keep the result; return the error as text, if any."""
    try:
        fit = fit_comparison(comparison)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, fit.to_json())
    except Exception as error:
        return as_text(error)
    return None


def _attempt_tile(task: Task, fit: Fit, path: Path) -> str | None:
    """Process one tile in a worker and keep the result; return the error as text, if any."""
    try:
        process(task, fit).save(path)
    except Exception as error:
        return as_text(error)
    return None


def fit_all(engine: Engine, plan: Plan, report: Progress) -> tuple[dict[str, Fit], list[TaskResult]]:
    """Fit what is not fitted yet; return the fits by key of the comparison, and what failed."""
    todo = [c for c in plan.comparisons if not fit_path(plan, c).exists()]
    jobs = [Job(c, _attempt_fit, (c, fit_path(plan, c))) for c in todo]
    failures: list[TaskResult] = []
    for done, (comparison, error) in enumerate(engine.each(jobs), 1):
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


def tiles_all(engine: Engine, tasks: Sequence[PlannedTask], fits: dict[str, Fit], report: Progress) -> list[TaskResult]:
    """Process the tiles that are not done yet; return what failed."""
    todo = [t for t in tasks if not t.path.exists() and t.task.comparison.key in fits]
    for folder in {t.path.parent for t in todo}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as reason:
            raise StorageError("CANNOT_WRITE", folder, str(reason), "free space or permissions") from reason
    jobs = (Job(t, _attempt_tile, (t.task, fits[t.task.comparison.key], t.path)) for t in todo)
    failures: list[TaskResult] = []
    for done, (item, error) in enumerate(engine.each(jobs), 1):
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
        return as_text(error)
    return None


def looks_all(
    engine: Engine, plan: Plan, tasks: TasksByKey, fits: dict[str, Fit], report: Progress
) -> tuple[dict[str, list[Looked]], list[TaskResult]]:
    """Look at all candidates again; one that cannot be looked at stays, at the lowest stage, and the failure is told."""
    jobs: list[Job] = []
    chunks: list[tuple[Comparison, list[int], Path]] = []
    looks: dict[str, list[Looked]] = {}
    for comparison in plan.comparisons:
        if comparison.key not in fits:
            continue
        patches = pixel_patches(comparison, [TileResult.load(t.path) for t in done_tasks(tasks, comparison)])
        looks[comparison.key] = [NOT_LOOKED] * len(patches)
        order = look_order(patches)
        folder = fit_path(plan, comparison).parent
        for numbers in (order[i : i + CHUNK] for i in range(0, len(order), CHUNK)):
            own = [patches[i] for i in numbers]
            digest = hashlib.sha256(comparison.key.encode() + b"".join(p.runs.tobytes() for p in own)).hexdigest()
            path = folder / f"look.{digest[:20]}.json"
            chunks.append((comparison, numbers, path))
            if not path.exists():
                jobs.append(Job(comparison, _attempt_look, (comparison, fits[comparison.key], own, path)))
    failures: list[TaskResult] = []
    for done, (comparison, error) in enumerate(engine.each(jobs), 1):
        report(comparison.area.area_id, "look", done, len(jobs))
        if error is not None:
            what = f"look {comparison.pipeline.name}"
            failures.append(TaskResult(comparison.area.area_id, what, TaskStatus.FAILED, error))
    for comparison, numbers, path in chunks:
        for i, look in zip(numbers, load_looks(path) if path.exists() else [NOT_LOOKED] * len(numbers), strict=True):
            looks[comparison.key][i] = look
    return looks, sorted(failures, key=lambda f: (f.area_id, f.what))


def done_tasks(tasks: TasksByKey, comparison: Comparison) -> list[PlannedTask]:
    """Return the tasks of a comparison whose result is there."""
    return [t for t in tasks.get(comparison.key, ()) if t.path.exists()]
