"""Compiled loops of `patches`: runs, and which of them connect; arguments are checked by the callers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiled_kernels import kernel

Array = np.ndarray[Any, Any]


@kernel
def root_of(parent: Array, i: int) -> int:
    """Return the first member of the group of `i`; the way to it is halved."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@kernel
def join_runs(parent: Array, i: int, j: int) -> None:
    """Make one group of those of `i` and `j`."""
    if parent[i] == parent[j]:
        return
    a, b = root_of(parent, i), root_of(parent, j)
    # The smaller index wins, so that the outcome does not depend on the order of joining.
    if a < b:
        parent[b] = a
    elif b < a:
        parent[a] = b


@kernel
def row_end(runs: Array, start: int) -> int:
    """Return one past the last run of the row of run `start`."""
    end = start
    while end < runs.shape[0] and runs[end, 0] == runs[start, 0]:
        end += 1
    return end


@kernel
def group_runs(runs: Array, corner: int, parent: Array, group: Array) -> int:
    """Fill `group` (int64) with 0, 1, 2 … by the group of each run, in order of first appearance; return their number.

    Runs are 8-connected with a `corner` of 1, 4-connected with 0. `runs` (row, first col, last col + 1) are sorted by row and
    column; runs that meet in one row, cut by a block edge, are joined as well. `parent` (int64) is scratch.
    """
    n = runs.shape[0]
    for i in range(n):
        parent[i] = i
    above = start = 0
    while start < n:
        end = row_end(runs, start)
        for j in range(start + 1, end):
            if runs[j - 1, 2] == runs[j, 1]:
                join_runs(parent, j - 1, j)
        if runs[above, 0] == runs[start, 0] - 1:
            i = above
            for j in range(start, end):
                # Where corners count, last + 1 of one may equal first of the other.
                begins, ends = runs[j, 1] - corner, runs[j, 2] + corner
                while i < start and runs[i, 2] <= begins:
                    i += 1
                k = i
                while k < start and runs[k, 1] < ends:
                    join_runs(parent, k, j)
                    k += 1
        above, start = start, end
    count = 0
    for i in range(n):
        if parent[i] == i:
            group[i] = count
            count += 1
        else:
            # What it leads to comes before it and has its number.
            group[i] = group[parent[i]]
    return count


@kernel
def total_groups(runs: Array, sums: Array, group: Array, totals: Array, pixels: Array, lengths: Array) -> None:
    """Add up sums (the third is a maximum), pixels and numbers of runs by group; all of them are 0 before."""
    for i in range(runs.shape[0]):
        g = group[i]
        lengths[g] += 1
        pixels[g] += runs[i, 2] - runs[i, 1]
        total, own = totals[g], sums[i]
        most = max(total[2], own[2])
        for k in range(own.shape[0]):
            total[k] += own[k]
        total[2] = most


@kernel
def sort_by_group(runs: Array, group: Array, place: Array, out: Array) -> None:
    """Fill `out` with the runs of the groups whose `place` (next free row, int64) is not negative, group by group."""
    for i in range(runs.shape[0]):
        n = place[group[i]]
        if n >= 0:
            out[n, 0], out[n, 1], out[n, 2] = runs[i, 0], runs[i, 1], runs[i, 2]
            place[group[i]] = n + 1


@kernel
def draw_runs(runs: Array, row0: int, col0: int, image: Array) -> None:
    """Set the pixels of `runs` (row, first col, last col + 1) to 1 in `image`, whose corner is (row0, col0)."""
    for i in range(runs.shape[0]):
        for x in range(runs[i, 1], runs[i, 2]):
            image[runs[i, 0] - row0, x - col0] = 1
