"""Change between two dates as a sum of squared linear variates: IR-MAD and the spectral change vector.

Both methods are fitted once per area and pair on a sample of usable pixels and give the same kind of result, a
`LinearScore`, which one compiled pass then applies to every block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.linalg import eigh, solve
from scipy.special import gammaincinv

from ..codes import State
from ..errors import PairError
from ..grid import Window
from ._fit_kernels import chi2_exceeded, standard_squares
from ._kernels import forgive_edges, score_block, weighted_moments
from .block import BlockResult, block_runs
from .stable import quantile, stable_ground

Array = np.ndarray[Any, Any]
Matrix = tuple[tuple[float, ...], ...]
Wider = Callable[[Window], tuple[Array, Array]]
Explained = Callable[[Array, Array, int, int, Array], None]

# A shade of the mean variance on the diagonal: two bands may be copies of one another.
_RIDGE = 1e-6
# Deviation below which a band is a constant, but for rounding.
_CONSTANT = 1e-9


@dataclass(frozen=True)
class LinearScore:
    """A fitted score: Σ_k inverse_variance[k] (constant[k] + before_weights[k]·before − after_weights[k]·after)².

    Where nothing changed, the score follows a χ² law with as many degrees of freedom as there are variates, as far as the
    noise is normal; `decide.fit_thresholds` measures how far it is.

    Parameters
    ----------
    before_weights, after_weights
        One row per variate, one column per band, for reflectances.
    constant, inverse_variance
        One value per variate.
    correlation
        Canonical correlations (IR-MAD) or correlations by band (change vector), for the run record.
    iterations, converged
        How the fit went.
    """

    before_weights: Matrix
    after_weights: Matrix
    constant: tuple[float, ...]
    inverse_variance: tuple[float, ...]
    correlation: tuple[float, ...]
    iterations: int
    converged: bool

    def for_numbers(
        self,
        before_radiometry: tuple[tuple[float, float], ...],
        after_radiometry: tuple[tuple[float, float], ...],
    ) -> tuple[Array, Array, Array, Array]:
        """Return weights, constant and inverse variance (float32) for the files' own numbers.

        Parameters
        ----------
        before_radiometry, after_radiometry
            (scale, offset) per band: reflectance = number × scale + offset.
        """
        scale_b, offset_b = np.array(before_radiometry).T
        scale_a, offset_a = np.array(after_radiometry).T
        wb, wa = np.array(self.before_weights), np.array(self.after_weights)
        constant = np.array(self.constant) + wb @ offset_b - wa @ offset_a
        parts = (wb * scale_b, wa * scale_a, constant, np.array(self.inverse_variance))
        b, a, c, v = (np.ascontiguousarray(part, np.float32) for part in parts)
        return b, a, c, v


def fit_ir_mad(
    before: Array, after: Array, *, max_iterations: int, tolerance: float, noise_floor: float = 0.0
) -> LinearScore:
    """Fit the iteratively reweighted multivariate alteration detection.

    Canonical variates of the two dates are blind to any linear change of brightness or colour of the whole scene, so that
    haze and season mostly drop out; the reweighting gives changed ground no say.

    Parameters
    ----------
    before, after
        float64, ``(band, n)``, reflectance of the same n usable pixels, no NaN.
    max_iterations
        At most this many rounds.
    tolerance
        Converged when no canonical correlation moves by more than this.
    noise_floor
        Deviation of reflectance, per band and date, that is added to the variance of every variate.

    Returns
    -------
    LinearScore
        As many variates as bands.

    Raises
    ------
    PairError
        ``FIT_FAILED`` where the sample is constant or otherwise cannot be fitted.

    Source
    ------
    Nielsen, A. A. (2007): The regularized iteratively reweighted MAD method. IEEE Trans. Image Process. 16, 463–478, eqs.
    2–9; here with a sample instead of the whole scene and a fixed order of summation.
    """
    p, n = before.shape
    both = np.ascontiguousarray(np.vstack([before, after]), np.float64)
    weight = stable_ground(before, after, noise_floor=noise_floor).astype(np.float64)
    mean, cov = np.empty(2 * p), np.empty((2 * p, 2 * p))
    previous, converged, rounds = np.full(p, 9.0), False, 0
    wb = wa = np.empty((p, p))
    rho, variance, variates = np.empty(p), np.empty(p), np.empty((p, n))
    for round_number in range(1, max_iterations + 1):
        rounds = round_number
        weighted_moments(both, weight, mean, cov)
        wb, wa, rho = _canonical(cov, p)
        variance = np.maximum(2 * (1 - rho), 1e-6)
        variates = wb @ (before - mean[:p, None]) - wa @ (after - mean[p:, None])
        weight = _no_change_probability(variates, variance)
        if weight.sum() < 10 * p:
            break
        converged = bool(np.abs(rho - previous).max() < tolerance)
        previous = rho
        if converged:
            break
    constant = -(wb @ mean[:p]) + wa @ mean[p:]
    variance = _calibrated(variates, variance) + _floor(wb, wa, noise_floor)
    return _linear_score(wb, wa, constant, 1 / variance, rho, rounds, converged)


def _canonical(cov: Array, p: int) -> tuple[Array, Array, Array]:
    sxx, syy, sxy = cov[:p, :p], cov[p:, p:], cov[:p, p:]
    eye = np.eye(p) * _RIDGE
    sxx, syy = sxx + eye * np.trace(sxx) / p, syy + eye * np.trace(syy) / p
    try:
        explained = solve(syy, sxy.T, assume_a="pos")
        squared, a = eigh(sxy @ explained, sxx)
        b = explained @ a
    except np.linalg.LinAlgError as error:
        raise PairError("FIT_FAILED", "pair", f"its covariance is singular ({error})", "use fewer bands") from error
    length = np.sqrt(np.einsum("ik,ij,jk->k", b, syy, b))
    # A variate without any correlation has no partner direction; the whitened one serves as well as any.
    b = b / np.where(length > 0, length, 1.0)
    rho = np.sqrt(np.clip(squared, 0.0, 1.0))
    return a.T, b.T, rho


def fit_change_vector(
    before: Array, after: Array, *, max_iterations: int, tolerance: float, noise_floor: float = 0.0
) -> LinearScore:
    """Fit the spectral change vector: the difference of the dates, band by band, in units of its own noise.

    The after date is first brought to the before date's level by a line per band, fitted with the same reweighting as
    IR-MAD, so that ground that changed does not bend it.

    Parameters and result are those of `fit_ir_mad`; one variate per band.

    Source
    ------
    Malila, W. A. (1980): Change vector analysis. Here standardised by the robust no-change variance of each band.
    """
    p, n = before.shape
    both = np.ascontiguousarray(np.vstack([before, after]), np.float64)
    weight = stable_ground(before, after, noise_floor=noise_floor).astype(np.float64)
    mean, cov = np.empty(2 * p), np.empty((2 * p, 2 * p))
    gain, previous, converged, rounds = np.ones(p), np.full(p, 9.0), False, 0
    variance, difference = np.ones(p), np.empty((p, n))
    for round_number in range(1, max_iterations + 1):
        rounds = round_number
        weighted_moments(both, weight, mean, cov)
        sx, sy = np.sqrt(np.diag(cov)[:p]), np.sqrt(np.diag(cov)[p:])
        if min(sx.min(), sy.min()) <= _CONSTANT:
            raise PairError("FIT_FAILED", "pair", "a band is constant over the sample", "leave the band out")
        gain = sx / sy
        difference = (before - mean[:p, None]) - gain[:, None] * (after - mean[p:, None])
        variance = np.maximum(np.sum(weight * difference**2, axis=1) / weight.sum(), 1e-12)
        weight = _no_change_probability(difference, variance)
        if weight.sum() < 10 * p:
            break
        converged = bool(np.abs(gain - previous).max() < tolerance)
        previous = gain
        if converged:
            break
    correlation = np.diag(cov[:p, p:]) / np.sqrt(np.diag(cov)[:p] * np.diag(cov)[p:])
    constant = -mean[:p] + gain * mean[p:]
    variance = _calibrated(difference, variance) + _floor(np.eye(p), np.diag(gain), noise_floor)
    return _linear_score(np.eye(p), np.diag(gain), constant, 1 / variance, correlation, rounds, converged)


def _no_change_probability(variates: Array, variance: Array) -> Array:
    """Weights of the next round; calibrated, or each round would trim the noise a little more."""
    score = _standard_squares(variates, _calibrated(variates, variance))
    chi2_exceeded(score, len(variance), score)
    return score


def _standard_squares(variates: Array, variance: Array) -> Array:
    score = np.empty(variates.shape[1])
    standard_squares(variates, variance, score)
    return score


def _calibrated(variates: Array, variance: Array) -> Array:
    """Variances under which the lower quarter of the sample follows the χ² law.

    The reweighting cuts the tails off and so takes the noise for smaller than it is; the quartile does not see the tails,
    nor the changed ground.
    """
    score = _standard_squares(variates, variance)
    result: Array = variance * quantile(score, 0.25) / _chi2_quartile(len(variance))
    return np.maximum(result, 1e-12)


def _chi2_quartile(degrees: int) -> float:
    """Value below which a quarter of a χ² law lies."""
    return 2 * float(gammaincinv(degrees / 2, 0.25))


def _floor(wb: Array, wa: Array, noise: float) -> Array:
    """Variance of each variate under independent noise of both dates."""
    result: Array = noise**2 * (np.sum(wb**2, axis=1) + np.sum(wa**2, axis=1))
    return result


def _linear_score(
    wb: Array, wa: Array, constant: Array, inverse: Array, rho: Array, rounds: int, converged: bool
) -> LinearScore:
    return LinearScore(
        tuple(map(tuple, wb.tolist())),
        tuple(map(tuple, wa.tolist())),
        tuple(constant.tolist()),
        tuple(inverse.tolist()),
        tuple(round(float(r), 6) for r in rho),
        rounds,
        converged,
    )


Fit = Callable[..., LinearScore]

METHODS: dict[str, Fit] = {
    "ir_mad": fit_ir_mad,
    "change_vector": fit_change_vector,
    "rgb_texture": fit_change_vector,
}
"""Fit by name of the method; ``rgb_texture`` is the change vector of colour and texture features."""


def sample_score(fitted: LinearScore, before: Array, after: Array) -> Array:
    """Return the score (float64, ``(n,)``) of reflectances ``(band, n)``: the NumPy form of the compiled pass."""
    wb, wa = np.array(fitted.before_weights), np.array(fitted.after_weights)
    variates = np.array(fitted.constant)[:, None] + wb @ before - wa @ after
    score: Array = np.sum(np.array(fitted.inverse_variance)[:, None] * variates**2, axis=0)
    return score


def detect_block(  # noqa: PLR0913 - the one place where fit, thresholds and pixels meet
    before: Array,
    after: Array,
    state: Array,
    *,
    weights: tuple[Array, Array, Array, Array],
    weak: float,
    strong: float,
    fills: tuple[float | None, float | None],
    reach_px: int,
    row0: int,
    col0: int,
    wider: Wider | None = None,
    further: Callable[[Array, Array, Array], None] | None = None,
) -> tuple[BlockResult, Array]:
    """Score one block and return its flagged and its unseen runs.

    Parameters
    ----------
    before, after
        Integer, ``(band, row, col)``, the files' own numbers.
    state
        uint8 of `State`, ``(row, col)``; raised in place to WEAK, STRONG and (band fill) NO_DATA.
    weights
        `LinearScore.for_numbers`.
    weak, strong
        Thresholds of the score.
    fills
        Fill number of each date; None where there is none.
    reach_px
        A strong flag must be more than what a displacement of up to this many pixels would show.
    row0, col0
        Place of the block on the area's grid.
    wider
        Gives both dates over a window that begins at the block's first pixel and reaches beyond it; asked for where a strong
        pixel lies at an edge only, since the blocks beyond may have to be decoded for it. Without it, nothing is known there.
    further
        Given both dates and the state, raises what other evidence flags.

    Returns
    -------
    BlockResult
        Runs and sums.
    ndarray
        float32, ``(row, col)``, the score; meaningless where the state is not usable.

    Raises
    ------
    ValueError
        Where the arrays are not of one shape.

    Source
    ------
    Thonfeld, F. et al. (2016): Robust change vector analysis. Int. J. Appl. Earth Obs. 50, 131–140, eqs. 3–6; here applied
    to the fitted variates of any method, and only to strong pixels: a patch needs them, but may take in weak rims.
    """
    if not before.shape == after.shape == (len(before), *state.shape):
        raise ValueError(f"shapes {before.shape}, {after.shape} and {state.shape} do not belong together")
    score = np.empty(state.shape, np.float32)
    fill_b, fill_a = (0.0 if f is None else float(f) for f in fills)
    has_fill = (fills[0] is not None, fills[1] is not None)
    limits = np.float32(weak), np.float32(strong)
    score_block(before, after, fill_b, fill_a, has_fill, *weights, *limits, state, score)
    if reach_px and (state == State.STRONG).any():

        def explained(first: Array, second: Array, pad_row: int, pad_col: int, part: Array) -> None:
            pads = pad_row, pad_col
            forgive_edges(first, second, fill_b, fill_a, has_fill, *weights, limits[1], reach_px, *pads, part)

        _forgive(state, before, after, reach_px, wider, explained)
    if further is not None:
        further(before, after, state)
    return block_runs(score, state, before, after, row0=row0, col0=col0), score


def _parts(shape: tuple[int, int], px: int) -> Iterator[Window]:
    """Cut a block into its middle, its sides and its corners of so many pixels: each is near other blocks of its own."""
    rows, cols = ((0, px, n - px, n) for n in shape)
    for row0, row1 in pairwise(rows):
        for col0, col1 in pairwise(cols):
            yield Window(row0, col0, row1, col1)


def _forgive(state: Array, before: Array, after: Array, px: int, wider: Wider | None, explained: Explained) -> None:
    """Turn STRONG to WEAK where a displacement of up to `px` explains it; beyond the block only where a flag lies there."""
    whole = Window(0, 0, *state.shape)
    if wider is None:
        explained(before, after, 0, 0, state)
        return
    for part in _parts(state.shape, px) if min(state.shape) > 2 * px else [whole]:
        own = state[part.within(whole)]
        if (own == State.STRONG).any():
            near = part.padded(px)
            inner = near.intersection(whole) == near
            seen = (before, after) if inner else wider(near)
            pads = (part.row0, part.col0) if inner else (px, px)
            explained(*seen, *pads, own)
