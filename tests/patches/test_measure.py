"""Measures and activity of a patch."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from ecowatch.codes import Activity
from ecowatch.grid import Grid
from ecowatch.patches import (
    Evidence,
    PixelPatch,
    mean_spectrum,
    name_activity,
    polygon_of,
    shapes_of,
    strength_of,
)
from ecowatch.patches.lines import centre_lines
from ecowatch.patches.measure import straightness_of
from ecowatch.settings import ActivityRules

pytestmark = pytest.mark.kernels

GRID = Grid.from_parts("EPSG:32650", (10, 0, 300_000, 0, -10, 4_000_000), (200, 200))
FOREST = {"blue": 0.03, "green": 0.05, "red": 0.03, "nir": 0.33, "swir1": 0.15, "swir2": 0.07}
BARE = {"blue": 0.10, "green": 0.14, "red": 0.19, "nir": 0.25, "swir1": 0.34, "swir2": 0.29}
ROOF = {"blue": 0.22, "green": 0.24, "red": 0.25, "nir": 0.27, "swir1": 0.22, "swir2": 0.20}
WATER = {"blue": 0.05, "green": 0.04, "red": 0.03, "nir": 0.02, "swir1": 0.01, "swir2": 0.01}


def block_patch(rows: range, first: int, last: int) -> PixelPatch:
    runs = np.array([(r, first, last) for r in rows], np.int32)
    pixels = int((runs[:, 2] - runs[:, 1]).sum())
    return PixelPatch(runs, np.array([pixels, 450 * pixels, 500, 1000 * pixels, 3000 * pixels], np.int64))


def test_strength_and_spectra_come_from_exact_sums() -> None:
    patch = block_patch(range(10, 14), 20, 25)
    assert strength_of(patch) == 4.5
    assert mean_spectrum(patch, ("red",), ((1e-4, 0.0),), after=False) == {"red": 0.1}
    assert mean_spectrum(patch, ("red",), ((1e-4, -0.1),), after=True) == {"red": 0.2}


def test_a_straight_road_has_its_length_and_width() -> None:
    patch = block_patch(range(50, 53), 10, 110)
    length, width, rectangularity, _, line, *_ = shapes_of([patch], [polygon_of(patch, GRID, max_hole_m2=0)], GRID)[0]
    assert line is not None
    assert length == pytest.approx(1000, rel=0.04)
    assert width == pytest.approx(30, rel=0.05)
    assert rectangularity == pytest.approx(1)


def test_a_bent_road_is_followed_round_its_bend() -> None:
    runs = [(r, 20, 23) for r in range(20, 80)] + [(r, 20, 90) for r in range(80, 83)]
    patch = PixelPatch(np.array(runs, np.int32), np.zeros(5, np.int64))
    line = centre_lines([patch], GRID)[0]
    assert line is not None
    assert line.length == pytest.approx(600 + 690, rel=0.06)


def test_a_square_has_no_centre_line() -> None:
    patch = block_patch(range(10, 20), 30, 40)
    length, width, _, _, line, *_ = shapes_of([patch], [polygon_of(patch, GRID, max_hole_m2=0)], GRID)[0]
    assert (length, width, line) == (pytest.approx(100), pytest.approx(100), None)


def drawn_patch(image: np.ndarray) -> PixelPatch:
    edges = [
        (row, np.flatnonzero(np.diff(np.r_[0, line, 0])).reshape(-1, 2)) for row, line in enumerate(image.astype(int))
    ]
    runs = np.array([(row, first, last) for row, pairs in edges for first, last in pairs], np.int32)
    return PixelPatch(runs, np.zeros(5, np.int64))


def test_side_roads_are_part_of_the_line() -> None:
    image = np.zeros((200, 200), bool)
    image[99:102, 20:180] = True
    image[40:99, 60:63] = True
    image[102:170, 120:123] = True
    patch = drawn_patch(image)
    length, width, _, _, line, *_ = shapes_of([patch], [polygon_of(patch, GRID, max_hole_m2=0)], GRID)[0]
    assert isinstance(line, shapely.MultiLineString) and len(line.geoms) == 3
    assert length == pytest.approx(1600 + 590 + 680, rel=0.04)
    assert width == pytest.approx(30, rel=0.05)
    assert line.geoms[0].length == pytest.approx(590 + 610 + 670, rel=0.03)


def test_lines_of_many_patches_are_those_of_each() -> None:
    cross, point = np.zeros((200, 200), bool), np.zeros((20, 20), bool)
    cross[99:102, 20:180] = cross[40:160, 99:102] = point[9, 9] = True
    patches = [
        block_patch(range(50, 53), 10, 110),
        drawn_patch(point),
        drawn_patch(cross),
        block_patch(range(5), 0, 40),
    ]
    together = centre_lines(patches, GRID)
    alone = [centre_lines([patch], GRID)[0] for patch in patches]
    assert [line and line.geom_type for line in alone] == ["LineString", None, "MultiLineString", "LineString"]
    assert together.tolist() == alone
    assert len(centre_lines([], GRID)) == 0 and shapes_of([], [], GRID) == []


def test_a_rough_edge_grows_no_side_roads() -> None:
    image = np.zeros((60, 200), bool)
    image[28:33, 10:190] = True
    image[27, 10:190:7] = True
    image[33, 13:190:5] = True
    patch = drawn_patch(image)
    length, _, _, _, line, *_ = shapes_of([patch], [polygon_of(patch, GRID, max_hole_m2=0)], GRID)[0]
    assert isinstance(line, shapely.LineString)
    assert length == pytest.approx(1800, rel=0.05)


def test_lobes_of_a_heap_are_no_network() -> None:
    image = np.zeros((120, 120), bool)
    rows, cols = np.indices(image.shape)
    for row, col, radius in ((60, 20, 14), (60, 50, 6), (60, 80, 16), (30, 80, 5), (95, 82, 9)):
        image |= np.hypot(rows - row, cols - col) < radius
    image[58:62, 20:80] = image[30:95, 78:82] = True
    patch = drawn_patch(image)
    line = shapes_of([patch], [polygon_of(patch, GRID, max_hole_m2=0)], GRID)[0].line
    assert isinstance(line, shapely.LineString)


@pytest.mark.parametrize("size", [(3, 40), (40, 3), (2, 30)])
def test_the_line_does_not_depend_on_where_the_patch_lies(size: tuple[int, int]) -> None:
    small, large = np.zeros((60, 60), bool), np.zeros((160, 160), bool)
    small[5 : 5 + size[0], 7 : 7 + size[1]] = True
    large[105 : 105 + size[0], 87 : 87 + size[1]] = True
    lengths = [
        shapes_of([p], [polygon_of(p, GRID, max_hole_m2=0)], GRID)[0].length_m
        for p in (drawn_patch(small), drawn_patch(large))
    ]
    assert lengths[0] == lengths[1]


def test_straight_sides_are_told_from_ragged_ones() -> None:
    square, ragged = np.zeros((60, 60), bool), np.zeros((60, 60), bool)
    square[10:40, 10:45] = True
    rows, cols = np.indices(ragged.shape)
    angle = np.arctan2(rows - 30, cols - 30)
    ragged[np.hypot(rows - 30, cols - 30) < 14 + 5 * np.sin(5 * angle) + 3 * np.cos(9 * angle)] = True
    told = straightness_of([polygon_of(drawn_patch(image), GRID, max_hole_m2=0) for image in (square, ragged)], GRID)
    assert told[0] == 1 and told[1] < 0.3


def named(before: dict[str, float], after: dict[str, float], **shape: float) -> Activity:
    facts = {"area_m2": 20_000.0, "length_m": 200.0, "width_m": 100.0, "rectangularity": 0.7} | shape
    return name_activity(Evidence(before, after, pixel_m=10.0, **facts), ActivityRules()).activity


@pytest.mark.parametrize(
    ("before", "after", "shape", "expected"),
    [
        (FOREST, BARE, {}, Activity.MINING),
        (FOREST, BARE, {"length_m": 900.0, "width_m": 25.0, "rectangularity": 0.3}, Activity.ROAD),
        (FOREST, WATER, {"rectangularity": 0.9}, Activity.AQUACULTURE),
        (FOREST, WATER, {"rectangularity": 0.3}, Activity.UNDETERMINED),
        (FOREST, ROOF, {"area_m2": 1500.0, "rectangularity": 0.9}, Activity.SETTLEMENT),
        (FOREST, {**FOREST, "nir": 0.30}, {}, Activity.UNDETERMINED),
        (WATER, {**WATER, "blue": 0.06}, {}, Activity.UNDETERMINED),
    ],
)
def test_activity_of_plain_cases(
    before: dict[str, float], after: dict[str, float], shape: dict[str, float], expected: Activity
) -> None:
    assert named(before, after, **shape) is expected


def test_reasons_are_kept_and_missing_bands_are_no_reason() -> None:
    rgb = ({"red": 0.2, "green": 0.3, "blue": 0.2}, {"red": 0.5, "green": 0.5, "blue": 0.45})
    result = name_activity(Evidence(*rgb, 200.0, 20.0, 10.0, 0.9, 0.2), ActivityRules())
    told = "; ".join(result.reasons)
    assert "greenness=" in told and "brightness=" in told
    assert "ndvi" not in told and "water" not in told
