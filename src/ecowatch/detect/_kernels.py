"""Compiled loops of `detect`: plain arrays in, `out` filled; arguments are checked by the callers.

One pass per block: numbers to float32, the linear variates, their weighted squares, the thresholds. Rows are walked in
segments that stay in the first-level cache, and each inner loop adds two bands of both dates, so that it is vectorised and
seldom stores; the same sum written pixel by pixel is four times slower. No fast-math: results must not depend on the
machine's vector width.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiled_kernels import kernel

Array = np.ndarray[Any, Any]

SEGMENT = 256
# Pixels that are asked at once whether any is flagged.
STRIDE = 64


@kernel
def _add_four(w: Array, x: Array, g: int, base: Array, out: Array) -> None:
    w0, w1, w2, w3 = w[g], w[g + 1], w[g + 2], w[g + 3]
    x0, x1, x2, x3 = x[g], x[g + 1], x[g + 2], x[g + 3]
    for i in range(SEGMENT):
        out[i] = base[i] + w0 * x0[i] + w1 * x1[i] + w2 * x2[i] + w3 * x3[i]


@kernel
def _add_square(w: Array, x: Array, g: int, base: Array, inverse_variance: np.float32, out: Array) -> None:
    w0, w1, w2, w3 = w[g], w[g + 1], w[g + 2], w[g + 3]
    x0, x1, x2, x3 = x[g], x[g + 1], x[g + 2], x[g + 3]
    for i in range(SEGMENT):
        variate = base[i] + w0 * x0[i] + w1 * x1[i] + w2 * x2[i] + w3 * x3[i]
        out[i] += inverse_variance * variate * variate


@kernel
def _to_float(numbers: Array, fill: float, has_fill: bool, out: Array, state: Array) -> None:
    n = numbers.shape[0]
    for i in range(n):
        out[i] = np.float32(numbers[i])
    if has_fill:
        # As a number of the band's own type: what is not widened is compared many at a time; and most rows hold none.
        own = numbers.dtype.type(fill)
        found = np.uint8(0)
        for i in range(n):
            found = np.uint8(found | (numbers[i] == own))
        if found:
            for i in range(n):
                # USABLE (1) becomes NO_DATA (3); other states keep their reason.
                if numbers[i] == own and state[i] == 1:
                    state[i] = 3


@kernel
def _raise_flags(score: Array, weak: np.float32, strong: np.float32, state: Array) -> None:
    above = np.uint8(0)
    for i in range(score.shape[0]):
        above = np.uint8(above | (score[i] > weak))
    if above:
        for i in range(score.shape[0]):
            if state[i] == 1 and score[i] > weak:
                state[i] = 5 if score[i] > strong else 4


@kernel
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
    # Two bands of both dates at a time; the place of an odd one's partner stays 0.
    terms = 4 * ((bands + 1) // 2)
    w, x = np.zeros((variates, terms), np.float32), np.zeros((terms, SEGMENT), np.float32)
    starts = np.empty((variates, SEGMENT), np.float32)
    for k in range(variates):
        starts[k] = constant[k]
        for b in range(bands):
            w[k, 2 * b], w[k, 2 * b + 1] = before_weights[k, b], -after_weights[k, b]
    # In turn, since what is read and written by the same loop is not vectorised.
    sums = np.empty((2, SEGMENT), np.float32)
    q = np.empty(SEGMENT, np.float32)
    for y in range(rows):
        for x0 in range(0, cols, SEGMENT):
            x1 = min(x0 + SEGMENT, cols)
            part = state[y, x0:x1]
            for b in range(bands):
                _to_float(before[b, y, x0:x1], before_fill, has_fill[0], x[2 * b], part)
                _to_float(after[b, y, x0:x1], after_fill, has_fill[1], x[2 * b + 1], part)
            q[:] = np.float32(0)
            for k in range(variates):
                base = starts[k]
                for g in range(0, terms - 4, 4):
                    out = sums[(g >> 2) & 1]
                    _add_four(w[k], x, g, base, out)
                    base = out
                _add_square(w[k], x, terms - 4, base, inverse_variance[k], q)
            row = score[y, x0:x1]
            for i in range(x1 - x0):
                row[i] = q[i]
            _raise_flags(row, weak, strong, part)


@kernel
def _has_fill(image: Array, fill: float, y: int, x: int) -> bool:
    found = False
    for b in range(image.shape[0]):
        found |= image[b, y, x] == fill
    return found


@kernel
def _is_near(
    one: Array,
    one_weights: Array,
    other: Array,
    other_weights: Array,
    fill: float,
    has_fill: bool,
    constant: Array,
    inverse_variance: Array,
    sign: np.float32,
    y: int,
    x: int,
    reach: int,
    enough: np.float32,
    pixel: Array,
    own: Array,
) -> bool:
    """Tell whether the score between `one` at (y, x) and a pixel of `other` around it is `enough` or less."""
    bands, variates = pixel.shape[0], own.shape[0]
    for b in range(bands):
        pixel[b] = np.float32(one[b, y, x])
    for k in range(variates):
        total = np.float32(0)
        for b in range(bands):
            total += one_weights[k, b] * pixel[b]
        own[k] = total
    for row in range(max(0, y - reach), min(other.shape[1], y + reach + 1)):
        for col in range(max(0, x - reach), min(other.shape[2], x + reach + 1)):
            for b in range(bands):
                pixel[b] = np.float32(other[b, row, col])
            score = np.float32(0)
            for k in range(variates):
                total = np.float32(0)
                for b in range(bands):
                    total += other_weights[k, b] * pixel[b]
                d = constant[k] + sign * (own[k] - total)
                score += inverse_variance[k] * d * d
                # What is added is never negative: most pixels are told by a variate or two.
                if score > enough:
                    break
            if score <= enough and not (has_fill and _has_fill(other, fill, row, col)):
                return True
    return False


@kernel
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
    looked at. Each date must have nearby what the other one has there; where the after date has not, as mostly, the before
    date is not asked.
    """
    own, pixel = np.empty(constant.shape[0], np.float32), np.empty(before.shape[0], np.float32)
    first, second = (before, before_weights), (after, after_weights)
    noise, one = (constant, inverse_variance), np.float32(1)
    for y in range(state.shape[0]):
        for x0 in range(0, state.shape[1], STRIDE):
            part = state[y, x0 : x0 + STRIDE]
            above = np.uint8(0)
            for i in range(part.shape[0]):
                above = np.uint8(above | (part[i] == 5))
            if not above:
                continue
            for i in range(part.shape[0]):
                if part[i] == 5:
                    place = y + pad_row, x0 + i + pad_col, reach, strong, pixel, own
                    if _is_near(*first, *second, after_fill, has_fill[1], *noise, one, *place) and _is_near(
                        *second, *first, before_fill, has_fill[0], *noise, -one, *place
                    ):
                        part[i] = 4


