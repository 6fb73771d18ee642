"""Two versions of a boundary: ground gained, lost and downgraded, drawn by hand and by chance."""

from __future__ import annotations

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS
from shapely.affinity import translate

from ecowatch.areas import Area, ZonePart
from ecowatch.areas.versions import diff_areas
from ecowatch.grid import geodesic_area_m2
from ecowatch.outlines import diff_outlines, polygon_parts

UTM = CRS.from_epsg(32649)
GEO = CRS.from_epsg(4490)
ALLOWED = frozenset({"EPSG:4326=EPSG:4490"})
STEP = 0.001


def area(geometry: shapely.Geometry, crs: CRS = GEO, version: str = "v1", **zones: shapely.Geometry) -> Area:
    parts = tuple(ZonePart(zone, shape) for zone, shape in sorted(zones.items()))
    return Area("a", "甲", "protected_area", geometry, crs, parts, version, "a.gpkg")


def square(col: float, row: float, width: float = 1, height: float = 1) -> shapely.Geometry:
    """A box of the grid of thousandths of a degree at 110°E, 35°N."""
    right, top = 110 + (col + width) * STEP, 35 + (row + height) * STEP
    return shapely.box(110 + col * STEP, 35 + row * STEP, right, top)


def test_a_strip_lost_in_the_east_and_gained_in_the_west() -> None:
    found = diff_areas(area(square(0, 0, 10, 10)), area(square(-1, 0, 9, 10)))
    assert found.lost.equals(square(8, 0, 2, 10)) and found.gained.equals(square(-1, 0, 1, 10))
    assert found.lost_m2 == pytest.approx(geodesic_area_m2(square(8, 0, 2, 10), GEO), abs=1)
    assert found.gained_m2 == pytest.approx(geodesic_area_m2(square(-1, 0, 1, 10), GEO), abs=1)
    assert found.zones == () and found.downgraded == ()


def test_the_same_boundary_changes_nothing() -> None:
    same = area(square(0, 0, 10, 10), core=square(0, 0, 5, 10), experimental=square(5, 0, 5, 10))
    found = diff_areas(same, same)
    assert (found.gained_m2, found.lost_m2, found.zones, found.downgraded) == (0, 0, (), ())
    assert found.gained.is_empty and found.lost.is_empty


def test_core_that_becomes_experimental_is_downgraded_and_the_outline_stays() -> None:
    old = area(square(0, 0, 10, 10), core=square(0, 0, 6, 10), experimental=square(6, 0, 4, 10))
    new = area(square(0, 0, 10, 10), core=square(0, 0, 4, 10), experimental=square(4, 0, 6, 10))
    found = diff_areas(old, new)
    assert found.gained_m2 == found.lost_m2 == 0
    strip_m2 = geodesic_area_m2(square(4, 0, 2, 10), GEO)
    assert [(z.zone, round(z.gained_m2), round(z.lost_m2)) for z in found.zones] == [
        ("core", 0, round(strip_m2)),
        ("experimental", round(strip_m2), 0),
    ]
    (down,) = found.downgraded
    assert (down.from_zone, down.to_zone) == ("core", "experimental")
    assert down.geometry.equals(square(4, 0, 2, 10)) and down.area_m2 == pytest.approx(strip_m2, abs=1)
    assert diff_areas(new, old).downgraded == ()  # the way back is an upgrade


def test_going_over_to_two_zones_is_no_downgrade_of_core_and_buffer() -> None:
    parts = (square(0, 0, 4, 10), square(4, 0, 3, 10), square(7, 0, 3, 10))
    old = [("core", parts[0]), ("buffer", parts[1]), ("experimental", parts[2])]
    whole = square(0, 0, 10, 10)
    fair = [("core_protection", shapely.union(*parts[:2])), ("general_control", parts[2])]
    assert diff_outlines(whole, whole, old, fair).downgraded == ()
    lax = [("core_protection", parts[0]), ("general_control", shapely.union(*parts[1:]))]
    assert [(d.from_zone, d.to_zone) for d in diff_outlines(whole, whole, old, lax).downgraded] == [
        ("buffer", "general_control")
    ]


