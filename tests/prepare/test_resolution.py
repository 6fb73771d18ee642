"""Blur to a coarser sensor's point spread: exact sums, no data left out, cuts without a trace."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage as ndi

from ecowatch.prepare.resolution import blur_sigma_px, blur_support_px, blurred


def oracle(image: np.ndarray, usable: np.ndarray, sigma: float, row: int, col: int) -> float:
    """Weighted mean of the usable pixels around one, straight from the bell curve."""
    total = weight = 0.0
    reach = blur_support_px(sigma)
    for r in range(row - reach, row + reach + 1):
        for c in range(col - reach, col + reach + 1):
            w = np.exp(-((r - row) ** 2 + (c - col) ** 2) / (2 * sigma**2)) * usable[r, c]
            total, weight = total + w * image[r, c], weight + w
    return total / weight


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16])
def test_it_is_the_mean_of_what_is_data(kind: type) -> None:
    rng = np.random.default_rng(1)
    sigma, pad = 1.3, 5
    image = rng.integers(1, 250, (1, 30, 28)).astype(kind)
    image[0, 8:12, 9:15] = 0
    covered = np.ones((30, 28), bool)
    covered[:, 20:] = False
    out, seen = blurred(image, covered, sigma_px=sigma, pad_px=pad, fill=0)
    assert out.dtype == kind and out.shape == (1, 20, 18)
    assert seen is not None and (seen == covered[5:-5, 5:-5]).all()
    usable = covered & (image[0] != 0)
    for row, col in np.ndindex(20, 18):
        place = row + pad, col + pad
        expected = oracle(image[0].astype(float), usable, sigma, *place) if usable[place] else image[0][place]
        assert abs(out[0, row, col] - expected) <= 0.75


def test_no_data_stays_and_is_never_made() -> None:
    """One full pixel among 1 and 3 has mean 2, which is the fill here."""
    image = np.where(np.indices((20, 20)).sum(axis=0) % 2, 1, 3).astype(np.uint8)[None]
    image[0, 10, 10] = 2
    out, _ = blurred(image, None, sigma_px=1.5, pad_px=5, fill=2)
    assert np.argwhere(out[0] == 2).tolist() == [[5, 5]]
    top = np.full((1, 20, 20), 65534, np.uint16)
    top[0, 3, 3] = 65535
    assert (blurred(top, None, sigma_px=1.5, pad_px=5, fill=65535)[0] == 65534).all()


def test_a_cut_with_margin_equals_the_whole() -> None:
    image = np.random.default_rng(2).integers(0, 65535, (2, 90, 80)).astype(np.uint16)
    sigma = 1.7
    pad = blur_support_px(sigma)
    whole, _ = blurred(image, None, sigma_px=sigma, pad_px=pad, fill=0)
    part, _ = blurred(image[:, 11 : 40 + 2 * pad, 7 : 33 + 2 * pad], None, sigma_px=sigma, pad_px=pad, fill=0)
    assert (part == whole[:, 11:40, 7:33]).all()


def test_a_flat_image_and_no_blur_change_nothing() -> None:
    image = np.random.default_rng(3).integers(-30000, 30000, (1, 12, 12)).astype(np.int16)
    assert (blurred(image, None, sigma_px=0.0, pad_px=0, fill=None)[0] == image).all()
    flat = np.full((1, 30, 30), -777, np.int16)
    assert (blurred(flat, None, sigma_px=1.7, pad_px=6, fill=None)[0] == -777).all()


def test_the_finer_image_becomes_like_the_coarser_one() -> None:
    """What 30 m pixels saw of the ground, laid on 10 m pixels, against what 10 m pixels saw."""
    ground = ndi.gaussian_filter(np.random.default_rng(4).standard_normal((240, 240)), 1) * 4000 + 20000
    coarse = ndi.gaussian_filter(ground, 1.2).reshape(80, 3, 80, 3).mean(axis=(1, 3))
    laid = ndi.zoom(coarse, 3, order=3, grid_mode=True, mode="nearest")
    sigma = blur_sigma_px(10, 30, spread_share=0.6)
    fine = ground.astype(np.uint16)[None]
    pad = blur_support_px(sigma)
    soft = blurred(fine, None, sigma_px=sigma, pad_px=pad, fill=None)[0][0].astype(float)
    inner = laid[pad:-pad, pad:-pad]
    before = np.std(fine[0, pad:-pad, pad:-pad] - inner)
    assert np.std(soft - inner) < 0.25 * before


def test_the_coarser_image_is_left_alone() -> None:
    assert blur_sigma_px(30, 10, spread_share=0.6) == blur_sigma_px(10, 10, spread_share=0.6) == 0.0
    assert blur_sigma_px(10, 30, spread_share=0.5) == pytest.approx(0.5 * 8**0.5)


@pytest.mark.parametrize(("kind", "pad"), [(np.uint16, 2), (np.int32, 9), (np.float32, 9)])
def test_what_cannot_be_exact_is_refused(kind: type, pad: int) -> None:
    with pytest.raises(ValueError, match="do not serve a blur"):
        blurred(np.zeros((1, 40, 40), kind), None, sigma_px=1.5, pad_px=pad, fill=None)
