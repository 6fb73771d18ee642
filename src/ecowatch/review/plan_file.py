"""The plan as a file, one JSON line per tile; written as it is made, so that a nation needs no more memory than a county."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..atomic import replacing
from ..digests import MEMORY_NAME, remembered
from ..raster import copy_path
from ..scenes import Quarantined
from ..settings import Cluster, Rates, Review
from .cost import Expectation, slow_files
from .inputs import Unpaired, pairs_of, read_inputs, run_digest
from .pair import Comparison
from .plan import PlannedTask, tasks_of


@dataclass(frozen=True)
class PlanSummary:
    """What a plan comes to.

    Parameters
    ----------
    run_id
        Of the run it foretells.
    lines
        Tiles in the file.
    areas, comparisons
        Their numbers.
    scenes_found
        Scenes that can be trusted.
    quarantined
        Those that cannot.
    unpaired
        Area, code and finding of what cannot be compared.
    expected
        Tasks, megabytes and hours.
    """

    run_id: str
    lines: int
    areas: int
    comparisons: int
    scenes_found: int
    quarantined: tuple[Quarantined, ...]
    unpaired: tuple[tuple[str, str, str], ...]
    expected: Expectation


def plan_to_file(
    review: Review, cluster: Cluster, path: Path, *, workers: Sequence[int] = (1,), rates: Rates | None = None
) -> PlanSummary:
    """Plan a review area by area and write a line per tile; no comparison is held longer than its lines take.

    What stays in memory is what was read (boundaries, scenes) and a digest per comparison.

    Parameters
    ----------
    review, cluster
        What and where.
    path
        The file, replaced as a whole.
    workers
        Numbers of workers for which the hours are asked.
    rates
        Measured; those of `Rates` without them.

    Raises
    ------
    EcowatchError
        As `make_plan`; then nothing is written.
    """
    expected = Expectation(workers, rates or Rates())
    keys: list[str] = []
    unpaired: list[tuple[str, str, str]] = []
    lines = 0
    with (
        remembered(review.runs / MEMORY_NAME if review.trust_mtime else None),
        tempfile.TemporaryFile("w+", encoding="utf-8") as spool,
    ):
        inputs = read_inputs(review)
        for found in pairs_of(inputs):
            if isinstance(found, Unpaired):
                unpaired.append((found.area.area_id, found.code, found.finding))
                continue
            keys.append(found.key)
            tasks = list(tasks_of(review, found, cluster, expected.rates))
            expected.add_comparison(_copies(review, found, tasks, expected.rates))
            for item in tasks:
                spool.write(_line(item) + "\n")
                expected.add(item)
            lines += len(tasks)
        run_id = run_digest(inputs, keys, [(area, code) for area, code, _ in unpaired])
        spool.seek(0)
        _write(path, run_id, spool)
    counts = (lines, len(inputs.areas), len(keys), inputs.scenes_found)
    return PlanSummary(run_id, *counts, inputs.quarantined, tuple(unpaired), expected)


def _copies(review: Review, comparison: Comparison, tasks: Sequence[PlannedTask], rates: Rates) -> dict[str, float]:
    """Seconds by digest of the files in JPEG 2000 that are to be copied first; with 'auto' that is the most it can be."""
    if review.cache.jpeg2000 == "never" or all(task.status == "skip" for task in tasks):
        return {}
    slow = slow_files(comparison, rates)
    return {digest: seconds for digest, seconds in slow.items() if not copy_path(review.cache_folder, digest).exists()}


def _write(path: Path, run_id: str, lines: Iterable[str]) -> None:
    # The identity of the run is known only once all pairs are.
    head = f'{{"run_id": {json.dumps(run_id)}, '
    with replacing(path) as beside, beside.open("w", encoding="utf-8", newline="\n") as stream:
        for line in lines:
            stream.write(head + line[1:])


def _line(item: PlannedTask) -> str:
    task = item.task
    told = {
        "area_id": item.area_id,
        "pipeline": item.pipeline,
        "tile": list(item.tile),
        "key": task.key,
        "comparison": item.comparison_key,
        "status": item.status,
        **_dates(task.comparison),
        "blocks": item.blocks,
        "megabytes": round(item.megabytes, 1),
        "seconds": round(item.seconds, 2),
        "fit_seconds": round(item.fit_seconds, 2),
    }
    return json.dumps(told, ensure_ascii=False)


def _dates(c: Comparison) -> dict[str, Any]:
    return {
        "before_date": c.before.day.isoformat(),
        "after_date": c.after.day.isoformat(),
        "before_scenes": c.before.scene_ids,
        "after_scenes": c.after.scene_ids,
        "why": c.why,
    }
