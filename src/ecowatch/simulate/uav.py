"""Two RGB orthomosaics of a UAV over grass and trees, with known changes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from scipy import ndimage
from shapely.geometry.base import BaseGeometry

from ..grid import Grid
from .changes import PlantedChange, footprint, paint, plant
from .fields import fine_grid, fractal, sampled
from .scenes import AFTER, Conditions
from .shapes import Kind

Array = np.ndarray[Any, Any]

_OVERSAMPLE, _MARGIN_PX = 2, 20
_COLOURS = ("red", "green", "blue")
_GRASS, _STRAW, _TREE, _SOIL, _ROOF = (
    np.array(c, np.float32)
    for c in (
        (0.42, 0.50, 0.28),
        (0.58, 0.54, 0.38),
        (0.27, 0.38, 0.18),
        (0.66, 0.58, 0.46),
        (0.62, 0.36, 0.30),
    )
)
# Light of the dates: azimuth from north in degrees, elevation in degrees, and the colour of the light.
_SUNS = ((138.0, 56.0, (1.0, 1.0, 1.0)), (146.0, 58.0, (1.06, 1.03, 0.97)))
_KINDS: tuple[Kind, ...] = ("mine", "road", "pond", "building", "building")


@dataclass(frozen=True)
class UavPair:
    """Two orthomosaics.

    Parameters
    ----------
    grid
        Grid of both.
    before, after
        uint8, ``(band, row, col)``: red, green, blue, alpha; all 0 outside the flight.
    changes
        What was planted, in the geometry of `before`.
    """

    grid: Grid
    before: Array
    after: Array
    changes: tuple[PlantedChange, ...]


@dataclass(frozen=True)
class _Ground:
    colour: Array
    height_m: Array
    grain: Array


def simulated_uav_pair(
    grid: Grid,
    *,
    seed: int,
    after: Conditions = AFTER,
    kinds: tuple[Kind, ...] = _KINDS,
    within: BaseGeometry | None = None,
) -> UavPair:
    """Simulate two orthomosaics with 8-bit colours and an alpha band.

    Parameters
    ----------
    grid
        Grid with pixels of a few decimetres.
    seed
        Same seed, same numbers.
    after
        Displacement, gain and haze of the second flight; clouds are not simulated.
    kinds
        One per planted change.
    within
        Polygon in the grid's CRS that holds all changes; None for anywhere inside both flights.
    """
    outlines = [flight_outline(grid, seed=seed + number) for number in range(2)]
    flown = [footprint(outline, grid) for outline in outlines]
    ground = _ground(grid, seed)
    inner = within or outlines[0].intersection(outlines[1])
    allowed = footprint(inner.buffer(-13 * grid.pixel_m), grid)
    changes = plant(kinds, grid, ground=allowed, masked=~(flown[0] & flown[1]), seed=seed)
    first = _photo(ground, grid, Conditions(), (), flown[0], seed, 0)
    second = _photo(ground, grid, after, changes, flown[1], seed, 1)
    return UavPair(grid, first, second, changes)


def flight_outline(grid: Grid, *, seed: int) -> BaseGeometry:
    """Return the irregular outline of what a flight covered: a polygon in the grid's CRS, inside the grid."""
    rng = np.random.default_rng([seed, 7])
    left, bottom, right, top = grid.bounds
    angle = np.sort(rng.uniform(0, 2 * math.pi, 26))
    # A superellipse fills the frame better than an ellipse would.
    radius = (np.abs(np.cos(angle)) ** 4 + np.abs(np.sin(angle)) ** 4) ** -0.25 * rng.uniform(0.90, 0.98, angle.size)
    x = (left + right) / 2 + (right - left) / 2 * np.clip(radius * np.cos(angle), -0.98, 0.98)
    y = (bottom + top) / 2 + (top - bottom) / 2 * np.clip(radius * np.sin(angle), -0.98, 0.98)
    return shapely.Polygon(np.column_stack([x, y])).buffer(0)


def _ground(grid: Grid, seed: int) -> _Ground:
    rng = np.random.default_rng([seed, 8])
    fine = fine_grid(grid, oversample=_OVERSAMPLE, margin_px=_MARGIN_PX)
    dry = fractal(fine.shape, beta=2.6, rng=rng)
    share = np.clip(0.35 + 0.3 * dry, 0, 1)[None]
    colour = _GRASS[:, None, None] * (1 - share) + _STRAW[:, None, None] * share
    bare = fractal(fine.shape, beta=3.4, rng=rng) > 1.7
    colour = np.where(bare, _SOIL[:, None, None], colour).astype(np.float32)
    height = _crowns(fine, bare, rng)
    tree = np.clip(height / 1.0, 0, 1)[None]
    colour = colour * (1 - tree) + _TREE[:, None, None] * tree
    left, bottom, right, top = grid.bounds
    x, y = left + 0.16 * (right - left), bottom + 0.30 * (top - bottom)
    house = footprint(shapely.box(x, y, x + 48 * grid.pixel_m, y + 36 * grid.pixel_m), fine)
    colour[:, house] = _ROOF[:, None]
    height[house] = 0
    return _Ground(colour.astype(np.float32), height, fractal(fine.shape, beta=0.9, rng=rng))


