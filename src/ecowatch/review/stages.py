"""The stages of a run that need workers: fits, tiles, second looks."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..atomic import damaged_error, lost_error, write_text
from ..codes import TaskStatus
from ..errors import SceneError
from ..patches import PixelPatch
from ..raster import Reading
from .accounts import Accounts
from .candidates import patch_key
from .engine import Engine
from .fit import Fit, fit_comparison
from .found import Found, found_in
from .ingest import ingest, reading_copies, sound_copies, with_copies
from .jobs import Job
from .kept import KeptFits, fit_path, read_fit
from .look import CHUNK, NOT_LOOKED, Looked, look_at, look_order, looks_of, looks_text
from .pair import Comparison
from .plan import Plan, PlannedTask, TasksOf
from .shelf import Shelf, View
from .tile import Task, TileResult, process

Progress = Callable[[str, str, int, int], None]
"""Called with area, step, done, total."""


@dataclass(frozen=True)
class TaskResult:
    """What became of one task: done, skipped (it was done before), failed or quarantined, and why."""

    area_id: str
    what: str
    status: TaskStatus
    error: str | None = None


def in_order(failures: Iterable[TaskResult]) -> list[TaskResult]:
    """Return failures by area and name: tasks end in any order."""
    return sorted(failures, key=lambda f: (f.area_id, f.what))


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


def _do_small_tile(task: Task, fit: Path, path: Path, reading: Reading) -> None:
    """Process the only tile of an area, right after its fit and in the same worker."""
    _do_tile(task, read_fit(fit), path, reading)


class _Fits:
    """The fits that are not there yet, in the order of the tasks; with that of a small area goes its only tile."""

    def __init__(self, engine: Engine, plan: Plan, tasks: Sequence[PlannedTask], accounts: Accounts) -> None:
        self._engine, self._plan, self._tasks = engine, plan, tasks
        # Areas that touch no block have no tasks.
        self._seconds = array("d", [math.inf]) * len(plan.comparisons)
        self._turn = array("q", [len(tasks)]) * len(plan.comparisons)
        self.todo, self.small = array("q"), set[int]()
        for place, task in enumerate(tasks):
            self._turn[task.number] = min(self._turn[task.number], place)
            if task.fit_seconds:
                self._seconds[task.number] = task.fit_seconds
            if task.follows_fit and not task.path.exists():
                self.small.add(place)
        for number, comparison in enumerate(plan.comparisons):
            area_id, kept = comparison.area.area_id, fit_path(plan, comparison).exists()
            accounts.expect("fit", area_id, kept=kept)
            if kept:
                self.small.discard(self._turn[number])
                continue
            self.todo.append(number)
            if self._turn[number] in self.small:
                accounts.expect("tile", area_id, kept=False)

    def jobs(self) -> Iterator[Job]:
        """Yield the jobs; each is called by its stage, the number of its comparison, its area and what it is."""
        reading, hands = self._engine.reading, self._engine.hands(len(self.todo))
        for number in sorted(self.todo, key=self._turn.__getitem__):
            c, place = self._plan.comparisons[number], self._turn[number]
            path = fit_path(self._plan, c)
            then: tuple[Job, ...] = ()
            if place in self.small:
                item = self._tasks[place]
                arguments = Task(c, item.tile, item.rasters), path, item.path, reading
                then = (Job(("tile", number, item.area_id, item.name), _do_small_tile, arguments, item.seconds),)
            name = "fit", number, c.area.area_id, f"fit {c.pipeline.name}"
            yield Job(name, _do_fit, (c, path, reading, hands), self._seconds[number], then=then)


def fit_all(
    engine: Engine, plan: Plan, tasks: Sequence[PlannedTask], report: Progress, accounts: Accounts
) -> tuple[KeptFits, Set[int], list[TaskResult]]:
    """Fit what is not fitted yet, in the order of the tasks, and process the tiles of small areas with it.

    Returns
    -------
    tuple
        The fits by number of the comparison, the places of the tiles that were processed or could not be, and what failed.
    """
    fits = _Fits(engine, plan, tasks, accounts)
    failures: list[TaskResult] = []
    done, unfitted = Counter[str](), set[int]()
    of = {"fit": len(fits.todo), "tile": len(fits.small)}
    for (stage, number, area_id, what), error in engine.each(fits.jobs(), count=sum(of.values())):
        # Of an area without a fit the tile was not tried: whatever it says of that is not the reason.
        if stage == "tile" and number in unfitted:
            continue
        done[stage] += 1
        report(area_id, stage, done[stage], of[stage])
        status = accounts.ended(stage, area_id, what, error)
        if error is not None:
            failures.append(TaskResult(area_id, what, status, error))
            if stage == "fit":
                unfitted.add(number)
    return KeptFits(plan), fits.small, failures


def tiles_all(
    engine: Engine,
    tasks: Sequence[PlannedTask],
    fits: KeptFits,
    report: Progress,
    accounts: Accounts,
    *,
    without: Set[int] = frozenset(),
) -> list[TaskResult]:
    """Process the tiles that are not done yet, without those at some places, which were told before; return what failed."""
    places = array("q")
    for place, item in enumerate(tasks):
        if place in without:
            continue
        kept = item.path.exists()
        accounts.expect("tile", item.area_id, kept=kept)
        if not kept and item.number in fits:
            places.append(place)
    todo: View[PlannedTask] = View(tasks, places)
    jobs = (Job(t, _do_tile, (t.task, fits[t.number], t.path, engine.reading), t.seconds, _row_of(t)) for t in todo)
    failures: list[TaskResult] = []
    for done, (item, error) in enumerate(engine.each(jobs, count=len(todo)), len(without) + 1):
        report(item.area_id, "tile", done, len(without) + len(todo))
        status = accounts.ended("tile", item.area_id, item.name, error)
        if error is not None:
            failures.append(TaskResult(item.area_id, item.name, status, error))
    return failures


def _row_of(item: PlannedTask) -> tuple[str, int]:
    """Tiles of one row follow one another: what one leaves decoded at its right edge serves the next."""
    return item.comparison_key, item.tile.row0


Measure = Callable[[Engine, Plan, Sequence[PlannedTask], Progress, Accounts], tuple[KeptFits, list[TaskResult]]]
"""Brings fits and tiles about; returns the fits by number of the comparison, and what failed."""


def measured(
    engine: Engine, plan: Plan, tasks: Sequence[PlannedTask], report: Progress, accounts: Accounts
) -> tuple[KeptFits, list[TaskResult]]:
    """Copy slow bands, then fit and process what is not there yet."""
    copies, _ = ingest(engine, plan, tasks, report, accounts)
    plan, tasks = reading_copies(plan, tasks, copies)
    fits, tiled, failures = fit_all(engine, plan, tasks, report, accounts)
    return fits, in_order(failures + tiles_all(engine, tasks, fits, report, accounts, without=tiled))


def _do_look(comparison: Comparison, fit: Fit, patches: Sequence[PixelPatch], path: Path, reading: Reading) -> None:
    """Look at some candidates again in a worker and keep the result."""
    # It may have been done by a worker that was lost before it could tell.
    if path.exists():
        return
    try:
        write_text(path, looks_text(look_at(comparison, fit, patches, reading)))
    except SceneError as error:
        looks = [_look_alone(comparison, fit, patch, reading) for patch in patches]
        # Not where finished looks are kept: another run tries again.
        write_text(_in_part(path), looks_text(looks))
        raise error from None


def _look_alone(comparison: Comparison, fit: Fit, patch: PixelPatch, reading: Reading) -> Looked:
    """Look at a candidate whose chunk could not be looked at as a whole: who shares a chunk must change nothing."""
    try:
        return look_at(comparison, fit, [patch], reading)[0]
    except SceneError:
        return NOT_LOOKED


def _in_part(path: Path) -> Path:
    """Where the looks of a chunk lie of which some could not be taken."""
    return path.with_suffix(".part.json")


class _Chunk(NamedTuple):
    """Candidates that one job looks at: places of their comparison in the plan and of what was found of it, their numbers
    there, and the file that the looks are kept in."""

    comparison: int
    found: int
    candidates: list[int]
    path: Path


@dataclass(frozen=True)
class Lookings:
    """What looking again gave; each comparison's own is put together when it is asked for.

    Parameters
    ----------
    found
        What the tiles of each comparison found, and the looks that were taken there.
    places
        By number of the comparison: its place in `found`; -1 where it was not fitted.
    chunks
        By number of the comparison: candidates that were looked at afterwards.
    not_looked
        Files of those chunks that could not be looked at, or not as a whole.
    failures
        Why not.
    """

    found: Shelf[tuple[Found, list[Looked]]]
    places: Sequence[int]
    chunks: Mapping[int, Sequence[_Chunk]]
    not_looked: Set[Path]
    failures: list[TaskResult]

    def paths(self, number: int) -> list[Path]:
        """Return the files in which later looks at the candidates of a comparison are kept."""
        return [chunk.path for chunk in self.chunks.get(number, ())]

    def of(self, number: int) -> tuple[Found, list[Looked]]:
        """Return what was found of a comparison, and a look at each of its candidates.

        Raises
        ------
        StorageError
            ``KEPT_LOST`` where looks that were taken are not there any more.
        """
        found, early = self.found[self.places[number]]
        looks = list(early)
        for chunk in self.chunks.get(number, ()):
            path = _in_part(chunk.path) if chunk.path in self.not_looked else chunk.path
            if path == chunk.path or path.exists():
                for i, look in zip(chunk.candidates, _kept_looks(path), strict=True):
                    looks[i] = look
        return found, looks


def looks_all(
    engine: Engine, plan: Plan, tasks: TasksOf, fits: KeptFits, report: Progress, accounts: Accounts
) -> Lookings:
    """Look at all candidates again; one that cannot be looked at stays, at the lowest stage, and the failure is told."""
    found: Shelf[tuple[Found, list[Looked]]] = Shelf()
    places = array("q")
    chunks: dict[int, list[_Chunk]] = {}
    todo: list[_Chunk] = []
    for number, comparison in enumerate(plan.comparisons):
        places.append(len(found) if number in fits else -1)
        if number not in fits:
            continue
        tiles = [TileResult.load(task.path) for task in done_tasks(tasks[number])]
        own = found_in(comparison, tiles)
        # Candidates that lay in a tile whole were looked at there, while its blocks were at hand.
        known = {patch: look for tile in tiles for patch, look in tile.looks.items()}
        names = [patch_key(patch) for patch in own.patches]
        found.append((own, [known.get(name, NOT_LOOKED) for name in names]))
        order = [i for i in look_order(own.patches) if names[i] not in known]
        for chosen in (order[i : i + CHUNK] for i in range(0, len(order), CHUNK)):
            runs = b"".join(own.patches[i].runs.tobytes() for i in chosen)
            name = f"look.{hashlib.sha256(comparison.key.encode() + runs).hexdigest()[:20]}.json"
            chunk = _Chunk(number, places[number], chosen, fit_path(plan, comparison).with_name(name))
            chunks.setdefault(number, []).append(chunk)
            kept = chunk.path.exists()
            accounts.expect("look", comparison.area.area_id, kept=kept)
            if not kept:
                todo.append(chunk)
    copies = sound_copies(plan, View(plan.comparisons, [chunk.comparison for chunk in todo]))

    def jobs() -> Iterator[Job]:
        for chunk in todo:
            c, own = plan.comparisons[chunk.comparison], found[chunk.found][0]
            patches = [own.patches[i] for i in chunk.candidates]
            arguments = with_copies(c, copies), fits[chunk.comparison], patches, chunk.path, engine.reading
            yield Job((c.area.area_id, f"look {c.pipeline.name}", chunk.path), _do_look, arguments)

    failures: list[TaskResult] = []
    not_looked: set[Path] = set()
    for done, ((area_id, what, path), error) in enumerate(engine.each(jobs()), 1):
        report(area_id, "look", done, len(todo))
        status = accounts.ended("look", area_id, what, error)
        if error is not None:
            not_looked.add(path)
            failures.append(TaskResult(area_id, what, status, error))
    return Lookings(found, places, chunks, not_looked, in_order(failures))


def _kept_looks(path: Path) -> list[Looked]:
    try:
        return looks_of(path.read_text("utf-8"))
    except OSError as error:
        raise lost_error(path, error) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged_error(path, error) from error


def done_tasks(tasks: Iterable[PlannedTask]) -> list[PlannedTask]:
    """Return the tasks whose result is there."""
    return [task for task in tasks if task.path.exists()]
