"""The sensor table: one row per sensor, what its bands are called, what its numbers mean and where that is written."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from ..errors import ConfigError
from .scene import QualityKind, Unit


class SensorBand(NamedTuple):
    """One band: its name in the product, its role here and its number where one file holds all bands."""

    name: str
    role: str
    number: int


@dataclass(frozen=True)
class Sensor:
    """One row of the table.

    Parameters
    ----------
    key, title
        Name in the settings; name for people.
    bands
        Bands that are used, in the order they are read.
    scale, offset
        Reflectance = number x scale + offset, where neither product nor settings say otherwise.
    fill
        Number that means "no data", or None.
    quality
        Kind of the quality layer its products carry.
    pixel_m
        Usual pixel of the finest band, in metres; 0 where it varies.
    source
        Valid range and where the figures are documented.
    dtype
        Type the scale is made for, where another one would give wrong reflectance; "" for any.
    unit
        What number x scale + offset is.
    """

    key: str
    title: str
    bands: tuple[SensorBand, ...]
    scale: float
    offset: float
    fill: float | None
    quality: QualityKind | None
    pixel_m: float
    source: str
    dtype: str = ""
    unit: Unit = Unit.REFLECTANCE

    def role_of(self, name: str) -> str | None:
        """Return the role of a band by its name in the product, or None."""
        return next((band.role for band in self.bands if band.name == name), None)


def _bands(text: str) -> tuple[SensorBand, ...]:
    pairs = (pair.split(":") for pair in text.split())
    return tuple(SensorBand(name, role, number) for number, (name, role) in enumerate(pairs, 1))


_S2_BANDS = "B02:blue B03:green B04:red B08:nir B11:swir1 B12:swir2 B05:rededge1 B06:rededge2 B07:rededge3 B8A:nir2"
_LANDSAT_SOURCE = "valid numbers 7273-43636; Landsat 4-7 (LSDS-1618) and 8-9 (LSDS-1619) Collection 2 Level 2 guides"

_ROWS = (
    Sensor(
        "s2_l2a",
        "Sentinel-2 MSI Level-2A",
        _bands(_S2_BANDS),
        1e-4,
        0.0,
        0,
        QualityKind.SCL,
        10,
        "numbers 1-65534, 65535 saturated; offset per product from baseline 04.00; Sentinel-2 Products Specification",
    ),
    Sensor(
        "landsat_oli",
        "Landsat 8-9 OLI Collection 2 Level 2",
        _bands("B2:blue B3:green B4:red B5:nir B6:swir1 B7:swir2"),
        2.75e-5,
        -0.2,
        0,
        QualityKind.QA_PIXEL,
        30,
        _LANDSAT_SOURCE,
    ),
    Sensor(
        "landsat_tm",
        "Landsat 4-7 TM/ETM+ Collection 2 Level 2",
        _bands("B1:blue B2:green B3:red B4:nir B5:swir1 B7:swir2"),
        2.75e-5,
        -0.2,
        0,
        QualityKind.QA_PIXEL,
        30,
        _LANDSAT_SOURCE,
    ),
    Sensor(
        "gf_4band",
        "GF-1/GF-6 and alike, four bands, surface reflectance x 10000",
        _bands("B1:blue B2:green B3:red B4:nir"),
        1e-4,
        0.0,
        0,
        None,
        8,
        "usual form of corrected deliveries; where another scale is used, describe the bands in the review file",
    ),
    Sensor(
        "cbers4_mux",
        "CBERS-4 MUX, four bands, surface reflectance x 10000",
        _bands("B5:blue B6:green B7:red B8:nir"),
        1e-4,
        0.0,
        0,
        None,
        20,
        "bands 5-8 of the camera stand as 1-4 in the file",
    ),
    Sensor(
        "uav_rgb",
        "UAV orthophoto, red green blue (alpha)",
        _bands("1:red 2:green 3:blue"),
        1 / 255,
        0.0,
        None,
        None,
        0,
        "camera numbers, not reflectance: brightness 0-1 for comparison within one camera",
        dtype="uint8",
        unit=Unit.BRIGHTNESS,
    ),
    Sensor(
        "s1_rtc",
        "Sentinel-1 IW, terrain-corrected calibrated backscatter (gamma0 or sigma0, linear power)",
        _bands("vv:vv vh:vh"),
        1.0,
        0.0,
        0,
        None,
        10,
        "calibrated power, float; GRD files in radar geometry or in digital numbers must be calibrated first",
        dtype="float32",
        unit=Unit.POWER,
    ),
    Sensor(
        "s1_db",
        "Sentinel-1 IW, terrain-corrected calibrated backscatter in decibel",
        _bands("vv:vv vh:vh"),
        1.0,
        0.0,
        None,
        None,
        10,
        "decibel, float; describe the bands where integers hold hundredths",
        dtype="float32",
        unit=Unit.DECIBEL,
    ),
    Sensor(
        "plain",
        "described in the review file",
        (),
        1.0,
        0.0,
        None,
        None,
        0,
        "scale, offset and roles as the review file describes them",
    ),
)

SENSORS = MappingProxyType({row.key: row for row in _ROWS})


def sensor_named(key: str, where: object) -> Sensor:
    """Return a row of the table.

    Raises
    ------
    ConfigError
        ``SENSOR_UNKNOWN`` with the nearest name.
    """
    if key in SENSORS:
        return SENSORS[key]
    near = difflib.get_close_matches(key, SENSORS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"one of: {', '.join(SENSORS)}"
    raise ConfigError("SENSOR_UNKNOWN", where, f"unknown sensor {key!r}", hint)
