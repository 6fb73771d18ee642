"""Grids, tiles, transformations and areas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS, Transformer

from ecowatch.errors import GridError
from ecowatch.grid import (
    BLOCK_PX,
    Grid,
    Window,
    coordinate_transformer,
    epsg_of,
    geodesic_area_m2,
    geodesic_areas_m2,
    geodesic_length_m,
    lattice_grid,
    same_crs,
    transformed,
    utm_crs,
    wkt_of,
)

UTM = CRS.from_epsg(32650)
CGCS = CRS.from_epsg(4490)


def scene_grid() -> Grid:
    return Grid.from_parts("EPSG:32650", (10, 0, 300_000, 0, -10, 4_000_000), (10_980, 10_980))


def test_blocks_cover_the_grid_once() -> None:
    grid = Grid.from_parts("EPSG:32650", (10, 0, 0, 0, -10, 0), (700, 1300))
    seen = np.zeros(grid.shape, int)
    for block in grid.blocks():
        seen[block.row0 : block.row1, block.col0 : block.col1] += 1
    assert (seen == 1).all()


def test_lattice_grid_keeps_whole_blocks_from_the_scene() -> None:
    scene = scene_grid()
    area = lattice_grid(scene, (310_003, 3_990_001, 312_000, 3_992_000))
    col, row = ~scene.transform * (area.transform.c, area.transform.f)
    assert (round(col) % BLOCK_PX, round(row) % BLOCK_PX) == (0, 0)
    assert all(side % BLOCK_PX == 0 for side in area.shape)
    left, bottom, right, top = area.bounds
    assert left <= 310_003 and bottom <= 3_990_001 and right >= 312_000 and top >= 3_992_000


def test_a_bound_on_a_block_edge_takes_no_further_block() -> None:
    scene = scene_grid()
    left, top = 300_000 + 512 * 10, 4_000_000 - 512 * 10
    assert lattice_grid(scene, (left, top - 5120, left + 5120, top)).shape == (512, 512)


@given(
    a=st.tuples(*[st.integers(-50, 50)] * 2, *[st.integers(1, 60)] * 2),
    b=st.tuples(*[st.integers(-50, 50)] * 2, *[st.integers(1, 60)] * 2),
)
def test_window_intersection_is_what_both_hold(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    wa, wb = (Window(w[0], w[1], w[0] + w[2], w[1] + w[3]) for w in (a, b))
    cells = {(r, c) for r in range(wa.row0, wa.row1) for c in range(wa.col0, wa.col1)}
    cells &= {(r, c) for r in range(wb.row0, wb.row1) for c in range(wb.col0, wb.col1)}
    common = wa.intersection(wb)
    assert (0 if common is None else math.prod(common.shape)) == len(cells)


@pytest.mark.parametrize(
    ("crs", "transform", "code"),
    [
        ("EPSG:32650", (10, 1, 0, 0, -10, 0), "ROTATED"),
        ("EPSG:32650", (10, 0, 0, 0, 10, 0), "ROTATED"),
    ],
)
def test_a_grid_that_cannot_serve_is_refused(crs: str, transform: tuple[float, ...], code: str) -> None:
    with pytest.raises(GridError, match=code):
        Grid.from_parts(crs, transform, (10, 10))


def test_pixel_size_in_metres_of_a_geographic_grid() -> None:
    degree = 1 / 3600
    grid = Grid.from_parts("EPSG:4326", (degree, 0, 100, 0, -degree, 60), (10, 10))
    assert grid.pixel_m == pytest.approx(30.9 * math.sqrt(0.5), rel=0.01)


@pytest.mark.parametrize("source", [4214, 4610, 2435], ids=["beijing54", "xian80", "beijing54 gk"])
def test_a_ballpark_datum_shift_is_refused(source: int) -> None:
    with pytest.raises(GridError, match=r"DATUM_AMBIGUOUS.*allow_datum"):
        coordinate_transformer(CRS.from_epsg(source), CGCS)


def test_cgcs2000_to_wgs84_only_by_name() -> None:
    with pytest.raises(GridError, match="EPSG:4490=EPSG:4326"):
        coordinate_transformer(CGCS, UTM)
    for name in ("EPSG:4490=EPSG:4326", "EPSG:4326=EPSG:4490"):
        x, y = coordinate_transformer(CGCS, UTM, frozenset({name})).transform(117.0, 31.0)
        assert (x, y) == pytest.approx((500_000, 0.9996 * 3_430_974.3), abs=1)


def test_projected_cgcs2000_is_first_class() -> None:
    there = coordinate_transformer(CRS.from_epsg(4513), CGCS)
    lon, lat = there.transform(25_500_000, 4_000_000)
    assert lon == pytest.approx(75.0) and 35 < lat < 37


def test_area_of_one_degree_against_the_closed_form() -> None:
    """Zone of the ellipsoid between two parallels, by its closed form, over one degree of longitude."""
    a, f = 6_378_137.0, 1 / 298.257222101
    e = math.sqrt(f * (2 - f))

    def zone(lat: float) -> float:
        s = e * math.sin(math.radians(lat))
        return a * a * (1 - e * e) / 2 * (math.sin(math.radians(lat)) / (1 - s * s) + math.atanh(s) / e)

    expected = math.radians(1) * (zone(40) - zone(39))
    assert geodesic_area_m2(shapely.box(116, 39, 117, 40), CGCS) == pytest.approx(expected, rel=1e-6)


def test_area_does_not_depend_on_the_projection_it_is_drawn_in() -> None:
    box = shapely.box(500_000, 3_900_000, 503_000, 3_902_000)
    in_utm = geodesic_area_m2(box, UTM)
    mercator = transformed(shapely.segmentize(box, 100), UTM, CRS.from_epsg(3857))
    assert in_utm == pytest.approx(6_000_000 / 0.9996**2, rel=1e-4)
    assert geodesic_area_m2(mercator, CRS.from_epsg(3857)) == pytest.approx(in_utm, rel=1e-6)
    assert mercator.area > 1.4 * in_utm


def test_holes_count_negative_and_orientation_does_not_matter() -> None:
    outer, inner = shapely.box(0, 0, 1, 1), shapely.box(0.25, 0.25, 0.75, 0.75)
    ring = shapely.difference(outer, inner)
    expected = geodesic_area_m2(outer, CGCS) - geodesic_area_m2(inner, CGCS)
    assert geodesic_area_m2(ring, CGCS) == pytest.approx(expected)
    assert geodesic_area_m2(shapely.reverse(ring), CGCS) == pytest.approx(expected)
    assert geodesic_area_m2(shapely.Polygon(), CGCS) == 0.0


def test_many_areas_at_once_equal_one_by_one() -> None:
    ring = shapely.difference(shapely.box(0, 0, 1, 1), shapely.box(0.25, 0.25, 0.75, 0.75))
    several = shapely.MultiPolygon([shapely.box(5, 5, 6, 6), ring])
    mixed = shapely.GeometryCollection([shapely.box(2, 2, 3, 3), shapely.Point(0, 0)])
    shapes = [shapely.Polygon(), ring, shapely.LineString([(0, 0), (1, 1)]), several, mixed, shapely.MultiPolygon()]
    areas = geodesic_areas_m2(shapes, CGCS)
    assert areas == [geodesic_area_m2(shape, CGCS) for shape in shapes]
    assert [area > 0 for area in areas] == [False, True, False, True, True, False]
    assert areas[3] == pytest.approx(geodesic_area_m2(shapely.box(5, 5, 6, 6), CGCS) + areas[1])
    assert geodesic_areas_m2([], CGCS) == []


@pytest.mark.parametrize("corners", [1, 7, 12, 10_000])
def test_areas_do_not_depend_on_how_many_are_measured_at_once(corners: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = [shapely.Point(100 + i / 100, 30).buffer(0.001 * i, quad_segs=i + 1) for i in range(9)]
    alone = [geodesic_areas_m2([shape], CGCS)[0] for shape in shapes]
    monkeypatch.setattr("ecowatch.grid._CORNERS_AT_ONCE", corners)
    assert geodesic_areas_m2(shapes, CGCS) == alone


def test_wgs_84_in_place_of_cgcs2000_changes_no_number() -> None:
    equal, points = frozenset({"EPSG:4490=EPSG:4326"}), np.array([(75.0, 20.0), (116.4, 39.9), (130.0, 50.0)]).T
    for source, target in (("EPSG:4326", CGCS), (CGCS, "EPSG:4326"), (CGCS, "EPSG:32650"), ("EPSG:4513", "EPSG:4326")):
        searched = Transformer.from_crs(source, target, always_xy=True, allow_ballpark=True, only_best=True)
        placed = Transformer.from_crs(CGCS, source, always_xy=True).transform(*points)
        made = coordinate_transformer(CRS.from_user_input(source), CRS.from_user_input(target), equal)
        assert np.array_equal(made.transform(*placed), searched.transform(*placed))


def test_length_of_a_kilometre() -> None:
    line = shapely.LineString([(500_000, 3_900_000), (500_000, 3_901_000)])
    assert geodesic_length_m(line, UTM) == pytest.approx(1000 / 0.9996, rel=1e-6)


def test_utm_zone_of_a_place() -> None:
    assert utm_crs(117, 31).to_epsg() == 32650
    assert utm_crs(-75, -1).to_epsg() == 32718
    assert utm_crs(180, 0).to_epsg() == 32660


def test_what_is_kept_of_a_crs_is_what_proj_says() -> None:
    local = CRS.from_proj4("+proj=tmerc +lon_0=117.3 +ellps=GRS80 +units=m +no_defs")
    known = [CRS.from_epsg(code) for code in (4326, 4490, 32650, 4549)]
    known += [local, CRS.from_wkt(known[2].to_wkt("WKT1_GDAL")), CRS.from_wkt(known[2].to_wkt()), known[2].geodetic_crs]
    for _ in range(2):
        assert [wkt_of(crs) for crs in known] == [crs.to_wkt() for crs in known]
        assert [epsg_of(crs) for crs in known] == [crs.to_epsg() for crs in known]
        for crs in known:
            assert [same_crs(crs, other) for other in known] == [crs == other for other in known]
