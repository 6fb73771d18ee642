"""Candidates: connected flags with enough strong pixels, of blocks, of tiles, of an area."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..detect import BlockResult
from ..grid import Window
from ..patches import PixelPatch, connected, patches_from_runs
from .pair import Comparison
from .pixels import feature_radiometry

Array = np.ndarray[Any, Any]


def pixel_patches(comparison: Comparison, blocks: Sequence[BlockResult]) -> list[PixelPatch]:
    """Return the candidates of some blocks: flagged runs, joined, in a fixed order.

    Parameters
    ----------
    comparison
        Tells the smallest patch and how many strong pixels it needs.
    blocks
        Results in any order; a candidate that reaches beyond them is cut.
    """
    joined = joined_blocks(blocks, len(feature_radiometry(comparison, comparison.before)[0]))
    return patches_from_runs(joined.runs, joined.sums, **_least(comparison)._asdict())


class _Least(NamedTuple):
    """Pixels, strong ones and all, below which connected flags are noise."""

    min_strong_px: int
    min_px: int


def _least(comparison: Comparison) -> _Least:
    pipeline, pixel_m2 = comparison.pipeline, comparison.grid.pixel_m**2
    smallest = min(pipeline.patches.min_area_m2.model_dump().values())
    strong_px = math.ceil(pipeline.detect.min_strong_m2 / pixel_m2)
    # A pixel fewer than the smallest area: the final decision is taken on the outline, by activity.
    return _Least(max(pipeline.detect.min_strong_px, strong_px), max(1, math.floor(smallest / pixel_m2) - 1))


def without_noise(comparison: Comparison, whole: BlockResult, first_col: int) -> BlockResult:
    """Return the runs of groups that are candidates, or that may be part of one which reaches in from the left.

    Parameters
    ----------
    comparison
        Tells the smallest patch and how many strong pixels it needs.
    whole
        Sorted runs of groups to which nothing can be added at any other side.
    first_col
        The column where the tile begins.
    """
    runs, least = whole.runs, _least(comparison)
    group = connected(runs)
    strong_px = np.bincount(group, whole.sums[:, 0])
    pixels = np.bincount(group, runs[:, 2] - runs[:, 1])
    wanted = (strong_px >= least.min_strong_px) & (pixels >= least.min_px)
    wanted[group[runs[:, 1] == first_col]] = True
    own = wanted[group]
    return BlockResult(runs[own], whole.sums[own], whole.unseen)


def joined_blocks(blocks: Sequence[BlockResult], bands: int) -> BlockResult:
    """Return the runs of several blocks as one result."""
    runs = [np.empty((0, 3), np.int32), *(b.runs for b in blocks)]
    sums = [np.empty((0, 3 + 2 * bands), np.int64), *(b.sums for b in blocks)]
    unseen = [np.empty((0, 4), np.int32), *(b.unseen for b in blocks)]
    return BlockResult(np.concatenate(runs), np.concatenate(sums), np.concatenate(unseen))


def whole_and_open(found: BlockResult, tile: Window, grid: Window, done_row: int) -> tuple[BlockResult, BlockResult]:
    """Part the runs of a tile that is done down to a row: groups to which nothing can be added any more, and the others.

    Parameters
    ----------
    found
        Runs of the tile that were not parted off before.
    tile
        The tile; beyond its edges lie flags that only the whole area knows.
    grid
        Window of the whole grid: nothing lies beyond its edges.
    done_row
        One past the last row that was processed.
    """
    order = np.lexsort((found.runs[:, 1], found.runs[:, 0]))
    runs, sums = found.runs[order], found.sums[order]
    last = done_row if done_row < grid.row1 else done_row + 1
    touching = (runs[:, 0] >= last - 1) | _at_edge(runs, tile, grid)
    group = connected(runs)
    is_open = np.zeros(len(runs), bool)
    is_open[group[touching]] = True
    still = is_open[group]
    none = found.unseen[:0]
    return BlockResult(runs[~still], sums[~still], none), BlockResult(runs[still], sums[still], none)


def groups_with(found: BlockResult, some: Array) -> BlockResult:
    """Return the groups of runs that hold one of `some` (bool, one per run); the runs are sorted and stay so."""
    group = connected(found.runs)
    own = np.isin(group, group[some])
    return BlockResult(found.runs[own], found.sums[own], found.unseen[:0])


def group_windows(runs: Array) -> list[Window]:
    """Return the smallest window of each group of sorted runs."""
    group = connected(runs)
    order = np.argsort(group, kind="stable")
    parts = np.split(runs[order], np.flatnonzero(np.diff(group[order])) + 1) if len(runs) else []
    return [Window(int(p[0, 0]), int(p[:, 1].min()), int(p[-1, 0]) + 1, int(p[:, 2].max())) for p in parts]


def _at_edge(runs: Array, tile: Window, grid: Window) -> Array:
    result: Array = (
        ((runs[:, 0] == tile.row0) & (tile.row0 > grid.row0))
        | ((runs[:, 1] == tile.col0) & (tile.col0 > grid.col0))
        | ((runs[:, 2] == tile.col1) & (tile.col1 < grid.col1))
    )
    return result


def patch_key(patch: PixelPatch) -> str:
    """Return a name for the pixels of a candidate, the same wherever it was found."""
    return hashlib.sha256(np.ascontiguousarray(patch.runs, np.int32).tobytes()).hexdigest()[:20]
