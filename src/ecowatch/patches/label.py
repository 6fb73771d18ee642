"""Flagged runs to patches: joined across block and tile edges, kept by hysteresis, turned into polygons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import shapely
from shapely.geometry import MultiPolygon
from shapely.geometry.base import BaseGeometry

from ..grid import Grid, Window
from ._kernels import draw_runs, group_runs, sort_by_group, total_groups
from ._trace_kernels import solid_parts, trace_parts

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class PixelPatch:
    """One connected group of flagged pixels.

    Parameters
    ----------
    runs
        int32 ``(n, 3)``: row, first column, last column + 1 on the area's grid, sorted.
    sums
        int64: strong pixels, Σ and max of 100·√score, Σ before and Σ after per band.
    """

    runs: Array
    sums: Array

    @cached_property
    def pixels(self) -> int:
        """Number of flagged pixels."""
        return int((self.runs[:, 2] - self.runs[:, 1]).sum())

    @cached_property
    def window(self) -> Window:
        """The smallest window that holds it."""
        return Window(
            int(self.runs[0, 0]),
            int(self.runs[:, 1].min()),
            int(self.runs[-1, 0]) + 1,
            int(self.runs[:, 2].max()),
        )

    def image(self, border_px: int = 0) -> Array:
        """Return the patch as uint8 over its window, grown by an empty border."""
        window = self.window.padded(border_px)
        image = np.zeros(window.shape, np.uint8)
        draw_runs(self.runs, window.row0, window.col0, image)
        return image


def connected(runs: Array) -> Array:
    """Return a group number for each run, 8-connected; groups are numbered by their first run.

    Parameters
    ----------
    runs
        int32 ``(n, ≥3)``: row, first column, last column + 1; sorted by row and column, without overlap.

    Returns
    -------
    ndarray
        int64 ``(n,)``: 0, 1, 2 … in order of first appearance.
    """
    parent, group = np.empty(len(runs), np.int64), np.empty(len(runs), np.int64)
    group_runs(runs, 1, parent, group)
    return group


class Groups(NamedTuple):
    """Connected groups of runs, as arrays: group k has ``runs[bounds[k]:bounds[k + 1]]`` and ``sums[k]``."""

    runs: Array
    bounds: Array
    sums: Array


def grouped(runs: Array, sums: Array, *, min_strong_px: int, min_px: int) -> Groups:
    """Join runs of all blocks into groups and keep those with enough strong pixels (hysteresis).

    Parameters
    ----------
    runs, sums
        As `detect.BlockResult` gives them, of all blocks in any order.
    min_strong_px
        A group with fewer strong pixels is noise that only reached the weak threshold.
    min_px
        Groups with fewer pixels cannot reach any minimum area.

    Returns
    -------
    Groups
        Ordered by first row, then first column: independent of the order of blocks and tiles.
    """
    # Rows and columns in one number; what one block gives is in order already.
    key = (runs[:, 0].astype(np.int64) << 32) + runs[:, 1]
    if not (key[1:] > key[:-1]).all():
        order = np.argsort(key, kind="stable")
        runs, sums = runs[order], sums[order]
    group = connected(runs)
    count = int(group.max()) + 1 if len(group) else 0
    totals, pixels, lengths = (np.zeros((count, *more), np.int64) for more in (sums.shape[1:], (), ()))
    total_groups(runs, sums, group, totals, pixels, lengths)
    kept = (totals[:, 0] >= min_strong_px) & (pixels >= min_px)
    bounds = np.concatenate([[0], np.cumsum(lengths[kept])])
    place = np.full(count, -1, np.int64)
    place[kept] = bounds[:-1]
    out = np.empty((int(bounds[-1]), 3), runs.dtype)
    sort_by_group(runs, group, place, out)
    return Groups(out, bounds, totals[kept])


def patches_from_runs(runs: Array, sums: Array, *, min_strong_px: int, min_px: int) -> list[PixelPatch]:
    """Return the groups that `grouped` gives, each as a value of its own."""
    groups = grouped(runs, sums, min_strong_px=min_strong_px, min_px=min_px)
    ends = groups.bounds.tolist()
    return [PixelPatch(groups.runs[a:b], total) for (a, b), total in zip(pairwise(ends), groups.sums, strict=True)]


def polygon_of(patch: PixelPatch, grid: Grid, *, max_hole_m2: float) -> BaseGeometry:
    """Return the outline of one patch, as `outlines_of` does."""
    outline: BaseGeometry = outlines_of([patch], grid, max_hole_m2=max_hole_m2)[0]
    return outline


def outlines_of(patches: Sequence[PixelPatch], grid: Grid, *, max_hole_m2: float) -> Array:
    """Return the outlines of patches along their pixel edges, small holes filled; valid as they are traced.

    Parameters
    ----------
    patches
        Connected pixels; those that meet at corners only become parts of a MultiPolygon.
    grid
        The area's grid.
    max_hole_m2
        Holes up to this size, in square metres, are filled.

    Returns
    -------
    ndarray
        Polygon or MultiPolygon each, in the CRS of `grid`.
    """
    if not patches:
        return np.empty(0, object)
    runs = np.concatenate([patch.runs[:, :3] for patch in patches])
    bounds = np.concatenate([[0], np.cumsum([len(patch.runs) for patch in patches])])
    return outlines_of_groups(runs, bounds, grid, max_hole_m2=max_hole_m2)


def outlines_of_groups(runs: Array, bounds: Array, grid: Grid, *, max_hole_m2: float) -> Array:
    """Return the outlines of `Groups`; otherwise as `outlines_of`."""
    if len(bounds) == 1:
        return np.empty(0, object)
    solid, part = np.empty((len(runs), 3), np.int32), np.empty(len(runs), np.int64)
    lengths, parts_of = np.empty(len(runs), np.int64), np.empty(len(bounds) - 1, np.int64)
    count, parts = solid_parts(runs, bounds, max_hole_m2 / grid.pixel_m**2, solid, part, lengths, parts_of)
    single = parts_of == 1
    # Patches of one part first: polygons and multipolygons are then two stretches of one array.
    order = np.argsort(np.repeat(~single, parts_of), kind="stable")
    until = np.concatenate([[0], np.cumsum(lengths[order])])
    place = np.empty(parts, np.int64)
    place[order] = until[:-1]
    by_part = np.empty((count, 3), np.int32)
    sort_by_group(solid[:count], part[:count], place, by_part)
    # Each run has four corners at most, and each ring, with two sides or more, repeats one.
    points, ends, rings = np.empty((5 * count, 2)), np.empty(count + 1, np.int64), np.empty(parts + 1, np.int64)
    t = grid.transform
    trace_parts(by_part, until, (t.c, t.a, t.f, t.e), points, ends, rings)
    return _geometries(points, ends, rings, parts_of, single)


def _geometries(points: Array, ends: Array, rings: Array, parts_of: Array, single: Array) -> Array:
    """Put traced rings together: a patch of one part is a polygon, others are parts of a multipolygon each."""
    outlines = np.empty(len(single), object)
    polygons = int(single.sum())
    cut = ends[rings[polygons]]
    if polygons:
        offsets = ends[: rings[polygons] + 1], rings[: polygons + 1]
        outlines[single] = shapely.from_ragged_array(shapely.GeometryType.POLYGON, points[:cut], offsets)
    if polygons < len(single):
        own_ends, own_rings = ends[rings[polygons] : rings[-1] + 1] - cut, rings[polygons:] - rings[polygons]
        owners = np.concatenate([[0], np.cumsum(parts_of[~single])])
        outlines[~single] = shapely.from_ragged_array(
            shapely.GeometryType.MULTIPOLYGON, points[cut : ends[rings[-1]]], (own_ends, own_rings, owners)
        )
    return outlines


def simplified(geometries: list[BaseGeometry], *, tolerance: float) -> list[BaseGeometry]:
    """Smooth the pixel steps of outlines without opening gaps or overlaps between neighbours.

    Parameters
    ----------
    geometries
        Valid polygons that do not overlap.
    tolerance
        Side of the largest triangle that may be cut off, in CRS units; 0 keeps the steps.

    Returns
    -------
    list
        One geometry each; a patch that simplification would spoil keeps its steps.

    Source
    ------
    Visvalingam & Whyatt (1993), on the shared edges of the whole set (GEOS coverage simplification).
    """
    if tolerance <= 0 or not geometries:
        return geometries
    smooth = shapely.coverage_simplify(np.array(geometries, object), tolerance)
    return [
        s if s.is_valid and not s.is_empty and abs(s.area - g.area) <= 0.1 * g.area else g
        for g, s in zip(geometries, smooth, strict=True)
    ]


def outline_of_runs(runs: Array, grid: Grid) -> BaseGeometry:
    """Return the union of runs ``(row, first col, last col + 1)`` as one polygon set in the CRS of `grid`."""
    order = np.lexsort((runs[:, 1], runs[:, 0]))
    groups = grouped(runs[order, :3], np.zeros((len(runs), 3), np.int64), min_strong_px=0, min_px=0)
    # Groups of runs never touch: their outlines stand side by side as they are.
    outlines = outlines_of_groups(groups.runs, groups.bounds, grid, max_hole_m2=0.0)
    return MultiPolygon(list(shapely.get_parts(outlines)))
