"""Two dates of one place as a six-band satellite sensor sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from shapely.geometry.base import BaseGeometry

from ..grid import Grid
from .changes import PlantedChange, footprint, paint, plant
from .fields import ROLES, VEGETATED, Cover, Landscape, block_mean, landscape, reflectance, sampled
from .shapes import KINDS, Kind
from .sky import Sky, clouds, coarser_classes, hidden_by, scene_classes, under_sky

Array = np.ndarray[Any, Any]

FINE_ROLES = ROLES[:4]
"""Bands with 10 m pixels; the others have 20 m."""

DEFAULT_COUNTS: Mapping[Kind, int] = {"mine": 2, "road": 2, "pond": 3, "building": 4}

_BOUNDARY_PX = 13
HAZE = {"blue": 1.0, "green": 0.75, "red": 0.55, "nir": 0.25, "swir1": 0.08, "swir2": 0.05}
"""Share of the haze by band role: it scatters the short waves most."""


@dataclass(frozen=True)
class Conditions:
    """How a date differs from the reference one.

    Parameters
    ----------
    shift_px
        Rows and columns by which the image is displaced: the same ground lies further down and right. Pixels.
    gain, haze
        Reflectance seen = gain × reflectance + haze (less in the longer waves).
    season
        Relative change of greenness.
    lake_gain
        Factor on the reflectance of water.
    cloud_share
        Part of the scene below clouds.
    """

    shift_px: tuple[float, float] = (0.0, 0.0)
    gain: float = 1.0
    haze: float = 0.0
    season: float = 0.0
    lake_gain: float = 1.0
    cloud_share: float = 0.0


BEFORE = Conditions(cloud_share=0.04)
AFTER = Conditions(shift_px=(0.35, -0.25), gain=1.04, haze=0.006, season=-0.08, lake_gain=1.12, cloud_share=0.06)


@dataclass(frozen=True)
class SceneDate:
    """One date.

    Parameters
    ----------
    bands
        uint16 by role, reflectance × 10000, 0 is fill; ``(row, col)``, swir1 and swir2 at half the shape.
    scl
        uint8 scene classes, at half the shape.
    """

    bands: Mapping[str, Array]
    scl: Array


@dataclass(frozen=True)
class ScenePair:
    """Two simulated Sentinel-2-like dates and what changed between them."""

    grid: Grid
    before: SceneDate
    after: SceneDate
    changes: tuple[PlantedChange, ...]


def simulated_pair(
    grid: Grid,
    *,
    seed: int,
    before: Conditions = BEFORE,
    after: Conditions = AFTER,
    counts: Mapping[Kind, int] = DEFAULT_COUNTS,
    under_cloud: int = 1,
    within: BaseGeometry | None = None,
) -> ScenePair:
    """Simulate two dates of a six-band satellite sensor: 10 m bands on `grid`, 20 m bands at half of it.

    Parameters
    ----------
    grid
        10 m grid with even numbers of rows and columns.
    seed
        Same seed, same numbers.
    before, after
        Conditions of the dates.
    counts
        Planted changes by kind.
    under_cloud
        So many of them, the last ones, lie under a cloud of either date.
    within
        Polygon in the grid's CRS that holds all changes, 12 pixels from its boundary or more; None: anywhere.
    """
    ground = landscape(grid, seed=seed)
    skies = [
        clouds(grid.shape, share=date.cloud_share, pixel_m=grid.pixel_m, seed=seed * 2 + number)
        for number, date in enumerate((before, after))
    ]
    cover = ground.cover_px()
    classes = [
        coarser_classes(scene_classes(sky, water=cover == Cover.WATER, vegetated=np.isin(cover, VEGETATED)))
        for sky in skies
    ]
    masked = np.logical_or(*(hidden_by(c).repeat(2, 0).repeat(2, 1) for c in classes))
    kinds = [kind for kind in KINDS for _ in range(counts.get(kind, 0))]
    allowed = np.isin(cover, VEGETATED)
    if within is not None:
        allowed &= footprint(within.buffer(-_BOUNDARY_PX * grid.pixel_m), grid)
    changes = plant(kinds, grid, ground=allowed, masked=masked, seed=seed, under_cloud=under_cloud)
    dates = [
        SceneDate(_bands(ground, date, sky, planted, seed=seed + number), scl)
        for number, (date, sky, scl, planted) in enumerate(
            zip((before, after), skies, classes, ((), changes), strict=True)
        )
    ]
    return ScenePair(grid, dates[0], dates[1], changes)


def _bands(
    ground: Landscape, date: Conditions, sky: Sky, changes: Sequence[PlantedChange], *, seed: int
) -> dict[str, Array]:
    half = Sky(block_mean(sky.opacity, 2), block_mean(sky.shadow, 2))
    bands = {}
    for number, role in enumerate(ROLES):
        fine = role in FINE_ROLES
        values = reflectance(ground, role, season=date.season, lake_gain=date.lake_gain)
        paint(values, role, changes, ground.fine_grid, seed=seed, samples=2)
        # A 20 m band sees the ground through a point spread of its own pixel size.
        factor = 1 if fine else 2
        seen = sampled(
            values,
            oversample=ground.oversample * factor,
            margin_px=ground.margin_px // factor,
            shift_px=(date.shift_px[0] / factor, date.shift_px[1] / factor),
        )
        seen = under_sky(date.gain * seen + date.haze * HAZE[role], role, sky if fine else half)
        bands[role] = _counts(seen, np.random.default_rng([seed, 5, number]))
    return bands


def _counts(seen: Array, rng: np.random.Generator) -> Array:
    noise = rng.standard_normal(seen.shape, dtype=np.float32) * (0.0008 + 0.006 * seen)
    return np.asarray(np.clip(np.rint((seen + noise) * 10_000), 1, 12_000), np.uint16)