@kernel
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


@kernel
def count_runs(state: Array, rows_with: Array) -> tuple[int, int]:
    """Return the number of flagged runs (WEAK 4 and STRONG 5 together) and of unseen runs (MASKED 2, NO_DATA 3, apart).

    `rows_with` (uint8, row) is filled with all bits of a row: 4 where it holds flagged pixels, 2 where it holds unseen ones
    (OUTSIDE is 0, USABLE 1). Most rows hold none.
    """
    rows, cols = state.shape
    flagged = unseen = 0
    for y in range(rows):
        row = state[y]
        seen = np.uint8(0)
        for x in range(cols):
            seen = np.uint8(seen | row[x])
        rows_with[y] = seen
        if seen & 6 == 0:
            continue
        flagged += row[0] >> 2
        unseen += (row[0] >> 1) & 1
        for x0 in range(1, cols, STRIDE):
            own, before = row[x0 : x0 + STRIDE], row[x0 - 1 : x0 - 1 + STRIDE]
            first = second = np.uint8(0)
            # A run begins where the pixel before is of another kind; in bytes, without branches, many are asked at a time.
            for i in range(own.shape[0]):
                first = np.uint8(first + ((own[i] & ~before[i] & 4) >> 2))
                second = np.uint8(second + ((own[i] & 2) >> 1 if own[i] != before[i] else 0))
            flagged += first
            unseen += second
    return flagged, unseen


@kernel
def find_flagged(row: Array, words: Array, full: Array, at: Array) -> int:
    """Fill `at` (int64, one longer than `words` holds pixels) with the flagged columns of `row`; return their number.

    `words` (uint64, 0 beyond the row) and `full` (int64, one longer) are scratch. Nothing branches on what is found, which
    nobody could foresee: eight pixels in one number are taken or left, then those of the ones taken.
    """
    flagged = words.view(np.uint8)
    for x in range(row.shape[0]):
        flagged[x] = row[x] >> 2
    taken, found = 0, np.int64(0)
    for k in range(words.shape[0]):
        full[taken] = k
        taken += words[k] != 0
    for j in range(taken):
        word = words[full[j]]
        for x in range(8 * full[j], 8 * full[j] + 8):
            at[found] = x
            # The first pixel is the lowest byte.
            found += np.int64(word & np.uint64(1))
            word >>= np.uint64(8)
    return int(found)


@kernel
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
    """Fill `runs` (row, first col, last col + 1) of WEAK and STRONG pixels and their exact integer `sums`, 0 before.

    Columns of `sums`: strong pixels, Σ and max of 100·√score (rounded), Σ before per band, Σ after per band.
    """
    rows, cols = state.shape
    bands = before.shape[0]
    words = np.zeros((cols + 7) // 8, np.uint64)
    full, at = np.empty(words.shape[0] + 1, np.int64), np.empty(8 * words.shape[0] + 1, np.int64)
    strength = np.empty(at.shape[0], np.int64)
    n = np.int64(-1)
    for y in range(rows):
        if rows_with[y] & 4 == 0:
            continue
        row, scores = state[y], score[y]
        found = find_flagged(row, words, full, at)
        # By itself, so that many scores are fetched at once: they lie far apart.
        for k in range(found):
            strength[k] = np.int64(np.floor(np.sqrt(scores[at[k]]) * np.float32(100) + np.float32(0.5)))
        first, last = 0, -2
        for k in range(found):
            x = at[k]
            begins = x != last + 1
            first, last = x if begins else first, x
            n += np.int64(begins)
            runs[n, 0], runs[n, 1], runs[n, 2] = row0 + y, col0 + first, col0 + x + 1
            own = sums[n]
            own[0] += row[x] == 5
            own[1] += strength[k]
            own[2] = max(own[2], strength[k])
            for b in range(bands):
                own[3 + b] += np.int64(before[b, y, x])
                own[3 + bands + b] += np.int64(after[b, y, x])


@kernel
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


@kernel
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
