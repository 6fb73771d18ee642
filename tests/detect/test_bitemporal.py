"""Score and thresholds: against the definitions, against slow oracles, on simulated pairs whose change is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from ecowatch.codes import State
from ecowatch.detect import (
    METHODS,
    LinearScore,
    bitemporal,
    block,
    detect_block,
    fit_change_vector,
    fit_ir_mad,
    fit_thresholds,
    sample_score,
)
from ecowatch.detect import _kernels as kernels
from ecowatch.detect.stable import stable_ground
from ecowatch.errors import PairError
from ecowatch.grid import Window

pytestmark = pytest.mark.kernels
OPTIONS = {"max_iterations": 60, "tolerance": 1e-4}
UNIT = ((1.0, 0.0),)


def pair(n: int = 20_000, changed: int = 0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Four bands of two dates: common ground, another light, noise, and `changed` pixels of new ground."""
    rng = np.random.default_rng(seed)
    ground = rng.normal(0, 1, (3, n))
    mix = rng.normal(0.1, 0.05, (4, 3))
    before = 0.3 + mix @ ground + rng.normal(0, 0.01, (4, n))
    after = 1.2 * (0.3 + mix @ ground) + 0.05 + rng.normal(0, 0.01, (4, n))
    after[:, :changed] += np.array([0.3, 0.25, 0.3, -0.3])[:, None]
    return before, after


@pytest.mark.parametrize("method", [pytest.param("ir_mad", marks=pytest.mark.compiled), "change_vector"])
def test_without_change_the_score_follows_its_law(method: str) -> None:
    before, after = pair()
    fitted = METHODS[method](before, after, **OPTIONS)
    assert fitted.converged
    score = sample_score(fitted, before, after)
    assert np.median(score) == pytest.approx(3.36, rel=0.15)  # median of chi-square with 4 degrees of freedom


@pytest.mark.parametrize("method", ["ir_mad", "change_vector"])
@pytest.mark.compiled
@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.3])
def test_change_is_found_and_ground_left_alone(method: str, share: float) -> None:
    n = 20_000
    before, after = pair(n, int(share * n))
    fitted = METHODS[method](before, after, **OPTIONS)
    score = sample_score(fitted, before, after)
    limits = fit_thresholds(score, variates=4, weak_sigma=4, strong_sigma=6)
    flagged = score > limits.weak
    truth = np.arange(n) < int(share * n)
    assert (flagged & ~truth).sum() <= 0.001 * n
    assert (flagged & truth).sum() >= 0.99 * truth.sum()


@pytest.mark.parametrize("method", ["ir_mad", "change_vector"])
def test_a_linear_change_of_light_changes_nothing(method: str) -> None:
    before, after = pair(5000, 200)
    gain, offset = np.array([0.8, 1.1, 0.9, 1.3])[:, None], np.array([0.02, -0.01, 0.1, 0.0])[:, None]
    plain = sample_score(METHODS[method](before, after, **OPTIONS), before, after)
    lit = gain * after + offset
    other = sample_score(METHODS[method](before, lit, **OPTIONS), before, lit)
    assert np.corrcoef(np.cbrt(plain), np.cbrt(other))[0, 1] > 0.999


def test_swapping_the_dates_mirrors_the_score() -> None:
    before, after = pair(5000, 100)
    forth = sample_score(fit_ir_mad(before, after, **OPTIONS), before, after)
    back = sample_score(fit_ir_mad(after, before, **OPTIONS), after, before)
    assert np.allclose(forth, back, rtol=1e-3)


def test_first_round_of_mad_equals_canonical_correlation_by_svd() -> None:
    """Independent oracle: canonical correlations are the singular values of the whitened cross-covariance."""
    before, after = pair(4000)
    fitted = fit_ir_mad(before, after, max_iterations=1, tolerance=1e-9)

    def whitened(x: np.ndarray) -> np.ndarray:
        x = x - x.mean(axis=1, keepdims=True)
        values, vectors = np.linalg.eigh(x @ x.T / x.shape[1])
        return (vectors / np.sqrt(values)).T @ x

    stable = stable_ground(before, after, noise_floor=0.0)
    one, other = whitened(before[:, stable]), whitened(after[:, stable])
    expected = np.linalg.svd(one @ other.T / stable.sum(), compute_uv=False)
    # The fit adds a shade of the mean variance to the diagonal.
    assert sorted(fitted.correlation, reverse=True) == pytest.approx(expected.tolist(), abs=5e-4)


