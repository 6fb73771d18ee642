"""Compiled loops of the fits: float64 in, `out` filled, band by band.

NumPy makes a new array of all bands at each step of a formula; here what is worked on stays in the cache.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..compiled_kernels import kernel

Array = np.ndarray[Any, Any]

# Beyond this its exponential is no number any more.
_NEVER = 700.0


@kernel
def line_distance(before: Array, after: Array, gain: Array, offset: Array, scale: Array, out: Array) -> None:
    """Fill `out` (n,) with Σ_k ((gain[k]·before[k] + offset[k] − after[k]) / scale[k])² of ``(band, n)``."""
    out[:] = 0.0
    for k in range(before.shape[0]):
        apart = (gain[k] * before[k] + offset[k] - after[k]) / scale[k]
        out += apart * apart


@kernel
def moments_of(values: Array, chosen: Array, mean: Array, variance: Array) -> None:
    """Fill mean and variance by band of the `chosen` (int64) pixels of ``(band, n)``, added in their order."""
    for k in range(values.shape[0]):
        line = values[k][chosen]
        mean[k] = line.sum() / line.size
        apart = line - mean[k]
        variance[k] = (apart * apart).sum() / line.size


@kernel
def standard_squares(variates: Array, variance: Array, out: Array) -> None:
    """Fill `out` (n,) with Σ_k variates[k]² / variance[k] of ``(variate, n)``."""
    out[:] = 0.0
    for k in range(variates.shape[0]):
        out += variates[k] * variates[k] / variance[k]


@kernel
def chi2_exceeded(squares: Array, degrees: int, out: Array) -> None:
    """Fill `out` (n,) with the probability that a χ² variable of so many degrees of freedom exceeds `squares` (n,).

    Abramowitz & Stegun (1964), eqs. 26.4.4 and 26.4.5: a finite sum, where the incomplete gamma function of any argument
    takes a series.
    """
    whole = degrees % 2 == 0
    for i in range(squares.size):
        half = 0.5 * squares[i]
        if half > _NEVER:
            out[i] = 0.0
            continue
        term = math.exp(-half) * (1.0 if whole else 2.0 * math.sqrt(half / math.pi))
        total, above = (0.0, 0.0) if whole else (math.erfc(math.sqrt(half)), 0.5)
        for _ in range(degrees // 2):
            total += term
            above += 1.0
            term *= half / above
        out[i] = total
