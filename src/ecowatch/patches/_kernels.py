"""Compiled loops of `patches`: connected runs and ring tracing; arguments are checked by the callers."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

Array = np.ndarray[Any, Any]


@nb.njit(nogil=True, cache=True)
def _root(parent: Array, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@nb.njit(nogil=True, cache=True)
def _join(parent: Array, i: int, j: int) -> None:
    a, b = _root(parent, i), _root(parent, j)
    # The smaller index wins, so that the outcome does not depend on the order of joining.
    if a < b:
        parent[b] = a
    elif b < a:
        parent[a] = b


@nb.njit(nogil=True, cache=True)
def label_runs(runs: Array, parent: Array) -> None:
    """Fill `parent` (int64) with the index of the first run of each 8-connected group.

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
                _join(parent, j - 1, j)
        if above_end > above_start and runs[above_start, 0] == runs[start, 0] - 1:
            i, j = above_start, start
            while i < above_end and j < end:
                # Touching corners count: last + 1 of one may equal first of the other.
                if runs[i, 2] >= runs[j, 1] and runs[j, 2] >= runs[i, 1]:
                    _join(parent, i, j)
                if runs[i, 2] < runs[j, 2]:
                    i += 1
                else:
                    j += 1
        above_start, above_end, start = start, end, end
    for i in range(n):
        parent[i] = _root(parent, i)


@nb.njit(nogil=True, cache=True)
def draw_runs(runs: Array, row0: int, col0: int, image: Array) -> None:
    """Set the pixels of `runs` (row, first col, last col + 1) to 1 in `image`, whose corner is (row0, col0)."""
    for i in range(runs.shape[0]):
        for x in range(runs[i, 1], runs[i, 2]):
            image[runs[i, 0] - row0, x - col0] = 1


@nb.njit(nogil=True, cache=True)
def trace_rings(inside: Array, points: Array, ends: Array) -> int:
    """Trace the pixel edges of `inside` (uint8, with an empty border) and return the number of rings.

    `points` (n, 2) is filled with (col, row) corners, ring after ring, first corner repeated; `ends[r]` is one past the
    last point of ring r. The inside lies on the right, so that outer rings run clockwise on a map with rows downwards.
    Pixels that meet at a corner only are kept apart.
    """
    rows, cols = inside.shape
    used = np.zeros((rows, cols), np.uint8)
    dx = (1, 0, -1, 0)
    dy = (0, 1, 0, -1)
    n, rings = 0, 0
    for y in range(1, rows - 1):
        for x in range(1, cols - 1):
            if not (inside[y, x] == 1 and inside[y - 1, x] == 0 and used[y, x] == 0):
                continue
            px, py, d = x, y, 0
            points[n, 0], points[n, 1] = px, py
            first = n
            n += 1
            while True:
                if d == 0:
                    used[py, px] = 1
                px += dx[d]
                py += dy[d]
                left_y = py - 1 if d == 0 or d == 3 else py
                left_x = px if d == 0 or d == 1 else px - 1
                right_y = py if d == 0 or d == 1 else py - 1
                right_x = px if d == 0 or d == 3 else px - 1
                if inside[right_y, right_x] == 0:
                    turn = (d + 1) & 3
                elif inside[left_y, left_x] == 1:
                    turn = (d + 3) & 3
                else:
                    turn = d
                if px == x and py == y and turn == 0:
                    break
                if turn != d:
                    points[n, 0], points[n, 1] = px, py
                    n += 1
                d = turn
            points[n, 0], points[n, 1] = points[first, 0], points[first, 1]
            n += 1
            ends[rings] = n
            rings += 1
    return rings


@nb.njit(nogil=True, cache=True)
def walk_farthest(cells: Array, start: int, came: Array, queue: Array) -> int:
    """Walk breadth-first over the 8-connected `cells` (uint8, empty border) and return the last cell reached.

    Cells are flat indices; `came` (int64) is filled with the cell each was reached from, -1 elsewhere; the start comes from
    itself. `queue` is scratch with room for every cell.
    """
    width = cells.shape[1]
    flat = cells.ravel()
    came[:] = -1
    steps = (1, width, -1, -width, width + 1, width - 1, -width + 1, -width - 1)
    queue[0] = start
    came[start] = start
    head, tail = 0, 1
    while head < tail:
        cell = queue[head]
        head += 1
        for k in range(8):
            near = cell + steps[k]
            if flat[near] == 1 and came[near] == -1:
                came[near] = cell
                queue[tail] = near
                tail += 1
    return int(queue[tail - 1])
