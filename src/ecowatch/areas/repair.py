"""Polygons made valid with the change told, and coordinates that cannot be where they claim to be refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from ..errors import BoundaryError, GridError
from ..grid import coordinate_transformer, geodesic_area_m2
from .model import polygonal

_POLYGON, _MULTIPOLYGON, _COLLECTION = 3, 6, 7
_MOVED_SHARE = 0.001
_MOVED_M2 = 100.0
# Longitudes and latitudes of China with a margin; the axes are swapped where they stand in the other's place.
_CHINA_X = (73.0, 136.0)
_CHINA_Y = (18.0, 54.0)


def cleaned_polygons(
    geometries: NDArray[np.object_], crs: CRS, rows: Sequence[str], source: str | Path
) -> tuple[list[BaseGeometry], list[tuple[str, ...]]]:
    """Return each row's polygons, valid, with the notes on what was changed.

    The repair keeps the union of nested shells (method "structure"); GEOS's default would turn an inner shell into a hole.

    Parameters
    ----------
    geometries
        object, (row,), shapely geometries as read.
    crs
        Their CRS.
    rows
        How to name each row in a message.
    source
        The file.

    Returns
    -------
    list, list
        Polygon or MultiPolygon and notes, one entry per row.

    Raises
    ------
    BoundaryError
        ``GEOM_EMPTY``, ``GEOM_TYPE``, ``COORDINATES_NAN``, ``AXES_SWAPPED``, ``COORDINATE_RANGE``, ``ANTIMERIDIAN``.
    """
    _refuse_unusable(geometries, rows, source)
    _refuse_misplaced(shapely.bounds(geometries), crs, rows, source)
    geometries = _drawn_only(geometries)
    suspects = ~shapely.is_valid(geometries) | (shapely.get_type_id(geometries) == _COLLECTION)
    kept, notes = list(geometries), [()] * len(geometries)  # type: list[BaseGeometry], list[tuple[str, ...]]
    for index in np.flatnonzero(suspects).tolist():
        kept[index], notes[index] = _repaired(geometries[index], crs, rows[index], source)
    return kept, notes


def hollow(geometries: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Tell which geometries list a part or a ring that they do not draw.

    By their rules they are valid, yet GEOS ends the program where it cuts the edges of such a one or asks what lies in it.

    Parameters
    ----------
    geometries
        object, (row,), of any type; None where a row has none.

    Returns
    -------
    ndarray
        bool, (row,); False where nothing at all is drawn.
    """
    parts, owner = shapely.get_parts(geometries, return_index=True)
    while (shapely.get_type_id(parts) > _POLYGON).any():
        parts, inner = shapely.get_parts(parts, return_index=True)
        owner = owner[inner]
    with_holes = np.flatnonzero(shapely.get_num_interior_rings(parts) > 0)
    rings, holed = shapely.get_rings(parts[with_holes], return_index=True)
    result = np.zeros(len(geometries), bool)
    result[owner[shapely.is_empty(parts)]] = True
    result[owner[with_holes[holed[shapely.is_empty(rings)]]]] = True
    result[shapely.is_empty(geometries)] = False
    return result


def _drawn_only(geometries: NDArray[np.object_]) -> NDArray[np.object_]:
    """Leave out what polygons and multipolygons list and do not draw; repair takes it out of a collection."""
    result = geometries.copy()
    for index in np.flatnonzero(hollow(geometries) & (shapely.get_type_id(geometries) != _COLLECTION)).tolist():
        parts = [part for part in shapely.get_parts(geometries[index]) if not part.is_empty]
        drawn = [shapely.Polygon(part.exterior, [r for r in part.interiors if not r.is_empty]) for part in parts]
        result[index] = shapely.MultiPolygon(drawn) if geometries[index].geom_type == "MultiPolygon" else drawn[0]
    return result


