"""What a patch measures: strength, spectra, shape, centre line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from shapely.geometry import LineString
from shapely.geometry.base import BaseGeometry
from skimage.morphology import skeletonize

from ..grid import Grid
from ._kernels import walk_farthest
from .label import PixelPatch

Array = np.ndarray[Any, Any]

# Thinning is worth its time only for patches that may be lines.
_LINE_LIKE = 1.5
_MAX_SKELETON_PX = 25_000_000


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
    """

    before: dict[str, float]
    after: dict[str, float]
    area_m2: float
    length_m: float
    width_m: float
    rectangularity: float
    pixel_m: float

    @property
    def elongation(self) -> float:
        """Length over width, at least 1."""
        return max(self.length_m / self.width_m, 1.0) if self.width_m > 0 else 1.0


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


def shape_of(patch: PixelPatch, outline: BaseGeometry, grid: Grid) -> tuple[float, float, float, LineString | None]:
    """Return length and width in metres, rectangularity, and the centre line of a line-like patch.

    Parameters
    ----------
    patch, outline
        The pixels and their unsimplified outline in the CRS of `grid`.
    grid
        The area's grid.

    Returns
    -------
    tuple
        ``(length_m, width_m, rectangularity, centre line or None)``; the line is in the CRS of `grid`.
    """
    unit = grid.pixel_m / math.sqrt(grid.pixel_size[0] * grid.pixel_size[1])
    rectangle = shapely.minimum_rotated_rectangle(outline)
    rectangularity = outline.area / rectangle.area if rectangle.area > 0 else 1.0
    corners = np.asarray(rectangle.exterior.coords)
    sides = sorted(np.hypot(*np.diff(corners[:3], axis=0).T) * unit)
    line = None
    if (outline.length / 4) ** 2 / outline.area > _LINE_LIKE and math.prod(patch.window.shape) <= _MAX_SKELETON_PX:
        line = centre_line(patch, grid)
    if line is None:
        return float(sides[1]), float(sides[0]), float(rectangularity), None
    length = line.length * unit + grid.pixel_m
    return length, outline.area * unit**2 / length, float(rectangularity), line


def centre_line(patch: PixelPatch, grid: Grid) -> LineString | None:
    """Return the longest path of the patch's skeleton, in the CRS of `grid`; None where it is a point.

    Source
    ------
    Zhang & Suen (1984), thinning; longest path by two breadth-first walks (exact on a tree).
    """
    image = patch.image(border_px=1)
    skeleton = skeletonize(image.astype(bool))
    path = _longest_path(skeleton.astype(np.uint8))
    if path is None:
        return None
    window = patch.window.padded(1)
    t = grid.transform
    points = [(t.c + t.a * (col + 0.5 + window.col0), t.f + t.e * (row + 0.5 + window.row0)) for row, col in path]
    return LineString(points).simplify(max(grid.pixel_size))


def _longest_path(cells: Array) -> Array | None:
    """Rows and columns, int ``(n, 2)``, of the longest path over a skeleton; None where it is a point."""
    flat = np.flatnonzero(cells)
    if len(flat) < 2:
        return None
    came, queue = np.empty(cells.size, np.int64), np.empty(len(flat), np.int64)
    first = walk_farthest(cells, int(flat[0]), came, queue)
    cell = walk_farthest(cells, first, came, queue)
    path = [cell]
    while came[cell] != cell:
        cell = int(came[cell])
        path.append(cell)
    return np.column_stack(np.unravel_index(path, cells.shape)) if len(path) > 1 else None
