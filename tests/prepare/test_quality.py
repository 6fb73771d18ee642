"""Which pixels are usable."""

from __future__ import annotations

import numpy as np
import pytest

from ecowatch.codes import State
from ecowatch.prepare import (
    FEATURE_SCALE,
    alpha_state,
    edges_off,
    fill_state,
    pair_state,
    qa_pixel_state,
    scl_state,
    texture_features,
)
from ecowatch.prepare._kernels import clear_fill, mean_and_spread, trim_edges

pytestmark = pytest.mark.kernels

U, M, N = State.USABLE, State.MASKED, State.NO_DATA


def test_scene_classes() -> None:
    classes = np.array([[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]])
    state = scl_state(classes, clear=(4, 5, 6, 7, 11))
    assert state.tolist() == [[N, M, M, M, U, U, U, U, M, M, M, U]]


def test_classes_beyond_the_table_are_no_data() -> None:
    assert scl_state(np.array([[99, 300, 65535]], np.uint16), clear=(4,)).tolist() == [[M, N, N]]


def test_quality_bits() -> None:
    bits = np.array([1, 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5, 1 << 6, 1 << 7, 21824, 22280, 0b1001], np.uint16)
    assert qa_pixel_state(bits).tolist() == [N, M, M, M, M, U, U, U, U, M, N]


def test_opacity() -> None:
    assert alpha_state(np.array([0, 1, 255], np.uint8)).tolist() == [N, U, U]


def test_any_band_of_fill_is_no_data() -> None:
    values = np.array([[[5, 0, 5], [5, 5, 5]], [[5, 5, 0], [5, 5, 5]]], np.uint16)
    assert fill_state(values, None, fill=0).tolist() == [[U, N, N], [U, U, U]]
    assert fill_state(values, None, fill=None).tolist() == [[U, U, U], [U, U, U]]
    covered = np.array([[True, True, True], [False, True, True]])
    assert fill_state(values, covered, fill=None).tolist() == [[U, U, U], [N, U, U]]


def test_edges_of_a_cloud_are_taken_off() -> None:
    drawn = """
        .......
        .......
        ...M...
        .......
        .....N.
        .......
        .......
    """
    codes = {".": U, "M": M, "N": N}
    state = np.array([[codes[c] for c in line] for line in drawn.split()], np.uint8)
    expected = """
        .MMM.
        .MMM.
        .MMNN
        ...NN
        ...NN
    """
    names = {U: ".", M: "M", N: "N"}
    got = ["".join(names[State(v)] for v in row) for row in edges_off(state, radius_px=1)]
    assert got == expected.split()


def test_radius_zero_changes_nothing() -> None:
    state = np.array([[U, M], [N, U]], np.uint8)
    assert (edges_off(state, radius_px=0) == state).all()


def test_a_clear_window_stays_usable_to_its_edges() -> None:
    assert (edges_off(np.full((20, 30), U, np.uint8), radius_px=3) == np.full((14, 24), U)).all()
    # One spoiled pixel in the border reaches in, one in the corner of the border spoils one pixel.
    state = np.full((20, 30), U, np.uint8)
    state[0, 0] = M
    assert np.argwhere(edges_off(state, radius_px=3) != U).tolist() == [[0, 0]]


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_edges_off_equals_the_definition(radius: int) -> None:
    rng = np.random.default_rng(radius)
    state = rng.choice([U, M, N], (30, 25), p=[0.94, 0.04, 0.02]).astype(np.uint8)
    before = state.copy()
    out = edges_off(state, radius_px=radius)
    assert (state == before).all()
    for r, c in np.ndindex(out.shape):
        square, own = state[r : r + 2 * radius + 1, c : c + 2 * radius + 1], state[r + radius, c + radius]
        expected = own if own != U or (square == U).all() else N if (square == N).any() else M
        assert out[r, c] == expected


