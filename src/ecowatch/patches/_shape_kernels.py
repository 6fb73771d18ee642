"""Compiled loops over the shape of a patch: depth, rectangle, thinning, walks; arguments are checked by the callers."""

from __future__ import annotations

import math
from typing import Any

import numba as nb
import numpy as np

Array = np.ndarray[Any, Any]

_EQUAL = 1e-9


@nb.njit(nogil=True, cache=True)
def _may_go(image: Array, y: int, x: int, second: bool) -> bool:
    """Tell whether Guo & Hall take a pixel away in the first or the second half of a round."""
    n, e, s, w = image[y - 1, x], image[y, x + 1], image[y + 1, x], image[y, x - 1]
    ne, se, sw, nw = image[y - 1, x + 1], image[y + 1, x + 1], image[y + 1, x - 1], image[y - 1, x - 1]
    parts = ((1 - n) & (ne | e)) + ((1 - e) & (se | s)) + ((1 - s) & (sw | w)) + ((1 - w) & (nw | n))
    if parts != 1:
        return False
    near = min((nw | n) + (ne | e) + (se | s) + (sw | w), (n | ne) + (e | se) + (s | sw) + (w | nw))
    if near < 2 or near > 3:
        return False
    if second:
        return bool((s | sw | (1 - nw)) & w == 0)
    return bool((n | ne | (1 - se)) & e == 0)


@nb.njit(nogil=True, cache=True)
def thin(image: Array) -> None:
    """Thin `image` (uint8, 0 and 1, an empty border) in place to lines of one pixel.

    Only pixels at an edge can go; the list of them is kept, so that the middle of a wide patch is not asked each round.

    Source
    ------
    Guo & Hall (1989), parallel thinning with two-subiteration algorithms, A1: what was connected stays so.
    """
    rows, cols = image.shape
    pixels = 0
    for y in range(1, rows - 1):
        for x in range(1, cols - 1):
            pixels += int(image[y, x])
    edge, gone = np.empty((pixels, 2), np.int32), np.empty((pixels, 2), np.int32)
    listed = np.zeros(image.shape, np.uint8)
    count = 0
    for y in range(1, rows - 1):
        for x in range(1, cols - 1):
            if image[y, x] and not (
                image[y - 1, x - 1]
                & image[y - 1, x]
                & image[y - 1, x + 1]
                & image[y, x - 1]
                & image[y, x + 1]
                & image[y + 1, x - 1]
                & image[y + 1, x]
                & image[y + 1, x + 1]
            ):
                edge[count, 0], edge[count, 1] = y, x
                listed[y, x] = 1
                count += 1
    changed = True
    while changed:
        changed = False
        for half in range(2):
            leaving = kept = 0
            for i in range(count):
                y, x = edge[i, 0], edge[i, 1]
                if _may_go(image, y, x, half == 1):
                    gone[leaving, 0], gone[leaving, 1] = y, x
                    leaving += 1
                else:
                    edge[kept, 0], edge[kept, 1] = y, x
                    kept += 1
            count = kept
            # All of them go at once: none may see that another has gone.
            for i in range(leaving):
                image[gone[i, 0], gone[i, 1]] = 0
            for i in range(leaving):
                for y in range(gone[i, 0] - 1, gone[i, 0] + 2):
                    for x in range(gone[i, 1] - 1, gone[i, 1] + 2):
                        if image[y, x] and not listed[y, x]:
                            listed[y, x] = 1
                            edge[count, 0], edge[count, 1] = y, x
                            count += 1
            changed |= leaving > 0


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


@nb.njit(nogil=True, cache=True)
def walk_from(cells: Array, taken: Array, steps: Array, came: Array, queue: Array) -> int:
    """Walk breadth-first over the 8-connected `cells` from all that are `taken`; return the first of the farthest cells.

    Cells (uint8, empty border) are flat indices, `taken` (uint8) of the same size. `steps` (int32) and `came` (int64) are
    filled with the way to each cell and the cell before it, -1 elsewhere; `queue` is scratch with room for every cell.
    """
    width = cells.shape[1]
    flat = cells.ravel()
    steps[:] = -1
    came[:] = -1
    near_steps = (1, width, -1, -width, width + 1, width - 1, -width + 1, -width - 1)
    tail = 0
    for cell in range(flat.size):
        if taken[cell]:
            steps[cell] = 0
            came[cell] = cell
            queue[tail] = cell
            tail += 1
    head = 0
    farthest = queue[0]
    while head < tail:
        cell = queue[head]
        head += 1
        if steps[cell] > steps[farthest]:
            farthest = cell
        for k in range(8):
            near = cell + near_steps[k]
            if flat[near] == 1 and steps[near] == -1:
                steps[near] = steps[cell] + 1
                came[near] = cell
                queue[tail] = near
                tail += 1
    return int(farthest)


