"""Evidence of several sensors over the same ground, joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def joined_score(scores: Sequence[Array], usable: Sequence[Array], weights: Sequence[float]) -> Array:
    """Join deviations above no change of several sensors into one.

    The root of the weighted sum of squares: what one sensor sees clearly stands by itself, what several see a little adds
    up, and silence of one does not take away what another saw. Where the sensor of the largest weight was blind, the
    others are taken as if they stood alone.

    Parameters
    ----------
    scores
        float32, ``(row, col)``, deviations above no change; below 0 counts as 0.
    usable
        Bool, ``(row, col)``, one per score.
    weights
        One per score, positive.

    Returns
    -------
    ndarray
        float32, ``(row, col)``; 0 where no sensor saw anything.
    """
    total = np.zeros(scores[0].shape, np.float32)
    largest = np.zeros(scores[0].shape, np.float32)
    for score, seen, weight in zip(scores, usable, weights, strict=True):
        total += np.where(seen, np.square(np.float32(weight) * np.maximum(score, np.float32(0))), np.float32(0))
        largest = np.maximum(largest, np.where(seen, np.float32(weight), np.float32(0)))
    result: Array = np.sqrt(total) / np.where(largest > 0, largest, np.float32(1))
    return result
