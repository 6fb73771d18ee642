"""The finer of two sensors brought to the point spread of the coarser, before they are compared pixel by pixel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# Weights are whole numbers that sum to this: sums of integers do not depend on their order, nor on where an image was cut.
_UNIT = 1 << 12
_REACH_SIGMA = 3.0


def blur_sigma_px(fine_m: float, coarse_m: float, *, spread_share: float) -> float:
    """Return the Gaussian blur that gives a finer image the point spread of a coarser one.

    Parameters
    ----------
    fine_m, coarse_m
        Pixel sizes, metres.
    spread_share
        Standard deviation of a sensor's point spread as a share of its pixel.

    Returns
    -------
    float
        Standard deviation in pixels of the finer image; 0 where it is not the finer.

    Source
    ------
    Variances of convolved Gaussians add: σ² = share² (coarse² − fine²). A modulation transfer of 0.2–0.3 at the Nyquist
    frequency, usual for optical sensors, is a share of 0.49–0.57.
    """
    ratio = coarse_m / fine_m
    return spread_share * math.sqrt(ratio * ratio - 1) if ratio > 1 else 0.0


def blur_support_px(sigma_px: float) -> int:
    """Return how many pixels around a window `blurred` needs."""
    return math.ceil(_REACH_SIGMA * sigma_px)


def blurred(
    values: Array, covered: Array | None, *, sigma_px: float, pad_px: int, fill: float | None
) -> tuple[Array, Array | None]:
    """Blur an image in its own integer numbers, leaving out what is no data.

    Parameters
    ----------
    values
        Integer of at most 16 bits, ``(band, row, col)``, larger than the result by `pad_px` on each side.
    covered
        Bool, ``(row, col)`` of the padded window: which pixels the scene covers; None for all.
    sigma_px
        Standard deviation of the Gaussian, pixels; 0 changes nothing.
    pad_px
        At least `blur_support_px`.
    fill
        Number that means "no data"; None where there is none.

    Returns
    -------
    values
        Same type, without the padding: the weighted mean of what is data around each pixel, rounded; no data stays so, and
        no data is made from a mean that happens to equal the fill.
    covered
        `covered` without the padding, None if it was None.

    Raises
    ------
    ValueError
        Where `pad_px` is too small or the type too wide for exact sums.
    """
    if pad_px < blur_support_px(sigma_px) or values.dtype.itemsize > 2 or values.dtype.kind not in "iu":
        raise ValueError(f"pad_px {pad_px} and {values.dtype} do not serve a blur of {sigma_px} px")
    inner = slice(pad_px, -pad_px or None), slice(pad_px, -pad_px or None)
    seen = None if covered is None else covered[inner]
    weights = _weights(sigma_px)
    out = np.empty_like(values[:, *inner])
    for band, target in zip(values, out, strict=True):
        usable = np.ones(band.shape, bool) if covered is None else covered.copy()
        if fill is not None:
            usable &= band != fill
        numbers = _spread(np.where(usable, band, 0), weights, pad_px)
        total = _spread(usable, weights, pad_px)
        # Halves go up, also below zero: floor((2 n + t) / 2 t).
        mean = (2 * numbers + total) // np.maximum(2 * total, 1)
        if fill is not None:
            mean = np.where(mean == fill, fill - 1 if fill == np.iinfo(values.dtype).max else fill + 1, mean)
        target[:] = np.where(usable[inner], mean, band[inner])
    return out, seen


def _weights(sigma_px: float) -> Array:
    """Whole weights of one axis, symmetric, sum `_UNIT`."""
    reach = blur_support_px(sigma_px)
    if reach == 0:
        return np.array([_UNIT], np.int64)
    bell = np.exp(-0.5 * (np.arange(1, reach + 1) / sigma_px) ** 2)
    side = np.floor(bell / (1 + 2 * bell.sum()) * _UNIT + 0.5).astype(np.int64)
    return np.concatenate([side[::-1], [_UNIT - 2 * side.sum()], side])


def _spread(numbers: Array, weights: Array, pad_px: int) -> Array:
    """Exact weighted sums along both axes (int64), without the padding."""
    reach = len(weights) // 2
    wide = numbers.astype(np.int64)
    for axis in (0, 1):
        length = wide.shape[axis] - 2 * pad_px
        parts = (
            weight * wide.take(range(pad_px + k - reach, pad_px + k - reach + length), axis=axis)
            for k, weight in enumerate(weights)
        )
        wide = np.sum(list(parts), axis=0) if reach else _UNIT * wide.take(range(pad_px, pad_px + length), axis=axis)
    return wide
