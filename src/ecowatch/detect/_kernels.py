"""Compiled loops of `detect`: plain arrays in, `out` filled; arguments are checked by the callers.

One pass per block: numbers to float32, the linear variates, their weighted squares, the thresholds. Rows are walked in
segments that stay in the first-level cache, and each inner loop touches two arrays, so that it is vectorised; the same sum
written pixel by pixel is four times slower. No fast-math: results must not depend on the machine's vector width.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

Array = np.ndarray[Any, Any]

SEGMENT = 512
# Pixels that are asked at once whether any is flagged.
STRIDE = 64


@nb.njit(nogil=True, cache=True)
def _axpy(weight: np.float32, x: Array, y: Array) -> None:
    for i in range(SEGMENT):
        y[i] += weight * x[i]


@nb.njit(nogil=True, cache=True)
def _add_square(weight: np.float32, x: Array, y: Array) -> None:
    for i in range(SEGMENT):
        y[i] += weight * x[i] * x[i]


@nb.njit(nogil=True, cache=True)
def _to_float(numbers: Array, fill: float, has_fill: bool, out: Array, state: Array) -> None:
    n = numbers.shape[0]
    for i in range(n):
        out[i] = np.float32(numbers[i])
    if has_fill:
        # As a number of the band's own type: what is not widened is compared many at a time; and most rows hold none.
        own = numbers.dtype.type(fill)
        found = 0
        for i in range(n):
            found |= numbers[i] == own
        if found:
            for i in range(n):
                # USABLE (1) becomes NO_DATA (3); other states keep their reason.
                if numbers[i] == own and state[i] == 1:
                    state[i] = 3


@nb.njit(nogil=True, cache=True)
def score_block(
    before: Array,
    after: Array,
    before_fill: float,
    after_fill: float,
    has_fill: tuple[bool, bool],
    before_weights: Array,
    after_weights: Array,
    constant: Array,
    inverse_variance: Array,
    weak: np.float32,
    strong: np.float32,
    state: Array,
    score: Array,
) -> None:
    """Fill `score` (float32, row × col) and raise usable pixels of `state` (uint8) to WEAK (4) or STRONG (5).

    score = Σ_k inverse_variance[k] · (constant[k] + before_weights[k]·before − after_weights[k]·after)²
    """
    bands, rows, cols = before.shape
    variates = constant.shape[0]
    x = np.zeros((2 * bands, SEGMENT), np.float32)
    t = np.empty(SEGMENT, np.float32)
    q = np.empty(SEGMENT, np.float32)
    for y in range(rows):
        for x0 in range(0, cols, SEGMENT):
            x1 = min(x0 + SEGMENT, cols)
            part = state[y, x0:x1]
            for b in range(bands):
                _to_float(before[b, y, x0:x1], before_fill, has_fill[0], x[b], part)
                _to_float(after[b, y, x0:x1], after_fill, has_fill[1], x[bands + b], part)
            q[:] = np.float32(0)
            for k in range(variates):
                t[:] = constant[k]
                for b in range(bands):
                    _axpy(before_weights[k, b], x[b], t)
                    _axpy(-after_weights[k, b], x[bands + b], t)
                _add_square(inverse_variance[k], t, q)
            row = score[y, x0:x1]
            for i in range(x1 - x0):
                row[i] = q[i]
            above = 0
            for i in range(x1 - x0):
                above |= row[i] > weak
            if above:
                for i in range(x1 - x0):
                    if part[i] == 1 and row[i] > weak:
                        part[i] = 5 if row[i] > strong else 4


@nb.njit(nogil=True, cache=True)
def _project(weights: Array, image: Array, y: int, x: int, out: Array) -> None:
    for k in range(weights.shape[0]):
        total = np.float32(0)
        for b in range(weights.shape[1]):
            total += weights[k, b] * np.float32(image[b, y, x])
        out[k] = total


@nb.njit(nogil=True, cache=True)
def _has_fill(image: Array, fill: float, y: int, x: int) -> bool:
    found = False
    for b in range(image.shape[0]):
        found |= image[b, y, x] == fill
    return found


@nb.njit(nogil=True, cache=True)
def _least_distance(
    fixed: Array,
    weights: Array,
    image: Array,
    fill: float,
    has_fill: bool,
    constant: Array,
    inverse_variance: Array,
    sign: np.float32,
    y: int,
    x: int,
    reach: int,
    enough: np.float32,
    scratch: Array,
) -> np.float32:
    """Smallest score between `fixed` and the pixels of `image` around (y, x); stops once it is `enough`."""
    least = np.float32(np.inf)
    for j in range(max(-reach, -y), min(reach, image.shape[1] - 1 - y) + 1):
        for i in range(max(-reach, -x), min(reach, image.shape[2] - 1 - x) + 1):
            if has_fill and _has_fill(image, fill, y + j, x + i):
                continue
            _project(weights, image, y + j, x + i, scratch)
            total = np.float32(0)
            for k in range(constant.shape[0]):
                d = constant[k] + sign * (fixed[k] - scratch[k])
                total += inverse_variance[k] * d * d
            least = min(least, total)
            if least <= enough:
                return least
    return least


@nb.njit(nogil=True, cache=True)
def forgive_edges(
    before: Array,
    after: Array,
    before_fill: float,
    after_fill: float,
    has_fill: tuple[bool, bool],
    before_weights: Array,
    after_weights: Array,
    constant: Array,
    inverse_variance: Array,
    strong: np.float32,
    reach: int,
    pad_row: int,
    pad_col: int,
    state: Array,
) -> None:
    """Turn STRONG (5) pixels to WEAK (4) where a displacement of up to `reach` pixels explains the score.

    `before` and `after` begin `pad_row` rows above and `pad_col` columns left of `state`; what lies beyond them is not
    looked at.
    """
    variates = constant.shape[0]
    fixed = np.empty(variates, np.float32)
    scratch = np.empty(variates, np.float32)
    one = np.float32(1)
    for y in range(state.shape[0]):
        for x in range(state.shape[1]):
            if state[y, x] != 5:
                continue
            _project(before_weights, before, y + pad_row, x + pad_col, fixed)
            forth = _least_distance(
                fixed,
                after_weights,
                after,
                after_fill,
                has_fill[1],
                constant,
                inverse_variance,
                one,
                y + pad_row,
                x + pad_col,
                reach,
                strong,
                scratch,
            )
            _project(after_weights, after, y + pad_row, x + pad_col, fixed)
            back = _least_distance(
                fixed,
                before_weights,
                before,
                before_fill,
                has_fill[0],
                constant,
                inverse_variance,
                -one,
                y + pad_row,
                x + pad_col,
                reach,
                strong,
                scratch,
            )
            if max(forth, back) <= strong:
                state[y, x] = 4


@nb.njit(nogil=True, cache=True)
def flag_turns(before: Array, after: Array, bands: Array, wet: Array, dry: Array, state: Array) -> None:
    """Raise usable (1) and weak (4) pixels of `state` to STRONG (5) where land became water or water land.

    A date is water where all `bands` are below `wet`, land where all are above `dry` (int64, 2 × band: before, after; numbers
    of the files).
    """
    rows, cols = state.shape
    # Bits: 1 water before, 2 land before, 4 water after, 8 land after.
    kind = np.empty(cols, np.uint8)
    for y in range(rows):
        kind[:] = 15
        for k in range(bands.size):
            first, second = before[bands[k], y], after[bands[k], y]
            wet_b, wet_a, dry_b, dry_a = wet[0, k], wet[1, k], dry[0, k], dry[1, k]
            for x in range(cols):
                kind[x] &= (
                    (1 if first[x] < wet_b else 0)
                    | (2 if first[x] > dry_b else 0)
                    | (4 if second[x] < wet_a else 0)
                    | (8 if second[x] > dry_a else 0)
                )
        for x in range(cols):
            if (kind[x] & 9 == 9 or kind[x] & 6 == 6) and (state[y, x] == 1 or state[y, x] == 4):
                state[y, x] = 5


@nb.njit(nogil=True, cache=True)
def count_runs(state: Array, rows_with: Array) -> tuple[int, int]:
    """Return the number of flagged runs (WEAK 4 and STRONG 5 together) and of unseen runs (MASKED 2, NO_DATA 3, apart).

    `rows_with` (uint8, row) is filled with 1 where a row holds flagged pixels, 2 unseen ones, 3 both: most rows hold none,
    and the question is asked of whole rows at once.
    """
    rows, cols = state.shape
    flagged = unseen = 0
    for y in range(rows):
        row = state[y]
        above, between = 0, 0
        for x in range(cols):
            above |= row[x] >> 2
            # 2 and 3 alone have the second bit: OUTSIDE is 0, USABLE 1, WEAK 4, STRONG 5.
            between |= row[x] & 2
        rows_with[y] = (1 if above else 0) | (2 if between else 0)
        if rows_with[y] == 0:
            continue
        flagged += row[0] >> 2
        unseen += (row[0] >> 1) & 1
        for x in range(1, cols):
            # A run begins where the pixel before is of another kind; without branches many pixels are asked at a time.
            flagged += (row[x] >> 2) & (1 ^ (row[x - 1] >> 2))
            unseen += ((row[x] >> 1) & 1) & (row[x] != row[x - 1])
    return flagged, unseen


@nb.njit(nogil=True, cache=True)
def _next_flagged(row: Array, x: int) -> int:
    """Return the first flagged pixel from `x` on, or the end of the row; many are asked at once, then few, then each."""
    n = row.shape[0]
    while x < n:
        if x & 7 == 0 and x + 8 <= n:
            if x % STRIDE == 0 and x + STRIDE <= n:
                above = np.uint8(0)
                for i in range(STRIDE):
                    above |= row[x + i]
                if above < 4:
                    x += STRIDE
                    continue
            near = row[x] | row[x + 1] | row[x + 2] | row[x + 3] | row[x + 4] | row[x + 5] | row[x + 6] | row[x + 7]
            if near < 4:
                x += 8
                continue
        if row[x] >= 4:
            return int(x)
        x += 1
    return int(n)


@nb.njit(nogil=True, cache=True)
def flagged_runs(
    state: Array,
    score: Array,
    before: Array,
    after: Array,
    rows_with: Array,
    row0: int,
    col0: int,
    runs: Array,
    sums: Array,
) -> None:
    """Fill `runs` (row, first col, last col + 1) of WEAK and STRONG pixels and their exact integer `sums`.

    Columns of `sums`: strong pixels, Σ and max of 100·√score (rounded), Σ before per band, Σ after per band.
    """
    rows, cols = state.shape
    bands = before.shape[0]
    n = 0
    for y in range(rows):
        if rows_with[y] & 1 == 0:
            continue
        row = state[y]
        x = _next_flagged(row, 0)
        while x < cols:
            runs[n, 0] = row0 + y
            runs[n, 1] = col0 + x
            strong = total = most = np.int64(0)
            while x < cols and row[x] >= 4:
                strength = np.int64(np.floor(np.sqrt(score[y, x]) * np.float32(100) + np.float32(0.5)))
                strong += row[x] == 5
                total += strength
                most = max(most, strength)
                for b in range(bands):
                    sums[n, 3 + b] += np.int64(before[b, y, x])
                    sums[n, 3 + bands + b] += np.int64(after[b, y, x])
                x += 1
            sums[n, 0], sums[n, 1], sums[n, 2] = strong, total, most
            runs[n, 2] = col0 + x
            n += 1
            x = _next_flagged(row, x)


@nb.njit(nogil=True, cache=True)
def unseen_runs(state: Array, rows_with: Array, row0: int, col0: int, runs: Array) -> None:
    """Fill `runs` (row, first col, last col + 1, state) of MASKED (2) and NO_DATA (3) pixels."""
    rows, cols = state.shape
    n = 0
    for y in range(rows):
        if rows_with[y] & 2 == 0:
            continue
        x = 0
        while x < cols:
            v = state[y, x]
            if v != 2 and v != 3:
                x += 1
                continue
            runs[n, 0] = row0 + y
            runs[n, 1] = col0 + x
            while x < cols and state[y, x] == v:
                x += 1
            runs[n, 2] = col0 + x
            runs[n, 3] = v
            n += 1


@nb.njit(nogil=True, cache=True)
def weighted_moments(x: Array, weight: Array, mean: Array, covariance: Array) -> float:
    """Fill mean (p,) and covariance (p, p) of `x` (p, n) float64 under `weight` (n,); return the sum of weights.

    A plain loop in one order: library matrix products add in an order that depends on their threads.
    """
    p, n = x.shape
    total = 0.0
    for i in range(n):
        total += weight[i]
    for a in range(p):
        s = 0.0
        for i in range(n):
            s += weight[i] * x[a, i]
        mean[a] = s / total
    for a in range(p):
        for b in range(a + 1):
            s = 0.0
            for i in range(n):
                s += weight[i] * (x[a, i] - mean[a]) * (x[b, i] - mean[b])
            covariance[a, b] = s / total
            covariance[b, a] = s / total
    return total