@nb.njit(nogil=True, cache=True)
def squared_depth(inside: Array, out: Array) -> None:
    """Fill `out` (int32) with the squared distance of each pixel of `inside` (bool) to the nearest one that is not.

    What lies beyond the array is neither; where all of it is inside, `out` is larger than any distance in it.

    Source
    ------
    Saito & Toriwaki (1994): columns first, then along the rows; exact in integers.
    """
    rows, cols = inside.shape
    far = rows + cols
    for y in range(rows):
        for x in range(cols):
            above = out[y - 1, x] if y > 0 else far
            out[y, x] = min(above + 1, far) if inside[y, x] else 0
    for y in range(rows - 2, -1, -1):
        for x in range(cols):
            out[y, x] = min(out[y, x], out[y + 1, x] + 1)
    row = np.empty(cols, np.int32)
    for y in range(rows):
        known = False
        for x in range(cols):
            row[x] = out[y, x]
            known |= row[x] < far
        for x in range(cols):
            best = row[x] * row[x]
            step = 1
            while known and step * step < best and (step <= x or step < cols - x):
                if step <= x:
                    best = min(best, step * step + row[x - step] * row[x - step])
                if step < cols - x:
                    best = min(best, step * step + row[x + step] * row[x + step])
                step += 1
            out[y, x] = best


@nb.njit(nogil=True, cache=True)
def _bends_in(hull: Array, n: int, x: int, y: int) -> bool:
    """Tell whether the last corner lies on no hull once (x, y) is added, walking with the inside on the right."""
    first_x, first_y = hull[n - 1, 0] - hull[n - 2, 0], hull[n - 1, 1] - hull[n - 2, 1]
    inwards: bool = first_x * (y - hull[n - 2, 1]) - first_y * (x - hull[n - 2, 0]) <= 0
    return inwards


@nb.njit(nogil=True, cache=True)
def smallest_rectangles(runs: Array, bounds: Array, width: float, height: float, sides: Array) -> None:
    """Fill `sides` (float64, n × 2) with the long and the short side of the smallest rectangle around each patch.

    ``runs[bounds[k]:bounds[k + 1]]`` (row, first col, last col + 1) are those of patch k, sorted by row, of every row at
    least one; a pixel measures `width` × `height`.

    Source
    ------
    Andrew (1979), convex hull by monotone chains; Freeman & Shapira (1975): one side lies on an edge of the hull.
    """
    for k in range(bounds.shape[0] - 1):
        first, last = bounds[k], bounds[k + 1]
        row0, rows = runs[first, 0], runs[last - 1, 0] - runs[first, 0] + 1
        left, right = np.full(rows + 1, 2**31 - 1, np.int64), np.full(rows + 1, -(2**31), np.int64)
        for i in range(first, last):
            for y in (runs[i, 0] - row0, runs[i, 0] - row0 + 1):
                left[y] = min(left[y], runs[i, 1])
                right[y] = max(right[y], runs[i, 2])
        hull = np.empty((2 * rows + 3, 2), np.int64)
        n = 0
        # Down the right side, up the left one; columns count from the first left one, so that numbers stay small.
        for step in range(2 * rows + 2):
            y = step if step <= rows else 2 * rows + 1 - step
            x = (right[y] if step <= rows else left[y]) - left[0]
            while n >= 2 and _bends_in(hull, n, x, y):
                n -= 1
            hull[n, 0], hull[n, 1] = x, y
            n += 1
        best = math.inf
        for i in range(n):
            j = (i + 1) % n
            along_x, along_y = (hull[j, 0] - hull[i, 0]) * width, (hull[j, 1] - hull[i, 1]) * height
            length = math.hypot(along_x, along_y)
            if length == 0:
                continue
            along_x, along_y = along_x / length, along_y / length
            least_u = least_v = math.inf
            most_u = most_v = -math.inf
            for m in range(n):
                px, py = hull[m, 0] * width, hull[m, 1] * height
                u, v = px * along_x + py * along_y, py * along_x - px * along_y
                least_u, most_u = min(least_u, u), max(most_u, u)
                least_v, most_v = min(least_v, v), max(most_v, v)
            a, b = most_u - least_u, most_v - least_v
            # Of equal areas the most compact one, whatever the order of the corners.
            if a * b < best * (1 - _EQUAL) or (a * b <= best * (1 + _EQUAL) and a + b < sides[k, 0] + sides[k, 1]):
                best = a * b
                sides[k, 0], sides[k, 1] = max(a, b), min(a, b)
