"""The omnibus test against simulated gamma speckle and a scalar oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import chi2, kstest

from ecowatch.codes import Stage
from ecowatch.detect.omnibus import (
    SeriesFacts,
    change_points,
    equivalent_looks,
    omnibus,
    pair_looks,
    series_of_patch,
    stage_of_series,
    step_test,
)


def _speckle(means: list[float], shape: tuple[int, int], looks: int, seed: int, bands: int = 1) -> np.ndarray:
    draw = np.random.default_rng(seed).gamma(looks, 1 / looks, (len(means), bands, *shape))
    return draw * np.array(means)[:, None, None, None]


def _slow_ln_q(values: list[float], looks: float) -> float:
    """Likelihood ratio of gamma laws of one mean and of a mean per date, written out."""

    def log_likelihood(x: float, mean: float) -> float:
        return (looks - 1) * math.log(x) - looks * x / mean - looks * math.log(mean)

    common = sum(values) / len(values)
    return sum(log_likelihood(x, common) - log_likelihood(x, x) for x in values)


def test_equals_a_likelihood_ratio_written_out() -> None:
    values, looks = [0.2, 0.5, 0.31, 0.9], 4.4
    rho = 1 - (4 + 1) / (6 * looks * 4)
    result = omnibus(np.array(values).reshape(4, 1, 1, 1), looks=looks)
    assert result.statistic[0, 0] == pytest.approx(-2 * rho * _slow_ln_q(values, looks), rel=1e-12)


def test_polarisations_add() -> None:
    stack = _speckle([1, 1, 3], (4, 4), 5, 1, bands=2)
    one, two = (omnibus(stack[:, k : k + 1], looks=5).statistic for k in (0, 1))
    np.testing.assert_allclose(omnibus(stack, looks=5).statistic, one + two)


def test_factors_multiply_to_q() -> None:
    stack, looks = _speckle([1, 2, 1, 1], (5, 5), 6, 2), 6.0
    rho_q = 1 - 5 / (6 * looks * 4)
    ln_q = omnibus(stack, looks=looks).statistic / (-2 * rho_q)
    ln_r = np.zeros((5, 5))
    for j in (2, 3, 4):
        rho = 1 - (1 + 1 / (j * (j - 1))) / (6 * looks)
        ln_r += step_test(stack[:j], looks=looks).statistic / (-2 * rho)
    np.testing.assert_allclose(ln_q, ln_r, rtol=1e-9)


@pytest.mark.parametrize(("dates", "looks", "bands"), [(2, 4, 1), (5, 4, 1), (5, 4, 2), (8, 1, 1)])
def test_p_value_is_uniform_where_nothing_changed(dates: int, looks: int, bands: int) -> None:
    p_value = omnibus(_speckle([0.3] * dates, (150, 150), looks, 3, bands), looks=looks).p_value.ravel()
    assert kstest(p_value, "uniform").statistic < 0.02
    assert (p_value < 0.01).mean() == pytest.approx(0.01, abs=0.004)


def test_step_p_value_is_uniform_where_nothing_changed() -> None:
    p_value = step_test(_speckle([2.0] * 4, (150, 150), 4, 4), looks=4).p_value.ravel()
    assert kstest(p_value, "uniform").statistic < 0.02


def test_without_correction_many_dates_of_one_look_would_be_false() -> None:
    result = omnibus(_speckle([1.0] * 8, (150, 150), 1, 5), looks=1)
    rho = 1 - 9 / 48
    plain = chi2.sf(result.statistic / rho, 7)
    assert (plain < 0.01).mean() > 2 * (result.p_value < 0.01).mean()


def test_dates_of_change_are_found() -> None:
    means = [1, 1, 1, 8, 8, 8, 1, 1]
    found = change_points(_speckle(means, (40, 40), 12, 6), looks=12, significance=1e-4)
    assert found.shape == (7, 40, 40)
    share = found.mean(axis=(1, 2))
    assert share[2] > 0.95 and share[5] > 0.95
    assert share[[0, 1, 4]].max() < 0.002
    # What was missed at its own date is caught at the next.
    assert share[2] + share[3] > 0.99 and share[5] + share[6] > 0.97


def test_quiet_series_has_no_date_of_change() -> None:
    found = change_points(_speckle([1.0] * 6, (80, 80), 4, 7), looks=4, significance=1e-4)
    assert found.any(axis=0).mean() < 1e-3


def test_gaps_have_no_p_value_and_no_change() -> None:
    stack = _speckle([1, 1, 50], (3, 3), 4, 8)
    stack[1, 0, 1, 1] = np.nan
    assert np.isnan(omnibus(stack, looks=4).p_value[1, 1])
    found = change_points(stack, looks=4, significance=1e-3)
    assert not found[:, 1, 1].any() and found[1, 0, 0]


@pytest.mark.parametrize("looks", [1, 4, 30])
def test_looks_are_measured_beside_a_step_in_brightness(looks: int) -> None:
    image = _speckle([1.0], (200, 200), looks, 9)[0, 0]
    image[:, 120:] *= 30
    image[3, 3] = np.nan
    assert equivalent_looks(image, window_px=9) == pytest.approx(looks, rel=0.25)


def test_looks_of_nothing_are_unknown() -> None:
    assert math.isnan(equivalent_looks(np.full((9, 9), np.nan), window_px=3))


def test_refuses_one_date_and_no_looks() -> None:
    with pytest.raises(ValueError, match="two dates or more"):
        omnibus(np.ones((1, 1, 2, 2)), looks=4)
    with pytest.raises(ValueError, match="positive number"):
        omnibus(np.ones((2, 1, 2, 2)), looks=0)


NUMBERS = {"average_px": 3, "significance": 0.001, "second_from_dates": 4, "min_stable_px": 20}
STAGE = {"returning_share": 0.5, "persisting": 0.5}
INSIDE = np.zeros((40, 40), bool)
INSIDE[14:26, 12:28] = True


def _series(patch_db: list[float], *, seed: int = 3, looks: int = 4, bands: int = 2) -> np.ndarray:
    """Power of dates whose patch differs from its ground by so many decibels, and whose calibration drifts."""
    dates = len(patch_db)
    rng = np.random.default_rng(seed)
    ground = 0.05 * (1 + (np.add.outer(np.arange(40), np.arange(40)) // 9) % 3)
    stack = rng.gamma(looks, 1 / looks, (dates, bands, 40, 40)) * ground
    stack *= 10 ** (rng.uniform(-0.7, 0.7, (dates, 1, 1, 1)) / 10)
    stack[:, :, INSIDE] *= 10 ** (np.array(patch_db) / 10)[:, None, None]
    return stack


def _facts(stack: np.ndarray, before_at: int, after_at: int) -> SeriesFacts:
    return series_of_patch(stack, INSIDE, before_at=before_at, after_at=after_at, **NUMBERS)


@pytest.mark.parametrize(
    ("patch_db", "before_at", "after_at", "stage"),
    [
        ([0, 0, 0, -7, -7, -7], 2, 3, Stage.CONFIRMED),
        ([0, 7, 7], 0, 1, Stage.CONFIRMED),
        ([0, 0, 7, 7, 7], 1, 3, Stage.CONFIRMED),
        ([0, 0, 0, 7], 2, 3, Stage.EXCEEDS_HISTORY),
        ([2, 0, 2, 0, 9], 3, 4, Stage.EXCEEDS_HISTORY),
        ([0, 7], 0, 1, Stage.ONE_DATE),
        ([0, 0, 0, 7, 0, 0], 2, 3, Stage.ONE_DATE),
        ([0, 0, 7, 7, 0], 1, 2, Stage.ONE_DATE),
        ([0, 0, 0, 0, 0, 0], 2, 3, Stage.ONE_DATE),
        ([0, -7, 0, -7, 0, -7], 4, 5, Stage.RETURNING),
        ([-7, 0, -7, -7], 1, 2, Stage.RETURNING),
        ([7, 7, 0, 7, 7], 2, 3, Stage.RETURNING),
    ],
)
def test_stage_of_a_series(patch_db: list[float], before_at: int, after_at: int, stage: Stage) -> None:
    for seed in range(5):
        facts = _facts(_series(patch_db, seed=seed), before_at, after_at)
        assert stage_of_series(facts, **STAGE) is stage, facts


def test_what_a_lasting_step_shows() -> None:
    facts = _facts(_series([0, 0, 0, -7, -7]), 2, 3)
    assert (facts.earlier_dates, facts.later_dates) == (2, 1)
    assert facts.changed_px > 0.8 * INSIDE.sum()
    assert facts.step_share > 0.95 and facts.kept_share > 0.95
    assert facts.history_share < 0.05 and facts.returning_share < 0.05


def test_of_many_earlier_dates_one_may_have_been_wet() -> None:
    once, twice = [0, 0, -7, 0, 0, -7], [0, -7, -7, 0, 0, -7]
    assert stage_of_series(_facts(_series(once), 4, 5), **STAGE) is Stage.EXCEEDS_HISTORY
    assert stage_of_series(_facts(_series(twice), 4, 5), **STAGE) is Stage.RETURNING


def test_bright_and_dark_points_that_cancel_are_told() -> None:
    stack = _series([0, 0, 0, 0, 0])
    row, col = np.mgrid[:40, :40]
    points = np.where((row // 4 + col // 4) % 2 == 0, 10.0, 0.1)
    stack[3:, :, INSIDE] *= points[INSIDE]
    assert stage_of_series(_facts(stack, 2, 3), **STAGE) is Stage.CONFIRMED


def test_a_date_that_does_not_show_the_patch_is_left_out() -> None:
    stack = _series([0, 0, 0, -7, 0])
    stack[4, :, 10:30, 10:24] = np.nan
    facts = _facts(stack, 2, 3)
    assert (facts.earlier_dates, facts.later_dates) == (2, 0)
    assert np.isnan(facts.kept_share) and stage_of_series(facts, **STAGE) is Stage.EXCEEDS_HISTORY
    assert facts[:-1] == _facts(stack[:4], 2, 3)[:-1]


def test_a_patch_without_ground_around_is_measured_on_itself() -> None:
    stack = _series([0, 0, 0, -7, -7])[:, :, INSIDE].reshape(5, 2, 12, 16)
    facts = series_of_patch(stack, np.ones((12, 16), bool), before_at=2, after_at=3, **NUMBERS)
    assert 8 < facts.looks < 60
    assert facts.step_share > 0.9 and facts.later_dates == 1


def test_a_patch_no_date_shows_says_nothing() -> None:
    stack = _series([0, 0, -7])
    stack[1, :, INSIDE] = np.nan
    facts = _facts(stack, 1, 2)
    assert facts.changed_px == 0 and np.isnan(facts.step_share)
    assert stage_of_series(facts, **STAGE) is Stage.ONE_DATE


def test_the_before_date_comes_first() -> None:
    with pytest.raises(ValueError, match="before is date 2 and after is date 1 of 3"):
        _facts(_series([0, 0, 0]), 2, 1)


@pytest.mark.parametrize("looks", [2, 5, 40])
def test_looks_of_a_pair_whatever_the_ground(looks: int) -> None:
    ground = np.geomspace(0.001, 10, 40_000)
    draw = np.random.default_rng(1).gamma(looks, 1 / looks, (2, 40_000)) * ground
    draw[1, :4000] *= 20
    assert pair_looks(draw[0], draw[1]) == pytest.approx(looks, rel=0.3)
    assert np.isnan(pair_looks(np.array([np.nan]), np.array([1.0])))