@pytest.mark.compiled
def test_compiled_kernels_equal_their_python() -> None:
    rng = np.random.default_rng(0)
    state = rng.choice([U, M, N], (40, 40), p=[0.9, 0.05, 0.05]).astype(np.uint8)
    values = rng.integers(0, 4, (3, 40, 40)).astype(np.uint16)
    results = []
    for trim, clear in ((trim_edges, clear_fill), (trim_edges.py_func, clear_fill.py_func)):
        out, other = np.empty((36, 36), np.uint8), state.copy()
        trim(state, 2, np.empty((40, 36), np.uint8), out)
        clear(values, 0.0, other)
        results.append((out, other))
    assert (results[0][0] == results[1][0]).all() and (results[0][1] == results[1][1]).all()


def test_two_dates_join_to_the_worse() -> None:
    before = np.array([[U, U, M, M, N]], np.uint8)
    after = np.array([[U, M, U, N, M]], np.uint8)
    assert pair_state(before, after, None).tolist() == [[U, M, M, N, N]]
    inside = np.array([[False, True, True, True, True]])
    assert pair_state(before, after, inside)[0, 0] == State.OUTSIDE


def test_texture_of_a_drawn_window() -> None:
    values = np.zeros((3, 3, 3), np.uint8)
    values[:, 1, 1] = 9
    mean_r, mean_g, mean_b, spread = texture_features(values, side_px=3)[:, 0, 0]
    assert mean_r == mean_g == mean_b == 64
    assert spread == round(64 * np.std([0] * 8 + [9]))


def test_texture_features_of_a_cut_equal_the_whole() -> None:
    rng = np.random.default_rng(4)
    image = rng.integers(0, 256, (3, 80, 70)).astype(np.uint8)
    whole = texture_features(image, side_px=5)
    part = texture_features(image[:, 20:54, 10:44], side_px=5)
    assert (part == whole[:, 20:50, 10:40]).all()
    for row, col in [(0, 0), (33, 21), (75, 65)]:
        window = image[:, row : row + 5, col : col + 5].astype(float)
        assert whole[0, row, col] == np.floor(64 * window[0].mean() + 0.5)
        assert whole[3, row, col] == pytest.approx(64 * window.mean(axis=0).std(), abs=1)


def by_windows(values: np.ndarray, side: int) -> np.ndarray:
    """The same features square by square, in exact whole numbers as far as they go."""
    scale, bands = FEATURE_SCALE if values.dtype == np.uint8 else 1, len(values)
    squares = np.lib.stride_tricks.sliding_window_view(values.astype(object), (side, side), axis=(1, 2))
    out = np.empty((bands + 1, *squares.shape[1:3]), np.uint16)
    for row, col in np.ndindex(out.shape[1:]):
        own = squares[:, row, col].reshape(bands, -1)
        for band in range(bands):
            out[band, row, col] = min(np.floor(int(own[band].sum()) * scale / side**2 + 0.5), 65535)
        grey = own.sum(axis=0)
        varied = side**2 * int((grey * grey).sum()) - int(grey.sum()) ** 2
        out[bands, row, col] = min(np.floor(varied**0.5 / (side**2 * bands) * scale + 0.5), 65535)
    return out


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(
    ("bands", "side", "shape"), [(3, 5, (12, 19)), (1, 3, (3, 7)), (4, 9, (10, 9)), (2, 1, (4, 5))]
)
def test_texture_features_square_by_square(dtype: str, bands: int, side: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(8)
    most = np.iinfo(dtype).max
    for values in (
        rng.integers(0, most, (bands, *shape), dtype, endpoint=True),
        np.full((bands, *shape), most, dtype),
        rng.choice(np.array([0, most], dtype), (bands, *shape)),
    ):
        assert (texture_features(values, side_px=side) == by_windows(values, side)).all()


@pytest.mark.compiled
def test_texture_features_are_the_same_interpreted() -> None:
    values = np.random.default_rng(6).integers(0, 256, (3, 14, 11)).astype(np.uint8)
    interpreted = np.empty((4, 10, 7), np.uint16)
    mean_and_spread.py_func(values, 5, FEATURE_SCALE, interpreted)
    assert (interpreted == texture_features(values, side_px=5)).all()
