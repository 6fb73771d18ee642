"""The shift as a smooth field: windows that agree are believed, and the field is no richer than they ask for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from .align import WindowShift, agreeing, shifted

Array = np.ndarray[Any, Any]

# Terms of degree 0, 1 and 2, and how many believed windows each needs: three for every number that is fitted.
_TERMS = (1, 3, 6)
_WINDOWS_PER_TERM = 3
_TRIPLES = 3000
_ROUNDS = 20
# Triples, and windows left out, that are tried in one go.
_TOGETHER = 256
# Tukey's limit, in robust deviations, and the deviation that is never undercut: what one window is off by itself.
_TUKEY = 4.685
_WINDOW_NOISE_PX = 0.03
_CELLS_PX = (512, 256, 128, 64, 32, 16)
_SLACK_PX = 0.5


class PlacedShift(NamedTuple):
    """Displacement measured in one window whose centre is at `row`, `col` of the area's grid (pixels)."""

    row: float
    col: float
    shift: WindowShift


@dataclass(frozen=True)
class ShiftField:
    """Displacement of the later date as a polynomial of the place on the area's grid.

    Parameters
    ----------
    row_terms, col_terms
        Coefficients in pixels for 1, v, u, v², vu, u² (as many as the degree has), where v and u are row and column less
        `centre`, over `unit_px`. Positive: the same ground lies further down and right.
    centre, unit_px
        Origin and unit of the coordinates, pixels of the area's grid.
    bounds
        First row, first column, last row, last column where windows were believed; beyond them the field stays as it is at
        their rim, since nothing was measured there.
    rmse_px
        Root mean square of the believed windows' distances from the field, pixels.
    believed, measured
        Number of windows that agree, and that were measured.
    cell_px
        Side of the lattice cells within which one displacement is taken out, pixels.
    """

    row_terms: tuple[float, ...]
    col_terms: tuple[float, ...]
    centre: tuple[float, float]
    unit_px: float
    bounds: tuple[float, float, float, float]
    rmse_px: float
    believed: int
    measured: int
    cell_px: int = _CELLS_PX[0]

    @property
    def degree(self) -> int:
        """Degree of the polynomial: 0 constant, 1 affine, 2 quadratic."""
        return _TERMS.index(len(self.row_terms))

    @property
    def mean_px(self) -> tuple[float, float]:
        """Rows and columns by which the dates differ at the centre."""
        row, col = self.at(np.array(self.centre[0]), np.array(self.centre[1]))
        return float(row), float(col)

    def at(self, row: Array, col: Array) -> tuple[Array, Array]:
        """Return the displacement at places of the area's grid.

        Parameters
        ----------
        row, col
            float64, any one shape, pixels of the area's grid.

        Returns
        -------
        row_px, col_px
            float64, the same shape, pixels, to four decimals: the same number on every machine.
        """
        first_row, first_col, last_row, last_col = self.bounds
        v = (np.clip(np.asarray(row, np.float64), first_row, last_row) - self.centre[0]) / self.unit_px
        u = (np.clip(np.asarray(col, np.float64), first_col, last_col) - self.centre[1]) / self.unit_px
        powers = (np.ones_like(v * u), v, u, v * v, v * u, u * u)
        row_px, col_px = np.zeros_like(powers[0]), np.zeros_like(powers[0])
        # Term by term, not by a matrix product, whose order of summation differs between machines.
        for power, for_row, for_col in zip(powers, self.row_terms, self.col_terms, strict=False):
            row_px, col_px = row_px + for_row * power, col_px + for_col * power
        return np.round(row_px, 4), np.round(col_px, 4)

    def around(self, row0: int, col0: int, side_px: int) -> tuple[float, float]:
        """Return the displacement in the middle of a square of pixels."""
        half = (side_px - 1) / 2
        row, col = self.at(np.array(row0 + half), np.array(col0 + half))
        return float(row), float(col)

    @property
    def range_px(self) -> float:
        """Largest difference of the displacement between two places, pixels; 0 for a constant."""
        rows, cols = self._lattice()
        row_px, col_px = self.at(rows, cols)
        return float(math.hypot(np.ptp(row_px), np.ptp(col_px)))

    @property
    def length_px(self) -> float:
        """Length of the displacement where it is largest, pixels."""
        return float(np.hypot(*self.at(*self._lattice())).max())

    def step_px(self, side_px: int) -> float:
        """Return the largest change of the displacement over `side_px` pixels in either direction."""
        rows, cols = self._lattice()
        here = self.at(rows, cols)
        further = (self.at(rows + side_px, cols), self.at(rows, cols + side_px))
        return max(float(np.hypot(f[0] - here[0], f[1] - here[1]).max()) for f in further)

    def _lattice(self) -> tuple[Array, Array]:
        first_row, first_col, last_row, last_col = self.bounds
        rows, cols = np.meshgrid(
            np.linspace(first_row, last_row, 17), np.linspace(first_col, last_col, 17), indexing="ij"
        )
        return rows, cols


