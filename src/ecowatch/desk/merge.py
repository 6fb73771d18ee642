"""Verdicts of several reviewers brought together: all are kept, none overwrites another, and a problem moves where they agree.

A verdict is *current* if it was given on the problem as it now is: no event that the program concluded from images has come
between what the reviewer saw and what the ledger holds. Of each reviewer the latest counts. Where current reviewers differ,
or a verdict was given on an earlier state of things, that is a conflict: both stand as events, the state stays, and an
arbiter, by name, settles it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ..codes import ProblemState, VerdictKind, VerdictReason
from ..errors import LedgerError
from ..ledger import Event, EventKind, Ledger, moves, transition_allowed
from .review_log import Copy, LogRow, Refused, instant_of, reviewer_name, statement_time

SEEN = frozenset(
    {
        EventKind.PROBLEM_OPENED,
        EventKind.PROBLEM_SEEN,
        EventKind.PROBLEMS_MERGED,
        EventKind.PROBLEM_SPLIT,
        EventKind.PROBLEM_WITHDRAWN,
        EventKind.GROUPING_UNDONE,
        EventKind.CLAIM_CHECKED,
    }
)
"""Kinds of event that change what a reviewer looks at."""


class Opinion(NamedTuple):
    """The latest word of one reviewer on a problem; `stale` if he saw an earlier state of it."""

    event_id: str
    reviewer: str
    verdict: VerdictKind
    activity_code: str
    at: str
    stale: bool


class Conflict(NamedTuple):
    """What reviewers do not agree on: ``VERDICTS_DIFFER``, ``VERDICT_STALE`` or ``VALUES_DIFFER``."""

    problem_id: str
    code: str
    finding: str


class Merged(NamedTuple):
    """What an import did: events added, problems moved, rows set aside, conflicts that are open."""

    added: int
    moved: tuple[str, ...]
    refused: tuple[Refused, ...]
    conflicts: tuple[Conflict, ...]


def opinions(events: Sequence[Event]) -> tuple[Opinion, ...]:
    """Return what each reviewer now says of a problem.

    Parameters
    ----------
    events
        All events of one problem in the order of the ledger.

    Returns
    -------
    tuple
        One opinion per reviewer, by name; verdicts from before the last machine event, and those that an arbiter has
        settled, are history and do not count.
    """
    last = max((n for n, event in enumerate(events) if event.kind in SEEN), default=-1)
    seen = events[last].event_id if last >= 0 else ""
    given = [event for event in events[last + 1 :] if event.kind is EventKind.VERDICT_GIVEN]
    settled = {event_id for event in given for event_id in event.payload.get("settles", ())}
    latest: dict[str, Opinion] = {}
    for event in sorted(given, key=_given_at):
        if event.event_id not in settled:
            latest[event.actor] = _opinion(event, seen)
    return tuple(latest[name] for name in sorted(latest))


def _given_at(event: Event) -> tuple[datetime, str]:
    return instant_of(event.at) or datetime.min.replace(tzinfo=UTC), event.event_id


def _opinion(event: Event, seen: str) -> Opinion:
    p = event.payload
    stale = p.get("seen", seen) != seen
    return Opinion(
        event.event_id, event.actor, VerdictKind.of(p["verdict"]), p.get("activity_code") or "", event.at, stale
    )


def conflicts_of(problem_id: str, held: Sequence[Opinion], *, gone: bool = False) -> tuple[Conflict, ...]:
    """Return what the reviewers of a problem do not agree on.

    Parameters
    ----------
    problem_id
        The problem.
    held
        Its opinions.
    gone
        It has been merged into another or withdrawn: whatever is said of it was said of something else.
    """
    stale = [o for o in held if o.stale or gone]
    current = [o for o in held if not (o.stale or gone)]
    found = []
    if stale:
        found.append(Conflict(problem_id, "VERDICT_STALE", f"given on an earlier state of it: {_told(stale)}"))
    if len({o.verdict for o in current}) > 1:
        found.append(Conflict(problem_id, "VERDICTS_DIFFER", _told(current)))
    values = sorted({(o.activity_code, o.reviewer) for o in current if o.activity_code})
    if len({code for code, _ in values}) > 1:
        told = "; ".join(f"{name}: {code}" for code, name in values)
        found.append(Conflict(problem_id, "VALUES_DIFFER", f"activity {told}"))
    return tuple(found)


def _told(held: Iterable[Opinion]) -> str:
    return "; ".join(f"{o.reviewer}: {o.verdict} ({o.at})" for o in held)


def agreed_move(problem: Mapping[str, Any] | sqlite3.Row, events: Sequence[Event]) -> Event | None:
    """Return the move on which all current reviewers of a problem agree, or None.

    Parameters
    ----------
    problem
        Its row, as it stood before any of the `events` that are not in the ledger yet.
    events
        All its events, those about to be entered included.
    """
    held = [o for o in opinions(events) if not o.stale]
    if problem["merged_into"] or problem["withdrawn"] or len({o.verdict for o in held}) != 1:
        return None
    state = ProblemState.of(problem["state"])
    verdict = held[0].verdict
    # An arbiter speaks of the problem as it stands; a second reader repeats what the first has moved already.
    start = state if _is_ruling(events[-1]) else _round_start(events, state)
    target = moves(start, verdict)
    if target is None or target is state:
        return None
    if not transition_allowed(state, target):
        target = moves(state, verdict)
        if target is None:
            return None
    last = max(held, key=lambda o: (instant_of(o.at) or datetime.min.replace(tzinfo=UTC), o.event_id))
    payload = {
        "from": state,
        "to": target,
        "reason": f"verdict:{verdict}",
        "verdicts": sorted(o.event_id for o in held),
    }
    where = {"area_id": problem["area_id"], "problem_id": problem["problem_id"]}
    return Event(EventKind.STATE_MOVED, **where, payload=payload, actor=last.reviewer, at=last.at)


def _round_start(events: Sequence[Event], state: ProblemState) -> ProblemState:
    """The state before the first move that this round of reading made: a second reader who agrees moves nothing further."""
    last = max((n for n, event in enumerate(events) if event.kind in SEEN), default=-1)
    made = [e for e in events[last + 1 :] if e.kind is EventKind.STATE_MOVED]
    by_verdict: list[Event] = []
    for event in made:
        # A step that somebody took otherwise ends the round.
        by_verdict = [*by_verdict, event] if "verdicts" in event.payload else []
    return ProblemState.of(by_verdict[0].payload["from"]) if by_verdict else state


def import_copies(ledger: Ledger, copies: Sequence[Copy]) -> Merged:
    """Enter the verdicts of working copies and the moves they agree on, in one transaction.

    The order of the copies does not matter, and a second import adds nothing.

    Parameters
    ----------
    ledger
        Open for writing.
    copies
        As read by `review_log.read_copy`.
    """
    refused = [r for copy in copies for r in copy.refused] + list(_twice(copies))
    doubtful = {r.where for r in refused}
    given: dict[str, Event] = {}
    for copy in copies:
        for row in copy.rows:
            if row.where in doubtful:
                continue
            try:
                event = _verdict_event(ledger, copy, row)
            except LedgerError as bad:
                refused.append(Refused(row.where, bad.code, bad.finding, bad.remedy))
            else:
                given[event.event_id] = event
    moved, added = _entered(ledger, sorted(given.values(), key=_given_at))
    conflicts = open_conflicts(ledger, sorted({event.problem_id for event in given.values()}))
    return Merged(added, moved, tuple(sorted(refused)), conflicts)


def _twice(copies: Sequence[Copy]) -> Iterator[Refused]:
    """Rows of one identity and unlike content: one of them was changed outside the log's guards."""
    content: dict[str, LogRow] = {}
    for row in (row for copy in copies for row in copy.rows):
        if not row.log_uid:
            continue
        first = content.setdefault(row.log_uid, row)
        if first[2:] != row[2:]:
            finding = f"log_uid {row.log_uid} stands for another verdict in {first.where}"
            for where in (first.where, row.where):
                yield Refused(where, "LOG_UID_TWICE", finding, "ask the reviewer which of them is his")


