"""Two dates over one window, as methods see them that look at a pixel's surroundings."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class PairBlock(NamedTuple):
    """Two dates over one window.

    Parameters
    ----------
    before, after
        float32, ``(band, row, col)``: reflectance or brightness 0–1 for optical images, decibel for radar; any finite
        number where not valid.
    valid
        Bool, ``(row, col)``: usable in both dates.
    """

    before: Array
    after: Array
    valid: Array
