"""What goes into a method that looks at surroundings, and what comes out of any method: run-lengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ._kernels import count_runs, flagged_runs, unseen_runs

Array = np.ndarray[Any, Any]


class PairBlock(NamedTuple):
    """Two dates over one window.

    Parameters
    ----------
    before, after
        float32, ``(band, row, col)``: reflectance or brightness 0–1 for optical images, decibel for radar; any finite
        number where not valid.
    valid
        Bool, ``(row, col)``: usable in both dates.
    """

    before: Array
    after: Array
    valid: Array


@dataclass(frozen=True)
class BlockResult:
    """What one block leaves behind: run-lengths and exact sums, no raster.

    Parameters
    ----------
    runs
        int32 ``(n, 3)``: row, first column, last column + 1 of flagged pixels, on the area's grid.
    sums
        int64 ``(n, 3 + 2·bands)``: strong pixels, Σ and max of 100·√score, Σ before and Σ after per band.
    unseen
        int32 ``(m, 4)``: row, first column, last column + 1, state (MASKED or NO_DATA).
    """

    runs: Array
    sums: Array
    unseen: Array


def block_runs(score: Array, state: Array, before: Array, after: Array, *, row0: int, col0: int) -> BlockResult:
    """Return flagged and unseen runs of a block whose state is decided.

    Parameters
    ----------
    score
        float32, ``(row, col)``: sum of squared deviations.
    state
        uint8 of `State`.
    before, after
        Integer, ``(band, row, col)``, summed over each run.
    row0, col0
        Place of the block on the area's grid.
    """
    rows_with = np.empty(len(state), np.uint8)
    flagged, unseen = count_runs(state, rows_with)
    runs = np.empty((flagged, 3), np.int32)
    sums = np.zeros((flagged, 3 + 2 * before.shape[0]), np.int64)
    flagged_runs(state, score, before, after, rows_with, row0, col0, runs, sums)
    gaps = np.empty((unseen, 4), np.int32)
    unseen_runs(state, rows_with, row0, col0, gaps)
    return BlockResult(runs, sums, gaps)