def _verdict_event(ledger: Ledger, copy: Copy, row: LogRow) -> Event:
    found = ledger.rows("problem", "problem_id = ?", (row.problem_id,))
    if not found:
        raise LedgerError("PROBLEM_UNKNOWN", row.where, f"no problem {row.problem_id[:80]!r}", "correct problem_id")
    if row.patch_id and not ledger.rows("patch", "patch_id = ? AND problem_id = ?", (row.patch_id, row.problem_id)):
        finding = f"problem {row.problem_id} has no patch {row.patch_id[:80]!r}"
        raise LedgerError("PATCH_UNKNOWN", row.where, finding, "correct patch_id, or leave it empty")
    payload: dict[str, Any] = {"verdict": row.verdict, "reason": row.reason, "note": row.note}
    payload["seen"] = _last_seen(ledger, row.problem_id, copy.head_seq)
    if row.activity_code:
        payload["activity_code"] = row.activity_code
    if row.area_m2 is not None:
        payload["area_m2"] = row.area_m2
    place = {"area_id": found[0]["area_id"], "period": copy.period}
    place |= {"problem_id": row.problem_id, "patch_id": row.patch_id}
    return Event(EventKind.VERDICT_GIVEN, **place, payload=payload, actor=row.reviewer, at=row.at)


