"""Flagged runs to patches: joined across block and tile edges, kept by hysteresis, turned into polygons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from scipy import ndimage
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from ..grid import Grid, Window
from ._kernels import draw_runs, label_runs, trace_rings

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

    @property
    def pixels(self) -> int:
        """Number of flagged pixels."""
        return int((self.runs[:, 2] - self.runs[:, 1]).sum())

    @property
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
    parent = np.empty(len(runs), np.int64)
    if len(runs):
        label_runs(np.ascontiguousarray(runs[:, :3]), parent)
    return np.unique(parent, return_inverse=True)[1].reshape(-1)


def patches_from_runs(runs: Array, sums: Array, *, min_strong_px: int, min_px: int) -> list[PixelPatch]:
    """Join runs of all blocks into patches and keep those with enough strong pixels (hysteresis).

    Parameters
    ----------
    runs, sums
        As `detect.BlockResult` gives them, of all blocks in any order.
    min_strong_px
        A patch with fewer strong pixels is noise that only reached the weak threshold.
    min_px
        Patches with fewer pixels cannot reach any minimum area.

    Returns
    -------
    list of PixelPatch
        Ordered by first row, then first column: independent of the order of blocks and tiles.
    """
    order = np.lexsort((runs[:, 1], runs[:, 0]))
    runs, sums = runs[order], sums[order]
    group = connected(runs)
    by_group = np.argsort(group, kind="stable")
    bounds = np.flatnonzero(np.diff(group[by_group], prepend=-1, append=-1))
    if not len(runs):
        return []
    starts, sums, runs = bounds[:-1], sums[by_group], runs[by_group]
    totals = np.add.reduceat(sums, starts, axis=0)
    totals[:, 2] = np.maximum.reduceat(sums[:, 2], starts)
    pixels = np.add.reduceat((runs[:, 2] - runs[:, 1]).astype(np.int64), starts)
    kept = np.flatnonzero((totals[:, 0] >= min_strong_px) & (pixels >= min_px))
    return [PixelPatch(runs[bounds[i] : bounds[i + 1]], totals[i]) for i in kept]


def polygon_of(patch: PixelPatch, grid: Grid, *, max_hole_m2: float) -> BaseGeometry:
    """Return the outline of a patch along its pixel edges, small holes filled.

    Parameters
    ----------
    patch
        Connected pixels; those that meet at corners only become parts of a MultiPolygon.
    grid
        The area's grid.
    max_hole_m2
        Holes up to this size, in square metres, are filled.

    Returns
    -------
    Polygon or MultiPolygon
        Valid, in the CRS of `grid`.
    """
    window = patch.window.padded(1)
    largest_px = max_hole_m2 / grid.pixel_m**2
    shells, holes = _shells_and_holes(_filled(patch.image(border_px=1), largest_px))
    t = grid.transform

    def on_map(ring: Array) -> Array:
        return np.column_stack([t.c + t.a * (ring[:, 0] + window.col0), t.f + t.e * (ring[:, 1] + window.row0)])

    return _assembled([on_map(r) for r in shells], [on_map(r) for r in holes])


def _filled(inside: Array, largest_px: float) -> Array:
    """Fill holes of up to `largest_px` pixels; done on pixels, so that an island in a filled hole is filled over too."""
    if largest_px < 1:
        return inside
    holes, count = ndimage.label(inside == 0)
    if count == 1:
        return inside
    small = np.bincount(holes.ravel(), minlength=count + 1) <= largest_px
    # Zero is the patch itself; the border, which surrounds it, is label one.
    small[:2] = False
    return np.where(small[holes], np.uint8(1), inside)


def _shells_and_holes(inside: Array) -> tuple[list[Array], list[Array]]:
    """Rings of the outline, outer ones and holes."""
    # Each pixel has four corners and each ring repeats one.
    capacity = 5 * int(np.count_nonzero(inside)) + 8
    points, ends = np.empty((capacity, 2), np.int64), np.empty(capacity, np.int64)
    count = trace_rings(inside, points, ends)
    starts = np.concatenate([[0], ends[: count - 1]])
    shells: list[Array] = []
    holes: list[Array] = []
    for number in range(count):
        for ring in _simple_rings(points[starts[number] : ends[number]]):
            # An outline that meets itself at a corner carries a hole along, so each part is told by its own turn.
            area = float(np.sum(ring[:-1, 0] * ring[1:, 1] - ring[1:, 0] * ring[:-1, 1])) / 2
            (shells if area > 0 else holes).append(ring)
    return shells, holes


def _simple_rings(ring: Array) -> Iterator[Array]:
    """Split a ring that meets itself at corners, as holes of diagonal pixels do, into rings that do not."""
    keys = ring[:-1, 0] * (1 << 32) + ring[:-1, 1]
    if len(np.unique(keys)) == len(keys):
        yield ring
        return
    walked: list[int] = []
    place: dict[int, int] = {}
    for number, key in enumerate(keys.tolist()):
        if key in place:
            first = place[key]
            yield ring[[*walked[first:], walked[first]]]
            for other in walked[first + 1 :]:
                del place[int(keys[other])]
            del walked[first + 1 :]
        else:
            place[key] = len(walked)
            walked.append(number)
    yield ring[[*walked, walked[0]]]


def _assembled(shells: list[Array], holes: list[Array]) -> BaseGeometry:
    if len(shells) == 1:
        return _valid(Polygon(shells[0], holes))
    polygons = shapely.polygons([shapely.linearrings(shell) for shell in shells])
    inner: list[list[Array]] = [[] for _ in shells]
    if holes:
        areas, innermost = shapely.area(polygons), np.zeros(len(holes), int)
        # Where several shells hold a hole, it belongs to the innermost.
        points = shapely.point_on_surface(shapely.polygons([shapely.linearrings(hole) for hole in holes]))
        found, around = shapely.STRtree(polygons).query(points, predicate="within")
        for number in np.lexsort((-areas[around], found)):
            innermost[found[number]] = around[number]
        for hole, shell in zip(holes, innermost, strict=True):
            inner[shell].append(hole)
    parts = [Polygon(shell, rings) for shell, rings in zip(shells, inner, strict=True)]
    return _valid(MultiPolygon(parts))


def _valid(geometry: BaseGeometry) -> BaseGeometry:
    # A hole that meets itself at a corner is one ring too many for the standard; the repair keeps its area.
    return geometry if geometry.is_valid else shapely.make_valid(geometry, method="structure", keep_collapsed=False)


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
    patches = patches_from_runs(runs[order, :3], np.zeros((len(runs), 3), np.int64), min_strong_px=0, min_px=0)
    polygons = [polygon_of(patch, grid, max_hole_m2=0.0) for patch in patches]
    # Groups of runs never touch: their outlines stand side by side as they are.
    return MultiPolygon([part for polygon in polygons for part in shapely.get_parts(polygon)])
