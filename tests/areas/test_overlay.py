"""Shares, unions and partitions, judged by arithmetic on squares and by random boxes."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from pyproj import CRS
from shapely.geometry import LineString, MultiPolygon, Point, box
from shapely.geometry.base import BaseGeometry

from ecowatch.areas import (
    Overlay,
    majority,
    overlap_shares,
    overlap_shares_of,
    overlaps_between,
    union_area_m2,
)
from ecowatch.grid import geodesic_area_m2

UTM = CRS(32647)
GEO = CRS(4490)
X, Y = 500_000.0, 4_200_000.0


def square(x: float, y: float, width: float = 1, height: float = 1) -> BaseGeometry:
    """A rectangle on a board of 100 m cells."""
    return box(X + 100 * x, Y + 100 * y, X + 100 * (x + width), Y + 100 * (y + height))


def test_shares_of_a_patch_across_two_zones():
    # c c c b b b      the patch p takes columns 2–5: one of four cells lies in c, three in b
    zones = [("core", square(0, 0, 3, 6)), ("buffer", square(3, 0, 3, 6)), ("far", square(50, 0))]
    patch = square(2, 2, 4, 1)
    assert overlap_shares(patch, zones, UTM) == {"buffer": 0.75, "core": 0.25}
    assert list(overlap_shares(patch, zones, UTM)) == ["buffer", "core"]


def test_shares_count_a_label_once_and_leave_zero_out():
    twice = [("wet", square(0, 0, 4, 1)), ("wet", square(2, 0, 4, 1)), ("edge", square(6, 0))]
    assert overlap_shares(square(0, 0, 6, 1), twice, UTM) == {"wet": 1.0}
    assert overlap_shares(square(0, 3), twice, UTM) == {}
    assert overlap_shares(square(0, 0), [], UTM) == {}


def test_many_patches_at_once_equal_one_by_one():
    zones = [("a", square(0, 0, 3, 3)), ("b", square(2, 2, 3, 3))]
    patches = [square(i * 0.7, i * 0.6, 1.5, 0.8) for i in range(7)]
    assert overlap_shares_of(patches, zones, UTM) == [overlap_shares(p, zones, UTM) for p in patches]
    assert overlap_shares_of([], zones, UTM) == []


def test_a_kept_overlay_serves_many_areas_and_none():
    zones = [("core", square(0, 0, 3, 6)), ("buffer", square(3, 0, 3, 6)), ("buffer", square(5, 0, 3, 6))]
    overlay = Overlay(iter(zones))
    for patches in ([square(2, 2, 4, 1)], [square(7, 1), square(40, 40), square(1, 1, 6, 2)], []):
        assert overlap_shares_of(patches, overlay, UTM) == overlap_shares_of(patches, zones, UTM)
    assert overlap_shares_of([square(0, 0)], Overlay(()), UTM) == [{}]


def test_carrier_is_what_covers_half():
    carriers = [("湿地", square(0, 0, 3, 6)), ("林地", square(3, 0, 3, 6))]
    assert majority(overlap_shares(square(1, 0, 3, 1), carriers, UTM)) == "湿地"
    assert majority(overlap_shares(square(5, 0, 4, 1), carriers, UTM)) is None
    assert majority(overlap_shares(square(9, 9), carriers, UTM)) is None
    assert majority({"b": 0.5, "a": 0.5}) == "a"


def test_overlapping_areas_count_once():
    a, b = square(0, 0, 60, 60), square(30, 30, 60, 60)
    whole = geodesic_area_m2(MultiPolygon([a, square(60, 30, 30, 60), square(30, 60, 30, 30)]), UTM)
    assert union_area_m2([a, b], UTM) == pytest.approx(whole, abs=1)
    # Off the central meridian by nothing the scale is 0.9996: the plane tells the same figure.
    assert union_area_m2([a, b], UTM) == pytest.approx((2 * 6000**2 - 3000**2) / 0.9996**2, rel=1e-5)
    assert union_area_m2([], UTM) == 0
    alone = square(50, 0)
    areas_m2 = [geodesic_area_m2(outline, UTM) for outline in (a, alone, b)]
    assert union_area_m2([a, alone, b], UTM, areas_m2) == union_area_m2([a, alone, b], UTM)


def test_overlaps_between_lists_pairs():
    areas = {"c": square(9, 9), "b": square(3, 0, 6, 6), "a": square(0, 0, 6, 6)}
    ((first, second, shared),) = overlaps_between(areas, UTM)
    assert (first, second) == ("a", "b")
    assert shared == pytest.approx(geodesic_area_m2(square(3, 0, 3, 6), UTM), abs=0.01)
    assert overlaps_between({}, UTM) == []


boxes = st.tuples(*(st.floats(0, 0.2), st.floats(0, 0.2), st.floats(0.001, 0.1), st.floats(0.001, 0.1)))


def test_lines_and_points_have_no_share():
    assert overlap_shares(LineString([(X, Y), (X + 9, Y)]), [("a", square(0, 0))], UTM) == {}
    assert overlap_shares(Point(X, Y), [("a", square(0, 0))], UTM) == {}
