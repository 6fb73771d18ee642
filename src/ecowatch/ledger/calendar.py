"""The assessment calendar: which areas are due in which period, and what is overdue. Dates in, units out; no ledger.

Grades and cadences are data (`settings.Programme`); only what "half a year" or "a cycle of five years" means stands here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Literal, NamedTuple

from ..codes import AreaGrade
from ..settings import Programme

UnitState = Literal["not_due", "due", "entered", "signed", "overdue"]
UNIT_STATES: tuple[UnitState, ...] = ("not_due", "due", "overdue", "entered", "signed")
"""A unit is *not due* while its period runs, then *due* up to and including the deadline, then *overdue*."""

_CYCLE_YEARS = {"three_years": 3, "five_years": 5}
_DAY = timedelta(days=1)
_NAME = re.compile(r"(?P<first>(?:19|20)\d\d)(?:H(?P<half>[12])|-(?P<last>(?:19|20)\d\d))?")


class Period(NamedTuple):
    """A stretch of the calendar with its name, first and last day (both included) and the day by which it is signed off."""

    name: str
    first: date
    last: date
    due: date


class AssessedArea(NamedTuple):
    """An area as the calendar sees it; periods that ended before `since` ask nothing of it."""

    area_id: str
    name: str
    grade: AreaGrade
    since: date | None = None


class Entered(NamedTuple):
    """A unit that the ledger holds: how much of the area was seen, and the number of its event."""

    observed_share: float
    seq: int = 0


class DueUnit(NamedTuple):
    """One area in one period of one programme, and how it stands.

    `observed_share` is None while nothing is entered; where two half years make up a year, it is the lesser of the two.
    """

    programme: str
    period: str
    area_id: str
    state: UnitState
    deadline: date
    observed_share: float | None
    name: str = ""
    optional: bool = False


def period_dates(name: str) -> tuple[date, date] | None:
    """Return first and last day of a period named 2026H1, 2026 or 2021-2025; None for any other name (a campaign)."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    year, half = int(found["first"]), found["half"]
    if half:
        return (date(year, 1, 1), date(year, 6, 30)) if half == "1" else (date(year, 7, 1), date(year, 12, 31))
    last = int(found["last"] or year)
    return (date(year, 1, 1), date(last, 12, 31)) if last >= year else None


def periods_of(programme: Programme, until: date, *, since: date | None = None) -> list[Period]:
    """Return the periods of a programme that have begun by `until`, oldest first.

    Half years and years are those of the calendar and must lie wholly between `first` and `last` of the programme. Cycles
    of three or five years follow each other from `first` on. A campaign is one period that bears the programme's name and
    ends with `last`, or a year after `first`.

    Parameters
    ----------
    programme
        Row of the calendar.
    until
        Periods that begin later are left out.
    since
        Periods that ended before it are left out. Where neither this nor the programme says when to begin, the list begins
        with the last period that ended before `until`: a calendar without a start must not ask for the last century.
    """
    start = programme.first or since or _former(programme, until)
    spans = [span for span in _spans(programme, start, until) if since is None or span[2] >= since]
    late = timedelta(days=programme.due_days)
    return [Period(name, first, last, last + late) for name, first, last in spans]


def _former(programme: Programme, until: date) -> date:
    """First day of the last half year or year that ended before `until`."""
    year = until.year
    if programme.every == "half_year":
        return date(year, 1, 1) if until.month > 6 else date(year - 1, 7, 1)
    return date(year - 1, 1, 1)


def _spans(programme: Programme, start: date, until: date) -> Iterator[tuple[str, date, date]]:
    every, end = programme.every, programme.last or date.max
    if every == "campaign":
        last = programme.last or _years_after(start, 1) - _DAY
        if start <= until:
            yield programme.name, start, last
        return
    spans = _cycles(start, _CYCLE_YEARS[every]) if every in _CYCLE_YEARS else _named(start, halves=every == "half_year")
    for name, first, last in spans:
        if first > until or last > end:
            return
        # The programme's own first day cuts; an area that came within a period is still assessed in it.
        if programme.first is None or first >= programme.first:
            yield name, first, last


def _named(start: date, *, halves: bool) -> Iterator[tuple[str, date, date]]:
    for year in range(start.year, date.max.year):
        for name in (f"{year}H1", f"{year}H2") if halves else (f"{year}",):
            dates = period_dates(name)
            if dates is not None and dates[1] >= start:
                yield name, *dates


