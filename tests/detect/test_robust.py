"""The decision holds whatever share of the scene changed: from nothing to most of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from scipy.special import gammaincc

from ecowatch.detect import METHODS, fit_thresholds, sample_score
from ecowatch.detect._fit_kernels import chi2_exceeded, line_distance, moments_of, standard_squares
from ecowatch.detect.stable import quantile, stable_ground

SIDE, BANDS = 160, 6
Array = np.ndarray[Any, Any]


def ground(seed: int) -> Array:
    """Reflectance with four kinds of structure behind six bands."""
    rng = np.random.default_rng(seed)
    fields = np.stack([ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), s) for s in (6, 12, 3, 1)])
    fields /= fields.std(axis=(1, 2))[:, None, None]
    mix = rng.normal(size=(BANDS, 4)) * 0.03
    level = (0.2 + np.linspace(0, 0.1, BANDS))[:, None, None]
    result: Array = np.clip(level + np.tensordot(mix, fields, 1), 0.01, 1)
    return result


def changed_pair(share: float, kind: str) -> tuple[Array, Array, Array]:
    """Two dates with another light, noise, and a share of new ground."""
    rng = np.random.default_rng(3)
    old = ground(1)
    blobs = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 8)
    label = blobs > np.quantile(blobs, 1 - share)
    new = {
        "bare": np.linspace(0.25, 0.45, BANDS)[:, None, None] + 0.3 * ground(5) - 0.06,
        "other ground": ground(77),
        "one step": old + np.array([0.05, 0.06, 0.08, -0.1, 0.08, 0.09])[:, None, None],
    }[kind]
    after = np.where(label, new, old) * np.linspace(1.1, 0.9, BANDS)[:, None, None] + 0.015
    noise = rng.normal(0, 0.006, (2, *old.shape))
    return (old + noise[0]).reshape(BANDS, -1), (after + noise[1]).reshape(BANDS, -1), label.ravel()


@pytest.mark.compiled
@pytest.mark.parametrize("method", ["ir_mad", "change_vector"])
@pytest.mark.parametrize("kind", ["bare", "other ground", "one step"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6])
def test_any_share_of_change_is_found_and_nothing_else(method: str, kind: str, share: float) -> None:
    before, after, label = changed_pair(share, kind)
    fitted = METHODS[method](before, after, max_iterations=50, tolerance=1e-3, noise_floor=0.01)
    score = sample_score(fitted, before, after)
    thresholds = fit_thresholds(score, variates=BANDS, weak_sigma=1.5, strong_sigma=3.5)
    flagged = score > thresholds.weak
    assert (flagged & ~label).mean() < 0.002
    if share:
        assert flagged[label].mean() > 0.97
    assert (score > thresholds.strong)[~label].mean() < 0.0005


def test_stable_ground_is_unchanged_ground() -> None:
    before, after, label = changed_pair(0.6, "bare")
    stable = stable_ground(before, after, noise_floor=0.01)
    assert stable.mean() == pytest.approx(0.3, abs=0.01)
    assert not (stable & label).any()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6])
def test_thresholds_stay_where_the_unchanged_heap_is(share: float) -> None:
    """A χ² heap and a far wide one: centre and spread are those of the first, however small a part it is."""
    rng = np.random.default_rng(11)
    n = 50_000
    score = rng.chisquare(BANDS, n)
    far = int(share * n)
    score[:far] = rng.uniform(60, 4000, far)
    made = fit_thresholds(score, variates=BANDS, weak_sigma=1.5, strong_sigma=3.5)
    plain = fit_thresholds(rng.chisquare(BANDS, n), variates=BANDS, weak_sigma=1.5, strong_sigma=3.5)
    assert made.centre == pytest.approx(plain.centre, abs=0.08)
    assert made.strong == pytest.approx(plain.strong, rel=0.2)


@pytest.mark.parametrize("bands", [1, 2, 6])
def test_compiled_loops_of_the_fit_are_those_of_numpy(bands: int) -> None:
    rng = np.random.default_rng(4)
    before, after = rng.random((2, bands, 300))
    gain, offset, scale = rng.random((3, bands)) + 0.5
    found = np.empty(300)
    line_distance(before, after, gain, offset, scale, found)
    apart = (gain[:, None] * before + offset[:, None] - after) / scale[:, None]
    assert found == pytest.approx(np.sum(apart**2, axis=0))
    standard_squares(apart, scale, found)
    assert found == pytest.approx(np.sum(apart**2 / scale[:, None], axis=0))
    chosen = rng.permutation(300)[:90]
    mean, variance = np.empty((2, bands))
    moments_of(before, chosen, mean, variance)
    assert mean == pytest.approx(before[:, chosen].mean(axis=1))
    assert variance == pytest.approx(before[:, chosen].var(axis=1))


@pytest.mark.parametrize("degrees", range(1, 13))
def test_the_law_of_sums_of_squares_is_that_of_scipy(degrees: int) -> None:
    squares = np.concatenate([[0.0, 1e-12, 1300.0, 1500.0, np.inf], np.linspace(0.01, 400, 4000)])
    found = np.empty(squares.size)
    chi2_exceeded(squares, degrees, found)
    assert found == pytest.approx(gammaincc(degrees / 2, squares / 2), rel=1e-9, abs=1e-300)


def test_a_quantile_is_that_of_numpy_to_the_last_bit() -> None:
    rng = np.random.default_rng(3)
    for count in (1, 2, 3, 4, 5, 9, 10, 100, 2701, 5000):
        for values in (rng.chisquare(6, count), rng.integers(0, 4, count).astype(float), rng.normal(0, 1e-9, count)):
            kept = values.copy()
            for share in (0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 0.99, 1.0):
                assert quantile(values, share) == np.quantile(values, share)
            assert (values == kept).all()
            assert quantile(values, 0.5) == pytest.approx(np.median(values), rel=1e-15, abs=0)
