"""A small life of a ledger in which every kind of event happens; the same events each time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import shapely

from ecowatch.codes import ChangeKind, ProblemState
from ecowatch.ledger import Event, EventKind, geometry_text

PERIODS = ("2025H1", "2025H2", "2026H1")
SITES = 6


def square(number: int, size: float = 0.001) -> str:
    """A square of about a hectare for each number."""
    left = 110.0 + 0.01 * number
    return geometry_text(shapely.box(left, 35.0, left + size, 35.0 + size))


def batches() -> list[list[Event]]:
    """Three periods of one area, then what people did: one list per transaction."""
    return [[_area()], *(list(_period(n)) for n in range(len(PERIODS))), list(_people())]


def _about(kind: EventKind, period: str = "", problem: str = "", patch: str = "", /, **payload: Any) -> Event:
    return Event(kind, "reserve", period, problem, patch, payload, at="2026-05-01")


def _area() -> Event:
    facts = {"version": "v1", "name": "示范自然保护区", "kind": "protected_area", "grade": "local", "source": "a.gpkg"}
    zones = [{"zone": "core", "geometry": square(0, 0.05)}]
    return _about(
        EventKind.AREA_VERSIONED, valid_from="2025-01-01", zones=zones, geometry=square(0, 0.1), changes={}, **facts
    )


def _period(number: int) -> Iterator[Event]:
    period, new = PERIODS[number], range(number * SITES, (number + 1) * SITES)
    old = [f"p{n}" for n in range(number * SITES)]
    unseen = [{"pipeline": "bitemporal", "reason": "masked", "area_m2": 321.5, "geometry": square(90 + number)}]
    yield _about(
        EventKind.UNIT_ENTERED,
        period,
        issue=1,
        inputs={"scenes": {f"s{number}": "ab" * 32}},
        inputs_digest="cd" * 32,
        run_id=f"run{number}",
        observed_share=0.875,
        patches=SITES,
        continuing=old[1:],
        not_observed_problems=old[:1],
        unseen=unseen,
        differences={},
    )
    for site in new:
        yield from _found(period, site)
    if old:
        yield _about(
            EventKind.PROBLEM_SEEN,
            period,
            old[1],
            change_code=str(ChangeKind.EXPANDED),
            patches=[f"t{new[0]}"],
            geometry=square(1, 0.002),
            area_m2=40500.25,
            delta_m2=30376.75,
        )


def _found(period: str, site: int) -> Iterator[Event]:
    size = {"activity_code": "03", "area_m2": 10123.5, "geometry": square(site)}
    dates = {"before_date": "2024-05-01", "after_date": "2025-05-03", "pipeline": "bitemporal"}
    yield _about(
        EventKind.PATCH_FOUND,
        period,
        f"p{site}",
        f"t{site}",
        issue=1,
        change_code="1",
        direction="gain",
        facts={"score": 4.25, "reason": "裸地增加"},
        **size,
        **dates,
    )
    state = str(ProblemState.SCREENED)
    yield _about(
        EventKind.PROBLEM_OPENED, period, f"p{site}", patches=[f"t{site}"], state=state, stock=0, parents=[], **size
    )


def _people() -> Iterator[Event]:
    period = PERIODS[-1]
    verdict = {"verdict": "problem", "reason": "", "activity_code": "04", "area_m2": 9800.0, "note": "现场核查"}
    yield Event(EventKind.VERDICT_GIVEN, "reserve", period, "p2", "t2", verdict, "李", "2026-07-02")
    plan = {"responsible": "某县", "deadline": "2026-12-31", "rectification": "remove"}
    for state in ("confirmed", "to_rectify", "claimed_done"):
        moved = {"from": "", "to": state, "reason": "", **plan}
        yield Event(EventKind.STATE_MOVED, "reserve", "", "p2", "", moved, "李", "2026-07-03")
    yield _about(EventKind.CLAIM_CHECKED, "", "p2", passed=None, seasons=1, dates=["2026-07-01"], why="one season")
    merged = {"geometry": square(3, 0.004), "area_m2": 162000.0, "patches": ["t3", "t4"]}
    yield _about(EventKind.PROBLEMS_MERGED, period, "p3", merged=["p4"], parents=["p3", "p4"], **merged)
    yield _about(EventKind.PROBLEM_SPLIT, period, "p5", parts=["p6"], geometry=square(5), area_m2=10123.5)
    yield _about(EventKind.PROBLEM_WITHDRAWN, period, "p7", why="issued again without it")
    yield _about(EventKind.GROUPING_UNDONE, period, "p8", patch_a="t8", patch_b="t9", into=list(_parts()))
    items = [{"problem_id": "p0", "activity_code": "03", "area_m2": 10123.5, "geometry": square(0)}]
    frozen = {"as_of": "2025-06-30", "digest": "ef" * 32, "area_m2": 10123.5, "geometry": square(0)}
    yield _about(EventKind.BASELINE_FROZEN, items=items, signed_by="王", **frozen)
    yield Event(EventKind.PERIOD_SIGNED, period=period, payload={"head": "12" * 32}, actor="王", at="2026-07-30")
    clue = {"clue_id": "c1", "problems": ["p2"], "receiver": "某县", "deadline": "2026-09-30", "digest": "34" * 32}
    yield Event(EventKind.CLUE_HANDED_OVER, payload=clue, actor="王", at="2026-08-01")
    yield Event(
        EventKind.CLUE_RECEIVED, payload={"clue_id": "c1", "receipt": {"by": "赵"}}, actor="王", at="2026-08-09"
    )
    package = {"package_id": "k1", "events": 3, "receipt": {"added": 3}}
    yield Event(EventKind.PACKAGE_RECEIVED, payload=package, actor="province", at="2026-08-10")


def _parts() -> Iterator[dict[str, Any]]:
    for problem, site in (("p8", 8), ("p88", 9)):
        yield {
            "problem_id": problem,
            "patches": [f"t{site}"],
            "geometry": square(site),
            "area_m2": 10123.5,
            "change_code": "1",
            "activity_code": "03",
            "state": "screened",
            "stock": 0,
            "parents": [] if problem == "p8" else ["p8"],
        }
