"""What a patch measures: strength, spectra, shape, centre line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import shapely
from shapely.geometry import LineString, MultiLineString
from shapely.geometry.base import BaseGeometry

from ..grid import Grid
from ._shape_kernels import smallest_rectangles
from .context import Context
from .label import PixelPatch
from .lines import centre_lines

Array = np.ndarray[Any, Any]

__all__ = ["Evidence", "Shape", "mean_spectrum", "shapes_of", "straightness_of", "strength_of"]

# Thinning is worth its time only for patches that may be lines.
_LINE_LIKE = 1.5
_MAX_SKELETON_PX = 25_000_000
_LONG_EDGE_SHARE = 0.1
_LONG_EDGE_PX = 5


@dataclass(frozen=True)
class Evidence:
    """Spectra and shape of a patch, on which its activity is decided.

    Parameters
    ----------
    before, after
        Mean reflectance by band role.
    area_m2
        Geodesic area.
    length_m, width_m
        Centre line and mean width; for a compact patch the sides of its rectangle.
    rectangularity
        Share of the smallest rotated rectangle that the patch fills, 0–1.
    pixel_m
        Side of a pixel, metres.
    straightness
        Share of the outline on long straight edges, 0–1, of `straightness_of`; None where it was not measured.
    context
        What needs pixels; None where they were not read.
    slope_deg
        Slope of the ground, degrees, where given.
    carrier
        What was there before, where given.
    near
        What lies near, where known: ``coast``, ``river``, or codes of known activities.
    reflectance
        Whether the spectra are surface reflectance; else the bands have gains of their own, and colour counts for less.
    dark_before, dark_after
        Dark level by role, taken off the spectra before anything is judged; empty for surface reflectance.
    """

    before: dict[str, float]
    after: dict[str, float]
    area_m2: float
    length_m: float
    width_m: float
    rectangularity: float
    pixel_m: float
    straightness: float | None = None
    context: Context | None = None
    slope_deg: float | None = None
    carrier: str | None = None
    near: frozenset[str] = frozenset()
    reflectance: bool = True
    dark_before: Mapping[str, float] = field(default_factory=dict)
    dark_after: Mapping[str, float] = field(default_factory=dict)

    @property
    def pixels(self) -> float:
        """Area in pixels."""
        return self.area_m2 / self.pixel_m**2

    @property
    def elongation(self) -> float:
        """Length over width, at least 1."""
        return max(self.length_m / self.width_m, 1.0) if self.width_m > 0 else 1.0


class Shape(NamedTuple):
    """Shape of a patch.

    Parameters
    ----------
    length_m, width_m
        Of a line-like patch its centre line and mean width, else the sides of its rectangle.
    rectangularity
        Share of the smallest rotated rectangle that the outline fills, 0–1.
    straightness
        As `straightness_of` gives it.
    line
        Centre line of a line-like patch in the CRS of the grid, with its side branches where the patch is of one width all
        along; else None.
    elongation
        Long over short side of that rectangle.
    fill
        Share of it that the pixels fill, 0–1.
    """

    length_m: float
    width_m: float
    rectangularity: float
    straightness: float
    line: LineString | MultiLineString | None
    elongation: float
    fill: float


def strength_of(patch: PixelPatch) -> float:
    """Return the mean of √score over the patch: deviations of the pair's own noise, 2 decimals."""
    return round(int(patch.sums[1]) / patch.pixels / 100, 2)


def mean_spectrum(
    patch: PixelPatch, roles: Sequence[str], radiometry: Sequence[tuple[float, float]], *, after: bool
) -> dict[str, float]:
    """Return the mean reflectance by role (4 decimals) from the exact sums of the files' numbers.

    Parameters
    ----------
    patch
        Its sums hold Σ before, then Σ after, per band in the order of `roles`.
    roles
        Band roles.
    radiometry
        (scale, offset) per band of the date wanted.
    after
        Which date.
    """
    first = 3 + (len(roles) if after else 0)
    sums = patch.sums[first : first + len(roles)]
    return {
        role: round(int(total) / patch.pixels * scale + offset, 4)
        for role, total, (scale, offset) in zip(roles, sums, radiometry, strict=True)
    }


