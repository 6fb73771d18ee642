"""Thresholds of a score, measured on the pair itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Thresholds:
    """Where flags begin.

    Parameters
    ----------
    weak, strong
        Score above which a pixel is flagged weakly or strongly.
    centre, spread
        Mode and robust deviation of the cube root of the no-change score.
    """

    weak: float
    strong: float
    centre: float
    spread: float


def fit_thresholds(score: Array, *, variates: int, weak_sigma: float, strong_sigma: float) -> Thresholds:
    """Place the thresholds a number of deviations above what this pair shows where nothing changed.

    The cube root of a χ² variable is nearly normal, whatever its degrees of freedom. Unchanged ground is the lowest heap
    of its values, whatever share of the scene it is; centre and spread are those of that heap, the spread from its lower
    side. A threshold that splits the values into two classes (Otsu) would find change in every pair; one placed above
    the median would lose all of it where more than half changed.

    Parameters
    ----------
    score
        float, ``(n,)``, score of the fitted sample, no NaN.
    variates
        Number of variates: centre and deviation are never smaller than those of a χ² law with as many degrees of freedom,
        so that a pair without any noise is not searched for it.
    weak_sigma, strong_sigma
        Deviations above the centre.

    Source
    ------
    Wilson & Hilferty (1931), PNAS 17, 684–688; deviation by the median distance below the mode.
    """
    root = np.cbrt(np.asarray(score, np.float64))
    middle = lowest_mode(root)
    below = 1.4826 * float(np.median(middle - root[root <= middle]))
    share = 2 / (9 * variates)
    centre = max(middle, np.cbrt(variates) * (1 - share))
    spread = max(below, np.cbrt(variates) * np.sqrt(share))
    weak, strong = ((centre + sigma * spread) ** 3 for sigma in (weak_sigma, max(weak_sigma, strong_sigma)))
    return Thresholds(float(weak), float(strong), float(centre), float(spread))


_BINS = 400
_SMOOTH = 6.0
_HEAP = 0.4


def lowest_mode(root: Array) -> float:
    """Return the centre of the lowest heap of values that stands out: at least 0.4 times as high as the highest.

    Parameters
    ----------
    root
        float, ``(n,)``, no NaN.
    """
    low, high = np.quantile(root, (0.0, 0.98))
    if not high > low:
        return float(low)
    counts, edges = np.histogram(root, bins=_BINS, range=(low, high))
    heights = gaussian_filter1d(counts.astype(np.float64), _SMOOTH, mode="constant")
    peaks = np.flatnonzero((heights >= np.roll(heights, 1)) & (heights > np.roll(heights, -1)))
    tall = peaks[heights[peaks] >= _HEAP * heights.max()]
    first = int(tall[0]) if tall.size else int(np.argmax(heights))
    return float((edges[first] + edges[first + 1]) / 2)
