"""A learned model as a method: its output as deviations above what a pair shows where nothing changed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from ..errors import ConfigError
from .block import PairBlock
from .onnx import load_model, require_roles, run_model

Array = np.ndarray[Any, Any]

# Probabilities nearer to 0 or 1 than float32 can tell from it; the same evidence caps a logit.
_LOGIT_CAP = 16.0
_SAMPLE_PX = 200_000
_BINS = 512
_FAIR_SHARE = 0.05


@dataclass(frozen=True)
class OnnxFit:
    """What must be known of a pair before a model's output is read as deviations from no change.

    Parameters
    ----------
    centre, spread
        Level and deviation of the model's score where nothing changed; 0 and 1 for probabilities and logits, which have a
        meaning of their own.
    rooted
        Whether the cube root of the score is meant: scores that are never negative are skew.
    sha256
        Digest of the model.
    """

    centre: float
    spread: float
    rooted: bool
    sha256: str


def reach_onnx(*, model: str, model_sha256: str) -> int:
    """Return how many pixels around a window the model's score needs."""
    return load_model(model, model_sha256).reach_px


def require_bands(roles: Sequence[str], *, model: str, model_sha256: str) -> None:
    """Refuse bands other than those the model was trained on.

    Raises
    ------
    ConfigError
        ``MODEL_BANDS``, or what `load_model` refuses.
    """
    require_roles(load_model(model, model_sha256), roles)


def fit_onnx(blocks: Sequence[PairBlock], *, model: str, model_sha256: str) -> OnnxFit:
    """Measure what the model says of this pair where nothing changed.

    A probability or logit means the same in every pair and is not bent to it: a pair changed for the most part must not be
    taken for the norm. Of a mere score the level is the lowest about which many values lie, and the deviation is that of the
    values below: change raises scores, it does not lower them.

    Parameters
    ----------
    blocks
        Blocks of the fixed lattice.
    model, model_sha256
        File and digest.

    Raises
    ------
    ConfigError
        As `load_model` and `run_model` raise.
    """
    loaded = load_model(model, model_sha256)
    if loaded.output != "score":
        return OnnxFit(0.0, 1.0, False, loaded.sha256)
    sample = np.concatenate([np.empty(0), *(run_model(loaded, b)[b.valid] for b in blocks)])
    if len(sample) < 2:
        return OnnxFit(0.0, 1.0, False, loaded.sha256)
    sample = sample[:: -(-len(sample) // _SAMPLE_PX)].astype(np.float64)
    rooted = bool(sample.min() >= 0)
    level = np.cbrt(sample) if rooted else sample
    centre = _lowest_mode(level)
    below = 1.4826 * float(np.median(centre - level[level <= centre])) if (level <= centre).any() else 0.0
    # A pair of one image with itself has no deviation; then any score at all stands out.
    return OnnxFit(round(centre, 6), max(round(below, 6), 1e-6), rooted, loaded.sha256)


def _lowest_mode(level: Array) -> float:
    """Place of the lowest hill of the values' density that holds a fair share of them and stands apart from the next."""
    low, high = np.percentile(level, (0.1, 99.9))
    if high <= low:
        return float(low)
    counts, edges = np.histogram(level, _BINS, (low, high))
    density = ndimage.gaussian_filter1d(counts.astype(np.float64), _BINS / 64, mode="constant")
    padded = np.pad(density, 1)
    tops = np.flatnonzero((density > padded[:-2]) & (density >= padded[2:]))
    valleys = [int(a + np.argmin(density[a : b + 1])) for a, b in itertools.pairwise(tops)]
    first = 0
    for top, valley in zip(tops, [*valleys, _BINS - 1], strict=True):
        held = counts[first : valley + 1].sum()
        if held >= _FAIR_SHARE * len(level) and density[valley] <= density[top] / 2:
            return float((edges[top] + edges[top + 1]) / 2)
        # A hill without a valley behind it is the shoulder of the next and counts with it.
        first = first if density[valley] > density[top] / 2 else valley + 1
    return float(np.median(level))


def score_onnx(block: PairBlock, fitted: OnnxFit, *, model: str, model_sha256: str) -> Array:
    """Return the model's output as deviations above no change.

    The evidence of a logit L is that of a normal variable √(2 L) deviations from its mean: even odds are 0, odds of 7 to 1
    are 2 and of 450 to 1 are 3.5 deviations.

    Parameters
    ----------
    block
        Both dates and which pixels are valid, with `reach_onnx` pixels around what is wanted, less at the image's rim. Its
        first row and column lie a multiple of the model's stride from those of any other block of the pair; those of
        lattice blocks grown by `reach_onnx` do.
    fitted
        From `fit_onnx`.
    model, model_sha256
        File and digest.

    Returns
    -------
    ndarray
        float32, ``(row, col)``; 0 where not valid.

    Raises
    ------
    ConfigError
        As `load_model` and `run_model` raise; ``MODEL_DIGEST`` where the fit is of another model.
    """
    loaded = load_model(model, model_sha256)
    if fitted.sha256 != loaded.sha256:
        raise ConfigError("MODEL_DIGEST", model, f"the pair was fitted with {fitted.sha256}", "fit it again")
    raw = run_model(loaded, block).astype(np.float64)
    if loaded.output == "score":
        level = np.cbrt(raw) if fitted.rooted else raw
        score = (level - fitted.centre) / fitted.spread
    else:
        if loaded.output == "probability":
            edge = math.exp(-_LOGIT_CAP)
            raw = np.log(np.clip(raw, edge, 1)) - np.log(np.clip(1 - raw, edge, 1))
        score = np.sqrt(2 * np.clip(raw, 0, _LOGIT_CAP))
    result: Array = np.where(block.valid, score, 0).astype(np.float32)
    return result
