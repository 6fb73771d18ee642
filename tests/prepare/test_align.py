"""Shift between dates: measured on synthetic displacements, applied, refused where it cannot be told."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.warp import Resampling, reproject
from scipy import ndimage as ndi

from ecowatch.prepare import PlacedShift, ShiftField, align, fit_field, shifted, support_px, window_shift
from ecowatch.prepare._align_kernels import (
    leading_peaks,
    moved_correlation,
    overlap_correlations,
    slope_sums,
    slopes_of,
    standard_images,
)
from ecowatch.prepare._kernels import cubic_weights


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


@pytest.mark.parametrize("what", ["flat", "hidden"])
def test_nothing_to_measure(what: str) -> None:
    image = np.zeros((64, 64)) if what == "flat" else ground()[:64, :64]
    valid = np.full((64, 64), what == "flat")
    assert window_shift(image, image, valid).peak == 0.0


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


@pytest.mark.parametrize(("number", "beside"), [(65535, 65534), (0, 1), (4000, 4001)])
def test_a_true_value_never_becomes_fill(number: int, beside: int) -> None:
    """Between a brighter and a darker row the sample falls on the fill value, and is moved beside it."""
    image = np.full((1, 20, 20), number + 100 if number < 65000 else number - 1, np.uint16)
    image[0, 10:] = max(number - 100, 1) if number < 65000 else 65000
    out, _ = shifted(image, None, shift_px=(0.5, 0.0), pad_px=3, fill=number)
    assert (out != number).all()
    assert beside in out


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


def fields(seed: int, side: int = 300) -> np.ndarray:
    """Ground of fields with sharp borders, as a sensor with some blur sees it."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, side, (120, 2))
    rows, cols = np.mgrid[:side, :side]
    nearest = np.argmin((rows[..., None] - corners[:, 0]) ** 2 + (cols[..., None] - corners[:, 1]) ** 2, axis=-1)
    return ndi.gaussian_filter(rng.normal(1500, 350, 120)[nearest] + rng.normal(0, 60, (side, side)), 0.7)


def errors_px(image: np.ndarray, count: int, missed_px: int) -> list[float]:
    """Errors over displacements of 0-10 px: noise, other light, a fifth of the window under a cloud."""
    rng = np.random.default_rng(7)
    window = min(256, min(image.shape) - 28)
    errors = []
    for _ in range(count):
        length, angle = rng.uniform(0, 10), rng.uniform(0, 2 * np.pi)
        truth = length * np.sin(angle), length * np.cos(angle)
        part = (slice(14, 14 + window), slice(14, 14 + window))
        before, after = image[part], ndi.shift(image, truth, order=5, mode="reflect")[part]
        spread = before.std()
        after = rng.uniform(0.6, 1.5) * after + rng.uniform(-1, 1) * spread
        before, after = (v + rng.normal(0, 0.1 * spread, v.shape) for v in (before, after))
        cover = ndi.gaussian_filter(rng.standard_normal(after.shape), window / 12, mode="wrap")
        cloud = cover > np.quantile(cover, 0.8)
        after[cloud] = after.mean() + 4 * spread
        masked = ndi.binary_erosion(cloud, iterations=missed_px) if missed_px else cloud
        found = window_shift(before, after, ~masked)
        errors.append(float(np.hypot(found.row_px - truth[0], found.col_px - truth[1])))
    return errors


@pytest.mark.parametrize(("missed_px", "count"), [(0, 10), (2, 10), pytest.param(2, 200, marks=pytest.mark.slow)])
def test_displacements_up_to_ten_pixels_under_clouds(missed_px: int, count: int) -> None:
    errors = np.array(errors_px(fields(5), count, missed_px))
    assert np.sqrt(np.mean(errors**2)) < 0.1
    assert errors.max() < 0.4


@pytest.mark.parametrize(
    ("name", "band"), [("ms_landsat_taizhou/taizhou", 3), ("s2rgb_oscd/dubai", 1), ("s2rgb_oscd/abudhabi", 1)]
)
def test_displacements_of_real_ground(shared_data: Path, name: str, band: int) -> None:
    """Dubai repeats itself, Abu Dhabi is desert with few edges."""
    with rasterio.open(shared_data / "bitemporal" / f"{name}_t1.tif") as source:
        image = source.read(band).astype(float)[:400, :400]
    assert np.sqrt(np.mean(np.square(errors_px(image, 6, 0)))) < 0.05


