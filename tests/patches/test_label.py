"""Runs to patches: drawn cases, a patch cut by an edge, independent labelling, valid polygons."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import shapely
from rasterio import features
from scipy import ndimage as ndi
from shapely.geometry import shape

from ecowatch.grid import Grid
from ecowatch.patches import PixelPatch, outline_of_runs, outlines_of, patches_from_runs, polygon_of, simplified
from ecowatch.patches._kernels import group_runs
from ecowatch.patches._trace_kernels import fill_holes, solid_parts, trace_parts

pytestmark = pytest.mark.kernels

GRID = Grid.from_parts("EPSG:32650", (10, 0, 300_000, 0, -10, 4_000_000), (200, 200))


def drawing(text: str) -> np.ndarray:
    return np.array([[c != "." for c in line] for line in text.split()])


def runs_of(image: np.ndarray, cuts: tuple[int, ...] = ()) -> np.ndarray:
    """Runs of an image, cut at the given columns as block edges would."""
    runs = []
    for row, line in enumerate(image):
        edges = np.diff(np.r_[0, line.astype(int), 0])
        for first, last in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
            marks = [first, *[c for c in cuts if first < c < last], last]
            runs += [(row, a, b) for a, b in pairwise(marks)]
    return np.array(runs, np.int32).reshape(-1, 3)


def sums_of(runs: np.ndarray, strong: int = 1) -> np.ndarray:
    length = (runs[:, 2] - runs[:, 1]).astype(np.int64)
    return np.column_stack([strong * length, 100 * length, np.full(len(runs), 100), 5 * length, 7 * length])


def join(image: np.ndarray, cuts: tuple[int, ...] = (), **options: int) -> list[PixelPatch]:
    runs = runs_of(image, cuts)
    return patches_from_runs(runs, sums_of(runs), **({"min_strong_px": 1, "min_px": 1} | options))


def test_a_patch_cut_by_a_tile_edge_is_one_patch() -> None:
    image = drawing(
        """
        ........
        ..####..
        ..####..
        .....#..
        """
    )
    (whole,) = join(image)
    (cut,) = join(image, cuts=(4,))
    assert whole.pixels == cut.pixels == 9
    assert (whole.sums == cut.sums).all()
    assert polygon_of(whole, GRID, max_hole_m2=0).equals(polygon_of(cut, GRID, max_hole_m2=0))


def test_corners_join_and_gaps_do_not() -> None:
    image = drawing(
        """
        #....#
        .#..#.
        ......
        ..##..
        """
    )
    assert sorted(p.pixels for p in join(image)) == [2, 2, 2]


@pytest.mark.parametrize("seed", range(4))
def test_patches_equal_an_independent_labelling(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = ndi.gaussian_filter(rng.standard_normal((80, 90)), 1) > 0.15
    labels, count = ndi.label(image, np.ones((3, 3)))
    patches = join(image, cuts=(16, 32, 48, 64))
    assert len(patches) == count
    assert sorted(p.pixels for p in patches) == sorted(np.bincount(labels.ravel())[1:])


def test_the_order_of_blocks_does_not_matter() -> None:
    rng = np.random.default_rng(9)
    image = ndi.gaussian_filter(rng.standard_normal((60, 60)), 1) > 0.2
    runs = runs_of(image, (20, 40))
    first = patches_from_runs(runs, sums_of(runs), min_strong_px=1, min_px=1)
    order = rng.permutation(len(runs))
    second = patches_from_runs(runs[order], sums_of(runs)[order], min_strong_px=1, min_px=1)
    assert [p.window for p in first] == [p.window for p in second]
    assert all((a.sums == b.sums).all() for a, b in zip(first, second, strict=True))


def test_hysteresis_keeps_what_has_strong_pixels() -> None:
    runs = np.array([[0, 0, 3], [5, 0, 3]], np.int32)
    sums = np.array([[0, 300, 100, 15, 21], [2, 300, 120, 15, 21]], np.int64)
    (kept,) = patches_from_runs(runs, sums, min_strong_px=2, min_px=1)
    assert kept.runs[0, 0] == 5


def test_small_holes_are_filled_and_large_ones_are_not() -> None:
    image = drawing(
        """
        #######
        #.#...#
        ###...#
        #######
        """
    )
    (patch,) = join(image)
    assert polygon_of(patch, GRID, max_hole_m2=0).area == 2100
    assert polygon_of(patch, GRID, max_hole_m2=100).area == 2200
    assert polygon_of(patch, GRID, max_hole_m2=600).area == 2800


def test_a_hole_that_meets_itself_at_a_corner() -> None:
    image = drawing(
        """
        #####
        #.###
        ##.##
        #####
        """
    )
    (patch,) = join(image)
    outline = polygon_of(patch, GRID, max_hole_m2=0)
    assert outline.is_valid and outline.area == 1800


def test_an_island_in_a_lake_in_an_island() -> None:
    image = drawing(
        """
        #######
        #.....#
        #.#...#
        ##....#
        #######
        """
    )
    (patch,) = join(image)
    outline = polygon_of(patch, GRID, max_hole_m2=0)
    assert outline.is_valid and outline.area == 100 * image.sum()


@pytest.mark.parametrize("seed", range(6))
def test_outlines_are_valid_and_keep_every_pixel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = ndi.gaussian_filter(rng.standard_normal((70, 70)), 0.8 + 0.2 * seed) > 0.05
    outlines = [polygon_of(p, GRID, max_hole_m2=0) for p in join(image)]
    assert all(o.is_valid for o in outlines)
    assert sum(o.area for o in outlines) == pytest.approx(100 * image.sum())
    assert shapely.union_all(outlines).area == pytest.approx(100 * image.sum())


@pytest.mark.parametrize("seed", range(3))
def test_simplified_outlines_neither_overlap_nor_lose_area(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = ndi.gaussian_filter(rng.standard_normal((90, 90)), 2) > 0.1
    outlines = [polygon_of(p, GRID, max_hole_m2=0) for p in join(image)]
    smooth = simplified(outlines, tolerance=8)
    assert all(s.is_valid and not s.is_empty for s in smooth)
    assert sum(map(shapely.get_num_coordinates, smooth)) < 0.8 * sum(map(shapely.get_num_coordinates, outlines))
    assert sum(s.area for s in smooth) == pytest.approx(sum(o.area for o in outlines), rel=0.02)
    assert shapely.union_all(smooth).area == pytest.approx(sum(s.area for s in smooth), rel=1e-9)


def test_outline_of_runs_is_their_ground() -> None:
    image = drawing("##..# .##.. ....#")
    assert outline_of_runs(runs_of(image), GRID).area == 100 * image.sum()


@pytest.mark.parametrize("seed", range(4))
def test_outlines_equal_those_of_gdal(seed: int) -> None:
    """The oracle traces 4-connected pixels by itself; its parts, put together by patch, are ours, holes and all."""
    rng = np.random.default_rng(seed)
    image = rng.random((60, 60)) < (0.45, 0.55, 0.65, 0.8)[seed]
    patches = join(image)
    shapes = [
        shape(g) for g, v in features.shapes(image.astype(np.uint8), transform=GRID.transform, connectivity=4) if v
    ]
    outlines = outlines_of(patches, GRID, max_hole_m2=0)
    assert all(shapely.is_valid(outlines))
    assert sorted(shapely.area(shapely.get_parts(outlines))) == sorted(p.area for p in shapes)
    assert shapely.union_all(outlines).equals(shapely.union_all(shapes))
    tree = shapely.STRtree(outlines)
    for part in shapes:
        (own,) = tree.query(part.representative_point(), predicate="within")
        assert shapely.covers(outlines[own], part)


@pytest.mark.parametrize("largest_px", [1, 3, 20])
def test_filled_holes_equal_those_labelled_by_scipy(largest_px: int) -> None:
    image = np.pad(np.random.default_rng(largest_px).random((60, 60)) < 0.65, 2)
    labels, count = ndi.label(~image)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    small = (sizes <= largest_px) & (np.arange(count + 1) > 1)
    runs = runs_of(image)
    kept = fill_holes(runs, largest_px, np.empty(len(runs), np.int64), np.empty(len(runs), np.int64))
    assert (runs[:kept] == runs_of(image | small[labels])).all()


def test_a_ring_that_meets_itself_is_split_and_its_shell_comes_first() -> None:
    image = drawing(
        """
        ######
        #.#.##
        ##.###
        ######
        """
    )
    (patch,) = join(image)
    outline = polygon_of(patch, GRID, max_hole_m2=0)
    assert outline.is_valid and len(outline.interiors) == 3
    west, north = outline.exterior.coords[0]
    assert (west, north) == (GRID.transform.c, GRID.transform.f)


@pytest.mark.compiled
@pytest.mark.parametrize("largest_hole_px", [0.0, 2.0])
def test_compiled_kernels_equal_their_python(largest_hole_px: float) -> None:
    rng = np.random.default_rng(2)
    image = ndi.gaussian_filter(rng.standard_normal((30, 30)), 1) > 0.1
    runs, found = runs_of(image, cuts=(7, 16)), []
    for pure in (False, True):
        group, solid_of, trace = (k.py_func if pure else k for k in (group_runs, solid_parts, trace_parts))
        parent, groups, part, lengths, parts_of = np.zeros((5, len(runs)), np.int64)
        count = group(runs, 1, parent, groups)
        solid = np.zeros_like(runs)
        n, parts = solid_of(runs, np.array([0, len(runs)]), largest_hole_px, solid, part, lengths, parts_of)
        own = solid[:n][np.argsort(part[:n], kind="stable")]
        points, ends = np.zeros((5 * n, 2)), np.zeros(n + 1, np.int64)
        rings = np.zeros(parts + 1, np.int64)
        until = np.concatenate([[0], np.cumsum(lengths[:parts])])
        trace(own, until, (0.5, 10.0, 4.5, -10.0), points, ends, rings)
        found.append((groups, np.array(count), solid, part, lengths, parts_of, points, ends, rings))
    for one, other in zip(*found, strict=True):
        assert (one == other).all()
