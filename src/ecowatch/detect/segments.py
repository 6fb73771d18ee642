"""What ground looks like at decimetre pixels, date by date and between dates: the evidence of `objects`.

Everything here is a sum, an extreme or a product over a window of fixed size in metres, so that a value depends on its
surroundings only and not on where the image was cut.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

Array = np.ndarray[Any, Any]

FEATURES: tuple[str, ...] = (
    "colour_change",
    "brightness",
    "correlation",
    "blueness",
    "edge_contrast",
    "texture_gain",
    "stood_out",
)
"""Order of the features that `direction_features` returns."""

# Added to brightness before its logarithm: shadows must not be all noise.
_DARK = 0.04
# Weights of brightness, blue against red and green against both in a distance.
_CHANNEL_WEIGHTS = (1.0, 2.0, 3.0)
# Windows, metres: standard deviations of Gaussians, then half sides of squares.
_FINE_M, _PATCH_M, _COARSE_M, _HIGH_PASS_M = 0.7, 2.0, 2.5, 4.0
_EDGE_HALF_M, _FLAT_HALF_M, _FLAT_SIGMA_M, _WIDE_HALF_M = 3.0, 1.0, 1.0, 12.0
_TRUNCATE = 3.0
# One part in this many is kept by exact sums.
_STEPS = 65536.0

REACH_M = _TRUNCATE * (_HIGH_PASS_M + _PATCH_M)
"""How far around a place its features look, metres."""


class Appearance(NamedTuple):
    """One date at working resolution.

    Parameters
    ----------
    fine, patch
        float32, ``(3, row, col)``: log brightness, blue against red and green against both, smoothed over about 1 and 4 m.
    edge_contrast
        float32, ``(row, col)``: how much sharper the sharpest edge nearby is than the ground itself, log.
    texture
        float32, ``(row, col)``: log variance of brightness within about 5 m.
    standing_out
        float32, ``(row, col)``: distance in colour from the surroundings of 24 m.
    """

    fine: Array
    patch: Array
    edge_contrast: Array
    texture: Array
    standing_out: Array


def working_factor(pixel_m: float, working_m: float) -> int:
    """Return how many pixels across make one working pixel: the largest power of two not beyond ``working_m``.

    A power of two divides the lattice of blocks, so that working pixels lie alike in every block.

    Raises
    ------
    ValueError
        Where a length is not above zero.
    """
    if not (pixel_m > 0 and working_m > 0):
        raise ValueError(f"pixel_m {pixel_m} and working_m {working_m} must be above zero")
    factor = 1
    while 2 * factor * pixel_m <= working_m and factor < 64:
        factor *= 2
    return factor


def block_mean(image: Array, factor: int) -> Array:
    """Return means of squares of ``factor`` × ``factor`` pixels (float32); rims are filled up with their last pixel."""
    if factor == 1:
        return np.ascontiguousarray(image, np.float32)
    padded = _filled_up(image, factor)
    parts = [padded[..., i::factor, j::factor] for i in range(factor) for j in range(factor)]
    total = np.zeros(parts[0].shape, np.float32)
    for part in parts:
        total += part
    result: Array = total / np.float32(factor * factor)
    return result


def block_all(valid: Array, factor: int) -> Array:
    """Return where all of the ``factor`` × ``factor`` pixels are usable (bool)."""
    padded = _filled_up(valid, factor)
    result = np.ones((padded.shape[0] // factor, padded.shape[1] // factor), bool)
    for i in range(factor):
        for j in range(factor):
            result &= padded[i::factor, j::factor]
    return result


def _filled_up(image: Array, factor: int) -> Array:
    rows, cols = (-image.shape[-2]) % factor, (-image.shape[-1]) % factor
    widths = [(0, 0)] * (image.ndim - 2) + [(0, rows), (0, cols)]
    return np.pad(image, widths, mode="edge")


def log_colour(image: Array) -> Array:
    """Return log brightness, blue against red and green against both.

    A change of light is an offset of these, whatever it falls on.

    Parameters
    ----------
    image
        float32, ``(3, row, col)`` or ``(3, n)``: red, green, blue, 0–1.

    Returns
    -------
    ndarray
        float32, the same shape.

    Source
    ------
    Finlayson, G. D., Hordley, S. D. (2001): Color constancy at a pixel. J. Opt. Soc. Am. A 18, 253–264, eqs. 7–9; here
    with a dark offset and the plain ratios.
    """
    red, green, blue = np.log(np.ascontiguousarray(np.maximum(image, 0.0), np.float32) + np.float32(_DARK))
    return np.stack([(red + green + blue) / 3, blue - red, green - (red + blue) / 2]).astype(np.float32)


def gaussian(image: Array, sigma_px: float) -> Array:
    """Return the last two axes smoothed (float32): a fixed sum around each pixel, wherever the image was cut."""
    sigma = (0.0,) * (image.ndim - 2) + (sigma_px, sigma_px)
    result: Array = ndimage.gaussian_filter(image, sigma, output=np.float32, truncate=_TRUNCATE)
    return result


def _wide_mean(image: Array, half_px: int) -> Array:
    """Mean over a square by exact sums of whole numbers: a running sum of fractions would depend on where it began."""
    side = 2 * half_px + 1
    total = np.round(np.pad(image, half_px, mode="symmetric").astype(np.float64) * _STEPS).astype(np.int64)
    for _ in (0, 1):
        sums = np.pad(np.cumsum(total, axis=0), ((1, 0), (0, 0)))
        total = np.ascontiguousarray((sums[side:] - sums[:-side]).T)
    return (total / (_STEPS * side * side)).astype(np.float32)


def _log_variance(brightness: Array, sigma_px: float) -> Array:
    mean, square = gaussian(brightness, sigma_px), gaussian(brightness * brightness, sigma_px)
    result: Array = np.log(np.maximum(square - mean * mean, 0) + np.float32(1e-4))
    return result


def appearance(colour: Array, *, step_m: float) -> Appearance:
    """Return what one date looks like.

    Parameters
    ----------
    colour
        float32, ``(3, row, col)``, `log_colour` brought to the level both dates share.
    step_m
        Side of a working pixel, metres.
    """
    fine, patch = gaussian(colour, _FINE_M / step_m), gaussian(colour, _PATCH_M / step_m)
    grain = _log_variance(colour[0], _FINE_M / step_m)
    edge = ndimage.maximum_filter(grain, 2 * int(_EDGE_HALF_M / step_m) + 1)
    flat = gaussian(ndimage.minimum_filter(grain, 2 * int(_FLAT_HALF_M / step_m) + 1), _FLAT_SIGMA_M / step_m)
    around = np.stack([_wide_mean(channel, int(_WIDE_HALF_M / step_m)) for channel in fine])
    return Appearance(fine, patch, edge - flat, _log_variance(colour[0], _COARSE_M / step_m), distance(fine, around))


def distance(one: Array, other: Array) -> Array:
    """Return the weighted distance (float32, ``(row, col)``) of two colour stacks ``(3, row, col)``."""
    total = np.zeros(one.shape[1:], np.float32)
    for weight, a, b in zip(_CHANNEL_WEIGHTS, one, other, strict=True):
        total += np.float32(weight * weight) * (a - b) ** 2
    result: Array = np.sqrt(total)
    return result


def local_correlation(before: Array, after: Array, *, step_m: float) -> Array:
    """Return the correlation (float32, −1 to 1) of two log brightnesses within about 4 m, slow slopes removed.

    It does not change with light; even ground has none, and gives 0.

    Source
    ------
    Lewis, J. P. (1995): Fast normalized cross-correlation. Vision Interface 95, eq. 2, with a Gaussian window.
    """
    high, window = _HIGH_PASS_M / step_m, _PATCH_M / step_m
    b, a = before - gaussian(before, high), after - gaussian(after, high)
    floor = np.float32(4e-4)
    power = (gaussian(a * a, window) + floor) * (gaussian(b * b, window) + floor)
    result: Array = gaussian(a * b, window) / np.sqrt(power)
    return result


def direction_features(old: Appearance, new: Appearance, correlation: Array) -> Array:
    """Return the evidence that ``new`` shows an object where ``old`` shows none.

    Parameters
    ----------
    old, new
        Both dates; exchanged for an object that went.
    correlation
        float32, ``(row, col)``, of `local_correlation`.

    Returns
    -------
    ndarray
        float32, ``(len(FEATURES), row, col)``.
    """
    parts = (
        np.sqrt(distance_l1(new.patch, old.patch)),
        new.fine[0],
        correlation,
        new.fine[1],
        new.edge_contrast,
        new.texture - old.texture,
        old.standing_out,
    )
    return np.stack(parts).astype(np.float32)


def distance_l1(one: Array, other: Array) -> Array:
    """Return the weighted sum of absolute differences (float32, ``(row, col)``) of two colour stacks."""
    total = np.zeros(one.shape[1:], np.float32)
    for weight, a, b in zip(_CHANNEL_WEIGHTS, one, other, strict=True):
        total += np.float32(weight) * np.abs(a - b)
    return total
