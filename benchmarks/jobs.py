"""What `scale.py` gives to workers: real tiles, and tasks that do nothing but carry what a real one carries."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, NamedTuple

from reviews import How


class TileJob(NamedTuple):
    """One tile of a review with its fit, and how it is read."""

    task: Any
    fit: Any
    path: Path
    reading: Any


def tile_jobs(review: Path, how: How) -> list[TileJob]:
    """Plan a review, fit its comparisons here and return its tiles."""
    from ecowatch.raster import Reading  # noqa: PLC0415 - workers import this module for `tile` alone
    from ecowatch.review import make_plan  # noqa: PLC0415
    from ecowatch.review.fit import fit_comparison  # noqa: PLC0415
    from ecowatch.review.plan import planned_tasks  # noqa: PLC0415
    from ecowatch.settings import Review, load  # noqa: PLC0415

    plan = make_plan(load(Review, review))
    cluster = how.cluster()
    reading = Reading(cluster.reader == "fast", cluster.cache_bytes)
    fits = {comparison.key: fit_comparison(comparison, reading) for comparison in plan.comparisons}
    planned = planned_tasks(plan, cluster)
    jobs = [TileJob(item.task, fits[item.comparison_key], item.path, reading) for item in planned]
    # Each has its own boundary, as the engine gives it: two threads that ask one outline for the first time end the program.
    return [pickle.loads(pickle.dumps(job)) for job in jobs]


def tile(job: TileJob) -> None:
    """Compute one tile; its result is thrown away, so that every round does the same."""
    from ecowatch.review.tile import process  # noqa: PLC0415

    process(job.task, job.fit, job.reading)


def nothing(job: TileJob) -> None:
    """Do nothing with all that a tile is told."""
    assert job.path
