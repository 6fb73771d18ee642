"""Boundary layers read, repaired and versioned: the areas under review and what was there before."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import shapely
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from ..codes import THREE_ZONE, TWO_ZONE, Zone
from ..errors import BoundaryError
from ..grid import geodesic_area_m2
from ..settings.review import AreaSource, CarrierSource
from .model import Area, Carriers, ZonePart, boundary_version, dissolved, polygonal
from .repair import cleaned_polygons
from .vector import LayerRequest, VectorLayer, read_layer

_OVERLAP_M2 = 1.0
_CODES = frozenset(zone.value for zone in Zone)
_ZONE_OF_TEXT = {zone.zh: zone for zone in Zone} | {zone.value: zone for zone in Zone}


@dataclass(frozen=True)
class _Row:
    """One row of a boundary layer, repaired."""

    area_id: str
    name: str
    zone: str
    geometry: BaseGeometry
    notes: tuple[str, ...]


def read_areas(source: AreaSource, roots: Sequence[Path]) -> tuple[Area, ...]:
    """Read the areas of one layer; rows with the same identity are one area, their zones its zones.

    Parameters
    ----------
    source
        File, layer, fields and what to assume where the file is silent.
    roots
        Folders under which input may lie.

    Returns
    -------
    tuple of Area
        Sorted by identity; geometries are valid, in the CRS of the file.

    Raises
    ------
    ConfigError
        ``PATH_MISSING`` (exit 78).
    IntakeError
        For a file outside the roots or of another kind.
    BoundaryError
        For a layer that cannot be read or placed; see `vector.read_layer` and `repair.cleaned_polygons`.
    """
    names = [source.id_field, source.name_field, source.zone_field]
    fields = tuple(dict.fromkeys(name for name in names if name))
    layer = read_layer(LayerRequest(source.path, source.layer, fields, source.crs, source.encoding), roots)
    grouped: defaultdict[str, list[_Row]] = defaultdict(list)
    for row in _rows(layer, source):
        grouped[row.area_id].append(row)
    merged: tuple[str, ...] = ()
    if source.id_field in layer.changed_fields:
        merged = (f"IDS_COMPOSED field {source.id_field}: texts that differ only in Unicode composition are one id",)
    return tuple(_area(grouped[area_id], layer, source, merged) for area_id in sorted(grouped))


def _rows(layer: VectorLayer, source: AreaSource) -> list[_Row]:
    ids = layer.columns[source.id_field]
    labels = [f"row {n} ({source.id_field} '{area_id}')" for n, area_id in enumerate(ids, start=1)]
    if "" in ids:
        raise BoundaryError(
            "ID_MISSING", source.path, f"row {ids.index('') + 1} has no {source.id_field}", "give each row its identity"
        )
    geometries, notes = cleaned_polygons(layer.geometries, layer.crs, labels, source.path)
    nothing = [""] * len(ids)
    names = layer.columns[source.name_field] if source.name_field else ids
    zones = layer.columns[source.zone_field] if source.zone_field else nothing
    return [_Row(*parts) for parts in zip(ids, names, zones, geometries, notes, strict=True)]


def _area(rows: list[_Row], layer: VectorLayer, source: AreaSource, merged: tuple[str, ...]) -> Area:
    area_id = rows[0].area_id
    names = sorted({row.name for row in rows if row.name}) or [area_id]
    zones, zone_notes = _zones(rows, layer.crs) if source.zone_field else ((), ())
    geometry = dissolved([row.geometry for row in rows])
    notes = [*(note for row in rows for note in row.notes), *merged]
    if len(names) > 1:
        notes.append(f"NAMES_DIFFER {area_id}: {', '.join(names)}; the first is taken")
    parts = [("area", geometry), *((f"zone {z.zone}", z.geometry) for z in zones)]
    return Area(
        area_id=area_id,
        name=names[0],
        kind=source.kind,
        geometry=geometry,
        crs=layer.crs,
        zones=zones,
        version=boundary_version((area_id, names[0], source.kind), layer.crs, parts),
        source=layer.source,
        notes=(*notes, *zone_notes),
    )


def zone_code(text: str) -> str:
    """Return the code of a zone named in Chinese or by code; an unknown text comes back trimmed."""
    plain = unicodedata.normalize("NFC", text).strip()
    known = _ZONE_OF_TEXT.get(plain) or _ZONE_OF_TEXT.get(plain.casefold())
    return known.value if known else plain


def _zones(rows: list[_Row], crs: CRS) -> tuple[tuple[ZonePart, ...], tuple[str, ...]]:
    grouped: defaultdict[str, list[BaseGeometry]] = defaultdict(list)
    for row in rows:
        grouped[zone_code(row.zone)].append(row.geometry)
    unnamed = grouped.pop("", [])
    zones = tuple(ZonePart(zone, dissolved(grouped[zone])) for zone in sorted(grouped))
    notes = [
        f"ZONE_UNKNOWN '{z.zone}' is no zone of either system; kept as it is" for z in zones if z.zone not in _CODES
    ]
    if unnamed:
        notes.append(f"ZONE_EMPTY {len(unnamed)} of {len(rows)} rows name no zone")
    if THREE_ZONE & grouped.keys() and TWO_ZONE & grouped.keys():
        notes.append(f"ZONE_SYSTEMS_MIXED zones of both systems: {', '.join(sorted(grouped))}")
    return zones, (*notes, *_zone_overlaps(zones, crs))


def _zone_overlaps(zones: Sequence[ZonePart], crs: CRS) -> list[str]:
    notes = []
    for a, b in combinations(zones, 2):
        common = geodesic_area_m2(polygonal(shapely.intersection(a.geometry, b.geometry)), crs)
        if common >= _OVERLAP_M2:
            notes.append(f"ZONES_OVERLAP {a.zone} and {b.zone} share {common:.0f} m²")
    return notes


def read_carriers(source: CarrierSource, roots: Sequence[Path]) -> Carriers:
    """Read the polygons of what was there before; rows without a carrier are left out and noted.

    Parameters
    ----------
    source
        File, layer, field and the CRS to assume.
    roots
        Folders under which input may lie.

    Raises
    ------
    ConfigError, IntakeError, BoundaryError
        As `read_areas`.
    """
    layer = read_layer(LayerRequest(source.path, source.layer, (source.field,), source.crs), roots)
    texts = layer.columns[source.field]
    named = np.array([bool(text) for text in texts])
    labels = [f"row {n}" for n, keep in enumerate(named, start=1) if keep]
    kept, row_notes = cleaned_polygons(layer.geometries[named], layer.crs, labels, source.path)
    notes = [note for row in row_notes for note in row]
    if not named.all():
        notes.append(f"CARRIER_EMPTY {int((~named).sum())} of {len(named)} rows name no carrier and are left out")
    geometries = np.empty(len(kept), dtype=object)
    geometries[:] = kept
    carriers = tuple(text for text in texts if text)
    version = boundary_version(("carriers",), layer.crs, list(zip(carriers, kept, strict=True)))
    return Carriers(geometries, carriers, layer.crs, version, layer.source, tuple(notes))
