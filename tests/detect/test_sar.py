"""The radar log-ratio on simulated speckle, and on real pairs where they are at hand."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, label

from ecowatch.detect.block import PairBlock
from ecowatch.detect.sar import SarLogRatioFit, _scale, fit_sar_log_ratio, reach_px, score_sar_log_ratio
from ecowatch.errors import PairError

NUMBERS = {
    "fine_px": 1.5,
    "region_px": 4.0,
    "coherent_share": 0.25,
    "region_unit": 0.0857,
    "half_height_sigma": 3.5,
    "noise_floor_db": 0.1,
}
SIDE = 256


def _scene() -> np.ndarray:
    """Backscatter in decibel: fields, dark water and a town of bright points."""
    row, col = np.mgrid[:SIDE, :SIDE]
    scene = np.where((row // 40 + col // 60) % 3 == 0, -13.0, -10.0)
    scene[col > 180] = -20.0
    town = (np.random.default_rng(0).random(scene.shape) < 0.01) & (row < 90) & (col < 120)
    scene[town] = 5.0
    return scene


def _date(scene: np.ndarray, looks: int, seed: int, correlated_px: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if correlated_px:
        waves = rng.normal(size=(2 * looks, *scene.shape))
        waves = np.stack([gaussian_filter(wave, correlated_px, mode="wrap") for wave in waves])
        speckle = np.mean((waves / waves.std()) ** 2, axis=0)
    else:
        speckle = rng.gamma(looks, 1 / looks, scene.shape)
    return (scene + 10 * np.log10(np.maximum(speckle, 1e-6))).astype(np.float32)[None]


def _pair(before: np.ndarray, after: np.ndarray, valid: np.ndarray | None = None) -> PairBlock:
    return PairBlock(before, after, np.ones(before.shape[1:], bool) if valid is None else valid)


def _score(pair: PairBlock) -> np.ndarray:
    return score_sar_log_ratio(pair, fit_sar_log_ratio([pair], **NUMBERS), **NUMBERS)


def _flagged(score: np.ndarray, weak: float = 3.5, strong: float = 5.0, min_strong_px: int = 10) -> np.ndarray:
    groups, number = label(score > weak, np.ones((3, 3)))
    kept = np.bincount(groups[score > strong], minlength=number + 1) >= min_strong_px
    kept[0] = False
    return kept[groups]


def _f1(flagged: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * (flagged & truth).sum() / max(flagged.sum() + truth.sum(), 1))


@pytest.mark.parametrize(
    ("looks", "correlated_px"), [((4, 4), 0.0), ((1, 4), 0.0), ((20, 20), 0.0), ((4, 4), 0.7), ((1, 4), 0.7)]
)
def test_two_looks_at_one_scene_show_nothing(looks: tuple[int, int], correlated_px: float) -> None:
    before, after = (_date(_scene(), n, seed, correlated_px) for seed, n in enumerate(looks))
    score = _score(_pair(before, after + np.float32(1.5)))
    assert _flagged(score).mean() == 0
    assert (score > 3.5).mean() < 2e-3


def test_noise_of_the_receiver_over_water_shows_nothing() -> None:
    noise = 10 ** (-20 / 10) * np.random.default_rng(5).gamma(4, 0.25, (2, 1, SIDE, SIDE))
    dates = [10 * np.log10(10 ** (_date(_scene(), 4, k) / 10) + noise[k]) for k in (0, 1)]
    assert (_score(_pair(*(d.astype(np.float32) for d in dates))) > 3.5).mean() < 2e-3


def test_identical_dates_show_nothing() -> None:
    date = _date(_scene(), 4, 1)
    assert _score(_pair(date, date)).max() < 3.5


@pytest.mark.parametrize("step_db", [6.0, -8.0])
def test_a_pair_changed_to_sixty_per_cent_is_not_inverted(step_db: float) -> None:
    field = gaussian_filter(np.random.default_rng(9).normal(size=(SIDE, SIDE)), 12)
    changed = field > np.quantile(field, 0.4)
    flagged = _flagged(_score(_pair(_date(_scene(), 4, 1), _date(_scene() + step_db * changed, 4, 2))))
    assert flagged[~changed].mean() < 0.02
    assert flagged[changed].mean() > 0.85


def test_one_per_cent_is_found_between_one_and_four_looks() -> None:
    changed = np.zeros((SIDE, SIDE), bool)
    changed[100:126, 30:56] = True
    flagged = _flagged(_score(_pair(_date(_scene(), 1, 1), _date(_scene() + 8.0 * changed, 4, 2))))
    assert _f1(flagged, changed) > 0.8


def test_a_built_block_of_bright_and_dark_points_is_filled() -> None:
    block = np.zeros((SIDE, SIDE), bool)
    block[120:160, 40:80] = True
    points = np.random.default_rng(2).choice([-7.0, 0.0, 7.0], size=(SIDE, SIDE)) * block
    pair = _pair(_date(_scene(), 12, 1), _date(_scene() + points, 12, 2))
    assert _f1(_flagged(_score(pair)), block) > 0.85
    fine_only = {**NUMBERS, "region_unit": 1e9}
    fine = score_sar_log_ratio(pair, fit_sar_log_ratio([pair], **NUMBERS), **fine_only)
    assert _f1(_flagged(fine), block) < 0.75


def test_a_sharp_rim_is_not_carried_outwards() -> None:
    changed = np.zeros((SIDE, SIDE), bool)
    changed[60:140, 60:140] = True
    flagged = _flagged(_score(_pair(_date(_scene(), 50, 1), _date(_scene() + 15.0 * changed, 50, 2))))
    assert changed.sum() * 0.95 < flagged.sum() < changed.sum() * 1.12
    assert _f1(flagged, changed) > 0.95


def test_gain_and_a_level_of_its_own_per_ground_are_taken_off() -> None:
    scene = _scene()
    wetter = scene + np.where(scene < -15, 3.3, 3.0)
    score = _score(_pair(_date(scene, 8, 1), _date(wetter, 8, 2)))
    assert _flagged(score).mean() == 0
    assert (score > 3.5).mean() < 2e-3


def test_a_whole_class_of_ground_that_changed_is_no_radiometry() -> None:
    water = _scene() < -15
    flagged = _flagged(_score(_pair(_date(_scene(), 8, 1), _date(_scene() + 6.0 * water, 8, 2))))
    assert flagged[water].mean() > 0.9
    assert flagged[~water].mean() < 0.03


def test_two_polarisations_find_more_than_one_and_stay_quiet() -> None:
    changed = np.zeros((SIDE, SIDE), bool)
    changed[100:140, 30:70] = True
    before = np.concatenate([_date(_scene() + k, 1, 10 + k) for k in (0, 1)])
    after = np.concatenate([_date(_scene() + k + 4.0 * changed, 1, 20 + k) for k in (0, 1)])
    both = _flagged(_score(_pair(before, after)))
    one = _flagged(_score(_pair(before[:1], after[:1])))
    assert both[changed].mean() > one[changed].mean()
    assert both[~changed].mean() < 0.01


def test_blocks_with_margin_equal_the_whole() -> None:
    valid = np.random.default_rng(4).random((SIDE, SIDE)) > 0.02
    valid[:30, 200:] = False
    pair = _pair(_date(_scene(), 4, 1), _date(np.roll(_scene(), 3, 0), 4, 2), valid)
    fitted = fit_sar_log_ratio([pair], **NUMBERS)
    whole = score_sar_log_ratio(pair, fitted, **NUMBERS)
    reach = reach_px(**NUMBERS)
    for row, col in ((0, 0), (0, 128), (128, 0), (128, 128), (64, 96)):
        top, left = max(row - reach, 0), max(col - reach, 0)
        window = np.s_[top : row + 128 + reach, left : col + 128 + reach]
        part = PairBlock(pair.before[:, *window], pair.after[:, *window], valid[window])
        cut = score_sar_log_ratio(part, fitted, **NUMBERS)[row - top :, col - left :][:128, :128]
        np.testing.assert_array_equal(cut, whole[row : row + 128, col : col + 128])


def test_numbers_where_not_valid_have_no_say() -> None:
    valid = np.ones((SIDE, SIDE), bool)
    valid[50:90, 50:90] = False
    before, after = _date(_scene(), 4, 1), _date(_scene(), 4, 2)
    spoilt = after.copy()
    spoilt[:, ~valid] = 1e6
    first, second = _score(_pair(before, after, valid)), _score(_pair(before, spoilt, valid))
    np.testing.assert_array_equal(first, second)
    assert first.dtype == np.float32
    assert (first[~valid] == 0).all()


def test_the_fit_survives_json_and_repeats() -> None:
    pair = _pair(_date(_scene(), 4, 1), _date(_scene(), 4, 2))
    fitted = fit_sar_log_ratio([pair], **NUMBERS)
    assert fit_sar_log_ratio([pair], **NUMBERS) == fitted
    again = SarLogRatioFit(**json.loads(json.dumps(dataclasses.asdict(fitted))))
    np.testing.assert_array_equal(
        score_sar_log_ratio(pair, again, **NUMBERS), score_sar_log_ratio(pair, fitted, **NUMBERS)
    )


def test_too_few_pixels_are_refused() -> None:
    date = np.zeros((1, 10, 10), np.float32)
    with pytest.raises(PairError, match="only 100 pixels"):
        fit_sar_log_ratio([_pair(date, date)], **NUMBERS)


@pytest.mark.parametrize(
    ("name", "least_f1"),
    [
        ("s1_oscd/dubai_orbit166", 0.45),
        ("s1_oscd/abudhabi_orbit130", 0.24),
        ("sar_yellow_river/yellow_B", 0.60),
        ("sar_yellow_river/yellow_D", 0.80),
        ("sar_natural/ottawa", 0.91),
    ],
)
def test_real_pairs(shared_data: Path, name: str, least_f1: float) -> None:
    rasterio = pytest.importorskip("rasterio")
    dates, truth = [], np.zeros(0)
    for part in ("t1", "t2", "label"):
        with rasterio.open(shared_data / "bitemporal" / f"{name}_{part}.tif") as source:
            dates.append(source.read())
    truth = dates.pop()[0]
    decibel = [
        d / np.float32(100) if d.dtype == np.int16 else 20 * np.log10(np.maximum(d.astype(np.float32), 1))
        for d in dates
    ]
    flagged = _flagged(_score(_pair(*decibel)))
    labelled = truth != 255
    assert _f1(flagged[labelled], truth[labelled] == 1) >= least_f1


def test_half_of_the_typical_change_is_half_of_what_lies_above_it() -> None:
    """Deviations spread evenly up to 20: half of the median of those above t is (t + 20) / 4, which is t at 20 / 3."""
    assert _scale(np.linspace(0, 20, 4001), 3.5, 1) == pytest.approx(20 / 3 / 3.5, abs=0.01)
    # A few reflectors, or a change hardly above its threshold, raise nothing; nor may strong ones hide all others.
    assert _scale(np.r_[np.zeros(1000), np.full(49, 90.0)], 3.5, 1) == 1
    assert _scale(np.r_[np.zeros(1000), np.full(200, 6.0), np.full(100, 90.0)], 3.5, 1) == 1
    assert _scale(np.full(1000, 90.0), 3.5, 1) == 2
