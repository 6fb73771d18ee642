"""Compiled loops of `raster`: plain arrays in, `out` filled; arguments are checked by the callers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiled_kernels import kernel

Array = np.ndarray[Any, Any]


@kernel
def spread_bands(tile: Array, first_row: int, first_col: int, differenced: bool, bands: Array, out: Array) -> None:
    """Fill `out` (band, row, col) from a tile (row, col, band) of the same integers, undoing differences along rows.

    `bands` (int64) says which bands are wanted, counted from 0; (`first_row`, `first_col`) is the tile's pixel that
    becomes the first one of `out`. Sums wrap around as the coder's differences did.
    """
    count, rows, cols = out.shape
    for y in range(rows):
        for k in range(count):
            # One band of one row as a view: an index that cannot be negative costs half of one that might.
            line = tile[first_row + y, :, bands[k]]
            part = line[first_col:]
            row = out[k, y]
            if differenced:
                # One running sum in a register; storing it cuts it to the width of the numbers.
                value = np.int64(0)
                for x in range(first_col):
                    value += line[x]
                for x in range(cols):
                    value += part[x]
                    row[x] = value
            else:
                for x in range(cols):
                    row[x] = part[x]
