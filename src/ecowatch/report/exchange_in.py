"""What a node takes from another's package, what it refuses, and who has the last word where both moved one problem.

What the program concluded from images about an area belongs to the node that enters that area: nobody else's is taken. What
people said is a union: it is all kept. Where two nodes moved a problem differently, both moves stay in the ledger, and the
statement of the superior node holds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any, NamedTuple

from ..codes import ChangeKind, ProblemState
from ..ledger import Event, EventKind, Ledger
from .exchange import Node, Package
from .exchange_rules import Gate, RefusedEvent, is_spoken


class Difference(NamedTuple):
    """A problem that two nodes moved differently: where each left it, and which of them holds."""

    problem_id: str
    here: str
    there: str
    holds: str
    by: str


class Taken(NamedTuple):
    """What an import did."""

    accepted: int
    duplicates: int
    refused: tuple[RefusedEvent, ...]
    differences: tuple[Difference, ...]


class _Sorted(NamedTuple):
    accepted: list[Event]
    duplicates: int
    refused: list[RefusedEvent]


def owners(ledger: Ledger, node: str) -> dict[str, str]:
    """Return which node enters each area, as far as this ledger knows."""
    found = {row["area_id"]: node for row in ledger.rows("unit")}
    for event in ledger.events("kind = ?", (EventKind.PACKAGE_RECEIVED,)):
        if event.actor != node:
            found |= dict.fromkeys(event.payload.get("areas", ()), event.actor)
    return found


def take_package(ledger: Ledger, package: Package, *, node: Node) -> Taken:
    """Enter what may be taken of a package, in one transaction; a second time nothing is added.

    Parameters
    ----------
    ledger
        Open for writing.
    package
        As read by `exchange.read_package`.
    node
        This node.
    """
    sorted_ = _sorted(ledger, package, node)
    differences, restated = _differences(ledger, sorted_.accepted, package, node)
    record = _record(package, sorted_, len(differences))
    ledger.commit([*sorted_.accepted, *restated, *record])
    return Taken(len(sorted_.accepted), sorted_.duplicates, tuple(sorted_.refused), differences)


def _sorted(ledger: Ledger, package: Package, node: Node) -> _Sorted:
    result = _Sorted([], 0, [])
    duplicates = 0
    seen: set[str] = set()
    fit: list[Event] = []
    with closing(Gate(ledger, owners(ledger, node.name), package.sender.name)) as gate:
        for line in package.lines:
            if line.event_id in seen or gate.holds(line.event_id):
                duplicates += 1
                continue
            seen.add(line.event_id)
            taken = gate.passed(line)
            if isinstance(taken, RefusedEvent):
                result.refused.append(taken)
            else:
                fit.append(taken)
        for event in fit:
            # A patch may stand before the event that opens its problem: what is known is asked when all is read.
            unknown = gate.unknown_problem(event)
            if unknown is None:
                result.accepted.append(event)
            else:
                result.refused.append(unknown)
    return result._replace(duplicates=duplicates)


def precedence(node: Node) -> tuple[int, bool, str]:
    """Return what nodes are ordered by, the superior first; a rank that a node gives itself never passes ``national``."""
    return node.rank, node.name != "national", node.name


def _differences(
    ledger: Ledger, accepted: Sequence[Event], package: Package, node: Node
) -> tuple[tuple[Difference, ...], list[Event]]:
    by_problem: dict[str, list[Event]] = {}
    for event in accepted:
        by_problem.setdefault(event.problem_id, []).append(event)
    found, restated = [], []
    for problem_id, events in sorted(by_problem.items()):
        rows = ledger.rows("problem", "problem_id = ?", (problem_id,))
        there = _there(rows[0]["state"], events) if rows else None
        if there is None:
            continue
        here = rows[0]["state"]
        superior = min((package.sender, node), key=precedence)
        holds = there if superior == package.sender else here
        found.append(Difference(problem_id, here, there, holds, superior.name))
        if superior == node:
            restated.append(_restated(rows[0], there, events, node, package.manifest["as_of"]))
    return tuple(found), restated


def _there(here: str, events: Sequence[Event]) -> str | None:
    """Where the sender left a problem, if it moved it from another state than it has here, and to another one."""
    moved = [e for e in events if e.kind is EventKind.STATE_MOVED]
    if not moved or moved[-1].payload["to"] == here:
        return None
    state = here
    for event in events:
        if event.kind is EventKind.PROBLEM_SEEN and event.payload["change_code"] == ChangeKind.RELAPSED:
            state = str(ProblemState.RELAPSED)
        elif event.kind is EventKind.STATE_MOVED:
            if event.payload["from"] != state:
                return str(moved[-1].payload["to"])
            state = event.payload["to"]
    return None


def _restated(row: sqlite3.Row, there: str, events: Sequence[Event], node: Node, at: str) -> Event:
    over = sorted(e.event_id for e in events if e.kind is EventKind.STATE_MOVED)
    payload = {"from": there, "to": row["state"], "reason": f"statement of {node.name} holds", "over": over}
    payload |= {name: row[name] for name in ("responsible", "deadline", "rectification") if row[name]}
    return Event(EventKind.STATE_MOVED, row["area_id"], "", row["problem_id"], payload=payload, actor=node.name, at=at)


def _record(package: Package, sorted_: _Sorted, differences: int) -> list[Event]:
    # What brings nothing new leaves no trace but its receipt: else two nodes could exchange records for ever.
    if not sorted_.accepted:
        return []
    areas = sorted({event.area_id for event in sorted_.accepted if not is_spoken(event)})
    told = {"refused": len(sorted_.refused), "differences": differences}
    payload: dict[str, Any] = {"package_id": package.package_id, "events": len(sorted_.accepted), "areas": areas}
    payload |= {"receipt": told}
    actor, at = package.sender.name, package.manifest["as_of"]
    return [Event(EventKind.PACKAGE_RECEIVED, payload=payload, actor=actor, at=at)]
