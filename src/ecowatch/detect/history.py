"""Time as evidence: what a place does by itself, and whether a change is still there later.

Two dates always differ somewhere. A change that is worth a look goes beyond every earlier state of its place, and a later
date shows it still. All functions look at single pixels, or at the pixels of one patch, over a small window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .bitemporal import LinearScore
from .decide import Thresholds

Array = np.ndarray[Any, Any]

# A robust deviation of the middle half: a normal variable's, from the distance of its quartiles.
_QUARTILES = 0.7413


class Earlier(NamedTuple):
    """One earlier date and its comparison with the after date.

    Parameters
    ----------
    values
        float32, ``(band, row, col)``, reflectance; any number where not valid.
    valid
        Bool, ``(row, col)``.
    fitted, thresholds
        Score of (this date, after date), fitted on a sample of the whole area: the relative normalisation on stable
        ground is part of it.
    """

    values: Array
    valid: Array
    fitted: LinearScore
    thresholds: Thresholds


class HistoricScore(NamedTuple):
    """How far the after date is from the earlier states of each pixel.

    Parameters
    ----------
    deviations
        float32, ``(row, col)``: deviations above no-change, against the earlier date most like it (or the second such);
        inf where all lie nearer to the before date, NaN where no date tells.
    dates
        uint8, ``(row, col)``: earlier dates that tell.
    """

    deviations: Array
    dates: Array


def deviations(before: Array, after: Array, valid: Array, *, fitted: LinearScore, thresholds: Thresholds) -> Array:
    """Return the score of two dates in deviations above what this pair shows where nothing changed.

    Parameters
    ----------
    before, after
        float, ``(band, row, col)``, reflectance.
    valid
        Bool, ``(row, col)``.
    fitted, thresholds
        The pair's score and where its flags begin.

    Returns
    -------
    ndarray
        float32, ``(row, col)``; about N(0, 1) in its upper half on unchanged ground, NaN where not valid.

    Raises
    ------
    ValueError
        Where the arrays or the fit do not belong together.

    Source
    ------
    Wilson & Hilferty (1931), PNAS 17, 684–688: the cube root of a χ² variable is nearly normal.
    """
    bands = len(fitted.before_weights[0])
    if not before.shape == after.shape == (bands, *valid.shape):
        raise ValueError(
            f"shapes {before.shape}, {after.shape}, {valid.shape} and {bands} bands do not belong together"
        )
    score = np.zeros(valid.shape)
    # Summed band by band: a matrix product may round differently for windows of another size.
    rows = zip(fitted.before_weights, fitted.after_weights, fitted.constant, fitted.inverse_variance, strict=True)
    for before_row, after_row, constant, inverse in rows:
        variate = np.full(valid.shape, constant)
        for band in range(bands):
            variate += before_row[band] * before[band].astype(np.float64)
            variate -= after_row[band] * after[band].astype(np.float64)
        score += inverse * variate**2
    result = (np.cbrt(score) - thresholds.centre) / thresholds.spread
    return np.where(valid, result, np.nan).astype(np.float32)


def historic_score(
    before: Array,
    after: Array,
    valid: Array,
    inside: Array,
    earlier: Sequence[Earlier],
    *,
    second_from_dates: int,
    before_like: float,
    min_stable_px: int,
) -> HistoricScore:
    """Return how far the after date is from the earlier state of each pixel that resembles it most.

    A field lies bare every autumn and a pond dries out every spring: some earlier date looked the same. With enough dates
    the second most similar one counts, since a single one may be a cloud that nobody saw. A hazy date resembles anything,
    within its noise; so a date is also asked on which side it lies: nearer to the before date, it shows no return.

    Parameters
    ----------
    before, after
        float32, ``(band, row, col)``, reflectance.
    valid
        Bool, ``(row, col)``: usable in both.
    inside
        Bool, ``(row, col)``: the patch; the ground around it gives the level of each date.
    earlier
        Dates not later than the before date; not the before date itself.
    second_from_dates
        From so many dates on, the second most similar date counts.
    before_like
        An earlier date that shows more than this part of the way from after to before, 0–1, shows no return.
    min_stable_px
        As for `levelled`.

    Returns
    -------
    HistoricScore
        Per pixel.

    Raises
    ------
    ValueError
        Where arrays do not belong together or `second_from_dates` is below 2.

    Source
    ------
    The idea of a band of own variation: Verbesselt et al. (2012), near real-time disturbance detection, Remote Sens.
    Environ. 123, 98–108; here over pairs, each relatively normalised, because few dates carry no seasonal model.
    """
    if second_from_dates < 2:
        raise ValueError(f"second_from_dates is {second_from_dates}; a second date needs at least 2")
    if not earlier:
        return HistoricScore(np.full(valid.shape, np.nan, np.float32), np.zeros(valid.shape, np.uint8))
    each = []
    for date in earlier:
        seen = valid & date.valid
        score = deviations(date.values, after, seen, fitted=date.fitted, thresholds=date.thresholds)
        # After is the origin here: 1 = this date is as far from it as the before date, 0 = it is the after state.
        side = persists(after, before, date.values, seen, inside, min_stable_px=min_stable_px)
        each.append(np.where(side > before_like, np.float32(np.inf), score))
    ordered = np.sort(np.stack(each), axis=0)  # NaN last
    dates = np.sum(~np.isnan(ordered), axis=0).astype(np.uint8)
    least = ordered[0] if len(each) == 1 else np.where(dates >= second_from_dates, ordered[1], ordered[0])
    return HistoricScore(least.astype(np.float32), dates)


class OwnVariation(NamedTuple):
    """What a place shows by itself: median and robust deviation, float32 ``(band, row, col)``, NaN where too few dates."""

    centre: Array
    spread: Array


def own_variation(
    stack: Array, valid: Array, same_season: Array, *, min_dates: int, spread_floor: float
) -> OwnVariation:
    """Return centre and spread of earlier dates per band and pixel, of the same season where there are enough.

    Parameters
    ----------
    stack
        float32, ``(time, band, row, col)``, earlier dates brought to the level of the after date (`levelled`).
    valid
        Bool, ``(time, row, col)``.
    same_season
        Bool, ``(time,)``: dates of the season of the after date.
    min_dates
        Fewer valid dates than this tell nothing.
    spread_floor
        Reflectance; the spread is never taken for smaller.

    Returns
    -------
    OwnVariation
        Spread: 0.7413 × the distance of the quartiles.
    """
    if stack.shape[0] == 0:
        empty = np.full(stack.shape[1:], np.nan, np.float32)
        return OwnVariation(empty, empty.copy())
    season = valid & same_season[:, None, None]
    enough = season.sum(axis=0) >= min_dates
    used = np.where(enough, season, valid)
    shown = np.where(used[:, None], stack, np.nan).astype(np.float64)
    known = np.broadcast_to(used.sum(axis=0) >= min_dates, stack.shape[1:])
    shown[:, ~known] = 0.0
    low, middle, high = np.nanquantile(shown, (0.25, 0.5, 0.75), axis=0)
    spread = np.maximum(_QUARTILES * (high - low), spread_floor)
    return OwnVariation(*(np.where(known, v, np.nan).astype(np.float32) for v in (middle, spread)))


def beyond_own(after: Array, own: OwnVariation) -> Array:
    """Return the largest distance over the bands of the after date from its place's own centre, in own deviations.

    float32, ``(row, col)``; NaN where too few dates are known.
    """
    distance: Array = np.max(np.abs(after - own.centre) / own.spread, axis=0)
    return distance.astype(np.float32)


def levelled(values: Array, reference: Array, stable: Array, *, min_stable_px: int) -> Array:
    """Return a date brought to the level of a reference by one number per band, the median over stable pixels.

    An offset, not a line: a window holds too few kinds of ground for a slope.

    Parameters
    ----------
    values, reference
        float32, ``(band, row, col)``, reflectance.
    stable
        Bool, ``(row, col)``: valid in both and outside the patch.
    min_stable_px
        With fewer stable pixels the date is returned as it is.
    """
    if int(stable.sum()) < min_stable_px:
        return values.astype(np.float32)
    offset = np.median(reference[:, stable].astype(np.float64) - values[:, stable].astype(np.float64), axis=1)
    result: Array = values + offset[:, None, None]
    return result.astype(np.float32)


def persists(before: Array, after: Array, later: Array, valid: Array, inside: Array, *, min_stable_px: int) -> Array:
    """Return how much of the change from before to after a later date still shows.

    Parameters
    ----------
    before, after, later
        float32, ``(band, row, col)``, reflectance.
    valid
        Bool, ``(row, col)``: usable in all three.
    inside
        Bool, ``(row, col)``: the patch. The ground around it gives the level of each date.
    min_stable_px
        With fewer pixels around, the dates are compared as they are.

    Returns
    -------
    ndarray
        float32, ``(row, col)``: 1 = the same change, 0 = gone, below 0 = the contrary; NaN outside and where not valid.

    Notes
    -----
    The part of (later − before) along (after − before): a later change of another kind does not undo the first.
    """
    stable = valid & ~inside
    first = levelled(after, before, stable, min_stable_px=min_stable_px) - before
    second = levelled(later, before, stable, min_stable_px=min_stable_px) - before
    length = np.sum(first.astype(np.float64) ** 2, axis=0)
    along = np.sum(first.astype(np.float64) * second, axis=0)
    share = along / np.maximum(length, 1e-9)
    return np.where(valid & inside, share, np.nan).astype(np.float32)