def _refuse_unusable(geometries: NDArray[np.object_], rows: Sequence[str], source: str | Path) -> None:
    empty = shapely.is_missing(geometries) | shapely.is_empty(geometries)
    if empty.any():
        row = rows[int(np.argmax(empty))]
        raise BoundaryError("GEOM_EMPTY", source, f"{row} has no geometry", "draw it or remove the row")
    flat = ~np.isin(shapely.get_type_id(geometries), (_POLYGON, _MULTIPOLYGON, _COLLECTION))
    if flat.any():
        index = int(np.argmax(flat))
        raise BoundaryError(
            "GEOM_TYPE", source, f"{rows[index]} is a {geometries[index].geom_type}", "give the boundary as polygons"
        )
    coordinates, owner = shapely.get_coordinates(geometries, return_index=True)
    broken = ~np.isfinite(coordinates).all(axis=1)
    if broken.any():
        row = rows[int(owner[int(np.argmax(broken))])]
        raise BoundaryError("COORDINATES_NAN", source, f"{row} has a coordinate that is no number", "repair the row")


def _refuse_misplaced(bounds: NDArray[np.float64], crs: CRS, rows: Sequence[str], source: str | Path) -> None:
    if not crs.is_geographic:
        _refuse_off_projection(bounds, crs, rows, source)
        return
    left, bottom, right, top = bounds.T
    # Where x reads like a latitude of China and y like a longitude of China, the file is in lat/lon order.
    swapped = (left >= _CHINA_Y[0]) & (right <= _CHINA_Y[1]) & (bottom >= _CHINA_X[0]) & (top <= _CHINA_X[1])
    swapped |= (np.maximum(-left, right) <= 90) & (np.maximum(-bottom, top) > 90) & (np.maximum(-bottom, top) <= 180)
    beyond = (np.maximum(-left, right) > 180) | (np.maximum(-bottom, top) > 90)
    wide = right - left > 180
    tests = (
        (swapped, "AXES_SWAPPED", "looks like latitude before longitude", "export with longitude (x) first"),
        (beyond, "COORDINATE_RANGE", "is beyond ±180, ±90 degrees", f"check the CRS: the file says {crs.name}"),
        (wide, "ANTIMERIDIAN", "is wider than 180 degrees", "cut it at 180° into two polygons (RFC 7946, 3.1.9)"),
    )
    for found, code, what, remedy in tests:
        if found.any():
            index = int(np.argmax(found))
            box = ", ".join(f"{v:g}" for v in bounds[index])
            raise BoundaryError(code, source, f"{rows[index]} {what} (bounds {box})", remedy)


def _refuse_off_projection(bounds: NDArray[np.float64], crs: CRS, rows: Sequence[str], source: str | Path) -> None:
    geodetic = crs.geodetic_crs
    if geodetic is None:
        raise BoundaryError("NO_CRS", source, f"{crs.name} is tied to no place on Earth", "save it with an EPSG CRS")
    try:
        transformer = coordinate_transformer(crs, geodetic)
    except GridError as error:
        raise BoundaryError(
            "NO_CRS", source, f"{crs.name} cannot be computed with", "save it with an EPSG CRS"
        ) from error
    x, y = (bounds[:, 0] + bounds[:, 2]) / 2, (bounds[:, 1] + bounds[:, 3]) / 2
    there = np.isfinite(np.column_stack(transformer.transform(x, y))).all(axis=1)
    if not there.all():
        index = int(np.argmin(there))
        raise BoundaryError(
            "COORDINATE_RANGE", source, f"{rows[index]} at {x[index]:.0f}, {y[index]:.0f} is nowhere in {crs.name}",
            "check the CRS and the order of the axes",
        )  # fmt: skip


def _repaired(geometry: BaseGeometry, crs: CRS, row: str, source: str | Path) -> tuple[BaseGeometry, tuple[str, ...]]:
    result = polygonal(shapely.make_valid(geometry, method="structure"))
    if result.is_empty:
        raise BoundaryError("GEOM_EMPTY", source, f"{row} has no surface", "draw it or remove the row")
    after = geodesic_area_m2(result, crs)
    # Cutting the edges of an invalid polygon makes GEOS repair it in another way (a bow-tie loses a wing), so the area
    # before is the plane's shoelace figure at the scale of the repaired one.
    before = after * float(geometry.area / result.area)
    notes = [f"GEOM_REPAIRED {row}: area {before:.0f} → {after:.0f} m²"]
    moved = abs(after - before)
    if moved > _MOVED_M2 or moved > _MOVED_SHARE * before:
        notes.append(f"GEOM_AREA_MOVED {row}: by {after - before:+.0f} m²; look at the outline")
    return result, tuple(notes)