def test_noise_floor_keeps_tiny_differences_quiet() -> None:
    rng = np.random.default_rng(0)
    before = rng.uniform(0.1, 0.4, (4, 10_000))
    after = before + rng.normal(0, 1e-4, before.shape)
    after[:, :100] += 0.004
    fitted = fit_change_vector(before, after, noise_floor=0.01, **OPTIONS)
    score = sample_score(fitted, before, after)
    assert not (score > fit_thresholds(score, variates=4, weak_sigma=3, strong_sigma=5).weak).any()
    bare = fit_change_vector(before, after, noise_floor=0.0, **OPTIONS)
    assert sample_score(bare, before, after)[:100].min() > 100


def test_a_constant_band_cannot_be_fitted() -> None:
    before, after = pair(1000)
    before[1] = 0.2
    with pytest.raises(PairError, match="FIT_FAILED"):
        fit_change_vector(before, after, **OPTIONS)


def test_copied_bands_do_no_harm() -> None:
    before, after = pair(5000, 100)
    before, after = np.vstack([before, before[:1]]), np.vstack([after, after[:1]])
    score = sample_score(fit_ir_mad(before, after, **OPTIONS), before, after)
    assert np.isfinite(score).all() and score[:100].min() > np.percentile(score[100:], 99)


def test_thresholds_of_a_drawn_sample() -> None:
    """Cube roots drawn as a normal heap around 4 with deviation 0.75, and a tenth of the values far above."""
    heap = 4 + 0.75 * norm.ppf((np.arange(9000) + 0.5) / 9000)
    score = np.concatenate([heap, np.linspace(10, 30, 1000)]) ** 3
    limits = fit_thresholds(score, variates=1, weak_sigma=2, strong_sigma=4)
    assert limits.centre == pytest.approx(4, abs=0.15) and limits.spread == pytest.approx(0.75, rel=0.1)
    assert limits.weak == pytest.approx((limits.centre + 2 * limits.spread) ** 3)
    assert limits.strong == pytest.approx((limits.centre + 4 * limits.spread) ** 3)


def drawn(shape: tuple[int, int], changed: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
    before = np.full((1, *shape), 100, np.uint16)
    after = before.copy()
    after[0][changed] = 200
    return before, after


def simple_score() -> LinearScore:
    return LinearScore(((1.0,),), ((1.0,),), (0.0,), (1.0,), (1.0,), 1, True)


def blocked(before: np.ndarray, after: np.ndarray, state: np.ndarray, reach: int, **options: object):
    """Detect on the inner part of two images that are larger by `reach` on each side."""
    rows, cols = before.shape[1:]
    inner = (image[:, reach : rows - reach, reach : cols - reach] for image in (before, after))

    def wider(part: Window) -> tuple[np.ndarray, np.ndarray]:
        row, col = part.moved(reach, reach).within(Window(0, 0, rows, cols))
        assert row.start >= 0 and col.start >= 0, "more was asked for than the reach"
        return before[:, row, col], after[:, row, col]

    return detect_block(*inner, state, reach_px=reach, wider=wider, **options)  # type: ignore[arg-type]


def run(before: np.ndarray, after: np.ndarray, state: np.ndarray, reach: int = 0, **options: object):
    settings = {"weak": 2500.0, "strong": 8100.0, "fills": (None, None), "row0": 0, "col0": 0} | options
    return blocked(before, after, state, reach, weights=simple_score().for_numbers(UNIT, UNIT), **settings)


def test_arrays_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="do not belong together"):
        run(np.zeros((1, 5, 5), np.uint8), np.zeros((1, 5, 5), np.uint8), np.ones((4, 4), np.uint8))


