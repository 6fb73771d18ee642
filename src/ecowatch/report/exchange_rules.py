"""Which events of another node may enter: whose they are, whether they touch what is not theirs, whether they can be read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..areas.repair import hollow
from ..codes import ProblemState, VerdictKind, VerdictReason
from ..errors import EcowatchError
from ..ledger import MACHINE, Event, EventKind, Ledger, geometry_of
from ..ledger.schema import VIEWS
from ..ledger.views import project
from .exchange import HOME, Line

_SPOKEN = frozenset({EventKind.VERDICT_GIVEN, EventKind.STATE_MOVED})
_BROKEN = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, sqlite3.Error, EcowatchError)
# Lists of problems within a payload; the projection of such an event changes the rows of all of them.
_PROBLEM_LISTS = ("merged", "parts", "continuing", "not_observed_problems")
_PROBLEM_ROWS = ("items", "into")


class RefusedEvent(NamedTuple):
    """An event of a package that is not taken, and why."""

    event_id: str
    code: str
    finding: str


def is_spoken(event: Event) -> bool:
    """Return whether an event is a person's word on a problem; all else belongs to the node that enters the area."""
    return event.kind in _SPOKEN and event.actor != MACHINE


class Gate:
    """Looks at the events of one package in their order, against what the ledger holds.

    Parameters
    ----------
    ledger
        Of the receiver.
    owners
        Which node enters each area.
    sender
        Name of the node the package comes from.
    """

    def __init__(self, ledger: Ledger, owners: Mapping[str, str], sender: str) -> None:
        self._ledger = ledger
        self._owners = owners
        self._sender = sender
        self._area_of = {("problem", row["problem_id"]): row["area_id"] for row in ledger.rows("problem")}
        self._area_of |= {("patch", row["patch_id"]): row["area_id"] for row in ledger.rows("patch")}
        self._known = {name for kind, name in self._area_of if kind == "problem"}
        self._trial = sqlite3.connect(":memory:", isolation_level=None)
        self._trial.executescript(VIEWS)

    def close(self) -> None:
        """Let the trial views go."""
        self._trial.close()

    def holds(self, event_id: str) -> bool:
        """Return whether the ledger has an event already."""
        found = self._ledger.database.execute("SELECT 1 FROM event WHERE event_id = ?", (event_id,))
        return found.fetchone() is not None

    def passed(self, line: Line) -> Event | RefusedEvent:
        """Return the event of a line if it may enter, else why not."""
        event = line.event
        if event is None:
            return RefusedEvent(
                line.event_id[:64], "EVENT_INVALID", "it is of no known form, or not what it says it is"
            )
        refused = self._not_theirs(event) or self._unfit(event) or self._elsewhere(event)
        if refused is not None:
            return refused
        self._known |= set(_opened(event))
        return event

    def unknown_problem(self, event: Event) -> RefusedEvent | None:
        """Return why an event about a problem is refused if neither ledger nor package opens that problem."""
        needed = is_spoken(event) or event.problem_id
        if needed and event.problem_id not in self._known:
            finding = f"problem {event.problem_id[:80]!r} is not known here; an earlier package is missing"
            return RefusedEvent(event.event_id, "PROBLEM_UNKNOWN", finding)
        return None

    def _not_theirs(self, event: Event) -> RefusedEvent | None:
        if event.kind in HOME or not event.area_id:
            return RefusedEvent(event.event_id, "EVENT_KIND", f"{event.kind} does not travel")
        owner = self._owners.get(event.area_id, self._sender)
        if not is_spoken(event) and owner != self._sender:
            finding = f"{event.area_id} is entered by {owner}: {event.kind} is not taken from {self._sender}"
            return RefusedEvent(event.event_id, "AREA_OWNED", finding)
        return None

    def _elsewhere(self, event: Event) -> RefusedEvent | None:
        """Refuse what would change problems or patches of another area than its own."""
        names = set(_named(event))
        for name in sorted(names):
            area = self._area_of.get(name, event.area_id)
            if area != event.area_id:
                finding = f"{name[0]} {name[1]} belongs to {area}, not to {event.area_id}"
                return RefusedEvent(event.event_id, "AREA_OTHER", finding)
        self._area_of |= dict.fromkeys(names, event.area_id)
        return None

    def _unfit(self, event: Event) -> RefusedEvent | None:
        """Try an event on empty views: what cannot be projected there would stop the ledger's own transaction."""
        try:
            project(self._trial, 1, event)
            _check_codes(event)
            _check_geometries(event.payload)
            list(_named(event))
        except _BROKEN as error:
            finding = f"{event.kind}: {type(error).__name__} {error}"[:200]
            return RefusedEvent(event.event_id, "PAYLOAD_INVALID", finding)
        return None


def _opened(event: Event) -> Iterator[str]:
    if event.kind is EventKind.PROBLEM_OPENED:
        yield event.problem_id
    if event.kind is EventKind.GROUPING_UNDONE:
        yield from (part["problem_id"] for part in event.payload["into"])


def _named(event: Event) -> Iterator[tuple[str, str]]:
    """All problems and patches whose rows an event changes."""
    p = event.payload
    if event.problem_id:
        yield "problem", event.problem_id
    if event.patch_id:
        yield "patch", event.patch_id
    for key in _PROBLEM_LISTS:
        yield from (("problem", _text(name)) for name in p.get(key, ()))
    for key in _PROBLEM_ROWS:
        for row in p.get(key, ()):
            yield "problem", _text(row["problem_id"])
            yield from (("patch", _text(name)) for name in row.get("patches", ()))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no identity"[:80])
    return value


def _check_codes(event: Event) -> None:
    p = event.payload
    if event.kind is EventKind.STATE_MOVED:
        ProblemState.of(p["from"] or ProblemState.AUTO)
        ProblemState.of(p["to"])
    elif event.kind is EventKind.VERDICT_GIVEN:
        VerdictKind.of(p["verdict"])
        VerdictReason.of(p["reason"] or VerdictReason.NONE)
    elif event.kind is EventKind.PROBLEM_OPENED:
        ProblemState.of(p["state"])


def _check_geometries(value: Any) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("geometry", "line") and isinstance(inner, str) and inner:
                _check_geometry(name, inner)
            else:
                _check_geometries(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_geometries(inner)


def _check_geometry(name: str, text: str) -> None:
    try:
        geometry = geometry_of(bytes.fromhex(text))
    except Exception as error:
        raise ValueError(f"{name} is no geometry") from error
    if hollow(np.array([geometry], dtype=object))[0]:
        raise ValueError(f"{name} lists a part or a ring that it does not draw")
