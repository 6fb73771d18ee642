"""What a review is expected to cost: seconds per task from measured rates, hours from the schedule of all tasks."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from ..grid import BLOCK_PX
from ..raster import SLOW_DRIVERS, Layer
from ..settings import Pipeline, Rates
from .pair import Comparison

STAGES = ("copy", "fit", "tile")
"""Stages of a run that need workers; each waits for the one before it."""

_BLOCK_PX2 = BLOCK_PX**2
_BYTES = {"uint8": 1, "int8": 1, "uint16": 2, "int16": 2}
_FULL_BLOCK = 16.0


class Work(NamedTuple):
    """What one block of a comparison takes: raw megabytes read, and seconds to decode them."""

    megabytes: float
    decode_s: float


def slow_files(comparison: Comparison, rates: Rates) -> dict[str, float]:
    """Return the files in JPEG 2000 that a comparison reads, by digest, and the seconds to copy each into plain GeoTIFF."""
    groups = [
        g for part in (comparison, *comparison.parts) for g in (part.before, part.after, *part.earlier, *part.others)
    ]
    scenes = [scene for group in groups for scene in group.scenes]
    layers = [band.layer for scene in scenes for band in scene.bands]
    layers += [scene.quality.layer for scene in scenes if scene.quality is not None]
    return {
        layer.digest: math.prod(layer.grid.shape) * _BYTES.get(layer.dtype, 4) / 1e6 / rates.jpeg2000_mb_s
        for layer in layers
        if layer.driver in SLOW_DRIVERS
    }


def block_work(comparison: Comparison, rates: Rates, *, copied: bool = False) -> Work:
    """Return what is read for one block of 512 × 512 pixels: the bands of both dates, of every part of a joined comparison.

    Parameters
    ----------
    comparison
        Tells bands and grids; of the scenes of a date the first speaks for all.
    rates
        Megabytes per second, by driver.
    copied
        Whether files in JPEG 2000 are read from their copies.
    """
    megabytes, seconds = 0.0, 0.0
    for part in comparison.parts or (comparison,):
        for group in (part.before, part.after):
            pixel_m = part.grid.pixel_m
            for role in part.roles:
                layer = group.scenes[0].band(role).layer
                size = _block_mb(layer, pixel_m)
                megabytes += size
                seconds += size / (
                    rates.jpeg2000_mb_s if layer.driver in SLOW_DRIVERS and not copied else rates.decode_mb_s
                )
    return Work(megabytes, seconds)


def _block_mb(layer: Layer, pixel_m: float) -> float:
    """Raw megabytes of one layer under one block of the grid; of a finer one no more than 16 times the block."""
    coarser = (pixel_m / layer.grid.pixel_m) ** 2
    return _BLOCK_PX2 * min(coarser, _FULL_BLOCK) * _BYTES.get(layer.dtype, 4) / 1e6


def fit_seconds(comparison: Comparison, blocks: int, work: Work, rates: Rates) -> float:
    """Return the expected seconds of a fit; it reads at most as many blocks and windows as the pipeline allows.

    Parameters
    ----------
    comparison
        Its pipeline limits windows, blocks and pixels of the fit.
    blocks
        Blocks that touch the area.
    work
        Of one block; JPEG 2000 counts by what it takes longer than the GeoTIFF at which `Rates.window_s` was measured.
    rates
        Measured.
    """
    parts = comparison.parts or (comparison,)
    read = min(blocks, comparison.pipeline.detect.max_blocks)
    slower = max(work.decode_s - work.megabytes / rates.decode_mb_s, 0.0) * read
    # In the units of the grid, which are never degrees.
    area_px = comparison.area.geometry.area / math.prod(comparison.grid.pixel_size)
    return slower + sum(_part_seconds(part.pipeline, read, area_px, rates) for part in parts)


def _part_seconds(pipeline: Pipeline, blocks: int, area_px: float, rates: Rates) -> float:
    windows = min(pipeline.align.max_windows, blocks * (BLOCK_PX // pipeline.align.window_px) ** 2)
    sample_px = min(pipeline.detect.sample_px, area_px)
    return rates.fit_s + windows * rates.window_s + sample_px / 1000 * rates.sample_s


def tile_seconds(comparison: Comparison, blocks: int, work: Work, rates: Rates, *, decoded: bool = False) -> float:
    """Return the expected seconds of a tile that touches its area in `blocks` blocks, second looks included.

    Where its blocks were `decoded` by the fit just before, these seconds are those of the fit.
    """
    parts, decode_s = len(comparison.parts or (comparison,)), 0.0 if decoded else work.decode_s
    return rates.tile_s + blocks * (decode_s + parts * rates.block_s + rates.looks_per_block * rates.look_s)


class Schedule:
    """Tasks handed out one after another to the worker that is free first; a stage begins when the one before it ended.

    That is what `stages` does, so a task that is long, or comes last, is counted as the wait that it is: the hours of n
    workers are not the sum over n. It holds one number per worker and stage, however many tasks there are.

    Parameters
    ----------
    workers
        At least 1.

    Source
    ------
    Graham, R. L. (1969): Bounds on multiprocessing timing anomalies. SIAM J. Appl. Math. 17 (list scheduling); at most
    twice the shortest schedule.
    """

    def __init__(self, workers: int) -> None:
        self.workers = max(workers, 1)
        self._free_s = {stage: [0.0] * self.workers for stage in STAGES}
        self.work_s = 0.0
        self.alone_s = 0.0

    def add(self, stage: str, seconds: float) -> None:
        """Hand out one task of a stage."""
        free = self._free_s[stage]
        heapq.heapreplace(free, free[0] + seconds)
        self.work_s += seconds

    def add_alone(self, seconds: float) -> None:
        """Add what the main process does while no worker works."""
        self.alone_s += seconds

    @property
    def seconds(self) -> float:
        """Seconds from start to end."""
        return self.alone_s + sum(max(free) for free in self._free_s.values())

    @property
    def busy_share(self) -> float:
        """Share of the workers' time in which they work, 0–1."""
        return self.work_s / (self.seconds * self.workers) if self.work_s else 0.0


