"""Objects of metres that came or went between two RGB flights at decimetre pixels: buildings before all.

Colour alone flags a fifth of unchanged ground at this scale: seasons, light, cars and leaning roofs. Here the evidence of
`segments` is weighed by a small learned sum, once for an object that came and once for one that went.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from ..errors import PairError
from .block import PairBlock
from .segments import (
    FEATURES,
    REACH_M,
    appearance,
    block_all,
    block_mean,
    direction_features,
    gaussian,
    local_correlation,
    log_colour,
    working_factor,
)

Array = np.ndarray[Any, Any]

# Samples of the fit, and its rounds.
_SAMPLE_STEP, _MOST_SAMPLES, _ROUNDS = 3, 200_000, 10
# Share of a pair that surely did not change, and how many blocks show its level.
_QUIET_SHARE, _QUIET_BLOCKS = 0.1, 8
# One date's contrast is brought to the other's by no more than this factor.
_MOST_GAIN = 1.5
_GAUSSIAN_REACH = 3.0


class ObjectModel(NamedTuple):
    """A learned sum of two slopes per feature, one value per feature of `segments.FEATURES`.

    margin = constant + Σ_k above[k]·max(z_k, 0) + below[k]·min(z_k, 0), with z = (feature − centre)/scale cut at ± limit.

    Parameters
    ----------
    centre, scale
        Of each feature.
    above, below
        Slopes, natural logarithm of the odds.
    constant
        Of the sum.
    limit
        Features count no further than this many scales.
    null_median, null_spread
        Of the smoothed margin over ground known not to have changed.
    """

    centre: tuple[float, ...]
    scale: tuple[float, ...]
    above: tuple[float, ...]
    below: tuple[float, ...]
    constant: float
    limit: float
    null_median: float
    null_spread: float


BUILDINGS = ObjectModel(
    centre=(0.7239, 0.0231, 0.0636, -0.13, 2.3074, 0.0, 0.1815),
    scale=(0.3641, 0.2434, 0.2119, 0.1277, 1.3301, 1.5367, 0.1586),
    above=(1.5576, 0.8192, -1.0971, 0.5724, 0.8698, 0.8478, -0.3234),
    below=(2.1181, 1.3583, 0.3657, 1.1873, 1.1131, -0.1012, -0.7214),
    constant=-0.2165,
    limit=4.0,
    null_median=-2.854,
    null_spread=2.0445,
)
"""Learned by ``benchmarks/learn_objects.py`` from buildings that came or went in Texas, New Zealand and France."""


@dataclass(frozen=True)
class ObjectsFit:
    """How the after date is brought to the light of the before date.

    Parameters
    ----------
    before_level, after_level
        Log brightness, blue against red, green against both of ground that stayed the same.
    gain
        Contrast of the before date over that of the after date, in log brightness.
    middle
        Median log brightness of both dates after that.
    lift
        How much more than ground known not to have changed the quietest tenth of this pair shows, log odds, not below 0.
    """

    before_level: tuple[float, float, float]
    after_level: tuple[float, float, float]
    gain: float
    middle: float
    lift: float


def reach_px(*, pixel_m: float, working_m: float, smooth_m: float) -> int:
    """Return how many pixels around a window its score needs: a whole number of working pixels.

    Parameters
    ----------
    pixel_m, working_m
        Side of a pixel, and the most a working pixel may have, metres.
    smooth_m
        Standard deviation of the window over which evidence is gathered, metres.
    """
    factor = working_factor(pixel_m, working_m)
    return factor * (ceil((REACH_M + _GAUSSIAN_REACH * smooth_m) / (factor * pixel_m)) + 4)


def fit_objects(
    blocks: Sequence[PairBlock],
    *,
    pixel_m: float,
    working_m: float,
    smooth_m: float,
) -> ObjectsFit:
    """Fit the light of the two dates to one another on the ground that stayed the same.

    Parameters
    ----------
    blocks
        Blocks of the area, bands red, green, blue.
    pixel_m, working_m, smooth_m
        As for `reach_px`.

    Returns
    -------
    ObjectsFit
        Plain numbers.

    Raises
    ------
    PairError
        ``FIT_FAILED`` where no working pixel is usable in both dates.
    ValueError
        Where there are not three bands.

    Source
    ------
    Holland, P. W., Welsch, R. E. (1977): Robust regression using iteratively reweighted least squares. Commun. Stat. A 6,
    813–827 (Cauchy weights); here mean and spread instead of a slope, so that both dates are treated alike.
    """
    factor = working_factor(pixel_m, working_m)
    pairs = [_sample(block, factor) for block in blocks]
    before, after = (np.concatenate([pair[i] for pair in pairs], axis=1) for i in (0, 1)) if pairs else (None, None)
    if before is None or after is None or before.shape[1] < 2:
        raise PairError("FIT_FAILED", "pair", "no working pixel is usable in both dates", "use other dates")
    thin = -(-before.shape[1] // _MOST_SAMPLES)
    before, after = before[:, ::thin].astype(np.float64), after[:, ::thin].astype(np.float64)
    lines = [_matched(b, a, number == 0) for number, (b, a) in enumerate(zip(before, after, strict=True))]
    (mean_b, mean_a, gain) = lines[0]
    middle = float(np.median(np.concatenate([before[0], mean_b + gain * (after[0] - mean_a)])))
    levels = [tuple(line[i] for line in lines) for i in (0, 1)]
    light = ObjectsFit(levels[0], levels[1], gain, middle, 0.0)  # type: ignore[arg-type]
    return replace(light, lift=_lift(blocks, light, pixel_m=pixel_m, working_m=working_m, smooth_m=smooth_m))


def _lift(
    blocks: Sequence[PairBlock], light: ObjectsFit, *, pixel_m: float, working_m: float, smooth_m: float
) -> float:
    """Level of the quietest tenth, so that strange light or another camera is not change all over."""
    seen = [block for block in blocks if block.valid.any()]
    chosen = seen[:: -(-len(seen) // _QUIET_BLOCKS)]
    parts = [_gathered(block, light, pixel_m=pixel_m, working_m=working_m, smooth_m=smooth_m) for block in chosen]
    values = np.concatenate([margins[usable] for margins, usable in parts])
    if not values.size:
        return 0.0
    return max(0.0, float(np.quantile(values, _QUIET_SHARE)) - BUILDINGS.null_median)


def _sample(block: PairBlock, factor: int) -> tuple[Array, Array]:
    if block.before.shape[0] != 3 or block.after.shape != block.before.shape:
        raise ValueError(f"bands red, green, blue wanted, not {block.before.shape} and {block.after.shape}")
    usable = block_all(block.valid, factor)[::_SAMPLE_STEP, ::_SAMPLE_STEP]
    before, after = (
        log_colour(block_mean(image, factor)[:, ::_SAMPLE_STEP, ::_SAMPLE_STEP][:, usable])
        for image in (block.before, block.after)
    )
    return before, after


def _matched(before: Array, after: Array, with_gain: bool) -> tuple[float, float, float]:
    """Means of both dates over ground that stayed the same, and the ratio of their spreads."""
    weight, gain, mean_b, mean_a = np.ones(before.shape), 1.0, 0.0, 0.0
    for _ in range(_ROUNDS):
        total = weight.sum()
        mean_b, mean_a = float((weight * before).sum() / total), float((weight * after).sum() / total)
        if with_gain:
            spread_b, spread_a = (
                float(np.sqrt((weight * (x - m) ** 2).sum() / total)) for x, m in ((before, mean_b), (after, mean_a))
            )
            gain = float(np.clip(spread_b / max(spread_a, 1e-6), 1 / _MOST_GAIN, _MOST_GAIN))
        off = before - mean_b - gain * (after - mean_a)
        weight = 1 / (1 + (off / (1.4826 * float(np.median(np.abs(off))) + 1e-6)) ** 2)
    return mean_b, mean_a, gain


def evidence(block: PairBlock, fitted: ObjectsFit, *, pixel_m: float, working_m: float) -> tuple[Array, Array, Array]:
    """Return the features of an object that came, of one that went, and where they mean anything.

    Parameters
    ----------
    block
        Both dates, bands red, green, blue.
    fitted
        Of `fit_objects`.
    pixel_m, working_m
        As for `reach_px`.

    Returns
    -------
    ndarray, ndarray
        float32, ``(len(FEATURES), row, col)`` of working pixels.
    ndarray
        Bool, ``(row, col)``: every pixel of the working pixel is usable.
    """
    factor = working_factor(pixel_m, working_m)
    step_m = factor * pixel_m
    usable = block_all(block.valid, factor)
    before, after = _levelled(block, fitted, factor, usable)
    seen_b, seen_a = appearance(before, step_m=step_m), appearance(after, step_m=step_m)
    correlation = local_correlation(before[0], after[0], step_m=step_m)
    came, went = direction_features(seen_b, seen_a, correlation), direction_features(seen_a, seen_b, correlation)
    return came, went, usable


def _levelled(block: PairBlock, fitted: ObjectsFit, factor: int, usable: Array) -> tuple[Array, Array]:
    """Both dates as log colour in the light of the first; ground not usable is the same flat grey in both."""
    images = []
    for image, gain, level in (
        (block.before, 1.0, fitted.before_level),
        (block.after, fitted.gain, fitted.after_level),
    ):
        colour = log_colour(block_mean(np.where(block.valid, image, np.float32(0.0)), factor))
        gains = (gain, 1.0, 1.0)
        for channel, own, shared, ratio in zip(colour, level, fitted.before_level, gains, strict=True):
            channel[:] = np.float32(shared) + np.float32(ratio) * (channel - np.float32(own))
        colour[0] -= np.float32(fitted.middle)
        colour[:, ~usable] = np.array([[0.0], *([level] for level in fitted.before_level[1:])], np.float32)
        images.append(colour)
    return images[0], images[1]


def margin(features: Array, model: ObjectModel) -> Array:
    """Return the log odds (float32, ``(row, col)``) of features ``(len(FEATURES), row, col)`` under a learned sum."""
    total = np.full(features.shape[1:], np.float32(model.constant))
    for number in range(len(FEATURES)):
        z = (features[number] - np.float32(model.centre[number])) / np.float32(model.scale[number])
        z = np.clip(z, np.float32(-model.limit), np.float32(model.limit))
        total += np.where(z > 0, np.float32(model.above[number]), np.float32(model.below[number])) * z
    return total


def _gathered(
    block: PairBlock, fitted: ObjectsFit, *, pixel_m: float, working_m: float, smooth_m: float
) -> tuple[Array, Array]:
    """Smoothed log odds of working pixels, the better direction of the two, and where they mean anything."""
    came, went, usable = evidence(block, fitted, pixel_m=pixel_m, working_m=working_m)
    best = np.maximum(margin(came, BUILDINGS), margin(went, BUILDINGS))
    best[~usable] = np.float32(BUILDINGS.null_median)
    return gaussian(best, smooth_m / (working_factor(pixel_m, working_m) * pixel_m)), usable


def score_objects(block: PairBlock, fitted: ObjectsFit, *, pixel_m: float, working_m: float, smooth_m: float) -> Array:
    """Return how far each place is above what unchanged ground shows, as an object that came or went.

    The zero and the unit are those of ground known not to have changed; of this pair only the quietest tenth can raise
    the zero, so that a pair changed nearly all over is not taken for its own measure.

    Parameters
    ----------
    block
        Both dates, bands red, green, blue.
    fitted
        Of `fit_objects`.
    pixel_m, working_m, smooth_m
        As for `reach_px`.

    Returns
    -------
    ndarray
        float32, ``(row, col)``, deviations; 0 where not valid.
    """
    factor = working_factor(pixel_m, working_m)
    margins, _ = _gathered(block, fitted, pixel_m=pixel_m, working_m=working_m, smooth_m=smooth_m)
    score = (margins - np.float32(BUILDINGS.null_median + fitted.lift)) / np.float32(BUILDINGS.null_spread)
    rows, cols = block.valid.shape
    whole = np.repeat(np.repeat(score, factor, axis=0), factor, axis=1)[:rows, :cols]
    result: Array = np.where(block.valid, whole, np.float32(0.0)).astype(np.float32)
    return result