def test_runs_and_sums_of_a_drawn_block() -> None:
    before, after = drawn((4, 6), (slice(1, 3), slice(2, 5)))
    after[0, 2, 2] = 160
    state = np.full((4, 6), State.USABLE, np.uint8)
    state[1, 3] = State.MASKED
    result, score = run(before, after, state, row0=10, col0=20)
    assert result.runs.tolist() == [[11, 22, 23], [11, 24, 25], [12, 22, 25]]
    # strong, sum and maximum of 100·√score, sum before, sum after
    assert result.sums.tolist() == [
        [1, 10_000, 10_000, 100, 200],
        [1, 10_000, 10_000, 100, 200],
        [2, 26_000, 10_000, 300, 560],
    ]
    assert result.unseen.tolist() == [[11, 23, 24, State.MASKED]]
    assert state[2, 2] == State.WEAK and score[2, 2] == 3600


def test_fill_in_any_date_is_not_observed() -> None:
    before, after = drawn((1, 4), (slice(0, 1), slice(0, 4)))
    before[0, 0, 0] = 0
    after[0, 0, 2] = 7
    state = np.full((1, 4), State.USABLE, np.uint8)
    result, _ = run(before, after, state, fills=(0.0, 7.0))
    assert result.runs.tolist() == [[0, 1, 2], [0, 3, 4]]
    assert result.unseen.tolist() == [[0, 0, 1, State.NO_DATA], [0, 2, 3, State.NO_DATA]]


def test_a_displaced_edge_is_forgiven_and_a_new_line_is_not() -> None:
    before = np.full((1, 9, 9), 100, np.uint16)
    before[0, :, 5:] = 200
    after = np.full((1, 9, 9), 100, np.uint16)
    after[0, :, 4:] = 200  # the same edge, one pixel over
    after[0, 4, :3] = 300  # a line of one pixel's width
    plain, _ = run(before[:, 1:-1, 1:-1], after[:, 1:-1, 1:-1], np.full((7, 7), State.USABLE, np.uint8))
    forgiven, _ = run(before, after, np.full((7, 7), State.USABLE, np.uint8), reach=1)
    assert plain.sums[plain.runs[:, 0] != 3, 0].tolist() == [1] * 6
    assert forgiven.sums[forgiven.runs[:, 0] != 3, 0].tolist() == [0] * 6
    assert forgiven.runs[forgiven.sums[:, 0] > 0].tolist() == [[3, 0, 2]]


def oracle_forgiving(before: np.ndarray, after: np.ndarray, reach: int) -> np.ndarray:
    """Thonfeld's robust distance, by the definition, for one band."""
    height, width = before.shape[1] - 2 * reach, before.shape[2] - 2 * reach
    out = np.empty((height, width))
    for y, x in np.ndindex(height, width):
        a = before[0].astype(float)
        b = after[0].astype(float)
        cut = (slice(y, y + 2 * reach + 1), slice(x, x + 2 * reach + 1))
        forth = ((a[y + reach, x + reach] - b[cut]) ** 2).min()
        back = ((b[y + reach, x + reach] - a[cut]) ** 2).min()
        out[y, x] = max(forth, back)
    return out


@pytest.mark.parametrize("reach", [1, 2])
def test_forgiving_equals_the_definition(reach: int) -> None:
    rng = np.random.default_rng(reach)
    before, after = rng.integers(0, 160 if reach == 1 else 500, (2, 1, 24, 22)).astype(np.uint16)
    state = np.full((24 - 2 * reach, 22 - 2 * reach), State.USABLE, np.uint8)
    _, score = run(before, after, state, reach=reach, weak=900.0, strong=2500.0)
    inner = (0, slice(reach, -reach), slice(reach, -reach))
    plain = (before[inner].astype(float) - after[inner]) ** 2
    assert (score == plain).all()
    assert ((state >= State.WEAK) == (plain > 900)).all()
    forgiven = oracle_forgiving(before, after, reach)
    assert ((state == State.STRONG) == (forgiven > 2500)).all()
    assert 0 < (state == State.STRONG).sum() < (plain > 2500).sum()


