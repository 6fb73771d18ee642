"""Thresholds of a score, measured on the pair itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Thresholds:
    """Where flags begin.

    Parameters
    ----------
    weak, strong
        Score above which a pixel is flagged weakly or strongly.
    centre, spread
        Median and robust deviation of the cube root of the no-change score.
    """

    weak: float
    strong: float
    centre: float
    spread: float


def fit_thresholds(score: Array, *, variates: int, weak_sigma: float, strong_sigma: float) -> Thresholds:
    """Place the thresholds a number of deviations above what this pair shows where nothing changed.

    The cube root of a χ² variable is nearly normal, whatever its degrees of freedom. Its centre and its *lower* half come
    from unchanged ground as long as that is the larger part, so both are taken from there: a threshold that splits the
    values into two classes (Otsu) would find change in every pair.

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
    Wilson & Hilferty (1931), PNAS 17, 684–688; deviation by the median distance below the median.
    """
    root = np.cbrt(np.asarray(score, np.float64))
    middle = float(np.median(root))
    below = 1.4826 * float(np.median(middle - root[root <= middle]))
    share = 2 / (9 * variates)
    centre = max(middle, np.cbrt(variates) * (1 - share))
    spread = max(below, np.cbrt(variates) * np.sqrt(share))
    weak, strong = ((centre + sigma * spread) ** 3 for sigma in (weak_sigma, max(weak_sigma, strong_sigma)))
    return Thresholds(float(weak), float(strong), float(centre), float(spread))
