"""Change in a series of radar intensities: the omnibus test and the date of each change."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter
from scipy.special import chdtrc

Array = np.ndarray[Any, Any]

# Lowest intensity: zero has no logarithm and no sensor measures it.
_TINY = 1e-12


class LikelihoodTest(NamedTuple):
    """A likelihood-ratio test, pixel by pixel.

    Parameters
    ----------
    statistic
        float64, ``(row, col)``: −2 ρ ln Q, large where something changed.
    p_value
        float64, ``(row, col)``: share of unchanged pixels that would show as much; NaN where any date is NaN.
    """

    statistic: Array
    p_value: Array


def omnibus(stack: Array, *, looks: float) -> LikelihoodTest:
    """Test whether the mean backscatter of all dates is the same.

    One test of the whole series keeps its false-alarm rate; testing all pairs of dates would not.

    Parameters
    ----------
    stack
        float, ``(time, band, row, col)``, intensity (power, not decibel), one band per polarisation; at least two dates.
        The off-diagonal terms between polarisations are taken as absent, as in GRD products. NaN = no data.
    looks
        Equivalent number of looks of every date (`equivalent_looks`).

    Returns
    -------
    LikelihoodTest
        Statistic and p-value.

    Raises
    ------
    ValueError
        Where the stack has no four axes or a single date, or looks is not positive.

    Source
    ------
    Conradsen, K., Nielsen, A. A. & Skriver, H. (2016): Determining the points of change in time series of polarimetric SAR
    data. IEEE Trans. Geosci. Remote Sens. 54, 3007–3024: statistic Q, ρ and ω₂
    with p = 1, summed over independent polarisations.
    """
    intensity = _checked(stack, looks)
    dates, bands = intensity.shape[:2]
    total = np.log(intensity.sum(axis=0))
    log_q = looks * np.sum(dates * np.log(dates) + np.log(intensity).sum(axis=0) - dates * total, axis=0)
    rho = 1 - (dates + 1) / (6 * looks * dates)
    return _tested(log_q, rho, freedom=bands * (dates - 1))


def step_test(stack: Array, *, looks: float) -> LikelihoodTest:
    """Test whether the last date equals the dates before it, which are taken as equal to one another (R_j).

    Parameters, result and source are those of `omnibus`; the product of all R_j is Q.
    """
    intensity = _checked(stack, looks)
    j, bands = intensity.shape[:2]
    before = intensity[:-1].sum(axis=0)
    constant = j * np.log(j) - (j - 1) * np.log(j - 1)
    parts = (j - 1) * np.log(before) + np.log(intensity[-1]) - j * np.log(before + intensity[-1])
    rho = 1 - (1 + 1 / (j * (j - 1))) / (6 * looks)
    return _tested(looks * np.sum(constant + parts, axis=0), rho, freedom=bands)


def change_points(stack: Array, *, looks: float, significance: float) -> Array:
    """Find every date at which a pixel changed.

    The omnibus test of the series opens the search; the first significant R_j is a change, and the search starts anew from
    that date.

    Parameters
    ----------
    stack, looks
        As for `omnibus`.
    significance
        p-value below which equality is rejected, e.g. 0.0001.

    Returns
    -------
    ndarray
        Bool, ``(time − 1, row, col)``: True at index t where the pixel changed between dates t and t + 1; False where any
        date is NaN.

    Source
    ------
    Conradsen, Nielsen & Skriver (2016): sequential use of Q and R_j; dates that follow a change are averaged anew.
    """
    _checked(stack, looks)
    dates = stack.shape[0]
    found = np.zeros((dates - 1, *stack.shape[2:]), bool)
    start = np.zeros(stack.shape[2:], np.int64)
    for first in range(dates - 1):
        open_ = (start == first) & (omnibus(stack[first:], looks=looks).p_value < significance)
        for last in range(first + 1, dates):
            if not open_.any():
                break
            hit = open_ & (step_test(stack[first : last + 1], looks=looks).p_value < significance)
            found[last - 1] |= hit
            start[hit] = last
            open_ &= ~hit
    return found


def equivalent_looks(intensity: Array, *, window_px: int) -> float:
    """Measure the equivalent number of looks of one date.

    Mean² / variance in small windows is highest where the ground is even; ground that is not only lowers it, so the mode
    of the windows is taken and not their mean.

    Parameters
    ----------
    intensity
        float, ``(row, col)``, power; NaN = no data.
    window_px
        Side of the window in pixels, e.g. 7.

    Returns
    -------
    float
        Looks, at least 0.5; NaN where no window is free of gaps.

    Source
    ------
    Anfinsen, S. N., Doulgeris, A. P. & Eltoft, T. (2009): Estimation of the equivalent number of looks in polarimetric
    SAR imagery. IEEE Trans. Geosci. Remote Sens. 47, 3795–3809: mode of local estimates.
    """
    values = np.asarray(intensity, np.float64)
    gap = ~np.isfinite(values)
    filled = np.where(gap, 0.0, values)
    mean, power = (uniform_filter(part, window_px, mode="reflect") for part in (filled, filled**2))
    whole = (uniform_filter(gap.astype(np.float64), window_px, mode="reflect") < 1e-9) & (mean > 0)
    if not whole.any():
        return float("nan")
    share = window_px**2 / (window_px**2 - 1)
    variance = np.maximum((power - mean**2)[whole] * share, 1e-9 * mean[whole] ** 2)
    log_looks = np.log(mean[whole] ** 2 / variance)
    counts, edges = np.histogram(log_looks, bins=60, range=(np.log(0.5), np.log(500.0)))
    smooth = np.convolve(counts, [1, 2, 3, 2, 1], mode="same")
    best = int(np.argmax(smooth))
    return float(np.exp(0.5 * (edges[best] + edges[best + 1])))


def _checked(stack: Array, looks: float) -> Array:
    if stack.ndim != 4 or stack.shape[0] < 2:
        raise ValueError(f"stack has shape {stack.shape}; (time, band, row, col) with two dates or more is wanted")
    if not looks > 0:
        raise ValueError(f"looks is {looks}; a positive number is wanted")
    return np.maximum(np.asarray(stack, np.float64), _TINY)


def _tested(log_q: Array, rho: float, *, freedom: int) -> LikelihoodTest:
    """Distribution of −2 ρ ln Q: χ² with the second term of Box's series."""
    statistic = np.maximum(-2 * rho * log_q, 0.0)
    omega = -freedom / 4 * (1 - 1 / rho) ** 2
    tail = chdtrc(freedom, statistic)
    p_value = np.clip(tail + omega * (chdtrc(freedom + 4, statistic) - tail), 0.0, 1.0)
    return LikelihoodTest(statistic, np.where(np.isfinite(statistic), p_value, np.nan))