def _last_seen(ledger: Ledger, problem_id: str, head_seq: int) -> str:
    """Identity of the machine's last word on a problem at the head of a copy; the same in every ledger that holds it."""
    before = [e for e in ledger.events("problem_id = ? AND seq <= ?", (problem_id, head_seq)) if e.kind in SEEN]
    return before[-1].event_id if before else ""


def _entered(ledger: Ledger, given: Sequence[Event]) -> tuple[tuple[str, ...], int]:
    new: dict[str, list[Event]] = {}
    held: dict[str, list[Event]] = {}
    for event in given:
        known = held.setdefault(event.problem_id, ledger.events("problem_id = ?", (event.problem_id,)))
        if all(event.event_id != other.event_id for other in known):
            new.setdefault(event.problem_id, []).append(event)
    moved = []
    for problem_id in sorted(new):
        row = ledger.rows("problem", "problem_id = ?", (problem_id,))[0]
        move = agreed_move(row, [*held[problem_id], *new[problem_id]])
        moved += [move] if move else []
    verdicts = sorted((e for events in new.values() for e in events), key=_given_at)
    added = ledger.commit([*verdicts, *moved])
    return tuple(event.problem_id for event in moved), added


def open_conflicts(ledger: Ledger, problem_ids: Iterable[str] | None = None) -> tuple[Conflict, ...]:
    """Return the conflicts that are open, of some problems or of all that have a verdict."""
    if problem_ids is None:
        problem_ids = sorted({row["problem_id"] for row in ledger.rows("verdict")})
    found: list[Conflict] = []
    for problem_id in problem_ids:
        rows = ledger.rows("problem", "problem_id = ?", (problem_id,))
        gone = bool(rows and (rows[0]["merged_into"] or rows[0]["withdrawn"]))
        found += conflicts_of(problem_id, opinions(ledger.events("problem_id = ?", (problem_id,))), gone=gone)
    return tuple(found)


class Ruling(NamedTuple):
    """What an arbiter decides: verdict, coded reason, his name, when, and a note."""

    verdict: VerdictKind
    reason: VerdictReason
    by: str
    at: str
    note: str = ""


def resolve(ledger: Ledger, problem_id: str, ruling: Ruling) -> Merged:
    """Settle what reviewers did not agree on; their verdicts stay in the ledger as they are.

    Parameters
    ----------
    ledger
        Open for writing.
    problem_id
        The problem.
    ruling
        The arbiter's word.

    Raises
    ------
    LedgerError
        ``PROBLEM_UNKNOWN``, ``REVIEWER_MISSING`` or ``TIME_INVALID``.
    """
    rows = ledger.rows("problem", "problem_id = ?", (problem_id,))
    if not rows:
        raise LedgerError("PROBLEM_UNKNOWN", problem_id, "the ledger has no such problem", "correct the identity")
    events = ledger.events("problem_id = ?", (problem_id,))
    event = _ruling_event(rows[0], events, ruling)
    if any(event.event_id == other.event_id for other in events):
        return Merged(0, (), (), open_conflicts(ledger, [problem_id]))
    move = agreed_move(rows[0], [*events, event])
    added = ledger.commit([event, *([move] if move else [])])
    return Merged(added, (problem_id,) if move else (), (), open_conflicts(ledger, [problem_id]))


def _ruling_event(problem: sqlite3.Row, events: Sequence[Event], ruling: Ruling) -> Event:
    by, at = reviewer_name(ruling.by), statement_time(ruling.at)
    settles = _settled_by(events, by, at)
    seen = next((e.event_id for e in reversed(events) if e.kind in SEEN), "")
    payload = {
        "verdict": ruling.verdict,
        "reason": ruling.reason,
        "note": ruling.note,
        "seen": seen,
        "settles": settles,
    }
    place = {"area_id": problem["area_id"], "period": problem["last_period"], "problem_id": problem["problem_id"]}
    return Event(EventKind.VERDICT_GIVEN, **place, payload=payload, actor=by, at=at)


def _settled_by(events: Sequence[Event], by: str, at: str) -> list[str]:
    """All that was said since the machine's last word, but not the arbiter's own ruling where it is given again."""
    last = max((n for n, event in enumerate(events) if event.kind in SEEN), default=-1)
    own = next((n for n, e in enumerate(events) if n > last and _is_ruling(e) and (e.actor, e.at) == (by, at)), None)
    given = events[last + 1 : own]
    return sorted(e.event_id for e in given if e.kind is EventKind.VERDICT_GIVEN)


def _is_ruling(event: Event) -> bool:
    return event.kind is EventKind.VERDICT_GIVEN and "settles" in event.payload
