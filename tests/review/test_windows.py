"""Windows of work: they cover a tile once, wherever its edges lie, and no margin reaches into a block to come."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from ecowatch.grid import BLOCK_PX
from ecowatch.review import make_plan
from ecowatch.review.pair import Comparison
from ecowatch.review.windows import EARLY_PX, area_tiles, area_windows, early_px

from ..walk.many_tiles import write_review, write_scenes


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    folder = tmp_path_factory.mktemp("windows")
    review, _ = write_review(folder, write_scenes(folder / "scenes"))
    return make_plan(review).comparisons[0]


@pytest.mark.parametrize(("height_px", "width_px"), [(64, 64), (512, 32), (512, 512), (1024, 512), (5632, 5632)])
def test_tiles_cover_the_grid_once_and_windows_what_touches_the_area(
    comparison: Comparison, height_px: int, width_px: int
) -> None:
    grid, geometry = comparison.grid, comparison.area.geometry
    seen = np.zeros(grid.shape, int)
    for tile in area_tiles(comparison, height_px, width_px):
        seen[tile.row0 : tile.row1, tile.col0 : tile.col1] += 1
        windows = area_windows(comparison, tile)
        assert all(window.intersection(tile) == window for window in windows)
        covered = np.zeros(tile.shape, int)
        for window in windows:
            covered[window.within(tile)] += 1
            assert geometry.intersects(shapely.box(*grid.window_bounds(window)))
        assert covered.max(initial=0) <= 1
    assert (seen == 1).all()


def test_a_margin_reaches_into_no_block_below_or_to_the_right(comparison: Comparison) -> None:
    grid = comparison.grid
    assert early_px(comparison) == EARLY_PX and min(grid.shape) > BLOCK_PX
    for window in area_windows(comparison, grid.window):
        for first, last, end in ((window.row0, window.row1, grid.shape[0]), (window.col0, window.col1, grid.shape[1])):
            reached = last - 1 + (EARLY_PX if last < end else 0)
            assert reached // BLOCK_PX == (last - 1) // BLOCK_PX, "the block below or to the right"
            assert last - first > EARLY_PX, "no sliver"