def test_two_satellites_over_one_place(shared_data: Path) -> None:
    """Sentinel-2 at 10 m against Landsat 8 at 30 m: 8 m apart, less than half a metre once moved."""
    folder = shared_data / "coreg/homonim_ngi_s2_l8_modis/tests/data/reference"
    with (
        rasterio.open(folder / "sentinel2_b432_byte.tif") as fine,
        rasterio.open(folder / "landsat8_byte.tif") as coarse,
    ):
        before = fine.read(1).astype(float)
        after = np.zeros_like(before)
        # The files spell their CRS differently; it is one and the same.
        places = {"src_crs": fine.crs, "dst_crs": fine.crs, "dst_transform": fine.transform}
        red = coarse.read(4).astype(float)
        reproject(red, after, src_transform=coarse.transform, resampling=Resampling.cubic, **places)

    def field(later: np.ndarray) -> ShiftField | None:
        full = np.ones((256, 256), bool)
        parts = [(slice(y, y + 256), slice(x, x + 256)) for y in range(16, 1041, 256) for x in (16, 520)]
        shifts = [
            PlacedShift(p[0].start + 127.5, p[1].start + 127.5, window_shift(before[p], later[p], full)) for p in parts
        ]
        numbers = {"min_peak": 0.35, "max_shift_px": 5, "agree_px": 0.3, "min_agree": 3, "max_degree": 1}
        return fit_field(shifts, **numbers, min_gain_px=0.05, half_window_px=128)

    found = field(after)
    assert found is not None and found.believed >= 8 and found.measured == 10
    assert found.mean_px == pytest.approx((0.83, 0.25), abs=0.1)
    laid, _ = shifted(
        np.floor(np.pad(after, 3, mode="edge") + 0.5).astype(np.uint8)[None],
        None,
        shift_px=found.mean_px,
        pad_px=3,
        fill=None,
    )
    left = field(laid[0].astype(float))
    assert left is not None and left.length_px < 0.05 and left.rmse_px < 0.15


@pytest.mark.parametrize("position", [(0.3, -0.4), (3.25, 7.9), (-11.0, 2.5)])
def test_an_image_moved_axis_by_axis_is_that_of_scipy(position: tuple[float, float]) -> None:
    image = ndi.gaussian_filter(np.random.default_rng(6).standard_normal((60, 70)), 1.5)
    spline = align._spline(image)
    moved = ndi.shift(spline, -np.array(position), order=3, mode="nearest", prefilter=False)
    rim = align._RIM_PX
    assert align._moved(spline, image.shape, np.array(position)) == pytest.approx(
        moved[rim:-rim, rim:-rim], abs=1e-6 if min(position) < -10 else 1e-12
    )


def between_pixels(image: np.ndarray, position: tuple[float, float]) -> np.ndarray:
    """The image moved by `position`, linear between pixels, 0 beyond it."""
    return ndi.shift(image, -np.array(position), order=1, mode="constant", cval=0.0, prefilter=False)


@pytest.mark.parametrize("position", [(0.3, -0.4), (3.0, 7.9), (-11.2, 2.5)])
def test_slopes_and_differences_are_those_of_numpy(position: tuple[float, float]) -> None:
    rng = np.random.default_rng(8)
    reference, moved, valid = rng.random((40, 50)), rng.random((40, 50)), rng.random((40, 50)) > 0.05
    found = np.empty((3, reference.size))
    count = slopes_of(reference, moved, valid, position, 2, found)
    usable = valid & (between_pixels(valid.astype(float), position) > 0.999)
    usable[:2] = usable[-2:] = usable[:, :2] = usable[:, -2:] = False
    # The second of two pixels must be there, even where it has no weight.
    usable[39 - math.floor(position[0]) :] = usable[:, 49 - math.floor(position[1]) :] = False
    slopes = np.gradient((reference + moved) / 2)
    assert count == usable.sum() > 100
    assert found[:, :count] == pytest.approx(
        np.array([slopes[0][usable], slopes[1][usable], (moved - reference)[usable]])
    )


@pytest.mark.parametrize("offset", [(0, 0), (3, -7), (-20, 12)])
def test_correlations_of_overlaps_are_those_of_numpy(offset: tuple[int, int]) -> None:
    rng = np.random.default_rng(9)
    valid = rng.random((40, 50)) > 0.3
    a, b = rng.random((2, 40, 50)) * valid
    rows, cols = (np.arange(max(0, -o), min(n, n - o)) for o, n in zip(offset, a.shape, strict=True))
    here, there = np.ix_(rows, cols), np.ix_(rows + offset[0], cols + offset[1])
    both = valid[here] & valid[there]
    expected = np.corrcoef(a[here][both], b[there][both])[0, 1]
    found = np.empty(3)
    overlap_correlations(a, b, valid, np.array([offset, (38, 0), offset]), 100, found)
    assert found == pytest.approx([expected, -1, expected])


def test_correlation_of_a_moved_image_is_that_of_numpy() -> None:
    rng = np.random.default_rng(10)
    a, b, valid = rng.random((40, 50)), rng.random((40, 50)), rng.random((40, 50)) > 0.1
    usable = valid & (between_pixels(valid.astype(float), (2.3, -4.6)) > 0.999)
    expected = np.corrcoef(a[usable], between_pixels(b, (2.3, -4.6))[usable])[0, 1]
    assert moved_correlation(a, b, valid, (2.3, -4.6), 64) == pytest.approx(expected)
    assert moved_correlation(a, b, valid, (2.3, -4.6), 2000) == 0


