"""Compiled loops of the second look, over the window of one candidate; arguments are checked by the callers.

A window holds some thousand pixels: array by array, the time would go into the calls and not into the pixels.
"""

from __future__ import annotations

import math
from typing import Any

import numba as nb
import numpy as np

Array = np.ndarray[Any, Any]

BEYOND = 9


@nb.njit(nogil=True, cache=True)
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


@nb.njit(nogil=True, cache=True)
def mark_ring(inside: Array, valid: Array, ring_px: int, ring: Array) -> None:
    """Set `ring` (bool) where a valid pixel outside lies within `ring_px` steps (4-connected) of `inside`."""
    rows, cols = inside.shape
    steps = np.empty((rows, cols), np.int32)
    for y in range(rows):
        for x in range(cols):
            near = 0 if inside[y, x] else ring_px + 1
            if y > 0:
                near = min(near, steps[y - 1, x] + 1)
            if x > 0:
                near = min(near, steps[y, x - 1] + 1)
            steps[y, x] = near
    for y in range(rows - 1, -1, -1):
        for x in range(cols - 1, -1, -1):
            near = steps[y, x]
            if y < rows - 1:
                near = min(near, steps[y + 1, x] + 1)
            if x < cols - 1:
                near = min(near, steps[y, x + 1] + 1)
            steps[y, x] = near
            ring[y, x] = 0 < near <= ring_px and valid[y, x]


@nb.njit(nogil=True, cache=True)
def gathered(image: Array, where: Array, out: Array) -> int:
    """Write the numbers of `image` (row, col) at `where` (bool) into `out`, row by row; return how many there are."""
    n = 0
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            if where[y, x]:
                out[n] = image[y, x]
                n += 1
    return n


@nb.njit(nogil=True, cache=True)
def band_medians(values: Array, where: Array, out: Array) -> None:
    """Fill `out` (float64, band) with the medians of `values` (band, row, col) over `where` (bool, not empty)."""
    scratch = np.empty(where.size, np.float64)
    for b in range(values.shape[0]):
        n = gathered(values[b], where, scratch)
        out[b] = np.median(scratch[:n])


@nb.njit(nogil=True, cache=True)
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


@nb.njit(nogil=True, cache=True)
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


@nb.njit(nogil=True, cache=True)
def _median_at(along: Array, kind: Array, wanted: int, scratch: Array) -> float:
    n = 0
    for i in range(along.size):
        if kind[i] & wanted:
            scratch[n] = along[i]
            n += 1
    return float(np.median(scratch[:n])) if n else math.nan


@nb.njit(nogil=True, cache=True)
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


@nb.njit(nogil=True, cache=True)
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


@nb.njit(nogil=True, cache=True)
def count_covers(
    values: Array,
    where: Array,
    dark: Array,
    visible: Array,
    infrared: Array,
    red: int,
    nir: int,
    vegetated: np.float32,
    bright: np.float32,
    counts: Array,
) -> None:
    """Fill `counts` (int64, 4) with the pixels of `where` that are water, vegetation and bright, and with all of them.

    `values` is float32, (band, row, col), of which `dark` (float32, band) is taken off; `visible` and `infrared` are numbers
    of bands, the first visible one against all infrared ones telling water; `red` and `nir` are -1 where there is none.
    """
    counts[:] = 0
    for y in range(where.shape[0]):
        for x in range(where.shape[1]):
            if not where[y, x]:
                continue
            counts[3] += 1
            if visible.size and infrared.size:
                top = np.float32(-np.inf)
                for b in infrared:
                    top = max(top, values[b, y, x] - dark[b])
                counts[0] += values[visible[0], y, x] - dark[visible[0]] > top
            if red >= 0 and nir >= 0:
                low, high = values[red, y, x] - dark[red], values[nir, y, x] - dark[nir]
                counts[1] += high - low > vegetated * (high + low)
            if visible.size:
                total = np.float32(0)
                for b in visible:
                    total += values[b, y, x] - dark[b]
                counts[2] += total / np.float32(visible.size) > bright


@nb.njit(nogil=True, cache=True)
def _mirrored(i: int, n: int) -> int:
    """Return the place of `i` on an axis of `n` cells that is mirrored at both ends, ends repeated."""
    i = i % (2 * n)
    return i if i < n else 2 * n - 1 - i


@nb.njit(nogil=True, cache=True)
def _smoothed(image: Array, taps: Array) -> Array:
    """Return `image` (float64) under a symmetric kernel along both axes, mirrored at its edges."""
    rows, cols = image.shape
    reach = taps.size // 2
    out = np.zeros((rows, cols))
    line, padded = np.empty(cols), np.empty(cols + 2 * reach)
    for y in range(rows):
        line[:] = 0.0
        for k in range(taps.size):
            source, weight = image[_mirrored(y + k - reach, rows)], taps[k]
            for x in range(cols):
                line[x] += weight * source[x]
        for x in range(padded.size):
            padded[x] = line[_mirrored(x - reach, cols)]
        for k in range(taps.size):
            weight = taps[k]
            for x in range(cols):
                out[y, x] += weight * padded[x + k]
    return out


@nb.njit(nogil=True, cache=True)
def detail_profiles(values: Array, inside: Array, taps: Array, profiles: Array) -> None:
    """Add up the brightness detail of a patch along its columns, rows and both diagonals.

    `values` is (band, row, col), `inside` bool; the detail is what the mean of the bands has over its own smooth course under
    `taps` (float64). `profiles` (float64, 4 × (rows + cols)) is 0 before; each row is filled from its beginning on.
    """
    bands, rows, cols = values.shape
    grey, within = np.zeros((rows, cols)), np.zeros((rows, cols))
    for y in range(rows):
        for x in range(cols):
            if inside[y, x]:
                within[y, x] = 1.0
                for b in range(bands):
                    grey[y, x] += values[b, y, x]
                grey[y, x] /= bands
    smooth, share = _smoothed(grey, taps), _smoothed(within, taps)
    for y in range(rows):
        for x in range(cols):
            if inside[y, x]:
                detail = grey[y, x] - smooth[y, x] / max(share[y, x], 1e-6)
                profiles[0, x] += detail
                profiles[1, y] += detail
                profiles[2, y + x] += detail
                profiles[3, y - x + cols - 1] += detail
