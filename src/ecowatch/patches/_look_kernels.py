"""Compiled loops of the second look, over the window of one candidate; arguments are checked by the callers.

A window holds some thousand pixels: array by array, the time would go into the calls and not into the pixels.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..codes import State
from ..compiled_kernels import kernel

Array = np.ndarray[Any, Any]

BEYOND = 9
_USABLE, _MASKED, _NO_DATA, _WEAK, _STRONG = (
    int(state) for state in (State.USABLE, State.MASKED, State.NO_DATA, State.WEAK, State.STRONG)
)


@kernel
def _is_seen(state: int) -> bool:
    seen: bool = (state == _USABLE) | (state == _WEAK) | (state == _STRONG)
    return seen


@kernel
def survey(before: Array, after: Array, inside: Array, usable: Array, core: Array, counts: Array) -> None:
    """Set `usable` (bool) where both states (uint8 of `State`) show the ground, and `core` where they do `inside`.

    `counts` (int64, 4) gets the pixels of the core, those masked before and after, and those of which one date alone has no
    data.
    """
    own = masked_before = masked_after = gaps = 0
    for y in range(inside.shape[0]):
        for x in range(inside.shape[1]):
            was, now = before[y, x], after[y, x]
            usable[y, x] = _is_seen(was) & _is_seen(now)
            core[y, x] = usable[y, x] & inside[y, x]
            own += core[y, x]
            masked_before += was == _MASKED
            masked_after += now == _MASKED
            gaps += (was == _NO_DATA) != (now == _NO_DATA)
    counts[0], counts[1], counts[2], counts[3] = own, masked_before, masked_after, gaps


@kernel
def main_axis(inside: Array, told: Array) -> None:
    """Fill `told` (float64, 3) of the pixels `inside` (bool, not empty) along and across their main axis.

    The extent along it, the root mean square distance from it, its angle in radians against the columns.
    """
    n = row = col = 0
    for y in range(inside.shape[0]):
        for x in range(inside.shape[1]):
            if inside[y, x]:
                n += 1
                row += y
                col += x
    middle_y, middle_x = row / n, col / n
    yy = yx = xx = 0.0
    for y in range(inside.shape[0]):
        for x in range(inside.shape[1]):
            if inside[y, x]:
                yy += (y - middle_y) ** 2
                yx += (y - middle_y) * (x - middle_x)
                xx += (x - middle_x) ** 2
    angle = 0.5 * math.atan2(2 * yx, yy - xx)
    cos, sin = math.cos(angle), math.sin(angle)
    least, most, across = math.inf, -math.inf, 0.0
    for y in range(inside.shape[0]):
        for x in range(inside.shape[1]):
            if inside[y, x]:
                along = (y - middle_y) * cos + (x - middle_x) * sin
                least, most = min(least, along), max(most, along)
                across += ((x - middle_x) * cos - (y - middle_y) * sin) ** 2
    told[0], told[1], told[2] = most - least + 1, math.sqrt(across / n), angle


@kernel
def squared_gap(inside: Array, out: Array) -> None:
    """Fill `out` (uint8) with the squared distance to the nearest pixel of `inside` (bool) up to 4, `BEYOND` farther off."""
    rows, cols = inside.shape
    out[:] = BEYOND
    for y in range(rows):
        for x in range(cols):
            if not inside[y, x]:
                continue
            out[y, x] = 0
            if (
                0 < y < rows - 1
                and 0 < x < cols - 1
                and inside[y - 1, x]
                and inside[y + 1, x]
                and inside[y, x - 1]
                and inside[y, x + 1]
            ):
                # Nothing outside has its nearest pixel in the middle of the patch.
                continue
            for j in range(max(-2, -y), min(2, rows - 1 - y) + 1):
                for i in range(max(-2, -x), min(2, cols - 1 - x) + 1):
                    far = j * j + i * i
                    if far <= 4 and far < out[y + j, x + i]:
                        out[y + j, x + i] = far


@kernel
def gathered(image: Array, where: Array, out: Array) -> int:
    """Write the numbers of `image` (row, col) at `where` (bool) into `out`, row by row; return how many there are."""
    n = 0
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            if where[y, x]:
                out[n] = image[y, x]
                n += 1
    return n


@kernel
def band_medians(values: Array, where: Array, out: Array) -> None:
    """Fill `out` (float64, band) with the medians of `values` (band, row, col) over `where` (bool, not empty)."""
    scratch = np.empty(where.size, np.float64)
    for b in range(values.shape[0]):
        n = gathered(values[b], where, scratch)
        out[b] = np.median(scratch[:n])


@kernel
def within_patch(before: Array, after: Array, core: Array, top: np.float32, means: Array, told: Array) -> None:
    """Measure the pixels of `core` (bool, not empty) on both dates (float32, band × row × col).

    `means` (float64, 2 × band) gets the mean spectra. `told` (float64, 7) gets the shares of pixels with two bands (or the
    only one) at `top` before and after; the deviation of brightness before and after, and their covariance; mean and
    deviation of the change of brightness.
    """
    bands, rows, cols = before.shape
    least = min(2, bands)
    grey = np.empty((3, core.size), np.float64)
    means[:] = 0.0
    told[:] = 0.0
    n = 0
    for y in range(rows):
        for x in range(cols):
            if not core[y, x]:
                continue
            at_top_b = at_top_a = 0
            first = second = change = 0.0
            for b in range(bands):
                was, now = before[b, y, x], after[b, y, x]
                at_top_b += was >= top
                at_top_a += now >= top
                means[0, b] += was
                means[1, b] += now
                first += was
                second += now
                change += now - was
            told[0] += at_top_b >= least
            told[1] += at_top_a >= least
            grey[0, n] = first / bands
            grey[1, n] = second / bands
            grey[2, n] = change / bands
            n += 1
    means /= n
    told[0] /= n
    told[1] /= n
    middle = np.empty(3)
    for k in range(3):
        total = 0.0
        for i in range(n):
            total += grey[k, i]
        middle[k] = total / n
    for i in range(n):
        first, second = grey[0, i] - middle[0], grey[1, i] - middle[1]
        told[2] += first * first
        told[3] += second * second
        told[4] += first * second
        told[6] += (grey[2, i] - middle[2]) ** 2
    told[2] = math.sqrt(told[2] / n)
    told[3] = math.sqrt(told[3] / n)
    told[4] /= n
    told[5] = middle[2]
    told[6] = math.sqrt(told[6] / n)


@kernel
def mark_alike(before: Array, ground: Array, spectrum: Array, limit: float, like: Array) -> int:
    """Set `like` (bool) where no band of `before` differs from `spectrum` by more than `limit`; return how many there are."""
    n = 0
    for y in range(ground.shape[0]):
        for x in range(ground.shape[1]):
            near = ground[y, x]
            for b in range(before.shape[0]):
                near = near and abs(before[b, y, x] - spectrum[b]) <= limit
            like[y, x] = near
            n += near
    return n


@kernel
def _median_at(along: Array, kind: Array, wanted: int, scratch: Array) -> float:
    n = 0
    for i in range(along.size):
        if kind[i] & wanted:
            scratch[n] = along[i]
            n += 1
    return float(np.median(scratch[:n])) if n else math.nan


@kernel
def rim_step(
    before: Array, after: Array, core: Array, ground: Array, usable: Array, gap: Array, depth: Array, levels: Array
) -> float:
    """Return the step of the change at the rim over its full height; NaN where a part has too few pixels.

    `gap` and `depth` are of `squared_gap` and `squared_depth` (of `core`); `levels` (float64, band) is what the ground did.
    """
    bands, rows, cols = before.shape
    main = np.zeros(bands)
    n = 0
    for y in range(rows):
        for x in range(cols):
            if depth[y, x] >= 9:
                n += 1
                for b in range(bands):
                    main[b] += np.float64(after[b, y, x]) - before[b, y, x] - levels[b]
    if n < 4:
        return math.nan
    main /= n
    length = 0.0
    for b in range(bands):
        length += main[b] * main[b]
    main /= max(math.sqrt(length), 1e-9)
    along = np.zeros(core.size)
    # Bits of a pixel: 1 middle, 2 ground, 4 rim inside, 8 just beyond.
    kind = np.zeros(core.size, np.uint8)
    for y in range(rows):
        for x in range(cols):
            i = y * cols + x
            if core[y, x]:
                kind[i] |= 1 if depth[y, x] >= 9 else 0
                kind[i] |= 4 if depth[y, x] <= 2 else 0
            kind[i] |= 2 if ground[y, x] else 0
            kind[i] |= 8 if usable[y, x] and 0 < gap[y, x] <= 2 else 0
            if kind[i]:
                for b in range(bands):
                    along[i] += main[b] * (np.float64(after[b, y, x]) - before[b, y, x] - levels[b])
    scratch = np.empty(core.size)
    height = _median_at(along, kind, 1, scratch) - _median_at(along, kind, 2, scratch)
    step = _median_at(along, kind, 4, scratch) - _median_at(along, kind, 8, scratch)
    return step / height if height > 1e-6 else math.nan


@kernel
def change_left(
    before: Array, after: Array, core: Array, ground: Array, level_px: int, row: float, col: float, scratch: Array
) -> float:
    """Return Σ over `core` of the squared change that is left once `before` is moved by (row, col), ground taken off.

    Linear between pixels, the nearest pixel beyond the edge. The median of `ground` is taken off where it has at least
    `level_px` pixels; `scratch` (float64) has room for all pixels.
    """
    bands, rows, cols = before.shape
    total = 0.0
    for b in range(bands):
        # The ground from the front, the patch from the back.
        n, own = 0, scratch.size
        for y in range(rows):
            for x in range(cols):
                if not (core[y, x] or ground[y, x]):
                    continue
                v = min(max(y - row, 0.0), rows - 1.0)
                u = min(max(x - col, 0.0), cols - 1.0)
                y0, x0 = min(int(v), max(rows - 2, 0)), min(int(u), max(cols - 2, 0))
                y1, x1 = min(y0 + 1, rows - 1), min(x0 + 1, cols - 1)
                fv, fu = v - y0, u - x0
                upper = (1 - fu) * before[b, y0, x0] + fu * before[b, y0, x1]
                lower = (1 - fu) * before[b, y1, x0] + fu * before[b, y1, x1]
                rest = after[b, y, x] - ((1 - fv) * upper + fv * lower)
                if core[y, x]:
                    own -= 1
                    scratch[own] = rest
                else:
                    scratch[n] = rest
                    n += 1
        level = np.median(scratch[:n]) if n >= level_px else 0.0
        for i in range(own, scratch.size):
            total += (scratch[i] - level) ** 2
    return total
