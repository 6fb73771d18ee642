"""A review in parts: one shard of a plan, and the merge of all that shards left behind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..errors import ExitCode
from ..settings import Cluster, Review
from .accounts import STAGES, Accounts
from .engine import Engine, started
from .kept import KeptFits, drop_damaged, fit_path, seal_path
from .lock import review_lock
from .plan import Plan, PlannedTask, by_place, make_plan, planned_tasks, work_folder
from .run import Product, RunResult, run_plan
from .shard import PlanFile, Shard, ShardBook, absent_because, read_plan
from .shelf import View
from .stages import Progress, TaskResult, fit_all, in_order, measured


@dataclass(frozen=True)
class ShardResult:
    """What became of one shard: its tiles, those of them that were done before, what failed, its tasks by stage."""

    plan: Plan
    shard: Shard
    tiles: int
    skipped: int
    failures: tuple[TaskResult, ...]
    tasks: Mapping[str, Mapping[str, int]]

    @property
    def exit_code(self) -> ExitCode:
        """PARTIAL where a task of this shard failed; quarantined scenes are the whole review's, and told by the merge."""
        return ExitCode.PARTIAL if self.failures else ExitCode.DONE


def run_shard(
    review: Review, cluster: Cluster, path: Path, shard: Shard, *, progress: Progress | None = None
) -> ShardResult:
    """Process the tiles of one part of a plan, and the fits that they need; publish nothing.

    Parameters
    ----------
    review, cluster
        The same as those the plan was made from.
    path
        Plan file.
    shard
        Which part.
    progress
        Told of every finished task.

    Raises
    ------
    LockedError
        ``REVIEW_LOCKED``: a run, a merge, or this very shard is under way.
    EcowatchError
        Where the plan cannot be read (``PLAN_MISSING``, ``PLAN_INVALID``, ``PLAN_EMPTY``), is not of these settings
        (``PLAN_STALE``), or the review cannot begin.
    """
    file = read_plan(path)
    book = ShardBook.of_plan(review, file)
    # Its own lock too: the same shard twice at once would write the same accounts.
    with review_lock(work_folder(review).parent, shared=True), review_lock(book.place(shard)):
        plan = make_plan(review)
        file.check_run(plan)
        tasks = planned_tasks(plan, cluster)
        file.check_tiles(tasks)
        keys = {line.key for line in file.shares(shard.of)[shard.number]}
        own = by_place(View(tasks, [place for place, item in enumerate(tasks) if item.task.key in keys]))
        return _carry_out(plan, book, shard, own, cluster, progress or (lambda *_: None))


def _carry_out(
    plan: Plan, book: ShardBook, shard: Shard, own: Sequence[PlannedTask], cluster: Cluster, report: Progress
) -> ShardResult:
    review = plan.review
    numbers = sorted({item.number for item in own})
    part, place = _only(plan, numbers), {number: place for place, number in enumerate(numbers)}
    own = View(own, through=lambda item: item._replace(comparisons=part.comparisons, number=place[item.number]))
    accounts = Accounts(book.place(shard), review.name, review.period, review.only, plan.run_id)
    with accounts.kept():
        accounts.begin()
        book.write(shard, None)
        for comparison in part.comparisons:
            if damaged := drop_damaged(seal_path(plan, comparison)):
                report(comparison.area.area_id, "damaged", len(damaged), len(damaged))
        done = sum(item.path.exists() for item in own)
        failures: list[TaskResult] = []
        if done < len(own) or not all(fit_path(plan, c).exists() for c in part.comparisons):
            with started(cluster) as engine:
                _, failures = measured(engine, part, own, report, accounts)
        else:
            _expect(accounts, part, own)
        for stage in STAGES:
            accounts.settle(stage)
        book.write(shard, _errors(own, failures))
        result = ShardResult(plan, shard, len(own), done, tuple(failures), accounts.totals())
        accounts.close([vars(f) for f in failures], int(result.exit_code))
    return result


