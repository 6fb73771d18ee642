"""Which ground stayed as it was: a start for the fits that the changed ground cannot pull away."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._fit_kernels import line_distance, moments_of

Array = np.ndarray[Any, Any]

# The share of a scene that is taken to have stayed as it was, however much changed around it.
_STABLE_SHARE = 0.3
_STEPS = 15
# Far more pixels say no more about a line per band.
_MOST_PX = 20_000


def stable_ground(before: Array, after: Array, *, noise_floor: float) -> Array:
    """Return which sampled pixels agree best with one line per band between the dates.

    A fit that begins with all pixels is drawn to the changed ground where that is a third or more of the scene, and then
    calls the unchanged ground changed. Least trimmed squares looks for the line that the best-agreeing 30 % share, from
    three starts: the numbers as they are (reflectance should not need a line), equal medians, equal medians and spreads.

    Parameters
    ----------
    before, after
        float64, ``(band, n)``, reflectance of the same n usable pixels, no NaN.
    noise_floor
        Deviation per band and date below which a difference says nothing.

    Returns
    -------
    ndarray
        Bool, ``(n,)``: the 30 % that agree best.

    Source
    ------
    Rousseeuw & Van Driessen (2006): Computing LTS regression for large data sets, concentration steps; here for all bands
    together, with lines of the ratio of spreads.
    """
    step = max(1, before.shape[1] // _MOST_PX)
    b, a = (np.ascontiguousarray(values[:, ::step]) for values in (before, after))
    scale = np.maximum(_spread(b), 1e-9)
    floor = (max(noise_floor, 1e-6) / scale) ** 2
    ratio = _spread(a) / scale
    middle_b, middle_a = (np.array([quantile(band, 0.5) for band in values]) for values in (b, a))
    starts = (
        (np.ones(len(b)), np.zeros(len(b))),
        (np.ones(len(b)), middle_a - middle_b),
        (ratio, middle_a - ratio * middle_b),
    )
    lines = [_concentrated(b, a, gain, offset, scale, floor) for gain, offset in starts]
    # The first of equals wins: the numbers as they are.
    gain, offset, _ = min(lines, key=lambda line: line[2])
    distance = np.empty(before.shape[1])
    line_distance(*(np.ascontiguousarray(values) for values in (before, after)), gain, offset, scale, distance)
    result: Array = distance <= quantile(distance, _STABLE_SHARE)
    return result


def quantile(values: Array, share: float) -> float:
    """Return what `numpy.quantile` does of numbers without NaN, in a seventh of its time: it is asked some dozen times a fit.

    Parameters
    ----------
    values
        float64, ``(n,)``, at least one, no NaN.
    share
        0 to 1.

    Source
    ------
    Hyndman, R. J. & Fan, Y. (1996): Sample quantiles in statistical packages. Am. Stat. 50, 361–365, definition 7.
    """
    place = share * (values.size - 1)
    number = int(place)
    part = np.partition(values, number)
    below = float(part[number])
    above = float(part[number + 1 :].min()) if number + 1 < values.size else below
    further, step = place - number, above - below
    # Counted from the nearer end, as NumPy does: the last bit is the same.
    return above - step * (1 - further) if further >= 0.5 else below + step * further


def _spread(values: Array) -> Array:
    return np.array([quantile(band, 0.75) - quantile(band, 0.25) for band in values]) / 1.349


def _concentrated(
    b: Array, a: Array, gain: Array, offset: Array, scale: Array, floor: Array
) -> tuple[Array, Array, float]:
    count = max(2, int(_STABLE_SHARE * b.shape[1]))
    distance, least = np.empty(b.shape[1]), floor * scale**2
    x, y, var_x, var_y = np.empty((4, len(b)))
    for _ in range(_STEPS):
        line_distance(b, a, gain, offset, scale, distance)
        nearest = np.argpartition(distance, count - 1)[:count]
        moments_of(b, nearest, x, var_x)
        moments_of(a, nearest, y, var_y)
        # Spread that the floor alone would make carries no line.
        gain = np.sqrt(np.maximum(var_y, least)) / np.sqrt(np.maximum(var_x, least))
        offset = y - gain * x
    line_distance(b, a, gain, offset, scale, distance)
    loss = float(np.mean(np.partition(distance, count - 1)[:count]))
    # Differences below the floor are no reason to prefer one line to another.
    return gain, offset, max(loss, float(floor.sum()))
