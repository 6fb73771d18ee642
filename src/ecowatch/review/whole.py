"""One comparison from fit to rows in the calling process: what `run` does tile by tile with Dask."""

from __future__ import annotations

from .assemble import assemble
from .fit import fit_comparison
from .found import found_in
from .look import look_at
from .pair import Comparison
from .result import AreaResult, Surroundings
from .tile import Task, process


def review_whole(comparison: Comparison, surroundings: Surroundings) -> AreaResult:
    """Fit, compare and assemble one area as a single tile.

    Parameters
    ----------
    comparison
        Area, dates, grid, pipeline.
    surroundings
        What its patches are laid over.

    Raises
    ------
    EcowatchError
        Where the pair cannot be compared or a file cannot be read.
    """
    fit = fit_comparison(comparison)
    tile = process(Task(comparison, comparison.grid.window), fit)
    found = found_in(comparison, [tile])
    return assemble(comparison, fit, found, look_at(comparison, fit, found.patches), [], surroundings)
