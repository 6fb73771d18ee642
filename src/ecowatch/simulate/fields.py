"""The ground that is simulated: land cover on a grid finer than the pixels, and how a sensor samples it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from affine import Affine
from scipy import fft

from ..grid import Grid

Array = np.ndarray[Any, Any]

ROLES = ("blue", "green", "red", "nir", "swir1", "swir2")
"""Bands of a simulated satellite scene, in the order of all tables here."""


class Cover(IntEnum):
    """Land cover of a fine cell."""

    WATER = 0
    FOREST = 1
    GRASS = 2
    CROP = 3
    BARE = 4
    BUILT = 5


VEGETATED = (Cover.FOREST, Cover.GRASS, Cover.CROP)

# Surface reflectance, rows by Cover, columns by ROLES.
_REFLECTANCE = np.array(
    [
        [0.046, 0.056, 0.036, 0.024, 0.013, 0.009],
        [0.026, 0.048, 0.031, 0.310, 0.150, 0.068],
        [0.048, 0.078, 0.064, 0.285, 0.220, 0.125],
        [0.044, 0.074, 0.058, 0.320, 0.200, 0.110],
        [0.125, 0.165, 0.210, 0.270, 0.345, 0.300],
        [0.125, 0.145, 0.160, 0.205, 0.225, 0.205],
    ],
    np.float32,
)
# More leaves: darker where chlorophyll and water absorb, brighter in the near infrared.
_VIGOUR = np.array([-0.25, -0.10, -0.45, 0.35, -0.15, -0.30], np.float32)
# How far a class greens over the year, and how strongly its texture shows; by Cover.
_GREENING = np.array([0.0, 0.5, 0.9, 1.0, 0.1, 0.1], np.float32)
_TEXTURE = np.array([0.05, 0.09, 0.08, 0.05, 0.10, 0.16], np.float32)
_LEAVES = np.array([0.0, 0.25, 0.45, 0.35, 0.05, 0.05], np.float32)

_PARCEL_M = 110.0
_BLOCK_M = 25.0


def fractal(shape: tuple[int, int], *, beta: float, rng: np.random.Generator) -> Array:
    """Return a random field with a power-law spectrum, the simplest thing that looks like a landscape.

    Parameters
    ----------
    shape
        Rows and columns.
    beta
        Exponent of the power spectrum; 2 is rough, 4 is smooth.
    rng
        Source of randomness.

    Returns
    -------
    Array
        float32, ``(row, col)``, mean 0 and standard deviation 1; no fill.
    """
    rows, cols = (fft.next_fast_len(s, real=True) for s in shape)
    spectrum = fft.rfft2(rng.standard_normal((rows, cols), dtype=np.float32), workers=1)
    ky, kx = fft.fftfreq(rows)[:, None], fft.rfftfreq(cols)[None, :]
    k2 = (ky * ky + kx * kx).astype(np.float32)
    k2[0, 0] = np.inf
    spectrum *= k2 ** np.float32(-beta / 4)
    field = fft.irfft2(spectrum, s=(rows, cols), workers=1)[: shape[0], : shape[1]]
    return np.asarray((field - field.mean()) / field.std(), np.float32)


@dataclass(frozen=True)
class Landscape:
    """The ground under a scene, before any sensor: cells finer than its pixels, and a margin around.

    Parameters
    ----------
    grid
        Grid of the scene.
    oversample
        Cells per pixel side.
    margin_px
        Pixels of ground beyond the scene on each side, so that a shifted sensor still sees ground.
    cover
        uint8, `Cover`, ``(row, col)`` of `fine_grid`.
    brightness, vigour
        float32, same shape, standard deviation 1: texture, and how green a cell is within its class.
    rhythm
        float32, same shape, around 1: how far a cell follows the season (parcels differ).
    """

    grid: Grid
    oversample: int
    margin_px: int
    cover: Array
    brightness: Array
    vigour: Array
    rhythm: Array

    @property
    def fine_grid(self) -> Grid:
        """Grid of the cells, margin included."""
        return fine_grid(self.grid, oversample=self.oversample, margin_px=self.margin_px)

    def cover_px(self) -> Array:
        """Return the cover at the centre of every pixel of the scene: uint8, ``(row, col)``."""
        first, step = self.margin_px * self.oversample + self.oversample // 2, self.oversample
        rows, cols = self.grid.shape
        return self.cover[first::step, first::step][:rows, :cols]


def fine_grid(grid: Grid, *, oversample: int, margin_px: int) -> Grid:
    """Return `grid` with a margin around and each pixel cut into ``oversample × oversample`` cells."""
    wide = grid.padded(margin_px)
    shape = (wide.shape[0] * oversample, wide.shape[1] * oversample)
    return Grid.from_parts(wide.crs, wide.transform * Affine.scale(1 / oversample), shape)


def landscape(grid: Grid, *, seed: int, oversample: int = 3, margin_px: int = 10) -> Landscape:
    """Return a landscape of water, forest, grass, crop parcels, bare ground and settlement.

    A lake and a quarry (stable and bright: a classic false alarm) are always there, whatever the seed.

    Parameters
    ----------
    grid
        Grid of the scene, in metres.
    seed
        Same seed, same landscape.
    oversample, margin_px
        See `Landscape`; keep the margin even where 20 m bands are to be sampled.
    """
    rng = np.random.default_rng([seed, 1])
    fine = fine_grid(grid, oversample=oversample, margin_px=margin_px)
    relief, moisture = (fractal(fine.shape, beta=b, rng=rng) for b in (3.2, 2.8))
    parcel, rhythm = _parcels(fine, relief, moisture, _PARCEL_M, rng)
    blocks, _ = _parcels(fine, moisture, relief, _BLOCK_M, rng)
    cover = _cover(relief, moisture, blocks)
    _stamp(cover, relief, moisture)
    vigour = fractal(fine.shape, beta=2.2, rng=rng)
    in_parcels = np.isin(cover, (Cover.CROP, Cover.GRASS))
    vigour = np.where(in_parcels, 0.5 * vigour + 0.8 * parcel, vigour).astype(np.float32)
    rhythm = np.where(in_parcels, 1 + 0.35 * rhythm, 1).astype(np.float32)
    brightness = fractal(fine.shape, beta=1.8, rng=rng)
    return Landscape(grid, oversample, margin_px, cover, brightness, vigour, rhythm)


def _parcels(fine: Grid, warp_y: Array, warp_x: Array, side_m: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Two random values per parcel: a rotated lattice whose lines are bent a little by the terrain."""
    side = side_m / fine.pixel_m
    rows, cols = np.ogrid[: fine.shape[0], : fine.shape[1]]
    angle = rng.uniform(0.2, 0.6)
    v = (rows * np.cos(angle) + cols * np.sin(angle)) / side + 0.35 * warp_y
    u = (cols * np.cos(angle) - rows * np.sin(angle)) / (1.6 * side) + 0.35 * warp_x
    v, u = (np.floor(a - a.min()).astype(np.intp) for a in (v, u))
    values = rng.standard_normal((2, v.max() + 1, u.max() + 1), dtype=np.float32)
    return values[0][v, u], values[1][v, u]


