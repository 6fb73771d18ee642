"""Geometries as the ledger keeps them: CGCS2000 longitude and latitude, to a millimetre, the same bytes for the same shape."""

from __future__ import annotations

import numpy as np
import shapely
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from ..grid import utm_crs

LEDGER_CRS = CRS.from_epsg(4490)
_DECIMALS = 8


def geometry_bytes(geometry: BaseGeometry) -> bytes:
    """Return normalised little-endian WKB with coordinates to 1e-8 degree (about a millimetre)."""
    rounded = shapely.transform(geometry, lambda xy: np.round(xy, _DECIMALS) + 0.0)
    return bytes(shapely.to_wkb(shapely.normalize(rounded), byte_order=1))


def geometry_text(geometry: BaseGeometry) -> str:
    """Return `geometry_bytes` in hexadecimal, the form of a payload."""
    return geometry_bytes(geometry).hex()


def geometry_of(stored: bytes | str) -> BaseGeometry:
    """Return the geometry of stored bytes or hexadecimal text."""
    return shapely.from_wkb(stored)


def metric_crs(geometry: BaseGeometry) -> CRS:
    """Return a CRS in metres for distances around a geometry in `LEDGER_CRS`; areas are never measured in it."""
    point = shapely.centroid(geometry)
    return utm_crs(point.x, point.y)
