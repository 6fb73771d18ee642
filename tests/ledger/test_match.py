"""One period matched to the ledger: hand-drawn squares, one idea each; shifts; bookkeeping; independence of order."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely import affinity
from shapely.geometry.base import BaseGeometry

from ecowatch.codes import ChangeKind, ProblemState
from ecowatch.errors import LedgerError
from ecowatch.grid import geodesic_area_m2, transformed
from ecowatch.ledger.geometry import LEDGER_CRS, metric_crs
from ecowatch.ledger.match import Outcome, Sighting, Standing, match_period
from ecowatch.settings.ledger import Matching

CRS = metric_crs(shapely.Point(99.0, 38.0))
RULES = Matching()  # 100 m, 365 days, 400 m2, 2 %, ended below 10 %, seen from 50 %
NEW, EXPANDED, REDUCED = ChangeKind.NEW, ChangeKind.EXPANDED, ChangeKind.REDUCED
CONTINUING, ENDED, RELAPSED = ChangeKind.CONTINUING, ChangeKind.ENDED, ChangeKind.RELAPSED


def placed(metric: BaseGeometry) -> BaseGeometry:
    """A shape drawn in metres, put on the map."""
    return transformed(affinity.translate(metric, 500_000, 4_206_000), CRS, LEDGER_CRS)


def box(x: float, y: float, width: float = 100, height: float = 100) -> BaseGeometry:
    return placed(shapely.box(x, y, x + width, y + height))


def m2(geometry: BaseGeometry) -> float:
    return geodesic_area_m2(geometry, LEDGER_CRS)


def gain(name: str, geometry: BaseGeometry, tolerance_m: float = 5.0, code: str = "03", **dates: str) -> Sighting:
    when = {"before_date": "2025-08-01", "after_date": "2026-05-01"} | dates
    return Sighting(name, geometry, m2(geometry), "gain", code, tolerance_m=tolerance_m, **when)


def loss(name: str, geometry: BaseGeometry, tolerance_m: float = 5.0) -> Sighting:
    return replace(gain(name, geometry, tolerance_m), direction="loss")


def problem(name: str, geometry: BaseGeometry, **told: object) -> Standing:
    plain = Standing(name, geometry, m2(geometry), "03", "2025-08-01", ProblemState.AUTO, False, False, "2025H1")
    if told.get("ended"):
        plain = replace(plain, area_m2=0.0)
    return replace(plain, **told)


def match(standing: Sequence[Standing], sightings: Sequence[Sighting], **more: object) -> list[Outcome]:
    given = {"unseen": None, "apart": frozenset(), "members": {}, "rules": RULES, "crs": CRS} | more
    return match_period(standing, sightings, **given)


def only(standing: Sequence[Standing], sightings: Sequence[Sighting], **more: object) -> Outcome:
    (outcome,) = match(standing, sightings, **more)
    return outcome


def by_id(outcomes: Sequence[Outcome]) -> dict[str | None, Outcome]:
    return {outcome.problem_id: outcome for outcome in outcomes}


def same_ground(one: BaseGeometry, two: BaseGeometry, within_m2: float = 2.0) -> bool:
    """Edges straight in metres bend by a millimetre or two on the map."""
    return m2(shapely.symmetric_difference(one, two)) < within_m2


# Gains


def test_a_patch_alone_is_a_new_problem() -> None:
    ground = box(0, 0)
    found = only([], [gain("a", ground)])
    assert (found.problem_id, found.change, found.patch_ids) == (None, NEW, ("a",))
    assert found.geometry.equals_exact(ground)
    assert found.area_m2 == found.delta_m2 == m2(ground) == pytest.approx(10_000, rel=1e-2)


def test_nothing_gives_nothing() -> None:
    assert match([], []) == []


def test_growth_is_an_expansion_with_the_patch_added() -> None:
    mine, works = box(0, 0), box(80, 0, 60)
    found = only([problem("P", mine)], [gain("a", works)])
    assert (found.problem_id, found.change, found.patch_ids) == ("P", EXPANDED, ("a",))
    assert same_ground(found.geometry, box(0, 0, 140))
    assert found.delta_m2 == pytest.approx(4000, rel=1e-2)


def test_corners_that_stay_keep_their_coordinates() -> None:
    mine = box(0, 0)
    found = only([problem("P", mine)], [gain("a", box(80, 0, 60))])
    kept = {tuple(xy) for xy in shapely.get_coordinates(mine)} & {
        tuple(xy) for xy in shapely.get_coordinates(found.geometry)
    }
    assert len(kept) >= 2


def test_growth_too_small_goes_on_and_the_footprint_stays() -> None:
    mine = box(0, 0)
    found = only([problem("P", mine)], [gain("a", box(0, 0, 108))])
    assert (found.change, found.patch_ids, found.geometry, found.delta_m2) == (CONTINUING, ("a",), None, 0.0)
    assert found.area_m2 == m2(mine)


def test_growth_must_be_a_share_of_a_large_problem() -> None:
    quarry, patch = box(0, 0, 1000, 1000), box(900, 0, 160, 100)
    assert only([problem("P", quarry)], [gain("a", patch)]).change is CONTINUING
    assert only([problem("P", quarry)], [gain("a", patch)], rules=Matching(min_growth_share=0.001)).change is EXPANDED


def test_small_growths_of_one_period_add_up() -> None:
    mine = box(0, 0)
    lobes = [gain("a", box(80, 0, 30, 20)), gain("b", box(80, 40, 30, 20)), gain("c", box(-10, 0, 30, 20))]
    assert only([problem("P", mine)], lobes[:1]).change is CONTINUING
    found = only([problem("P", mine)], [replace(lobe, tolerance_m=1.0) for lobe in lobes])
    assert (found.change, found.patch_ids) == (EXPANDED, ("a", "b", "c"))


def test_near_and_late_enough_joins_with_a_gap() -> None:
    mine, works = box(0, 0), box(180, 0)
    found = only([problem("P", mine)], [gain("a", works)])
    assert found.change is EXPANDED
    assert found.geometry.geom_type == "MultiPolygon"
    assert found.delta_m2 == pytest.approx(m2(works), abs=0.01)


def test_near_but_long_ago_opens_a_new_one() -> None:
    found = by_id(match([problem("P", box(0, 0), last_date="2024-08-01")], [gain("a", box(180, 0))]))
    assert (found["P"].change, found[None].change) == (CONTINUING, NEW)


def test_overlap_joins_however_long_ago() -> None:
    found = only([problem("P", box(0, 0), last_date="2015-08-01")], [gain("a", box(50, 0))])
    assert found.change is EXPANDED


def test_a_site_narrower_than_the_tolerance_is_known_again() -> None:
    lane = problem("P", box(0, 0, 800, 6), last_date="2015-08-01")
    assert only([lane], [gain("a", box(20, 1, 800, 6), 8.0)]).change is CONTINUING
    shut = replace(lane, state=ProblemState.CLOSED)
    assert only([shut], [gain("a", box(20, 1, 800, 6), 8.0)]).change is RELAPSED


def test_too_far_opens_a_new_one() -> None:
    found = by_id(match([problem("P", box(0, 0))], [gain("a", box(201, 0))]))
    assert (found["P"].change, found[None].change) == (CONTINUING, NEW)


def test_overlap_wins_over_nearness() -> None:
    found = by_id(match([problem("A", box(0, 0)), problem("B", box(160, 0))], [gain("a", box(50, 0))]))
    assert (found["A"].change, found["B"].change) == (EXPANDED, CONTINUING)
    assert found["B"].patch_ids == ()


def test_the_nearer_of_two_then_the_older_takes_a_patch_between() -> None:
    left, right = problem("A", box(0, 0), opened_period="2025H1"), problem("B", box(250, 0), opened_period="2024H1")
    assert by_id(match([left, right], [gain("a", box(160, 0, 50))]))["B"].patch_ids == ("a",)
    assert by_id(match([left, right], [gain("a", box(150, 0, 50))]))["B"].patch_ids == ("a",)
    assert by_id(match([left, right], [gain("a", box(140, 0, 50))]))["A"].patch_ids == ("a",)


# A shifted outline


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(
    corners=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=3, max_size=9, unique=True),
    round_m=st.sampled_from([0, 15]),
    angle=st.floats(0, 2 * math.pi),
    tolerance_m=st.floats(0.5, 15),
    share=st.floats(0, 1),
)
def test_a_shift_within_the_tolerance_is_no_expansion(
    corners: list[tuple[int, int]], round_m: int, angle: float, tolerance_m: float, share: float
) -> None:
    outline = shapely.concave_hull(shapely.MultiPoint(corners), ratio=0.3).buffer(max(round_m, 1), join_style="mitre")
    moved = affinity.translate(outline, *(share * tolerance_m * np.array([math.cos(angle), math.sin(angle)])))
    mine = problem("P", placed(outline))
    found = only([mine], [gain("a", placed(moved), tolerance_m)])
    assert (found.problem_id, found.change, found.geometry) == ("P", CONTINUING, None)
    body = outline.buffer(-2 * tolerance_m)
    if body.area > max(500, 0.05 * outline.area):
        assert only([mine], [loss("b", placed(moved), tolerance_m)]).change is ENDED


@pytest.mark.parametrize("angle", range(0, 360, 45))
@pytest.mark.parametrize("shape", ["square", "disk", "road", "comb"])
def test_three_metres_never_expand_nor_creep(shape: str, angle: int) -> None:
    comb = shapely.union_all(
        [shapely.box(0, 0, 2000, 20), *(shapely.box(x, 0, x + 20, 300) for x in range(0, 2000, 60))]
    )
    drawn = {
        "square": shapely.box(0, 0, 1000, 1000),
        "disk": shapely.Point(0, 0).buffer(500, quad_segs=64),
        "road": shapely.LineString([(0, 0), (3000, 1000), (6000, 0)]).buffer(5),
        "comb": comb,
    }[shape]
    mine = problem("P", placed(drawn))
    for step in range(1, 4):  # each period against what the one before left
        x, y = 3 * math.cos(math.radians(angle + step)), 3 * math.sin(math.radians(angle + step))
        found = only([mine], [gain("a", placed(affinity.translate(drawn, x, y)), 3.0)])
        assert (found.change, found.geometry, found.area_m2) == (CONTINUING, None, mine.area_m2)


def test_a_shift_beyond_the_tolerance_of_a_long_edge_shows() -> None:
    mine = problem("P", box(0, 0))
    assert only([mine], [gain("a", box(9, 0), 3.0)]).change is EXPANDED


def test_a_neighbour_within_tolerance_is_not_drawn_in_by_a_shift() -> None:
    left, right = problem("A", box(0, 0)), problem("B", box(100, 0))
    found = by_id(match([left, right], [gain("a", box(4, 3), 5.0)]))
    assert (found["A"].change, found["A"].merged, found["A"].patch_ids) == (CONTINUING, (), ("a",))
    assert (found["B"].change, found["B"].patch_ids) == (CONTINUING, ())


# Losses


def test_a_loss_reduces_and_the_rest_keeps_its_coordinates() -> None:
    mine = box(0, 0)
    found = only([problem("P", mine)], [loss("a", box(60, -20, 100, 200))])
    assert (found.change, found.patch_ids) == (REDUCED, ("a",))
    assert same_ground(found.geometry, box(0, 0, 60))
    assert found.delta_m2 == pytest.approx(-4000, rel=1e-2)


def test_a_loss_too_small_changes_nothing() -> None:
    found = only([problem("P", box(0, 0))], [loss("a", box(97, 0, 100), 1.0)])
    assert (found.change, found.patch_ids, found.geometry) == (CONTINUING, ("a",), None)


def test_a_loss_of_nearly_all_ends_and_keeps_the_outline() -> None:
    mine = box(0, 0)
    found = only([problem("P", mine)], [loss("a", box(0, 0, 95))])
    assert (found.change, found.geometry, found.area_m2) == (ENDED, None, 0.0)
    assert found.delta_m2 == -m2(mine)


def test_slivers_that_a_shifted_loss_leaves_are_not_works() -> None:
    yard = box(0, 0, 40, 40)  # slivers of 4 m along two sides are a fifth of it
    assert only([problem("P", yard)], [loss("a", box(4, 4, 40, 40), 6.0)]).change is ENDED
    assert only([problem("P", yard)], [loss("a", box(4, 4, 40, 40), 3.0)]).change is REDUCED


def test_a_narrow_road_does_not_end_for_being_narrow() -> None:
    road = box(0, 0, 1000, 12)
    found = only([problem("P", road)], [loss("a", box(0, -20, 400, 60), 8.0)])
    assert found.change is REDUCED
    assert same_ground(found.geometry, box(400, 0, 600, 12), 20.0)
    thin = box(0, 0, 1000, 6)
    assert only([problem("P", thin)], [loss("a", box(0, -20, 400, 60), 8.0)]).change is REDUCED


def test_greening_beside_a_problem_within_tolerance_takes_nothing_from_it() -> None:
    found = only([problem("P", box(0, 0, 1000, 1000))], [loss("a", box(-300, 0, 304, 1000), 5.0)])
    assert (found.change, found.patch_ids, found.geometry) == (CONTINUING, ("a",), None)


def test_a_strip_within_tolerance_with_a_bulge_counts_as_the_bulge() -> None:
    field = shapely.union_all([box(-300, 0, 304, 1000), box(0, 500, 15, 15)])
    rules = Matching(min_growth_share=0)
    found = only([problem("P", box(0, 0, 1000, 1000))], [loss("a", field, 5.0)], rules=rules)
    assert (found.change, found.patch_ids, found.geometry) == (CONTINUING, ("a",), None)
    assert only([problem("P", box(0, 0, 1000, 1000))], [loss("a", field, 2.0)], rules=rules).change is REDUCED


def test_greening_beside_a_closed_site_is_not_its_matter() -> None:
    assert match([problem("P", box(0, 0), state=ProblemState.CLOSED)], [loss("a", box(-300, 0, 304), 5.0)]) == []


def test_a_loss_on_no_problem_is_in_no_outcome() -> None:
    found = only([problem("P", box(0, 0))], [loss("a", box(500, 0))])
    assert (found.problem_id, found.change, found.patch_ids) == ("P", CONTINUING, ())


def test_one_loss_on_two_problems_belongs_to_the_one_with_more_of_it() -> None:
    small, large = problem("A", box(0, 0)), problem("B", box(200, 0, 200))
    found = by_id(match([small, large], [loss("a", box(-20, -20, 600, 200))]))
    assert (found["A"].change, found["A"].patch_ids, found["A"].shared) == (ENDED, (), ("a",))
    assert (found["B"].change, found["B"].patch_ids, found["B"].shared) == (ENDED, ("a",), ())


def test_gain_and_loss_are_netted() -> None:
    mine = problem("P", box(0, 0, 200))
    grown = only([mine], [gain("a", box(200, 0, 90)), loss("b", box(0, 0, 40))])
    assert (grown.change, grown.patch_ids) == (EXPANDED, ("a", "b"))
    assert same_ground(grown.geometry, box(40, 0, 250))
    assert grown.delta_m2 == pytest.approx(5000, rel=1e-2)
    shrunk = only([mine], [gain("a", box(200, 0, 40)), loss("b", box(0, 0, 90))])
    assert shrunk.change is REDUCED
    assert shrunk.delta_m2 == pytest.approx(-5000, rel=1e-2)


def test_what_moves_has_not_ended() -> None:
    found = only([problem("P", box(0, 0))], [loss("b", box(0, 0)), gain("a", box(100, 0))])
    assert found.change in (EXPANDED, REDUCED)
    assert same_ground(found.geometry, box(100, 0))


def test_ground_found_open_in_the_same_period_is_not_lost() -> None:
    found = only([problem("P", box(0, 0))], [loss("b", box(0, 0)), gain("a", box(0, 0))])
    assert (found.change, found.geometry) == (CONTINUING, None)


def test_a_loss_seen_again_keeps_it_ended() -> None:
    found = only([problem("P", box(0, 0), ended=True)], [loss("a", box(3, 3))])
    assert (found.change, found.geometry, found.area_m2, found.delta_m2) == (ENDED, None, 0.0, 0.0)


# Relapse


@pytest.mark.parametrize(
    "told", [{"state": ProblemState.CLOSED}, {"ended": True}, {"state": ProblemState.CLAIMED_DONE, "ended": True}]
)
def test_works_on_a_closed_or_ended_site_relapse_with_the_patch_as_ground(told: dict[str, object]) -> None:
    old, works = problem("P", box(0, 0), **told), box(50, 0, 60, 60)
    found = only([old], [gain("a", works)])
    assert (found.problem_id, found.change, found.patch_ids) == ("P", RELAPSED, ("a",))
    assert found.geometry.equals_exact(works)
    assert old.area_m2 + found.delta_m2 == pytest.approx(m2(works), abs=1e-6)


def test_works_on_ground_judged_no_problem_add_to_it() -> None:
    found = only([problem("P", box(0, 0), state=ProblemState.NO_PROBLEM)], [gain("a", box(80, 0, 60))])
    assert found.change is RELAPSED
    assert same_ground(found.geometry, box(0, 0, 140))


def test_no_problem_relapses_on_its_own_ground_but_not_by_the_same_change_seen_twice() -> None:
    fine = problem("P", box(0, 0), state=ProblemState.NO_PROBLEM, last_date="2025-10-01")
    later = gain("a", box(2, 0), before_date="2025-10-01", after_date="2026-10-01")
    assert only([fine], [later]).change is RELAPSED
    again = gain("a", box(2, 0), before_date="2025-05-01", after_date="2026-05-01")
    assert only([fine], [again]).change is CONTINUING
    wider = gain("a", box(2, 0, 160), before_date="2025-05-01", after_date="2026-05-01")
    assert only([fine], [wider]).change is RELAPSED
    shut = replace(fine, state=ProblemState.CLOSED)
    assert only([shut], [again]).change is RELAPSED


@pytest.mark.parametrize("told", [{"state": ProblemState.CLOSED}, {"state": ProblemState.NO_PROBLEM}, {"ended": True}])
@pytest.mark.parametrize("x", [98, 150])
def test_nearness_to_a_settled_site_opens_a_new_one(told: dict[str, object], x: float) -> None:
    found = only([problem("P", box(0, 0), **told)], [gain("a", box(x, 0), 5.0)])
    assert (found.problem_id, found.change) == (None, NEW)


def test_settled_and_ended_sites_without_patch_are_silent() -> None:
    quiet = [problem("A", box(0, 0), state=ProblemState.CLOSED), problem("B", box(300, 0), ended=True)]
    quiet.append(problem("C", box(600, 0), state=ProblemState.NO_PROBLEM))
    assert match(quiet, []) == []
    assert match(quiet, [], unseen=box(-500, -500, 2000, 2000)) == []


def test_a_patch_on_a_live_and_a_closed_site_counts_no_ground_twice() -> None:
    live, shut = problem("A", box(0, 0)), problem("B", box(130, 0), state=ProblemState.CLOSED)
    found = by_id(match([live, shut], [gain("a", box(20, 0, 180))]))
    assert (found["A"].change, found["A"].patch_ids) == (EXPANDED, ("a",))
    assert same_ground(found["A"].geometry, box(0, 0, 130))
    assert (found["B"].change, found["B"].patch_ids, found["B"].shared) == (RELAPSED, (), ("a",))
    assert same_ground(found["B"].geometry, box(130, 0, 70))


# Merge and split


def test_a_patch_over_two_problems_merges_them_into_the_oldest() -> None:
    young, old = problem("A", box(0, 0), opened_period="2025H1"), problem("B", box(160, 0), opened_period="2024H2")
    found = only([young, old], [gain("a", box(50, 0, 160))])
    assert (found.problem_id, found.merged, found.change) == ("B", ("A",), EXPANDED)
    assert same_ground(found.geometry, box(0, 0, 260))
    assert found.area_m2 == pytest.approx(young.area_m2 + old.area_m2 + found.delta_m2, abs=1e-6)
    assert found.delta_m2 == pytest.approx(6000, rel=1e-2)


def test_chains_merge_all() -> None:
    three = [problem(name, box(x, 0)) for name, x in (("A", 0), ("B", 160), ("C", 320))]
    found = only(three, [gain("a", box(50, 0, 160)), gain("b", box(210, 0, 160))])
    assert (found.problem_id, found.merged, found.patch_ids) == ("A", ("B", "C"), ("a", "b"))


def test_a_merge_without_new_ground_goes_on() -> None:
    found = only([problem("A", box(0, 0)), problem("B", box(100, 0))], [gain("a", box(20, 0, 160))])
    assert (found.change, found.merged) == (CONTINUING, ("B",))
    assert same_ground(found.geometry, box(0, 0, 200))


def test_nearness_never_merges() -> None:
    found = by_id(match([problem("A", box(0, 0)), problem("B", box(200, 0))], [gain("a", box(120, 0, 60))]))
    assert set(found) == {"A", "B"}
    assert found["A"].merged == found["B"].merged == ()


def test_fragments_between_do_not_merge_either() -> None:
    ends = [problem("A", box(0, 0)), problem("B", box(600, 0))]
    found = by_id(
        match(ends, [gain("a", box(50, 0)), gain("b", box(550, 0)), gain("c", box(220, 0)), gain("d", box(400, 0))])
    )
    assert (found["A"].patch_ids, found["B"].patch_ids) == (("a", "c"), ("b", "d"))


@pytest.mark.parametrize("told", [{"state": ProblemState.CLOSED}, {"state": ProblemState.NO_PROBLEM}, {"ended": True}])
def test_settled_sites_do_not_merge(told: dict[str, object]) -> None:
    found = by_id(match([problem("A", box(0, 0)), problem("B", box(160, 0), **told)], [gain("a", box(20, 0, 200))]))
    assert set(found) == {"A", "B"}
    assert found["A"].merged == ()
    assert found["B"].change is RELAPSED


def test_a_loss_in_the_middle_splits_what_is_left() -> None:
    mine = problem("P", box(0, 0, 500))
    found = only([mine], [loss("a", box(220, -10, 150, 120))])
    assert found.change is REDUCED
    assert same_ground(found.geometry, box(0, 0, 220))
    (part,) = found.parts
    assert same_ground(part.geometry, box(370, 0, 130))
    assert part.problem_id is None
    assert mine.area_m2 + found.delta_m2 == pytest.approx(found.area_m2 + part.area_m2, abs=1e-6)


def test_parts_near_each_other_stay_one() -> None:
    found = only([problem("P", box(0, 0, 500))], [loss("a", box(220, -10, 90, 120))])
    assert (found.parts, found.geometry.geom_type) == ((), "MultiPolygon")


def test_a_small_part_and_a_sliver_are_no_problems() -> None:
    left = shapely.union_all([box(0, 0, 220), box(450, 0, 150), box(880, 80, 15, 15)])
    found = only([problem("P", box(0, 0, 900))], [loss("a", box(-5, -5, 910, 110).difference(left), 1.0)])
    assert [same_ground(part.geometry, box(450, 0, 150)) for part in found.parts] == [True]
    assert same_ground(found.geometry, shapely.union_all([box(0, 0, 220), box(880, 80, 15, 15)]))
    mine = problem("P", shapely.union_all([box(0, 0, 200), box(400, 0, 200)]))
    shifted = only([mine], [loss("a", box(404, 3, 200, 100), 6.0)])  # leaves 4 m of 100 m and 3 m of 200 m
    assert (shifted.parts, shifted.change) == ((), REDUCED)
    assert same_ground(shifted.geometry, box(0, 0, 200))


# New problems


def test_fragments_of_one_site_are_one_problem() -> None:
    found = match([], [gain("a", box(0, 0)), gain("b", box(190, 0)), gain("c", box(500, 0)), gain("d", box(380, 0))])
    assert [outcome.patch_ids for outcome in found] == [("a", "b", "c", "d")]
    found = match([], [gain("a", box(0, 0)), gain("b", box(201, 0))])
    assert [outcome.patch_ids for outcome in found] == [("a",), ("b",)]


def test_fragments_of_other_times_are_two() -> None:
    found = match([], [gain("a", box(0, 0)), gain("b", box(110, 0), after_date="2024-05-01", before_date="2023-05-01")])
    assert len(found) == 2


def test_the_activity_is_that_of_most_ground_the_undetermined_last() -> None:
    patches = [
        gain("a", box(0, 0, 50), code="09"),
        gain("b", box(60, 0, 70), code="04"),
        gain("c", box(150, 0), code="00"),
    ]
    assert only([], patches).activity_code == "04"
    assert only([], patches[2:]).activity_code == "00"


def test_a_fragment_beside_an_expansion_belongs_to_it() -> None:
    found = only([problem("P", box(0, 0))], [gain("a", box(50, 0, 150)), gain("b", box(280, 0))])
    assert (found.problem_id, found.patch_ids) == ("P", ("a", "b"))


def test_patches_told_apart_stay_apart_also_through_a_third() -> None:
    patches = [gain("a", box(0, 0)), gain("b", box(150, 0)), gain("c", box(270, 0))]
    apart = frozenset({frozenset({"a", "c"})})
    assert [o.patch_ids for o in match([], patches, apart=apart)] == [("a",), ("b", "c")]


def test_patches_told_apart_do_not_meet_in_a_problem() -> None:
    apart, members = frozenset({frozenset({"a", "old"})}), {"P": ["old"]}
    mine = problem("P", box(0, 0))
    found = by_id(match([mine], [gain("a", box(180, 0))], apart=apart, members=members))
    assert (found["P"].change, found[None].patch_ids) == (CONTINUING, ("a",))
    found = by_id(match([mine], [gain("a", box(50, 0))], apart=apart, members=members))
    assert (found["P"].patch_ids, found["P"].shared, found["P"].geometry) == ((), ("a",), None)
    assert same_ground(found[None].geometry, box(100, 0, 50))


def test_problems_told_apart_do_not_merge() -> None:
    apart, members = frozenset({frozenset({"p", "q"})}), {"A": ["p"], "B": ["q"]}
    two = [problem("A", box(0, 0)), problem("B", box(160, 0))]
    found = by_id(match(two, [gain("a", box(40, 0, 160))], apart=apart, members=members))
    assert (found["A"].merged, found["A"].patch_ids, found["B"].shared) == ((), ("a",), ("a",))
    assert same_ground(found["A"].geometry, box(0, 0, 160))


# Not observed


@pytest.mark.parametrize(
    ("hidden", "change"), [(49, CONTINUING), (51, ChangeKind.NOT_OBSERVED), (200, ChangeKind.NOT_OBSERVED)]
)
def test_unseen_is_never_unchanged(hidden: float, change: ChangeKind) -> None:
    mine = problem("P", box(0, 0))
    found = only([mine], [], unseen=box(-50, -50, hidden + 50, 200))
    assert (found.change, found.geometry, found.area_m2, found.delta_m2) == (change, None, mine.area_m2, 0.0)


def test_a_patch_decides_though_the_rest_is_hidden() -> None:
    found = only([problem("P", box(0, 0))], [gain("a", box(50, 0))], unseen=box(-50, -50, 130, 200))
    assert found.change is EXPANDED


def test_many_clouds_and_one_of_many_corners() -> None:
    problems = [problem(f"P{x:02d}", box(150 * x, 0)) for x in range(40)]
    cloud = shapely.Point(1500, 0).buffer(1000, quad_segs=2000).difference(shapely.Point(1500, 50).buffer(300))
    unseen = placed(shapely.union_all([cloud, *(shapely.box(x, 50, x + 100, 150) for x in range(3000, 6000, 300))]))
    found = match(problems, [], unseen=unseen)
    for outcome, standing in zip(found, problems, strict=True):
        share = m2(shapely.intersection(standing.geometry, unseen)) / standing.area_m2
        assert abs(share - 0.5) < 1e-6 or outcome.change is (CONTINUING if share <= 0.5 else ChangeKind.NOT_OBSERVED)
    assert {outcome.change for outcome in found} == {CONTINUING, ChangeKind.NOT_OBSERVED}


def test_a_footprint_of_many_corners_is_met_as_a_whole() -> None:
    xs = np.arange(0, 12_000, 60)
    comb = shapely.union_all([shapely.box(0, 0, 12_000, 20), *shapely.box(xs, 0, xs + 40, 300)])
    mine = problem("P", placed(comb))
    assert shapely.get_num_coordinates(mine.geometry) > 3 * 256
    moved = affinity.translate(comb, 3, -4)
    assert only([mine], [gain("a", placed(moved))]).geometry is None
    assert only([mine], [loss("a", placed(moved))]).change is ENDED
    near = [gain(f"a{x}", box(x, 380), 5.0) for x in range(0, 12_000, 300)]
    assert only([mine], near).area_m2 == pytest.approx(mine.area_m2 + 40 * 10_000, rel=1e-2)
    assert by_id(match([mine], [gain("a", box(6000, 405))]))["P"].patch_ids == ()
    assert only([mine], [], unseen=placed(shapely.box(0, -1, 5900, 400))).change is CONTINUING
    assert only([mine], [], unseen=placed(shapely.box(0, -1, 6100, 400))).change is ChangeKind.NOT_OBSERVED


# A second issue of the same period


def test_the_same_period_again_says_the_same_by_name() -> None:
    old = [problem("P", box(0, 0, 500)), problem("Q", box(0, 1000))]
    patches = [
        loss("a", box(220, -10, 150, 120)),
        gain("b", box(2000, 0)),
        gain("c", box(2150, 0)),
        gain("d", box(2000, 900)),
    ]
    first = match(old, patches)
    named, opened = [], []
    for number, outcome in enumerate(first):
        name = outcome.problem_id or f"N{number}"
        parts = tuple(part._replace(problem_id="X") for part in outcome.parts)
        named.append(replace(outcome, problem_id=name, parts=parts))
        shapes = [(name, outcome.geometry)] if outcome.problem_id is None else []
        shapes += [("X", part.geometry) for part in parts]
        opened += [problem(new, shape, opened_now=True, opened_period="2026H1") for new, shape in shapes]
    assert len(opened) == 3
    again = match([*opened, *old], patches)
    assert sorted(again, key=lambda o: o.problem_id) == sorted(named, key=lambda o: o.problem_id)


def test_what_a_second_issue_no_longer_finds_has_no_patch_and_one_moved_is_new_again() -> None:
    gone, moved = (problem(name, box(x, 0), opened_now=True) for name, x in (("G", 0), ("M", 1000)))
    found = by_id(match([gone, moved], [gain("a", box(1060, 0, 300))]))
    assert (found["M"].change, found["M"].patch_ids) == (NEW, ("a",))
    assert found["M"].area_m2 == found["M"].delta_m2
    assert (found["G"].change, found["G"].patch_ids) == (CONTINUING, ())


def test_two_of_an_earlier_issue_that_are_now_one_take_one_name() -> None:
    two = [problem(name, box(x, 0), opened_now=True) for name, x in (("M", 0), ("N", 150))]
    found = by_id(match(two, [gain("a", box(0, 0, 200))]))
    assert (found["M"].change, found["N"].patch_ids) == (NEW, ())


# Everything at once


def crowded(seed: int) -> tuple[list[Standing], list[Sighting]]:
    rng = np.random.default_rng(seed)
    states = [ProblemState.AUTO, ProblemState.CONFIRMED, ProblemState.CLOSED, ProblemState.NO_PROBLEM]
    problems, patches = [], []
    for number in range(25):
        x, y, w, h = *rng.uniform(0, 1500, 2), *rng.uniform(20, 150, 2)
        told = {"state": states[number % 4], "ended": number % 7 == 0, "opened_now": number % 11 == 0}
        problems.append(problem(f"P{number:02d}", box(x, y, w, h), opened_period=f"{2020 + number % 3}", **told))
    for number in range(30):
        x, y, w, h = *rng.uniform(0, 1500, 2), *rng.uniform(20, 150, 2)
        made = loss if number % 4 == 0 else gain
        patches.append(made(f"S{number:02d}", box(x, y, w, h), float(rng.uniform(1, 10))))
    return problems, patches


@pytest.mark.parametrize("seed", range(6))
def test_the_order_of_the_input_does_not_matter(seed: int) -> None:
    problems, patches = crowded(seed)
    told = {"apart": frozenset({frozenset({"S01", "S02"}), frozenset({"S05", "q"})}), "members": {"P01": ["q"]}}
    expected = match(problems, patches, **told, unseen=box(0, 0, 700, 700))
    shuffled = random.Random(seed)
    for _ in range(3):
        shuffled.shuffle(problems)
        shuffled.shuffle(patches)
        assert match(problems, patches, **told, unseen=box(0, 0, 700, 700)) == expected


@pytest.mark.parametrize("seed", range(20))
def test_areas_add_up_and_every_patch_has_one_place(seed: int) -> None:
    problems, patches = crowded(seed)
    known = {p.problem_id: p for p in problems}
    found = match(problems, patches)
    owned = [patch for outcome in found for patch in outcome.patch_ids]
    assert len(owned) == len(set(owned))
    gains = {p.patch_id for p in patches if p.direction == "gain"}
    assert gains <= set(owned)
    named = [name for o in found for name in (o.problem_id, *o.merged, *(p.problem_id for p in o.parts)) if name]
    assert len(named) == len(set(named))
    for outcome in found:
        before = [known[name] for name in (outcome.problem_id, *outcome.merged) if name and outcome.change is not NEW]
        after = outcome.area_m2 + sum(part.area_m2 for part in outcome.parts)
        assert sum(p.area_m2 for p in before) + outcome.delta_m2 == pytest.approx(after, abs=1e-6)
        for shape, area in ((outcome.geometry, outcome.area_m2), *((p.geometry, p.area_m2) for p in outcome.parts)):
            if shape is not None:
                assert shape.is_valid
                assert shape.geom_type in ("Polygon", "MultiPolygon")
                assert abs(m2(shape) - area) < 1
        assert all(known[p.problem_id].live for p in before) or not outcome.merged
        if outcome.change is EXPANDED:
            assert outcome.delta_m2 > 0
        if outcome.change in (REDUCED, ENDED):
            assert outcome.delta_m2 <= 0


def test_a_patch_given_twice_is_refused() -> None:
    with pytest.raises(LedgerError, match="TWICE a: is given twice"):
        match([], [gain("a", box(0, 0)), gain("a", box(500, 0))])
    with pytest.raises(LedgerError, match="TWICE P: "):
        match([problem("P", box(0, 0)), problem("P", box(300, 0))], [])


# Edges that meet


def test_works_that_meet_a_site_at_its_edge_are_its_growth_however_long_ago_it_moved() -> None:
    """New ground shares only an edge with what stood."""
    mine = problem("P", box(0, 0), last_date="2019-05-01")
    found = only([mine], [gain("a", box(100, 0, 60))])
    assert (found.problem_id, found.change) == ("P", EXPANDED)
    assert found.delta_m2 == pytest.approx(6000, rel=1e-2)
    away = by_id(match([mine], [gain("a", box(106, 0, 60))]))
    assert away["P"].change is CONTINUING and away[None].change is NEW


def test_works_that_fill_the_gap_between_two_sites_join_them() -> None:
    older, younger = problem("P", box(0, 0), last_date="2019-05-01"), problem("Q", box(200, 0), opened_period="2025H2")
    found = only([older, younger], [gain("a", box(100, 0, 100))])
    assert (found.problem_id, found.change, found.merged) == ("P", EXPANDED, ("Q",))
    assert same_ground(found.geometry, box(0, 0, 300))


def test_a_site_seen_again_beside_the_truth_does_not_join_its_neighbour() -> None:
    """Four metres off, the mine's second sighting meets the next site's edge, but opens nothing."""
    both = [problem("P", box(0, 0)), problem("Q", box(104, 0))]
    found = by_id(match(both, [gain("a", box(4, 0))]))
    assert {name: outcome.change for name, outcome in found.items()} == {"P": CONTINUING, "Q": CONTINUING}
    assert found["P"].patch_ids == ("a",) and found["P"].merged == ()
