"""The shift between two dates: measured by correlation, window by window, and taken out by cubic convolution."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy import fft, ndimage

from ._kernels import moved_spline, overlap_correlation, shift_cubic, slopes_of

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
    a, b = _standardised(before, valid), _standardised(after, valid)
    if a is None or b is None:
        return WindowShift(0.0, 0.0, 0.0)
    row, col = _whole_pixels(a, b, valid)
    position = np.array([row, col], float)
    reference, spline = _smooth(a), _spline(_smooth(b))
    for _ in range(_REFINEMENTS):
        step = _gradient_step(reference, spline, valid, position)
        if step is None:
            return WindowShift(0.0, 0.0, 0.0)
        position += step
        if np.abs(step).max() < _SETTLED_PX:
            break
    return WindowShift(float(position[0]), float(position[1]), _correlation(a, b, valid, position))


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


def _standardised(image: Array, valid: Array) -> Array | None:
    if valid.sum() < _LEAST_PX:
        return None
    inside = image[valid].astype(np.float64)
    # Winsorised: a few glaring roofs must not decide.
    low, high = np.percentile(inside, (2, 98))
    if high <= low:
        return None
    clipped = np.clip(image.astype(np.float64), low, high)
    centre = float(np.mean(clipped[valid]))
    spread = float(np.std(clipped[valid]))
    return np.where(valid, (clipped - centre) / spread, 0.0)


def _whole_pixels(a: Array, b: Array, valid: Array) -> tuple[int, int]:
    """Whole-pixel displacement: the best-correlating of the leading peaks of two correlation surfaces."""
    fine_a, fine_b = (_detail(image, valid) for image in (a, b))
    rows, cols = a.shape
    taper = np.outer(np.hanning(rows + 2)[1:-1], np.hanning(cols + 2)[1:-1])
    cross = np.conj(fft.rfft2(fine_a * taper)) * fft.rfft2(fine_b * taper)
    # The phase alone is sharp where ground is rich, the product is steady where it is poor or repeats itself.
    surfaces = (cross / np.maximum(np.abs(cross), 1e-9), cross)
    candidates = {(0, 0)} | {p for s in surfaces for p in _peaks(fft.irfft2(s, s=a.shape))}
    return max(sorted(candidates), key=lambda p: overlap_correlation(fine_a, fine_b, valid, *p, _LEAST_PX))


def _detail(image: Array, valid: Array) -> Array:
    """What a window holds beyond its broad shades, 0 where not valid: clouds leave no edge of their own."""
    weight = np.maximum(ndimage.uniform_filter(valid.astype(float), _DETAIL_PX, mode="constant"), 1e-6)
    broad = ndimage.uniform_filter(np.where(valid, image, 0.0), _DETAIL_PX, mode="constant") / weight
    return np.where(valid, _smooth(image) - broad, 0.0)


def _peaks(correlation: Array) -> list[tuple[int, int]]:
    rows, cols = correlation.shape
    reach_row, reach_col = rows // 4, cols // 4
    correlation[reach_row + 1 : rows - reach_row, :] = -np.inf
    correlation[:, reach_col + 1 : cols - reach_col] = -np.inf
    leading = correlation == ndimage.maximum_filter(correlation, 3, mode="wrap")
    places = np.flatnonzero(leading & np.isfinite(correlation))
    order = np.argsort(-correlation.ravel()[places], kind="stable")[:_CANDIDATES]
    found = np.array(np.unravel_index(places[order], correlation.shape)).T
    return [(int(r - rows if r > rows // 2 else r), int(c - cols if c > cols // 2 else c)) for r, c in found]


def _sampled(image: Array, position: Array) -> Array:
    """Bilinear sample of `image` at every pixel moved by `position`; NaN outside."""
    rows, cols = image.shape
    row, col = int(np.floor(position[0])), int(np.floor(position[1]))
    fr, fc = position[0] - row, position[1] - col
    out = np.full(image.shape, np.nan)
    y0, y1 = max(0, -row), min(rows, rows - row - 1)
    x0, x1 = max(0, -col), min(cols, cols - col - 1)
    if y0 >= y1 or x0 >= x1:
        return out
    part = image[y0 + row : y1 + row + 1, x0 + col : x1 + col + 1]
    upper = part[:-1, :-1] * (1 - fc) + part[:-1, 1:] * fc
    lower = part[1:, :-1] * (1 - fc) + part[1:, 1:] * fc
    out[y0:y1, x0:x1] = upper * (1 - fr) + lower * fr
    return out


def _smooth(image: Array) -> Array:
    out = image.copy()
    out[1:-1] = (image[:-2] + 2 * image[1:-1] + image[2:]) / 4
    smooth = out.copy()
    smooth[:, 1:-1] = (out[:, :-2] + 2 * out[:, 1:-1] + out[:, 2:]) / 4
    return smooth


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
    grad_row, grad_col, difference = found[:, :count]
    # Changed ground is the outlier of this fit; it is given no say.
    apart = np.abs(difference - np.median(difference))
    keep = apart <= 3 * 1.4826 * np.median(apart) + 1e-9
    gr, gc, d = grad_row[keep], grad_col[keep], difference[keep]
    normal = np.array([[np.sum(gr * gr), np.sum(gr * gc)], [np.sum(gr * gc), np.sum(gc * gc)]])
    if np.linalg.det(normal) < 1e-9 * max(float(np.trace(normal)) ** 2, 1e-12):
        return None
    step: Array = -np.linalg.solve(normal, [np.sum(gr * d), np.sum(gc * d)])
    return np.clip(step, -1.0, 1.0)


def _correlation(a: Array, b: Array, valid: Array, position: Array) -> float:
    moved = _sampled(b, position)
    usable = valid & np.isfinite(moved) & (_sampled(valid.astype(float), position) > 0.999)
    if usable.sum() < _LEAST_PX:
        return 0.0
    x, y = a[usable], moved[usable]
    denominator = float(np.std(x) * np.std(y))
    return float(np.mean((x - x.mean()) * (y - y.mean())) / denominator) if denominator > 0 else 0.0
