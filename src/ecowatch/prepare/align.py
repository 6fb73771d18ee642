"""The shift between two dates: measured by correlation, window by window, and taken out by cubic convolution."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy import fft, ndimage

from ._align_kernels import (
    leading_peaks,
    moved_correlation,
    moved_spline,
    overlap_correlations,
    slope_sums,
    slopes_of,
    standard_images,
)
from ._kernels import shift_cubic

Array = np.ndarray[Any, Any]

_REFINEMENTS = 12
_SETTLED_PX = 0.002
_DETAIL_PX = 31
_CANDIDATES = 6
_RIM_PX = 12
_EDGE_PX = 2
_LEAST_PX = 64


class WindowShift(NamedTuple):
    """Displacement of the later date in one window: rows and columns in pixels, and the correlation once aligned."""

    row_px: float
    col_px: float
    peak: float


def support_px(shift_px: tuple[float, float]) -> int:
    """Return how many pixels around a window `shifted` needs for a displacement."""
    return math.ceil(max(abs(shift_px[0]), abs(shift_px[1]))) + 2


def shifted(
    values: Array, covered: Array | None, *, shift_px: tuple[float, float], pad_px: int, fill: float | None
) -> tuple[Array, Array | None]:
    """Sample an image at displaced positions by cubic convolution, in its own integer numbers.

    Integers stay integers, so that every later step gives the same result wherever the image was cut. A pixel with fill in
    its 4 × 4 support becomes fill: nothing is blended with "no data".

    Parameters
    ----------
    values
        Integer, ``(band, row, col)``, larger than the result by `pad_px` on each side.
    covered
        Bool, ``(row, col)`` of the padded window: which pixels the scene covers; None for all.
    shift_px
        Rows and columns by which the sampling positions are moved.
    pad_px
        At least `support_px` of the shift.
    fill
        Number that means "no data"; None where there is none.

    Returns
    -------
    values
        Same type, ``(band, row, col)`` without the padding.
    covered
        Bool without the padding, False where the support left the scene; None if `covered` was None.

    Source
    ------
    Keys, R. G. (1981): Cubic convolution interpolation for digital image processing. IEEE Trans. ASSP 29, eq. 15
    (a = −1/2).
    """
    bands, height, width = values.shape
    out = np.empty((bands, height - 2 * pad_px, width - 2 * pad_px), values.dtype)
    top = float(np.iinfo(values.dtype).max)
    number = 0.0 if fill is None else float(fill)
    for band in range(bands):
        shift_cubic(values[band], pad_px, shift_px[0], shift_px[1], number, fill is not None, top, out[band])
    if covered is None:
        return out, None
    row, col = math.floor(shift_px[0]), math.floor(shift_px[1])
    inside = np.ones(out.shape[1:], bool)
    for i in range(-1, 3):
        for j in range(-1, 3):
            y, x = pad_px + row + i, pad_px + col + j
            inside &= covered[y : y + inside.shape[0], x : x + inside.shape[1]]
    return out, inside


def window_shift(before: Array, after: Array, valid: Array) -> WindowShift:
    """Measure the displacement between two images of one window.

    Whole pixels come from the leading peaks of correlation and phase correlation of what stands out from the broad shades,
    the best by the correlation coefficient of the overlap; the fraction from least squares on the image gradients, repeated
    from the corrected position. Unusable pixels carry no weight.

    Parameters
    ----------
    before, after
        float32 or float64, ``(row, col)``, any unit.
    valid
        Bool, ``(row, col)``: usable in both dates.

    Returns
    -------
    WindowShift
        Where in `after` the ground of `before` lies, relative to its place in `before`; peak is the correlation
        coefficient after alignment, 0 where nothing could be measured.

    Source
    ------
    Kuglin & Hines (1975), phase correlation; Lucas & Kanade (1981), eq. 4, iterated. Here the whole-pixel start is
    limited to a quarter of the window, and brightness and contrast are taken out by standardising both images.
    """
    a, b = _images(before, valid), _images(after, valid)
    if a is None or b is None:
        return WindowShift(0.0, 0.0, 0.0)
    position = np.array(_whole_pixels(a.fine, b.fine, valid), float)
    spline = _spline(b.smooth)
    for _ in range(_REFINEMENTS):
        step = _gradient_step(a.smooth, spline, valid, position)
        if step is None:
            return WindowShift(0.0, 0.0, 0.0)
        position += step
        if np.abs(step).max() < _SETTLED_PX:
            break
    row, col = float(position[0]), float(position[1])
    return WindowShift(row, col, moved_correlation(a.standard, b.standard, valid, (row, col), _LEAST_PX))


def agreeing(displacement: Array, peak: Array, *, agree_px: float) -> Array:
    """Return which windows lie around the displacement that most weight of windows has in common.

    Windows under clouds correlate somewhere by chance, each elsewhere; those that saw the ground say the same. The median
    would need the latter to be the majority, this does not.

    Parameters
    ----------
    displacement
        float64, ``(window, 2)``, rows and columns in pixels.
    peak
        float64, ``(window,)``: weight of each, its correlation.
    agree_px
        Windows no further apart than this agree, pixels.

    Returns
    -------
    ndarray
        Bool, ``(window,)``.
    """
    apart = np.hypot(*(displacement[:, None, :] - displacement[None, :, :]).T)
    result: Array = apart[int(np.argmax((apart <= agree_px) @ peak))] <= agree_px
    return result


class _Images(NamedTuple):
    """One date of a window with mean 0 and deviation 1, smoothed, and what of it stands out from the broad shades."""

    standard: Array
    smooth: Array
    fine: Array


def _images(image: Array, valid: Array) -> _Images | None:
    """The images of one date; None where there is nothing to correlate. Clouds leave no edge of their own in the detail."""
    inside = image[valid]
    if inside.size < _LEAST_PX:
        return None
    # Winsorised: a few glaring roofs must not decide.
    low, high = np.percentile(inside, (2, 98))
    if high <= low:
        return None
    images = _Images(*np.empty((3, *image.shape)))
    standard_images(np.ascontiguousarray(image, np.float64), valid, low, high, _DETAIL_PX, *images)
    return images


def _whole_pixels(fine_a: Array, fine_b: Array, valid: Array) -> tuple[int, int]:
    """Whole-pixel displacement: the best-correlating of the leading peaks of two correlation surfaces."""
    rows, cols = valid.shape
    taper = np.outer(np.hanning(rows + 2)[1:-1], np.hanning(cols + 2)[1:-1])
    cross = np.conj(fft.rfft2(fine_a * taper)) * fft.rfft2(fine_b * taper)
    # The phase alone is sharp where ground is rich, the product is steady where it is poor or repeats itself.
    surfaces = (cross / np.maximum(np.abs(cross), 1e-9), cross)
    candidates = sorted({(0, 0)} | {p for s in surfaces for p in _peaks(fft.irfft2(s, s=valid.shape))})
    correlations = np.empty(len(candidates))
    overlap_correlations(fine_a, fine_b, valid, np.array(candidates), _LEAST_PX, correlations)
    return candidates[int(np.argmax(correlations))]


def _peaks(correlation: Array) -> list[tuple[int, int]]:
    found = np.empty((_CANDIDATES, 2), np.int64)
    count = leading_peaks(correlation, *(side // 4 for side in correlation.shape), found)
    return [(int(row), int(col)) for row, col in found[:count]]


def _spline(image: Array) -> Array:
    """Cubic spline coefficients of an image with a rim of repeated edges, as `scipy.ndimage.shift` makes them at each call."""
    result: Array = ndimage.spline_filter(np.pad(image, _RIM_PX, mode="edge"), order=3, mode="nearest")
    return result


def _taps(count: int, moved_px: float) -> tuple[Array, Array]:
    """Weights and places of the four coefficients of a cubic spline that tell each cell of an axis moved by a distance."""
    last = count + 2 * _RIM_PX - 1
    at = np.clip(np.arange(count) + _RIM_PX + moved_px, 0, last)
    first = np.floor(at)
    t = at - first
    weights = ((1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3)
    places = first.astype(np.int64) + np.arange(-1, 3)[:, None]
    return np.array(weights) / 6, np.clip(places, 0, last)


def _moved(spline: Array, shape: tuple[int, int], position: Array) -> Array:
    """What spline coefficients tell of an image moved by `position`; one displacement, so each axis is done for itself."""
    rows, cols = (_taps(count, float(px)) for count, px in zip(shape, position, strict=True))
    moved = np.empty(shape)
    moved_spline(spline, *rows, *cols, np.empty((shape[0], spline.shape[1])), moved)
    return moved


def _gradient_step(reference: Array, spline: Array, valid: Array, position: Array) -> Array | None:
    # Splines, not straight lines between pixels: those would smooth the noise most at half a pixel and be drawn there.
    moved = _moved(spline, reference.shape, position)
    found = np.empty((3, reference.size))
    count = slopes_of(reference, moved, valid, (float(position[0]), float(position[1])), _EDGE_PX, found)
    if count < _LEAST_PX:
        return None
    # Changed ground is the outlier of this fit; it is given no say.
    middle = _median(found[2, :count])
    limit = 3 * 1.4826 * _median(np.abs(found[2, :count] - middle)) + 1e-9
    sums = np.empty(5)
    slope_sums(found[:, :count], middle, limit, sums)
    normal = np.array([[sums[0], sums[1]], [sums[1], sums[2]]])
    if np.linalg.det(normal) < 1e-9 * max(float(np.trace(normal)) ** 2, 1e-12):
        return None
    step: Array = -np.linalg.solve(normal, sums[3:])
    return np.clip(step, -1.0, 1.0)


def _median(values: Array) -> float:
    """As `numpy.median` of numbers without NaN; that sorts further, to look for NaN."""
    middle = len(values) // 2
    halves = np.partition(values, middle)
    upper = float(halves[middle])
    return upper if len(values) % 2 else (float(halves[:middle].max()) + upper) / 2
