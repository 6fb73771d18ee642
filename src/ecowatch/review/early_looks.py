"""What a tile keeps of its flags, and second looks from within it: while the blocks of a candidate are still decoded."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from ..detect import BlockResult
from ..errors import SceneError
from ..grid import Window
from ..patches import PixelPatch
from ..raster import GridReader
from .candidates import (
    group_windows,
    groups_with,
    joined_blocks,
    patch_key,
    pixel_patches,
    whole_and_open,
    without_noise,
)
from .fit import Fit
from .look import BORDER_PX, Looked, look_order, look_through, look_window
from .pair import Comparison
from .pixels import feature_radiometry
from .windows import EARLY_PX

Array = np.ndarray[Any, Any]

# Candidates looked at together: a block that cannot be read costs the looks of no more than these.
_TOGETHER = 64
# A candidate at the edge may grow by so much and still find its surroundings, margins included.
_GROWTH_PX = 16
_LARGEST_HELD_PX = 512


class _Carried(NamedTuple):
    """What a thread remembers of the tile it did last: the candidates that reach into the next one, and the rows and columns
    within which they are known."""

    key: str
    region: Window
    found: BlockResult


_LAST = threading.local()


class EarlyLooks:
    """Gathers the flags of a tile and looks at its candidates as soon as they and their surroundings are known.

    Groups that nothing can be added to and that are too small or too weak are given up row by row: most flags are such noise.

    What it says of a candidate depends on its pixels and the fit alone. Where the same thread has just done the tile on the
    left, the candidates that cross the edge are looked at too; others that reach beyond the tile are left to whoever joins
    the tiles.

    Parameters
    ----------
    reader
        Open on the comparison's grid.
    comparison, fit
        What is compared, and how it was fitted.
    tile
        The tile.
    """

    def __init__(self, reader: GridReader, comparison: Comparison, fit: Fit, tile: Window) -> None:
        self.found: dict[str, Looked] = {}
        self._reader, self._comparison, self._fit, self._tile = reader, comparison, fit, tile
        self._grid = comparison.grid.window
        self._bands = len(feature_radiometry(comparison, comparison.before)[0])
        self._waiting: list[PixelPatch] = []
        self._kept: list[BlockResult] = []
        self._unseen: list[Array] = []
        self._open, self._region = joined_blocks([], self._bands), tile
        last: _Carried | None = getattr(_LAST, "carried", None)
        beside = tile.row0, tile.col0, tile.row1
        if last and last.key == comparison.key and (last.region.row0, last.region.col1, last.region.row1) == beside:
            self._open, self._region = last.found, Window(tile.row0, last.region.col0, tile.row1, tile.col1)

    def take(self, row_results: Sequence[BlockResult], row0: int, row1: int) -> None:
        """Take what was found in a row of windows; all rows above were taken before."""
        self._unseen += [result.unseen for result in row_results]
        found = joined_blocks([self._open, *row_results], self._bands)
        whole, self._open = whole_and_open(found, self._region, self._grid, row1)
        whole = without_noise(self._comparison, whole, self._tile.col0)
        self._kept.append(whole)
        if self._comparison.parts:
            return
        self._waiting += pixel_patches(self._comparison, [whole])
        ready = [patch for patch in self._waiting if look_window(patch).row1 <= row1]
        self._waiting = [patch for patch in self._waiting if look_window(patch).row1 > row1]
        # First, since looks may decode other blocks.
        self._hold(row0, row1)
        self._look(ready)

    def finish(self) -> BlockResult:
        """Look at what waited for rows beyond the tile, and remember what reaches into the next one.

        Returns
        -------
        BlockResult
            The tile's own runs of all groups that may belong to a candidate, and those that were not seen.
        """
        self._look(self._waiting)
        self._reader.turn()
        beyond = groups_with(self._open, self._open.runs[:, 2] == self._tile.col1)
        _LAST.carried = _Carried(self._comparison.key, self._region, beyond)
        kept = joined_blocks([*self._kept, self._open], self._bands)
        # What reached in from the tile on the left stands there.
        order = np.lexsort((kept.runs[:, 1], kept.runs[:, 0]))
        order = order[kept.runs[order, 1] >= self._tile.col0]
        return BlockResult(kept.runs[order], kept.sums[order], np.concatenate([kept.unseen, *self._unseen]))

    def _hold(self, row0: int, row1: int) -> None:
        """Hold what a row of windows leaves to the next row, and to the next tile, of the blocks that are decoded now."""
        edge = self._tile.col1
        below = Window(row1 - EARLY_PX, self._tile.col0 - EARLY_PX, row1 + EARLY_PX, edge + EARLY_PX)
        self._reader.hold(below, soon=True)
        if edge == self._grid.col1:
            return
        self._reader.hold(Window(row0, edge - EARLY_PX, row1 + EARLY_PX, edge + EARLY_PX))
        for window in group_windows(groups_with(self._open, self._open.runs[:, 2] == edge).runs):
            if max(window.shape) <= _LARGEST_HELD_PX:
                self._reader.hold(window.padded(BORDER_PX + _GROWTH_PX))

    def _look(self, patches: Sequence[PixelPatch]) -> None:
        ordered = [patches[number] for number in look_order(patches)]
        for near in (ordered[i : i + _TOGETHER] for i in range(0, len(ordered), _TOGETHER)):
            # A block that cannot be read is told by the tile that holds it, or by the look that follows the tiles.
            with suppress(SceneError):
                looks = look_through(self._reader, self._comparison, self._fit, near)
                self.found |= {patch_key(patch): look for patch, look in zip(near, looks, strict=True)}