class Costed(Protocol):
    """What the expectation needs to know of a planned task."""

    @property
    def status(self) -> str: ...
    @property
    def megabytes(self) -> float: ...
    @property
    def seconds(self) -> float: ...
    @property
    def fit_seconds(self) -> float: ...


class Expectation:
    """Tasks, megabytes and hours of a plan, added up task by task in flat memory.

    Parameters
    ----------
    workers
        Numbers of workers for which the hours are asked.
    rates
        Measured.
    """

    def __init__(self, workers: Iterable[int], rates: Rates) -> None:
        self.rates = rates
        self.schedules = {n: Schedule(n) for n in workers}
        self.counts = dict.fromkeys(("new", "skip", "recompute"), 0)
        self.fits = 0
        self.copied: set[str] = set()
        self.megabytes = 0.0
        for schedule in self.schedules.values():
            schedule.add_alone(rates.start_s)

    def add(self, item: Costed) -> None:
        """Add one tile, and with the first of a comparison its fit."""
        self.counts[item.status] += 1
        self.fits += item.fit_seconds > 0
        todo = {"fit": item.fit_seconds} if item.fit_seconds > 0 else {}
        if item.status != "skip":
            self.megabytes += item.megabytes
            todo["tile"] = item.seconds
        self._hand_out(todo.items())

    def add_comparison(self, copies: Mapping[str, float]) -> None:
        """Add what the main process does for one comparison, and the files to copy for it (seconds by digest), each once."""
        new = {digest: seconds for digest, seconds in copies.items() if digest not in self.copied}
        self.copied |= new.keys()
        self._hand_out(("copy", seconds) for seconds in new.values())
        for schedule in self.schedules.values():
            schedule.add_alone(self.rates.area_s)

    def _hand_out(self, tasks: Iterable[tuple[str, float]]) -> None:
        for stage, seconds in tasks:
            for schedule in self.schedules.values():
                schedule.add(stage, seconds)

    def hours(self) -> Mapping[int, float]:
        """Return the expected hours by number of workers."""
        return {n: schedule.seconds / 3600 for n, schedule in self.schedules.items()}
