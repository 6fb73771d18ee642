"""The shift as a field: agreement of windows, choice of the degree, resampling that does not depend on the cut."""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pytest
from scipy import ndimage as ndi

from ecowatch.prepare import field as field_module
from ecowatch.prepare.align import WindowShift, shifted, support_px, window_shift
from ecowatch.prepare.field import (
    PlacedShift,
    ShiftField,
    field_support_px,
    fit_field,
    nearest_by_field,
    shifted_by_field,
    with_cells,
)

pytestmark = pytest.mark.kernels
NUMBERS = {
    "min_peak": 0.35,
    "max_shift_px": 10.0,
    "agree_px": 0.3,
    "min_agree": 3,
    "max_degree": 2,
    "min_gain_px": 0.05,
    "half_window_px": 128.0,
}


def lattice(side: int = 5, step: int = 256) -> list[tuple[float, float]]:
    return [(128.0 + step * i, 128.0 + step * j) for i in range(side) for j in range(side)]


def constant(row: float, col: float) -> ShiftField:
    return ShiftField((row,), (col,), (0.0, 0.0), 1.0, (0.0, 0.0, 4096.0, 4096.0), 0.0, 1, 1)


def sloped() -> ShiftField:
    """2 px over 500 px down, -1 px over 500 px to the right."""
    return ShiftField((0.4, 2.0, 0.1), (-0.7, 0.0, -1.0), (300.0, 300.0), 500.0, (0.0, 0.0, 600.0, 600.0), 0.0, 9, 9)


def measured(places: list[tuple[float, float]], field: ShiftField, noise: float, seed: int = 0) -> list[PlacedShift]:
    rng = np.random.default_rng(seed)
    rows, cols = field.at(*np.array(places).T)
    jitter = rng.normal(0, noise, (2, len(places)))
    return [
        PlacedShift(y, x, WindowShift(float(r + a), float(c + b), 0.8))
        for (y, x), r, c, a, b in zip(places, rows, cols, *jitter, strict=True)
    ]


