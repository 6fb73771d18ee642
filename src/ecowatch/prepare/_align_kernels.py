"""Compiled loops of `align`: how far two dates of one window lie apart; images are float64, arguments checked by the callers.

Sums that would make each addition wait for the one before are kept in `LANES` parts: many at a time, and the same on every
machine.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..compiled_kernels import kernel

Array = np.ndarray[Any, Any]

LANES = 8


@kernel
def _smooth(image: Array, out: Array) -> None:
    """Weights 1, 2, 1 along both axes; the rim stays as it is along the axis that ends there."""
    rows, cols = image.shape
    line = np.empty(cols, np.float64)
    for y in range(rows):
        line[:] = image[y]
        if 0 < y < rows - 1:
            for x in range(cols):
                line[x] = (image[y - 1, x] + 2 * image[y, x] + image[y + 1, x]) / 4
        to = out[y]
        to[0], to[cols - 1] = line[0], line[cols - 1]
        for x in range(1, cols - 1):
            to[x] = (line[x - 1] + 2 * line[x] + line[x + 1]) / 4


@kernel
def _add_line(sums: Array, line: Array, sign: float) -> None:
    for x in range(line.shape[0]):
        sums[x] += sign * line[x]


@kernel
def standard_images(
    image: Array, valid: Array, low: float, high: float, side: int, standard: Array, smooth: Array, fine: Array
) -> None:
    """Fill an image clipped to `low` … `high` with mean 0 and deviation 1, its smooth self, and the detail of that.

    Detail is what stands out from the mean of the valid pixels within a square of odd `side`; all but `smooth` are 0 where
    not `valid` (bool).
    """
    rows, cols = image.shape
    count, total, squares = 0, 0.0, 0.0
    for y in range(rows):
        for x in range(cols):
            if valid[y, x]:
                count += 1
                total += min(max(image[y, x], low), high)
    mean = total / count
    for y in range(rows):
        for x in range(cols):
            standard[y, x] = min(max(image[y, x], low), high) - mean if valid[y, x] else 0.0
            squares += standard[y, x] * standard[y, x]
    deviation = math.sqrt(squares / count)
    for y in range(rows):
        for x in range(cols):
            standard[y, x] /= deviation
    _smooth(standard, smooth)
    half = side // 2
    sums, counts, own = np.zeros(cols, np.float64), np.zeros(cols, np.float64), np.empty(cols, np.float64)
    for y in range(-half, rows):
        if y + half < rows:
            _add_line(sums, standard[y + half], 1.0)
            own[:] = valid[y + half]
            _add_line(counts, own, 1.0)
        if y - half - 1 >= 0:
            _add_line(sums, standard[y - half - 1], -1.0)
            own[:] = valid[y - half - 1]
            _add_line(counts, own, -1.0)
        if y < 0:
            continue
        broad, around = 0.0, 0.0
        for x in range(-half, cols):
            if x + half < cols:
                broad += sums[x + half]
                around += counts[x + half]
            if x - half - 1 >= 0:
                broad -= sums[x - half - 1]
                around -= counts[x - half - 1]
            if x >= 0:
                fine[y, x] = smooth[y, x] - broad / around if valid[y, x] else 0.0


@kernel
def leading_peaks(correlation: Array, reach_row: int, reach_col: int, found: Array) -> int:
    """Fill `found` (int64, n × 2) with displacements of the highest peaks of a surface that begins at its middle.

    Peaks are looked for up to the reach in rows and columns; of equal ones the first counts. Returns how many there are.
    """
    heights = np.full(found.shape[0] + 1, -np.inf)
    n = 0
    for row in range(-reach_row, reach_row + 1):
        for col in range(-reach_col, reach_col + 1):
            here = correlation[row, col]
            if n == found.shape[0] and here <= heights[n - 1]:
                continue
            leading = True
            for j in range(max(row - 1, -reach_row), min(row + 1, reach_row) + 1):
                for i in range(max(col - 1, -reach_col), min(col + 1, reach_col) + 1):
                    leading &= correlation[j, i] <= here
            if not leading:
                continue
            place = min(n, found.shape[0] - 1)
            n = place + 1
            while place > 0 and heights[place - 1] < here:
                heights[place] = heights[place - 1]
                found[place] = found[place - 1]
                place -= 1
            heights[place] = here
            found[place, 0], found[place, 1] = row, col
    return n


@kernel
def _overlap_sum(x: Array, y: Array, row: int, col: int, sums: Array) -> float:
    """Sum of products of `x` with `y` moved by whole pixels; `sums` is scratch of as many columns."""
    rows, cols = x.shape
    sums[:] = 0.0
    for v in range(max(0, -row), min(rows, rows - row)):
        here, there = x[v, max(0, -col) : min(cols, cols - col)], y[v + row, max(0, col) : min(cols, cols + col)]
        # Column by column, not in one sum: an addition need not wait for the one before.
        for u in range(here.shape[0]):
            sums[u] += here[u] * there[u]
    return float(sums.sum())


@kernel
def overlap_correlations(a: Array, b: Array, valid: Array, candidates: Array, least: int, out: Array) -> None:
    """Fill `out` (n,) with the correlation of `a` with `b` moved by each of the displacements (int64, n × 2).

    Images must be 0 where not `valid`, and about 0 in the mean; -1 where fewer than `least` pixels are valid in both.
    """
    square_a, square_b, seen = a * a, b * b, valid * 1.0
    sums = np.empty(a.shape[1], np.float64)
    for k in range(candidates.shape[0]):
        row, col = candidates[k]
        out[k] = -1.0
        n = _overlap_sum(seen, seen, row, col, sums)
        if n < least:
            continue
        sum_a, sum_b = _overlap_sum(a, seen, row, col, sums), _overlap_sum(seen, b, row, col, sums)
        both = _overlap_sum(a, b, row, col, sums) - sum_a * sum_b / n
        own_a = _overlap_sum(square_a, seen, row, col, sums) - sum_a * sum_a / n
        own_b = _overlap_sum(seen, square_b, row, col, sums) - sum_b * sum_b / n
        scale = math.sqrt(max(own_a, 0.0)) * math.sqrt(max(own_b, 0.0))
        if scale > 0:
            out[k] = both / scale


@kernel
def moved_spline(
    spline: Array, row_weights: Array, rows: Array, col_weights: Array, cols: Array, lines: Array, out: Array
) -> None:
    """Fill `out` with what spline coefficients tell at places that are four weights and indices per row and per column.

    All float64 but the indices (int64); ``row_weights[k, y]`` belongs to ``spline[rows[k, y]]``. `lines` is scratch of the
    shape (rows of out, columns of spline).
    """
    for y in range(out.shape[0]):
        line = lines[y]
        line[:] = 0.0
        for k in range(4):
            weight, source = row_weights[k, y], spline[rows[k, y]]
            for x in range(line.shape[0]):
                line[x] += weight * source[x]
        to = out[y]
        to[:] = 0.0
        for k in range(4):
            for x in range(to.shape[0]):
                to[x] += col_weights[k, x] * line[cols[k, x]]


@kernel
def _seen(valid: Array, y: int, x: int, lower: float, right: float) -> bool:
    """Whether there is valid ground at a place between four pixels, the first at (y, x)."""
    a, b, c, d = valid[y, x], valid[y, x + 1], valid[y + 1, x], valid[y + 1, x + 1]
    if a and b and c and d:
        return True
    above = a * (1 - right) + b * right
    below = c * (1 - right) + d * right
    return bool(above * (1 - lower) + below * lower > 0.999)


@kernel
def slopes_of(
    reference: Array, moved: Array, valid: Array, position: tuple[float, float], rim: int, found: Array
) -> int:
    """Fill `found` (float64, 3 × n) with slope by row, slope by column and difference of usable pixels; return how many.

    Usable is what is valid (bool), has valid ground where it was moved to (linear between four pixels), and lies `rim`
    pixels off the edge.
    """
    height, width = reference.shape
    row, col = math.floor(position[0]), math.floor(position[1])
    lower, right = position[0] - row, position[1] - col
    n = 0
    for y in range(max(rim, -row), min(height - rim, height - 1 - row)):
        for x in range(max(rim, -col), min(width - rim, width - 1 - col)):
            if not valid[y, x] or not _seen(valid, y + row, x + col, lower, right):
                continue
            found[0, n] = (reference[y + 1, x] + moved[y + 1, x] - reference[y - 1, x] - moved[y - 1, x]) / 4
            found[1, n] = (reference[y, x + 1] + moved[y, x + 1] - reference[y, x - 1] - moved[y, x - 1]) / 4
            found[2, n] = moved[y, x] - reference[y, x]
            n += 1
    return n


@kernel
def _add_slope(parts: Array, lane: int, r: float, c: float, d: float, middle: float, limit: float) -> None:
    weight = 1.0 if abs(d - middle) <= limit else 0.0
    parts[0, lane] += weight * r * r
    parts[1, lane] += weight * r * c
    parts[2, lane] += weight * c * c
    parts[3, lane] += weight * r * d
    parts[4, lane] += weight * c * d


@kernel
def slope_sums(found: Array, middle: float, limit: float, sums: Array) -> None:
    """Fill `sums` (5,) with Σr², Σr·c, Σc², Σr·d and Σc·d of `found` (r, c, d × n) where d is off `middle` by up to `limit`."""
    slope_row, slope_col, difference = found[0], found[1], found[2]
    parts = np.zeros((5, LANES), np.float64)
    count = found.shape[1]
    whole = count // LANES * LANES
    for k in range(0, whole, LANES):
        for i in range(LANES):
            _add_slope(parts, i, slope_row[k + i], slope_col[k + i], difference[k + i], middle, limit)
    for k in range(whole, count):
        _add_slope(parts, k - whole, slope_row[k], slope_col[k], difference[k], middle, limit)
    for m in range(5):
        sums[m] = parts[m].sum()


@kernel
def moved_correlation(a: Array, b: Array, valid: Array, position: tuple[float, float], least: int) -> float:
    """Return the correlation of `a` with `b` moved, linear between pixels, where valid; 0 where fewer than `least` are."""
    rows, cols = a.shape
    row, col = math.floor(position[0]), math.floor(position[1])
    lower, right = position[0] - row, position[1] - col
    pairs = np.empty((2, a.size), np.float64)
    n, sum_a, sum_b = 0, 0.0, 0.0
    for y in range(max(0, -row), min(rows, rows - row - 1)):
        for x in range(max(0, -col), min(cols, cols - col - 1)):
            v, u = y + row, x + col
            if not valid[y, x] or not _seen(valid, v, u, lower, right):
                continue
            above = b[v, u] * (1 - right) + b[v, u + 1] * right
            below = b[v + 1, u] * (1 - right) + b[v + 1, u + 1] * right
            pairs[0, n], pairs[1, n] = a[y, x], above * (1 - lower) + below * lower
            sum_a += pairs[0, n]
            sum_b += pairs[1, n]
            n += 1
    if n < least:
        return 0.0
    mean_a, mean_b = sum_a / n, sum_b / n
    both, own_a, own_b = 0.0, 0.0, 0.0
    for i in range(n):
        p, q = pairs[0, i] - mean_a, pairs[1, i] - mean_b
        both += p * q
        own_a += p * p
        own_b += q * q
    scale = math.sqrt(own_a) * math.sqrt(own_b)
    return both / scale if scale > 0 else 0.0
