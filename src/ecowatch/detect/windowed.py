"""Methods that look at a pixel's surroundings: one table, one signature, one way from their score to runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ..codes import State
from . import learned, objects, rgb, sar

Array = np.ndarray[Any, Any]


class Windowed(NamedTuple):
    """A method that looks at a pixel's surroundings.

    Parameters
    ----------
    section
        Field of `settings.Detect` that holds its numbers; they are handed to the three functions by keyword.
    reach_px
        Tells how many pixels around a window its score needs.
    fit
        From the blocks of the fixed lattice to a frozen dataclass of plain numbers.
    score
        From a block and that fit to deviations above what the pair shows where nothing changed, float32.
    fitted
        Class of the fit.
    in_metres
        Its windows are given in metres: it takes the side of a pixel, ``pixel_m``, too.
    require
        Given the roles of the bands, refuses what it cannot work on.
    """

    section: str
    reach_px: Callable[..., int]
    fit: Callable[..., Any]
    score: Callable[..., Array]
    fitted: Callable[..., Any]
    in_metres: bool = False
    require: Callable[..., None] | None = None


WINDOWED: Mapping[str, Windowed] = MappingProxyType(
    {
        "objects": Windowed(
            "objects", objects.reach_px, objects.fit_objects, objects.score_objects, objects.ObjectsFit, in_metres=True
        ),
        "onnx": Windowed(
            "onnx",
            learned.reach_onnx,
            learned.fit_onnx,
            learned.score_onnx,
            learned.OnnxFit,
            require=learned.require_bands,
        ),
        "rgb_structure": Windowed(
            "rgb", rgb.reach_px, rgb.fit_rgb_structure, rgb.score_rgb_structure, rgb.RgbStructureFit
        ),
        "sar_log_ratio": Windowed(
            "sar", sar.reach_px, sar.fit_sar_log_ratio, sar.score_sar_log_ratio, sar.SarLogRatioFit
        ),
    }
)
"""Windowed methods by name."""


def flag_scores(score: Array, state: Array, *, weak_sigma: float, strong_sigma: float) -> None:
    """Raise usable pixels to WEAK or STRONG.

    Parameters
    ----------
    score
        float32, ``(row, col)``, deviations above no change.
    state
        uint8 of `State`, raised in place.
    weak_sigma, strong_sigma
        Deviations from which flags begin.
    """
    usable = state == State.USABLE
    state[usable & (score > weak_sigma)] = State.WEAK
    state[usable & (score > strong_sigma)] = State.STRONG
