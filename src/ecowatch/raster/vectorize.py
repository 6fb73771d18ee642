"""Burn polygons into pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from rasterio.features import geometry_mask
from shapely import box, intersection, prepare
from shapely.geometry.base import BaseGeometry

from ..grid import Grid

Array = np.ndarray[Any, Any]


def burn(geometry: BaseGeometry, grid: Grid) -> Array:
    """Return which pixel centres of `grid` lie inside a polygon.

    Parameters
    ----------
    geometry
        Polygon or MultiPolygon in the CRS of `grid`.
    grid
        The pixels wanted; keep it small, a block at a time.

    Returns
    -------
    ndarray
        Bool, ``(row, col)``.
    """
    frame = box(*grid.bounds)
    prepare(geometry)
    if not geometry.intersects(frame):
        return np.zeros(grid.shape, bool)
    if geometry.contains(frame):
        return np.ones(grid.shape, bool)
    # A margin keeps the cut edge away from pixel centres, so that block and whole agree.
    margin = 2 * max(grid.pixel_size)
    part = intersection(geometry, box(*frame.buffer(margin).bounds))
    if part.is_empty:
        return np.zeros(grid.shape, bool)
    result: Array = geometry_mask([part], grid.shape, grid.transform, invert=True)
    return result
