"""A small ledger drawn by hand: two areas, four problems, seen in 2026H1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import shapely

from ecowatch.ledger import Event, EventKind, Ledger, geometry_text

SQUARES = {f"p{n}": shapely.box(110.0 + n / 100, 35.0, 110.001 + n / 100, 35.001) for n in range(1, 5)}
AREA_OF = {"p1": "a", "p2": "a", "p3": "a", "p4": "b"}


def unit(area: str, period: str = "2026H1", **changes: Any) -> Event:
    inputs = {
        "scenes": {"S2A_before": "11" * 32, "S2B_after": "22" * 32},
        "pipelines": {"bitemporal": {"version": 2, "digest": "33" * 32}},
    }
    payload = {"issue": 1, "inputs": inputs, "inputs_digest": "44" * 32, "run_id": "r1", "observed_share": 0.875}
    payload |= {"patches": 1, "continuing": [], "not_observed_problems": [], "unseen": [], "differences": {}}
    return Event(EventKind.UNIT_ENTERED, area, period, payload=payload | changes, at="2026-05-20")


def patch(problem: str, period: str = "2026H1") -> Event:
    facts = {"before_scenes": "S2A_before", "after_scenes": "S2B_after", "observed_share": 1.0, "pipeline_version": "2"}
    payload = {"issue": 1, "change_code": "1", "activity_code": "03", "direction": "gain", "area_m2": 10124.0}
    payload |= {"before_date": "2025-09-01", "after_date": "2026-05-20", "pipeline": "bitemporal", "facts": facts}
    payload |= {"geometry": geometry_text(SQUARES[problem])}
    return Event(EventKind.PATCH_FOUND, AREA_OF[problem], period, problem, f"t-{problem}", payload, at="2026-05-20")


def opened(problem: str, **changes: Any) -> Event:
    payload = {"patches": [f"t-{problem}"], "geometry": geometry_text(SQUARES[problem]), "area_m2": 10124.0}
    payload |= {"activity_code": "03", "state": "suspected", "stock": 0, "parents": []}
    return Event(
        EventKind.PROBLEM_OPENED, AREA_OF[problem], "2026H1", problem, payload=payload | changes, at="2026-05-20"
    )


def seen(problem: str, period: str = "2026H2") -> Event:
    payload = {"change_code": "2", "patches": [], "area_m2": 20248.0, "delta_m2": 10124.0}
    return Event(EventKind.PROBLEM_SEEN, AREA_OF[problem], period, problem, payload=payload, at="2026-11-20")


def moved(problem: str, old: str, new: str, actor: str = "li", at: str = "2026-07-01") -> Event:
    payload = {"from": old, "to": new, "reason": ""}
    return Event(EventKind.STATE_MOVED, AREA_OF[problem], "", problem, payload=payload, actor=actor, at=at)


def verdict(problem: str, word: str, actor: str, at: str = "2026-07-01") -> Event:
    payload = {"verdict": word, "reason": "none", "note": ""}
    return Event(EventKind.VERDICT_GIVEN, AREA_OF[problem], "2026H1", problem, payload=payload, actor=actor, at=at)


def first_events(problems: tuple[str, ...] = ("p1", "p2", "p3", "p4")) -> list[Event]:
    areas = sorted({AREA_OF[p] for p in problems})
    return [*map(unit, areas), *(event for p in problems for event in (patch(p), opened(p)))]


def make_ledger(path: Path, problems: tuple[str, ...] = ("p1", "p2", "p3", "p4")) -> Path:
    with Ledger.writer(path) as ledger:
        ledger.commit(first_events(problems))
    return path


def add(path: Path, *events: Event) -> int:
    with Ledger.writer(path) as ledger:
        return ledger.commit(events)


def state_of(path: Path, problem: str) -> str:
    with Ledger.reader(path) as ledger:
        return str(ledger.rows("problem", "problem_id = ?", (problem,))[0]["state"])


def count(path: Path) -> int:
    with Ledger.reader(path) as ledger:
        return ledger.head.seq