def fit_field(
    shifts: Sequence[PlacedShift],
    *,
    min_peak: float,
    max_shift_px: float,
    agree_px: float,
    min_agree: int,
    max_degree: int,
    min_gain_px: float,
    half_window_px: float,
) -> ShiftField | None:
    """Find the windows of an area that agree on one smooth displacement, and fit it.

    A window under a cloud the mask left, or on ground that changed wholly, correlates somewhere by chance; it does not agree
    with the others. A field of higher degree is taken only where it foretells windows left out of its fit better: a
    constant is right for most pairs, and a slope that is not there would be worse than none.

    Parameters
    ----------
    shifts
        Measured windows with their places.
    min_peak
        Windows that correlate less once aligned are not asked.
    max_shift_px
        Nor are windows beyond twice this.
    agree_px
        Windows that lie no further than this from a displacement common to them agree, pixels.
    min_agree
        So many windows must agree; of fewer measured ones more than half, and one alone is believed.
    max_degree
        0, 1 or 2: richest field allowed.
    min_gain_px
        A richer field must lower the error of foretelling (root mean square) by this, and by a fifth.
    half_window_px
        Half the side of a window: how far beyond its centre a window speaks for.

    Returns
    -------
    ShiftField or None
        None where no windows agree: nothing can be said about the shift.

    Source
    ------
    Fischler & Bolles (1981), RANSAC, here over all windows and triples, so that nothing is drawn at random as long as they
    are few; Beaton & Tukey (1974), biweight; leave-one-out error as in Stone (1974).
    """
    good = [
        s for s in shifts if s.shift.peak >= min_peak and math.hypot(s.shift.row_px, s.shift.col_px) <= 2 * max_shift_px
    ]
    if not good:
        return None
    places = np.array([(s.row, s.col) for s in good], np.float64)
    values = np.array([(s.shift.row_px, s.shift.col_px) for s in good], np.float64)
    centre = (places.min(axis=0) + places.max(axis=0)) / 2
    unit = max(float(np.ptp(places, axis=0).max()) / 2, half_window_px)
    uv = (places - centre) / unit
    agreed = _agreeing(uv, values, agree_px, sloped=max_degree > 0, peak=np.array([s.shift.peak for s in good]))
    # Of a few windows most must agree, also those that could not be believed: one lucky window moves nothing.
    if agreed.sum() < min(min_agree, len(shifts) // 2 + 1):
        return None
    uv, values, places = uv[agreed], values[agreed], places[agreed]
    degree = _degree(uv, values, max_degree, min_gain_px)
    terms, distance = _robust_fit(_design(uv, degree), values)
    low, high = places.min(axis=0) - half_window_px, places.max(axis=0) + half_window_px
    return ShiftField(
        row_terms=tuple(round(float(t), 5) for t in terms[:, 0]),
        col_terms=tuple(round(float(t), 5) for t in terms[:, 1]),
        centre=(float(centre[0]), float(centre[1])),
        unit_px=unit,
        bounds=(float(low[0]), float(low[1]), float(high[0]), float(high[1])),
        rmse_px=round(float(np.sqrt(np.mean(distance**2))), 4),
        believed=int(agreed.sum()),
        measured=len(shifts),
    )


def _design(uv: Array, degree: int) -> Array:
    v, u = uv.T
    columns = (np.ones_like(v), v, u, v * v, v * u, u * u)
    return np.column_stack(columns[: _TERMS[degree]])


def _agreeing(uv: Array, values: Array, agree_px: float, *, sloped: bool, peak: Array) -> Array:
    """Windows that lie within reach of the displacement, constant or sloped, on which most weight of windows agrees."""
    best = agreeing(values, peak, agree_px=agree_px)
    if not sloped or len(uv) < _WINDOWS_PER_TERM * _TERMS[1]:
        return best
    design, sloping = _design(uv, 1), False
    for inside in _within_reach(design, values, agree_px):
        # Three windows always lie on a slope of their own: it must win as many more.
        if inside.sum() >= best.sum() + _TERMS[1] and inside.sum() >= _WINDOWS_PER_TERM * _TERMS[1]:
            best, sloping = inside, True
    # The slope through three windows has their noise; that through all which agree gathers the others.
    for _ in range(3 if sloping else 0):
        terms = np.linalg.lstsq(design[best], values[best], rcond=None)[0]
        best = _length(values - design @ terms) <= agree_px
    return best


def _within_reach(design: Array, values: Array, agree_px: float) -> Iterator[Array]:
    """Yield which windows lie within reach of the slope through each triple of them that spans one, many triples at a time."""
    triples = _triples(len(values))
    for some in np.split(triples, range(_TOGETHER, len(triples), _TOGETHER)):
        corners = design[some]
        spanning = np.abs(np.linalg.det(corners)) >= 0.2
        terms = np.linalg.solve(corners[spanning], values[some[spanning]])
        yield from _length(values - design @ terms) <= agree_px


def _length(vectors: Array) -> Array:
    length: Array = np.hypot(vectors[..., 0], vectors[..., 1])
    return length


def _triples(count: int) -> Array:
    if math.comb(count, 3) <= _TRIPLES:
        return np.array(list(itertools.combinations(range(count), 3)))
    # Too many to try them all: a fixed seed, so that the same windows always give the same field.
    rng = np.random.default_rng(0)
    return np.array([rng.choice(count, 3, replace=False) for _ in range(_TRIPLES)])


def _robust_fit(design: Array, values: Array) -> tuple[Array, Array]:
    """Biweight fits of both axes with common weights, ``(…, window, term)`` to ``(…, window, axis)``: terms and distances."""
    weight = np.ones(values.shape[:-1])
    terms, distance = np.empty(()), np.empty(())
    for round_number in range(_ROUNDS):
        if design.shape[-1] > 1:
            root = np.sqrt(weight)[..., None]
            terms = np.linalg.pinv(design * root) @ (values * root)
        elif round_number:
            sums = np.sum(weight[..., None] * values, axis=-2, keepdims=True)
            terms = sums / weight.sum(axis=-1)[..., None, None]
        else:
            terms = np.median(values, axis=-2, keepdims=True)
        distance = _length(values - design @ terms)
        spread = 1.4826 * np.median(distance, axis=-1, keepdims=True)
        limit = _TUKEY * np.maximum(spread, _WINDOW_NOISE_PX)
        weight = np.where(distance < limit, (1 - (distance / limit) ** 2) ** 2, 0.0)
    return terms, distance


def _degree(uv: Array, values: Array, max_degree: int, min_gain_px: float) -> int:
    # Leaving each window out once takes its time: of few windows there is nothing to choose.
    possible = [d for d in range(1, max_degree + 1) if len(uv) >= _WINDOWS_PER_TERM * _TERMS[d]]
    if not possible:
        return 0
    chosen, error = 0, _foretelling_error(_design(uv, 0), values)
    for degree in possible:
        richer = _foretelling_error(_design(uv, degree), values)
        if richer <= error - min_gain_px and richer <= 0.8 * error:
            chosen, error = degree, richer
    return chosen


def _foretelling_error(design: Array, values: Array) -> float:
    """Root mean square error at windows left out of the fit one at a time, the worst tenth set aside."""
    count = len(values)
    if count - 1 < design.shape[1]:
        return math.inf
    errors = np.empty(count)
    for out in np.split(np.arange(count), range(_TOGETHER, count, _TOGETHER)):
        others = np.arange(count - 1) + (np.arange(count - 1) >= out[:, None])
        terms, _ = _robust_fit(design[others], values[others])
        errors[out] = np.sum((values[out] - (design[out, None] @ terms)[:, 0]) ** 2, axis=1)
    return float(np.sqrt(np.mean(np.sort(errors)[: max(1, math.ceil(0.9 * count))])))


def with_cells(field: ShiftField, *, max_step_px: float) -> ShiftField:
    """Return the field with the largest cells, 512 to 16 pixels, over which it changes by at most `max_step_px`."""
    fine = (side for side in _CELLS_PX if field.step_px(side) <= max_step_px)
    return replace(field, cell_px=next(fine, _CELLS_PX[-1]))


def field_support_px(field: ShiftField) -> int:
    """Return how many pixels around a window `shifted_by_field` needs."""
    return math.ceil(field.length_px + _SLACK_PX) + 2


def shifted_by_field(
    values: Array,
    covered: Array | None,
    *,
    field: ShiftField,
    row0: int,
    col0: int,
    pad_px: int,
    fill: float | None,
) -> tuple[Array, Array | None]:
    """Sample an image at positions displaced by a field, in its own integer numbers.

    The displacement is constant within the field's cells, a lattice that belongs to the area's grid; the result cannot
    depend on where the image was cut.

    Parameters
    ----------
    values, covered, pad_px, fill
        As `align.shifted`; `pad_px` at least `field_support_px`.
    field
        Displacement on the area's grid.
    row0, col0
        Place of the result's first pixel (without the padding) on the area's grid.

    Returns
    -------
    values, covered
        As `align.shifted`.

    Raises
    ------
    ValueError
        Where `pad_px` is too small for the field.

    Source
    ------
    Keys (1981), as `align.shifted`.
    """
    needed = field_support_px(field)
    if pad_px < needed:
        raise ValueError(f"pad_px is {pad_px}, the field needs {needed}")
    side = field.cell_px
    height, width = values.shape[1] - 2 * pad_px, values.shape[2] - 2 * pad_px
    out = np.empty((values.shape[0], height, width), values.dtype)
    inside = None if covered is None else np.empty((height, width), bool)
    for top, bottom in _cuts(row0, height, side):
        for left, right in _cuts(col0, width, side):
            shift = field.around((row0 + top) // side * side, (col0 + left) // side * side, side)
            part = (slice(top, bottom + 2 * pad_px), slice(left, right + 2 * pad_px))
            seen = None if covered is None else covered[part]
            cell, cell_inside = shifted(values[:, *part], seen, shift_px=shift, pad_px=pad_px, fill=fill)
            out[:, top:bottom, left:right] = cell
            if inside is not None:
                inside[top:bottom, left:right] = cell_inside
    return out, inside


def nearest_by_field(
    values: Array, covered: Array | None, *, field: ShiftField, row0: int, col0: int, pad_px: int
) -> tuple[Array, Array | None]:
    """Take classes from positions displaced by a field: the nearest pixel's, nothing is blended.

    Parameters
    ----------
    values, covered, field, row0, col0, pad_px
        As `shifted_by_field`.

    Returns
    -------
    values, covered
        As `shifted_by_field`.
    """
    height, width = values.shape[1] - 2 * pad_px, values.shape[2] - 2 * pad_px
    rows, cols = np.mgrid[:height, :width]
    row_px, col_px = field.at(rows + row0, cols + col0)
    rows = rows + pad_px + np.floor(row_px + 0.5).astype(np.int64)
    cols = cols + pad_px + np.floor(col_px + 0.5).astype(np.int64)
    return values[:, rows, cols], None if covered is None else covered[rows, cols]


def _cuts(first: int, length: int, side: int) -> list[tuple[int, int]]:
    """Pieces of a row or column, relative to `first`, that lattice cells of `side` cut it into."""
    edges = [first, *range((first // side + 1) * side, first + length, side), first + length]
    return [(a - first, b - first) for a, b in itertools.pairwise(edges)]
