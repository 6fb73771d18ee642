"""Geometries that list what they do not draw: valid by their rules, and the end of the program where GEOS cuts them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from pyproj import CRS
from shapely import GeometryCollection, LinearRing, MultiPolygon, Point, Polygon, box

from ecowatch.areas import read_areas
from ecowatch.areas.repair import hollow
from ecowatch.settings.review import AreaSource

SHELL = [[100, 30], [100.1, 30], [100.1, 30.1], [100, 30.1], [100, 30]]
HOLE = [[100.02, 30.02], [100.04, 30.02], [100.04, 30.04], [100.02, 30.02]]
WHOLE = box(0, 0, 1, 1)
PARTLY = shapely.multipolygons([WHOLE, Polygon()])
UNHOLED = shapely.polygons(shapely.get_exterior_ring(WHOLE), holes=[LinearRing()])


@pytest.mark.parametrize(
    ("geometry", "expected"),
    [
        (WHOLE, False),
        (Polygon(WHOLE.exterior, [[(0.1, 0.1), (0.2, 0.1), (0.2, 0.2)]]), False),
        (MultiPolygon([WHOLE, box(2, 2, 3, 3)]), False),
        (None, False),
        (Polygon(), False),
        (MultiPolygon(), False),
        (Point(0, 0), False),
        (PARTLY, True),
        (UNHOLED, True),
        (shapely.multipolygons([box(2, 2, 3, 3), UNHOLED]), True),
        (GeometryCollection([Point(0, 0), GeometryCollection([PARTLY])]), True),
        (GeometryCollection([GeometryCollection([UNHOLED])]), True),
        (shapely.from_wkt("MULTILINESTRING (EMPTY, (0 0, 1 1))"), True),
    ],
)
def test_what_is_listed_and_not_drawn_is_told(geometry: Any, expected: bool) -> None:
    rows = np.array([WHOLE, geometry, Point(5, 5)], dtype=object)
    assert hollow(rows).tolist() == [False, expected, False]


@pytest.mark.parametrize(
    ("kind", "coordinates", "drawn"),
    [
        ("Polygon", [SHELL, []], Polygon(SHELL)),
        ("Polygon", [SHELL, [], HOLE], Polygon(SHELL, [HOLE])),
        ("MultiPolygon", [[], [SHELL, HOLE, []], [[]]], MultiPolygon([Polygon(SHELL, [HOLE])])),
    ],
    ids=["hole", "one_of_two_holes", "parts_and_hole"],
)
def test_a_boundary_is_what_it_draws(tmp_path: Path, kind: str, coordinates: Any, drawn: Any) -> None:
    row = {"type": "Feature", "properties": {"id": "a"}, "geometry": {"type": kind, "coordinates": coordinates}}
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [row]}), "utf-8")
    (area,) = read_areas(AreaSource(path=tmp_path / "a.geojson", id_field="id"), [tmp_path])
    # First the shape itself: what follows would end this process.
    assert area.geometry == drawn and not area.notes
    assert area.in_crs(CRS(32647)).area_m2 == pytest.approx(area.area_m2, rel=1e-3)
    assert shapely.covers(area.geometry, Point(100.05, 30.05))