def _cover(relief: Array, moisture: Array, blocks: Array) -> Array:
    low, _, high, peak = np.quantile(relief[::4, ::4], (0.03, 0.5, 0.72, 0.97))
    dry, fields = np.quantile(moisture[::4, ::4], (0.04, 0.62))
    cover = np.full(relief.shape, Cover.FOREST, np.uint8)
    cover[moisture > fields] = Cover.CROP
    cover[(relief > high) & (moisture > dry)] = Cover.GRASS
    cover[(moisture < dry) | (relief > peak)] = Cover.BARE
    cover[(cover == Cover.CROP) & (moisture > fields + 0.9) & (blocks > 0.8)] = Cover.BUILT
    cover[relief < low] = Cover.WATER
    return cover


def _stamp(cover: Array, relief: Array, moisture: Array) -> None:
    rows, cols = cover.shape
    y, x = np.ogrid[:rows, :cols]
    size = min(rows, cols)
    for kind, (row, col), radius in (
        (Cover.WATER, (0.30, 0.72), 0.085),
        (Cover.BARE, (0.70, 0.25), 0.040),
    ):
        distance = np.hypot(y - row * rows, x - col * cols) / size
        cover[distance < radius * (1 + 0.18 * relief + 0.12 * moisture)] = kind


def reflectance(ground: Landscape, role: str, *, season: float = 0.0, lake_gain: float = 1.0) -> Array:
    """Return the surface reflectance of a landscape in one band.

    Parameters
    ----------
    ground
        The landscape.
    role
        One of `ROLES`.
    season
        Relative change of greenness against the reference date; −0.1 is a later spring.
    lake_gain
        Factor on the reflectance of water: its level of silt.

    Returns
    -------
    Array
        float32, ``(row, col)`` of the fine grid, reflectance 0–1; no fill.
    """
    band = ROLES.index(role)
    table = _REFLECTANCE[:, band].copy()
    table[Cover.WATER] *= lake_gain
    leaves = _LEAVES[ground.cover] * ground.vigour + season * 2 * _GREENING[ground.cover] * ground.rhythm
    values = table[ground.cover] * (1 + _TEXTURE[ground.cover] * ground.brightness)
    values *= np.exp(_VIGOUR[band] * leaves)
    return np.asarray(np.clip(values, 0.002, 0.9), np.float32)


