"""Compiled loops over the surroundings and the inside of a patch: its ring, covers, spacing; arguments are checked before.

Inner loops run along a row, band by band, so that the processor takes several pixels at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiled_kernels import kernel

Array = np.ndarray[Any, Any]

PATCH, RING = 1, 2


@kernel
def mark_parts(inside: Array, valid: Array, ring_px: int, parts: Array) -> None:
    """Fill `parts` (uint8) of valid pixels: `PATCH` those `inside`, `RING` those up to `ring_px` steps (4-connected) off."""
    rows, cols = inside.shape
    far = np.uint8(ring_px + 1)
    steps = np.empty((rows, cols), np.uint8)
    for x in range(cols):
        steps[0, x] = 0 if inside[0, x] else far
    for y in range(1, rows):
        for x in range(cols):
            steps[y, x] = 0 if inside[y, x] else min(np.uint8(steps[y - 1, x] + 1), far)
    for y in range(rows - 2, -1, -1):
        for x in range(cols):
            steps[y, x] = min(steps[y, x], np.uint8(steps[y + 1, x] + 1))
    near = np.empty(cols, np.uint8)
    for y in range(rows):
        line = steps[y]
        near[:] = line
        for k in range(1, min(ring_px, cols - 1) + 1):
            ahead, behind = line[k:], line[:-k]
            for x in range(ahead.size):
                near[x] = min(near[x], np.uint8(ahead[x] + k))
            later = near[k:]
            for x in range(behind.size):
                later[x] = min(later[x], np.uint8(behind[x] + k))
        for x in range(cols):
            ring = RING if near[x] < far else 0
            parts[y, x] = (PATCH if near[x] == 0 else ring) if valid[y, x] else 0


@kernel
def _add_above(out: Array, line: Array, off: np.float32) -> None:
    for x in range(out.size):
        out[x] += line[x] - off


@kernel
def _keep_above(told: Array, line: Array, off: np.float32, other: Array, other_off: np.float32) -> None:
    for x in range(told.size):
        told[x] &= line[x] - off > other[x] - other_off


@kernel
def _count(part: Array, told: Array, counts: Array, k: int) -> None:
    patch = ring = 0
    for x in range(part.size):
        patch += told[x] & (part[x] == PATCH)
        ring += told[x] & (part[x] == RING)
    counts[0, k] += patch
    counts[1, k] += ring


@kernel
def count_covers(
    values: Array,
    parts: Array,
    dark: Array,
    visible: Array,
    infrared: Array,
    red: int,
    nir: int,
    vegetated: np.float32,
    bright: np.float32,
    counts: Array,
) -> None:
    """Fill `counts` (int64, 2 × 4) with the pixels of each part that are water, vegetation and bright, and with all of them.

    `values` is float32, (band, row, col), of which `dark` (float32, band) is taken off; `visible` and `infrared` are numbers
    of bands, the first visible one against all infrared ones telling water; `red` and `nir` are -1 where there is none.
    """
    counts[:] = 0
    cols = parts.shape[1]
    level, told = np.empty(cols, np.float32), np.ones(cols, np.bool_)
    for y in range(parts.shape[0]):
        part, known = parts[y], counts[:, 3].sum()
        told[:] = True
        _count(part, told, counts, 3)
        if counts[:, 3].sum() == known:
            continue
        if visible.size and infrared.size:
            first = visible[0]
            for b in infrared:
                _keep_above(told, values[first, y], dark[first], values[b, y], dark[b])
            _count(part, told, counts, 0)
        if red >= 0 and nir >= 0:
            line, other, off, other_off = values[red, y], values[nir, y], dark[red], dark[nir]
            for x in range(cols):
                low, high = line[x] - off, other[x] - other_off
                told[x] = high - low > vegetated * (high + low)
            _count(part, told, counts, 1)
        if visible.size:
            level[:] = 0
            for b in visible:
                _add_above(level, values[b, y], dark[b])
            for x in range(cols):
                told[x] = level[x] / np.float32(visible.size) > bright
            _count(part, told, counts, 2)


@kernel
def _mirrored(i: int, n: int) -> int:
    """Return the place of `i` on an axis of `n` cells that is mirrored at both ends, ends repeated."""
    i = i % (2 * n)
    return i if i < n else 2 * n - 1 - i


@kernel
def _add_three(out: Array, first: Array, second: Array, third: Array, weights: Array) -> None:
    """Add three lines by their weights, one after the other: what is summed stays in the processor meanwhile."""
    a, b, c = weights[0], weights[1], weights[2]
    for x in range(out.size):
        out[x] = ((out[x] + a * first[x]) + b * second[x]) + c * third[x]


@kernel
def _smoothed(image: Array, spans: Array, taps: Array) -> Array:
    """Return `image` (float64) under a symmetric kernel along both axes, mirrored at its edges; 0 outside the `spans`.

    `spans` (int64, row × 2) are the first and last + 1 column wanted of each row; `taps` are three times an odd number.
    """
    rows, cols = image.shape
    reach = taps.size // 2
    out = np.zeros((rows, cols))
    line, padded = np.empty(cols), np.empty(cols + 2 * reach)
    for y in range(rows):
        first, last = spans[y, 0], spans[y, 1]
        left, right = max(first - reach, 0), min(last + reach, cols)
        part, wanted = line[left:right], out[y, first:last]
        part[:] = 0.0
        for k in range(0, taps.size, 3):
            top = y + k - reach
            a, b, c = _mirrored(top, rows), _mirrored(top + 1, rows), _mirrored(top + 2, rows)
            _add_three(part, image[a, left:right], image[b, left:right], image[c, left:right], taps[k : k + 3])
        for x in range(first, last + 2 * reach):
            padded[x] = line[_mirrored(x - reach, cols)]
        near = padded[first : last + 2 * reach]
        n = last - first
        for k in range(0, taps.size, 3):
            _add_three(wanted, near[k : k + n], near[k + 1 : k + 1 + n], near[k + 2 : k + 2 + n], taps[k : k + 3])
    return out


@kernel
def _add_line(out: Array, line: Array) -> None:
    for x in range(out.size):
        out[x] += line[x]


@kernel
def mark_spans(inside: Array, spans: Array) -> None:
    """Fill `spans` (int64, row × 2) with the first and last + 1 column of `inside` (bool) in each row; 0 and 0 of none."""
    for y in range(inside.shape[0]):
        first, last = 0, inside.shape[1]
        while first < last and not inside[y, first]:
            first += 1
        while first < last and not inside[y, last - 1]:
            last -= 1
        spans[y, 0], spans[y, 1] = (first, last) if first < last else (0, 0)


@kernel
def detail_profiles(
    values: Array, inside: Array, spans: Array, row0: int, col0: int, taps: Array, profiles: Array
) -> None:
    """Add up the brightness detail of a patch along its columns, rows and both diagonals.

    `values` is (band, row, col), `inside` bool, with the `spans` of its rows; the rows of `spans` begin at `row0`, its columns
    count from `col0`. The detail is what the mean of the bands has over its own smooth course under `taps` (float64).
    `profiles` (float64, 4 × (rows + cols)) is 0 before; each row is filled from its beginning on.
    """
    rows, cols = spans.shape[0], spans[:, 1].max()
    grey, within = np.zeros((rows, cols)), np.zeros((rows, cols))
    for y in range(rows):
        first, last = spans[y, 0], spans[y, 1]
        line, weight = grey[y, first:last], within[y, first:last]
        weight[:] = inside[row0 + y, col0 + first : col0 + last]
        for b in range(values.shape[0]):
            _add_line(line, values[b, row0 + y, col0 + first : col0 + last])
        for x in range(line.size):
            line[x] = line[x] / values.shape[0] * weight[x]
    smooth, share = _smoothed(grey, spans, taps), _smoothed(within, spans, taps)
    for y in range(rows):
        first, last = spans[y, 0], spans[y, 1]
        detail, rest, weight = grey[y, first:last], smooth[y, first:last], share[y, first:last]
        for x in range(detail.size):
            detail[x] = (detail[x] - rest[x] / max(weight[x], 1e-6)) * within[y, first + x]
            profiles[1, y] += detail[x]
        _add_line(profiles[0, first:last], detail)
        _add_line(profiles[2, y + first : y + last], detail)
        # The other diagonal backwards: what repeats itself does so from either end.
        _add_line(profiles[3, rows - 1 - y + first : rows - 1 - y + last], detail)


@kernel
def second_peak(profile: Array) -> float:
    """Return the height of the first peak of the autocorrelation of `profile` (float64) after its first trough, 0–1."""
    course = profile - profile.mean()
    lags = np.zeros(course.size // 2)
    for i in range(course.size):
        later = course[i : i + lags.size]
        for k in range(later.size):
            lags[k] += course[i] * later[k]
    # Without any course there is no trough.
    trough = 0
    while trough < lags.size and not lags[trough] < 0:
        trough += 1
    peak = 0.0
    for k in range(trough, lags.size):
        peak = max(peak, lags[k] / lags[0])
    return peak
