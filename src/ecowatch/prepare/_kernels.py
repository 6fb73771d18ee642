"""Compiled loops of `prepare`: plain arrays in, `out` filled; arguments are checked by the callers."""

from __future__ import annotations

import math
from typing import Any

import numba as nb
import numpy as np

Array = np.ndarray[Any, Any]


@nb.njit(nogil=True, cache=True)
def trim_edges(state: Array, radius: int, rows: Array, out: Array) -> None:
    """Fill `out` with `state` (uint8) without its border, usable pixels (1) near unusable ones given up.

    A pixel stays 1 where all of the (2 radius + 1)² square around it is 1; else it becomes 3 where the square holds a 3, and
    2 where it does not. `state` is larger than `out` by `radius` on each side; `rows` (uint8) is scratch of shape (rows of
    state, cols of out): bit 1 for a stretch that is all usable, bit 2 for one without a 3.
    """
    height, width = out.shape
    side = 2 * radius + 1
    for y in range(state.shape[0]):
        line, kept = state[y], rows[y]
        odd = 0
        for x in range(line.shape[0]):
            odd |= line[x] ^ 1
        if odd == 0:
            kept[:] = 3
            continue
        # Run counters make the row pass independent of the radius.
        usable = data = 0
        for x in range(line.shape[0]):
            usable = usable + 1 if line[x] == 1 else 0
            data = data + 1 if line[x] != 3 else 0
            if x >= side - 1:
                kept[x - side + 1] = (1 if usable >= side else 0) | (2 if data >= side else 0)
    for y in range(height):
        line, row = state[y + radius, radius:], out[y]
        for k in range(1, side):
            kept, more = rows[y], rows[y + k]
            for x in range(width):
                # Row y of the scratch is not needed again: the rows below come after it.
                kept[x] &= more[x]
        kept = rows[y]
        for x in range(width):
            v = line[x]
            if v == 1 and kept[x] & 1 == 0:
                v = 2 if kept[x] & 2 else 3
            row[x] = v


@nb.njit(nogil=True, cache=True)
def to_physical(
    numbers: Array, fill: float, has_fill: bool, scale: Array, offset: Array, out: Array, valid: Array
) -> None:
    """Fill `out` (float32) with numbers × scale + offset by band; `valid` (bool) becomes False where any band is `fill`."""
    for b in range(numbers.shape[0]):
        own_scale, own_offset = scale[b], offset[b]
        for y in range(numbers.shape[1]):
            line, to = numbers[b, y], out[b, y]
            filled = 0
            for x in range(line.shape[0]):
                to[x] = np.float32(line[x]) * own_scale + own_offset
                filled |= line[x] == fill
            if has_fill and filled:
                for x in range(line.shape[0]):
                    if line[x] == fill:
                        valid[y, x] = False


@nb.njit(nogil=True, cache=True)
def clear_fill(values: Array, fill: float, out: Array) -> None:
    """Set `out` (uint8) to 0 where any band of `values` (band, row, col) equals `fill`; other pixels stay."""
    bands, height, width = values.shape
    for b in range(bands):
        for y in range(height):
            for x in range(width):
                if values[b, y, x] == fill:
                    out[y, x] = 0


@nb.njit(nogil=True, cache=True)
def cubic_weights(fraction: float, out: Array) -> None:
    """Fill `out` (4,) with Keys' cubic convolution weights (a = -1/2) for taps at -1, 0, 1, 2."""
    t = fraction
    out[0] = ((-0.5 * t + 1.0) * t - 0.5) * t
    out[1] = (1.5 * t - 2.5) * t * t + 1.0
    out[2] = ((-1.5 * t + 2.0) * t + 0.5) * t
    out[3] = (0.5 * t - 0.5) * t * t


@nb.njit(nogil=True, cache=True)
def shift_cubic(
    values: Array,
    pad: int,
    shift_row: float,
    shift_col: float,
    fill: float,
    has_fill: bool,
    top: float,
    out: Array,
) -> None:
    """Sample one padded band at (row + shift_row, col + shift_col), rounded to integers; fill in the support gives fill.

    `top` is the largest value of the integer type, to which results are clipped.
    """
    row_step, col_step = math.floor(shift_row), math.floor(shift_col)
    wr, wc = np.empty(4, np.float64), np.empty(4, np.float64)
    cubic_weights(shift_row - row_step, wr)
    cubic_weights(shift_col - col_step, wc)
    height, width = out.shape
    for y in range(height):
        y0 = y + pad + row_step - 1
        for x in range(width):
            x0 = x + pad + col_step - 1
            total, hit = 0.0, False
            for j in range(4):
                line = 0.0
                for i in range(4):
                    v = values[y0 + j, x0 + i]
                    if has_fill and v == fill:
                        hit = True
                    line += wc[i] * v
                total += wr[j] * line
            if hit:
                out[y, x] = fill
            else:
                value = min(max(float(math.floor(total + 0.5)), 0.0), top)
                # A true value must not become fill by rounding; above the largest number there is none to go to.
                if has_fill and value == fill:
                    value += 1.0 if value < top else -1.0
                out[y, x] = value


@nb.njit(nogil=True, cache=True)
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


@nb.njit(nogil=True, cache=True)
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
    for y in range(rim, height - rim):
        v = y + row
        if v < 0 or v + 1 >= height:
            continue
        for x in range(rim, width - rim):
            u = x + col
            if not valid[y, x] or u < 0 or u + 1 >= width:
                continue
            above = valid[v, u] * (1 - right) + valid[v, u + 1] * right
            below = valid[v + 1, u] * (1 - right) + valid[v + 1, u + 1] * right
            if above * (1 - lower) + below * lower <= 0.999:
                continue
            found[0, n] = (reference[y + 1, x] + moved[y + 1, x] - reference[y - 1, x] - moved[y - 1, x]) / 4
            found[1, n] = (reference[y, x + 1] + moved[y, x + 1] - reference[y, x - 1] - moved[y, x - 1]) / 4
            found[2, n] = moved[y, x] - reference[y, x]
            n += 1
    return n


@nb.njit(nogil=True, cache=True)
def overlap_correlation(a: Array, b: Array, valid: Array, row: int, col: int, least: int) -> float:
    """Return the correlation of `a` with `b` moved by whole pixels where both are valid; -1 where fewer than `least` are."""
    rows, cols = a.shape
    n, sum_a, sum_b = 0, 0.0, 0.0
    for y in range(max(0, -row), min(rows, rows - row)):
        for x in range(max(0, -col), min(cols, cols - col)):
            if valid[y, x] and valid[y + row, x + col]:
                n += 1
                sum_a += a[y, x]
                sum_b += b[y + row, x + col]
    if n < least:
        return -1.0
    mean_a, mean_b = sum_a / n, sum_b / n
    both, own_a, own_b = 0.0, 0.0, 0.0
    for y in range(max(0, -row), min(rows, rows - row)):
        for x in range(max(0, -col), min(cols, cols - col)):
            if valid[y, x] and valid[y + row, x + col]:
                p, q = a[y, x] - mean_a, b[y + row, x + col] - mean_b
                both += p * q
                own_a += p * p
                own_b += q * q
    scale = math.sqrt(own_a) * math.sqrt(own_b)
    return both / scale if scale > 0 else -1.0
