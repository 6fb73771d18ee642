"""Clouds and their shadows, and the quality layers that tell of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from .fields import fractal

Array = np.ndarray[Any, Any]

SCL_FILL, SCL_SHADOW, SCL_VEGETATION, SCL_BARE, SCL_WATER = 0, 3, 4, 5, 6
SCL_CLOUD_MEDIUM, SCL_CLOUD_HIGH = 8, 9

# QA_PIXEL of Landsat Collection 2 by SCL class: fill, shadow, clear land, clear water, dilated cloud, cloud.
_QA_PIXEL = {0: 1, 3: 23888, 4: 21824, 5: 21824, 6: 21952, 8: 21826, 9: 22280}

# Brightness of a thick cloud by band role; it absorbs a little in the short-wave infrared.
_CLOUD = {"swir1": 0.46, "swir2": 0.36}
_CLOUD_TOP = 0.68
# The morning sun stands in the south-east: shadows fall to the north-west.
_SHADOW_M = (-260.0, -190.0)
_SHADOW_DEPTH = 0.55


@dataclass(frozen=True)
class Sky:
    """Clouds over one date.

    Parameters
    ----------
    opacity
        float32, ``(row, col)``, 0 (clear) – 1.
    shadow
        float32, ``(row, col)``, 0 (sunlit) – 1, 0 below clouds.
    """

    opacity: Array
    shadow: Array

    @property
    def masked(self) -> Array:
        """Pixels that cloud or shadow touch: bool, ``(row, col)``."""
        return (self.opacity > 0) | (self.shadow > 0)


def clouds(shape: tuple[int, int], *, share: float, pixel_m: float, seed: int) -> Sky:
    """Return a sky of which `share` is cloud, shadows apart.

    Parameters
    ----------
    shape
        Rows and columns.
    share
        Part of the pixels below any cloud, 0–1.
    pixel_m
        Side of a pixel in metres; it sets how far the shadows fall.
    seed
        Same seed, same sky.
    """
    if share <= 0:
        return Sky(np.zeros(shape, np.float32), np.zeros(shape, np.float32))
    field = fractal(shape, beta=3.6, rng=np.random.default_rng([seed, 2]))
    opacity = np.clip((field - np.quantile(field, 1 - share)) * 4, 0, 1)
    moved = tuple(round(m / max(pixel_m, 10.0)) for m in _SHADOW_M)
    shadow = ndimage.shift(opacity, moved, order=0, mode="constant")
    return Sky(opacity.astype(np.float32), np.where(opacity > 0, 0, shadow).astype(np.float32))


def under_sky(values: Array, role: str, sky: Sky) -> Array:
    """Return a band (float32, ``(row, col)``, 0–1) as seen below a sky of the same shape."""
    lit = values * (1 - _SHADOW_DEPTH * sky.shadow)
    return np.asarray(lit + sky.opacity * (_CLOUD.get(role, _CLOUD_TOP) - lit), np.float32)


def scene_classes(sky: Sky, *, water: Array, vegetated: Array, valid: Array | None = None) -> Array:
    """Return the scene classification (SCL of Sentinel-2) that belongs to a sky.

    Parameters
    ----------
    sky
        Clouds.
    water, vegetated
        Bool, ``(row, col)``: the ground; the rest is bare.
    valid
        Bool, ``(row, col)``: False is fill; None for none.

    Returns
    -------
    Array
        uint8, ``(row, col)``; 0 is fill.
    """
    classes = np.where(water, SCL_WATER, np.where(vegetated, SCL_VEGETATION, SCL_BARE)).astype(np.uint8)
    classes[sky.shadow > 0] = SCL_SHADOW
    classes[sky.opacity > 0] = SCL_CLOUD_MEDIUM
    classes[sky.opacity > 0.6] = SCL_CLOUD_HIGH
    if valid is not None:
        classes[~valid] = SCL_FILL
    return classes


def hidden_by(classes: Array) -> Array:
    """Return the pixels of a scene classification that show no ground: fill, cloud or shadow; bool."""
    return np.isin(classes, (SCL_FILL, SCL_SHADOW, SCL_CLOUD_MEDIUM, SCL_CLOUD_HIGH))


def coarser_classes(classes: Array) -> Array:
    """Return the classes of 2 × 2 pixels: the worst one wins, so that nothing hidden is called clear."""
    rank = np.zeros(256, np.uint8)
    for place, code in enumerate(
        (SCL_VEGETATION, SCL_BARE, SCL_WATER, SCL_SHADOW, SCL_CLOUD_MEDIUM, SCL_CLOUD_HIGH, SCL_FILL)
    ):
        rank[code] = place
    rows, cols = classes.shape
    blocks = classes.reshape(rows // 2, 2, cols // 2, 2).swapaxes(1, 2).reshape(rows // 2, cols // 2, 4)
    worst = rank[blocks].argmax(axis=2)
    return np.take_along_axis(blocks, worst[..., None], axis=2)[..., 0]


def qa_pixel(classes: Array) -> Array:
    """Return Landsat's QA_PIXEL for a scene classification: uint16, same shape; bit 0 is fill."""
    table = np.full(256, 21824, np.uint16)
    for code, value in _QA_PIXEL.items():
        table[code] = value
    return table[classes]
