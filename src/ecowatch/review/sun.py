"""Where the sun stood: for choosing dates alike, and for telling shadows."""

from __future__ import annotations

import math
from datetime import datetime


def sun_elevation_deg(instant: datetime, longitude: float, latitude: float) -> float:
    """Return the height of the sun above the horizon, degrees; good to about half a degree, without refraction.

    Parameters
    ----------
    instant
        Aware, UTC.
    longitude, latitude
        Degrees.
    """
    return math.degrees(math.asin(max(-1.0, min(1.0, _direction(instant, longitude, latitude)[2]))))


def sun_apart_deg(one: datetime, other: datetime, longitude: float, latitude: float) -> float:
    """Return the angle between the directions to the sun at two instants, degrees.

    Parameters
    ----------
    one, other
        Aware, UTC.
    longitude, latitude
        Degrees.
    """
    first, second = (_direction(instant, longitude, latitude) for instant in (one, other))
    cosine = sum(a * b for a, b in zip(first, second, strict=True))
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def _direction(instant: datetime, longitude: float, latitude: float) -> tuple[float, float, float]:
    """Unit vector to the sun: east, north, up.

    Source: Spencer, J. W. (1971): Fourier series representation of the position of the sun. Search 2, 172.
    """
    hour = instant.hour + instant.minute / 60 + instant.second / 3600
    year = 2 * math.pi * (instant.timetuple().tm_yday - 1 + (hour - 12) / 24) / 365
    declination = (
        0.006918
        - 0.399912 * math.cos(year)
        + 0.070257 * math.sin(year)
        - 0.006758 * math.cos(2 * year)
        + 0.000907 * math.sin(2 * year)
        - 0.002697 * math.cos(3 * year)
        + 0.00148 * math.sin(3 * year)
    )
    minutes = 229.18 * (
        0.000075
        + 0.001868 * math.cos(year)
        - 0.032077 * math.sin(year)
        - 0.014615 * math.cos(2 * year)
        - 0.040849 * math.sin(2 * year)
    )
    hour_angle = math.radians((hour * 60 + minutes + 4 * longitude) / 4 - 180)
    phi = math.radians(latitude)
    east = -math.cos(declination) * math.sin(hour_angle)
    north = math.cos(phi) * math.sin(declination) - math.sin(phi) * math.cos(declination) * math.cos(hour_angle)
    up = math.sin(phi) * math.sin(declination) + math.cos(phi) * math.cos(declination) * math.cos(hour_angle)
    return east, north, up
