"""A second date made from a real image, with known changes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from scipy import ndimage

from ..grid import Grid
from .changes import PlantedChange, paint, plant
from .scenes import HAZE
from .shapes import KINDS, Kind
from .sky import clouds, hidden_by, scene_classes, under_sky

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class SecondDate:
    """A second date made from a real image.

    Parameters
    ----------
    values
        Same shape and type as the image it was made from; fill pixels hold the same fill.
    valid
        Bool, ``(row, col)``: neither fill nor cloud nor shadow in the second date.
    scl
        uint8, ``(row, col)``: Sentinel-2 scene classes to match; `qa_pixel` turns them into Landsat's.
    changes
        What was planted, in the geometry of the real image.
    """

    values: Array
    valid: Array
    scl: Array
    changes: tuple[PlantedChange, ...]


def second_date_from(  # noqa: PLR0913 - each is one condition of the date
    values: Array,
    roles: Sequence[str],
    grid: Grid,
    *,
    seed: int,
    shift_px: tuple[float, float] = (0.3, -0.4),
    gain: float = 1.05,
    haze: float = 0.004,
    season: float = -0.05,
    cloud_share: float = 0.0,
    changes: int | Mapping[Kind, int] = 4,
    under_cloud: int = 0,
    nodata: float | None = 0,
    scale: float | None = None,
    offset: float = 0.0,
) -> SecondDate:
    """Make a second date of a real image: displaced, in other season and light, clouded, with known changes.

    Parameters
    ----------
    values
        Integer, ``(band, row, col)``.
    roles
        Role of each band; ``alpha`` marks an opacity band, which is kept.
    grid
        Its grid.
    seed
        Same seed, same numbers.
    shift_px
        Rows and columns by which the second date is displaced (fifth-order spline), pixels.
    gain, haze, season, cloud_share
        See `Conditions`.
    changes
        How many, the kinds in turn; or by kind.
    under_cloud
        So many of them are put under clouds.
    nodata
        Fill value; a pixel with it in any band is fill. None where there is none.
    scale, offset
        Reflectance = number × scale + offset; by default 0.0001, and 1/255 for 8-bit photographs.

    Returns
    -------
    SecondDate
        Fill stays fill, and grows by what the displacement brings in from beyond the image.

    Raises
    ------
    GridError
        ``NO_ROOM`` where the image is too small for the changes.
    """
    photo = values.dtype == np.uint8 and scale is None
    factor = scale if scale is not None else 1 / 255 if photo else 1e-4
    colours = [i for i, role in enumerate(roles) if role != "alpha"]
    names = [roles[i] for i in colours]
    covered = _covered(values, roles, nodata)
    seen = values[colours].astype(np.float32) * np.float32(factor) + np.float32(offset)
    leaves, open_ground = _ground(seen, names, covered)
    sky = clouds(grid.shape, share=cloud_share, pixel_m=grid.pixel_m, seed=seed)
    planted = plant(_kinds(changes), grid, ground=open_ground, masked=sky.masked, seed=seed, under_cloud=under_cloud)
    present = covered & _sampled_inside(covered, shift_px)
    seen_from = _displaced_grid(grid, shift_px)
    nearest = ndimage.distance_transform_edt(~covered, return_distances=False, return_indices=True)
    moved_leaves = _moved(leaves, shift_px, order=1)
    out = values.copy()
    for index, role in zip(colours, names, strict=True):
        band = _moved(seen[names.index(role)][tuple(nearest)], shift_px, order=5)
        band *= np.exp(season * moved_leaves * (1.0 if role == "nir" else -0.6))
        paint(band, role, planted, seen_from, seed=seed, photo=photo)
        band = under_sky(gain * band + haze * HAZE.get(role, 0.5), role, sky)
        out[index] = _numbers(band, factor, offset, values.dtype, nodata, np.random.default_rng([seed, 6, index]))
    _refill(out, present, roles, nodata)
    bright = seen.mean(axis=0)
    scl = scene_classes(sky, water=bright < 0.05, vegetated=leaves > 0.3, valid=present)
    return SecondDate(out, ~hidden_by(scl), scl, planted)


def _kinds(changes: int | Mapping[Kind, int]) -> list[Kind]:
    if isinstance(changes, int):
        return [KINDS[i % len(KINDS)] for i in range(changes)]
    return [kind for kind in KINDS for _ in range(changes.get(kind, 0))]


def _covered(values: Array, roles: Sequence[str], nodata: float | None) -> Array:
    if "alpha" in roles:
        return np.asarray(values[list(roles).index("alpha")] > 0)
    if nodata is None:
        return np.ones(values.shape[1:], bool)
    return np.asarray((values != nodata).all(axis=0))


def _ground(seen: Array, names: Sequence[str], covered: Array) -> tuple[Array, Array]:
    """How leafy each pixel is (0–1), and where a change would show: on the leafier part of the image."""
    band = dict(zip(names, seen, strict=True))
    total = np.float32(1e-3)
    if {"red", "nir"} <= band.keys():
        index = (band["nir"] - band["red"]) / np.maximum(band["nir"] + band["red"], total)
        leaves = np.clip((index - 0.2) / 0.4, 0, 1)
    else:
        index = 2 * band["green"] - band["red"] - band["blue"] if {"red", "green", "blue"} <= band.keys() else -seen[0]
        leaves = np.clip(index / 0.15, 0, 1)
    smooth = ndimage.uniform_filter(index, 5)
    open_ground = covered & (smooth > np.quantile(smooth[covered], 0.4)) & (seen.max(axis=0) > 0.04)
    return leaves.astype(np.float32), ndimage.binary_closing(open_ground, iterations=2) & covered


def _moved(values: Array, shift_px: tuple[float, float], *, order: int) -> Array:
    return np.asarray(ndimage.shift(values, shift_px, order=order, mode="nearest"), np.float32)


def _sampled_inside(covered: Array, shift_px: tuple[float, float]) -> Array:
    inside = covered
    for axis, shift in enumerate(shift_px):
        # Both neighbours of a fractional position must be there.
        for whole in {math.floor(shift), math.ceil(shift)}:
            step = [0, 0]
            step[axis] = whole
            inside = inside & ndimage.shift(covered, step, order=0, mode="constant", cval=False)
    return np.asarray(inside)


def _displaced_grid(grid: Grid, shift_px: tuple[float, float]) -> Grid:
    transform = grid.transform * Affine.translation(-shift_px[1], -shift_px[0])
    return Grid.from_parts(grid.crs, transform, grid.shape)


def _numbers(
    band: Array,
    factor: float,
    offset: float,
    dtype: np.dtype[Any],
    nodata: float | None,
    rng: np.random.Generator,
) -> Array:
    noise = rng.standard_normal(band.shape, dtype=np.float32) * (0.0008 + 0.006 * np.abs(band))
    info = np.iinfo(dtype)
    numbers = np.clip(np.rint((band + noise - offset) / factor), info.min, info.max)
    if nodata is not None:
        # Data must not turn into fill.
        numbers[numbers == nodata] += 1 if nodata < info.max else -1
    return numbers.astype(dtype)


def _refill(out: Array, present: Array, roles: Sequence[str], nodata: float | None) -> None:
    if nodata is not None:
        out[:, ~present] = np.asarray(nodata).astype(out.dtype)
    if "alpha" in roles:
        out[list(roles).index("alpha")][~present] = 0
