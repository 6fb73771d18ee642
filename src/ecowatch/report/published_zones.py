"""How much of many shapes lies in each zone of their areas: hectares or metres that add up to no more than the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from ..codes import THREE_ZONE, TWO_ZONE, Zone

Shapes = NDArray[np.object_]
Measure = Callable[[BaseGeometry], float]
_EQUAL = 1e-6
_ORDER = {str(zone): rank for rank, zone in enumerate(Zone)}


class Zones(NamedTuple):
    """Zones of one area that share no ground: labels, and one shape for each."""

    labels: tuple[str, ...]
    shapes: Shapes


def disjoint_zones(parts: Sequence[tuple[str, BaseGeometry]]) -> Zones:
    """Return zones without common ground: where two overlap, the stricter one has it.

    Parameters
    ----------
    parts
        (code of `codes.Zone` or another text, polygon in any one CRS); several of one label are joined.
    """
    by_label: dict[str, list[BaseGeometry]] = {}
    for label, shape in parts:
        by_label.setdefault(label, []).append(shape)
    labels = sorted(by_label, key=lambda label: (_ORDER.get(label, len(_ORDER)), label))
    shapes = np.empty(len(labels), dtype=object)
    for index, label in enumerate(labels):
        shape = shapely.union_all(by_label[label]) if len(by_label[label]) > 1 else by_label[label][0]
        for stricter in shapes[:index]:
            if shapely.area(shapely.intersection(shape, stricter)) > 0:
                shape = shapely.difference(shape, stricter)
        shapes[index] = shape
    return Zones(tuple(labels), shapes)


def amounts_by_zone(
    shapes: Shapes,
    area_ids: Sequence[str],
    zones: Mapping[str, Zones],
    measure: Measure,
    totals: NDArray[np.float64],
) -> tuple[dict[str, NDArray[np.float64]], list[str | None]]:
    """Measure what lies in each zone.

    Parameters
    ----------
    shapes
        object, (row,), valid shapes in the CRS of the zones.
    area_ids
        Area of each row.
    zones
        By area; an area without zones is absent or has none.
    measure
        Size of a piece: m² for polygons, m for lines.
    totals
        float64, (row,), size of each shape by the same measure; a shape inside one zone is not measured again.

    Returns
    -------
    tuple
        For each code of `codes.Zone` float64, (row,): NaN where the area has no zones of that system, 0 where the shape has no
        part in it. And the label of the zone with the largest part, None where there is none.
    """
    amounts = {str(zone): np.full(len(shapes), np.nan) for zone in Zone}
    main: list[str | None] = [None] * len(shapes)
    largest = np.zeros(len(shapes))
    for area_id, rows in pd.Series(range(len(shapes))).groupby(np.asarray(area_ids, dtype=object)).indices.items():
        if not (found := zones.get(str(area_id))):
            continue
        for zone in _system(found.labels):
            amounts[zone][rows] = 0.0
        for label, row, size in _pieces(shapes, rows, found, measure, totals):
            if label in amounts:
                amounts[label][row] += size
            # Of two equal ones the stricter is the zone: the pieces come strictest first.
            if size > largest[row] * (1 + _EQUAL):
                largest[row], main[row] = size, label
    return amounts, main


def _system(labels: Sequence[str]) -> set[str]:
    """All zones of the systems that an area's zones belong to."""
    return {str(zone) for system in (THREE_ZONE, TWO_ZONE) if system & set(labels) for zone in system}


def _pieces(
    shapes: Shapes, rows: NDArray[np.int64], zones: Zones, measure: Measure, totals: NDArray[np.float64]
) -> list[tuple[str, int, float]]:
    shape_of, zone_of = shapely.STRtree(zones.shapes).query(shapes[rows], predicate="intersects")
    shape_of = rows[shape_of]
    shapely.prepare(zones.shapes)
    whole = shapely.covers(zones.shapes[zone_of], shapes[shape_of])
    cut = shapely.intersection(shapes[shape_of[~whole]], zones.shapes[zone_of[~whole]])
    sizes = totals[shape_of].astype(float)
    sizes[~whole] = [measure(piece) for piece in cut]
    order = np.lexsort((zone_of, shape_of))
    return [(zones.labels[zone_of[i]], int(shape_of[i]), float(sizes[i])) for i in order]


def rounded_within(
    amounts: Mapping[str, NDArray[np.float64]], totals: NDArray[np.float64], *, scale: float, decimals: int
) -> dict[str, NDArray[np.float64]]:
    """Round parts so that they never add up to more than the rounded whole.

    Parameters
    ----------
    amounts
        From `amounts_by_zone`.
    totals
        float64, (row,), the whole as published, in units of `scale`.
    scale
        Divisor of the parts: 1e4 from m² to ha.
    decimals
        Of the result.

    Returns
    -------
    dict
        Zone to float64, (row,), NaN where the part is; what rounding adds too much is taken from the last zone.
    """
    left = totals.copy()
    result: dict[str, NDArray[np.float64]] = {}
    for zone, amount in amounts.items():
        part = np.minimum(np.round(amount / scale, decimals), left)
        left = np.round(left - np.nan_to_num(part), decimals)
        result[zone] = np.asarray(part, dtype=np.float64)
    return result
