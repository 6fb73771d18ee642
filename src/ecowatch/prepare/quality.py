"""Which pixels are usable: from scene classes, quality bits, opacity and fill, with their edges taken off."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Any

import numpy as np

from ..codes import State
from ._kernels import clear_fill, look_up, trim_edges

Array = np.ndarray[Any, Any]


# Landsat Collection 2 QA_PIXEL: bit 0 fill; 1 dilated cloud, 2 cirrus, 3 cloud, 4 cloud shadow. Snow (5) is ground.
_QA_FILL = 0b1
_QA_MASKED = 0b11110


def scl_state(classes: Array, *, clear: Collection[int]) -> Array:
    """Return the state of each pixel from Sentinel-2 scene classes.

    Parameters
    ----------
    classes
        Integer, ``(row, col)``: the SCL band, 0 = no data.
    clear
        Classes that are usable.

    Returns
    -------
    ndarray
        uint8 of `State`, same shape: USABLE, MASKED or NO_DATA.

    Source
    ------
    Sentinel-2 Level-2A Product Definition, scene classification (classes 0–11).
    """
    table = _scl_table(tuple(sorted(clear)))
    state = np.empty(classes.shape, np.uint8)
    look_up(classes if classes.dtype == np.uint8 else np.minimum(classes, 255).astype(np.uint8), table, state)
    return state


@lru_cache(maxsize=16)
def _scl_table(clear: tuple[int, ...]) -> Array:
    table = np.full(256, State.MASKED, np.uint8)
    table[list(clear)] = State.USABLE
    table[[0, 255]] = State.NO_DATA
    return table


def qa_pixel_state(bits: Array) -> Array:
    """Return the state of each pixel from Landsat Collection 2 QA_PIXEL bits (uint16, any shape).

    Source
    ------
    USGS (2023), Landsat 8-9 Collection 2 Level 2 Science Product Guide, table 6-3.
    """
    state = np.where(bits & _QA_MASKED, np.uint8(State.MASKED), np.uint8(State.USABLE))
    state[(bits & _QA_FILL) != 0] = State.NO_DATA
    return state


def alpha_state(alpha: Array) -> Array:
    """Return the state of each pixel from its opacity (integer, any shape): transparent pixels hold no data."""
    return np.where(alpha == 0, np.uint8(State.NO_DATA), np.uint8(State.USABLE))


def fill_state(values: Array, covered: Array | None, *, fill: float | None) -> Array:
    """Return the state of each pixel from the bands themselves: no data if *any* band is fill.

    Parameters
    ----------
    values
        ``(band, row, col)``.
    covered
        Bool ``(row, col)``, pixels the file covers; None for all.
    fill
        Number that means "no data"; None where there is none.

    Returns
    -------
    ndarray
        uint8 of `State`, ``(row, col)``: USABLE or NO_DATA.
    """
    usable = np.ones(values.shape[1:], np.uint8) if covered is None else covered.astype(np.uint8)
    if fill is not None:
        clear_fill(values, float(fill), usable)
    return np.where(usable, np.uint8(State.USABLE), np.uint8(State.NO_DATA))


def edges_off(state: Array, *, radius_px: int) -> Array:
    """Take the edges off: a usable pixel near an unusable one is given up.

    Resampling and thin cloud spoil the pixels beside a mask. A given-up pixel says NO_DATA where data end within the
    radius, else MASKED.

    Parameters
    ----------
    state
        uint8 of `State`, ``(row, col)``, larger than the result by `radius_px` on each side.
    radius_px
        Half side of the square neighbourhood, pixels.

    Returns
    -------
    ndarray
        uint8 of `State`, ``(row, col)`` without the border.
    """
    shape = state.shape[0] - 2 * radius_px, state.shape[1] - 2 * radius_px
    out = np.empty(shape, np.uint8)
    trim_edges(state, radius_px, np.empty((state.shape[0], shape[1]), np.uint8), out)
    return out


def pair_state(before: Array, after: Array, inside: Array | None) -> Array:
    """Join the states of two dates: usable where both are; OUTSIDE where `inside` (bool, None for all) is False."""
    state: Array = np.maximum(before, after)
    if inside is not None:
        state[~inside] = State.OUTSIDE
    return state
