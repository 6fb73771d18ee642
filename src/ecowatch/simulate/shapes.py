"""Shapes of mines, roads, ponds and buildings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import shapely
from shapely import affinity
from shapely.geometry.base import BaseGeometry

Kind = Literal["mine", "road", "pond", "building"]

KINDS: tuple[Kind, ...] = ("mine", "road", "pond", "building")


@dataclass(frozen=True)
class ChangeSizes:
    """Ranges of the sizes of planted changes, in units of `unit_m` metres (areas: its square).

    A shape never gets so small that a sensor of pixel `unit_m` could not show it.
    """

    unit_m: float
    mine_area: tuple[float, float] = (130.0, 400.0)
    road_length: tuple[float, float] = (50.0, 150.0)
    road_width: tuple[float, float] = (2.0, 3.0)
    pond_side: tuple[float, float] = (6.0, 14.0)
    building_area: tuple[float, float] = (8.0, 20.0)


def sizes_for(pixel_m: float) -> ChangeSizes:
    """Return realistic sizes for satellites (10 m) or UAVs (0.25 m), growing with the pixel from there."""
    if pixel_m >= 2:
        return ChangeSizes(max(pixel_m, 10.0))
    return ChangeSizes(
        max(pixel_m, 0.25),
        mine_area=(2400.0, 5000.0),
        road_length=(200.0, 320.0),
        road_width=(11.0, 16.0),
        pond_side=(28.0, 56.0),
        building_area=(1000.0, 2400.0),
    )


def shape_of(kind: Kind, *, sizes: ChangeSizes, rng: np.random.Generator) -> BaseGeometry:
    """Return a random polygon of one kind around the origin, in metres."""
    make = {"mine": _mine, "road": _road, "pond": _pond, "building": _building}[kind]
    turned = affinity.rotate(make(sizes, rng), float(rng.uniform(0, 180)), origin=(0, 0))
    scaled: BaseGeometry = affinity.scale(turned, sizes.unit_m, sizes.unit_m, origin=(0, 0))
    return scaled


def _mine(sizes: ChangeSizes, rng: np.random.Generator) -> BaseGeometry:
    angle = np.linspace(0, 2 * math.pi, 96, endpoint=False)
    radius = np.ones_like(angle)
    for order in range(2, 7):
        radius += rng.normal(0, 0.28 / order) * np.cos(order * angle + rng.uniform(0, 2 * math.pi))
    radius = np.clip(radius, 0.45, None)
    blob = shapely.Polygon(np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]))
    factor = math.sqrt(rng.uniform(*sizes.mine_area) / blob.area)
    scaled: BaseGeometry = affinity.scale(blob, factor, factor, origin=(0, 0))
    return scaled


def _road(sizes: ChangeSizes, rng: np.random.Generator) -> BaseGeometry:
    length, width = rng.uniform(*sizes.road_length), rng.uniform(*sizes.road_width)
    along = np.linspace(-0.5, 0.5, 60)
    bend, wave = rng.uniform(-0.12, 0.12), rng.uniform(0.02, 0.05)
    aside = bend * (1 - 4 * along**2) + wave * np.sin(2 * math.pi * (along * 1.5 + rng.uniform()))
    line = shapely.LineString(np.column_stack([along, aside]) * length)
    road: BaseGeometry = line.buffer(width / 2, cap_style="flat", join_style="round")
    return road


def _pond(sizes: ChangeSizes, rng: np.random.Generator) -> BaseGeometry:
    width, height = rng.uniform(*sizes.pond_side, size=2) / 2
    pond: BaseGeometry = shapely.box(-width, -height, width, height)
    return pond


def _building(sizes: ChangeSizes, rng: np.random.Generator) -> BaseGeometry:
    area, aspect = rng.uniform(*sizes.building_area), rng.uniform(1.0, 1.8)
    width, height = math.sqrt(area * aspect) / 2, math.sqrt(area / aspect) / 2
    roof: BaseGeometry = shapely.box(-width, -height, width, height)
    return roof
