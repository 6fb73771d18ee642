"""A site and the ring of untouched ground around it, as one date of a sensor shows them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from ..grid import BLOCK_PX, Grid, Window
from ..ledger.rectified import SiteDate
from ..prepare import ShiftField
from ..raster import GridReader, burn
from ..settings import ClaimRules
from .pair import Comparison
from .pixels import physical_block, read_pair

Array = np.ndarray[Any, Any]

_DARKEST = 1e-4


class Piece(NamedTuple):
    """A window of the grid: which of its pixels are of the site, which of the ring; bool, ``(row, col)``."""

    window: Window
    inside: Array
    ring: Array


def site_pieces(site: BaseGeometry, others: BaseGeometry, grid: Grid, *, ring_m: float) -> list[Piece]:
    """Lay a site and its ring on a grid, block by block: a long road is never read as one window.

    Parameters
    ----------
    site
        Its outline, in the CRS of `grid`.
    others
        Other sites, which are no part of the ring; in the CRS of `grid`.
    grid
        The area's; the ring may reach beyond it.
    ring_m
        Width of the ring, in metres.
    """
    around = shapely.buffer(site, ring_m * max(grid.pixel_size) / grid.pixel_m)
    # The pixels at the edge are of both: neither site nor ring.
    ring = shapely.difference(shapely.difference(around, shapely.buffer(site, max(grid.pixel_size))), others)
    left, bottom, right, top = around.bounds
    (col0, row0), (col1, row1) = ~grid.transform * (left, top), ~grid.transform * (right, bottom)
    whole = Window(math.floor(row0) - 1, math.floor(col0) - 1, math.ceil(row1) + 1, math.ceil(col1) + 1)
    pieces = []
    for row in range(whole.row0 // BLOCK_PX, whole.row1 // BLOCK_PX + 1):
        for col in range(whole.col0 // BLOCK_PX, whole.col1 // BLOCK_PX + 1):
            block = Window(row * BLOCK_PX, col * BLOCK_PX, (row + 1) * BLOCK_PX, (col + 1) * BLOCK_PX)
            window = block.intersection(whole)
            if window is not None:
                part = grid.cropped(window)
                pieces.append(Piece(window, burn(site, part), burn(ring, part)))
    return [piece for piece in pieces if piece.inside.any() or piece.ring.any()]


def site_date(
    reader: GridReader, view: Comparison, pieces: Sequence[Piece], shift: ShiftField | None, rules: ClaimRules
) -> SiteDate:
    """Return what a date shows of a site and its ring.

    Parameters
    ----------
    reader
        Open on the grid of `view`.
    view
        The date, as both dates of a comparison.
    pieces
        Of `site_pieces`.
    shift
        Displacement of the date that is taken out; None for none.
    rules
        Which ground is bare; how much of the ring must be clear.

    Raises
    ------
    SceneError
        Where a block cannot be read.
    """
    read = list(_read(reader, view, pieces, shift))
    site, ring = (np.concatenate([part[number] for part in read], axis=1) for number in (0, 1))
    site_px, ring_px = sum(int(p.inside.sum()) for p in pieces), sum(int(p.ring.sum()) for p in pieces)
    level = view.pipeline.activity.water_level
    facts, around = (
        ground_of(values, view.roles, water_level=level, bare_ndvi=rules.bare_ndvi) for values in (site, ring)
    )
    if ring.shape[1] < rules.min_valid_share * ring_px:
        around = _NOTHING
    return SiteDate(
        view.after.day,
        site.shape[1] / site_px if site_px else 0.0,
        facts.ndvi,
        around.land_ndvi,
        facts.bare_share,
        facts.spectrum,
        facts.water_share,
        around.land_spectrum,
        around.bare_share,
    )


def _read(
    reader: GridReader, view: Comparison, pieces: Sequence[Piece], shift: ShiftField | None
) -> Iterator[tuple[Array, Array]]:
    """Reflectances (band, n) of the clear pixels of the site and of the ring."""
    yield np.empty((len(view.roles), 0), np.float32), np.empty((len(view.roles), 0), np.float32)
    for piece in pieces:
        pair = read_pair(reader, view, piece.window, shift=shift, inside=None, features=False, before_shift=shift)
        block = physical_block(view, pair, features=False)
        if block is not None:
            yield block.after[:, piece.inside & block.valid], block.after[:, piece.ring & block.valid]


class Ground(NamedTuple):
    """What pixels show together; None and empty where there are none."""

    ndvi: float | None
    land_ndvi: float | None
    bare_share: float | None
    water_share: float | None
    spectrum: dict[str, float]
    land_spectrum: dict[str, float]


_NOTHING = Ground(None, None, None, None, {}, {})


def ground_of(values: Array, roles: Sequence[str], *, water_level: float, bare_ndvi: float) -> Ground:
    """Return what pixels show together.

    Parameters
    ----------
    values
        Reflectance, ``(band, n)``; no NaN.
    roles
        Of the bands, ``red`` and ``nir`` among them.
    water_level
        Water index above which a pixel is water.
    bare_ndvi
        Land below this NDVI is bare.
    """
    if not values.shape[1]:
        return _NOTHING
    bands = dict(zip(roles, np.maximum(values.astype(np.float64), _DARKEST), strict=True))
    greenness = (bands["nir"] - bands["red"]) / (bands["nir"] + bands["red"])
    wet = _open_water(bands, water_level)
    land = ~wet
    return Ground(
        float(np.median(greenness)),
        float(np.median(greenness[land])) if land.any() else None,
        float((land & (greenness < bare_ndvi)).mean()),
        float(wet.mean()),
        {role: float(np.median(band)) for role, band in bands.items()},
        {role: float(np.median(band[land])) for role, band in bands.items()} if land.any() else {},
    )


def _open_water(bands: Mapping[str, Array], level: float) -> Array:
    """Water by both indices: roofs of metal pass one of them, not both."""
    if "green" not in bands:
        return np.zeros(bands["nir"].shape, bool)
    green = bands["green"]
    wet: Array = bands["nir"] < green
    if "swir1" in bands:
        wet &= (green - bands["swir1"]) / (green + bands["swir1"]) > level
    return wet
