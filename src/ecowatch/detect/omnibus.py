"""Change in a series of radar intensities: the omnibus test, the date of each change, and what the series says of a patch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter
from scipy.special import chdtrc

from ..codes import Stage

Array = np.ndarray[Any, Any]

# Lowest intensity: zero has no logarithm and no sensor measures it.
_TINY = 1e-12
# Half width of a normal law's central half, in deviations.
_QUARTILE = 0.6745
# Looks are believed up to here: steadier ground is an image of nothing.
_MOST_LOOKS = 500.0
# Pixels, and share of the patch, that must differ between the two dates by themselves before a series is asked about them:
# fewer are chance, and of a chance the other dates know nothing.
_LEAST_CHANGED_PX, _LEAST_CHANGED_SHARE = 4, 0.05


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


class SeriesFacts(NamedTuple):
    """What a series of radar dates says of one patch; shares are of its pixels that differ between the two dates.

    Parameters
    ----------
    changed_px
        Pixels of the patch that differ between before and after by themselves.
    looks
        Equivalent number of looks of the averaged dates; NaN where it could not be measured.
    earlier_dates, later_dates
        Dates before the before date and after the after date that tell of at least half of the patch.
    step_share
        0–1: the sequential test of all dates puts a change between before and after.
    history_share
        0–1: it puts a change among the earlier dates too; NaN without earlier dates.
    returning_share
        0–1: an earlier date was nearer to the after than to the before level; NaN without earlier dates.
    kept_share
        0–1: still nearer to the after level, at the later date that shows least of it; NaN without later dates.
    """

    changed_px: int
    looks: float
    earlier_dates: int
    later_dates: int
    step_share: float
    history_share: float
    returning_share: float
    kept_share: float


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


def pair_looks(before: Array, after: Array) -> float:
    """Measure the looks that two dates of unchanged ground show in their ratio.

    The ratio knows no texture of the ground, and what moisture and wind add to speckle lowers the looks as it should.

    Parameters
    ----------
    before, after
        float, any shape, power of the same pixels; NaN = no data. A minority of them may have changed.

    Returns
    -------
    float
        Looks, at least 0.5; NaN without pixels.

    Source
    ------
    The logarithm of a gamma variate of L looks has the variance ψ′(L) ≈ 1/L + 1/(2 L²); that of a ratio is twice that.
    """
    ratio = np.log(np.maximum(after, _TINY)) - np.log(np.maximum(before, _TINY))
    ratio = ratio[np.isfinite(ratio)]
    if not ratio.size:
        return float("nan")
    deviation = float(np.median(np.abs(ratio - np.median(ratio)))) / _QUARTILE
    variance = max(0.5 * deviation**2, 1e-9)
    return float(np.clip((1 + np.sqrt(1 + 2 * variance)) / (2 * variance), 0.5, _MOST_LOOKS))


def series_of_patch(
    stack: Array,
    inside: Array,
    *,
    before_at: int,
    after_at: int,
    average_px: int,
    significance: float,
    second_from_dates: int,
    min_stable_px: int,
) -> SeriesFacts:
    """Ask all dates of a radar track about one patch.

    Dates are levelled on the ground around the patch, averaged over a few pixels of the same side of its rim, and tested
    where before and after differ by themselves: elsewhere a patch has nothing to tell.

    Parameters
    ----------
    stack
        float, ``(time, band, row, col)``, power, oldest first, over the patch and the ground around it; NaN = no data.
    inside
        Bool, ``(row, col)``: the patch.
    before_at, after_at
        Places of the two dates that were compared.
    average_px
        Side of the averaging window.
    significance
        p-value below which dates differ.
    second_from_dates
        From so many earlier dates on, two of them must have been at the after level: one may be wind or rain.
    min_stable_px
        Pixels around the patch that are needed to level the dates and to measure their looks.

    Returns
    -------
    SeriesFacts
        Never fails for want of dates: what is not known is NaN.

    Raises
    ------
    ValueError
        Where the before date does not come before the after date.

    Source
    ------
    Conradsen, Nielsen & Skriver (2016), see `change_points`; the share of the patch and the nearer level are ours.
    """
    if not 0 <= before_at < after_at < len(stack):
        raise ValueError(f"before is date {before_at} and after is date {after_at} of {len(stack)}")
    shown = np.array([np.isfinite(date).all(axis=0)[inside].mean() >= 0.5 for date in stack])
    shown[[before_at, after_at]] = True
    told = np.flatnonzero(shown)
    first, second = (int(np.searchsorted(told, at)) for at in (before_at, after_at))
    levelled = _levelled(stack[told], ~inside, first, min_stable_px)
    averaged = _averaged(levelled, inside, average_px)
    looks = _looks(levelled, averaged, ~inside, first, second, min_stable_px)
    usable = inside & np.isfinite(averaged).all(axis=(0, 1))
    dates = first, len(told) - 1 - second
    if not usable.any() or not looks > 0:
        return SeriesFacts(0, looks, *dates, *[float("nan")] * 4)
    series = averaged[:, :, usable][..., None]
    differ = step_test(series[[first, second]], looks=looks).p_value[:, 0] < significance
    if differ.sum() < max(_LEAST_CHANGED_PX, _LEAST_CHANGED_SHARE * differ.size):
        return SeriesFacts(int(differ.sum()), looks, *dates, *[float("nan")] * 4)
    return SeriesFacts(
        int(differ.sum()),
        looks,
        *dates,
        *_shares(series[:, :, differ], first, second, looks, significance, second_from_dates),
    )


def stage_of_series(facts: SeriesFacts, *, returning_share: float, persisting: float) -> Stage:
    """Return the stage of a patch that a radar series was asked about.

    Parameters
    ----------
    facts
        What the series says.
    returning_share
        From this share of returned pixels on, an earlier state came back.
    persisting
        A change persists while every later date shows at least this share of it; likewise for where the step must lie.

    Returns
    -------
    Stage
        ``RETURNING`` where an earlier date was at the after level; ``ONE_DATE`` without further dates, where the step is
        not found between the two dates, or where a later date went back; ``CONFIRMED`` with later dates, else
        ``EXCEEDS_HISTORY``.
    """
    if facts.returning_share >= returning_share:
        return Stage.RETURNING
    if not facts.step_share >= persisting or facts.kept_share < persisting:
        return Stage.ONE_DATE
    if facts.later_dates:
        return Stage.CONFIRMED
    return Stage.EXCEEDS_HISTORY if facts.earlier_dates else Stage.ONE_DATE


def _shares(
    series: Array, first: int, second: int, looks: float, significance: float, second_from_dates: int
) -> tuple[float, float, float, float]:
    points = change_points(series, looks=looks, significance=significance)[:, :, 0]
    level = np.log(np.maximum(series[..., 0], _TINY))
    to_before, to_after = (((level - level[at]) ** 2).sum(axis=1) for at in (first, second))
    nearer = to_after < to_before
    nan = float("nan")
    wanted = 2 if first >= second_from_dates else 1
    return (
        float(points[first:second].any(axis=0).mean()),
        float(points[:first].any(axis=0).mean()) if first else nan,
        float((nearer[:first].sum(axis=0) >= wanted).mean()) if first else nan,
        float(nearer[second + 1 :].mean(axis=1).min()) if second + 1 < len(series) else nan,
    )


def _levelled(stack: Array, around: Array, first: int, min_stable_px: int) -> Array:
    """Take out what differs between the dates on the ground around: calibration, moisture, incidence."""
    result = np.asarray(stack, np.float64).copy()
    for date, band in np.ndindex(*stack.shape[:2]):
        ratio = (result[date, band] / np.maximum(result[first, band], _TINY))[around]
        ratio = ratio[np.isfinite(ratio)]
        if date != first and ratio.size >= min_stable_px:
            result[date, band] /= max(float(np.median(ratio)), _TINY)
    return result


def _averaged(stack: Array, inside: Array, side_px: int) -> Array:
    """Average over windows that end at the rim of the patch; NaN where less than half a window is left."""
    result = np.full(stack.shape, np.nan)
    for part in (inside, ~inside):
        seen = np.isfinite(stack) & part
        size = (1, 1, side_px, side_px)
        share = uniform_filter(seen.astype(np.float64), size, mode="constant")
        total = uniform_filter(np.where(seen, stack, 0.0), size, mode="constant")
        enough = seen & (share > 0.5 - 1e-9)
        result[enough] = total[enough] / share[enough]
    return result


def _looks(levelled: Array, averaged: Array, around: Array, first: int, second: int, min_stable_px: int) -> float:
    """Looks of the averaged pair on the ground around; without such ground a lower bound from the patch itself."""
    seen = np.isfinite(averaged[[first, second]]).all(axis=(0, 1))
    alone = int((around & seen).sum()) < min_stable_px
    pixels = seen if alone else around & seen
    pairs = zip(averaged[first][:, pixels], averaged[second][:, pixels], strict=True)
    looks = min(pair_looks(before, after) for before, after in pairs)
    if not alone:
        return looks
    single = min(equivalent_looks(band, window_px=7) for band in (*levelled[first], *levelled[second]))
    return float(np.fmax(looks, single))


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