def _crowns(fine: Grid, bare: Array, rng: np.random.Generator) -> Array:
    """Heights of tree crowns in metres: domes of 1.2–3.5 m radius, denser in some places than in others."""
    height = np.zeros(fine.shape, np.float32)
    density = fractal(fine.shape, beta=3.0, rng=rng)
    rows, cols = fine.shape
    for _ in range(int(rows * cols * fine.pixel_m**2 / 45)):
        row, col = int(rng.integers(rows)), int(rng.integers(cols))
        radius_m, keep = rng.uniform(1.2, 3.5), rng.uniform()
        if bare[row, col] or keep > 1 / (1 + math.exp(-2.5 * (float(density[row, col]) - 0.4))):
            continue
        reach = math.ceil(radius_m / fine.pixel_m)
        r0, r1, c0, c1 = (
            max(row - reach, 0),
            min(row + reach + 1, rows),
            max(col - reach, 0),
            min(col + reach + 1, cols),
        )
        y, x = np.ogrid[r0 - row : r1 - row, c0 - col : c1 - col]
        dome = np.clip(1 - (np.hypot(y, x) * fine.pixel_m / radius_m) ** 2, 0, None) ** 0.7 * radius_m * 1.5
        height[r0:r1, c0:c1] = np.maximum(height[r0:r1, c0:c1], dome)
    return height


def _photo(
    ground: _Ground,
    grid: Grid,
    date: Conditions,
    changes: tuple[PlantedChange, ...],
    flown: Array,
    seed: int,
    number: int,
) -> Array:
    fine = fine_grid(grid, oversample=_OVERSAMPLE, margin_px=_MARGIN_PX)
    height = ground.height_m.copy()
    for change in changes:
        height[footprint(change.geometry, fine)] = 0
    azimuth, elevation, light = _SUNS[number]
    shade = _shade(height, fine.pixel_m, azimuth, elevation) * (1 + 0.07 * ground.grain)
    fall = _exposure(grid, number)
    out = np.zeros((4, *grid.shape), np.uint8)
    out[3] = np.where(flown, 255, 0)
    for band, role in enumerate(_COLOURS):
        values = ground.colour[band].copy()
        paint(values, role, changes, fine, seed=seed, samples=1, photo=True)
        seen = sampled(
            values * shade,
            oversample=_OVERSAMPLE,
            margin_px=_MARGIN_PX,
            shift_px=date.shift_px,
            psf_px=0.45,
        )
        seen = (seen * date.gain + date.haze) * light[band] * fall
        noise = np.random.default_rng([seed, 9, number, band]).standard_normal(seen.shape, dtype=np.float32)
        out[band] = np.where(flown, np.clip(np.rint(seen * 255 + 1.6 * noise), 1, 255), 0)
    return out


def _shade(height_m: Array, pixel_m: float, azimuth: float, elevation: float) -> Array:
    """Light on the ground: Lambert on the crowns, and their cast shadows."""
    smooth = ndimage.gaussian_filter(height_m, 1.0)
    down, right = np.gradient(smooth, pixel_m)
    az, el = math.radians(azimuth), math.radians(elevation)
    # Towards the sun: east = sin(az), north = cos(az); rows grow southwards.
    facing = right * -math.sin(az) + down * math.cos(az)
    lambert = (math.sin(el) + math.cos(el) * facing) / np.sqrt(1 + right**2 + down**2) / math.sin(el)
    shadow = np.zeros_like(height_m)
    for step_m in np.arange(0.5, 4.1, 0.5):
        move = (step_m * math.cos(az) / pixel_m, -step_m * math.sin(az) / pixel_m)
        above = ndimage.shift(smooth, move, order=1, mode="nearest") - step_m * math.tan(el)
        shadow = np.maximum(shadow, np.clip((above - height_m) / 0.3, 0, 1))
    return np.asarray(np.clip(lambert, 0.35, 1.5) * (1 - 0.45 * shadow), np.float32)


def _exposure(grid: Grid, number: int) -> Array:
    """Slow unevenness that blending of the photographs leaves behind."""
    y, x = np.ogrid[: grid.shape[0], : grid.shape[1]]
    wave = np.sin(2 * math.pi * (y / grid.shape[0] + 0.3 * number)) * np.cos(2 * math.pi * x / grid.shape[1])
    return np.asarray(1 + 0.025 * wave, np.float32)
