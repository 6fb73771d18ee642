"""Features of RGB and radar images."""

from __future__ import annotations

import numpy as np

from ecowatch.prepare import NO_DECIBEL, decibel_features


def test_decibel_of_power_amplitude_and_decibel() -> None:
    """0.01 power = -20 dB; amplitude 100 = 40 dB; -1234 hundredths stay; fill and floor are kept apart."""
    values = np.array([[[10_000, 0, 1]], [[100, 1, 0]], [[-1234, 5, 0]]], np.int32)
    made = decibel_features(
        values,
        0,
        scale=np.array([1e-6, 1.0, 0.01]),
        offset=np.zeros(3),
        power_factor=np.array([10.0, 20.0, 0.0]),
        floor_db=-40.0,
    )
    assert made.dtype == np.int16
    assert made.tolist() == [
        [[-2000, NO_DECIBEL, -4000]],
        [[4000, 0, NO_DECIBEL]],
        [[-1234, 5, NO_DECIBEL]],
    ]
