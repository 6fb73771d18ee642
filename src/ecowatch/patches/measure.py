"""What a patch measures: strength, spectra, shape, centre line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely
from shapely.geometry import LineString, MultiLineString
from shapely.geometry.base import BaseGeometry

from ..grid import Grid
from .context import Context
from .label import PixelPatch
from .lines import centre_network

__all__ = ["Evidence", "mean_spectrum", "shape_of", "straightness_of", "strength_of"]

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


def shape_of(
    patch: PixelPatch, outline: BaseGeometry, grid: Grid
) -> tuple[float, float, float, LineString | MultiLineString | None]:
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
        ``(length_m, width_m, rectangularity, centre line or None)``; the line is in the CRS of `grid`, with its side
        branches where the patch is of one width all along.
    """
    unit = grid.pixel_m / math.sqrt(grid.pixel_size[0] * grid.pixel_size[1])
    rectangle = shapely.minimum_rotated_rectangle(outline)
    rectangularity = outline.area / rectangle.area if rectangle.area > 0 else 1.0
    corners = np.asarray(rectangle.exterior.coords)
    sides = sorted(np.hypot(*np.diff(corners[:3], axis=0).T) * unit)
    network = None
    if (outline.length / 4) ** 2 / outline.area > _LINE_LIKE and math.prod(patch.window.shape) <= _MAX_SKELETON_PX:
        network = centre_network(patch, grid)
    if network is None:
        return float(sides[1]), float(sides[0]), float(rectangularity), None
    # Branches of a heap are its own lobes: they make no road of it.
    line = network.lines if network.even and len(network.lines.geoms) > 1 else network.main
    length = line.length * unit + grid.pixel_m
    return length, outline.area * unit**2 / length, float(rectangularity), line


def straightness_of(outline: BaseGeometry, grid: Grid) -> float:
    """Return the share of a patch's outline that lies on long straight edges, 0–1: made things have them, water has not.

    An edge is long from a tenth of the outline and five pixels on; steps of a pixel and less are no bends.

    Parameters
    ----------
    outline
        Unsimplified outline in the CRS of `grid`.
    grid
        The area's grid.

    Source
    ------
    Douglas & Peucker (1973), tolerance of one pixel; the length that counts is ours.
    """
    pixel = max(grid.pixel_size)
    largest = max(shapely.get_parts(outline), key=lambda part: part.area)
    ring = shapely.simplify(largest.exterior, 1.01 * pixel)
    edges = np.hypot(*np.diff(np.asarray(ring.coords), axis=0).T)
    total = float(edges.sum())
    long = edges[(edges >= _LONG_EDGE_SHARE * total) & (edges >= _LONG_EDGE_PX * pixel)]
    return float(long.sum()) / total if total > 0 else 0.0
