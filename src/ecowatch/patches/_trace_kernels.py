"""Compiled loops of `patches`: outlines of patches, ring by ring; arguments are checked by the callers.

Runs are (row, first col, last col + 1), sorted by row and column. Each has two upright edges, walked with the inside on the
right: edge 2 i goes up along the left of run i, edge 2 i + 1 down along its right. What joins them lies between two rows, so
that ends of runs are looked at, never pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiled_kernels import kernel
from ._kernels import group_runs, join_runs, root_of, row_end

Array = np.ndarray[Any, Any]

FAR = 2**31 - 1


@kernel
def merge_touching(runs: Array, out: Array) -> int:
    """Fill `out` with `runs`, those that meet in one row, cut by a block edge, as one; return their number."""
    n = 0
    for i in range(runs.shape[0]):
        if n > 0 and out[n - 1, 0] == runs[i, 0] and out[n - 1, 2] == runs[i, 1]:
            out[n - 1, 2] = runs[i, 2]
        else:
            out[n, 0], out[n, 1], out[n, 2] = runs[i, 0], runs[i, 1], runs[i, 2]
            n += 1
    return n


@kernel
def _join_outside(parent: Array, first: int, end: int) -> None:
    for k in range(first + 1, end):
        join_runs(parent, 0, k)


@kernel
def join_gaps(runs: Array, parent: Array) -> None:
    """Join in `parent` the gaps of one patch that are 4-connected: gap k lies before run k in its row, gap 0 is the outside."""
    n = runs.shape[0]
    for k in range(n):
        parent[k] = k
    above = start = 0
    while start < n:
        end = row_end(runs, start)
        if start == 0 or runs[start, 0] != runs[above, 0] + 1:
            _join_outside(parent, above, start)
            _join_outside(parent, start, end)
        else:
            i, j = above, start
            while i <= start and j <= end:
                # What lies before the first run of a row and after its last one is outside and ends nowhere.
                i_ends, j_ends = runs[i, 1] if i < start else FAR, runs[j, 1] if j < end else FAR
                i_begins, j_begins = runs[i - 1, 2] if i > above else -FAR, runs[j - 1, 2] if j > start else -FAR
                if i_begins < j_ends and j_begins < i_ends:
                    join_runs(parent, i if above < i < start else 0, j if start < j < end else 0)
                if i_ends < j_ends:
                    i += 1
                else:
                    j += 1
        above, start = start, end
    _join_outside(parent, above, n)


@kernel
def fill_holes(runs: Array, largest_px: float, parent: Array, size: Array) -> int:
    """Close the holes of up to `largest_px` pixels in the `runs` of one patch, none of which touch; return their number then.

    A hole is made of 4-connected pixels. `parent` and `size` (int64, as long as `runs`) are scratch.
    """
    n = runs.shape[0]
    join_gaps(runs, parent)
    size[:n] = 0
    for k in range(1, n):
        if runs[k - 1, 0] == runs[k, 0]:
            parent[k] = root_of(parent, k)
            size[parent[k]] += runs[k, 1] - runs[k - 1, 2]
    kept = 1
    for k in range(1, n):
        if runs[k - 1, 0] == runs[k, 0] and parent[k] != 0 and size[parent[k]] <= largest_px:
            runs[kept - 1, 2] = runs[k, 2]
        else:
            runs[kept, 0], runs[kept, 1], runs[kept, 2] = runs[k, 0], runs[k, 1], runs[k, 2]
            kept += 1
    return kept


@kernel
def solid_parts(
    runs: Array, bounds: Array, largest_hole_px: float, solid: Array, part: Array, lengths: Array, parts_of: Array
) -> tuple[int, int]:
    """Fill `solid` with the runs of patches, holes of up to `largest_hole_px` pixels closed; return how many runs and parts.

    ``runs[bounds[k]:bounds[k + 1]]`` are those of patch k. ``part[i]`` numbers the 4-connected parts of all patches 0, 1, 2 …
    in order of their first run, ``lengths[p]`` is the number of runs of part p and ``parts_of[k]`` that of parts of patch k.
    """
    longest = 0
    for k in range(bounds.shape[0] - 1):
        longest = max(longest, bounds[k + 1] - bounds[k])
    parent, size = np.empty(longest, np.int64), np.empty(longest, np.int64)
    n = parts = 0
    for k in range(bounds.shape[0] - 1):
        own = solid[n : n + bounds[k + 1] - bounds[k]]
        count = merge_touching(runs[bounds[k] : bounds[k + 1]], own)
        if largest_hole_px >= 1:
            count = fill_holes(own[:count], largest_hole_px, parent, size)
        parts_of[k] = group_runs(own[:count], 0, parent, part[n : n + count])
        lengths[parts : parts + parts_of[k]] = 0
        for i in range(n, n + count):
            part[i] += parts
            lengths[part[i]] += 1
        n += count
        parts += parts_of[k]
    return n, parts


@kernel
def link_edges(runs: Array, follow: Array, pinch: Array, place: Array, begins: Array) -> int:
    """Join the upright edges of one 4-connected part, whose runs do not touch; return the number of `begins`.

    ``follow[e]`` (int32) is the edge that is walked after edge e. `begins` (int32) gets the edges before each level stretch
    with the inside below it, in order of rows and columns. Where two pixels meet at a corner with nothing beside them, a ring
    passes twice: ``pinch[e]`` (int32, two) numbers the corners from which edge e comes and to which it leads 0, 1 …, and is -1
    elsewhere; ``place[c]`` becomes -1.
    """
    edges = 2 * runs.shape[0]
    above = above_end = below = last = found = pinches = 0
    pinch[:edges] = -1
    while above < edges:
        below_end = 2 * row_end(runs, below >> 1)
        i, j = above, below
        while i < above_end or j < below_end:
            x = runs[i >> 1, 1 + (i & 1)] if i < above_end else FAR
            z = runs[j >> 1, 1 + (j & 1)] if j < below_end else FAR
            # Odd edges end runs: the inside is above the stretch before this corner where i is odd, below it where j is.
            level, under = (i ^ j) & 1, j & 1
            if x == z and not level:
                # Straight on, up along a left side or down along a right one.
                follow[i if under else j] = j if under else i
                i, j = i + 1, j + 1
                continue
            from_above = x < z or (x == z and i & 1 == 1)
            first = i if from_above else j
            if level and under:
                follow[last] = first
                begins[found] = last
                found += 1
            elif level:
                follow[first] = last
            if x == z:
                # Rings turn right here, as if the two pixels did not meet: the left stretch belongs to `first`.
                pinch[i, i & 1] = pinch[j, i & 1] = pinches
                place[pinches] = -1
                pinches += 1
                last = i + j - first
                i, j = i + 1, j + 1
            else:
                last = first
                i, j = i + from_above, j + (not from_above)
        above, above_end, below = below, below_end, below_end
    return found


@kernel
def _put_ring(
    walked: Array,
    first: int,
    last: int,
    at: int,
    n: int,
    ring: int,
    rings: int,
    on_map: Any,
    points: Array,
    ends: Array,
) -> int:
    """Insert the ring of the corners ``walked[first:last]`` as number `ring` of `rings`, from point `at` on, of `n`, on."""
    size = last - first + 1
    for i in range(n - 1, at - 1, -1):
        points[i + size, 0], points[i + size, 1] = points[i, 0], points[i, 1]
    for r in range(rings - 1, ring - 1, -1):
        ends[r + 2] = ends[r + 1] + size
    ends[ring + 1] = at + size
    left, width, top, height = on_map
    for i in range(first, last):
        points[at, 0] = left + width * walked[i, 0]
        points[at, 1] = top + height * walked[i, 1]
        at += 1
    points[at, 0], points[at, 1] = points[at - size + 1, 0], points[at - size + 1, 1]
    return n + size


@kernel
def walk_ring(
    edge: int,
    shell: bool,
    runs: Array,
    follow: Array,
    pinch: Array,
    place: Array,
    walked: Array,
    on_map: Any,
    points: Array,
    n: int,
    ends: Array,
    rings: int,
) -> tuple[int, int]:
    """Write the ring on which `edge` lies, and what is split off it; return the number of points and of rings then.

    A ring that meets itself at a corner, as holes of diagonal pixels do, is split there, so that no ring does. What is split
    off a hole comes before it, what is split off a shell are holes and come after it. Edges that were walked follow nothing
    (-1) any more. ``place[c]`` is where in `walked` pinch c is, -1 before it is met.
    """
    first, n0, rings0, top = edge, n, rings, 0
    while True:
        after = follow[edge]
        follow[edge] = -1
        x, z = runs[edge >> 1, 1 + (edge & 1)], runs[after >> 1, 1 + (after & 1)]
        if x != z:
            y = runs[edge >> 1, 0] + (edge & 1)
            for corner in range(2):
                c = pinch[after, 0] if corner else pinch[edge, 1]
                if c >= 0 and place[c] >= 0:
                    n = _put_ring(walked, place[c], top, n, n, rings, rings, on_map, points, ends)
                    rings += 1
                    top = place[c] + 1
                else:
                    if c >= 0:
                        place[c] = top
                    walked[top, 0], walked[top, 1] = z if corner else x, y
                    top += 1
        edge = after
        if edge == first:
            break
    if shell:
        n = _put_ring(walked, 0, top, n0, n, rings0, rings, on_map, points, ends)
    else:
        n = _put_ring(walked, 0, top, n, n, rings, rings, on_map, points, ends)
    return n, rings + 1


@kernel
def trace_parts(runs: Array, bounds: Array, on_map: Any, points: Array, ends: Array, rings: Array) -> None:
    """Trace the outlines of 4-connected parts along their pixel edges.

    ``runs[bounds[p]:bounds[p + 1]]`` are those of part p; they do not touch. `points` (float64, two) get the corners of ring
    after ring, first corner repeated, at ``left + width * col, top + height * row`` of `on_map`. Ring r has
    ``points[ends[r]:ends[r + 1]]`` and part p the rings from ``rings[p]`` to before ``rings[p + 1]``. The first ring of a part
    is its shell, which runs clockwise on a map with rows downwards, from its first corner in order of rows and columns; holes
    run the other way.
    """
    longest = 0
    for p in range(bounds.shape[0] - 1):
        longest = max(longest, bounds[p + 1] - bounds[p])
    follow, begins, place = (
        np.empty(2 * longest, np.int32),
        np.empty(2 * longest, np.int32),
        np.empty(2 * longest, np.int32),
    )
    pinch, walked = np.empty((2 * longest, 2), np.int32), np.empty((4 * longest, 2), np.int32)
    n = ring = ends[0] = rings[0] = 0
    for p in range(bounds.shape[0] - 1):
        own = runs[bounds[p] : bounds[p + 1]]
        if own.shape[0] == 1:
            # Most parts of noise: a rectangle.
            y, x, z = own[0, 0], own[0, 1], own[0, 2]
            walked[0, 0] = walked[3, 0] = x
            walked[1, 0] = walked[2, 0] = z
            walked[0, 1] = walked[1, 1] = y
            walked[2, 1] = walked[3, 1] = y + 1
            n = _put_ring(walked, 0, 4, n, n, ring, ring, on_map, points, ends)
            ring += 1
            rings[p + 1] = ring
            continue
        for k in range(link_edges(own, follow, pinch, place, begins)):
            if follow[begins[k]] >= 0:
                n, ring = walk_ring(begins[k], k == 0, own, follow, pinch, place, walked, on_map, points, n, ends, ring)
        rings[p + 1] = ring
