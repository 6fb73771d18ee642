"""What the tiles of one comparison found, joined: read once, for the second look and for the rows that follow it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..patches import PixelPatch
from .candidates import pixel_patches
from .pair import Comparison
from .tile import TileResult

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Found:
    """What the tiles that went well found together.

    Parameters
    ----------
    patches
        Candidates, in their fixed order.
    unseen
        int32 ``(n, 4)``: runs that were not seen (row, first column, last column + 1, state), in any order.
    inside_px, observed_px
        Pixels of the area in these tiles, and those of them that were seen in both dates.
    """

    patches: Sequence[PixelPatch]
    unseen: Array
    inside_px: int
    observed_px: int


def found_in(comparison: Comparison, tiles: Sequence[TileResult]) -> Found:
    """Join the tiles of a comparison.

    Parameters
    ----------
    comparison
        What they are tiles of.
    tiles
        Results in any order.
    """
    return Found(
        pixel_patches(comparison, [tile.blocks for tile in tiles]),
        np.concatenate([np.empty((0, 4), np.int32), *(tile.blocks.unseen for tile in tiles)]),
        sum(tile.inside_px for tile in tiles),
        sum(tile.observed_px for tile in tiles),
    )
