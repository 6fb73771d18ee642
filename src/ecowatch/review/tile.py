"""The spine: one tile of one comparison, from pixels to run-lengths."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import replacing
from ..codes import State
from ..detect import BlockResult, Margins, WaterTurn, detect_block, flag_scores, flag_water_turns, runs_of
from ..grid import Window
from ..prepare import edges_off
from ..raster import GridReader, burn
from .deviations import deviations
from .fit import Fit, area_blocks
from .pair import Comparison
from .pixels import feature_radiometry, read_pair

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Task:
    """One tile of one comparison; a rerun of one area is a shorter list of these.

    Parameters
    ----------
    comparison
        Area, dates, grid, pipeline.
    tile
        Window of the grid.
    rasters
        Whether score and state are kept too.
    """

    comparison: Comparison
    tile: Window
    rasters: bool = False

    @property
    def key(self) -> str:
        """SHA-256 over everything the result depends on."""
        text = f"{self.comparison.key} {tuple(self.tile)} {self.rasters}"
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class TileResult:
    """What a tile leaves behind: run-lengths with exact sums, and counts of pixels; nothing that tells where it ended.

    Parameters
    ----------
    blocks
        Flagged and unseen runs of all blocks, joined.
    inside_px, observed_px
        Pixels of the area in this tile, and those of them that were seen in both dates.
    score, state
        float32 and uint8 over the tile, only where rasters were asked for.
    """

    blocks: BlockResult
    inside_px: int
    observed_px: int
    score: Array | None = None
    state: Array | None = None

    def save(self, path: Path) -> None:
        """Write the result as a whole, beside and renamed."""
        arrays: dict[str, Array] = {
            "runs": self.blocks.runs,
            "sums": self.blocks.sums,
            "unseen": self.blocks.unseen,
            "counts": np.array([self.inside_px, self.observed_px], np.int64),
        }
        if self.score is not None and self.state is not None:
            arrays |= {"score": self.score, "state": self.state}
        # Runs are small and read once more; compressing them would take a tenth of the tile's time.
        save = np.savez if self.score is None else np.savez_compressed
        with replacing(path) as beside, beside.open("wb") as stream:
            save(stream, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> TileResult:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as data:
            inside, observed = (int(n) for n in data["counts"])
            return cls(
                BlockResult(data["runs"], data["sums"], data["unseen"]),
                inside,
                observed,
                data.get("score"),
                data.get("state"),
            )


def warm_up() -> None:
    """Load the compiled kernels, so that a worker's first tile does not wait for them."""
    numbers, state = np.ones((2, 8, 8), np.uint16), np.full((8, 8), State.USABLE, np.uint8)
    state[4, 4] = State.MASKED
    edges_off(state, radius_px=1)
    weights = tuple(np.ones(shape, np.float32) for shape in ((2, 2), (2, 2), 2, 2))
    detect_block(
        numbers,
        numbers,
        state,
        weights=(weights[0], weights[1], weights[2], weights[3]),
        weak=1.0,
        strong=1.5,
        fills=(0.0, 0.0),
        reach_px=1,
        row0=0,
        col0=0,
    )


def process(task: Task, fit: Fit) -> TileResult:
    """Compare the two dates over one tile.

    Raises
    ------
    SceneError
        Where a block cannot be read; the tile is then reported as failed and the others go on.
    """
    comparison = task.comparison
    score = np.zeros(task.tile.shape, np.float32) if task.rasters else None
    state = np.zeros(task.tile.shape, np.uint8) if task.rasters else None
    results, inside_px, observed_px = [], 0, 0
    with GridReader(comparison.grid) as reader:
        for block in area_blocks(comparison, task.tile):
            window = block.intersection(task.tile)
            assert window is not None
            inside = burn(comparison.area.geometry, comparison.grid.cropped(window))
            if not inside.any():
                continue
            result, block_score, block_state = _process_block(reader, comparison, fit, window, inside)
            results.append(result)
            inside_px += int(inside.sum())
            observed_px += int(np.count_nonzero((block_state == State.USABLE) | (block_state >= State.WEAK)))
            if score is not None and state is not None:
                score[window.within(task.tile)] = block_score
                state[window.within(task.tile)] = block_state
    names, _ = feature_radiometry(comparison, comparison.before)
    return TileResult(_joined(results, len(names)), inside_px, observed_px, score, state)


