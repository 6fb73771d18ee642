"""How well flags agree with labels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

Array = np.ndarray[Any, Any]

UNLABELLED = 255
_EIGHT = np.ones((3, 3), int)
SIZES_M2 = (0.0, 500.0, 1000.0, 5000.0, 10000.0)
"""Lower edges of the size classes of labelled objects, square metres."""


class Agreement(NamedTuple):
    """Agreement on labelled pixels: F1, intersection over union, Cohen's kappa, overall accuracy; None where undefined."""

    f1: float | None
    iou: float | None
    kappa: float | None
    oa: float | None


class SizeRecall(NamedTuple):
    """Labelled objects of one class of size, and those of them that were found."""

    from_m2: float
    objects: int
    found: int


def agreement(flagged: Array, label: Array) -> Agreement:
    """Compare flags with labels, pixel by pixel.

    Parameters
    ----------
    flagged
        Bool, ``(row, col)``.
    label
        uint8, ``(row, col)``: 0 unchanged, 1 changed, 255 not labelled: never counted.

    Source
    ------
    Cohen, J. (1960): A coefficient of agreement for nominal scales, eq. 1.
    """
    known = label != UNLABELLED
    changed = label[known] == 1
    found = flagged[known]
    n = changed.size
    if n == 0:
        return Agreement(None, None, None, None)
    both, only_found = int((changed & found).sum()), int((found & ~changed).sum())
    missed = int((changed & ~found).sum())
    neither = n - both - only_found - missed
    oa = (both + neither) / n
    by_chance = ((both + only_found) * (both + missed) + (neither + missed) * (neither + only_found)) / n**2
    kappa = (oa - by_chance) / (1 - by_chance) if by_chance < 1 else None
    if both + only_found + missed == 0:
        return Agreement(None, None, kappa, oa)
    return Agreement(2 * both / (2 * both + only_found + missed), both / (both + only_found + missed), kappa, oa)


def recall_by_size(flagged: Array, label: Array, *, pixel_m2: float, smallest_m2: float) -> tuple[SizeRecall, ...]:
    """Count labelled objects, and those of which at least half the pixels are flagged, by size.

    Parameters
    ----------
    flagged, label
        As for `agreement`; an object is a group of 8-connected pixels labelled 1.
    pixel_m2
        Area of a pixel.
    smallest_m2
        Smaller objects are not counted: slivers at the image's edge, and what the pipeline would not publish.

    Returns
    -------
    tuple of SizeRecall
        One per class of `SIZES_M2`.
    """
    objects, count = ndimage.label(label == 1, structure=_EIGHT)
    size = np.bincount(objects.ravel(), minlength=count + 1)[1:]
    hit = np.bincount(objects.ravel(), weights=flagged.ravel().astype(float), minlength=count + 1)[1:]
    counted = size * pixel_m2 >= smallest_m2
    found = counted & (hit >= 0.5 * size)
    number = np.searchsorted(SIZES_M2, size * pixel_m2, side="right") - 1
    return tuple(
        SizeRecall(low, int((counted & (number == i)).sum()), int((found & (number == i)).sum()))
        for i, low in enumerate(SIZES_M2)
    )
