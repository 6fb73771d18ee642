"""Geometries as the ledger keeps them: CGCS2000 longitude and latitude, to a millimetre, the same bytes for the same shape."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import shapely
from pyproj import CRS
from pyproj.crs import ProjectedCRS
from pyproj.crs.coordinate_operation import TransverseMercatorConversion
from shapely.geometry.base import BaseGeometry

from ..grid import CGCS2000

LEDGER_CRS = CGCS2000
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
    """Return a CRS in metres for distances around a geometry in `LEDGER_CRS`: transverse Mercator on the same datum.

    Its central meridian is the whole degree nearest to the geometry, so that a distance is right to a few parts in ten
    thousand over an area of a degree or two; areas are never measured in its plane.
    """
    return _transverse_mercator(round(shapely.centroid(geometry).x))


@lru_cache(maxsize=360)
def _transverse_mercator(longitude: int) -> CRS:
    conversion = TransverseMercatorConversion(longitude_natural_origin=longitude, false_easting=500_000)
    return ProjectedCRS(conversion, name=f"CGCS2000 / transverse Mercator {longitude}", geodetic_crs=LEDGER_CRS)