def random_block(seed: int, shape: tuple[int, int] = (40, 700)) -> tuple[np.ndarray, np.ndarray, LinearScore]:
    rng = np.random.default_rng(seed)
    before = rng.integers(0, 4000, (3, *shape)).astype(np.uint16)
    after = (before + rng.integers(0, 400, before.shape)).astype(np.uint16)
    flat = [x.reshape(3, -1) * 1e-4 for x in (before, after)]
    return before, after, fit_ir_mad(*flat, max_iterations=3, tolerance=1e-3)


def test_the_compiled_pass_equals_the_numpy_form() -> None:
    before, after, fitted = random_block(1)
    state = np.full(before.shape[1:], State.USABLE, np.uint8)
    weights = fitted.for_numbers(((1e-4, 0.0),) * 3, ((1e-4, 0.0),) * 3)
    _, score = detect_block(
        before, after, state, weights=weights, weak=5.0, strong=9.0, fills=(None, None), reach_px=0, row0=0, col0=0
    )
    expected = sample_score(fitted, before.reshape(3, -1) * 1e-4, after.reshape(3, -1) * 1e-4).reshape(score.shape)
    assert np.abs(score - expected).max() <= 1e-3 * expected.max()


def test_blocks_with_margin_equal_the_whole() -> None:
    before, after, fitted = random_block(2, (62, 82))
    weights = fitted.for_numbers(((1e-4, 0.0),) * 3, ((1e-4, 0.0),) * 3)
    options = {"weights": weights, "weak": 4.0, "strong": 8.0, "fills": (0.0, 0.0)}
    whole_state = np.full((60, 80), State.USABLE, np.uint8)
    whole, _ = blocked(before, after, whole_state, 1, row0=0, col0=0, **options)
    pixels = np.zeros((60, 80), int)
    total = np.zeros(whole.sums.shape[1], np.int64)
    for row in (0, 30):
        for col in (0, 27, 54):
            height, width = 30, min(27, 80 - col)
            state = np.full((height, width), State.USABLE, np.uint8)
            cut = (slice(None), slice(row, row + height + 2), slice(col, col + width + 2))
            part, _ = blocked(before[cut], after[cut], state, 1, row0=row, col0=col, **options)
            for r, c0, c1 in part.runs:
                pixels[r, c0:c1] += 1
            total += part.sums.sum(axis=0)
    assert (pixels == (whole_state >= State.WEAK)).all()
    keep = [0, 1, *range(3, len(total))]
    assert (total[keep] == whole.sums.sum(axis=0)[keep]).all()


@pytest.mark.compiled
@pytest.mark.parametrize(
    "name", ["score_block", "forgive_edges", "count_runs", "flagged_runs", "unseen_runs", "weighted_moments"]
)
def test_each_kernel_equals_its_python(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after, fitted = random_block(3, (20, 40))
    weights = fitted.for_numbers(((1e-4, 0.0),) * 3, ((1e-4, 0.0),) * 3)

    def outcome() -> tuple[np.ndarray, ...]:
        state = np.full((18, 38), State.USABLE, np.uint8)
        state[3, 5:9] = State.MASKED
        result, score = blocked(
            before, after, state, 1, weights=weights, weak=4.0, strong=8.0, fills=(0.0, None), row0=0, col0=0
        )
        moments = np.empty(3), np.empty((3, 3))
        kernels.weighted_moments(before.reshape(3, -1).astype(float), np.ones(before[0].size), *moments)
        return (*vars(result).values(), score, state, *moments)

    compiled = outcome()
    monkeypatch.setattr(kernels, name, getattr(kernels, name).py_func)
    for user in (bitemporal, block):
        if hasattr(user, name):
            monkeypatch.setattr(user, name, getattr(kernels, name))
    for one, other in zip(compiled, outcome(), strict=True):
        assert np.allclose(one, other, rtol=1e-5)