def _cycles(start: date, years: int) -> Iterator[tuple[str, date, date]]:
    for n in range((date.max.year - start.year) // years):
        first, last = _years_after(start, n * years), _years_after(start, (n + 1) * years) - _DAY
        yield f"{first.year}-{last.year}", first, last


def _years_after(day: date, years: int) -> date:
    """The same day some years later; 1 March for a 29 February that is none."""
    try:
        return day.replace(year=day.year + years)
    except ValueError:
        return date(day.year + years, 3, 1)


def due_units(
    programmes: Sequence[Programme],
    areas: Sequence[AssessedArea | tuple[str, str, AreaGrade]],
    entered: Mapping[tuple[str, str], Entered],
    signed: Mapping[str, int],
    as_of: date,
) -> list[DueUnit]:
    """Return every unit that the calendar asks for by `as_of`, the running periods included.

    A unit counts as entered when the ledger holds its area for a period of that name, or

    - for a year: both half years (a year seen in two halves was seen);
    - for a cycle of several years: the final twelve months of it, as a year or as half years, for its report is drawn
      from the last state of the ground; the years before do not stand in for it;
    - for a campaign: any period that shares at least half of the days of the shorter of the two.

    Parameters
    ----------
    programmes
        The calendar.
    areas
        The areas with their grade; without `since` they are asked for as `periods_of` says.
    entered
        What the ledger holds, by area and name of period.
    signed
        Name of a signed period to the number of the event that signed it. What was entered, or entered again, after
        it is not covered by that signature.
    as_of
        Civil date. On the deadline itself a unit is still due. An optional unit is never overdue.

    Returns
    -------
    list of DueUnit
        By deadline, period, programme and area.
    """
    held: defaultdict[str, list[tuple[date, date, Entered]]] = defaultdict(list)
    for (area_id, name), unit in entered.items():
        dates = period_dates(name)
        if dates is not None:
            held[area_id].append((*dates, unit))
    units = []
    for programme in programmes:
        for area in (AssessedArea(*a) for a in areas if a[2] == programme.grade):
            for period in periods_of(programme, as_of, since=area.since):
                exact = entered.get((area.area_id, period.name))
                found = exact or _standing_in(programme, period, held[area.area_id])
                units.append(_unit(programme, period, area, found, signed.get(period.name), as_of))
    return sorted(units, key=lambda u: (u.deadline, u.period, u.programme, u.area_id))


def _unit(
    programme: Programme, period: Period, area: AssessedArea, found: Entered | None, signed_seq: int | None, as_of: date
) -> DueUnit:
    state: UnitState
    if found is not None:
        state = "signed" if signed_seq is not None and signed_seq >= found.seq else "entered"
    elif as_of <= period.last:
        state = "not_due"
    else:
        state = "due" if as_of <= period.due or programme.optional else "overdue"
    share = None if found is None else found.observed_share
    return DueUnit(
        programme.name, period.name, area.area_id, state, period.due, share, area.name, optional=programme.optional
    )


def _standing_in(programme: Programme, period: Period, held: Sequence[tuple[date, date, Entered]]) -> Entered | None:
    """What was entered under other names but answers for the period."""
    if programme.every == "half_year":
        return None
    if programme.every == "campaign":
        return _joined([unit for first, last, unit in held if _mostly_common(first, last, period)])
    cursor = _years_after(period.last + _DAY, -1)
    parts: list[Entered] = []
    for first, last, unit in sorted(held):
        if first == cursor and last <= period.last:
            cursor = last + _DAY
            parts.append(unit)
    return _joined(parts) if cursor > period.last else None


def _joined(parts: Sequence[Entered]) -> Entered | None:
    return Entered(min(p.observed_share for p in parts), max(p.seq for p in parts)) if parts else None


def _mostly_common(first: date, last: date, period: Period) -> bool:
    common = (min(last, period.last) - max(first, period.first)).days + 1
    return 2 * common >= min((last - first).days, (period.last - period.first).days) + 1


def missing_units(units: Sequence[DueUnit], period: str) -> list[DueUnit]:
    """Return the units of a period that a sign-off has to wait for: not optional, and not entered."""
    return [u for u in units if u.period == period and not u.optional and u.state in ("not_due", "due", "overdue")]
