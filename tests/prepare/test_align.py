"""Shift between dates: measured on synthetic displacements, applied, refused where it cannot be told."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage as ndi

from ecowatch.prepare import WindowShift, pair_shift, shifted, support_px, window_shift


def ground(seed: int = 0, side: int = 400) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return ndi.gaussian_filter(rng.standard_normal((side, side)), 2.5) * 300


def moved(image: np.ndarray, row: float, col: float) -> np.ndarray:
    return ndi.shift(image, (row, col), order=5, mode="wrap")


@pytest.mark.parametrize(("noise", "accuracy_px"), [(0.0, 0.005), (2.0, 0.05), (5.0, 0.1)])
@pytest.mark.parametrize("seed", range(6))
def test_a_known_displacement_is_found_under_another_light(seed: int, noise: float, accuracy_px: float) -> None:
    """Noise is given in the unit of the image, whose own deviation is 34: the last row has 15 % of it."""
    rng = np.random.default_rng(seed)
    row, col = rng.uniform(-6, 6, 2)
    before = ground(seed)
    after = 1.4 * moved(before, row, col) + 50 + rng.normal(0, noise, before.shape)
    cut = (slice(100, 300), slice(100, 300))
    found = window_shift(before[cut], after[cut], np.ones((200, 200), bool))
    assert (found.row_px, found.col_px) == pytest.approx((row, col), abs=accuracy_px)
    assert found.peak > 0.9


def test_cloud_carries_no_weight() -> None:
    before = ground()
    after = moved(before, 0.4, -0.7)
    after[150:220, 150:230] = 5000
    valid = np.ones(before.shape, bool)
    valid[145:225, 145:235] = False
    found = window_shift(before[100:300, 100:300], after[100:300, 100:300], valid[100:300, 100:300])
    assert (found.row_px, found.col_px) == pytest.approx((0.4, -0.7), abs=0.05)


def test_unrelated_images_are_not_believed() -> None:
    found = window_shift(ground(1)[:200, :200], ground(2)[:200, :200], np.ones((200, 200), bool))
    assert found.peak < 0.35
    assert pair_shift([found], min_peak=0.35, max_shift_px=5) is None


@pytest.mark.parametrize("what", ["flat", "hidden"])
def test_nothing_to_measure(what: str) -> None:
    image = np.zeros((64, 64)) if what == "flat" else ground()[:64, :64]
    valid = np.full((64, 64), what == "flat")
    assert window_shift(image, image, valid).peak == 0.0


def test_one_straggler_does_not_pull_the_others() -> None:
    shifts = [WindowShift(0.3, -0.2, 0.9)] * 6 + [WindowShift(4.0, 4.0, 0.8)]
    found = pair_shift(shifts, min_peak=0.5, max_shift_px=5)
    assert found is not None
    assert (found.row_px, found.col_px, found.reliable, found.measured) == (0.3, -0.2, 6, 7)


def oracle_sample(image: np.ndarray, row: float, col: float) -> float:
    """Keys' cubic convolution at one point, straight from the definition."""

    def kernel(s: float) -> float:
        s = abs(s)
        if s <= 1:
            return 1.5 * s**3 - 2.5 * s**2 + 1
        return -0.5 * s**3 + 2.5 * s**2 - 4 * s + 2 if s < 2 else 0.0

    total = 0.0
    for r in range(int(np.floor(row)) - 1, int(np.floor(row)) + 3):
        for c in range(int(np.floor(col)) - 1, int(np.floor(col)) + 3):
            total += image[r, c] * kernel(row - r) * kernel(col - c)
    return total


@pytest.mark.parametrize("shift", [(0.35, -0.25), (-2.6, 1.1), (1.0, -3.0), (0.0, 0.5)])
def test_shifted_equals_the_definition(shift: tuple[float, float]) -> None:
    rng = np.random.default_rng(1)
    pad = support_px(shift)
    image = rng.integers(100, 60000, (2, 12 + 2 * pad, 10 + 2 * pad)).astype(np.uint16)
    out, covered = shifted(image, None, shift_px=shift, pad_px=pad, fill=None)
    assert covered is None and out.shape == (2, 12, 10)
    for band, row, col in np.ndindex(out.shape):
        value = oracle_sample(image[band].astype(float), row + pad + shift[0], col + pad + shift[1])
        assert out[band, row, col] == min(max(np.floor(value + 0.5), 0), 65535)


def test_shifting_back_what_was_shifted() -> None:
    base = (ground() + 2000).astype(np.uint16)
    after = moved(base.astype(float), 0.4, -0.3)
    out, _ = shifted(np.floor(after + 0.5).astype(np.uint16)[None], None, shift_px=(0.4, -0.3), pad_px=3, fill=0)
    assert np.abs(out[0].astype(int) - base[3:-3, 3:-3])[20:-20, 20:-20].max() <= 3


def test_fill_is_never_blended() -> None:
    image = np.full((1, 20, 20), 1000, np.uint16)
    image[0, 10, 10] = 0
    out, _ = shifted(image, None, shift_px=(0.5, 0.5), pad_px=3, fill=0)
    assert set(np.unique(out)) == {0, 1000}
    assert (out == 0).sum() == 16


def test_coverage_shrinks_by_the_support() -> None:
    covered = np.ones((20, 20), bool)
    covered[:, 12:] = False
    _, inside = shifted(np.ones((1, 20, 20), np.uint8), covered, shift_px=(0.5, 0.5), pad_px=3, fill=None)
    assert inside is not None
    assert inside[:, :7].all() and not inside[:, 7:].any()


def test_block_with_halo_equals_the_whole() -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(1, 4000, (1, 60, 60)).astype(np.uint16)
    shift, pad = (1.3, -0.6), support_px((1.3, -0.6))
    whole, _ = shifted(image, None, shift_px=shift, pad_px=pad, fill=0)
    part, _ = shifted(image[:, 10 : 30 + 2 * pad, 5 : 25 + 2 * pad], None, shift_px=shift, pad_px=pad, fill=0)
    assert (part == whole[:, 10:30, 5:25]).all()
