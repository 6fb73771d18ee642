"""Change between two display images of three bands: colour that no line explains, and structure that was not there before.

Display images carry no reflectance and no infrared: a field that was ploughed differs more than a field that was built on.
Three pieces of evidence are therefore multiplied: deviations from what the rest of the scene does (IR-MAD, blind to season and
stretch as far as they are linear), the part of the new structure that the old one does not explain, and a gain of texture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from ..errors import PairError
from .bitemporal import Matrix, fit_ir_mad
from .block import PairBlock
from .decide import lowest_mode

Array = np.ndarray[Any, Any]

# Gaussian windows end at three deviations: beyond lies 0.3 % of their weight.
_TRUNCATE = 3.0
# Fewest pixels that a fit can rest on, and about how many it looks at.
_LEAST_PX, _SAMPLES = 200, 60_000
# Reweighting of the colour transform.
_ROUNDS, _TOLERANCE = 30, 1e-3
# A gain of texture is averaged once more: the log of a deviation is noisy.
_GAIN_PX = 2.0
# Mean length of three normal deviates; how far (natural log) unchanged ground may stand above normal noise.
_MEAN_LENGTH, _MOST_ABOVE = 1.6, 0.8
# Evidence has no lower end; nothing below this says more.
_LEAST = 1e-6
# Structure of the same look keeps this much of the colour's say: what is alike may still have changed its colour.
_LEAST_UNLIKE = 0.25
# Floors above a pair's own noise lower the evidence of its unchanged ground, to 0.6 of that of normal noise at most.
_QUIETER = 0.36


@dataclass(frozen=True)
class RgbStructureFit:
    """What one pair's unchanged ground shows.

    Parameters
    ----------
    before_weights, after_weights, constant, inverse_variance
        Colour transform: deviation k is √inverse_variance[k] (constant[k] + before_weights[k]·before − after_weights[k]·after).
    centre
        Natural log of the evidence of unchanged ground.
    """

    before_weights: Matrix
    after_weights: Matrix
    constant: tuple[float, ...]
    inverse_variance: tuple[float, ...]
    centre: float


class _Numbers(NamedTuple):
    """What the evidence depends on; meaning as for `fit_rgb_structure`."""

    colour_px: float
    structure_px: float
    texture_gain: float
    relative: bool
    contrast_floor: float


class _Moments(NamedTuple):
    """Variances of both dates' brightness around a pixel, and their covariance."""

    before: Array
    after: Array
    both: Array


def reach_px(  # the numbers of a pipeline's section are handed over whole
    *,
    colour_px: float,
    structure_px: float,
    texture_gain: float,
    relative: bool,  # noqa: ARG001
    contrast_floor: float,  # noqa: ARG001
    noise_floor: float,  # noqa: ARG001
    log_unit: float,  # noqa: ARG001
) -> int:
    """Return how many pixels around a window the score needs; the numbers are those of `fit_rgb_structure`."""
    gain = _radius(_GAIN_PX) if texture_gain else 0
    return max(_radius(colour_px), _radius(structure_px) + gain)


def fit_rgb_structure(
    blocks: Sequence[PairBlock],
    *,
    colour_px: float,
    structure_px: float,
    texture_gain: float,
    relative: bool,
    contrast_floor: float,
    noise_floor: float,
    log_unit: float,  # noqa: ARG001
) -> RgbStructureFit:
    """Fit the colour transform and find the evidence that unchanged ground of this pair shows.

    The centre is the lowest heap of the logged evidence, whatever share of the scene it is: neither a pair without change
    nor one that is mostly changed moves it far.

    Parameters
    ----------
    blocks
        Both dates, brightness 0–1, without margins.
    colour_px
        Deviation of the Gaussian window over which colour deviations are averaged, in pixels.
    structure_px
        The same for contrast, texture and correlation of the dates.
    texture_gain
        Power with which a gain of texture counts; 0 leaves it out, so that building and clearing count alike.
    relative
        Structure counts by how unlike it is (true), or by how much of it is new (false).
    contrast_floor
        Deviation of brightness below which structure is noise.
    noise_floor
        Deviation of brightness, per band and date, that is added to the variance of every colour variate.
    log_unit
        Natural log of the evidence that counts as one deviation.

    Returns
    -------
    RgbStructureFit
        Plain numbers.

    Raises
    ------
    PairError
        ``FIT_FAILED`` where fewer than 200 pixels are valid in both dates, or the colour transform cannot be fitted.

    Source
    ------
    Nielsen, A. A. (2007), as in `fit_ir_mad`; the product with local structure is ours.
    """
    valid_px = sum(int(block.valid.sum()) for block in blocks)
    if valid_px < _LEAST_PX:
        raise PairError("FIT_FAILED", "pair", f"only {valid_px} pixels are valid in both dates", "use a larger area")
    before, after = (_sample([block[date] for block in blocks], blocks, valid_px) for date in (0, 1))
    mad = fit_ir_mad(before, after, max_iterations=_ROUNDS, tolerance=_TOLERANCE, noise_floor=noise_floor)
    start = RgbStructureFit(mad.before_weights, mad.after_weights, mad.constant, mad.inverse_variance, 0.0)
    numbers = _Numbers(colour_px, structure_px, texture_gain, relative, contrast_floor)
    logs = [_log_evidence(block, start, numbers)[block.valid] for block in blocks]
    centre = _unchanged_centre(np.concatenate(logs), relative=relative, contrast_floor=contrast_floor)
    return RgbStructureFit(start.before_weights, start.after_weights, start.constant, start.inverse_variance, centre)