def shapes_of(patches: Sequence[PixelPatch], outlines: Sequence[BaseGeometry] | Array, grid: Grid) -> list[Shape]:
    """Measure the shapes of patches; many at a time cost little more than one.

    Parameters
    ----------
    patches, outlines
        The pixels and their unsimplified outlines in the CRS of `grid`.
    grid
        The area's grid.
    """
    unit = grid.pixel_m / math.sqrt(grid.pixel_size[0] * grid.pixel_size[1])
    stack = np.array(outlines, object)
    areas, straight, (long, short) = shapely.area(stack), straightness_of(stack, grid), _rectangles(patches, grid).T
    pixels = np.array([patch.pixels for patch in patches])
    fill = np.minimum(pixels * (grid.pixel_size[0] * grid.pixel_size[1]) / (long * short), 1.0)
    lines = _lines(patches, areas, shapely.length(stack), grid)
    lengths, widths = long * unit, short * unit
    linear = ~shapely.is_missing(lines)
    lengths[linear] = shapely.length(lines[linear]) * unit + grid.pixel_m
    widths[linear] = areas[linear] * unit**2 / lengths[linear]
    numbers = (lengths, widths, areas / (long * short), straight, lines, long / short, fill)
    return [Shape(*told) for told in zip(*(n.tolist() for n in numbers), strict=True)]


def _lines(patches: Sequence[PixelPatch], areas: Array, lengths: Array, grid: Grid) -> Array:
    """Centre lines of patches that may be lines, by area and length of their outlines; None for the others."""
    small = np.array([math.prod(patch.window.shape) <= _MAX_SKELETON_PX for patch in patches], bool)
    may_be = ((lengths / 4) ** 2 / areas > _LINE_LIKE) & small
    lines = np.full(len(patches), None, object)
    lines[may_be] = centre_lines([patch for patch, line_like in zip(patches, may_be, strict=True) if line_like], grid)
    return lines


def _rectangles(patches: Sequence[PixelPatch], grid: Grid) -> Array:
    """Long and short side of the smallest rectangle around each patch, in units of the CRS of `grid`: float64 ``(n, 2)``."""
    runs = np.concatenate([np.empty((0, 3), np.int32), *(patch.runs for patch in patches)])
    bounds = np.concatenate([[0], np.cumsum([len(patch.runs) for patch in patches])]).astype(np.int64)
    sides = np.empty((len(patches), 2))
    height, width = grid.pixel_size
    smallest_rectangles(runs, bounds, width, height, sides)
    return sides


def straightness_of(outlines: Sequence[BaseGeometry] | Array, grid: Grid) -> Array:
    """Return the share of each outline that lies on long straight edges: made things have them, water has not.

    An edge is long from a tenth of the outline and five pixels on; steps of a pixel and less are no bends.

    Parameters
    ----------
    outlines
        Unsimplified outlines of patches in the CRS of `grid`; of several parts the largest counts.
    grid
        The area's grid.

    Returns
    -------
    ndarray
        float64 ``(n,)``, 0–1.

    Source
    ------
    Douglas & Peucker (1973), tolerance of one pixel; the length that counts is ours.
    """
    pixel = max(grid.pixel_size)
    parts, owner = shapely.get_parts(np.asarray(outlines, object), return_index=True)
    # The largest part of each comes first, the first of equal ones.
    order = np.lexsort((np.arange(len(parts)), -shapely.area(parts), owner))
    largest = parts[order[np.flatnonzero(np.diff(owner[order], prepend=-1))]]
    rings = shapely.simplify(shapely.get_exterior_ring(largest), 1.01 * pixel)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    within = ring[1:] == ring[:-1]
    edges, ring = np.hypot(*np.diff(points, axis=0).T)[within], ring[1:][within]
    totals = np.bincount(ring, weights=edges, minlength=len(rings))
    long = (edges >= _LONG_EDGE_SHARE * totals[ring]) & (edges >= _LONG_EDGE_PX * pixel)
    along = np.bincount(ring[long], weights=edges[long], minlength=len(rings))
    return np.divide(along, totals, out=np.zeros(len(rings)), where=totals > 0)
