"""How the ledger stands against the calendar: units due, counts of problems, and the sign-off of a period."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

from ..codes import ChangeKind, ProblemState
from ..errors import LedgerError
from ..settings import LedgerSettings
from .calendar import UNIT_STATES, AssessedArea, DueUnit, Entered, due_units, missing_units, period_dates
from .casework import checked_name
from .event import Event, EventKind
from .lifecycle import OWING, SETTLED
from .store import Head, Ledger


class Counts(NamedTuple):
    """Counts of a ledger on a day.

    Parameters
    ----------
    units
        Units of the calendar by state.
    problems
        Problems by state, without those withdrawn or merged into others.
    open
        Problems that are neither settled, withdrawn nor merged.
    overdue
        Problems whose deadline has passed while rectification is owed, by responsible unit ('' where none is named).
    relapsed
        Problems in the state *relapsed*.
    not_observed
        Open problems of which the last period could say nothing: not seen, which is not unchanged.
    head
        Last event of the ledger.
    """

    units: dict[str, int]
    problems: dict[str, int]
    open: int
    overdue: dict[str, int]
    relapsed: int
    not_observed: int
    head: Head


def assessed_areas(ledger: Ledger | None, settings: LedgerSettings) -> list[AssessedArea]:
    """Return the areas of the ledger and those the settings name, with the grade the settings give them.

    Parameters
    ----------
    ledger
        None where there is none yet: then only the areas named in the settings are known.
    settings
        For the grades.

    Returns
    -------
    list of AssessedArea
        By identity. An area is asked for since its first boundary, or its first period entered where that is earlier; one
        that is only named in the settings has no beginning.
    """
    found = {area: AssessedArea(area, area, entry.grade) for entry in settings.graded for area in entry.areas}
    # An area that is listed twice is of the first grade, as `grade_of` says.
    found |= {area: known._replace(grade=settings.grade_of(area, "")) for area, known in found.items()}
    if ledger is None:
        return [found[area] for area in sorted(found)]
    for row in ledger.rows("area_version", "1 ORDER BY valid_from, seq"):
        area_id, since = row["area_id"], date.fromisoformat(row["valid_from"])
        known = found.get(area_id)
        if known is not None and known.since is not None:
            since = min(since, known.since)
        found[area_id] = AssessedArea(area_id, row["name"], settings.grade_of(area_id, row["kind"]), since)
    for row in ledger.rows("unit", "1 ORDER BY area_id, period"):
        dates, known = period_dates(row["period"]), found.get(row["area_id"])
        if dates is not None and known is not None and known.since is not None:
            found[row["area_id"]] = known._replace(since=min(known.since, dates[0]))
    return [found[area] for area in sorted(found)]


def units_of(ledger: Ledger | None, settings: LedgerSettings, as_of: date) -> list[DueUnit]:
    """Return the units the calendar asks for by `as_of`, and how each stands in the ledger; see `due_units`."""
    entered, signed = {}, {}
    if ledger is not None:
        entered = {(r["area_id"], r["period"]): Entered(r["observed_share"], r["seq"]) for r in ledger.rows("unit")}
        signed = {r["period"]: int(r["seq"]) for r in ledger.rows("signed")}
    return due_units(settings.calendar, assessed_areas(ledger, settings), entered, signed, as_of)


def counts_of(ledger: Ledger, settings: LedgerSettings, as_of: date) -> Counts:
    """Return the counts of a ledger on a day; the deadline itself is not yet overdue."""
    states = Counter(unit.state for unit in units_of(ledger, settings, as_of))
    problems = ledger.rows("problem", "withdrawn = 0 AND merged_into = ''")
    by_state = Counter(row["state"] for row in problems)
    unsettled = [row for row in problems if row["state"] not in SETTLED]
    late = [row for row in unsettled if row["state"] in OWING and "" < row["deadline"] < as_of.isoformat()]
    return Counts(
        units={state: states[state] for state in UNIT_STATES},
        problems={str(state): by_state[state] for state in ProblemState if by_state[state]},
        open=len(unsettled),
        overdue=dict(sorted(Counter(row["responsible"] for row in late).items())),
        relapsed=by_state[ProblemState.RELAPSED],
        not_observed=sum(row["last_change"] == ChangeKind.NOT_OBSERVED for row in unsettled),
        head=ledger.head,
    )


def sign_off(
    ledger: Ledger, settings: LedgerSettings, period: str, *, by: str, at: date, despite: str = ""
) -> Event | None:
    """Return the event that signs a period off, or None where it is signed already and nothing came in since.

    The event names the head of the ledger: it tells what was signed, and `due_units` sees what came later.

    Parameters
    ----------
    ledger, settings
        What is signed, and by which calendar.
    period
        Name of a period, cycle or campaign.
    by
        Name of the person who signs.
    at
        Civil date of the signature.
    despite
        Why it is signed although units are missing; they are recorded beside it, and stay due or overdue.

    Raises
    ------
    LedgerError
        ``NAME_MISSING``, ``PERIOD_UNKNOWN``, ``PERIOD_RUNNING`` or ``PERIOD_INCOMPLETE`` with the units missing.
    """
    name = checked_name(by)
    units = units_of(ledger, settings, at)
    asked = [unit for unit in units if unit.period == period]
    _check_period(period, asked, units)
    missing = missing_units(units, period)
    if missing and not despite.strip():
        listed = ", ".join(f"{u.area_id} ({u.programme})" for u in missing)
        raise LedgerError(
            "PERIOD_INCOMPLETE", period, f"{len(missing)} of {len(asked)} units are not entered: {listed}",
            "enter them, or give the reason: --despite REASON",
        )  # fmt: skip
    left_out = [[u.programme, u.area_id] for u in missing]
    if _signed_already(ledger, period, asked, left_out):
        return None
    payload: dict[str, Any] = {"head": ledger.head.hash, "programme": sorted({u.programme for u in asked})}
    payload |= {"missing": left_out, "despite": despite.strip() if missing else ""}
    return Event(EventKind.PERIOD_SIGNED, period=period, payload=payload, actor=name, at=at.isoformat())


def _check_period(period: str, asked: Sequence[DueUnit], units: Sequence[DueUnit]) -> None:
    if not asked:
        known = ", ".join(sorted({unit.period for unit in units})) or "none: no area is of a grade in the calendar"
        raise LedgerError("PERIOD_UNKNOWN", period, "the calendar has no unit of this period", f"known: {known}")
    if any(unit.state == "not_due" for unit in asked):
        raise LedgerError("PERIOD_RUNNING", period, "it has not ended", "sign it off after its last day")


def _signed_already(ledger: Ledger, period: str, asked: Sequence[DueUnit], left_out: list[list[str]]) -> bool:
    if any(unit.state == "entered" for unit in asked):
        return False
    former = ledger.events("kind = ? AND period = ?", (str(EventKind.PERIOD_SIGNED), period))
    return bool(former) and former[-1].payload.get("missing", []) == left_out
