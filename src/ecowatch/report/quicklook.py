"""A picture per area: before, after, patches on top."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from shapely import get_parts
from shapely.geometry.base import BaseGeometry

from ..atomic import replacing
from ..errors import SceneError
from ..grid import Grid, Window, transformed
from ..raster import read_coarse
from ..review import AreaResult, Comparison, DateGroup, Plan

Array = np.ndarray[Any, Any]

_SIDE_PX = 640
_GAP_PX = 8
_THREADS = 4
# Pixels filtered as PNG does it hardly repeat themselves: the usual 6 takes twice as long and saves nothing.
_DEFLATE_LEVEL = 4
_OUTLINE = (255, 210, 0)
_PATCH = (230, 30, 30)
FALSE_COLOUR = ("nir", "red", "green")
TRUE_COLOUR = ("red", "green", "blue")


def write_quicklooks(folder: Path, plan: Plan, results: Sequence[AreaResult]) -> None:
    """Write ``quicklook_<area>_<pipeline>.png`` for every compared area: before | after | after with patches.

    Parameters
    ----------
    folder
        The run's folder.
    plan, results
        Of the run.
    """
    if not plan.review.output.quicklook:
        return

    def write(number: int) -> None:
        result = results[number]
        if result.comparison is not None:
            _write(folder, result, plan.allowed)

    # The workers are done, and reading and packing work without Python's lock.
    with ThreadPoolExecutor(_THREADS) as pool:
        # By number: what waits for its turn is not held.
        for _ in pool.map(write, range(len(results))):
            pass


def _write(folder: Path, result: AreaResult, allowed: frozenset[str]) -> None:
    assert result.pipeline is not None
    plain = re.sub(r"[^A-Za-z0-9-]+", "_", result.area.area_id)[:40]
    digest = hashlib.sha256(result.area.area_id.encode()).hexdigest()[:6]
    with replacing(folder / f"quicklook_{plain}-{digest}_{result.pipeline.name}.png") as beside:
        quicklook(result, allowed).save(beside, compress_level=_DEFLATE_LEVEL)


def quicklook(result: AreaResult, allowed: frozenset[str]) -> Image.Image:
    """Return the picture of one compared area."""
    comparison = result.comparison
    assert comparison is not None
    grid = _coarse_grid(comparison)
    roles = [r for r in TRUE_COLOUR if r in comparison.roles]
    if len(roles) < 3:
        roles = [r for r in FALSE_COLOUR if r in comparison.roles] or list(comparison.roles[:1])
    with ThreadPoolExecutor(2) as pool:
        before, after = pool.map(partial(colours_of, roles=roles, grid=grid), (comparison.before, comparison.after))
    stretch = common_stretch(before, after)
    pictures = [Image.fromarray(as_byte(image, stretch)) for image in (before, after)]
    pictures.append(pictures[1].copy())
    for picture in pictures:
        _draw(picture, comparison.area.geometry, grid, _OUTLINE, width=1)
    for row in result.patches:
        placed = transformed(row["geometry"], result.area.crs, grid.crs, allowed)
        _draw(pictures[2], placed, grid, _PATCH, width=2)
    rows, cols = grid.shape
    sheet = Image.new("RGB", (3 * cols + 2 * _GAP_PX, rows), "white")
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (number * (cols + _GAP_PX), 0))
    return sheet


def _coarse_grid(comparison: Comparison) -> Grid:
    grid = comparison.grid
    left, bottom, right, top = comparison.area.geometry.bounds
    col0, row0 = ~grid.transform * (left, top)
    col1, row1 = ~grid.transform * (right, bottom)
    window = Window(int(row0) - 4, int(col0) - 4, int(row1) + 5, int(col1) + 5)
    step = max(1.0, max(window.shape) / _SIDE_PX)
    fine = grid.cropped(window)
    shape = (max(1, int(window.shape[0] / step)), max(1, int(window.shape[1] / step)))
    return Grid.from_parts(fine.crs, fine.transform * fine.transform.scale(step), shape)


def colours_of(group: DateGroup, roles: Sequence[str], grid: Grid) -> Array:
    """Reflectance float32 ``(3, row, col)``; NaN where nothing was seen, or can be read."""
    image = np.full((len(roles), *grid.shape), np.nan, np.float32)
    for scene in reversed(group.scenes):
        bands = [scene.band(role) for role in roles]
        try:
            pixels = read_coarse([band.layer for band in bands], grid)
        except SceneError:
            # The tiles tell which block is damaged; a picture must not hold back what all other areas show.
            continue
        seen = np.ones(grid.shape, bool) if pixels.covered is None else pixels.covered.copy()
        for band, values in zip(bands, pixels.values, strict=True):
            if band.layer.fill is not None:
                seen &= values != band.layer.fill
        for number, (band, values) in enumerate(zip(bands, pixels.values, strict=True)):
            image[number][seen] = values[seen] * band.scale + band.offset
    return image if len(roles) == 3 else np.repeat(image[:1], 3, axis=0)


def common_stretch(before: Array, after: Array) -> tuple[Array, Array]:
    """One stretch for both dates, so that a difference in the picture is one on the ground."""
    # A cloud stands in one date only: the darker of both dates is mostly ground.
    ground = np.fmin(before, after).reshape(3, -1)
    if not np.isfinite(ground).any(axis=1).all():
        return np.zeros(3), np.ones(3)
    low, high = np.nanpercentile(ground, (1, 99), axis=1)
    return low, np.maximum(high * 1.15, low + 1e-6)


def as_byte(image: Array, stretch: tuple[Array, Array]) -> Array:
    """Return a picture, uint8 ``(row, col, 3)``, of a stretched image; what was not seen is dark grey."""
    low, high = (s[:, None, None] for s in stretch)
    scaled = np.clip((image - low) / (high - low), 0, 1) * 255
    result: Array = np.where(np.isfinite(scaled), scaled, 40).astype(np.uint8).transpose(1, 2, 0)
    return np.ascontiguousarray(result)


def _draw(picture: Image.Image, geometry: BaseGeometry, grid: Grid, colour: tuple[int, int, int], width: int) -> None:
    pen = ImageDraw.Draw(picture)
    inverse = ~grid.transform
    for polygon in get_parts(geometry):
        if polygon.geom_type != "Polygon":
            continue
        for ring in (polygon.exterior, *polygon.interiors):
            pen.line([inverse * point[:2] for point in ring.coords], fill=colour, width=width)
