"""Compiled loops of `prepare`: plain arrays in, `out` filled; arguments are checked by the callers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..compiled_kernels import kernel

Array = np.ndarray[Any, Any]


@kernel
def trim_edges(state: Array, radius: int, rows: Array, out: Array) -> None:
    """Fill `out` with `state` (uint8) without its border, usable pixels (1) near unusable ones given up.

    A pixel stays 1 where all of the (2 radius + 1)² square around it is 1; else it becomes 3 where the square holds a 3, and
    2 where it does not. `state` is larger than `out` by `radius` on each side; `rows` (uint8) is scratch of shape (rows of
    state, cols of out): bit 1 for a stretch that is all usable, bit 2 for one without a 3.
    """
    height, width = out.shape
    side = 2 * radius + 1
    spoiled = False
    for y in range(state.shape[0]):
        line, kept = state[y], rows[y]
        odd = 0
        for x in range(line.shape[0]):
            odd |= line[x] ^ 1
        if odd == 0:
            kept[:] = 3
            continue
        spoiled = True
        # Run counters make the row pass independent of the radius.
        usable = data = 0
        for x in range(line.shape[0]):
            usable = usable + 1 if line[x] == 1 else 0
            data = data + 1 if line[x] != 3 else 0
            if x >= side - 1:
                kept[x - side + 1] = (1 if usable >= side else 0) | (2 if data >= side else 0)
    if not spoiled:
        # Most windows of a clear date.
        out[:] = 1
        return
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


@kernel
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


@kernel
def look_up(classes: Array, table: Array, out: Array) -> None:
    """Fill `out` (uint8, row × col) with what `table` (uint8, 256) says of `classes` (uint8)."""
    for y in range(classes.shape[0]):
        line, row = classes[y], out[y]
        for x in range(line.shape[0]):
            row[x] = table[line[x]]


@kernel
def clear_fill(values: Array, fill: float, out: Array) -> None:
    """Set `out` (uint8) to 0 where any band of `values` (band, row, col) equals `fill`; other pixels stay."""
    bands, height, width = values.shape
    for b in range(bands):
        for y in range(height):
            for x in range(width):
                if values[b, y, x] == fill:
                    out[y, x] = 0


@kernel
def cubic_weights(fraction: float, out: Array) -> None:
    """Fill `out` (4,) with Keys' cubic convolution weights (a = -1/2) for taps at -1, 0, 1, 2."""
    t = fraction
    out[0] = ((-0.5 * t + 1.0) * t - 0.5) * t
    out[1] = (1.5 * t - 2.5) * t * t + 1.0
    out[2] = ((-1.5 * t + 2.0) * t + 0.5) * t
    out[3] = (0.5 * t - 0.5) * t * t


@kernel
def _filter_row(
    source: Array, weights: Array, fill: float, has_fill: bool, numbers: Array, line: Array, near: Array
) -> None:
    """Fill `line` (float64) with four neighbours of a row under `weights`, `near` (uint8) with 1 where one of them is fill.

    `numbers` (float64) is scratch, three longer than `line`.
    """
    for x in range(numbers.shape[0]):
        numbers[x] = source[x]
    first, second, third, fourth = weights[0], weights[1], weights[2], weights[3]
    for x in range(line.shape[0]):
        line[x] = first * numbers[x] + second * numbers[x + 1] + third * numbers[x + 2] + fourth * numbers[x + 3]
    near[:] = 0
    if has_fill:
        found = np.uint8(0)
        for x in range(numbers.shape[0]):
            found = np.uint8(found | (numbers[x] == fill))
        # Most rows hold none.
        if found:
            for x in range(line.shape[0]):
                hit = (
                    (numbers[x] == fill)
                    | (numbers[x + 1] == fill)
                    | (numbers[x + 2] == fill)
                    | (numbers[x + 3] == fill)
                )
                near[x] = np.uint8(hit)


