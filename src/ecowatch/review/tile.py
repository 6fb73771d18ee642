"""The spine: one tile of one comparison, from pixels to run-lengths."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ..atomic import damaged_error, lost_error, replacing
from ..codes import State
from ..detect import BlockResult, WaterTurn, block_runs, detect_block, flag_scores, flag_water_turns
from ..grid import BLOCK_PX, Window
from ..prepare import edges_off
from ..raster import GridReader, Reading, burn
from .deviations import deviations
from .early_looks import EarlyLooks
from .fit import Fit
from .look import Looked, looks_of, looks_text
from .pair import Comparison
from .pixels import feature_radiometry, read_pair, read_values
from .windows import area_windows, around, early_px

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
    """What a tile leaves behind: run-lengths with exact sums, and counts of pixels.

    Parameters
    ----------
    blocks
        Flagged runs that are, or may become with those of the tiles around, part of a candidate; and unseen runs.
    inside_px, observed_px
        Pixels of the area in this tile, and those of them that were seen in both dates.
    looks
        What the second look says of candidates, by `patch_key`: of those that lie in the tile whole, and of those that reach
        in from the left where the tile there was done just before. It says the same wherever it is taken.
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
        """Read what `save` wrote.

        Raises
        ------
        StorageError
            ``KEPT_LOST`` where it is not there any more, ``KEPT_DAMAGED`` where it is no such file.
        """
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as data:
                inside, observed = (int(n) for n in data["counts"])
                return cls(
                    BlockResult(data["runs"], data["sums"], data["unseen"]),
                    inside,
                    observed,
                    _looks_from(data["looks"].tobytes()),
                    data.get("score"),
                    data.get("state"),
                )
        except OSError as error:
            raise lost_error(path, error) from error
        except (ValueError, KeyError, TypeError, AttributeError, EOFError, BadZipFile, zlib.error) as error:
            raise damaged_error(path, error) from error


def _looks_bytes(looks: Mapping[str, Looked]) -> bytes:
    keys = sorted(looks)
    return json.dumps([keys, looks_text([looks[key] for key in keys])]).encode()


def _looks_from(raw: bytes) -> dict[str, Looked]:
    keys, text = json.loads(raw)
    return dict(zip(keys, looks_of(text), strict=True))


def tile_width_px(comparison: Comparison, *, tile_px: int, cache_bytes: int) -> int:
    """Return how wide tiles are, so that two rows of their blocks stay decoded: candidates lie across both.

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
    # Windows that are not moved reach into the blocks beside the tile, on both sides.
    beside = 1 if early_px(comparison) else 2
    return max(1, min(tile_px // BLOCK_PX, (cache_bytes // sum(comparison.block_bytes) - beside) // 2)) * BLOCK_PX


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
    """Compare the two dates over one tile, and look again at the candidates that are whole by its end.

    Where the same thread did the tile on the left before, those are also the ones that reach in from it.

    Threads must not share a comparison: GEOS makes the index of its boundary when it is first asked. The engine gives each
    job its own.

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
    inside_px = observed_px = 0
    with GridReader(comparison.grid, reading) as reader:
        looks = EarlyLooks(reader, comparison, fit, task.tile)
        for (row0, row1), row_of_windows in groupby(
            area_windows(comparison, task.tile), key=lambda w: (w.row0, w.row1)
        ):
            row_results = []
            for touched in row_of_windows:
                window, inside = around(touched, burn(comparison.area.geometry, comparison.grid.cropped(touched)))
                if not inside.size:
                    continue
                result, block_score, block_state = _process_block(reader, comparison, fit, window, inside)
                row_results.append(result)
                inside_px += int(inside.sum())
                observed_px += int(np.count_nonzero((block_state == State.USABLE) | (block_state >= State.WEAK)))
                if score is not None and state is not None:
                    score[window.within(task.tile)] = block_score
                    state[window.within(task.tile)] = block_state
            looks.take(row_results, row0, row1)
        blocks = looks.finish()
    return TileResult(blocks, inside_px, observed_px, looks.found, score, state)


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
