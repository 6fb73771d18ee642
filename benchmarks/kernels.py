"""Each compiled kernel against its plain form, in turn in one run; a kernel stays only while it wins.

``python benchmarks/kernels.py`` prints medians in milliseconds for one block of 512 × 512 pixels and the ratio; then the rate
of the scoring kernel, and what it takes to turn a flagged image into valid polygons beside rasterio's sieve and shapes, with
equal areas.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import scipy
import shapely
from affine import Affine
from rasterio import features
from scipy import ndimage
from scipy.ndimage import distance_transform_edt
from scipy.special import gammaincc
from skimage import morphology

from ecowatch.codes import State
from ecowatch.detect import block_runs, detect_block, fit_ir_mad, sample_score
from ecowatch.detect._fit_kernels import chi2_exceeded
from ecowatch.detect._kernels import flag_turns, score_block
from ecowatch.detect.stable import quantile
from ecowatch.grid import Grid
from ecowatch.patches import connected, grouped, outlines_of_groups
from ecowatch.patches._look_kernels import within_patch
from ecowatch.patches._shape_kernels import squared_depth, thin
from ecowatch.prepare import edges_off, scl_state, shifted, texture_features
from turns import in_turn, keep, median, ratio, table

SIDE, BANDS, ROUNDS = 512, 6, 15
RNG = np.random.default_rng(1)
IMAGE_PX, LEAST_PX = 2745, 9
GRID = Grid.from_parts("EPSG:32650", Affine(1, 0, 0, 0, -1, 0), (IMAGE_PX, IMAGE_PX))
# A flagged image by itself has neither scores nor bands; their zeros are not part of the path.
NO_SCORE, NO_BANDS = np.zeros((IMAGE_PX, IMAGE_PX), np.float32), np.zeros((0, IMAGE_PX, IMAGE_PX), np.uint8)
LIMITS = {"weak": 20.0, "strong": 40.0, "fills": (0.0, 0.0), "reach_px": 1, "row0": 0, "col0": 0}

Form = Callable[[], object]


def pair() -> tuple[np.ndarray, np.ndarray]:
    """Two dates of uint16 numbers with noise and one changed corner."""
    before = ndimage.gaussian_filter(RNG.normal(2000, 800, (BANDS, SIDE, SIDE)), (0, 2, 2)).astype(np.uint16)
    after = (before + RNG.integers(0, 60, before.shape)).astype(np.uint16)
    after[:, :60, :60] += 900
    return before, after


def score_forms() -> tuple[Callable[[], object], Callable[[], object]]:
    """The fused pass (numbers to run-lengths) and the same arithmetic in NumPy, without the runs."""
    before, after = pair()
    flat = [image.reshape(BANDS, -1) * 1e-4 for image in (before, after)]
    fitted = fit_ir_mad(*(f[:, ::7] for f in flat), max_iterations=10, tolerance=1e-3)
    weights = fitted.for_numbers(((1e-4, 0.0),) * BANDS, ((1e-4, 0.0),) * BANDS)

    def compiled() -> object:
        return detect_block(before, after, np.ones((SIDE, SIDE), np.uint8), weights=weights, **LIMITS)

    def plain() -> object:
        x, y = (image.reshape(BANDS, -1) * np.float32(1e-4) for image in (before, after))
        valid = (before != 0).all(axis=0) & (after != 0).all(axis=0)
        return (sample_score(fitted, x, y).reshape(SIDE, SIDE) > 20) & valid

    return compiled, plain


def edge_forms() -> tuple[Callable[[], object], Callable[[], object]]:
    """Edges off, and SciPy's erosion of the same mask."""
    state = np.where(RNG.random((SIDE + 4, SIDE + 4)) < 0.001, 2, 1).astype(np.uint8)
    return lambda: edges_off(state, radius_px=2), lambda: ndimage.binary_erosion(state == 1, np.ones((5, 5)))


def class_forms() -> tuple[Callable[[], object], Callable[[], object]]:
    """States of scene classes, and the same by a table in NumPy."""
    classes = RNG.choice(np.array([4, 5, 8, 9], np.uint8), (SIDE, SIDE))
    table = np.full(256, State.MASKED, np.uint8)
    table[[4, 5]] = State.USABLE
    return lambda: scl_state(classes, clear=(4, 5)), lambda: np.take(table, classes)


def shift_forms() -> tuple[Callable[[], object], Callable[[], object]]:
    """Cubic convolution of six bands, and SciPy's cubic spline shift."""
    values = RNG.integers(1, 4000, (BANDS, SIDE + 6, SIDE + 6)).astype(np.uint16)
    return (
        lambda: shifted(values, None, shift_px=(0.35, -0.25), pad_px=3, fill=0),
        lambda: [ndimage.shift(band.astype(np.float32), (-0.35, 0.25), order=3) for band in values],
    )


