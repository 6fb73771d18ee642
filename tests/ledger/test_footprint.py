"""Outlines that may lie beside the truth: large ones met in pieces are met as a whole; slivers go, coordinates stay."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from shapely import affinity

from ecowatch.grid import transformed
from ecowatch.ledger.footprint import (
    Frame,
    as_array,
    new_ground,
    opened,
    reached,
    seen_shares,
    shared_ground,
    sites,
    without_slivers,
)
from ecowatch.ledger.geometry import LEDGER_CRS, metric_crs

FRAME = Frame(metric_crs(shapely.Point(99.0, 38.0)))


def comb(teeth: int) -> shapely.Polygon:
    xs = np.arange(0, teeth * 60, 60)
    return shapely.union_all([shapely.box(0, 0, teeth * 60, 20), *shapely.box(xs, 0, xs + 40, 300)])


def lake() -> shapely.Polygon:
    return (
        shapely.Point(1000, 800)
        .buffer(500, quad_segs=500)
        .difference(shapely.Point(1000, 800).buffer(200, quad_segs=500))
    )


def test_a_large_footprint_met_in_pieces_is_met_as_a_whole() -> None:
    rng = np.random.default_rng(3)
    footprints = as_array([comb(100), lake(), shapely.box(0, 400, 90, 500)])
    x, y, w, h = *rng.uniform((0, 0), (2500, 1400), (300, 2)).T, *rng.uniform(3, 120, (2, 300))
    patches, reach = shapely.box(x, y, x + w, y + h), rng.uniform(10, 100, 300)
    found = reached(patches, footprints, reach)
    distance = shapely.distance(patches[:, None], footprints[None])
    assert np.column_stack(found[:2]).tolist() == np.argwhere(distance <= reach[:, None]).tolist()
    first, whole = patches[found.patch], footprints[found.footprint]
    told = {"smaller_m2": np.minimum(shapely.area(first), shapely.area(whole)), "tolerance_m": reach[found.patch] / 4}
    area, beyond = shared_ground(first, found.ground, **told)
    whole_area, whole_beyond = shared_ground(first, whole, **told)
    assert np.allclose(area, whole_area, atol=1e-6)
    assert (beyond == whole_beyond).all()
    assert 20 < beyond.sum() < len(beyond) - 20
    assert np.allclose(shapely.distance(first, found.ground), shapely.distance(first, whole))


def test_nothing_reaches_nothing() -> None:
    nothing, some = np.empty(0, object), as_array([shapely.box(0, 0, 1, 1)])
    assert len(reached(nothing, some, np.empty(0)).patch) == len(reached(some, nothing, np.ones(1)).patch) == 0


def test_seen_shares_equal_whole_less_hidden() -> None:
    grounds = as_array([comb(80), lake(), shapely.box(5000, 5000, 5100, 5100), shapely.box(400, 400, 430, 430)])
    unseen = shapely.union_all([shapely.Point(700, 500).buffer(600, quad_segs=800), shapely.box(3000, -9, 4000, 100)])
    expected = [1 - ground.intersection(unseen).area / ground.area for ground in grounds]
    assert seen_shares(grounds, unseen) == pytest.approx(expected, abs=1e-9)
    assert expected[2:] == [1.0, 0.0]
    assert seen_shares(grounds, None).tolist() == [1.0] * 4


@pytest.mark.parametrize(("apart", "beyond"), [(5.0, False), (5.3, True)])
def test_a_strip_is_shared_if_wider_than_the_tolerance(apart: float, beyond: bool) -> None:
    left, right = shapely.box(0, 0, 100, 100), shapely.box(100 - apart, 0, 200, 100)
    _, found = shared_ground(
        as_array([left]), as_array([right]), smaller_m2=np.array([1e4]), tolerance_m=np.array([5.0])
    )
    assert found.tolist() == [beyond]


def test_new_ground_is_measured_with_each_patch_s_own_tolerance() -> None:
    mine = shapely.box(0, 0, 100, 100)
    patches = as_array([shapely.box(0, 0, 104, 50), shapely.box(0, 50, 104, 100)])
    assert new_ground(patches, mine, np.array([5.0, 5.0])).is_empty
    assert new_ground(patches, mine, np.array([5.0, 1.0])).bounds == pytest.approx((101.01, 50, 104, 100))


def test_opening_drops_arms_and_keeps_what_is_thin_all_over() -> None:
    yard, arm = shapely.box(0, 0, 50, 50), shapely.box(50, 10, 300, 13)
    assert opened(yard.union(arm), 5.0).symmetric_difference(yard).area < 10
    assert opened(arm, 5.0).equals(arm)
    assert opened(yard, 0.0).equals(yard)


def test_slivers_go_and_other_coordinates_stay() -> None:
    def placed(shape: shapely.Geometry) -> shapely.Geometry:
        return transformed(affinity.translate(shape, 500_000, 4_206_000), FRAME.crs, LEDGER_CRS)

    yard, sliver = placed(shapely.box(0, 0, 50, 50)), placed(shapely.box(60, 0, 63, 50))
    assert without_slivers(shapely.MultiPolygon([yard, sliver]), FRAME, 5.0).equals_exact(yard, normalize=True)
    assert without_slivers(yard, FRAME, 5.0) is yard
    assert without_slivers(sliver, FRAME, 5.0).is_empty
    far = placed(shapely.box(160, 0, 260, 50))
    both = shapely.MultiPolygon([yard, sliver, far])
    assert [site.area for site in sites(both, FRAME, 50.0)] == [far.area, yard.area + sliver.area]
    assert len(sites(both, FRAME, 5.0)) == 3
