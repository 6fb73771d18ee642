"""From deviations to runs, and the joining of sensors, on drawn arrays."""

from __future__ import annotations

import numpy as np
import pytest

from ecowatch.codes import State
from ecowatch.detect import WINDOWED, block_runs, flag_scores, joined_score
from ecowatch.settings import Detect
from ecowatch.settings.detect import WINDOWED_SECTIONS

pytestmark = pytest.mark.kernels


def test_only_usable_pixels_are_flagged() -> None:
    score = np.array([[0.0, 2.0, 5.0], [5.0, 5.0, 2.0]], np.float32)
    state = np.array([[1, 1, 1], [2, 3, 0]], np.uint8)
    flag_scores(score, state, weak_sigma=1.5, strong_sigma=4.0)
    assert state.tolist() == [[State.USABLE, State.WEAK, State.STRONG], [2, 3, 0]]


def test_runs_carry_deviations_and_band_sums() -> None:
    state = np.array([[4, 5, 1, 5], [2, 3, 3, 1]], np.uint8)
    score = np.array([[1.5, 4.0, 9.0, 6.0], [0, 0, 0, 0]], np.float32)
    before = np.arange(8, dtype=np.int16).reshape(1, 2, 4) - 3
    after = before * 2
    made = block_runs(np.square(score), state, before, after, row0=512, col0=1024)
    assert made.runs.tolist() == [[512, 1024, 1026], [512, 1027, 1028]]
    # strong pixels, sum and maximum of 100 x deviation, sums of the numbers
    assert made.sums.tolist() == [[1, 550, 400, -5, -10], [1, 600, 600, 0, 0]]
    assert made.unseen.tolist() == [[513, 1024, 1025, 2], [513, 1025, 1027, 3]]


def test_joined_deviations_by_hand() -> None:
    one, other = np.array([[3.0, -1.0, 7.0, 4.0]], np.float32), np.array([[8.0, 8.0, 9.0, 4.0]], np.float32)
    seen = [np.array([[True, True, False, False]]), np.array([[True, True, False, True]])]
    made = joined_score([one, other], seen, [1.0, 0.5])
    # sqrt(9 + 16), the other alone at half weight, nothing seen, the other standing alone
    assert made.tolist() == [[5.0, 4.0, 0.0, 4.0]]


def test_a_sensor_that_sees_nothing_takes_nothing_away() -> None:
    rng = np.random.default_rng(2)
    one = rng.normal(2, 1, (50, 50)).astype(np.float32)
    seen = [np.ones((50, 50), bool)] * 2
    silent = joined_score([one, np.zeros_like(one)], seen, [1.0, 0.25])
    assert np.allclose(silent, np.maximum(one, 0))
    louder = joined_score([one, rng.normal(2, 1, (50, 50)).astype(np.float32)], seen, [1.0, 0.25])
    assert (louder >= silent).all()


def test_every_windowed_method_has_its_section_and_takes_its_numbers() -> None:
    assert {name: method.section for name, method in WINDOWED.items()} == WINDOWED_SECTIONS
    for name, method in WINDOWED.items():
        numbers = Detect.model_validate({"method": name}).numbers() | ({"pixel_m": 0.2} if method.in_metres else {})
        if name != "onnx":  # its reach stands in the model file
            assert method.reach_px(**numbers) >= 0, name
