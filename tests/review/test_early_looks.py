"""What a tile keeps of its flags, and candidates across two tiles: looked at with the same words as after joining."""

from __future__ import annotations

import dataclasses
import re
import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest

from ecowatch.detect import BlockResult
from ecowatch.grid import Window
from ecowatch.review import make_plan
from ecowatch.review.candidates import patch_key, without_noise
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


def drawn(*rows: str) -> BlockResult:
    """Runs of ``w`` (weak) and ``S`` (strong) pixels, one band of zeros."""
    runs, sums = [], []
    for y, row in enumerate(rows):
        for run in re.finditer("[wS]+", row):
            runs.append((y, run.start(), run.end()))
            sums.append((run.group().count("S"), 0, 0, 0, 0))
    shape = (len(runs), 3), (len(runs), 5)
    return BlockResult(
        np.array(runs, np.int32).reshape(shape[0]),
        np.array(sums, np.int64).reshape(shape[1]),
        np.empty((0, 4), np.int32),
    )


def limited(case: Case, *, strong_px: int, all_px: int) -> Comparison:
    """The comparison with other limits, its pixels being 10 m."""
    pipeline = case.comparison.pipeline
    areas = pipeline.patches.min_area_m2.model_copy(
        update=dict.fromkeys(type(pipeline.patches.min_area_m2).model_fields, 100.0 * (all_px + 1))
    )
    detect = pipeline.detect.model_copy(update={"min_strong_px": strong_px, "min_strong_m2": 0.0})
    patches = pipeline.patches.model_copy(update={"min_area_m2": areas})
    return dataclasses.replace(
        case.comparison, pipeline=pipeline.model_copy(update={"detect": detect, "patches": patches})
    )


def test_only_what_may_be_part_of_a_candidate_is_kept(case: Case) -> None:
    comparison = limited(case, strong_px=2, all_px=4)
    found = drawn(
        ".SS...w...SS",  # enough of both, at a corner too; a weak pixel alone; strong but small
        "...SS.......",
        "w.....wwww..",  # it may reach in from the left; large but weak
    )
    kept = without_noise(comparison, found, 0)
    assert kept.runs.tolist() == [[0, 1, 3], [1, 3, 5], [2, 0, 1]]
    assert kept.sums[:, 0].tolist() == [2, 2, 0]
    # Where the tile begins elsewhere, nothing reaches in.
    assert without_noise(comparison, found, -5).runs.tolist() == [[0, 1, 3], [1, 3, 5]]


def test_nothing_flagged_is_nothing_kept(case: Case) -> None:
    assert len(without_noise(case.comparison, drawn("....", "...."), 0).runs) == 0


def test_noise_that_tiles_give_up_changes_no_candidate(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    # Many weak flags and few limits: groups of every kind lie in the tiles and across their edges.
    comparison = limited(case, strong_px=2, all_px=3)
    noisy = case._replace(comparison=comparison, fit=weaker(case.fit))
    pruned = noisy.done(case.tiles)
    monkeypatch.setattr("ecowatch.review.early_looks.without_noise", lambda _comparison, whole, _first_col: whole)
    full = noisy.done(case.tiles)
    few, many = (sum(len(tile.blocks.runs) for tile in tiles) for tiles in (pruned, full))
    assert few < many / 2, f"{few} of {many} runs are kept: there was no noise to give up"
    one, other = (found_in(comparison, tiles) for tiles in (pruned, full))
    assert [p.runs.tobytes() for p in one.patches] == [p.runs.tobytes() for p in other.patches]
    assert [p.sums.tobytes() for p in one.patches] == [p.sums.tobytes() for p in other.patches]
    assert any(p.window.col0 < t.col1 < p.window.col1 for p in one.patches for t in case.tiles), "nothing lies across"


def weaker(fit: Fit) -> Fit:
    """A fit that flags much more."""
    assert fit.thresholds is not None
    weak, strong = fit.thresholds.weak, fit.thresholds.strong
    low = dataclasses.replace(fit.thresholds, weak=weak * 0.05, strong=strong * 0.12)
    return dataclasses.replace(fit, thresholds=low)