def test_ground_that_left_the_area_is_lost_and_not_also_downgraded() -> None:
    old = area(square(0, 0, 10, 10), core=square(0, 0, 10, 10))
    new = area(square(0, 0, 8, 10), core=square(0, 0, 7, 10))
    found = diff_areas(old, new)
    assert found.lost.equals(square(8, 0, 2, 10))
    assert [(d.from_zone, d.to_zone) for d in found.downgraded] == [("core", "")]
    assert found.downgraded[0].geometry.equals(square(7, 0, 1, 10))


def test_overlapping_zones_count_by_the_strictest() -> None:
    """Experimental drawn over the whole area in both versions: only what core gave up is downgraded, once."""
    whole = square(0, 0, 10, 10)
    old = area(whole, core=square(0, 0, 6, 10), buffer=square(0, 0, 8, 10), experimental=whole)
    new = area(whole, core=square(0, 0, 5, 10), buffer=square(0, 0, 5, 10), experimental=whole)
    found = {(d.from_zone, d.to_zone): d.geometry for d in diff_areas(old, new).downgraded}
    assert found.keys() == {("core", "experimental"), ("buffer", "experimental")}
    assert found["core", "experimental"].equals(square(5, 0, 1, 10))
    assert found["buffer", "experimental"].equals(square(6, 0, 2, 10))


def test_a_file_without_zones_lifts_no_protection() -> None:
    found = diff_areas(area(square(0, 0, 10, 10), core=square(0, 0, 6, 10)), area(square(0, 0, 9, 10)))
    assert found.zones == () and found.downgraded == () and found.lost_m2 > 0


def test_projected_versions_are_compared_in_one_crs() -> None:
    """A strip of 100 m by 10 m at the edge of a square kilometre; UTM is 0.04 % short at its central meridian."""
    block = shapely.box(500_000, 3_900_000, 501_000, 3_901_000)
    cut = shapely.difference(block, shapely.box(500_990, 3_900_200, 501_000, 3_900_300))
    found = diff_areas(area(block, UTM), area(cut, UTM), allowed=ALLOWED)
    assert found.lost_m2 == pytest.approx(1000 / 0.9996**2, abs=1) and found.gained_m2 == pytest.approx(0, abs=0.01)


def test_polygon_parts_drops_lines_and_repairs() -> None:
    mixed = shapely.GeometryCollection([square(0, 0), shapely.LineString([(0, 0), (1, 1)])])
    assert polygon_parts(mixed).equals(square(0, 0))
    bow = shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])
    assert polygon_parts(bow).is_valid and not polygon_parts(bow).is_empty
    assert polygon_parts(shapely.LineString([(0, 0), (1, 1)])).is_empty


corners = st.tuples(st.integers(-80, 80), st.integers(-80, 80), st.integers(1, 60), st.integers(1, 60))
outlines = st.lists(corners, min_size=1, max_size=4).map(lambda boxes: shapely.union_all([square(*b) for b in boxes]))


@settings(deadline=None, max_examples=60)
@given(outlines, outlines, st.floats(-0.4, 0.4))
def test_gained_minus_lost_is_the_difference_of_the_areas(
    old: shapely.Geometry, new: shapely.Geometry, off: float
) -> None:
    new = translate(new, off * STEP, off * STEP / 3)
    found = diff_outlines(old, new)
    expected = geodesic_area_m2(new, GEO) - geodesic_area_m2(old, GEO)
    assert found.gained_m2 - found.lost_m2 == pytest.approx(expected, abs=1)
    assert geodesic_area_m2(polygon_parts(shapely.intersection(found.lost, new)), GEO) < 0.01
    back = diff_outlines(new, old)
    assert (back.gained_m2, back.lost_m2) == pytest.approx((found.lost_m2, found.gained_m2), abs=0.01)
