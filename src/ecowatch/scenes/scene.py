"""A scene: one acquisition of one sensor, with what its numbers mean and where each band lies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from ..errors import SceneError
from ..grid import Grid
from ..raster import Layer

# A civil date of a review is the date in Asia/Shanghai. A fixed offset needs no zone database on the machine; it differs
# only in the summers of 1986-1991 (daylight saving), between 23:00 and 24:00, when no optical scene is taken.
SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")


class QualityKind(StrEnum):
    """How a quality layer says which pixels are usable."""

    SCL = "scl"
    QA_PIXEL = "qa_pixel"
    ALPHA = "alpha"


@dataclass(frozen=True)
class Quality:
    """The layer that tells cloud, shadow or opacity, and how to read it."""

    kind: QualityKind
    layer: Layer


class Unit(StrEnum):
    """What number × scale + offset is."""

    REFLECTANCE = "reflectance"
    BRIGHTNESS = "brightness"
    DECIBEL = "decibel"
    AMPLITUDE = "amplitude"
    POWER = "power"


RADAR_UNITS = frozenset({Unit.DECIBEL, Unit.AMPLITUDE, Unit.POWER})


@dataclass(frozen=True)
class Band:
    """One band: number x scale + offset is a reflectance, or for radar a backscatter in the unit named."""

    role: str
    layer: Layer
    scale: float
    offset: float
    unit: Unit = Unit.REFLECTANCE


@dataclass(frozen=True)
class Scene:
    """One acquisition of one sensor.

    Parameters
    ----------
    scene_id
        Name in tables and messages.
    sensor
        Key of the row in the sensor table.
    acquired
        Instant of acquisition, aware, UTC.
    bands
        Bands of one data type and one fill value, each role once.
    quality
        Layer of cloud, shadow or opacity; None where the product has none.
    notes
        What was assumed or missing when the scene was opened; each begins with its code.
    track
        For radar: direction and relative orbit. Scenes of different tracks look from different sides and are never
        compared. "" where it does not matter.
    """

    scene_id: str
    sensor: str
    acquired: datetime
    bands: tuple[Band, ...]
    quality: Quality | None
    notes: tuple[str, ...] = ()
    track: str = ""

    def __post_init__(self) -> None:
        if self.acquired.utcoffset() != timedelta(0):
            raise SceneError("DATE_AMBIGUOUS", self.scene_id, "the time of acquisition is not UTC", "give it in UTC")
        if not self.bands or len(set(self.roles)) != len(self.bands):
            raise SceneError(
                "SCENE_BANDS", self.scene_id, f"band roles are {', '.join(self.roles) or 'none'}", "name each role once"
            )
        kinds = {(band.layer.dtype, repr(band.layer.fill)) for band in self.bands}
        if len(kinds) > 1:
            found = "; ".join(f"{b.role} {b.layer.dtype} fill {b.layer.fill}" for b in self.bands)
            raise SceneError(
                "MIXED_BANDS", self.scene_id, f"bands differ in type or fill value ({found})", "deliver them alike"
            )

    @property
    def civil_date(self) -> date:
        """Date in Asia/Shanghai, by which a scene belongs to a period."""
        return self.acquired.astimezone(SHANGHAI).date()

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles of the bands, in their order."""
        return tuple(band.role for band in self.bands)

    @property
    def radiometry(self) -> tuple[tuple[str, float, float], ...]:
        """Role, scale and offset of each band."""
        return tuple((band.role, band.scale, band.offset) for band in self.bands)

    @property
    def units(self) -> tuple[Unit, ...]:
        """What the numbers of each band are."""
        return tuple(band.unit for band in self.bands)

    @property
    def grid(self) -> Grid:
        """Grid of the finest band, the first of them at ties."""
        return min(self.bands, key=lambda band: band.layer.grid.pixel_m).layer.grid

    def band(self, role: str) -> Band:
        """Return the band of a role.

        Raises
        ------
        SceneError
            ``BAND_MISSING`` with the roles there are.
        """
        for band in self.bands:
            if band.role == role:
                return band
        raise SceneError(
            "BAND_MISSING", self.scene_id, f"it has no band {role!r}", f"use one of: {', '.join(self.roles)}"
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the scene is, wherever its files lie and whatever it is called."""
        parts = [self.sensor, self.acquired.isoformat(), self.track]
        for band in self.bands:
            parts += [band.role, repr(float(band.scale)), repr(float(band.offset)), band.unit.value]
            parts += _layer_parts(band.layer)
        if self.quality is not None:
            parts += [self.quality.kind.value, *_layer_parts(self.quality.layer)]
        return digest_of(parts)


class Quarantined(NamedTuple):
    """A scene that is left out, and what would bring it back."""

    where: str
    code: str
    finding: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.code} {self.where}: {self.finding}; {self.remedy}"


class Catalog(NamedTuple):
    """The scenes of one source, oldest first, and what was left out."""

    scenes: tuple[Scene, ...]
    quarantined: tuple[Quarantined, ...]


def digest_of(parts: Iterable[str]) -> str:
    """Return the SHA-256 of texts, each with its length so that no two lists share a digest."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode()
        total.update(f"{len(data)}:".encode() + data)
    return total.hexdigest()


def grid_key(grid: Grid) -> str:
    """Return CRS, transform and shape of a grid as one text."""
    numbers = [repr(float(v)) for v in tuple(grid.transform)[:6]]
    return " ".join([grid.crs.to_string(), *numbers, *map(str, grid.shape)])


def _layer_parts(layer: Layer) -> list[str]:
    kind = [layer.dtype, repr(layer.fill), repr(layer.quantum), repr(layer.file_fill)]
    return [layer.digest, str(layer.index), *kind, grid_key(layer.grid)]