def _process_block(
    reader: GridReader, comparison: Comparison, fit: Fit, window: Window, inside: Array
) -> tuple[BlockResult, Array, Array]:
    if fit.windowed is not None or fit.parts:
        return _surrounded_block(reader, comparison, fit, window, inside)
    reach = comparison.pipeline.detect.reach_px
    pair = read_pair(reader, comparison, window, shift=fit.applied, inside=inside)
    state = pair.state
    names, radiometry_b = feature_radiometry(comparison, comparison.before)
    _, radiometry_a = feature_radiometry(comparison, comparison.after)
    before, after, fills = pair.before, pair.after, pair.fills
    if fit.score is None or fit.thresholds is None or before is None or after is None:
        # Nothing can be decided here, and what is not decided was not observed.
        state[state == State.USABLE] = State.MASKED
        reach = 0
        before = after = np.zeros((len(names), *state.shape), np.uint8)
        fills = (None, None)
        weights = tuple(np.zeros(s, np.float32) for s in ((1, len(names)), (1, len(names)), 1, 1))
        weak = strong = np.inf
    else:
        weights = fit.score.for_numbers(radiometry_b, radiometry_a)
        weak, strong = fit.thresholds.weak, fit.thresholds.strong

    def wider(margins: Margins) -> tuple[Array, Array]:
        around = Window(
            window.row0 - margins.top,
            window.col0 - margins.left,
            window.row1 + margins.bottom,
            window.col1 + margins.right,
        )
        more = read_pair(reader, comparison, around, shift=fit.applied, inside=None)
        assert more.before is not None and more.after is not None
        return more.before, more.after

    result, score = detect_block(
        before,
        after,
        state,
        weights=(weights[0], weights[1], weights[2], weights[3]),
        weak=weak,
        strong=strong,
        fills=fills,
        reach_px=reach,
        wider=wider,
        further=None if fit.water is None else partial(flag_water, comparison, fit.water),
        row0=window.row0,
        col0=window.col0,
    )
    return result, score, state


def _surrounded_block(
    reader: GridReader, comparison: Comparison, fit: Fit, window: Window, inside: Array
) -> tuple[BlockResult, Array, Array]:
    """Flag a window by a method that looks at surroundings, or by several sensors together."""
    detect = comparison.pipeline.detect
    found = deviations(reader, comparison, fit, window)
    state = np.where(inside, found.state, np.uint8(State.OUTSIDE))
    flag_scores(found.score, state, weak_sigma=detect.weak_sigma, strong_sigma=detect.strong_sigma)
    if fit.water is not None:
        turned = np.where(found.shown, state, np.uint8(State.OUTSIDE))
        flag_water(comparison, fit.water, found.before, found.after, turned)
        state = np.where(found.shown, turned, state)
    runs = runs_of(found.score, state, found.before, found.after, row0=window.row0, col0=window.col0)
    return runs, found.score, state


def flag_water(comparison: Comparison, water: WaterTurn, before: Array, after: Array, state: Array) -> None:
    """Raise the pixels of `state` where land became water or water land."""
    flag_water_turns(
        before,
        after,
        state,
        water,
        before_radiometry=feature_radiometry(comparison, comparison.before)[1],
        after_radiometry=feature_radiometry(comparison, comparison.after)[1],
    )


def _joined(results: list[BlockResult], bands: int) -> BlockResult:
    runs = [np.empty((0, 3), np.int32), *(r.runs for r in results)]
    sums = [np.empty((0, 3 + 2 * bands), np.int64), *(r.sums for r in results)]
    unseen = [np.empty((0, 4), np.int32), *(r.unseen for r in results)]
    return BlockResult(np.concatenate(runs), np.concatenate(sums), np.concatenate(unseen))