def sampled(
    values: Array,
    *,
    oversample: int,
    margin_px: int,
    shift_px: tuple[float, float] = (0.0, 0.0),
    psf_px: float = 0.4,
) -> Array:
    """Return what a sensor sees of a finely sampled field, displaced exactly.

    Blur and displacement are one multiplication in the Fourier domain; the mean over the pixel follows. What
    lies at ``(row, col)`` on the ground appears at ``(row + shift[0], col + shift[1])`` of the result.

    Parameters
    ----------
    values
        float32, ``(row, col)`` of the cells, margin included.
    oversample
        Cells per pixel side.
    margin_px
        Pixels to cut off on each side, after the displacement.
    shift_px
        Rows and columns, in pixels, smaller than the margin.
    psf_px
        Standard deviation of the point spread, in pixels.

    Returns
    -------
    Array
        float32, ``(row, col)`` of the pixels.
    """
    rows, cols = values.shape
    full = tuple(fft.next_fast_len(s, real=True) for s in values.shape)
    padded = np.pad(values, ((0, full[0] - rows), (0, full[1] - cols)), mode="edge")
    ky, kx = fft.fftfreq(full[0])[:, None], fft.rfftfreq(full[1])[None, :]
    width = 2 * (np.pi * psf_px * oversample) ** 2
    turn_y = np.exp(-width * ky**2 - 2j * np.pi * ky * shift_px[0] * oversample)
    turn_x = np.exp(-width * kx**2 - 2j * np.pi * kx * shift_px[1] * oversample)
    spectrum = fft.rfft2(padded, workers=1)
    spectrum *= turn_y.astype(np.complex64)
    spectrum *= turn_x.astype(np.complex64)
    seen = fft.irfft2(spectrum, s=full, workers=1)[:rows, :cols]
    cut = margin_px * oversample
    inner = seen[cut : rows - cut, cut : cols - cut]
    return block_mean(inner, oversample)


def block_mean(values: Array, side: int) -> Array:
    """Return the float32 means of blocks of ``side × side`` cells; the shape must divide."""
    rows, cols = values.shape
    blocks = values.reshape(rows // side, side, cols // side, side)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)