def test_images_of_a_window_are_those_of_scipy() -> None:
    rng = np.random.default_rng(11)
    image, valid = rng.normal(5, 2, (60, 70)), rng.random((60, 70)) > 0.2
    standard, smooth, fine = np.empty((3, 60, 70))
    standard_images(image, valid, 1.0, 8.0, 31, standard, smooth, fine)
    clipped = np.clip(image, 1.0, 8.0)
    expected = np.where(valid, (clipped - clipped[valid].mean()) / clipped[valid].std(), 0.0)
    assert standard == pytest.approx(expected)
    weights = np.outer((1, 2, 1), (1, 2, 1)) / 16
    assert smooth[1:-1, 1:-1] == pytest.approx(ndi.correlate(expected, weights)[1:-1, 1:-1])
    assert smooth[[0, 5], 0] == pytest.approx([expected[0, 0], expected[4:7, 0] @ (0.25, 0.5, 0.25)])
    share = ndi.uniform_filter(valid.astype(float), 31, mode="constant")
    broad = ndi.uniform_filter(expected, 31, mode="constant") / share
    assert fine == pytest.approx(np.where(valid, smooth - broad, 0.0))


def test_leading_peaks_are_the_highest_within_reach() -> None:
    """A surface that begins at its middle: row -1 is its last. The peak at (9, 0) is beyond the reach, 5 stands beside 7."""
    surface = np.zeros((40, 30))
    for (row, col), height in {(0, 2): 3, (-4, 1): 7, (-4, 2): 5, (8, -7): 4, (9, 0): 9, (3, -3): 3}.items():
        surface[row, col] = height
    found = np.empty((4, 2), np.int64)
    count = leading_peaks(surface, 8, 7, found)
    assert count == 4
    assert found.tolist() == [[-4, 1], [8, -7], [0, 2], [3, -3]]


def test_sums_of_slopes_leave_out_what_differs_most() -> None:
    row, col, difference = found = np.random.default_rng(12).normal(size=(3, 203))
    near = np.abs(difference - 0.1) <= 1.2
    sums = np.empty(5)
    slope_sums(found, 0.1, 1.2, sums)
    products = row * row, row * col, col * col, row * difference, col * difference
    assert sums == pytest.approx([product[near].sum() for product in products])
    assert 100 < near.sum() < 203


@pytest.mark.parametrize("count", [7, 8, 501])
def test_the_median_is_that_of_numpy(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    assert align._median(values) == np.median(values)


def pixel_by_pixel(
    values: np.ndarray, pad: int, shift_px: tuple[float, float], fill: float | None, shape: tuple[int, int]
) -> np.ndarray:
    """Keys' convolution over the sixteen neighbours of every pixel by itself."""
    top = np.iinfo(values.dtype).max
    steps = [math.floor(px) for px in shift_px]
    weights = [np.empty(4), np.empty(4)]
    for px, step, own in zip(shift_px, steps, weights, strict=True):
        cubic_weights(px - step, own)
    out = np.empty(shape, values.dtype)
    for y, x in np.ndindex(shape):
        first_row, first_col = y + pad + steps[0] - 1, x + pad + steps[1] - 1
        near = values[first_row : first_row + 4, first_col : first_col + 4].astype(float)
        total = 0.0
        for j in range(4):
            line = 0.0
            for i in range(4):
                line += weights[1][i] * near[j, i]
            total += weights[0][j] * line
        value = min(max(math.floor(total + 0.5), 0), top)
        if fill is not None and (near == fill).any():
            value = int(fill)
        elif fill is not None and value == fill:
            value += 1 if value < top else -1
        out[y, x] = value
    return out


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("shift_px", [(0.35, -0.25), (-1.2, 2.7), (0.0, 0.0), (3.0, -0.5), (0.999, 0.001)])
def test_shifted_is_the_convolution_of_every_pixel(dtype: str, shift_px: tuple[float, float]) -> None:
    rng, pad, most = np.random.default_rng(11), support_px(shift_px), int(np.iinfo(dtype).max)
    shape = (9, 13)
    padded = tuple(side + 2 * pad for side in shape)
    speckled = np.full(padded, most // 2, dtype)
    speckled[6, 5] = 0
    for values in (
        rng.integers(0, most, padded, dtype, endpoint=True),
        rng.integers(0, 4, padded).astype(dtype),
        speckled,
    ):
        for fill in (None, 0.0, 1.0, float(most)):
            found, _ = shifted(values[None], None, shift_px=shift_px, pad_px=pad, fill=fill)
            assert (found[0] == pixel_by_pixel(values, pad, shift_px, fill, shape)).all()
