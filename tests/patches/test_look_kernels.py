"""The compiled second look against the same facts written with NumPy, SciPy, shapely and scikit-image, on random windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra
from skimage import morphology

from ecowatch.codes import State
from ecowatch.patches import Candidate, Look
from ecowatch.patches._context_kernels import mark_parts, mark_spans, second_peak
from ecowatch.patches._look_kernels import main_axis, squared_gap
from ecowatch.patches._shape_kernels import (
    greatest_squared_depth,
    longest_path,
    smallest_rectangles,
    squared_depth,
    squared_depth_at,
    thin,
    walk_from,
)
from ecowatch.patches.context import cover_shares, regularity
from ecowatch.patches.second_look import Facts

pytestmark = pytest.mark.kernels

Array = np.ndarray[Any, Any]
ROLES = ("blue", "green", "red", "nir", "swir1", "swir2")
SEEDS = range(12)


def blob(rng: np.random.Generator, shape: tuple[int, int], *, border_px: int = 0) -> Array:
    """One 8-connected patch of a random shape."""
    inner = tuple(n - 2 * border_px for n in shape)
    while True:
        labels, count = ndimage.label(
            ndimage.gaussian_filter(rng.standard_normal(inner), rng.uniform(0.4, 3)) > 0.1, np.ones((3, 3))
        )
        if count:
            return np.pad(labels == rng.integers(1, count + 1), border_px)


def runs_of(image: Array) -> Array:
    rows = []
    for y in np.flatnonzero(image.any(axis=1)):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], image[y].astype(int), [0]])))
        rows += [(y, a, b) for a, b in edges.reshape(-1, 2)]
    return np.array(rows, np.int32)


@pytest.mark.parametrize("seed", SEEDS)
def test_distances_are_those_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inside = blob(rng, (23, 31))
    gap, depth, parts = (np.empty(inside.shape, kind) for kind in (np.uint8, np.int32, np.uint8))
    squared_gap(inside, gap)
    outside = np.rint(ndimage.distance_transform_edt(~inside) ** 2)
    assert np.array_equal(gap, np.where(outside <= 4, outside, 9))
    squared_depth(inside, depth)
    assert np.array_equal(depth, np.rint(ndimage.distance_transform_edt(inside) ** 2))
    cells = np.flatnonzero(inside)
    found = np.empty(len(cells), np.int64)
    squared_depth_at(inside, cells, found)
    assert np.array_equal(found, depth.flat[cells])
    assert greatest_squared_depth(inside) == np.rint(ndimage.distance_transform_edt(np.pad(inside, 1)).max() ** 2)
    valid = rng.random(inside.shape) > 0.2
    mark_parts(inside, valid, 3, parts)
    ring = ndimage.binary_dilation(inside, iterations=3) & ~inside & valid
    assert np.array_equal(parts, np.select([inside & valid, ring], [1, 2]))


def test_depth_of_a_window_that_is_all_inside_is_beyond_it() -> None:
    inside, depth = np.ones((4, 6), bool), np.empty((4, 6), np.int32)
    squared_depth(inside, depth)
    assert depth.min() > 6**2
    # What is beyond the window counts as outside where the width of a patch is asked.
    assert greatest_squared_depth(inside) == 2**2


@pytest.mark.parametrize("shape", [(2, 3), (9, 2), (1, 8)])
def test_a_ring_reaches_no_further_than_a_small_window(shape: tuple[int, int]) -> None:
    inside, parts = np.zeros(shape, bool), np.empty(shape, np.uint8)
    inside[0, 0] = True
    mark_parts(inside, np.ones(shape, bool), 3, parts)
    steps = np.add(*np.indices(shape))
    assert np.array_equal(parts, np.select([steps == 0, steps <= 3], [1, 2]))


@pytest.mark.parametrize("seed", SEEDS)
def test_thinning_is_that_of_guo_and_hall(seed: int) -> None:
    image = blob(np.random.default_rng(seed), (40, 50), border_px=1)
    thinned = image.astype(np.uint8)
    thin(thinned)
    assert np.array_equal(thinned, morphology.thin(image))
    # What was connected stays so.
    assert ndimage.label(thinned, np.ones((3, 3)))[1] == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_walks_are_as_long_as_the_shortest_paths(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells = blob(rng, (20, 24), border_px=1).astype(np.uint8)
    flat = np.flatnonzero(cells)
    taken = np.zeros(cells.size, np.uint8)
    taken[rng.choice(flat, min(3, len(flat)), replace=False)] = 1
    steps, came = np.empty(cells.size, np.int32), np.empty(cells.size, np.int64)
    tip = walk_from(cells, taken, steps, came, np.empty(len(flat), np.int64))
    pairs = [(a, a + d) for d in (1, 24, 25, 23) for a in flat if cells.flat[min(a + d, cells.size - 1)]]
    one, two = np.array(pairs, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(one)), (one, two)), shape=(cells.size, cells.size)).tocsr()
    far = dijkstra(graph, directed=False, indices=np.flatnonzero(taken), unweighted=True, min_only=True)
    assert np.array_equal(steps[flat], far[flat]) and steps[tip] == far[flat].max()
    moved = flat[steps[flat] > 0]
    assert (steps[came[moved]] == steps[moved] - 1).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_longest_path_is_walked_step_by_step_and_no_shorter_than_any(seed: int) -> None:
    cells = blob(np.random.default_rng(seed), (30, 34), border_px=1).astype(np.uint8)
    thin(cells)
    flat = np.flatnonzero(cells)
    path = np.empty(len(flat), np.int64)
    path = path[: longest_path(cells, path)]
    rows, cols = np.divmod(path, cells.shape[1])
    assert cells.flat[path].all() and len(np.unique(path)) == len(path)
    assert (np.maximum(abs(np.diff(rows)), abs(np.diff(cols))) == 1).all()
    taken, steps = np.zeros(cells.size, np.uint8), np.empty(cells.size, np.int32)
    taken[path[0]] = 1
    walk_from(cells, taken, steps, np.empty(cells.size, np.int64), np.empty(len(flat), np.int64))
    assert steps.max() == len(path) - 1


@pytest.mark.parametrize("seed", SEEDS)
def test_the_main_axis_is_that_of_the_eigenvectors(seed: int) -> None:
    inside = blob(np.random.default_rng(seed), (23, 31))
    told = np.empty(3)
    main_axis(inside, told)
    points = np.argwhere(inside) - np.argwhere(inside).mean(axis=0)
    spread, axes = np.linalg.eigh(points.T @ points / len(points))
    along = points @ [np.cos(told[2]), np.sin(told[2])]
    assert told[0] == pytest.approx(np.ptp(along) + 1)
    assert told[1] == pytest.approx(np.sqrt(max(spread[0], 0)), abs=1e-6)
    # As wide as it is long, it has no axis.
    assert spread[1] < spread[0] + 1e-6 or abs(
        np.cos(told[2]) * axes[0, 1] + np.sin(told[2]) * axes[1, 1]
    ) == pytest.approx(1)


@pytest.mark.parametrize(("width", "height"), [(1.0, 1.0), (10.0, 10.0), (0.7, 1.3)])
def test_rectangles_are_the_smallest(width: float, height: float) -> None:
    rng = np.random.default_rng(7)
    runs = [runs_of(blob(rng, (30, 30))) for _ in range(40)]
    sides = np.empty((len(runs), 2))
    bounds = np.concatenate([[0], np.cumsum([len(r) for r in runs])])
    smallest_rectangles(np.concatenate(runs), bounds, width, height, sides)
    for own, (long, short) in zip(runs, sides, strict=True):
        corners = [(x * width, (y + step) * height) for y, a, b in own for x in (a, b) for step in (0, 1)]
        assert long * short == pytest.approx(shapely.MultiPoint(corners).minimum_rotated_rectangle.area)
        assert long >= short


def test_of_equal_rectangles_the_compact_one_counts() -> None:
    corner_off = np.ones((4, 4), bool)
    corner_off[0, 0] = corner_off[3, 3] = False
    sides = np.empty((1, 2))
    runs = runs_of(corner_off)
    smallest_rectangles(runs, np.array([0, len(runs)]), 1.0, 1.0, sides)
    assert sides[0] == pytest.approx([4, 4])


def window(seed: int) -> tuple[Candidate, Array, Array]:
    """A candidate on rough ground, moved a little, with gaps; its core and the ground around it."""
    rng = np.random.default_rng(seed)
    shape = (48, 52)
    inside = blob(rng, shape, border_px=12)
    ground = ndimage.gaussian_filter(rng.standard_normal((6, *shape)), (0, 1.5, 1.5)) * 0.05 + 0.2
    after = ground + rng.normal(0, 0.004, ground.shape) + inside * rng.uniform(-0.1, 0.3, (6, 1, 1))
    states = [np.where(rng.random(shape) < 0.05, State.MASKED, State.USABLE).astype(np.uint8) for _ in range(2)]
    candidate = Candidate(
        roles=ROLES,
        inside=inside,
        pixel_m=10.0,
        before=Look(ground.astype(np.float32), states[0]),
        after=Look(after.astype(np.float32), states[1]),
        earlier=(),
        later=(),
        rectangularity=0.5,
        elongation=1.0,
        shift_px=30.0,
        sun_apart_deg=None,
        time=None,
    )
    usable = (states[0] == State.USABLE) & (states[1] == State.USABLE)
    return candidate, inside & usable, usable & (ndimage.distance_transform_edt(~inside) > 2)


def levelled(c: Candidate, ground: Array) -> Array:
    delta = c.after.values.astype(np.float64) - c.before.values
    return delta - np.median(delta[:, ground], axis=1)[:, None, None]


@pytest.mark.parametrize("seed", SEEDS)
def test_facts_are_those_of_numpy(seed: int) -> None:
    c, core, ground = window(seed)
    f = Facts(c, slack_px=0.5, alike=0.08, gap_px=4, saturated=0.3)
    before, after = c.before.values[:, core].astype(np.float64), c.after.values[:, core].astype(np.float64)
    assert list(f.before.values()) == pytest.approx(before.mean(axis=1), abs=1e-4)
    assert list(f.after.values()) == pytest.approx(after.mean(axis=1), abs=1e-4)
    assert f.saturated_after == pytest.approx(((after >= np.float32(0.3)).sum(axis=0) >= 2).mean())
    grey = before.mean(axis=0), after.mean(axis=0)
    if core.sum() >= 16:
        assert f.texture_kept == pytest.approx(np.corrcoef(*grey)[0, 1], abs=1e-5)
        assert f.texture_gain == pytest.approx(grey[1].std() / grey[0].std(), rel=1e-5)
    else:
        assert f.texture_kept is None and f.texture_gain is None
    change = grey[1] - grey[0]
    assert f.offset_noise == pytest.approx(change.std() / abs(change.mean()), rel=1e-4)
    like = ground & (np.abs(c.before.values - before.mean(axis=1).round(4)[:, None, None]).max(axis=0) <= 0.08)
    assert abs(f.alike_px - like.sum()) <= 1
    if like.sum() >= 21:
        assert list(f.alike_after.values()) == pytest.approx(np.median(c.after.values[:, like], axis=1), abs=1e-3)
    assert f.width_px == pytest.approx(2 * ndimage.distance_transform_edt(np.pad(c.inside, 1)).max() - 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_step_at_the_rim_is_that_of_numpy(seed: int) -> None:
    c, core, ground = window(seed)
    f = Facts(c, slack_px=0.5, alike=0.08, gap_px=4, saturated=0.3)
    depth, outside = ndimage.distance_transform_edt(core), ndimage.distance_transform_edt(~c.inside)
    middle, rim = depth >= 3, core & (depth < 1.5)
    usable = (c.before.state == State.USABLE) & (c.after.state == State.USABLE)
    beyond = usable & (outside > 0) & (outside < 1.5)
    if middle.sum() < 4:
        assert f.sharpness is None
        return
    delta = levelled(c, ground)
    main = delta[:, middle].mean(axis=1)
    along = np.tensordot(main / np.linalg.norm(main), delta, axes=1)
    height = np.median(along[middle]) - np.median(along[ground])
    assert f.sharpness == pytest.approx((np.median(along[rim]) - np.median(along[beyond])) / height, rel=1e-5)


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_what_a_displacement_explains_is_that_of_scipy(seed: int) -> None:
    c, core, ground = window(seed)
    c = Candidate(**(vars(c) | {"shift_px": 8.0}))
    f = Facts(c, slack_px=0.5, alike=0.08, gap_px=4, saturated=0.3)
    if f.width_px > 18:
        assert f.explained is None
        return
    still = (levelled(c, ground)[:, core] ** 2).sum()
    least = still
    for angle in np.arange(8) * np.pi / 4:
        for length in (4.25, 8.5):
            step = (0, np.sin(angle) * length, np.cos(angle) * length)
            rest = c.after.values - ndimage.shift(c.before.values.astype(float), step, order=1, mode="nearest")
            rest -= np.median(rest[:, ground], axis=1)[:, None, None]
            least = min(least, (rest[:, core] ** 2).sum())
    assert f.explained == pytest.approx(1 - least / still, abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_covers_are_those_of_numpy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.uniform(0, 0.6, (6, 20, 20)).astype(np.float32)
    parts, dark = rng.integers(0, 3, (20, 20)).astype(np.uint8), np.full(6, 0.02, np.float32)
    parts[5:8] = 0
    for part, shares in zip((1, 2), cover_shares(values, parts, ROLES, dark=dark), strict=True):
        blue, green, red, nir, *short = (values - dark[:, None, None])[:, parts == part]
        assert shares == pytest.approx(
            {
                "water": (green > np.max([nir, *short], axis=0)).mean(),
                "vegetation": (nir - red > np.float32(0.35) * (nir + red)).mean(),
                "bright": ((green + red + blue) / np.float32(3) > np.float32(0.25)).mean(),
            },
            abs=6e-4,
        )


@pytest.mark.parametrize("seed", SEEDS[:6])
def test_regularity_is_that_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inside = blob(rng, (60, 70), border_px=3)
    values = (rng.normal(0.2, 0.02, (3, 60, 70)) + 0.05 * (np.arange(70) % 7 < 3)).astype(np.float32)
    rows, cols = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if min(len(rows), len(cols)) < 12:
        assert regularity(values, inside) == 0
        return
    part = np.s_[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    within, grey = inside[part].astype(float), values.mean(axis=0, dtype=np.float64)[part]
    smooth = ndimage.gaussian_filter(grey * within, 4.0) / np.maximum(ndimage.gaussian_filter(within, 4.0), 1e-6)
    detail = (grey - smooth) * within
    diagonals = [[np.trace(d, k) for k in range(1 - len(rows), len(cols))] for d in (detail, detail[:, ::-1])]
    peaks = []
    for profile in (detail.sum(axis=0), detail.sum(axis=1), *map(np.array, diagonals)):
        course = profile - profile.mean()
        lags = np.correlate(course, course, "full")[len(course) - 1 :][: len(course) // 2] / (course @ course)
        negative = np.flatnonzero(lags < 0)
        peaks.append(max(lags[negative[0] :].max(), 0.0) if len(negative) else 0.0)
    assert regularity(values, inside) == pytest.approx(max(peaks), abs=0.011)


def test_spans_and_regularity_of_a_patch_cut_apart() -> None:
    inside = np.zeros((50, 40), bool)
    inside[3:17, 5:30] = inside[30:48, 8:38] = True
    inside[5, 10:20] = False
    spans = np.empty((50, 2), np.int64)
    mark_spans(inside, spans)
    assert spans[[0, 3, 5, 20, 40, 49]].tolist() == [[0, 0], [5, 30], [5, 30], [0, 0], [8, 38], [0, 0]]
    values = np.tile((np.arange(40) % 5 < 2).astype(np.float32), (1, 50, 1))
    assert regularity(values, inside) > 0.5


def test_a_course_without_a_trough_has_no_peak() -> None:
    assert second_peak(np.ones(20)) == 0
    assert second_peak(np.tile([0.0, 1.0, 0.0, 0.0], 6)) > 0.7
