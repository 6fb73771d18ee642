"""Numbers of files as detection needs them: physical units, decibels, smoothed colour and texture in integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._kernels import mean_and_spread, to_physical

Array = np.ndarray[Any, Any]

FEATURE_SCALE = 64
"""Features are stored as unsigned integers of the image's numbers times this."""


DECIBEL_SCALE = 100
"""Backscatter is stored as whole hundredths of a decibel."""

NO_DECIBEL = -32768
"""Number that stands for "no data" among them."""


def decibel_features(
    values: Array, fill: float | None, *, scale: Array, offset: Array, power_factor: Array, floor_db: float
) -> Array:
    """Return radar backscatter in hundredths of a decibel.

    Speckle multiplies; its logarithm adds, with the same spread over dark and bright ground.

    Parameters
    ----------
    values
        Integer, ``(band, row, col)``.
    fill
        Number that means "no data"; None where there is none.
    scale, offset
        float, ``(band,)``: backscatter = number × scale + offset.
    power_factor
        float, ``(band,)``: 0 where that is decibel already, 10 where it is power, 20 where it is amplitude.
    floor_db
        Smaller values are lifted to it: the logarithm of a number near zero tells nothing but noise.

    Returns
    -------
    ndarray
        int16, ``(band, row, col)``; `NO_DECIBEL` where there is no data.
    """
    result = np.empty(values.shape, np.int16)
    for band, numbers in enumerate(values):
        linear = numbers.astype(np.float64) * scale[band] + offset[band]
        if power_factor[band]:
            linear = power_factor[band] * np.log10(np.maximum(linear, 1e-30))
        hundredths = np.rint(np.clip(linear, floor_db, 300.0) * DECIBEL_SCALE)
        known = np.ones(numbers.shape, bool) if fill is None else numbers != fill
        result[band] = np.where(known, hundredths, NO_DECIBEL).astype(np.int16)
    return result


def texture_features(values: Array, *, side_px: int) -> Array:
    """Return window means of each band and the window's standard deviation of brightness.

    At decimetre pixels a leaf or a stone is a pixel, so that single colours differ between any two flights; their mean and
    spread over a small window do not. Sums are whole numbers, hence exact wherever the image was cut.

    Parameters
    ----------
    values
        uint8 or uint16, ``(band, row, col)``, larger than the result by ``side_px // 2`` on each side.
    side_px
        Side of the square window, odd, pixels.

    Returns
    -------
    ndarray
        uint16, ``(band + 1, row, col)``, times `FEATURE_SCALE`: band means, then standard deviation.
    """
    bands, rows, cols = values.shape
    features = np.empty((bands + 1, rows - side_px + 1, cols - side_px + 1), np.uint16)
    mean_and_spread(values, side_px, FEATURE_SCALE if values.dtype == np.uint8 else 1, features)
    return features


def physical_values(
    numbers: Array, valid: Array, *, scale: Array, offset: Array, fill: float | None
) -> tuple[Array, Array]:
    """Return a file's own numbers in physical units, and which pixels are valid.

    Parameters
    ----------
    numbers
        Integers, ``(band, row, col)``.
    valid
        Bool, ``(row, col)``: pixels that are valid but for the fill.
    scale, offset
        float32, ``(band,)``: value = number × scale + offset.
    fill
        A pixel of which any band is this holds no data; None where there is no such number.

    Returns
    -------
    tuple
        Values, float32 ``(band, row, col)``, any number where not valid; and bool ``(row, col)``.
    """
    values, known = np.empty(numbers.shape, np.float32), valid.copy()
    to_physical(numbers, 0.0 if fill is None else float(fill), fill is not None, scale, offset, values, known)
    return values, known
