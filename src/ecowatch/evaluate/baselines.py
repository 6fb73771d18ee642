"""The simple methods every detector must beat: untuned, two dates, a threshold by Otsu or k-means."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.ndimage import uniform_filter
from skimage.filters import threshold_otsu

from ..detect import fit_ir_mad, sample_score
from ..errors import PairError

Array = np.ndarray[Any, Any]

_WINDOW_PX = 5
_COMPONENTS = 3
_TRAINING_PX = 20_000


def change_vector_otsu(before: Array, after: Array, valid: Array) -> Array:
    """Flag by Otsu's threshold on the length of the difference of the standardised dates.

    Parameters
    ----------
    before, after
        float, ``(band, row, col)``.
    valid
        Bool, ``(row, col)``.

    Returns
    -------
    ndarray
        Bool, ``(row, col)``.

    Source
    ------
    Malila (1980), change vector; Otsu (1979), threshold.
    """
    length = np.sqrt(((_standardised(before, valid) - _standardised(after, valid)) ** 2).sum(axis=0))
    return _above_otsu(length, valid)


def pca_kmeans(before: Array, after: Array, valid: Array) -> Array:
    """Flag the smaller of two clusters of the difference image's local patterns.

    Parameters and result are those of `change_vector_otsu`.

    Source
    ------
    Celik, T. (2009): Unsupervised change detection in satellite images using principal component analysis and k-means
    clustering. IEEE GRSL 6, 772–776; here on 5 × 5 windows, their three first components, and a fixed start.
    """
    difference = np.abs(_standardised(before, valid) - _standardised(after, valid)).sum(axis=0)
    pad = _WINDOW_PX // 2
    views = np.lib.stride_tricks.sliding_window_view(np.pad(difference, pad, mode="reflect"), (_WINDOW_PX, _WINDOW_PX))
    patterns = views.reshape(*difference.shape, -1)[valid]
    step = max(1, len(patterns) // _TRAINING_PX)
    training = patterns[::step] - patterns.mean(axis=0)
    _, _, axes = np.linalg.svd(training, full_matrices=False)
    features = (patterns - patterns.mean(axis=0)) @ axes[:_COMPONENTS].T
    strength = patterns.sum(axis=1)
    start = np.stack(
        [features[np.argsort(strength, kind="stable")[int(q * (len(strength) - 1))]] for q in (0.25, 0.99)]
    )
    _, cluster = kmeans2(features, start, minit="matrix")
    means = [strength[cluster == k].mean() if (cluster == k).any() else 0.0 for k in (0, 1)]
    flagged = np.zeros(valid.shape, bool)
    flagged[valid] = cluster == int(means[1] > means[0])
    return flagged


def ir_mad_otsu(before: Array, after: Array, valid: Array) -> Array:
    """Flag by Otsu's threshold on the root of the IR-MAD score.

    Parameters and result are those of `change_vector_otsu`.

    Raises
    ------
    PairError
        Where the fit fails.
    """
    fitted = fit_ir_mad(before[:, valid], after[:, valid], max_iterations=50, tolerance=1e-3)
    root = np.zeros(valid.shape)
    root[valid] = np.sqrt(sample_score(fitted, before[:, valid], after[:, valid]))
    return _above_otsu(root, valid)


def log_ratio_otsu(before: Array, after: Array, valid: Array) -> Array:
    """Flag by Otsu's threshold on the absolute log-ratio, each date averaged over 5 × 5 pixels.

    Parameters and result are those of `change_vector_otsu`; the numbers are decibel, so the ratio is a difference.
    """
    smooth = [np.stack([uniform_filter(band, _WINDOW_PX) for band in date]) for date in (before, after)]
    return _above_otsu(np.abs(smooth[0] - smooth[1]).sum(axis=0), valid)


Baseline = Callable[[Array, Array, Array], Array]

OPTICAL = MappingProxyType({"CVA + Otsu": change_vector_otsu, "PCA-k-means": pca_kmeans, "IR-MAD + Otsu": ir_mad_otsu})
RADAR = MappingProxyType({"log-ratio + Otsu": log_ratio_otsu, "PCA-k-means": pca_kmeans, "IR-MAD + Otsu": ir_mad_otsu})
"""Baselines by name, for optical and for radar pairs."""


def flags_of(baselines: MappingProxyType[str, Baseline], before: Array, after: Array, valid: Array) -> dict[str, Array]:
    """Return the flags of each baseline; one that cannot be fitted flags nothing."""
    flags = {}
    for name, baseline in baselines.items():
        try:
            flags[name] = baseline(before, after, valid) & valid
        except PairError:
            flags[name] = np.zeros(valid.shape, bool)
    return flags


def _standardised(image: Array, valid: Array) -> Array:
    known = image[:, valid]
    spread = np.maximum(known.std(axis=1), 1e-9)
    result: Array = (image - known.mean(axis=1)[:, None, None]) / spread[:, None, None]
    return result


def _above_otsu(score: Array, valid: Array) -> Array:
    known = score[valid]
    if known.size == 0 or known.min() == known.max():
        return np.zeros(valid.shape, bool)
    result: Array = (score > threshold_otsu(known)) & valid
    return result
