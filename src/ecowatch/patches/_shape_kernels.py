"""Compiled loops over the shape of a patch: depth, rectangle, thinning, walks; arguments are checked by the callers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..compiled_kernels import kernel

Array = np.ndarray[Any, Any]

_EQUAL = 1e-9


# Neighbours of a pixel by (row, col) step, clockwise from above: bit k of a code says that the k-th is there.
_AROUND = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


def _may_go(code: int, second: bool) -> bool:
    """Tell whether Guo & Hall take a pixel with these neighbours away in the first or the second half of a round."""
    n, ne, e, se, s, sw, w, nw = (code >> k & 1 for k in range(8))
    parts = ((1 - n) & (ne | e)) + ((1 - e) & (se | s)) + ((1 - s) & (sw | w)) + ((1 - w) & (nw | n))
    near = min((nw | n) + (ne | e) + (se | s) + (sw | w), (n | ne) + (e | se) + (s | sw) + (w | nw))
    if parts != 1 or not 2 <= near <= 3:
        return False
    return ((s | sw | (1 - nw)) & w if second else (n | ne | (1 - se)) & e) == 0


_GOES = np.array([[_may_go(code, second) for code in range(256)] for second in (False, True)])


@kernel
def _neighbour_codes(image: Array, codes: Array) -> None:
    """Fill `codes` (uint8) with the neighbours of each pixel of `image` (uint8, 0 and 1, an empty border)."""
    cols = image.shape[1]
    for y in range(1, image.shape[0] - 1):
        above, here, below, out = image[y - 1], image[y], image[y + 1], codes[y]
        for x in range(1, cols - 1):
            upper = above[x] | above[x + 1] << 1 | here[x + 1] << 2 | below[x + 1] << 3
            out[x] = upper | below[x] << 4 | below[x - 1] << 5 | here[x - 1] << 6 | above[x - 1] << 7


@kernel
def thin(image: Array) -> None:
    """Thin `image` (uint8, 0 and 1, an empty border) in place to lines of one pixel.

    A pixel is asked anew only where one beside it went, so that the middle of a wide patch and lines that are thin already
    are not asked each round.

    Source
    ------
    Guo & Hall (1989), parallel thinning with two-subiteration algorithms, A1: what was connected stays so.
    """
    codes, asked = np.zeros(image.shape, np.uint8), np.zeros(image.shape, np.uint8)
    _neighbour_codes(image, codes)
    flat, code, due = image.ravel(), codes.ravel(), asked.ravel()
    steps = np.array([j * image.shape[1] + i for j, i in _AROUND])
    pixels = 0
    for i in range(flat.size):
        pixels += int(flat[i])
    edge, gone = np.empty(pixels, np.int32), np.empty(pixels, np.int32)
    count = 0
    for i in range(flat.size):
        if flat[i] and code[i] != 255:
            # Both halves of a round are due.
            due[i] = 2
            edge[count] = i
            count += 1
    half = 0
    while count:
        goes = _GOES[half]
        leaving = kept = 0
        for k in range(count):
            i = edge[k]
            if goes[code[i]]:
                gone[leaving] = i
                leaving += 1
                due[i] = 0
            elif due[i] > 1:
                due[i] -= 1
                edge[kept] = i
                kept += 1
            else:
                due[i] = 0
        count = kept
        # All of them go at once: none may see that another has gone.
        for k in range(leaving):
            flat[gone[k]] = 0
        for k in range(leaving):
            for bit in range(8):
                i = gone[k] + steps[bit]
                # Seen from there, it lay on the opposite side.
                code[i] &= 255 ^ 1 << (bit + 4) % 8
                if flat[i]:
                    if not due[i]:
                        edge[count] = i
                        count += 1
                    due[i] = 2
        half = 1 - half


@kernel
def _walk_farthest(flat: Array, width: int, start: int, came: Array, queue: Array) -> int:
    """Walk breadth-first over 8-connected cells and return the last one reached; `came` is filled as in `longest_path`."""
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


@kernel
def longest_path(cells: Array, path: Array) -> int:
    """Write the longest path over the 8-connected `cells` (uint8, empty border, not empty) into `path`; return its length.

    Cells are flat indices; `path` (int64) has room for every one.
    """
    flat = cells.ravel()
    start = 0
    while not flat[start]:
        start += 1
    # The cell each was reached from, -1 elsewhere; the start comes from itself.
    came = np.empty(flat.size, np.int32)
    first = _walk_farthest(flat, cells.shape[1], start, came, path)
    cell = _walk_farthest(flat, cells.shape[1], first, came, path)
    path[0] = cell
    n = 1
    while came[cell] != cell:
        cell = came[cell]
        path[n] = cell
        n += 1
    return n


@kernel
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


@kernel
def _depth_in_columns(inside: Array, out: Array) -> None:
    """Fill `out` (int32) with the distance to the nearest pixel in the column that is not `inside`, rows + cols at most."""
    rows, cols = inside.shape
    far = np.int32(rows + cols)
    for x in range(cols):
        out[0, x] = far if inside[0, x] else 0
    for y in range(1, rows):
        above, line, here = out[y - 1], out[y], inside[y]
        for x in range(cols):
            line[x] = min(np.int32(above[x] + 1), far) * np.int32(here[x])
    for y in range(rows - 2, -1, -1):
        below, line = out[y + 1], out[y]
        for x in range(cols):
            line[x] = min(line[x], np.int32(below[x] + 1))


@kernel
def _depth_in_row(columns: Array, x: int, enough: int) -> int:
    """Return the squared distance at `x` by its row of `columns`; any number up to `enough` if it is so small."""
    cols = columns.size
    best = columns[x] * columns[x]
    step = 1
    while step * step < best and best > enough and (step <= x or step < cols - x):
        if step <= x:
            best = min(best, step * step + columns[x - step] * columns[x - step])
        if step < cols - x:
            best = min(best, step * step + columns[x + step] * columns[x + step])
        step += 1
    return int(best)


@kernel
def squared_depth(inside: Array, out: Array) -> None:
    """Fill `out` (int32) with the squared distance of each pixel of `inside` (bool) to the nearest one that is not.

    What lies beyond the array is neither; where all of it is inside, `out` is larger than any distance in it.

    Source
    ------
    Saito & Toriwaki (1994): columns first, then along the rows; exact in integers.
    """
    rows, cols = inside.shape
    columns = np.empty(inside.shape, np.int32)
    _depth_in_columns(inside, columns)
    for y in range(rows):
        for x in range(cols):
            out[y, x] = _depth_in_row(columns[y], x, 0)


@kernel
def squared_depth_at(inside: Array, cells: Array, out: Array) -> None:
    """Fill `out` (int64, n) with what `squared_depth` gives at `cells` (flat indices)."""
    columns = np.empty(inside.shape, np.int32)
    _depth_in_columns(inside, columns)
    for i in range(cells.size):
        y, x = divmod(cells[i], inside.shape[1])
        out[i] = _depth_in_row(columns[y], x, 0)


@kernel
def greatest_squared_depth(inside: Array) -> int:
    """Return the greatest squared distance of a pixel of `inside` (bool) to one that is not, as all beyond the array are."""
    rows, cols = inside.shape
    columns = np.empty(inside.shape, np.int32)
    _depth_in_columns(inside, columns)
    greatest = 0
    for y in range(rows):
        line, edge = columns[y], min(y + 1, rows - y)
        for x in range(cols):
            # No pixel is deeper than it is in its column.
            if line[x] * line[x] > greatest:
                most = min(edge, x + 1, cols - x) ** 2
                greatest = max(greatest, min(most, _depth_in_row(line, x, greatest)))
    return greatest


@kernel
def _bends_in(hull: Array, n: int, x: int, y: int) -> bool:
    """Tell whether the last corner lies on no hull once (x, y) is added, walking with the inside on the right."""
    first_x, first_y = hull[n - 1, 0] - hull[n - 2, 0], hull[n - 1, 1] - hull[n - 2, 1]
    inwards: bool = first_x * (y - hull[n - 2, 1]) - first_y * (x - hull[n - 2, 0]) <= 0
    return inwards


@kernel
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
