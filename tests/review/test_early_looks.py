"""Candidates across the edge of two tiles: looked at by the thread that did both, with the same words as after joining."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from ecowatch.grid import Window
from ecowatch.review import make_plan
from ecowatch.review.candidates import patch_key
from ecowatch.review.fit import Fit, fit_comparison
from ecowatch.review.found import found_in
from ecowatch.review.look import look_at
from ecowatch.review.pair import Comparison
from ecowatch.review.tile import Task, TileResult, process
from ecowatch.review.windows import area_tiles

from ..walk.many_tiles import write_review, write_scenes

# The change lies in columns 60 to 110: edges at 48, 80 and 112 cut it once.
WIDTH_PX = 32


class Case(NamedTuple):
    """A comparison, its fit, and its first row of narrow tiles."""

    comparison: Comparison
    fit: Fit
    tiles: list[Window]

    def done(self, order: Sequence[Window]) -> list[TileResult]:
        """Process tiles in an order, in a thread of its own: what another test did must not be remembered."""
        results: list[TileResult] = []
        thread = threading.Thread(
            target=lambda: results.extend(process(Task(self.comparison, tile), self.fit) for tile in order)
        )
        thread.start()
        thread.join()
        return results


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("early")
    review, _ = write_review(folder, write_scenes(folder / "scenes"))
    comparison = make_plan(review).comparisons[0]
    tiles = [tile for tile in area_tiles(comparison, 512, WIDTH_PX) if tile.row0 == 0]
    return Case(comparison, fit_comparison(comparison), tiles)


def test_a_candidate_across_tiles_is_looked_at_where_they_follow_one_another(case: Case) -> None:
    chain = case.done(case.tiles)
    lone = case.done(case.tiles[::-1])
    patches = found_in(case.comparison, chain).patches
    across = [p for p in patches if len({col // WIDTH_PX for col in (p.window.col0 + 16, p.window.col1 + 15)}) > 1]
    assert across, "nothing lies across an edge"
    looked = {key: look for tile in chain for key, look in tile.looks.items()}
    apart = {key: look for tile in lone for key, look in tile.looks.items()}
    assert {patch_key(p) for p in across} <= looked.keys() - apart.keys()
    assert all(looked[key] == look for key, look in apart.items())
    expected = look_at(case.comparison, case.fit, across)
    assert [looked[patch_key(p)] for p in across] == expected


def test_what_a_tile_finds_does_not_depend_on_the_one_before(case: Case) -> None:
    chain, lone = case.done(case.tiles), case.done(case.tiles[::-1])[::-1]
    for one, other in zip(chain, lone, strict=True):
        assert one.blocks.runs.tobytes() == other.blocks.runs.tobytes()
        assert one.blocks.sums.tobytes() == other.blocks.sums.tobytes()
        assert one.blocks.unseen.tobytes() == other.blocks.unseen.tobytes()
        assert (one.inside_px, one.observed_px) == (other.inside_px, other.observed_px)
