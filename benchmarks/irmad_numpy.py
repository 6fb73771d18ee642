"""The peer: iteratively reweighted MAD on whole images in memory, in NumPy, as public implementations have it.

Nielsen, A. A. (2007): The regularized iteratively reweighted MAD method for change detection in multi- and hyperspectral
data. IEEE Trans. Image Process. 16 (2), 463–478. float64 throughout, every pixel in every iteration, about 400 bytes a pixel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import eigh
from scipy.stats import chi2

Array = np.ndarray[Any, Any]


def ir_mad(before: Array, after: Array, iterations: int) -> Array:
    """Return the χ² score of every pixel after a fixed number of iterations.

    Parameters
    ----------
    before, after
        ``(band, pixel)``, any number type.
    iterations
        Reweighting rounds.
    """
    x, y = before.astype(np.float64), after.astype(np.float64)
    bands, pixels = x.shape
    weight = np.ones(pixels)
    score = np.zeros(pixels)
    for _ in range(iterations):
        both = np.vstack([x, y])
        mean = np.average(both, axis=1, weights=weight)
        covariance = np.cov(both, aweights=weight)
        own, other = covariance[:bands, :bands], covariance[bands:, bands:]
        cross = covariance[:bands, bands:]
        square, a = eigh(cross @ np.linalg.solve(other, cross.T), own)
        rho = np.sqrt(np.clip(square, 1e-12, 1 - 1e-9))
        b = np.linalg.solve(other, cross.T @ a) / rho
        variates = a.T @ (x - mean[:bands, None]) - b.T @ (y - mean[bands:, None])
        score = np.sum(variates**2 / (2 * (1 - rho))[:, None], axis=0)
        weight = 1 - chi2.cdf(score, bands)
    return score
