"""Versions of boundaries: what is entered, and whether a line moved around a problem is found, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import shapely
import shapely.affinity

from ecowatch.codes import AreaGrade, ProblemState
from ecowatch.errors import LedgerError
from ecowatch.grid import geodesic_area_m2
from ecowatch.ledger import LEDGER_CRS, Event, EventKind, Ledger, geometry_of, geometry_text
from ecowatch.ledger.boundaries import Boundary, touched_by, version_events

STEP = 0.001  # of a degree: about 91 m eastward and 111 m northward at 35°N
METRE = STEP / 91.3


def square(col: float, row: float, width: float = 1, height: float = 1) -> shapely.Geometry:
    right, top = 110 + (col + width) * STEP, 35 + (row + height) * STEP
    return shapely.box(110 + col * STEP, 35 + row * STEP, right, top)


def m2(geometry: shapely.Geometry) -> float:
    return geodesic_area_m2(geometry, LEDGER_CRS)


PARK = square(0, 0, 10, 10)
SITE = square(7, 4, 2, 2)  # a problem near the eastern line


def boundary(geometry: shapely.Geometry, version: str, area_id: str = "a", **zones: shapely.Geometry) -> Boundary:
    parts = tuple(sorted(zones.items()))
    return Boundary(area_id, "甲", "protected_area", AreaGrade.LOCAL, version, geometry, parts, "a.gpkg")


def problem(name: str, shape: shapely.Geometry, state: str = "confirmed", area_id: str = "a") -> Event:
    payload = {"patches": [f"t-{name}"], "geometry": geometry_text(shape), "area_m2": m2(shape), "activity_code": "03"}
    payload |= {"state": state, "stock": 0, "parents": []}
    return Event(EventKind.PROBLEM_OPENED, area_id, "2026H1", name, payload=payload, at="2026-05-01")


def patch(name: str, shape: shapely.Geometry, period: str, day: str, problem_id: str) -> Event:
    payload = {"issue": 1, "change_code": "1", "activity_code": "03", "direction": "gain", "area_m2": m2(shape)}
    payload |= {"before_date": "2025-05-01", "after_date": day, "pipeline": "bitemporal", "facts": {}}
    payload["geometry"] = geometry_text(shape)
    return Event(EventKind.PATCH_FOUND, "a", period, problem_id, name, payload=payload, at=day)


def unit(period: str, day: str) -> Event:
    payload: dict[str, Any] = {"issue": 1, "inputs": {}, "inputs_digest": "", "run_id": "r", "observed_share": 1.0}
    payload |= {"patches": 0, "continuing": [], "not_observed_problems": [], "unseen": [], "differences": {}}
    return Event(EventKind.UNIT_ENTERED, "a", period, payload=payload, at=day)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.writer(tmp_path / "l.db") as opened:
        opened.commit(version_events(opened, [boundary(PARK, "v1")], valid_from="2026-01-01"))
        yield opened


def moved(ledger: Ledger, geometry: shapely.Geometry, version: str = "v2", **options: Any) -> Event:
    zones = options.pop("zones", {})
    (event,) = version_events(ledger, [boundary(geometry, version, **zones)], valid_from="2026-07-01", **options)
    return event


def test_the_first_version_has_no_changes_and_the_same_one_again_adds_nothing(ledger: Ledger) -> None:
    (row,) = ledger.rows("area_version")
    assert (row["version"], row["valid_from"], row["valid_to"], row["changes"]) == ("v1", "2026-01-01", "", "{}")
    assert geometry_of(row["geometry"]).equals(PARK)
    for day in ("2025-07-01", "2026-01-01", "2026-07-01"):
        assert version_events(ledger, [boundary(PARK, "v1")], valid_from=day) == []


def test_a_line_moved_around_a_problem_is_found(ledger: Ledger) -> None:
    ledger.commit([problem("p1", SITE)])
    event = moved(ledger, square(0, 0, 6, 10))
    (found,) = touched_by(event)
    assert (found["strip"], found["problem_id"], found["state"], found["outside"]) == ("lost", "p1", "confirmed", True)
    assert found["area_m2"] == pytest.approx(m2(SITE), abs=1) and found["inside_m2"] == 0
    assert event.payload["changes"]["lost_m2"] == pytest.approx(m2(square(6, 0, 4, 10)), abs=1)
    ledger.commit([event])
    versions = [(r["version"], r["valid_from"], r["valid_to"]) for r in ledger.rows("area_version", "1 ORDER BY seq")]
    assert versions == [("v1", "2026-01-01", "2026-07-01"), ("v2", "2026-07-01", "")]


def test_a_line_cut_through_a_problem_leaves_a_part_inside(ledger: Ledger) -> None:
    ledger.commit([problem("p1", SITE)])
    (found,) = touched_by(moved(ledger, square(0, 0, 8, 10)))
    assert not found["outside"]
    assert found["area_m2"] == pytest.approx(m2(square(8, 4, 1, 2)), abs=1)
    assert found["inside_m2"] == pytest.approx(m2(square(7, 4, 1, 2)), abs=1)


def test_a_hole_around_the_problem_and_a_line_moved_elsewhere(ledger: Ledger) -> None:
    ledger.commit([problem("p1", SITE)])
    island = shapely.difference(PARK, square(6.5, 3.5, 3, 3))
    assert [f["problem_id"] for f in touched_by(moved(ledger, island))] == ["p1"]
    west = moved(ledger, square(1, 0, 9, 10))
    assert touched_by(west) == [] and west.payload["changes"]["lost_m2"] > 100_000


def test_a_downgraded_strip_and_a_gained_one(ledger: Ledger) -> None:
    zones = {"core": square(0, 0, 10, 10)}
    ledger.commit(version_events(ledger, [boundary(PARK, "v2", **zones)], valid_from="2026-03-01"))
    ledger.commit([problem("p1", SITE), problem("p2", square(11, 1), area_id="b")])
    lax = {"core": square(0, 0, 7, 10), "experimental": square(7, 0, 5, 10)}
    event = moved(ledger, square(0, 0, 12, 10), "v3", zones=lax)
    told = [(f["strip"], f["zones"], f["problem_id"], f["of_area"], f["outside"]) for f in touched_by(event)]
    assert told == [("gained", "", "p2", "b", False), ("downgraded", "core > experimental", "p1", "a", False)]
    zones_told = {z["zone"]: (z["gained_m2"], z["lost_m2"]) for z in event.payload["changes"]["zones"]}
    assert zones_told["core"] == (0, pytest.approx(m2(square(7, 0, 3, 10)), abs=1))


@pytest.mark.parametrize("state", [ProblemState.NO_PROBLEM, ProblemState.CLOSED])
def test_settled_problems_accuse_nobody(ledger: Ledger, state: ProblemState) -> None:
    ledger.commit([problem("p1", SITE, state)])
    assert touched_by(moved(ledger, square(0, 0, 6, 10))) == []


def test_withdrawn_and_merged_problems_accuse_nobody(ledger: Ledger) -> None:
    merged = {
        "merged": ["p3"],
        "parents": ["p2", "p3"],
        "geometry": geometry_text(SITE),
        "area_m2": m2(SITE),
        "patches": [],
    }
    ledger.commit(
        [
            problem("p1", SITE),
            problem("p2", square(1, 1)),
            problem("p3", SITE),
            Event(EventKind.PROBLEM_WITHDRAWN, "a", "2026H1", "p1", payload={"why": "x"}),
            Event(EventKind.PROBLEMS_MERGED, "a", "2026H1", "p2", payload=merged),
        ]
    )
    assert touched_by(moved(ledger, square(0, 0, 6, 10))) == []


def jagged(offset_m: float) -> shapely.Geometry:
    """The park with its eastern line digitised again: every tenth of the line lies so many metres further in."""
    notches = [
        shapely.box(110.010 - offset_m * METRE, 35 + n * STEP, 110.010, 35 + (n + 0.5) * STEP) for n in range(10)
    ]
    return shapely.difference(PARK, shapely.union_all(notches))


def test_a_line_digitised_again_accuses_nobody(ledger: Ledger) -> None:
    """0.9 m off along 200 m of a problem that reaches the line: 90 m2 of it, and no accusation; 3 m is one."""
    ledger.commit([problem("p1", square(8, 4, 2, 2))])
    again = moved(ledger, jagged(0.9))
    assert again.payload["changes"]["lost_m2"] > 400 and touched_by(again) == []
    assert [f["problem_id"] for f in touched_by(moved(ledger, jagged(3)))] == ["p1"]
    assert [f["problem_id"] for f in touched_by(moved(ledger, jagged(0.9), redrawn_m=0, min_m2=50))] == ["p1"]
    assert touched_by(moved(ledger, jagged(3), min_m2=1000)) == []


def test_a_whole_outline_shifted_by_half_a_metre_accuses_nobody(ledger: Ledger) -> None:
    ledger.commit([problem("p1", square(8, 8, 2, 2)), problem("p2", square(0, 0, 2, 2))])
    off = shapely.affinity.translate(PARK, 0.5 * METRE, 0.5 * METRE)
    assert touched_by(moved(ledger, off)) == []


def test_recent_patches_in_the_strip_are_told_beside_the_problems(ledger: Ledger) -> None:
    """Two periods count as recent; patches of a told problem are not told twice, dismissed ones not at all."""
    ledger.commit(
        [
            unit("2024", "2024-10-01"),
            unit("2025H2", "2025-10-01"),
            unit("2026H1", "2026-05-01"),
            problem("p1", SITE),
            problem("p0", square(8, 8), ProblemState.NO_PROBLEM),
            patch("t-old", square(8, 1), "2024", "2024-10-01", "gone"),
            patch("t-new", square(8, 2), "2025H2", "2025-10-01", "gone"),
            patch("t-told", SITE, "2026H1", "2026-05-01", "p1"),
            patch("t-no", square(8, 8), "2026H1", "2026-05-01", "p0"),
        ]
    )
    event = moved(ledger, square(0, 0, 6, 10))
    assert [f.get("problem_id") or f.get("patch_id") for f in touched_by(event)] == ["p1", "t-new"]
    assert event.payload["changes"]["rule"]["recent_from"] == "2025-07-01"


def test_the_stored_form_alone_leaves_no_sliver(ledger: Ledger) -> None:
    """Coordinates of more digits than the ledger keeps: the former version was rounded, the new one must be too."""
    third = shapely.transform(PARK, lambda xy: xy + 1e-8 / 3)
    changes = moved(ledger, third).payload["changes"]
    assert (changes["gained_m2"], changes["lost_m2"], changes["touched"]) == (0, 0, [])


def test_the_way_back_is_a_version_of_its_own(ledger: Ledger) -> None:
    ledger.commit([moved(ledger, square(0, 0, 6, 10))])
    (back,) = version_events(ledger, [boundary(PARK, "v1")], valid_from="2027-01-01")
    assert ledger.commit([back]) == 1 and ledger.commit([back]) == 0
    assert back.payload["changes"]["gained_m2"] == pytest.approx(m2(square(6, 0, 4, 10)), abs=1)
    # An older period that is asked again still finds the boundary that held then.
    assert version_events(ledger, [boundary(PARK, "v1")], valid_from="2026-01-01") == []
    assert version_events(ledger, [boundary(square(0, 0, 6, 10), "v2")], valid_from="2026-07-01") == []


def test_a_version_must_begin_later_unless_it_corrects_the_one_of_that_day(ledger: Ledger) -> None:
    new = [boundary(square(0, 0, 6, 10), "v2")]
    for day in ("2026-01-01", "2025-07-01"):
        with pytest.raises(LedgerError, match=r"VALID_FROM a: .* is not later than 2026-01-01, when version v1 began"):
            version_events(ledger, new, valid_from=day)
    with pytest.raises(LedgerError, match="VALID_FROM 1 July: is no date"):
        version_events(ledger, new, valid_from="1 July")
    ledger.commit(version_events(ledger, new, valid_from="2026-01-01", correction=True))
    current = ledger.rows("area_version", "valid_to = ''")
    assert [(row["version"], row["valid_from"]) for row in current] == [("v2", "2026-01-01")]
    with pytest.raises(LedgerError, match="VALID_FROM"):
        version_events(ledger, [boundary(PARK, "v3")], valid_from="2025-12-31", correction=True)
