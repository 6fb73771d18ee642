"""Deviations above no change over one window, for methods that look at surroundings and for joined sensors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..codes import State
from ..detect import WINDOWED, joined_score, sample_score
from ..grid import Window
from ..raster import GridReader
from .fit import Fit
from .pair import Comparison
from .pixels import feature_radiometry, physical_block, read_pair

Array = np.ndarray[Any, Any]


class Deviations(NamedTuple):
    """What a method says of a window.

    ``score`` is float32 ``(row, col)``, deviations above what the pair shows where nothing changed, 0 where not usable;
    ``state`` is uint8 of `State`; ``before`` and ``after`` are the integers whose sums a patch keeps, and ``shown`` (bool)
    tells where they mean something: of joined sensors only where the first one saw the ground.
    """

    score: Array
    state: Array
    before: Array
    after: Array
    shown: Array


def deviations(reader: GridReader, comparison: Comparison, fit: Fit, window: Window) -> Deviations:
    """Score a window that lies in one lattice block.

    A method that looks at surroundings sees the whole block and its margin, whatever part of it is wanted: its segments
    depend on the block, not on the tile.

    Parameters
    ----------
    reader
        Open on the comparison's grid.
    comparison, fit
        What is compared, and how it was fitted.
    window
        Part of one lattice block.

    Raises
    ------
    SceneError
        Where a block cannot be read.
    """
    if comparison.parts:
        return _joined(reader, comparison, fit, window)
    if fit.windowed is not None:
        return _windowed(reader, comparison, fit, window)
    return _linear(reader, comparison, fit, window)


def _joined(reader: GridReader, comparison: Comparison, fit: Fit, window: Window) -> Deviations:
    parts = [deviations(reader, *part, window) for part in zip(comparison.parts, fit.parts, strict=True)]
    usable = [part.state == State.USABLE for part in parts]
    state = parts[0].state.copy()
    for seen in usable[1:]:
        # What one sensor saw was seen.
        state[seen] = State.USABLE
    score = joined_score([part.score for part in parts], usable, _weights(comparison))
    return Deviations(score, state, parts[0].before, parts[0].after, usable[0])


def _weights(comparison: Comparison) -> list[float]:
    """Weight of each part; parts of one pipeline, such as two radar tracks, share its weight."""
    pipeline = comparison.pipeline
    names = [part.pipeline.name for part in comparison.parts]
    named = dict(zip(pipeline.joins, pipeline.join_weights, strict=True))
    return [named[name] / names.count(name) ** 0.5 for name in names]


def _windowed(reader: GridReader, comparison: Comparison, fit: Fit, window: Window) -> Deviations:
    assert fit.windowed is not None
    method, numbers = WINDOWED[comparison.pipeline.detect.method], comparison.numbers
    wide = window.lattice_block.padded(method.reach_px(**numbers))
    pair = read_pair(reader, comparison, wide, shift=fit.applied, inside=None)
    own = window.within(wide)
    state = pair.state[own].copy()
    physical = physical_block(comparison, pair)
    if physical is None or pair.before is None or pair.after is None:
        return _nothing(comparison, state)
    state[(state == State.USABLE) & ~physical.valid[own]] = State.NO_DATA
    score = method.score(physical, method.fitted(**fit.windowed), **numbers)[own]
    return Deviations(score, state, pair.before[:, *own], pair.after[:, *own], state == State.USABLE)


def _linear(reader: GridReader, comparison: Comparison, fit: Fit, window: Window) -> Deviations:
    pair = read_pair(reader, comparison, window, shift=fit.applied, inside=None)
    state = pair.state
    physical = physical_block(comparison, pair)
    undecided = fit.score is None or fit.thresholds is None
    if undecided or physical is None or pair.before is None or pair.after is None:
        # Nothing can be decided here, and what is not decided was not observed.
        state[state == State.USABLE] = State.MASKED
        return _nothing(comparison, state)
    assert fit.score is not None and fit.thresholds is not None
    state[(state == State.USABLE) & ~physical.valid] = State.NO_DATA
    before, after = (image.reshape(len(image), -1) for image in (physical.before, physical.after))
    root = np.cbrt(sample_score(fit.score, before, after)).reshape(state.shape)
    score = ((root - fit.thresholds.centre) / fit.thresholds.spread).astype(np.float32)
    score[state != State.USABLE] = 0
    return Deviations(score, state, pair.before, pair.after, state == State.USABLE)


def _nothing(comparison: Comparison, state: Array) -> Deviations:
    none = np.zeros((len(feature_radiometry(comparison, comparison.before)[0]), *state.shape), np.uint8)
    return Deviations(np.zeros(state.shape, np.float32), state, none, none, np.zeros(state.shape, bool))