def merge_review(
    review: Review,
    cluster: Cluster,
    path: Path,
    *,
    progress: Progress | None = None,
    products: Iterable[Product] = (),
) -> RunResult:
    """Make the products of a review whose tiles were processed in shards.

    A tile that is not there is a failed one: it counts as not observed, its shard is named, and the exit code is PARTIAL.
    Run that shard, merge again: what was missing comes in.

    Parameters
    ----------
    review, cluster
        The same as those the plan was made from.
    path
        Plan file.
    progress
        Told of every finished task.
    products
        Writers of further files.

    Raises
    ------
    EcowatchError
        As `run_shard` and `run_review` do.
    """
    file = read_plan(path)

    def checked(tasks: Sequence[PlannedTask]) -> Sequence[PlannedTask]:
        file.check_tiles(tasks)
        return tasks

    with review_lock(work_folder(review).parent):
        plan = make_plan(review)
        file.check_run(plan)
        found = partial(_found, file, ShardBook.of_plan(review, file))
        return run_plan(plan, cluster, progress=progress, products=products, shuffle=checked, measure=found)


def _found(
    file: PlanFile,
    book: ShardBook,
    engine: Engine,
    plan: Plan,
    tasks: Sequence[PlannedTask],
    report: Progress,
    accounts: Accounts,
) -> tuple[KeptFits, list[TaskResult]]:
    """Return the fits that shards left, and a failure for every tile or fit that none did."""
    with_tiles = sorted({item.number for item in tasks})
    # An area that touches no block has no tile, and so no shard: its fit is the merge's own.
    lone = _only(plan, sorted({*range(len(plan.comparisons))} - {*with_tiles}))
    _, _, failures = fit_all(engine, lone, (), report, accounts)
    fits = KeptFits(plan)
    _expect(accounts, _only(plan, with_tiles), tasks)
    accounts.join(book.accounts())
    absent = [t for t in tasks if not t.path.exists() or t.number not in fits]
    reasons = absent_because(file, book, [t.task.key for t in absent])
    unfitted: dict[tuple[str, str], list[str]] = defaultdict(list)
    for item in absent:
        reason = reasons[item.task.key]
        if item.number in fits:
            failures.append(_failed(accounts, "tile", item.area_id, item.name, reason))
        else:
            unfitted[item.area_id, f"fit {item.pipeline}"].append(reason)
    failures += [_failed(accounts, "fit", *name, min(why)) for name, why in unfitted.items()]
    return fits, in_order(failures)


def _expect(accounts: Accounts, plan: Plan, tasks: Iterable[PlannedTask]) -> None:
    """Enter the fits of a plan and the tiles of `tasks`, and which of them are there."""
    for comparison in plan.comparisons:
        accounts.expect("fit", comparison.area.area_id, kept=fit_path(plan, comparison).exists())
    for item in tasks:
        accounts.expect("tile", item.area_id, kept=item.path.exists())


def _only(plan: Plan, numbers: Sequence[int]) -> Plan:
    """Return a plan with some of its comparisons."""
    return replace(plan, comparisons=View(plan.comparisons, numbers))


def _failed(accounts: Accounts, stage: str, area_id: str, what: str, error: str) -> TaskResult:
    return TaskResult(area_id, what, accounts.ended(stage, area_id, what, error), error)


def _errors(own: Sequence[PlannedTask], failures: Sequence[TaskResult]) -> dict[str, str]:
    """Return the error of each tile that is not there, by key; where its fit failed, that error."""
    told = {(f.area_id, f.what): str(f.error) for f in failures}
    found = {}
    for item in own:
        names = (item.name, f"fit {item.pipeline}")
        if not item.path.exists():
            found[item.task.key] = next(
                (told[item.area_id, n] for n in names if (item.area_id, n) in told), "it is gone"
            )
    return found
