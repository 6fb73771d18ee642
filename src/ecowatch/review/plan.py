"""What a review will do: areas, scenes, comparisons, tiles, and what of it is already done."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..areas import prepared
from ..digests import MEMORY_NAME, remembered
from ..grid import BLOCK_PX, Window
from ..settings import Cluster, Rates, Review
from .cost import block_work, fit_seconds, tile_seconds
from .inputs import Subject, Unpaired, pairs_of, read_inputs, run_digest
from .pair import Comparison
from .shelf import Shelf, View
from .tile import Task, tile_width_px
from .windows import area_tiles, area_windows


@dataclass(frozen=True)
class Plan(Subject):
    """Everything a review will do, before any tile is read.

    Parameters
    ----------
    comparisons
        Pairs of dates to compare; of many, those that are not asked for lie in a file.
    unpaired
        Areas without a pair, by pipeline.
    scenes_found
        Number of scenes that can be trusted.
    """

    comparisons: Sequence[Comparison]
    unpaired: tuple[Unpaired, ...]
    scenes_found: int

    @cached_property
    def run_id(self) -> str:
        """Sixteen digits that stand for the inputs, the boundaries and the pipelines of the run."""
        return run_digest(self, [c.key for c in self.comparisons], [(u.area.area_id, u.code) for u in self.unpaired])

    @property
    def allowed(self) -> frozenset[str]:
        """Datums that may be taken as equal."""
        return frozenset(self.review.allow_datum)

    @property
    def run_folder(self) -> Path:
        """Where the products of this run lie."""
        return self.review.runs / self.review.name / self.run_id

    @property
    def work_folder(self) -> Path:
        """Where fits and tiles are kept from run to run."""
        return work_folder(self.review)


class PlannedTask(NamedTuple):
    """A task with what is known of it before it runs.

    Parameters
    ----------
    comparisons, number
        Those of the plan, and the place of its own among them.
    comparison_key, area_id, pipeline
        What the comparison is called.
    tile, rasters
        As in `Task`.
    work_folder, file
        Where its result is kept; `file` is the part that is its own.
    status
        ``new``, ``skip`` or ``recompute``.
    blocks, megabytes, seconds
        What it reads, and how long that is expected to take.
    fit_seconds
        Stands at the first task of a fit that is to be made.
    follows_fit
        Whether it is the only one of its area, and small: where a fit is to be made, a worker goes on with it at once and
        finds its blocks decoded.
    """

    comparisons: Sequence[Comparison]
    number: int
    comparison_key: str
    area_id: str
    pipeline: str
    tile: Window
    rasters: bool
    work_folder: Path
    file: str
    status: str
    blocks: int
    megabytes: float
    seconds: float
    fit_seconds: float = 0.0
    follows_fit: bool = False

    @property
    def task(self) -> Task:
        """What a worker is given."""
        return Task(self.comparisons[self.number], self.tile, self.rasters)

    @property
    def path(self) -> Path:
        """Where its result is kept."""
        return self.work_folder / self.file

    @property
    def name(self) -> str:
        """What a failure calls it, within its area."""
        return f"tile {'_'.join(map(str, self.tile))} {self.pipeline}"


def work_folder(review: Review) -> Path:
    """Return where fits and tiles of a review are kept from run to run."""
    return _work_folder(review.runs, review.name)


@lru_cache(maxsize=8)
def _work_folder(runs: Path, name: str) -> Path:
    # One for all tasks of a plan.
    return runs / name / "work"


def make_plan(review: Review) -> Plan:
    """Find areas and scenes, choose the pairs.

    Raises
    ------
    BoundaryError
        Where a boundary layer cannot be read, an area of `review.only` is unknown, or no scene overlaps any area.
    SceneError
        ``NO_SCENES`` where the folders hold none at all.
    ConfigError
        Where a path or a pipeline file is missing.
    """
    with remembered(review.runs / MEMORY_NAME if review.trust_mtime else None):
        inputs = read_inputs(review)
        comparisons: Shelf[Comparison] = Shelf()
        unpaired: list[Unpaired] = []
        for found in pairs_of(inputs):
            if isinstance(found, Comparison):
                # Known once and put away with it, not found anew whenever it is asked for.
                found.key  # noqa: B018
                comparisons.append(found)
            else:
                unpaired.append(found)
    return Plan(
        review,
        inputs.areas,
        inputs.neighbours,
        inputs.carriers,
        inputs.quarantined,
        comparisons,
        tuple(unpaired),
        inputs.scenes_found,
    )


def planned_tasks(plan: Plan, cluster: Cluster, rates: Rates | None = None) -> Shelf[PlannedTask]:
    """Cut every comparison into tiles and say of each whether it is new, done already, or to be done anew.

    Only tiles that touch their area are listed.
    """
    return Shelf(
        task._replace(comparisons=plan.comparisons, number=number)
        for number, comparison in enumerate(plan.comparisons)
        for task in tasks_of(plan.review, comparison, cluster, rates)
    )


class TasksOf:
    """The tasks of each comparison of a plan, at the comparison's number there, in the order of all tasks.

    Parameters
    ----------
    tasks
        All tasks of a plan.
    comparisons
        How many comparisons the plan has.
    """

    def __init__(self, tasks: Sequence[PlannedTask], comparisons: int) -> None:
        numbers = np.fromiter((task.number for task in tasks), np.int64, len(tasks))
        self._tasks, self._order = tasks, np.argsort(numbers, kind="stable")
        self._begins = np.searchsorted(numbers[self._order], np.arange(comparisons + 1))

    def __len__(self) -> int:
        return len(self._begins) - 1

    def __iter__(self) -> Iterator[View[PlannedTask]]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, number: int) -> View[PlannedTask]:
        place = range(len(self))[number]
        begin, end = self._begins[place : place + 2]
        return View(self._tasks, self._order[begin:end].tolist())


def tasks_of(
    review: Review, comparison: Comparison, cluster: Cluster, rates: Rates | None = None
) -> Iterator[PlannedTask]:
    """Yield the tasks of one comparison, row by row; the folder where its results are kept is looked at once.

    Parameters
    ----------
    review
        Tells where results are kept and whether rasters are.
    comparison
        What is cut into tiles.
    cluster
        Tells the side of a tile.
    rates
        For the expected seconds; those that were measured for ecowatch without them.
    """
    rates = rates or Rates()
    work, own = work_folder(review), _own_folder(comparison)
    folder = work / own
    kept = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    places = {name.split(".")[0] for name in kept if name.endswith(".npz")}
    width_px = tile_width_px(comparison, tile_px=cluster.tile_px, cache_bytes=cluster.cache_bytes)
    cut = area_tiles(comparison, cluster.tile_px, width_px)
    with prepared(comparison.area.geometry):
        tiles = [(tile, len(area_windows(comparison, tile))) for tile in cut]
    load = block_work(comparison, rates, copied=review.cache.jpeg2000 != "never")
    fit_s = fit_seconds(comparison, sum(blocks for _, blocks in tiles), load, rates)
    fit_s = 0.0 if _fit_name(comparison) in kept else fit_s
    tiles = [(tile, blocks) for tile, blocks in tiles if blocks]
    small = len(tiles) == 1 and tiles[0][1] * sum(comparison.block_bytes) <= cluster.cache_bytes
    for tile, blocks in tiles:
        rasters = review.output.rasters
        place = "_".join(map(str, tile))
        name = f"{place}.{Task(comparison, tile, rasters).key[:20]}.npz"
        status = "skip" if name in kept else "recompute" if place in places else "new"
        yield PlannedTask(
            comparisons=(comparison,),
            number=0,
            comparison_key=comparison.key,
            area_id=comparison.area.area_id,
            pipeline=comparison.pipeline.name,
            tile=tile,
            rasters=rasters,
            work_folder=work,
            file=f"{own}/{name}",
            status=status,
            blocks=blocks,
            megabytes=blocks * load.megabytes,
            seconds=tile_seconds(comparison, blocks, load, rates, decoded=small and fit_s > 0),
            fit_seconds=fit_s,
            follows_fit=small,
        )
        fit_s = 0.0


def by_place(tasks: Sequence[PlannedTask]) -> View[PlannedTask]:
    """Return tasks in an order in which areas that lie close together follow one another, in whatever order they are named.

    Small areas share blocks with their neighbours: who does one after the other decodes these blocks once. The tiles of an
    area keep their order.

    Parameters
    ----------
    tasks
        Those of one comparison follow one another.

    Source
    ------
    Morton, G. M. (1966): A computer oriented geodetic data base and a new technique in file sequencing.
    """
    known: dict[_Files, int] = {}
    files, blocks = array("q"), array("q")
    former, number = "", 0
    for task in tasks:
        if task.comparison_key != former:
            former = task.comparison_key
            own, block = _place(task.comparisons[task.number])
            number = known.setdefault(own, len(known))
        files.append(number)
        blocks.append(block)
    rank = {number: place for place, (_, number) in enumerate(sorted(known.items()))}
    return View(tasks, np.lexsort((blocks, [rank[number] for number in files])).tolist())


_Files = tuple[tuple[str, ...], str]
"""What an area is read from: digests of the scenes, and their CRS."""


def _place(comparison: Comparison) -> tuple[_Files, int]:
    """What an area is read from, and where its middle lies in it: the number of the lattice block on a Z-curve."""
    scenes = tuple(scene.digest for group in (comparison.before, comparison.after) for scene in group.scenes)
    left, bottom, right, top = comparison.area.geometry.bounds
    grid, (height, width) = comparison.grid, (BLOCK_PX * px for px in comparison.grid.pixel_size)
    # The area's grid begins whole blocks away from that of its scenes; counted from where nothing on Earth lies.
    down = (grid.transform.f % height - (bottom + top) / 2) // height
    along = ((left + right) / 2 - grid.transform.c % width) // width
    row, col = 2**24 + int(down), 2**24 + int(along)
    number = sum((row >> bit & 1) << 2 * bit + 1 | (col >> bit & 1) << 2 * bit for bit in range(26))
    return (scenes, grid.crs.srs), number


def _own_folder(comparison: Comparison) -> str:
    return f"{slug(comparison.area.area_id)}/{comparison.pipeline.name}"


def fit_file(comparison: Comparison) -> str:
    """Return where the fit of a comparison is kept, within the folder of the work."""
    return f"{_own_folder(comparison)}/{_fit_name(comparison)}"


def _fit_name(comparison: Comparison) -> str:
    return f"fit.{comparison.key[:20]}.json"


def slug(text: str) -> str:
    """Return a file name for an identity from outside: its plain characters and eight digits of its hash."""
    plain = re.sub(r"[^A-Za-z0-9-]+", "_", text)[:40]
    return f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
