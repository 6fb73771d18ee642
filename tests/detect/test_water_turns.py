"""Land and water that changed places, against the same question asked with NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from ecowatch.codes import State
from ecowatch.detect import WaterTurn, flag_water_turns

pytestmark = pytest.mark.kernels

RADIOMETRY = ((1e-4, -0.1), (2e-4, 0.0), (1e-4, 0.0), (1e-4, 0.05))
TURN = WaterTurn(
    bands=(1, 3), wet_before=(0.1, 0.12), wet_after=(0.08, 0.12), dry_before=(0.2, 0.21), dry_after=(0.15, 0.2)
)


def flagged(before: np.ndarray, after: np.ndarray, state: np.ndarray) -> np.ndarray:
    flag_water_turns(before, after, state, TURN, before_radiometry=RADIOMETRY, after_radiometry=RADIOMETRY)
    return state


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint8])
def test_turns_are_those_of_numpy(dtype: type) -> None:
    rng = np.random.default_rng(4)
    top = 200 if dtype is np.uint8 else 3000
    before, after = (rng.integers(0, top, (4, 40, 50)).astype(dtype) for _ in range(2))
    state = rng.integers(0, 6, (40, 50)).astype(np.uint8)
    sides = []
    for date, wet, dry in ((before, TURN.wet_before, TURN.dry_before), (after, TURN.wet_after, TURN.dry_after)):
        value = [date[band] * RADIOMETRY[band][0] + RADIOMETRY[band][1] for band in TURN.bands]
        low = np.logical_and.reduce([v < limit - 1e-12 for v, limit in zip(value, wet, strict=True)])
        high = np.logical_and.reduce([v > limit + 1e-12 for v, limit in zip(value, dry, strict=True)])
        sides.append((low, high))
    turned = (sides[0][0] & sides[1][1]) | (sides[0][1] & sides[1][0])
    turned &= (state == State.USABLE) | (state == State.WEAK)
    expected = np.where(turned, np.uint8(State.STRONG), state)
    assert np.array_equal(flagged(before, after, state.copy()), expected)
    assert turned.any() or dtype is np.uint8


def test_one_band_that_disagrees_is_enough_to_say_nothing() -> None:
    before = np.array([0, 100, 0, 300], np.uint16).reshape(4, 1, 1)
    after = np.array([0, 2000, 0, 300], np.uint16).reshape(4, 1, 1)
    assert flagged(before, after, np.full((1, 1), State.USABLE, np.uint8))[0, 0] == State.USABLE
    after[3] = 2000
    assert flagged(before, after, np.full((1, 1), State.USABLE, np.uint8))[0, 0] == State.STRONG
