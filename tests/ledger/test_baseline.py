"""The baseline: what stood on a day, signed once; and what of a later patch is stock."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
import shapely
import shapely.affinity
from pyproj import CRS

from ecowatch.codes import ChangeKind, ProblemState
from ecowatch.errors import LedgerError
from ecowatch.grid import geodesic_area_m2
from ecowatch.ledger import LEDGER_CRS, Event, EventKind, Ledger, geometry_of, geometry_text, metric_crs
from ecowatch.ledger.baseline import (
    activity_code,
    baseline_digest,
    freeze,
    increment_m2,
    inventory_items,
    is_stock,
    rows_within,
    standing_items,
    stock_share,
    stock_shares,
    verify_baseline,
)

STEP = 0.001
JUNE = date(2026, 6, 30)


def square(col: float, row: float, width: float = 1, height: float = 1) -> shapely.Geometry:
    right, top = 110 + (col + width) * STEP, 35 + (row + height) * STEP
    return shapely.box(110 + col * STEP, 35 + row * STEP, right, top)


def m2(geometry: shapely.Geometry) -> float:
    return geodesic_area_m2(geometry, LEDGER_CRS)


def problem(name: str, shape: shapely.Geometry, at: str = "2026-05-01", state: str = "screened") -> Event:
    payload = {"patches": [f"t-{name}"], "geometry": geometry_text(shape), "area_m2": m2(shape), "activity_code": "03"}
    payload |= {"state": state, "stock": 0, "parents": []}
    return Event(EventKind.PROBLEM_OPENED, "a", "2026H1", name, payload=payload, at=at)


def seen(name: str, change: ChangeKind, at: str, shape: shapely.Geometry, period: str = "2026H2") -> Event:
    payload = {"change_code": str(change), "patches": [], "area_m2": m2(shape), "delta_m2": 0.0}
    payload["geometry"] = geometry_text(shape)
    return Event(EventKind.PROBLEM_SEEN, "a", period, name, payload=payload, at=at)


def stepped(name: str, to: ProblemState, at: str) -> Event:
    return Event(EventKind.STATE_MOVED, "a", problem_id=name, payload={"from": "", "to": str(to), "reason": ""}, at=at)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.writer(tmp_path / "l.db") as opened:
        yield opened


def test_what_stood_on_the_day_with_the_footprint_of_that_day(ledger: Ledger) -> None:
    """Grown afterwards: the old footprint. Ended, closed, dismissed before the day: not standing. After it: standing."""
    ledger.commit(
        [
            problem("p1", square(0, 0)),
            seen("p1", ChangeKind.EXPANDED, "2026-09-01", square(0, 0, 2)),
            problem("p2", square(3, 0)),
            seen("p2", ChangeKind.ENDED, "2026-06-01", square(3, 0), "2026H1"),
            problem("p3", square(5, 0), state="checked"),
            stepped("p3", ProblemState.CLOSED, "2026-06-29"),
            problem("p4", square(7, 0), state="suspected"),
            stepped("p4", ProblemState.NO_PROBLEM, "2026-07-02"),
            problem("p5", square(9, 0), at="2026-07-01"),
            problem("p6", square(11, 0)),
            Event(EventKind.PROBLEM_WITHDRAWN, "a", "2026H1", "p6", payload={"why": "x"}, at="2026-06-01"),
        ]
    )
    items = standing_items(ledger, "a", JUNE)
    assert [item.problem_id for item in items] == ["p1", "p4"]
    assert geometry_of(items[0].geometry).equals(square(0, 0))
    assert items[0].area_m2 == pytest.approx(m2(square(0, 0)), abs=0.01)
    later = [item.problem_id for item in standing_items(ledger, "a", date(2026, 12, 31))]
    assert later == ["p1", "p5"]
    assert standing_items(ledger, "b", JUNE) == []


def test_a_word_given_at_night_counts_by_the_civil_date_in_china(ledger: Ledger) -> None:
    ledger.commit([problem("p1", square(0, 0)), stepped("p1", ProblemState.NO_PROBLEM, "2026-06-30T17:00:00+00:00")])
    assert [i.problem_id for i in standing_items(ledger, "a", JUNE)] == ["p1"]  # 1 July, 01:00 there
    assert standing_items(ledger, "a", date(2026, 7, 1)) == []


def test_frozen_once_and_the_same_again_adds_nothing(ledger: Ledger) -> None:
    ledger.commit([problem("p1", square(0, 0)), problem("p2", square(0, 0, 2))])
    event = freeze(ledger, "a", standing_items(ledger, "a", JUNE), as_of=JUNE, by="李")
    assert event is not None and ledger.commit([event]) == 1
    (row,) = ledger.rows("baseline")
    assert (row["problems"], row["as_of"], row["signed_by"]) == (2, "2026-06-30", "李")
    assert row["area_m2"] == pytest.approx(m2(square(0, 0, 2)), abs=1)  # what two items share counts once
    assert {r["problem_id"]: r["stock"] for r in ledger.rows("problem")} == {"p1": 1, "p2": 1}
    # Grown meanwhile, signed by another: the stock of that day is still the same.
    ledger.commit([seen("p1", ChangeKind.EXPANDED, "2026-09-01", square(0, 0, 3))])
    assert freeze(ledger, "a", standing_items(ledger, "a", JUNE), as_of=JUNE, by="王") is None
    assert verify_baseline(ledger, "a") == row["digest"]


def test_another_stock_is_refused_and_told_by_its_digest(ledger: Ledger) -> None:
    ledger.commit([problem("p1", square(0, 0))])
    event = freeze(ledger, "a", standing_items(ledger, "a", JUNE), as_of=JUNE, by="li")
    assert event is not None
    ledger.commit([event])
    digest = event.payload["digest"]
    for items, day in (([], JUNE), (standing_items(ledger, "a", JUNE), date(2026, 7, 1))):
        with pytest.raises(LedgerError, match=f"BASELINE_FROZEN a: frozen as of 2026-06-30 by li with digest {digest}"):
            freeze(ledger, "a", items, as_of=day, by="li")


def test_the_digest_is_of_the_content_and_not_of_its_order() -> None:
    items = inventory_items("a", [("03", square(0, 0)), ("道路", square(2, 0))])
    rows = [dict(zip(item._fields, item, strict=True)) for item in items]
    text = json.dumps(["a", "2026-06-30", rows], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    expected = hashlib.sha256(text.encode()).hexdigest()
    assert baseline_digest("a", "2026-06-30", items) == baseline_digest("a", "2026-06-30", items[::-1]) == expected
    assert baseline_digest("a", "2026-06-30", items[:1]) != expected
    moved = [items[0]._replace(activity_code="04"), items[1]]
    assert baseline_digest("a", "2026-06-30", moved) != expected


def test_an_empty_stock_can_be_frozen(ledger: Ledger) -> None:
    event = freeze(ledger, "a", [], as_of=JUNE, by="li")
    assert event is not None and ledger.commit([event]) == 1
    assert verify_baseline(ledger, "a") == event.payload["digest"]
    frozen = geometry_of(ledger.rows("baseline")[0]["geometry"])
    assert not is_stock(square(0, 0), frozen, tolerance_m=5, crs=metric_crs(square(0, 0)))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"digest": "0" * 64}, "digest"),
        ({"as_of": "2026-06-29"}, "digest"),
        ({"area_m2": 1.0}, "union"),
    ],
)
def test_a_baseline_that_was_altered_is_named(ledger: Ledger, wrong: dict[str, object], named: str) -> None:
    event = freeze(ledger, "a", inventory_items("a", [("03", square(0, 0))]), as_of=JUNE, by="li")
    assert event is not None
    ledger.commit([Event(event.kind, "a", payload={**event.payload, **wrong}, actor="li", at=event.at)])
    with pytest.raises(LedgerError, match=f"BASELINE_CHANGED a: does not agree with its items: {named}"):
        verify_baseline(ledger, "a")


def test_an_item_that_was_altered_is_named(ledger: Ledger) -> None:
    items = [item._replace(area_m2=item.area_m2 + 5) for item in inventory_items("a", [("03", square(0, 0))])]
    event = freeze(ledger, "a", items, as_of=JUNE, by="li")
    assert event is not None
    ledger.commit([event])
    with pytest.raises(LedgerError, match=f"BASELINE_CHANGED .*{items[0].problem_id}"):
        verify_baseline(ledger, "a")


def test_refused_without_a_name_or_a_baseline(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="NAME_MISSING by: each word in the ledger carries the name of a person"):
        freeze(ledger, "a", [], as_of=JUNE, by="  ")
    with pytest.raises(LedgerError, match="BASELINE_MISSING a"):
        verify_baseline(ledger, "a")


def test_an_inventory_has_identities_made_from_its_content() -> None:
    rows = [("3", square(0, 0)), ("工矿用地", square(0, 0)), ("", square(2, 0)), ("Road", square(4, 0))]
    items = inventory_items("a", rows)
    assert sorted(item.activity_code for item in items) == ["00", "03", "09"]  # the first two say the same
    assert items == inventory_items("a", rows[::-1])
    assert {i.problem_id for i in items}.isdisjoint(i.problem_id for i in inventory_items("b", rows))


def test_an_unknown_activity_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        LedgerError, match=r"ACTIVITY_UNKNOWN row 7: '矿山' is no activity; known are: 00 未定, 01 农业用地"
    ):
        activity_code("矿山", "row 7")


def test_rows_of_an_inventory_belong_where_they_share_ground(ledger: Ledger) -> None:
    version = {"version": "v1", "name": "甲", "kind": "protected_area", "grade": "local", "valid_from": "2026-01-01"}
    version |= {"zones": [], "geometry": geometry_text(square(0, 0, 5, 5)), "source": "", "changes": {}}
    ledger.commit([Event(EventKind.AREA_VERSIONED, "a", payload=version, at="2026-01-01")])
    rows = [("03", square(1, 1)), ("03", square(4.5, 0)), ("03", square(5, 0)), ("03", square(20, 0))]
    assert rows_within(ledger, "a", rows, JUNE) == [0, 1]  # the third only touches the line
    with pytest.raises(LedgerError, match="BOUNDARY_MISSING b: the ledger has no boundary of it"):
        rows_within(ledger, "b", rows, JUNE)


UTM = CRS.from_epsg(32649)


def share(patch: shapely.Geometry, frozen: shapely.Geometry, tolerance_m: float = 0) -> float:
    return stock_share(patch, frozen, tolerance_m=tolerance_m, crs=UTM)


def test_which_share_of_a_patch_is_stock() -> None:
    frozen = square(0, 0, 4, 4)
    assert share(square(1, 1), frozen) == pytest.approx(1, abs=1e-6)
    assert share(square(10, 0), frozen) == 0
    assert share(square(2, 0, 4, 4), frozen) == pytest.approx(0.5, abs=1e-3)
    assert share(square(3, 0, 4, 4), frozen) == pytest.approx(0.25, abs=1e-3)
    assert share(shapely.Polygon(), frozen) == share(square(0, 0), shapely.MultiPolygon()) == 0


def test_a_shift_within_the_tolerance_is_no_increment() -> None:
    """The same square 3 m further east: all of it stock within 5 m; without a tolerance 3 % of it is new."""
    frozen = square(0, 0)
    shifted = shapely.affinity.translate(frozen, 3 * STEP / 91.3)
    assert share(shifted, frozen, 5) == pytest.approx(1, abs=1e-6)
    assert share(shifted, frozen) == pytest.approx(1 - 3 / 91.3, abs=1e-3)
    assert increment_m2(shifted, frozen, tolerance_m=5, crs=UTM) == pytest.approx(0, abs=0.1)
    assert increment_m2(shifted, frozen, tolerance_m=0, crs=UTM) == pytest.approx(3 * 110.9, rel=0.02)


def test_half_is_the_rule_for_stock() -> None:
    frozen = square(0, 0, 4, 4)
    assert is_stock(square(1.9, 0, 4, 4), frozen, tolerance_m=0, crs=UTM)
    assert not is_stock(square(2.1, 0, 4, 4), frozen, tolerance_m=0, crs=UTM)
    assert not is_stock(square(1.9, 0, 4, 4), frozen, tolerance_m=0, crs=UTM, min_share=0.6)


def test_many_patches_at_once_are_each_as_alone() -> None:
    frozen = shapely.union_all([square(n, n % 3, 0.7, 0.7) for n in range(30)])
    patches = [square(n / 2, n % 5, 1.5, 1.5) for n in range(40)]
    together = stock_shares(patches, frozen, tolerance_m=4, crs=UTM)
    assert together == [share(patch, frozen, 4) for patch in patches]
    assert 0 < sum(value > 0 for value in together) < len(patches)
