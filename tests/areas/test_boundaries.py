"""Areas as they come out of a boundary layer: merged, zoned, repaired, versioned."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import shapely
from pyproj import CRS
from shapely.geometry import GeometryCollection, LineString, MultiPolygon, Point, Polygon, box

from ecowatch.areas import Area, read_areas, read_carriers, zone_code
from ecowatch.errors import BoundaryError, GridError
from ecowatch.grid import geodesic_area_m2, transformed
from ecowatch.settings.review import AreaSource, CarrierSource

X, Y = 500_000.0, 4_200_000.0
ALLOWED = frozenset({"EPSG:4326=EPSG:4490"})


def square(x: float = 0, y: float = 0, side: float = 1000) -> Polygon:
    return box(X + x, Y + y, X + x + side, Y + y + side)


def read(path: Path, **fields: object) -> tuple[Area, ...]:
    return read_areas(AreaSource.model_validate({"path": path, "id_field": "id", **fields}), [path.parent])


def one(path: Path, **fields: object) -> Area:
    (area,) = read(path, **fields)
    return area


def codes(area: Area) -> list[str]:
    return [note.split()[0] for note in area.notes]


def test_rows_of_one_id_are_one_area_with_zones(write):
    path = write(
        "a.gpkg", [square(), square(1000), square(5000)], id=["n1", "n1", "n2"], 名称=["祁连山", "祁连山", "白水江"],
        zone=[" 核心区 ", "experimental", "buffer"],
    )  # fmt: skip
    first, second = read(path, name_field="名称", zone_field="zone", kind="red_line")
    assert (first.area_id, first.name, first.kind, first.source) == ("n1", "祁连山", "red_line", "a.gpkg")
    assert shapely.equals(first.geometry, box(X, Y, X + 2000, Y + 1000))
    assert [z.zone for z in first.zones] == ["core", "experimental"]
    assert shapely.equals(first.zones[0].geometry, square())
    assert second.name == "白水江"
    assert first.notes == second.notes == ()
    assert first.area_m2 == pytest.approx(geodesic_area_m2(first.geometry, first.crs), abs=0.01)
    assert pickle.loads(pickle.dumps(first)) == first


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("核心区", "core"),
        ("缓冲区", "buffer"),
        (" 核心保护区\n", "core_protection"),
        ("General_Control", "general_control"),
    ],
)
def test_zone_names_in_both_systems(text, code):
    assert zone_code(text) == code


def test_odd_zones_are_kept_and_noted(write):
    path = write("a.gpkg", [square(), square(500), square(3000), square(4000)], id=["n"] * 4,
                 zone=["核心区", "一般控制区", "季节性核心区", None])  # fmt: skip
    area = one(path, zone_field="zone")
    assert [z.zone for z in area.zones] == ["core", "general_control", "季节性核心区"]
    assert codes(area) == ["ZONE_UNKNOWN", "ZONE_EMPTY", "ZONE_SYSTEMS_MIXED", "ZONES_OVERLAP"]
    shared = geodesic_area_m2(box(X + 500, Y, X + 1000, Y + 1000), area.crs)
    assert f"core and general_control share {shared:.0f} m²" in area.notes[-1]


def test_differing_names_and_composed_ids_are_noted(write):
    path = write("a.gpkg", [square(), square(2000)], id=["Pagal\u00e9", "Pagale\u0301"], name=["b", "a"])
    area = one(path, name_field="name")
    assert (area.area_id, area.name) == ("Pagal\u00e9", "a")
    assert codes(area) == ["IDS_COMPOSED", "NAMES_DIFFER"]


def test_numeric_identities_are_plain_text(write):
    areas = read(write("a.gpkg", [square(), square(2000)], id=[12.0, 7.0]))
    assert [area.area_id for area in areas] == ["12", "7"]


def test_nested_shell_stays_whole(write):
    area = one(write("a.gpkg", [MultiPolygon([square(), square(200, 200, 300)])]))
    assert area.geometry.area == 1_000_000
    assert codes(area) == ["GEOM_REPAIRED", "GEOM_AREA_MOVED"]


def test_bow_tie_keeps_both_wings(write):
    tie = Polygon([(X, Y), (X + 1000, Y + 1000), (X + 1000, Y), (X, Y + 1000)])
    area = one(write("a.gpkg", [tie]))
    assert area.geometry.area == 500_000
    assert "row 1 (id 'a'): area 0 → 500" in area.notes[0]


def test_small_repair_is_told_but_not_alarming(write):
    # A spike of no width: the ring is invalid, the surface is the same.
    spike = Polygon(
        [(X, Y), (X + 1000, Y), (X + 1000, Y + 1000), (X + 1000, Y + 1200), (X + 1000, Y + 1000), (X, Y + 1000)]
    )
    area = one(write("a.gpkg", [spike]))
    assert area.geometry.area == 1_000_000
    assert codes(area) == ["GEOM_REPAIRED"]


def test_only_polygons_of_a_collection_are_kept(write):
    mixed = GeometryCollection([square(), LineString([(X, Y), (X + 5, Y)]), Point(X, Y)])
    area = one(write("a.gpkg", [mixed]))
    assert area.geometry.geom_type == "Polygon"
    assert area.geometry.area == 1_000_000


def test_empty_parts_are_left_out(tmp_path):
    ring = [[100, 30], [100.1, 30], [100.1, 30.1], [100, 30.1], [100, 30]]
    drawn = {"type": "MultiPolygon", "coordinates": [[], [ring], []]}
    row = {"type": "Feature", "properties": {"id": "a"}, "geometry": drawn}
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [row]}), "utf-8")
    area = one(tmp_path / "a.geojson")
    assert area.geometry == MultiPolygon([Polygon(ring)]) and not area.notes
    assert area.in_crs(CRS(32647)).area_m2 == pytest.approx(area.area_m2, rel=1e-3)


@pytest.mark.parametrize(
    ("shape", "code"),
    [
        (None, "GEOM_EMPTY"),
        (Polygon(), "GEOM_EMPTY"),
        (Polygon([(X, Y), (X + 1000, Y), (X, Y)]), "GEOM_EMPTY"),
        (Point(X, Y), "GEOM_TYPE"),
        (LineString([(X, Y), (X + 5, Y)]), "GEOM_TYPE"),
        (Polygon([(X, Y), (float("nan"), Y), (X + 9, Y + 9)]), "COORDINATES_NAN"),
    ],
)
def test_unusable_geometry_is_refused_by_row(write, shape, code):
    path = write("a.gpkg", [square(), shape], id=["n1", "n2"])
    with pytest.raises(BoundaryError, match=rf"{code} .*row 2 \(id 'n2'\)"):
        read(path)


def test_row_without_identity_is_refused(write):
    with pytest.raises(BoundaryError, match=r"ID_MISSING .*row 2 has no id"):
        read(write("a.gpkg", [square(), square(2000)], id=["n", None]))


@pytest.mark.parametrize(
    ("shape", "crs", "code"),
    [
        (box(39.7, 117.0, 39.8, 117.1), "EPSG:4490", "AXES_SWAPPED"),
        (box(39.7, 80.0, 39.8, 80.1), "EPSG:4490", "AXES_SWAPPED"),
        (square(), "EPSG:4490", "COORDINATE_RANGE"),
        (box(-179.5, 60, 179.5, 61), "EPSG:4326", "ANTIMERIDIAN"),
        (box(1e15, 1e15, 2e15, 2e15), "EPSG:4513", "COORDINATE_RANGE"),
    ],
)
def test_misplaced_coordinates_are_refused(write, shape, crs, code):
    with pytest.raises(BoundaryError, match=f"{code} .*row 1"):
        read(write("a.gpkg", [shape], crs=crs))


def test_crs_is_asked_for_where_the_file_has_none(write):
    path = write("a.shp", [square()], crs=None)
    with pytest.raises(BoundaryError, match=r"NO_CRS .*crs = "):
        read(path)
    assert one(path, crs="EPSG:32648").crs == CRS(32648)
    assert one(write("b.shp", [square()]), crs="EPSG:32648").crs == CRS(32647)


def test_cgcs2000_goes_to_utm_by_name_only(write):
    area = one(write("a.gpkg", [box(103, 36, 103.1, 36.1)], crs="EPSG:4490"))
    with pytest.raises(GridError, match=r"DATUM_AMBIGUOUS.*EPSG:4490=EPSG:4326"):
        area.in_crs(CRS(32648))
    placed = area.in_crs(CRS(32648), ALLOWED)
    assert placed.version == area.version
    assert placed.area_m2 == pytest.approx(area.area_m2, rel=1e-7)
    assert area.in_crs(CRS(4490)) is area


def test_beijing54_is_refused(write):
    area = one(write("a.gpkg", [box(103, 36, 103.1, 36.1)], crs="EPSG:4214"))
    with pytest.raises(GridError, match="DATUM_AMBIGUOUS"):
        area.in_crs(CRS(4490), ALLOWED)


def test_long_edges_stay_where_they_were_drawn(write):
    area = one(write("a.gpkg", [box(100, 36, 104, 37)], crs="EPSG:4490", zone=["core"], id=["n"]), zone_field="zone")
    placed = area.in_crs(CRS(32647), ALLOWED)
    # In UTM the chord of a parallel 4° long runs almost 2 km north of it.
    just_inside, just_outside = (
        transformed(Point(102, lat), area.crs, placed.crs, ALLOWED) for lat in (36.00001, 37.00001)
    )
    assert placed.geometry.contains(just_inside)
    assert not placed.geometry.contains(just_outside)
    assert shapely.equals(placed.zones[0].geometry, placed.geometry)


def test_version_is_that_of_the_boundary_not_of_the_file(write):
    shapes = [box(103 + i / 30, 36 + i / 70, 103.05 + i / 30, 36.05 + i / 70) for i in range(4)]
    fields = {"id": ["a", "a", "a", "b"], "zone": ["core", "buffer", "core", "buffer"]}
    turned = {name: values[::-1] for name, values in fields.items()}
    files = [
        write("a.gpkg", shapes, crs="EPSG:4490", **fields),
        write("a.geojson", shapes, crs="EPSG:4490", **fields),
        write("a.shp", shapes, crs="EPSG:4490", **fields),
        write("a.gdb", shapes, crs="EPSG:4490", layer="图斑", **fields),
        write("b.gpkg", shapes[::-1], crs="EPSG:4490", **turned),
    ]
    versions = {tuple(area.version for area in read(path, zone_field="zone")) for path in files}
    assert len(versions) == 1


def test_version_tells_what_changed(write):
    base = one(write("a.gpkg", [square()], id=["n"], zone=["core"]), zone_field="zone")
    moved = one(write("b.gpkg", [square(0.01)], id=["n"], zone=["core"]), zone_field="zone")
    rezoned = one(write("c.gpkg", [square()], id=["n"], zone=["buffer"]), zone_field="zone")
    elsewhere = one(write("d.gpkg", [square()], id=["n"], zone=["core"], crs="EPSG:32648"), zone_field="zone")
    assert len({area.version for area in (base, moved, rezoned, elsewhere)}) == 4
    assert len(base.version) == 64


def test_carriers(write):
    path = write("c.gpkg", [square(), square(1000), square(2000)], 地类=["湿地", None, "林地"])
    carriers = read_carriers(CarrierSource(path=path, field="地类"), [path.parent])
    assert carriers.labels == ("湿地", "林地")
    assert [note.split()[0] for note in carriers.notes] == ["CARRIER_EMPTY"]
    assert carriers.in_crs(CRS(4326)).geometries[1].centroid.x == pytest.approx(99.03, abs=0.01)
    assert carriers.parts[0][0] == "湿地"


def test_real_layers_can_be_read(shared_data):
    folder = shared_data / "vectors" / "fiona"
    if not folder.is_dir():
        pytest.skip("vectors/fiona is absent from the test data")
    source = AreaSource(path=folder / "coutwildrnp.shp", id_field="NAME")
    areas = read_areas(source, [folder])
    assert len(areas) > 10
    assert all(area.geometry.is_valid and area.area_m2 > 0 for area in areas)
