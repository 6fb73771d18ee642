"""An event of the ledger: what happened, to what, said by whom; its identity is its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

MACHINE = "ecowatch"
"""Actor of all events that the program itself concludes from images."""


class EventKind(StrEnum):
    """What can happen; each kind's payload is told in ``docs/ledger.md``."""

    UNIT_ENTERED = "unit_entered"
    PATCH_FOUND = "patch_found"
    PROBLEM_OPENED = "problem_opened"
    PROBLEM_SEEN = "problem_seen"
    PROBLEMS_MERGED = "problems_merged"
    PROBLEM_SPLIT = "problem_split"
    PROBLEM_WITHDRAWN = "problem_withdrawn"
    GROUPING_UNDONE = "grouping_undone"
    AREA_VERSIONED = "area_versioned"
    BASELINE_FROZEN = "baseline_frozen"
    VERDICT_GIVEN = "verdict_given"
    STATE_MOVED = "state_moved"
    CLAIM_CHECKED = "claim_checked"
    PERIOD_SIGNED = "period_signed"
    CLUE_HANDED_OVER = "clue_handed_over"
    CLUE_RECEIVED = "clue_received"
    PACKAGE_RECEIVED = "package_received"


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Parameters
    ----------
    kind
        What.
    area_id, period, problem_id, patch_id
        What it is about; empty where it is about none.
    payload
        Its facts; plain JSON values, geometries as hexadecimal WKB in CGCS2000 (`geometry_text`).
    actor
        Who says so: `MACHINE`, or the name of a person.
    at
        ISO date or instant that belongs to the statement: for images the last date compared, for a person's word when it
        was given. Never the clock of the machine that enters it, else the same work done twice would differ.
    """

    kind: EventKind
    area_id: str = ""
    period: str = ""
    problem_id: str = ""
    patch_id: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict)
    actor: str = MACHINE
    at: str = ""

    @cached_property
    def payload_text(self) -> str:
        """The payload as canonical JSON."""
        return canonical(self.payload)

    @cached_property
    def event_id(self) -> str:
        """SHA-256 of the content: the same event entered twice is one row."""
        parts = [self.kind, self.area_id, self.period, self.problem_id, self.patch_id, self.payload_text]
        return digest_of([*parts, self.actor, self.at])


def canonical(value: Any) -> str:
    """Return JSON with sorted keys and no spaces; NaN is refused.

    Raises
    ------
    ValueError
        For NaN or infinity: they are no JSON.
    """
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(value: Any) -> str:
    """Return the SHA-256, in hexadecimal, of a value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def chained(previous: str, event_id: str) -> str:
    """Return the hash of an event in the chain: of the hash before it and of its own identity."""
    return hashlib.sha256(f"{previous}{event_id}".encode()).hexdigest()