def score_rgb_structure(  # noqa: PLR0913 - the numbers of a pipeline's section are handed over whole
    block: PairBlock,
    fitted: RgbStructureFit,
    *,
    colour_px: float,
    structure_px: float,
    texture_gain: float,
    relative: bool,
    contrast_floor: float,
    noise_floor: float,  # noqa: ARG001
    log_unit: float,
) -> Array:
    """Score a block: deviations above what the pair shows where nothing changed.

    Parameters
    ----------
    block
        Both dates, brightness 0–1, with a margin of `reach_px`.
    fitted
        Of the same pair and the same numbers.
    colour_px, structure_px, texture_gain, relative, contrast_floor, noise_floor, log_unit
        As for `fit_rgb_structure`.

    Returns
    -------
    ndarray
        float32, ``(row, col)``: 0 where the evidence is below that of unchanged ground, and where not valid.
    """
    numbers = _Numbers(colour_px, structure_px, texture_gain, relative, contrast_floor)
    logs = _log_evidence(block, fitted, numbers)
    score = np.maximum((logs - np.float32(fitted.centre)) / np.float32(log_unit), 0)
    return np.where(block.valid, score, 0).astype(np.float32)


def _unchanged_centre(logs: Array, *, relative: bool, contrast_floor: float) -> float:
    """Lowest heap of the logged evidence, within what unchanged ground can show.

    A pair without any noise is not searched for it, and a heap far above normal noise is change, however large.
    """
    structure = _LEAST_UNLIKE * _QUIETER if relative else contrast_floor
    quiet = float(np.log(_MEAN_LENGTH) + 0.5 * np.log(structure))
    return float(np.clip(lowest_mode(logs.astype(np.float64)), quiet, quiet + _MOST_ABOVE))


def _log_evidence(block: PairBlock, fitted: RgbStructureFit, numbers: _Numbers) -> Array:
    colour_px, structure_px, texture_gain, relative, contrast_floor = numbers
    weight = block.valid.astype(np.float32)
    before, after = (np.where(block.valid, date, 0).astype(np.float32) for date in block[:2])
    colour = _mean(_colour_deviation(before, after, fitted), weight, colour_px)
    moments = _moments(before.mean(axis=0), after.mean(axis=0), weight, structure_px)
    structure = _unlike(moments, contrast_floor) if relative else np.sqrt(_unexplained(moments, contrast_floor))
    logs = np.log(np.maximum(colour, _LEAST)) + 0.5 * np.log(structure)
    if texture_gain:
        gain = np.log(_deviation(moments.after, contrast_floor) / _deviation(moments.before, contrast_floor))
        logs += np.float32(texture_gain) * _mean(gain, weight, _GAIN_PX)
    result: Array = logs
    return result


def _colour_deviation(before: Array, after: Array, fitted: RgbStructureFit) -> Array:
    wb, wa, constant, inverse = (
        np.asarray(part, np.float32)
        for part in (fitted.before_weights, fitted.after_weights, fitted.constant, fitted.inverse_variance)
    )
    square = np.zeros(before.shape[1:], np.float32)
    for k in range(len(constant)):
        # Band by band: a matrix product may sum in another order for another width.
        variate = np.full_like(square, constant[k])
        for band in range(len(before)):
            variate += wb[k, band] * before[band] - wa[k, band] * after[band]
        square += inverse[k] * variate**2
    return np.sqrt(square)


def _moments(before: Array, after: Array, weight: Array, px: float) -> _Moments:
    # Centred numbers keep float32 from losing small variances of bright ground.
    x, y = before - np.float32(0.5), after - np.float32(0.5)
    norm = np.maximum(_smooth(weight, px), _LEAST)
    mx, my, xx, yy, xy = (_smooth(part * weight, px) / norm for part in (x, y, x * x, y * y, x * y))
    return _Moments(np.maximum(xx - mx * mx, 0), np.maximum(yy - my * my, 0), xy - mx * my)


def _unexplained(moments: _Moments, floor: float) -> Array:
    """Variance of the after date's brightness that a local line on the before date's leaves, and noise."""
    noise = np.float32(floor**2)
    result: Array = np.maximum(moments.after - moments.both**2 / (moments.before + noise), 0) + noise
    return result


def _unlike(moments: _Moments, floor: float) -> Array:
    """One less the correlation of the dates' structure, 0–2; structure below the noise is like nothing."""
    noise = np.float32(floor**2)
    alike = moments.both / np.sqrt((moments.before + noise) * (moments.after + noise))
    result: Array = 1 - np.float32(1 - _LEAST_UNLIKE) * alike
    return result


def _deviation(variance: Array, floor: float) -> Array:
    result: Array = np.sqrt(variance) + np.float32(floor)
    return result


def _sample(dates: Sequence[Array], blocks: Sequence[PairBlock], valid_px: int) -> Array:
    step = int(np.ceil(np.sqrt(max(1.0, valid_px / _SAMPLES))))
    parts = [date[:, ::step, ::step][:, block.valid[::step, ::step]] for date, block in zip(dates, blocks, strict=True)]
    return np.concatenate(parts, axis=1).astype(np.float64)


def _radius(px: float) -> int:
    return int(_TRUNCATE * px + 0.5)


def _smooth(values: Array, px: float) -> Array:
    result: Array = gaussian_filter(values, px, mode="constant", truncate=_TRUNCATE)
    return result


def _mean(values: Array, weight: Array, px: float) -> Array:
    result: Array = _smooth(values * weight, px) / np.maximum(_smooth(weight, px), _LEAST)
    return result
