"""A candidate patch with its own window on every date that shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..detect.stage import TimeFacts

Array = np.ndarray[Any, Any]


class Look(NamedTuple):
    """One date over the window of a candidate.

    Parameters
    ----------
    values
        float32, ``(band, row, col)``, reflectance or brightness 0–1, any finite number where not usable.
    state
        uint8 of `State`, ``(row, col)``, of this date alone.
    """

    values: Array
    state: Array


@dataclass(frozen=True)
class Candidate:
    """One candidate patch with its window on all dates.

    Parameters
    ----------
    roles
        Band roles, in the order of the bands.
    inside
        Bool, ``(row, col)``: its pixels.
    pixel_m
        Side of a pixel.
    before, after, earlier, later
        The dates, on one grid, shift taken out.
    rectangularity, elongation
        Its shape: `fill` and `elongation` of `measure.Shape`.
    shift_px
        Displacement left between before and after; None where it could not be measured.
    sun_apart_deg
        Angle between the directions to the sun of both dates; None where unknown.
    time
        What time says of it; None where only two dates are at hand.
    calibrated
        Both dates are surface reflectance: levels mean the same everywhere.
    """

    roles: tuple[str, ...]
    inside: Array
    pixel_m: float
    before: Look
    after: Look
    earlier: tuple[Look, ...]
    later: tuple[Look, ...]
    rectangularity: float
    elongation: float
    shift_px: float | None
    sun_apart_deg: float | None
    time: TimeFacts | None
    calibrated: bool = True
