"""Windows of work: the lattice moved up and left a little, so that no margin reaches into a block that is still to come.

A pixel is decided by what lies some pixels around it. On windows that are lattice blocks, every margin would decode the next
block, and at the edge of a tile both neighbours would decode both of its sides. Moved by more than a margin, a window lies in
its own block and in those above and left of it, of which the last rows and columns are enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product
from typing import Any

import numpy as np
import shapely

from ..detect import WINDOWED
from ..grid import BLOCK_PX, Window
from .pair import Comparison

Array = np.ndarray[Any, Any]

EARLY_PX = 16
"""How far windows are moved: more than displacement, mask edge and texture reach; what reaches further is decoded again."""


def early_px(comparison: Comparison) -> int:
    """Return how far the windows of a comparison are moved; 0 where a method looks at whole lattice blocks."""
    whole = comparison.parts or comparison.pipeline.detect.method in WINDOWED
    return 0 if whole else EARLY_PX


def area_tiles(comparison: Comparison, height_px: int, width_px: int) -> Iterator[Window]:
    """Yield the tiles of a comparison's grid, row by row.

    Parameters
    ----------
    comparison
        Its grid and its method.
    height_px, width_px
        Distance of the tiles' edges; the first ones are smaller, the last ones larger by what windows are moved.
    """
    grid, early = comparison.grid, early_px(comparison)
    rows, cols = (_cuts(side, step, early) for side, step in zip(grid.shape, (height_px, width_px), strict=True))
    for (row0, row1), (col0, col1) in product(pairwise(rows), pairwise(cols)):
        yield Window(row0, col0, row1, col1)


def area_windows(comparison: Comparison, tile: Window) -> list[Window]:
    """Return the windows of a tile that touch the area, row by row.

    Parameters
    ----------
    comparison
        Its area, grid and method.
    tile
        Part of its grid; every window lies in it.
    """
    grid, early = comparison.grid, early_px(comparison)
    rows = _within(_cuts(grid.shape[0], BLOCK_PX, early), tile.row0, tile.row1)
    cols = _within(_cuts(grid.shape[1], BLOCK_PX, early), tile.col0, tile.col1)
    windows = [Window(row0, col0, row1, col1) for (row0, row1), (col0, col1) in product(pairwise(rows), pairwise(cols))]
    boxes = shapely.box(*np.array([grid.window_bounds(window) for window in windows]).T)
    geometry = comparison.area.geometry
    shapely.prepare(geometry)
    return [w for w, touches in zip(windows, shapely.intersects(geometry, boxes), strict=True) if touches]


def around(window: Window, inside: Array) -> tuple[Window, Array]:
    """Cut a window to the pixels of the area: blocks that only its rest would touch stay undecoded.

    Parameters
    ----------
    window
        Part of a grid.
    inside
        Bool ``(row, col)``: its pixels of the area.

    Returns
    -------
    tuple
        The smallest window with all these pixels, and `inside` over it; of a window without any, no pixels come back.
    """
    rows, cols = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return window, inside[:0]
    own = Window(int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1)
    return own.moved(window.row0, window.col0), np.ascontiguousarray(inside[own.within(Window(0, 0, *window.shape))])


def _cuts(side: int, step: int, early: int) -> list[int]:
    """Edges every `step` pixels of a side, moved; only where a step still begins, so that no sliver is left at the end."""
    return [0, *(edge - early for edge in range(step, side, step)), side]


def _within(cuts: list[int], first: int, last: int) -> list[int]:
    return [first, *(cut for cut in cuts if first < cut < last), last]
