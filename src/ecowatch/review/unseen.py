"""What was not observed, and why: never "no change"."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from pyproj import CRS
from shapely.geometry import MultiPolygon
from shapely.geometry.base import BaseGeometry

from ..areas import Area
from ..codes import NotObserved, State
from ..grid import Window, geodesic_area_m2, transformed
from ..patches import PixelPatch, outline_of_runs
from ..settings import Pipeline
from .pair import Comparison
from .result import Surroundings

Array = np.ndarray[Any, Any]
_SURROUNDINGS_PX = 3


def observed_around(patch: PixelPatch, rows: Array, unseen: Array) -> float:
    """Share of the patch's frame, grown by a few pixels, that was not hidden: a low one means it may go on unseen.

    `unseen` are runs sorted by row, `rows` their rows by themselves.
    """
    window = patch.window.padded(_SURROUNDINGS_PX)
    first, last = np.searchsorted(rows, np.array((window.row0, window.row1), rows.dtype))
    part = unseen[first:last]
    hidden = np.clip(np.minimum(part[:, 2], window.col1) - np.maximum(part[:, 1], window.col0), 0, None).sum()
    return round(1 - float(hidden) / math.prod(window.shape), 4)


def unseen_rows(
    comparison: Comparison,
    unseen: Array,
    failed: Sequence[Window],
    area: Area,
    surroundings: Surroundings,
) -> list[dict[str, Any]]:
    """Return the rows of the layer `not_observed` of one comparison: hidden, without data, failed."""
    grid, crs, allowed = comparison.grid, surroundings.crs, surroundings.allowed
    rows = []
    for state, reason in ((State.MASKED, NotObserved.MASKED), (State.NO_DATA, NotObserved.NO_DATA)):
        runs = unseen[unseen[:, 3] == state]
        if len(runs):
            outline = transformed(outline_of_runs(runs, grid), grid.crs, crs, allowed)
            rows.append(unseen_row(area, comparison.pipeline, reason, outline, crs))
    if failed:
        tiles = shapely.union_all([shapely.box(*grid.window_bounds(tile)) for tile in failed])
        placed = transformed(tiles, grid.crs, crs, allowed)
        outline = shapely.intersection(placed, area.geometry)
        rows.append(unseen_row(area, comparison.pipeline, NotObserved.FAILED, outline, crs))
    return rows


def unseen_row(
    area: Area, pipeline: Pipeline | None, reason: NotObserved, geometry: BaseGeometry, crs: CRS
) -> dict[str, Any]:
    """Return one row of the layer `not_observed`."""
    polygons = polygons_of(geometry)
    return {
        "area_id": area.area_id,
        "pipeline": pipeline.name if pipeline else None,
        "reason": str(reason),
        "reason_zh": reason.zh,
        "reason_en": reason.en,
        "area_ha": round(geodesic_area_m2(polygons, crs) / 1e4, 4),
        "geometry": polygons,
    }


def polygons_of(geometry: BaseGeometry) -> MultiPolygon:
    """Return the polygons of a geometry, without the lines and points that cutting leaves."""
    if geometry.geom_type == "Polygon" and not geometry.is_empty:
        return shapely.multipolygons([geometry])
    parts = [p for p in shapely.get_parts(geometry) if p.geom_type == "Polygon" and not p.is_empty]
    parts += [q for p in shapely.get_parts(geometry) if p.geom_type == "MultiPolygon" for q in p.geoms]
    return MultiPolygon(parts)
