"""What people do to a problem: move it along its life, and take a grouping apart; each word is an event with a name."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from ..codes import ChangeKind, ProblemState, Rectification
from ..errors import LedgerError
from ..grid import geodesic_area_m2, transformed
from ..settings import LedgerSettings
from .event import Event, EventKind, digest_of
from .geometry import LEDGER_CRS, geometry_of, geometry_text, metric_crs
from .grouping import near_edges, regrouped
from .lifecycle import OWING, check_transition
from .store import Ledger


def problem_row(ledger: Ledger, problem_id: str) -> sqlite3.Row:
    """Return the present row of a problem.

    Raises
    ------
    LedgerError
        ``PROBLEM_UNKNOWN``.
    """
    rows = ledger.rows("problem", "problem_id = ?", (problem_id,))
    if not rows:
        raise LedgerError(
            "PROBLEM_UNKNOWN", problem_id, "the ledger holds no such problem", "'ecowatch problem list' lists them"
        )
    return rows[0]


def checked_instant(text: str) -> str:
    """Return an ISO date or an instant with its zone as it was given.

    Raises
    ------
    LedgerError
        ``DATE_AMBIGUOUS`` for any other text.
    """
    try:
        if len(text) == len("2026-01-01"):
            date.fromisoformat(text)
            return text
        if datetime.fromisoformat(text).tzinfo is not None:
            return text
    except ValueError:
        pass
    raise LedgerError(
        "DATE_AMBIGUOUS", text or "''", "it is no date and no instant with a zone", "write 2026-07-01 or …T08:00+08:00"
    )


def checked_name(text: str) -> str:
    """Return the trimmed name of whoever speaks.

    Raises
    ------
    LedgerError
        ``NAME_MISSING`` where it is empty, or that of the program itself.
    """
    name = text.strip()
    if not name or name == "ecowatch":
        raise LedgerError("NAME_MISSING", "by", "each word in the ledger carries the name of a person", "--by NAME")
    return name


class Said(NamedTuple):
    """Who says something, when (ISO date, or instant with a zone), and why."""

    by: str
    at: str
    reason: str = ""


class CasePlan(NamedTuple):
    """What a rectification needs: the unit that must act, the date by which, the kind of plan; None leaves it as it was."""

    responsible: str | None = None
    deadline: str | None = None
    rectification: Rectification | None = None


def move(
    ledger: Ledger,
    problem_id: str,
    target: ProblemState,
    rules: LedgerSettings,
    *,
    said: Said,
    plan: CasePlan = CasePlan(),  # noqa: B008 - a frozen value
) -> Event:
    """Return the event that moves a problem to a state.

    Parameters
    ----------
    ledger, problem_id
        Which.
    target
        State to move to.
    rules
        Default deadline.
    said
        Who says so, when and why.
    plan
        Of the rectification.

    Raises
    ------
    LedgerError
        ``PROBLEM_UNKNOWN``, ``TRANSITION``, ``NAME_MISSING``, ``DATE_AMBIGUOUS``; ``NO_PLAN`` where a rectification has no
        kind or nobody responsible; ``NOT_CHECKED`` where images do not bear a claim out; ``MERGED``.
    """
    row = problem_row(ledger, problem_id)
    if row["merged_into"]:
        raise LedgerError("MERGED", problem_id, f"it was merged into {row['merged_into']}", "move that one")
    check_transition(problem_id, ProblemState.of(row["state"]), target)
    if target is ProblemState.CHECKED and json.loads(row["evidence"]).get("passed") is not True:
        raise LedgerError("NOT_CHECKED", problem_id, "no image bears the claim out", "'ecowatch claim check' looks")
    payload = {"from": row["state"], "to": str(target), "reason": said.reason} | _planned(
        row, target, plan, said, rules
    )
    return Event(
        EventKind.STATE_MOVED,
        row["area_id"],
        problem_id=problem_id,
        payload=payload,
        actor=checked_name(said.by),
        at=checked_instant(said.at),
    )


def _planned(
    row: sqlite3.Row, target: ProblemState, plan: CasePlan, said: Said, rules: LedgerSettings
) -> dict[str, str]:
    given = {"responsible": plan.responsible, "rectification": plan.rectification and str(plan.rectification)}
    if target in OWING:
        given["deadline"] = _deadline(row, plan.deadline, checked_instant(said.at), rules)
        if not (plan.responsible or row["responsible"]) or not (plan.rectification or row["rectification"]):
            remedy = "--responsible UNIT --rectification exit|remediate|restore"
            raise LedgerError("NO_PLAN", row["problem_id"], "a rectification needs a unit and a kind of plan", remedy)
    elif plan.deadline is not None:
        given["deadline"] = checked_instant(plan.deadline)
    return {name: value for name, value in given.items() if value is not None}


def _deadline(row: sqlite3.Row, deadline: str | None, at: str, rules: LedgerSettings) -> str:
    if deadline is not None:
        return checked_instant(deadline)
    return row["deadline"] or (date.fromisoformat(at[:10]) + timedelta(days=rules.rectify_days)).isoformat()


def take_apart(ledger: Ledger, patch_a: str, patch_b: str, rules: LedgerSettings, *, said: Said) -> Event:
    """Return the event that undoes a grouping: two patches that were taken for one problem are two.

    The problem keeps its identity for the part with its first patch; the others become problems of their own, with it as
    their parent. The two are kept apart in every later period.

    Raises
    ------
    LedgerError
        ``PATCH_UNKNOWN``; ``NOT_GROUPED`` where they are of two problems already; ``NAME_MISSING``, ``DATE_AMBIGUOUS``.
    """
    problem_id = _common_problem(ledger, patch_a, patch_b)
    problem = problem_row(ledger, problem_id)
    members = ledger.rows("patch", "problem_id = ? AND direction = 'gain' ORDER BY after_date, patch_id", (problem_id,))
    shapes = {row["patch_id"]: geometry_of(row["geometry"]) for row in members}
    parts = _components(members, shapes, frozenset((patch_a, patch_b)), rules)
    into = [_part(problem, list(patches), shapes, first=number == 0) for number, patches in enumerate(parts)]
    return Event(
        EventKind.GROUPING_UNDONE,
        problem["area_id"],
        problem["last_period"],
        problem_id,
        payload={"patch_a": patch_a, "patch_b": patch_b, "reason": said.reason, "into": into},
        actor=checked_name(said.by),
        at=checked_instant(said.at),
    )


def _common_problem(ledger: Ledger, patch_a: str, patch_b: str) -> str:
    problems = []
    for patch in (patch_a, patch_b):
        found = ledger.rows("patch", "patch_id = ?", (patch,))
        if not found:
            remedy = "take one of the layer 'change'"
            raise LedgerError("PATCH_UNKNOWN", patch, "the ledger holds no such patch", remedy)
        problems.append(str(found[0]["problem_id"]))
    if not problems[0] or problems[0] != problems[1] or patch_a == patch_b:
        raise LedgerError("NOT_GROUPED", f"{patch_a}, {patch_b}", "they are not two of one problem", "nothing to undo")
    return problems[0]


def _components(
    members: Sequence[sqlite3.Row], shapes: Mapping[str, BaseGeometry], pair: frozenset[str], rules: LedgerSettings
) -> list[tuple[str, ...]]:
    ids = [row["patch_id"] for row in members]
    placed = shapely.geometrycollections(list(shapes.values()))
    flat = shapely.get_parts(transformed(placed, LEDGER_CRS, metric_crs(placed)))
    # Growth of several years is one site: only the ground tells what belongs together.
    days = np.zeros(len(ids), np.int64)
    edges = near_edges(ids, flat, days, join_m=rules.match.join_m, join_days=rules.match.join_days)
    return regrouped(ids, edges, [pair])


def _part(
    problem: sqlite3.Row, patches: list[str], shapes: Mapping[str, BaseGeometry], *, first: bool
) -> dict[str, object]:
    drawn = shapely.union_all([shapes[patch] for patch in patches])
    left = shapely.intersection(drawn, geometry_of(problem["geometry"]))
    kept = shapely.MultiPolygon([p for p in shapely.get_parts(left) if p.geom_type == "Polygon"])
    ground = drawn if kept.is_empty else kept
    own = problem["problem_id"]
    return {
        "problem_id": own if first else f"P{digest_of([own, sorted(patches)])[:12]}",
        "patches": sorted(patches),
        "geometry": geometry_text(ground),
        "area_m2": round(geodesic_area_m2(ground, LEDGER_CRS), 2),
        "activity_code": problem["activity_code"],
        "state": problem["state"],
        "stock": problem["stock"],
        "parents": [] if first else [own],
        "change_code": str(ChangeKind.CONTINUING),
    }
