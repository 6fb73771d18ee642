"""The omnibus test against simulated gamma speckle and a scalar oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import chi2, kstest

from ecowatch.detect.omnibus import change_points, equivalent_looks, omnibus, step_test


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