@kernel
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

    `top` is the largest value of the integer type, to which results are clipped. Along each row once, then across the four
    rows last done: the same sums as pixel by pixel, in the same order.
    """
    row_step, col_step = math.floor(shift_row), math.floor(shift_col)
    wr, wc = np.empty(4, np.float64), np.empty(4, np.float64)
    cubic_weights(shift_row - row_step, wr)
    cubic_weights(shift_col - col_step, wc)
    height, width = out.shape
    lines, near = np.empty((4, width), np.float64), np.empty((4, width), np.uint8)
    numbers, total = np.empty(width + 3, np.float64), np.empty(width, np.float64)
    y0, x0 = pad + row_step - 1, pad + col_step - 1
    for y in range(-3, height):
        k = (y + 3) % 4
        _filter_row(values[y0 + y + 3, x0 : x0 + width + 3], wc, fill, has_fill, numbers, lines[k], near[k])
        if y < 0:
            continue
        one, two, three, four = lines[y % 4], lines[(y + 1) % 4], lines[(y + 2) % 4], lines[k]
        for x in range(width):
            summed = wr[0] * one[x] + wr[1] * two[x] + wr[2] * three[x] + wr[3] * four[x]
            total[x] = min(max(np.floor(summed + 0.5), 0.0), top)
        row, hit = out[y], np.uint8(0)
        for x in range(width):
            row[x] = total[x]
        if has_fill:
            a, b, c, d = near[0], near[1], near[2], near[3]
            for x in range(width):
                hit = np.uint8(hit | a[x] | b[x] | c[x] | d[x] | (total[x] == fill))
            if hit:
                for x in range(width):
                    if a[x] | b[x] | c[x] | d[x]:
                        row[x] = fill
                    elif total[x] == fill:
                        # A true value must not become fill by rounding; above the largest number there is none to go to.
                        row[x] = fill + (1.0 if fill < top else -1.0)


@kernel
def _slide(sums: Array, side: int, out: Array) -> None:
    """Fill `out` (int64) with the sums of `side` neighbours of `sums` (int64, longer by ``side - 1``)."""
    total = np.int64(0)
    for x in range(side - 1):
        total += sums[x]
    for x in range(out.shape[0]):
        total += sums[x + side - 1]
        out[x] = total
        total -= sums[x]


@kernel
def mean_and_spread(values: Array, side: int, scale: int, out: Array) -> None:
    """Fill `out` (uint16, band + 1) with the mean of each band over squares of `side`, then the deviation of the bands' mean.

    `values` (uint8 or uint16, band × row × col) has ``side - 1`` more rows and columns than `out`; all is told times `scale`.
    """
    bands, height, width = values.shape
    cols = out.shape[2]
    count = side * side
    # What the columns above a row of squares add up to: of each band, of all bands, of the squares of these.
    columns, bright = np.zeros((bands + 2, width), np.int64), np.empty(width, np.int64)
    first, second = np.empty(cols, np.int64), np.empty(cols, np.int64)
    for y in range(height):
        # A row comes in below, and the one that left above goes; the first squares are whole with their last row.
        for sign in (1, -1):
            row = y if sign == 1 else y - side
            if row < 0:
                continue
            bright[:] = 0
            for b in range(bands):
                line, own = values[b, row], columns[b]
                for x in range(width):
                    own[x] += sign * np.int64(line[x])
                    bright[x] += np.int64(line[x])
            total, squares = columns[bands], columns[bands + 1]
            for x in range(width):
                total[x] += sign * bright[x]
                squares[x] += sign * (bright[x] * bright[x])
        if y < side - 1:
            continue
        for b in range(bands):
            _slide(columns[b], side, first)
            to = out[b, y - side + 1]
            for x in range(cols):
                to[x] = np.uint16(min(np.floor(np.float64(first[x] * scale) / count + 0.5), 65535.0))
        _slide(columns[bands], side, first)
        _slide(columns[bands + 1], side, second)
        to = out[bands, y - side + 1]
        for x in range(cols):
            # A whole number: no cancellation, no dependence on where the square began.
            varied = np.float64(count * second[x] - first[x] * first[x])
            to[x] = np.uint16(min(np.floor(np.sqrt(varied) / (count * bands) * scale + 0.5), 65535.0))
