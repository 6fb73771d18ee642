"""Compiled loops of `patches`: runs, and which of them connect; arguments are checked by the callers."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

Array = np.ndarray[Any, Any]


@nb.njit(nogil=True, cache=True)
def root_of(parent: Array, i: int) -> int:
    """Return the first member of the group of `i`; the way to it is halved."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@nb.njit(nogil=True, cache=True)
def join_runs(parent: Array, i: int, j: int) -> None:
    """Make one group of those of `i` and `j`."""
    a, b = root_of(parent, i), root_of(parent, j)
    # The smaller index wins, so that the outcome does not depend on the order of joining.
    if a < b:
        parent[b] = a
    elif b < a:
        parent[a] = b


@nb.njit(nogil=True, cache=True)
def label_runs(runs: Array, parent: Array, corner: int) -> None:
    """Fill `parent` (int64) with the first run of each group: 8-connected with a `corner` of 1, 4-connected with 0.

    `runs` (row, first col, last col + 1) are sorted by row and column; runs that meet in one row, cut by a block edge, are
    joined as well.
    """
    n = runs.shape[0]
    for i in range(n):
        parent[i] = i
    above_start, above_end, start = 0, 0, 0
    while start < n:
        end = start
        while end < n and runs[end, 0] == runs[start, 0]:
            end += 1
        for j in range(start + 1, end):
            if runs[j - 1, 2] == runs[j, 1]:
                join_runs(parent, j - 1, j)
        if above_end > above_start and runs[above_start, 0] == runs[start, 0] - 1:
            i, j = above_start, start
            while i < above_end and j < end:
                # Where corners count, last + 1 of one may equal first of the other.
                if runs[i, 2] + corner > runs[j, 1] and runs[j, 2] + corner > runs[i, 1]:
                    join_runs(parent, i, j)
                if runs[i, 2] < runs[j, 2]:
                    i += 1
                else:
                    j += 1
        above_start, above_end, start = start, end, end
    for i in range(n):
        parent[i] = root_of(parent, i)


@nb.njit(nogil=True, cache=True)
def number_groups(parent: Array, group: Array) -> int:
    """Fill `group` (int64) with 0, 1, 2 … by the group of each run, in order of first appearance; return their number."""
    count = 0
    for i in range(parent.shape[0]):
        if parent[i] == i:
            group[i] = count
            count += 1
        else:
            group[i] = group[parent[i]]
    return count


@nb.njit(nogil=True, cache=True)
def total_groups(runs: Array, sums: Array, group: Array, totals: Array, pixels: Array, lengths: Array) -> None:
    """Add up sums (the third is a maximum), pixels and numbers of runs by group; all of them are 0 before."""
    for i in range(runs.shape[0]):
        g = group[i]
        lengths[g] += 1
        pixels[g] += runs[i, 2] - runs[i, 1]
        for k in range(sums.shape[1]):
            if k == 2:
                totals[g, k] = max(totals[g, k], sums[i, k])
            else:
                totals[g, k] += sums[i, k]


@nb.njit(nogil=True, cache=True)
def sort_by_group(runs: Array, group: Array, place: Array, out: Array) -> None:
    """Fill `out` with the runs of the groups whose `place` (next free row, int64) is not negative, group by group."""
    for i in range(runs.shape[0]):
        g = group[i]
        if place[g] >= 0:
            for k in range(out.shape[1]):
                out[place[g], k] = runs[i, k]
            place[g] += 1


@nb.njit(nogil=True, cache=True)
def draw_runs(runs: Array, row0: int, col0: int, image: Array) -> None:
    """Set the pixels of `runs` (row, first col, last col + 1) to 1 in `image`, whose corner is (row0, col0)."""
    for i in range(runs.shape[0]):
        for x in range(runs[i, 1], runs[i, 2]):
            image[runs[i, 0] - row0, x - col0] = 1
