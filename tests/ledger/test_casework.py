"""What people do to a problem: moves along its life, plans and deadlines, a grouping taken apart; and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import shapely

from ecowatch.codes import ProblemState, Rectification, VerdictKind
from ecowatch.errors import LedgerError
from ecowatch.grid import geodesic_area_m2
from ecowatch.ledger import (
    LEDGER_CRS,
    TRANSITIONS,
    CasePlan,
    Event,
    EventKind,
    Ledger,
    Said,
    geometry_text,
    move,
    moves,
    take_apart,
    transition_allowed,
)
from ecowatch.ledger.verify import verify
from ecowatch.settings import LedgerSettings

RULES = LedgerSettings()
SAID = Said("王审", "2026-07-01", "seen on site")
PLAN = CasePlan("某县", None, Rectification.EXIT)


def square(metres_east: float) -> shapely.Polygon:
    x = 110 + metres_east / 91_000
    return shapely.box(x, 35.0, x + 0.0005, 35.0005)


SQUARES = {"t1": square(0), "t2": square(100), "t3": square(1000)}


def found(patch: str, day: str) -> Event:
    payload: dict[str, Any] = {"change_code": "1", "activity_code": "03", "direction": "gain", "area_m2": 2500.0}
    payload |= {"before_date": "2025-05-01", "after_date": day, "pipeline": "bitemporal", "issue": 1, "facts": {}}
    payload |= {"geometry": geometry_text(SQUARES[patch])}
    return Event(EventKind.PATCH_FOUND, "a", "2026H1", "P1", patch, payload, at=day)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """One problem of three patches; the third lies a kilometre from the others, as a wrong grouping would have it."""
    ground = shapely.union_all(list(SQUARES.values()))
    payload = {"patches": sorted(SQUARES), "geometry": geometry_text(ground), "activity_code": "03", "parents": []}
    payload |= {"area_m2": geodesic_area_m2(ground, LEDGER_CRS), "state": "suspected", "stock": 0}
    opened = Event(EventKind.PROBLEM_OPENED, "a", "2026H1", "P1", payload=payload, at="2026-05-01")
    with Ledger.writer(tmp_path / "l.db") as made:
        made.commit([opened, found("t1", "2026-05-01"), found("t2", "2026-05-02"), found("t3", "2026-05-03")])
        yield made


def row(ledger: Ledger, problem: str = "P1") -> Any:
    return ledger.rows("problem", "problem_id = ?", (problem,))[0]


def test_every_transition_is_one_of_the_table() -> None:
    for one, two in product(ProblemState, ProblemState):
        assert transition_allowed(one, two) == (two in TRANSITIONS[one])
    # From every state a closing can be reached, and a closed site can only relapse.
    for state in ProblemState:
        reached, todo = set(), [state]
        while todo:
            todo += [s for s in TRANSITIONS[todo.pop()] if s not in reached and not reached.add(s)]  # type: ignore[func-returns-value]
        assert ProblemState.CLOSED in reached
    assert TRANSITIONS[ProblemState.CLOSED] == {ProblemState.RELAPSED}


def test_a_verdict_moves_only_where_the_table_lets_it() -> None:
    for state, verdict in product(ProblemState, VerdictKind):
        target = moves(state, verdict)
        assert target is None or transition_allowed(state, target)
    assert moves(ProblemState.SUSPECTED, VerdictKind.PROBLEM) is ProblemState.CONFIRMED
    assert moves(ProblemState.RECTIFYING, VerdictKind.NO_PROBLEM) is None


def test_a_rectification_needs_a_plan_and_gets_a_deadline(ledger: Ledger) -> None:
    ledger.commit([move(ledger, "P1", ProblemState.CONFIRMED, RULES, said=SAID)])
    with pytest.raises(LedgerError, match="NO_PLAN"):
        move(ledger, "P1", ProblemState.TO_RECTIFY, RULES, said=SAID)
    ledger.commit([move(ledger, "P1", ProblemState.TO_RECTIFY, RULES, said=SAID, plan=PLAN)])
    assert (row(ledger)["responsible"], row(ledger)["deadline"]) == ("某县", "2026-12-28")  # 180 days on
    ledger.commit([move(ledger, "P1", ProblemState.RECTIFYING, RULES, said=SAID)])
    assert (row(ledger)["state"], row(ledger)["rectification"]) == ("rectifying", "exit")


def test_steps_that_are_not_drawn_are_refused(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match=r"TRANSITION P1: closed does not follow suspected; may follow: confirmed"):
        move(ledger, "P1", ProblemState.CLOSED, RULES, said=SAID)
    with pytest.raises(LedgerError, match="PROBLEM_UNKNOWN"):
        move(ledger, "P9' OR 1=1 --", ProblemState.CONFIRMED, RULES, said=SAID)
    for name in ("", "  ", "ecowatch"):
        with pytest.raises(LedgerError, match="NAME_MISSING"):
            move(ledger, "P1", ProblemState.CONFIRMED, RULES, said=Said(name, "2026-07-01"))
    for day in ("", "yesterday", "2026-02-30", "2026-07-01T08:00:00"):
        with pytest.raises(LedgerError, match="DATE_AMBIGUOUS"):
            move(ledger, "P1", ProblemState.CONFIRMED, RULES, said=Said("王审", day))


@pytest.mark.parametrize("passed", [None, False])
def test_a_claim_is_not_checked_by_word_alone(ledger: Ledger, passed: bool | None) -> None:
    for state in (ProblemState.CONFIRMED, ProblemState.TO_RECTIFY, ProblemState.CLAIMED_DONE):
        ledger.commit([move(ledger, "P1", state, RULES, said=SAID, plan=PLAN)])
    evidence = Event(EventKind.CLAIM_CHECKED, "a", problem_id="P1", payload={"passed": passed}, at="2026-09-01")
    ledger.commit([evidence])
    with pytest.raises(LedgerError, match="NOT_CHECKED"):
        move(ledger, "P1", ProblemState.CHECKED, RULES, said=SAID)


def test_a_grouping_is_taken_apart_and_nothing_is_lost(ledger: Ledger) -> None:
    before = row(ledger)
    event = take_apart(ledger, "t1", "t3", RULES, said=SAID)
    assert ledger.commit([event]) == 1 and ledger.commit([event]) == 0
    kept, *others = ledger.rows("problem", "1 ORDER BY parents DESC")
    assert kept["problem_id"] == "P1" and len(others) == 1
    (part,) = others
    assert json.loads(part["parents"]) == ["P1"] and part["state"] == before["state"]
    owners = {r["patch_id"]: r["problem_id"] for r in ledger.rows("patch")}
    assert owners == {"t1": "P1", "t2": "P1", "t3": part["problem_id"]}
    assert kept["area_m2"] + part["area_m2"] == pytest.approx(before["area_m2"], abs=1)
    assert [tuple(r)[:2] for r in ledger.rows("apart")] == [("t1", "t3")]
    assert verify(ledger.path).findings == ()


def test_what_is_not_grouped_is_not_parted(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="PATCH_UNKNOWN"):
        take_apart(ledger, "t1", "t9", RULES, said=SAID)
    with pytest.raises(LedgerError, match="NOT_GROUPED"):
        take_apart(ledger, "t1", "t1", RULES, said=SAID)
    ledger.commit([take_apart(ledger, "t1", "t3", RULES, said=SAID)])
    with pytest.raises(LedgerError, match="NOT_GROUPED"):
        take_apart(ledger, "t1", "t3", RULES, said=SAID)
