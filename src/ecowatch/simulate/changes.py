"""What people do to the ground: where planted changes go, and what they look like."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import shapely
from scipy import ndimage
from shapely import affinity
from shapely.geometry.base import BaseGeometry

from ..errors import GridError
from ..grid import Grid, Window, geodesic_area_m2
from .shapes import KINDS, ChangeSizes, Kind, shape_of, sizes_for

Array = np.ndarray[Any, Any]
SPECTRA: dict[str, dict[str, float]] = {
    "mine": {"blue": 0.15, "green": 0.20, "red": 0.25, "nir": 0.31, "swir1": 0.37, "swir2": 0.33},
    "road": {"blue": 0.14, "green": 0.165, "red": 0.19, "nir": 0.235, "swir1": 0.275, "swir2": 0.245},
    "pond": {"blue": 0.058, "green": 0.066, "red": 0.048, "nir": 0.030, "swir1": 0.014, "swir2": 0.010},
    "building": {"blue": 0.30, "green": 0.32, "red": 0.34, "nir": 0.37, "swir1": 0.36, "swir2": 0.31},
}
"""Surface reflectance of each kind by band role."""

TONES: dict[str, dict[str, float]] = {
    "mine": {"red": 0.76, "green": 0.66, "blue": 0.52},
    "road": {"red": 0.68, "green": 0.64, "blue": 0.58},
    "pond": {"red": 0.20, "green": 0.27, "blue": 0.27},
    "building": {"red": 0.86, "green": 0.88, "blue": 0.91},
}
"""Brightness of each kind in an 8-bit photograph, 0–1."""

_TRIES = 1500
_CLEAR_PX = 6
_HIDDEN_SHARE = 0.9
_FRAME_UNITS = 400


@dataclass(frozen=True)
class PlantedChange:
    """One change that is known to be there.

    Parameters
    ----------
    kind
        mine, road, pond or building.
    geometry
        Polygon in the CRS of the scene, where it lies on the ground: in the before date's geometry.
    area_m2
        Its geodesic area.
    under_cloud
        Whether any part of it touches a pixel that one of the dates does not show.
    """

    kind: Kind
    geometry: BaseGeometry
    area_m2: float
    under_cloud: bool


def coverage(geometry: BaseGeometry, grid: Grid, *, samples: int = 4) -> tuple[Window, Array] | None:
    """Return the share of each pixel that a polygon covers.

    Parameters
    ----------
    geometry
        Polygon in the CRS of `grid`.
    grid
        Pixels.
    samples
        Points per pixel side that are tested.

    Returns
    -------
    tuple of Window and Array, or None
        The pixels around the polygon, and float32 ``(row, col)`` shares 0–1; None where it lies outside.
    """
    left, bottom, right, top = geometry.bounds
    (col0, row0), (col1, row1) = ~grid.transform * (left, top), ~grid.transform * (right, bottom)
    around = Window(math.floor(row0), math.floor(col0), math.ceil(row1), math.ceil(col1))
    window = around.intersection(grid.window)
    if window is None:
        return None
    steps = (np.arange(samples) + 0.5) / samples
    rows = (np.arange(window.row0, window.row1)[:, None] + steps).ravel()
    cols = (np.arange(window.col0, window.col1)[:, None] + steps).ravel()
    x, y = grid.transform * (cols[None, :], rows[:, None])
    shapely.prepare(geometry)
    inside = shapely.contains_xy(geometry, *np.broadcast_arrays(x, y))
    blocks = inside.reshape(window.shape[0], samples, window.shape[1], samples)
    return window, blocks.mean(axis=(1, 3), dtype=np.float32)


def footprint(geometry: BaseGeometry, grid: Grid) -> Array:
    """Return the pixels whose centre lies in a polygon: bool, ``(row, col)``."""
    result = np.zeros(grid.shape, bool)
    part = coverage(geometry, grid, samples=1)
    if part is not None:
        result[part[0].within(grid.window)] = part[1] > 0.5
    return result


def plant(
    kinds: Sequence[Kind],
    grid: Grid,
    *,
    ground: Array,
    masked: Array,
    seed: int,
    separation_px: int = 12,
    under_cloud: int = 0,
) -> tuple[PlantedChange, ...]:
    """Place changes at random, apart from each other.

    Parameters
    ----------
    kinds
        One per change.
    grid
        Grid of the scene.
    ground
        Bool, ``(row, col)``: where a change may lie.
    masked
        Bool, ``(row, col)``: pixels that one of the dates does not show. Changes keep away from them.
    seed
        Same seed, same places.
    separation_px
        Least distance between two changes, and from the edge of the grid, in pixels.
    under_cloud
        So many changes, the last ones, are put under a masked place on purpose.

    Raises
    ------
    GridError
        ``NO_ROOM`` where a change finds no place.
    """
    rng = np.random.default_rng([seed, 3])
    sizes = _fitting(sizes_for(grid.pixel_m), grid)
    clear = ~_grown(masked, _CLEAR_PX)
    free = np.zeros(grid.shape, bool)
    free[separation_px:-separation_px, separation_px:-separation_px] = True
    changes = []
    # Long shapes first: they find a place only while there is much room.
    order = sorted(range(len(kinds)), key=lambda i: KINDS.index(kinds[i]) != 1)
    for number in order:
        hidden = number >= len(kinds) - under_cloud
        allowed = free & ground if hidden else free & ground & clear
        geometry, window, inside = _placed(kinds[number], grid, allowed, masked if hidden else None, sizes, rng)
        _reserve(free, window, inside, separation_px)
        area = geodesic_area_m2(geometry, grid.crs)
        changes.append((number, PlantedChange(kinds[number], geometry, area, False)))
    marked = [
        replace(change, under_cloud=touches(change.geometry, grid, masked))
        for _, change in sorted(changes, key=lambda c: c[0])
    ]
    return tuple(marked)


def _fitting(sizes: ChangeSizes, grid: Grid) -> ChangeSizes:
    """Shrink the shapes in a frame that is small on the ground, down to the pixel at most."""
    side_m = min(grid.shape) * grid.pixel_m
    return replace(sizes, unit_m=max(grid.pixel_m, min(sizes.unit_m, side_m / _FRAME_UNITS)))


def touches(geometry: BaseGeometry, grid: Grid, masked: Array) -> bool:
    """Return whether any pixel that the polygon touches is masked (bool, ``(row, col)``)."""
    part = coverage(geometry, grid)
    return part is not None and bool((masked[part[0].within(grid.window)] & (part[1] > 0)).any())


def _grown(pixels: Array, px: int) -> Array:
    return np.asarray(ndimage.maximum_filter(pixels, size=2 * px + 1, mode="nearest"), bool)


def _placed(
    kind: Kind, grid: Grid, allowed: Array, cover: Array | None, sizes: ChangeSizes, rng: np.random.Generator
) -> tuple[BaseGeometry, Window, Array]:
    """Find a place wholly on allowed pixels, and below `cover` for the most part where that is given."""
    candidates = np.flatnonzero(allowed if cover is None else allowed & cover)
    bounds = shapely.box(*grid.bounds)
    for _ in range(_TRIES if candidates.size else 0):
        row, col = divmod(int(candidates[rng.integers(candidates.size)]), grid.shape[1])
        x, y = grid.transform * (col + rng.uniform(), row + rng.uniform())
        geometry = affinity.translate(shape_of(kind, sizes=sizes, rng=rng), x, y)
        if not bounds.contains(geometry):
            continue
        # One point per pixel turns most places down; the full test costs sixteen times as much.
        rough = coverage(geometry, grid, samples=1)
        part = coverage(geometry, grid) if rough and _allows(allowed, grid, rough) else None
        if part is None or not _allows(allowed, grid, part):
            continue
        window, inside = part[0], part[1] > 0
        if cover is None or cover[window.within(grid.window)][inside].mean() >= _HIDDEN_SHARE:
            return geometry, window, inside
    raise GridError("NO_ROOM", "simulated scene", f"no place for a {kind}", "ask for fewer changes or a larger grid")


def _allows(allowed: Array, grid: Grid, part: tuple[Window, Array]) -> bool:
    window, share = part
    return bool(allowed[window.within(grid.window)][share > 0].all())


def _reserve(free: Array, window: Window, inside: Array, px: int) -> None:
    grown = _grown(np.pad(inside, px), px)
    target = window.padded(px)
    whole = Window(0, 0, *free.shape)
    common = target.intersection(whole)
    assert common is not None
    free[common.within(whole)] &= ~grown[common.within(target)]


def paint(
    values: Array,
    role: str,
    changes: Sequence[PlantedChange],
    grid: Grid,
    *,
    seed: int,
    samples: int = 4,
    photo: bool = False,
) -> None:
    """Paint changes into one band, in place: the one function here that alters its input.

    Parameters
    ----------
    values
        float32, ``(row, col)`` of `grid`, reflectance (or brightness of a photograph) 0–1.
    role
        Band role.
    changes
        What to paint.
    grid
        Where the pixels of `values` see the ground; for a displaced image this is the displaced grid.
    seed
        Texture of the changes; the same for all bands.
    samples
        Points per pixel side for the mixed pixels of the edges.
    photo
        Use `TONES` instead of `SPECTRA`.
    """
    table = TONES if photo else SPECTRA
    for number, change in enumerate(changes):
        part = coverage(change.geometry, grid, samples=samples)
        if part is None:
            continue
        window, share = part
        rng = np.random.default_rng([seed, 4, number])
        level = rng.normal(1, 0.04)
        rough = ndimage.gaussian_filter(rng.standard_normal(share.shape), 1.0)
        depth = 0.03 if change.kind in ("pond", "building") else 0.15
        tone = table[change.kind][role] * level * (1 + depth * rough)
        view = values[window.within(grid.window)]
        view += (share * (tone - view)).astype(values.dtype)