def texture_forms() -> tuple[Form, Form]:
    """Means and spread over squares of five pixels of a picture, and SciPy's moving means of the same."""
    values = RNG.integers(0, 255, (3, SIDE + 4, SIDE + 4)).astype(np.uint8)

    def plain() -> object:
        bands = [ndimage.uniform_filter(band.astype(np.float64), 5) for band in values]
        grey = values.astype(np.float64).mean(axis=0)
        spread = ndimage.uniform_filter(grey * grey, 5) - ndimage.uniform_filter(grey, 5) ** 2
        return bands, np.sqrt(np.maximum(spread, 0))

    return lambda: texture_features(values, side_px=5), plain


def label_forms() -> tuple[Callable[[], object], Callable[[], object]]:
    """Connected runs, and SciPy's labelling of the raster they stand for."""
    image = ndimage.gaussian_filter(RNG.standard_normal((SIDE, SIDE)), 2) > 0.35
    edges = np.diff(np.pad(image.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    first, last = np.argwhere(edges == 1), np.argwhere(edges == -1)
    runs = np.column_stack([first, last[:, 1]]).astype(np.int32)
    return lambda: connected(runs), lambda: ndimage.label(image, np.ones((3, 3)))


def depth_forms() -> tuple[Form, Form]:
    """Depth inside a patch, and SciPy's distance transform."""
    inside = patch_image()
    return lambda: squared_depth(inside, np.empty(inside.shape, np.int32)), lambda: distance_transform_edt(inside)


def thin_forms() -> tuple[Form, Form]:
    """Thinning, and scikit-image's by the same rule."""
    inside = patch_image()
    return lambda: thin(inside.astype(np.uint8)), lambda: morphology.thin(inside)


def patch_image() -> np.ndarray:
    """A ragged patch over a fifth of the window, an empty border around it."""
    image = ndimage.gaussian_filter(RNG.standard_normal((SIDE, SIDE)), 8) > 0.03
    image[[0, -1]] = image[:, [0, -1]] = False
    labels, _ = ndimage.label(image)
    return labels == np.bincount(labels.ravel())[1:].argmax() + 1


def facts_forms() -> tuple[Form, Form]:
    """What the second look measures inside a patch, and the same in NumPy."""
    before, after = (values.astype(np.float32) * np.float32(1e-4) for values in pair())
    core, means, told = patch_image(), np.empty((2, BANDS)), np.empty(7)

    def plain() -> object:
        first, second = before[:, core], after[:, core]
        grey = first.mean(axis=0, dtype=np.float64), second.mean(axis=0, dtype=np.float64)
        change = (second - first).mean(axis=0, dtype=np.float64)
        at_top = [((values >= 0.99).sum(axis=0) >= 2).mean() for values in (first, second)]
        together = np.mean((grey[0] - grey[0].mean()) * (grey[1] - grey[1].mean()))
        return first.mean(axis=1), second.mean(axis=1), at_top, grey[0].std(), grey[1].std(), together, change.std()

    return lambda: within_patch(before, after, core, np.float32(0.99), means, told), plain


def water_forms() -> tuple[Form, Form]:
    """Land that became water and water that became land, and the same in NumPy."""
    before, after = pair()
    bands, wet, dry = np.array([3, 4, 5]), np.full((2, 3), 1000), np.full((2, 3), 2000)
    state = np.ones((SIDE, SIDE), np.uint8)

    def plain() -> object:
        sides = [((date[bands] < 1000).all(axis=0), (date[bands] > 2000).all(axis=0)) for date in (before, after)]
        return ((sides[0][0] & sides[1][1]) | (sides[0][1] & sides[1][0])) & ((state == 1) | (state == 4))

    return lambda: flag_turns(before, after, bands, wet, dry, state.copy()), plain


def chance_forms() -> tuple[Form, Form]:
    """Probability under the χ² law of six variates, and SciPy's incomplete gamma function."""
    squares = RNG.chisquare(BANDS, SIDE**2)
    out = np.empty(squares.size)
    return lambda: chi2_exceeded(squares, BANDS, out), lambda: gammaincc(BANDS / 2, squares / 2)


def quantile_forms() -> tuple[Form, Form]:
    """The lower quartile of a small area's sample, as a fit asks it some dozen times; not compiled, beside NumPy's own."""
    squares = RNG.chisquare(BANDS, 2700)
    return lambda: quantile(squares, 0.25), lambda: np.quantile(squares, 0.25)


def scoring() -> Form:
    """The fused scoring kernel alone, on arrays that are warm: numbers to score and flags."""
    before, after = pair()
    flat = [image.reshape(BANDS, -1) * 1e-4 for image in (before, after)]
    fitted = fit_ir_mad(*(f[:, ::7] for f in flat), max_iterations=10, tolerance=1e-3)
    weights = fitted.for_numbers(((1e-4, 0.0),) * BANDS, ((1e-4, 0.0),) * BANDS)
    state, score = np.ones((SIDE, SIDE), np.uint8), np.empty((SIDE, SIDE), np.float32)
    limits = np.float32(20), np.float32(40)

    def run() -> None:
        state[:] = State.USABLE
        score_block(before, after, 0.0, 0.0, (True, True), *weights, *limits, state, score)

    return run


def flagged_image() -> np.ndarray:
    """Four per cent of an image flagged: large groups with ragged rims and much salt, as a noisy pair gives."""
    smooth = ndimage.gaussian_filter(RNG.standard_normal((IMAGE_PX, IMAGE_PX)), 3)
    smooth += RNG.standard_normal(smooth.shape) * smooth.std() * 0.6
    return (smooth > np.quantile(smooth, 0.96)).astype(np.uint8)


def our_polygons(image: np.ndarray) -> np.ndarray:
    """Runs, groups, outlines: the path of a review, holes kept."""
    # In bytes: a choice by numpy.where takes a sixth of all that follows.
    state = image * np.uint8(State.STRONG - State.USABLE) + np.uint8(State.USABLE)
    found = block_runs(NO_SCORE, state, NO_BANDS, NO_BANDS, row0=0, col0=0)
    groups = grouped(found.runs, found.sums, min_strong_px=0, min_px=LEAST_PX)
    return outlines_of_groups(groups.runs, groups.bounds, GRID, max_hole_m2=0.0)


def sieve_shapes(image: np.ndarray) -> list[dict[str, object]]:
    """The path of a user of rasterio: small groups sieved off, the rest traced; holes that the sieve fills are cut out."""
    sieved = features.sieve(image, LEAST_PX, connectivity=8)
    return [shape for shape, _ in features.shapes(image, mask=(sieved & image) == 1, connectivity=8)]


def polygon_areas(ours: np.ndarray, theirs: Sequence[dict[str, object]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the areas of both, sorted; theirs without groups that only a hole of another one kept."""
    areas = [np.sort(shapely.area(ours)), np.sort(shapely.area([shapely.geometry.shape(s) for s in theirs]))]
    return areas[0], areas[1][areas[1] >= LEAST_PX]


def timed(form: Form) -> Callable[[], float]:
    """Return a case that carries out `form` and returns its milliseconds."""

    def case() -> float:
        # All of this is one thread: its own time does not count what others do on the machine.
        start = time.thread_time()
        form()
        return (time.thread_time() - start) * 1e3

    return case


def compared(forms: Sequence[Form], rounds: int) -> tuple[float, float, float]:
    """Return medians of two forms in milliseconds, and the paired ratio of the second to the first."""
    cases = dict(zip(("ours", "plain"), map(timed, forms), strict=True))
    in_turn(cases, 1)
    found = in_turn(cases, rounds)
    return median(found["ours"]), median(found["plain"]), ratio(found["plain"], found["ours"])


def main() -> None:
    """Measure in turn, print the tables, keep the figures."""
    cases = {
        "score, flags, runs": score_forms(),
        "scene classes": class_forms(),
        "edges off": edge_forms(),
        "cubic shift": shift_forms(),
        "means and spread": texture_forms(),
        "connected runs": label_forms(),
        "water turns": water_forms(),
        "depth of a patch": depth_forms(),
        "thinning": thin_forms(),
        "facts within a patch": facts_forms(),
        "chi-square law": chance_forms(),
        "quantile": quantile_forms(),
    }
    rows: list[list[str | float]] = [[name, *compared(forms, ROUNDS)] for name, forms in cases.items()]
    title = f"Kernels beside their plain forms, scipy {scipy.__version__}; medians of {ROUNDS}, ms a block of {SIDE} x {SIDE}"
    table(title, rows, ("kernel", "compiled", "plain", "ratio"))
    score = timed(scoring())
    rate = SIDE**2 / 1e3 / median([score() for _ in range(4 * ROUNDS)][ROUNDS:])
    image = flagged_image()
    ours, theirs = our_polygons(image), sieve_shapes(image)
    assert shapely.is_valid(ours).all(), "some of our polygons are not valid"
    assert np.array_equal(*polygon_areas(ours, theirs)), "the areas differ"
    one, other, polygons = compared((lambda: our_polygons(image), lambda: sieve_shapes(image)), ROUNDS)
    valid = shapely.is_valid([shapely.geometry.shape(s) for s in theirs]).mean()
    told: list[list[str | float]] = [
        ["score kernel, 6 bands, 2 dates, one core", f"{rate:.0f} Mpx/s"],
        [f"flagged image {IMAGE_PX}^2 -> {len(ours)} valid polygons", f"{one:.0f} ms"],
        [f"rasterio sieve + shapes, the same areas, {valid:.1%} valid", f"{other:.0f} ms, {polygons:.1f} x ours"],
    ]
    table("Kernel rate, and flags to polygons; medians", told, ("what", "figure"))
    keep({"kernel_mpx_s": rate, "polygons_over_sieve_shapes": polygons})


if __name__ == "__main__":
    main()