def nonsense(count: int, seed: int = 1) -> list[PlacedShift]:
    """What cloudy windows say: anything, some of it with a fair correlation."""
    rng = np.random.default_rng(seed)
    return [
        PlacedShift(*rng.uniform(0, 1300, 2), WindowShift(*rng.uniform(-14, 14, 2), rng.uniform(0.36, 0.9)))
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_a_constant_stays_a_constant(seed: int) -> None:
    """Noise of the windows is not taken for a slope."""
    found = fit_field(measured(lattice(), constant(1.2, -3.4), 0.08, seed), **NUMBERS)
    assert found is not None
    assert (found.degree, found.range_px, found.believed, found.measured) == (0, 0.0, 25, 25)
    assert found.mean_px == pytest.approx((1.2, -3.4), abs=0.05)
    assert found.rmse_px == pytest.approx(0.08 * np.sqrt(2), rel=0.35)


@pytest.mark.parametrize("seed", range(5))
def test_a_slope_is_found_among_nonsense(seed: int) -> None:
    truth = sloped()
    shifts = measured(lattice(3, 200), truth, 0.04, seed) + measured(lattice(2, 300), truth, 0.04, seed + 9)
    found = fit_field(shifts + nonsense(8, seed), **NUMBERS)
    assert found is not None
    assert found.degree == 1
    assert 12 <= found.believed <= 14
    rows, cols = np.mgrid[128:528:50, 128:528:50].astype(float)
    assert np.abs(np.array(found.at(rows, cols)) - np.array(truth.at(rows, cols))).max() < 0.12


def test_a_bend_is_found_only_where_it_is_allowed() -> None:
    bent = ShiftField(
        (0.0, 0.0, 0.0, 0.8, 0.0, 0.0), (0.1,) + (0.0,) * 5, (640.0, 640.0), 512.0, (0.0, 0.0, 1280.0, 1280.0), 0, 1, 1
    )
    shifts = measured(lattice(), bent, 0.02)
    wide = NUMBERS | {"agree_px": 1.0}
    found = fit_field(shifts, **wide)
    assert found is not None and found.degree == 2 and found.rmse_px < 0.05
    stiff = fit_field(shifts, **(wide | {"max_degree": 1}))
    assert stiff is not None and stiff.degree == 0 and stiff.rmse_px > 0.2


@pytest.mark.parametrize("clear", [3, 6])
def test_a_few_clear_windows_outvote_many_cloudy_ones(clear: int) -> None:
    """The median of all of them would be anything."""
    shifts = nonsense(12) + measured(lattice()[:clear], constant(0.5, 0.25), 0.02)
    found = fit_field(shifts, **NUMBERS)
    assert found is not None
    assert (found.believed, found.measured) == (clear, clear + 12)
    assert found.mean_px == pytest.approx((0.5, 0.25), abs=0.05)


def test_windows_that_contradict_one_another_say_nothing() -> None:
    assert fit_field(nonsense(9), **NUMBERS) is None
    assert fit_field([], **NUMBERS) is None
    weak = [PlacedShift(1.0, 1.0, WindowShift(0.1, 0.1, 0.2))] * 5
    assert fit_field(weak, **NUMBERS) is None
    two = [PlacedShift(0.0, 0.0, WindowShift(0.0, 0.0, 0.9)), PlacedShift(0.0, 256.0, WindowShift(4.0, 0.0, 0.9))]
    assert fit_field(two, **NUMBERS) is None


def test_one_window_alone_is_believed() -> None:
    found = fit_field([PlacedShift(128.0, 128.0, WindowShift(0.3, 0.4, 0.9))], **NUMBERS)
    assert found is not None and found.mean_px == (0.3, 0.4)
    assert found.length_px == pytest.approx(0.5)


def test_the_field_survives_json_and_repeats_itself() -> None:
    shifts = measured(lattice(), sloped(), 0.05) + nonsense(5)
    found = fit_field(shifts, **NUMBERS)
    assert found is not None and found == fit_field(shifts, **NUMBERS)
    read = json.loads(json.dumps(dataclasses.asdict(found)))
    again = ShiftField(**{k: tuple(v) if isinstance(v, list) else v for k, v in read.items()})
    assert again == found


def test_nothing_is_foretold_beyond_the_windows() -> None:
    field = sloped()
    assert field.at(np.array(5000.0), np.array(-900.0)) == field.at(np.array(600.0), np.array(0.0))


def test_step_and_cell() -> None:
    field = sloped()
    assert field.step_px(100) == pytest.approx(0.4, abs=0.001)
    assert with_cells(field, max_step_px=0.05).cell_px == 16
    assert with_cells(field, max_step_px=0.15).cell_px == 32
    assert with_cells(constant(3.0, 1.0), max_step_px=0.02).cell_px == 512


@pytest.mark.compiled
def test_a_constant_field_equals_the_constant_shift() -> None:
    image = np.random.default_rng(2).integers(1, 4000, (2, 640, 600)).astype(np.uint16)
    field, pad = constant(1.3, -0.6), 6
    whole, _ = shifted_by_field(image, None, field=field, row0=77, col0=501, pad_px=pad, fill=0)
    plain, _ = shifted(image, None, shift_px=(1.3, -0.6), pad_px=pad, fill=0)
    assert support_px((1.3, -0.6)) <= field_support_px(field) <= pad
    assert (whole == plain).all()


def only_compiled(number: int) -> object:
    return pytest.param(number, marks=pytest.mark.compiled)


@pytest.mark.parametrize("top", [0, only_compiled(13), only_compiled(128)])
@pytest.mark.parametrize("left", [only_compiled(0), 7, only_compiled(150)])
def test_a_cut_with_margin_equals_the_whole(top: int, left: int) -> None:
    rng = np.random.default_rng(4)
    field = with_cells(sloped(), max_step_px=0.05)
    pad = field_support_px(field)
    image = rng.integers(0, 4000, (1, 400 + 2 * pad, 400 + 2 * pad)).astype(np.uint16)
    covered = rng.random(image.shape[1:]) < 0.999
    numbers = {"field": field, "pad_px": pad, "fill": 0}
    whole, inside = shifted_by_field(image, covered, row0=100, col0=90, **numbers)
    part = (slice(top, top + 211 + 2 * pad), slice(left, left + 190 + 2 * pad))
    values, part_inside = shifted_by_field(image[:, *part], covered[part], row0=100 + top, col0=90 + left, **numbers)
    assert inside is not None and part_inside is not None and not inside.all()
    assert (values == whole[:, top : top + 211, left : left + 190]).all()
    assert (part_inside == inside[top : top + 211, left : left + 190]).all()


def test_classes_are_taken_from_the_nearest_displaced_pixel() -> None:
    rng = np.random.default_rng(5)
    field = sloped()
    pad = field_support_px(field)
    classes = rng.integers(0, 12, (1, 60 + 2 * pad, 70 + 2 * pad)).astype(np.uint8)
    covered = rng.random(classes.shape[1:]) < 0.9
    got, inside = nearest_by_field(classes, covered, field=field, row0=200, col0=310, pad_px=pad)
    assert inside is not None
    for row, col in np.ndindex(60, 70):
        down, right = field.at(np.array(row + 200.0), np.array(col + 310.0))
        there = row + pad + int(np.floor(down + 0.5)), col + pad + int(np.floor(right + 0.5))
        assert (got[0, row, col], inside[row, col]) == (classes[0, *there], covered[there])


def test_too_small_a_padding_is_refused() -> None:
    image = np.zeros((1, 30, 30), np.uint8)
    with pytest.raises(ValueError, match=r"pad_px is 3, the field needs \d"):
        shifted_by_field(image, None, field=sloped(), row0=0, col0=0, pad_px=3, fill=None)


@pytest.mark.compiled
def test_a_distorted_image_is_laid_on_the_other() -> None:
    """Measured window by window, fitted and taken out: what was up to 3 px apart lies within a tenth."""
    rng = np.random.default_rng(6)
    side, truth = 640, sloped()
    base = ndi.gaussian_filter(rng.standard_normal((side, side)), 2.5) * 3000 + 2000
    rows, cols = np.mgrid[:side, :side].astype(float)
    # The later image holds at p + s(p) what the earlier one holds at p: two rounds undo the displacement.
    back = truth.at(rows, cols)
    for _ in range(3):
        back = truth.at(rows - back[0], cols - back[1])
    after = np.floor(1.2 * ndi.map_coordinates(base, [rows - back[0], cols - back[1]], order=5, mode="mirror") + 99.5)

    def windows(later: np.ndarray) -> list[PlacedShift]:
        full = np.ones((128, 128), bool)
        found = []
        for y, x in [(64 + 128 * i, 64 + 128 * j) for i in range(4) for j in range(4)]:
            part = (slice(y, y + 128), slice(x, x + 128))
            found.append(PlacedShift(y + 63.5, x + 63.5, window_shift(base[part], later[part], full)))
        return found

    numbers = NUMBERS | {"half_window_px": 64.0}
    field = fit_field(windows(after), **numbers)
    assert field is not None and field.degree == 1 and field.believed >= 14
    field, pad = with_cells(field, max_step_px=0.02), field_support_px(field)
    padded = np.pad(np.clip(after, 1, 65535).astype(np.uint16), pad, constant_values=0)[None]
    laid, _ = shifted_by_field(padded, None, field=field, row0=0, col0=0, pad_px=pad, fill=0)
    left = np.array([s.shift[:2] for s in windows(laid[0].astype(float))])
    assert field.range_px > 1.5
    assert np.hypot(*left.T).max() < 0.1


def left_out_one_by_one(design: np.ndarray, values: np.ndarray) -> float:
    """Written a second time, window by window: Beaton & Tukey's biweight by plain least squares."""
    errors = []
    for out in range(len(values)):
        a, b = np.delete(design, out, axis=0), np.delete(values, out, axis=0)
        terms = np.median(b, axis=0)[None] if a.shape[1] == 1 else np.linalg.lstsq(a, b, rcond=None)[0]
        for _ in range(19):
            distance = np.hypot(*(b - a @ terms).T)
            limit = 4.685 * max(1.4826 * float(np.median(distance)), 0.03)
            weight = np.where(distance < limit, (1 - (distance / limit) ** 2) ** 2, 0.0)
            root = np.sqrt(weight)[:, None]
            terms = np.linalg.lstsq(a * root, b * root, rcond=None)[0]
        errors.append(float(np.sum((values[out] - design[out] @ terms) ** 2)))
    kept = sorted(errors)[: max(1, int(np.ceil(0.9 * len(errors))))]
    return float(np.sqrt(np.mean(kept)))


@pytest.mark.parametrize("degree", [0, 1, 2])
@pytest.mark.parametrize("count", [9, 24, 300])
def test_the_error_of_foretelling_is_that_of_windows_left_out_one_by_one(count: int, degree: int) -> None:
    rng = np.random.default_rng([count, degree])
    uv, values = rng.uniform(-1, 1, (count, 2)), rng.normal(0, 0.1, (count, 2))
    values[: count // 6] += 2
    design = field_module._design(uv, degree)
    expected = left_out_one_by_one(design, values)
    assert field_module._foretelling_error(design, values) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("count", [3, 9, 24])
def test_every_triple_that_spans_a_slope_says_who_is_within_its_reach(count: int) -> None:
    rng = np.random.default_rng(count)
    uv, values = rng.uniform(-1, 1, (count, 2)), rng.normal(0, 0.3, (count, 2))
    design = field_module._design(uv, 1)
    expected = [
        np.hypot(*(values - design @ np.linalg.inv(design[list(triple)]) @ values[list(triple)]).T) <= 0.3
        for triple in itertools.combinations(range(count), 3)
        if abs(np.linalg.det(design[list(triple)])) >= 0.2
    ]
    found = list(field_module._within_reach(design, values, 0.3))
    assert len(expected) > 0 and np.array_equal(found, expected)
