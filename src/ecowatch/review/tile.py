"""The spine: one tile of one comparison, from pixels to run-lengths."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import replacing
from ..codes import State
from ..detect import BlockResult, WaterTurn, block_runs, detect_block, flag_scores, flag_water_turns
from ..errors import SceneError
from ..grid import BLOCK_PX, Window
from ..patches import PixelPatch
from ..prepare import edges_off
from ..raster import GridReader, Reading, burn
from .candidates import joined_blocks, patch_key, pixel_patches, whole_and_open
from .deviations import deviations
from .fit import Fit, area_blocks
from .look import Looked, look_order, look_through, look_window, looks_of, looks_text
from .pair import Comparison
from .pixels import feature_radiometry, read_pair, read_values

Array = np.ndarray[Any, Any]

# Candidates looked at together: a block that cannot be read costs the looks of no more than these.
_TOGETHER = 64


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
    looks
        What the second look says of candidates that lie in the tile whole, by `patch_key`.
    score, state
        float32 and uint8 over the tile, only where rasters were asked for.
    """

    blocks: BlockResult
    inside_px: int
    observed_px: int
    looks: Mapping[str, Looked] = field(default_factory=dict)
    score: Array | None = None
    state: Array | None = None

    def save(self, path: Path) -> None:
        """Write the result as a whole, beside and renamed."""
        arrays: dict[str, Array] = {
            "runs": self.blocks.runs,
            "sums": self.blocks.sums,
            "unseen": self.blocks.unseen,
            "counts": np.array([self.inside_px, self.observed_px], np.int64),
            "looks": np.frombuffer(_looks_bytes(self.looks), np.uint8),
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
                _looks_from(data["looks"].tobytes()),
                data.get("score"),
                data.get("state"),
            )


def _looks_bytes(looks: Mapping[str, Looked]) -> bytes:
    keys = sorted(looks)
    return json.dumps([keys, looks_text([looks[key] for key in keys])]).encode()


def _looks_from(raw: bytes) -> dict[str, Looked]:
    keys, text = json.loads(raw)
    return dict(zip(keys, looks_of(text), strict=True))


def tile_width_px(comparison: Comparison, *, tile_px: int, cache_bytes: int) -> int:
    """Return how wide tiles are, so that two rows of their blocks stay decoded: the second look needs both.

    Parameters
    ----------
    comparison
        Tells how many bytes a block takes.
    tile_px
        The widest.
    cache_bytes
        Decoded blocks that a worker keeps.
    """
    if tile_px <= BLOCK_PX:
        return tile_px
    scenes = [group.scenes[0] for group in (comparison.before, comparison.after)]
    layers = [scene.band(role).layer for scene in scenes for role in comparison.roles]
    layers += [scene.quality.layer for scene in scenes if scene.quality is not None]
    block_bytes = BLOCK_PX**2 * sum(np.dtype(layer.dtype).itemsize for layer in layers)
    # Two blocks more than two rows: the margins of a block reach into its neighbours in the tiles beside.
    return max(1, min(tile_px // BLOCK_PX, (cache_bytes // block_bytes - 2) // 2)) * BLOCK_PX


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


def process(
    task: Task,
    fit: Fit,
    reading: Reading = Reading(),  # noqa: B008 - a frozen value
) -> TileResult:
    """Compare the two dates over one tile, and look again at the candidates that lie in it whole.

    Parameters
    ----------
    task
        What to compare.
    fit
        How.
    reading
        How files are read; two rows of blocks in its cache let the second look find them decoded.

    Raises
    ------
    SceneError
        Where a block cannot be read; the tile is then reported as failed and the others go on.
    """
    comparison = task.comparison
    score = np.zeros(task.tile.shape, np.float32) if task.rasters else None
    state = np.zeros(task.tile.shape, np.uint8) if task.rasters else None
    results, inside_px, observed_px = [], 0, 0
    with GridReader(comparison.grid, reading) as reader:
        second = _SecondLook(reader, comparison, fit, task.tile)
        for _, row_of_blocks in groupby(area_blocks(comparison, task.tile), key=lambda block: block.row0):
            row_results = []
            for block in row_of_blocks:
                window = block.intersection(task.tile)
                assert window is not None
                inside = burn(comparison.area.geometry, comparison.grid.cropped(window))
                if not inside.any():
                    continue
                result, block_score, block_state = _process_block(reader, comparison, fit, window, inside)
                row_results.append(result)
                inside_px += int(inside.sum())
                observed_px += int(np.count_nonzero((block_state == State.USABLE) | (block_state >= State.WEAK)))
                if score is not None and state is not None:
                    score[window.within(task.tile)] = block_score
                    state[window.within(task.tile)] = block_state
            results += row_results
            second.take(row_results, min(block.row1, task.tile.row1))
        second.finish()
    bands = len(feature_radiometry(comparison, comparison.before)[0])
    return TileResult(joined_blocks(results, bands), inside_px, observed_px, second.looks, score, state)


class _SecondLook:
    """Looks at the candidates of a tile as soon as they and their surroundings are known, while their blocks are decoded.

    What it says of a candidate depends on its pixels and the fit alone; candidates that reach beyond the tile are left to
    whoever joins the tiles.
    """

    def __init__(self, reader: GridReader, comparison: Comparison, fit: Fit, tile: Window) -> None:
        self.looks: dict[str, Looked] = {}
        self._reader, self._comparison, self._fit, self._tile = reader, comparison, fit, tile
        self._bands = len(feature_radiometry(comparison, comparison.before)[0])
        self._open: list[BlockResult] = []
        self._waiting: list[PixelPatch] = []

    def take(self, row_results: Sequence[BlockResult], done_row: int) -> None:
        """Take a row of blocks that reaches down to `done_row`."""
        if self._comparison.parts:
            return
        found = joined_blocks([*self._open, *row_results], self._bands)
        whole, still = whole_and_open(found, self._tile, self._comparison.grid.window, done_row)
        self._open = [still]
        self._waiting += pixel_patches(self._comparison, [whole])
        ready = [patch for patch in self._waiting if look_window(patch).row1 <= done_row]
        self._waiting = [patch for patch in self._waiting if look_window(patch).row1 > done_row]
        self._look(ready)

    def finish(self) -> None:
        """Look at what waited for rows beyond the tile."""
        self._look(self._waiting)

    def _look(self, patches: Sequence[PixelPatch]) -> None:
        ordered = [patches[number] for number in look_order(patches)]
        for near in (ordered[i : i + _TOGETHER] for i in range(0, len(ordered), _TOGETHER)):
            # A block that cannot be read is told by the tile that holds it, or by the look that follows the tiles.
            with suppress(SceneError):
                looks = look_through(self._reader, self._comparison, self._fit, near)
                self.looks |= {patch_key(patch): look for patch, look in zip(near, looks, strict=True)}


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

    def wider(part: Window) -> tuple[Array, Array]:
        return read_values(reader, comparison, part.moved(window.row0, window.col0), shift=fit.applied)

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
    # A run keeps the root of a sum of squares; a deviation is that root already.
    squared = np.square(found.score)
    runs = block_runs(squared, state, found.before, found.after, row0=window.row0, col0=window.col0)
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
