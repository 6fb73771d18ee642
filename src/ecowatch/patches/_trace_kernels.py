"""Compiled loops of `patches`: outlines of patches, ring by ring; arguments are checked by the callers."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from ._kernels import join_runs, label_runs, root_of

Array = np.ndarray[Any, Any]


@nb.njit(nogil=True, cache=True)
def fill_holes(image: Array, largest_px: int, queue: Array) -> None:
    """Set the holes of up to `largest_px` pixels (4-connected zeros) of `image` (int32, an empty border) to 1.

    `queue` (int64) has room for ``largest_px + 5`` cells: a walk ends where it has seen too many, or meets a cell that an
    earlier walk gave up on (-1; these are 0 again at the end).
    """
    width = image.shape[1]
    flat = image.ravel()
    for start in range(flat.size):
        if flat[start] != 0:
            continue
        flat[start] = -2
        queue[0] = start
        head, tail, large = 0, 1, False
        while head < tail and not large:
            cell = queue[head]
            head += 1
            col = cell % width
            # The border is no hole: what reaches it is open.
            if col == 0 or col == width - 1 or cell < width or cell >= flat.size - width:
                large = True
                break
            for step in (1, -1, width, -width):
                if flat[cell + step] == -1:
                    large = True
                elif flat[cell + step] == 0:
                    flat[cell + step] = -2
                    queue[tail] = cell + step
                    tail += 1
            large = large or tail > largest_px
        for i in range(tail):
            flat[queue[i]] = -1 if large else 1
    for cell in range(flat.size):
        if flat[cell] == -1:
            flat[cell] = 0


@nb.njit(nogil=True, cache=True)
def number_parts(image: Array) -> int:
    """Number the 4-connected parts of the non-zero pixels of `image` (int32) 1, 2 … in place; return their number."""
    rows, cols = image.shape
    stretches = 1
    for y in range(rows):
        for x in range(cols):
            if image[y, x] != 0 and (x == 0 or image[y, x - 1] == 0):
                stretches += 1
    parent = np.empty(stretches, np.int32)
    last = 0
    for y in range(rows):
        for x in range(cols):
            if image[y, x] == 0:
                continue
            left = image[y, x - 1] if x > 0 else np.int32(0)
            above = image[y - 1, x] if y > 0 else np.int32(0)
            if left == 0:
                last += 1
                parent[last] = last
                left = np.int32(last)
            image[y, x] = left
            if above != 0:
                join_runs(parent, above, left)
    number = np.zeros(stretches, np.int32)
    parts = 0
    for y in range(rows):
        for x in range(cols):
            if image[y, x] != 0:
                root = root_of(parent, image[y, x])
                if number[root] == 0:
                    parts += 1
                    number[root] = parts
                image[y, x] = number[root]
    return parts


@nb.njit(nogil=True, cache=True)
def _emit(walked: Array, first: int, last: int, width: int, points: Array, n: int) -> int:
    """Write the ring of the corners ``walked[first:last]``, first corner repeated; return how many points there are then."""
    for i in range(first, last):
        points[n, 0] = walked[i] % width
        points[n, 1] = walked[i] // width
        n += 1
    points[n, 0] = walked[first] % width
    points[n, 1] = walked[first] // width
    return n + 1


@nb.njit(nogil=True, cache=True)
def _is_pinch(parts: Array, px: int, py: int, own: int) -> bool:
    """Tell whether two pixels of a part meet at a corner with nothing of it beside them: a ring passes there twice."""
    a, b = parts[py - 1, px - 1] == own, parts[py - 1, px] == own
    c, d = parts[py, px - 1] == own, parts[py, px] == own
    pinched: bool = a == d and b == c and a != b
    return pinched


@nb.njit(nogil=True, cache=True)
def _trace_ring(
    parts: Array,
    used: Array,
    walked: Array,
    place: Array,
    x: int,
    y: int,
    points: Array,
    n: int,
    ends: Array,
    part_of: Array,
    rings: int,
) -> tuple[int, int]:
    """Trace the ring, and what is split off it, that begins at the upper edge of pixel (x, y); arrays as for `trace_parts`."""
    own, width = parts[y, x], parts.shape[1] + 1
    dx = (1, 0, -1, 0)
    dy = (0, 1, 0, -1)
    px, py, d = x, y, 0
    top = np.int64(1)
    walked[0] = py * width + px
    if _is_pinch(parts, px, py, own):
        place[walked[0]] = 1
    while True:
        if d == 0:
            used[py, px] = 1
        px += dx[d]
        py += dy[d]
        left_y = py - 1 if d == 0 or d == 3 else py
        left_x = px if d == 0 or d == 1 else px - 1
        right_y = py if d == 0 or d == 1 else py - 1
        right_x = px if d == 0 or d == 3 else px - 1
        if parts[right_y, right_x] != own:
            turn = (d + 1) & 3
        elif parts[left_y, left_x] == own:
            turn = (d + 3) & 3
        else:
            turn = d
        if px == x and py == y and turn == 0:
            break
        if turn != d:
            corner = py * width + px
            pinch = _is_pinch(parts, px, py, own)
            if pinch and place[corner] > 0:
                first = place[corner] - 1
                n = _emit(walked, first, top, width, points, n)
                ends[rings] = n
                part_of[rings] = own
                rings += 1
                for i in range(first + 1, top):
                    if place[walked[i]] != 0:
                        place[walked[i]] = 0
                top = first + 1
            else:
                walked[top] = corner
                top += 1
                if pinch:
                    place[corner] = top
        d = turn
    n = _emit(walked, np.int64(0), top, width, points, n)
    ends[rings] = n
    part_of[rings] = own
    rings += 1
    for i in range(top):
        if place[walked[i]] != 0:
            place[walked[i]] = 0
    return n, rings


@nb.njit(nogil=True, cache=True)
def trace_parts(
    parts: Array,
    used: Array,
    walked: Array,
    place: Array,
    points: Array,
    n: int,
    ends: Array,
    part_of: Array,
    rings: int,
) -> tuple[int, int]:
    """Trace the pixel edges of numbered parts; return the number of points and of rings there are then.

    `parts` (int32, an empty border) holds numbers from 1 inside. `points` (n, 2) gets (col, row) corners from `n` on, ring
    after ring, first corner repeated; ``ends[r]`` is one past the last point of ring r and ``part_of[r]`` its part. The
    inside lies on the right, so that outer rings run clockwise on a map with rows downwards. A ring that meets itself at a
    corner, as holes of diagonal pixels do, is split there, so that no ring does. `used` (uint8, pixels), `walked` (int64)
    and `place` (int32, corners, all 0 before and after, touched where a ring may meet itself only) are scratch.
    """
    rows, cols = parts.shape
    for y in range(1, rows - 1):
        for x in range(1, cols - 1):
            own = parts[y, x]
            if own != 0 and parts[y - 1, x] != own and used[y, x] == 0:
                n, rings = _trace_ring(parts, used, walked, place, x, y, points, n, ends, part_of, rings)
    return n, rings


@nb.njit(nogil=True, cache=True)
def frame(runs: Array) -> tuple[int, int]:
    """Return the first column of `runs` less one, and one past the last plus one."""
    col0, col1 = runs[0, 1], runs[0, 2]
    for i in range(runs.shape[0]):
        col0, col1 = min(col0, runs[i, 1]), max(col1, runs[i, 2])
    return col0 - 1, col1 + 1


@nb.njit(nogil=True, cache=True)
def number_runs(runs: Array, parent: Array, part: Array) -> None:
    """Number the 4-connected parts of sorted runs 1, 2 … as `number_parts` numbers their pixels; `parent` is scratch."""
    label_runs(runs, parent[: runs.shape[0]], 0)
    parts = 0
    for i in range(runs.shape[0]):
        if parent[i] == i:
            parts += 1
            part[i] = parts
        else:
            part[i] = part[parent[i]]


@nb.njit(nogil=True, cache=True)
def trace_whole(runs: Array, bounds: Array, points: Array, ends: Array, part_of: Array, rings_until: Array) -> None:
    """Do what `trace_patches` does where no hole is filled; only pixels of runs are walked, not the frames around them."""
    n = rings = np.int64(0)
    cells = longest = 0
    for k in range(bounds.shape[0] - 1):
        own = runs[bounds[k] : bounds[k + 1]]
        col0, col1 = frame(own)
        rows, cols = own[-1, 0] - own[0, 0] + 4, col1 - col0 + 1
        cells, longest = max(cells, rows * cols), max(longest, own.shape[0])
    numbers, ways, place = np.zeros(cells, np.int32), np.zeros(cells, np.uint8), np.zeros(cells, np.int32)
    walked = np.empty(6 * longest + 8, np.int64)
    parent, part = np.empty(longest, np.int64), np.empty(longest, np.int32)
    for k in range(bounds.shape[0] - 1):
        own = runs[bounds[k] : bounds[k + 1]]
        row0, row1 = own[0, 0] - 1, own[-1, 0] + 2
        col0, col1 = frame(own)
        rows, cols = row1 - row0, col1 - col0
        image, used = numbers[: rows * cols].reshape(rows, cols), ways[: rows * cols].reshape(rows, cols)
        number_runs(own, parent, part)
        for i in range(own.shape[0]):
            image[own[i, 0] - row0, own[i, 1] - col0 : own[i, 2] - col0] = part[i]
        first = n
        for i in range(own.shape[0]):
            y = own[i, 0] - row0
            for x in range(own[i, 1] - col0, own[i, 2] - col0):
                if image[y - 1, x] != part[i] and used[y, x] == 0:
                    n, rings = _trace_ring(image, used, walked, place, x, y, points, n, ends, part_of, rings)
        for i in range(own.shape[0]):
            image[own[i, 0] - row0, own[i, 1] - col0 : own[i, 2] - col0] = 0
            used[own[i, 0] - row0, own[i, 1] - col0 : own[i, 2] - col0] = 0
        for i in range(first, n):
            points[i, 0] += col0
            points[i, 1] += row0
        rings_until[k] = rings


@nb.njit(nogil=True, cache=True)
def trace_patches(
    runs: Array, bounds: Array, largest_hole_px: float, points: Array, ends: Array, part_of: Array, rings_until: Array
) -> None:
    """Trace the outlines of many patches, holes of up to `largest_hole_px` pixels filled.

    ``runs[bounds[k]:bounds[k + 1]]`` (row, first col, last col + 1) are those of patch k, sorted by row. Corners, ends and
    parts are as for `trace_parts`, in (col, row) of the whole grid; ``rings_until[k]`` is the number of rings up to patch k.
    """
    if largest_hole_px < 1:
        trace_whole(runs, bounds, points, ends, part_of, rings_until)
        return
    n = rings = np.int64(0)
    for k in range(bounds.shape[0] - 1):
        own = runs[bounds[k] : bounds[k + 1]]
        row0, row1 = own[0, 0] - 1, own[-1, 0] + 2
        col0, col1 = frame(own)
        image = np.zeros((row1 - row0, col1 - col0), np.int32)
        for i in range(own.shape[0]):
            for x in range(own[i, 1], own[i, 2]):
                image[own[i, 0] - row0, x - col0] = 1
        fill_holes(image, int(largest_hole_px), np.empty(int(largest_hole_px) + 5, np.int64))
        number_parts(image)
        first = n
        n, rings = trace_parts(
            image,
            np.zeros(image.shape, np.uint8),
            np.empty(6 * own.shape[0] + 8, np.int64),
            np.zeros((image.shape[0] + 1) * (image.shape[1] + 1), np.int32),
            points,
            n,
            ends,
            part_of,
            rings,
        )
        for i in range(first, n):
            points[i, 0] += col0
            points[i, 1] += row0
        rings_until[k] = rings
