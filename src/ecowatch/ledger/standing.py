"""What stood on the ground before a period, read from the views: the side of the ledger that a new period is matched to."""

from __future__ import annotations

from typing import NamedTuple

from shapely.geometry.base import BaseGeometry

from ..codes import ChangeKind, ProblemState
from .event import EventKind
from .geometry import geometry_of
from .match import Standing
from .run_folder import period_end
from .store import Ledger

_LIVE = "area_id = ? AND withdrawn = 0 ORDER BY problem_id"


class Past(NamedTuple):
    """The problems of an area as they stood before a period.

    Parameters
    ----------
    standing
        Problems by identity, without those that were withdrawn, or merged by another period.
    members
        Patches of each problem.
    touched
        Problems that an earlier issue of the period itself has spoken of.
    relapsed_now
        Those among them that stand as relapsed by that issue's word alone.
    """

    standing: dict[str, Standing]
    members: dict[str, tuple[str, ...]]
    touched: frozenset[str]
    relapsed_now: frozenset[str]


def standing_before(ledger: Ledger, area_id: str, period: str) -> Past:
    """Return the problems of an area as they stood before `period`.

    Parameters
    ----------
    ledger
        Open for reading or writing.
    area_id, period
        The unit that is about to be entered; what an earlier issue of it said is left out.
    """
    end = period_end(period)
    last_dates = _last_dates(ledger, area_id, period)
    parted = _merged_in(ledger, area_id, period)
    standing: dict[str, Standing] = {}
    touched: set[str] = set()
    relapsed: set[str] = set()
    for row in ledger.rows("problem", _LIVE, (area_id,)):
        problem = row["problem_id"]
        if period_end(row["opened_period"]) > end or (row["merged_into"] and problem not in parted):
            continue
        geometry, area_m2, change = geometry_of(row["geometry"]), row["area_m2"], row["last_change"]
        state = row["state"]
        opened_now = row["opened_period"] == period
        if problem in parted:
            # An earlier issue merged it; it stands by itself until this one says so again.
            touched.add(problem)
        elif not opened_now and row["last_period"] == period:
            touched.add(problem)
            if change == ChangeKind.RELAPSED and state == ProblemState.RELAPSED:
                relapsed.add(problem)
            geometry, area_m2, change = _before(ledger, problem, period, geometry, area_m2)
            state = _state_before(ledger, problem, period)
        standing[problem] = Standing(
            problem_id=problem,
            geometry=geometry,
            area_m2=area_m2,
            activity_code=row["activity_code"],
            last_date=last_dates.get(problem, period_end(row["opened_period"]).isoformat()),
            state=state,
            ended=change == ChangeKind.ENDED,
            opened_now=opened_now,
            opened_period=row["opened_period"],
        )
    return Past(standing, _members(ledger, area_id, period), frozenset(touched), frozenset(relapsed))


def _last_dates(ledger: Ledger, area_id: str, period: str) -> dict[str, str]:
    query = "SELECT problem_id, max(after_date) FROM patch WHERE area_id = ? AND period <> ? GROUP BY problem_id"
    return {row[0]: row[1] for row in ledger.database.execute(query, (area_id, period))}


def _merged_in(ledger: Ledger, area_id: str, period: str) -> frozenset[str]:
    events = ledger.events("kind = 'problems_merged' AND area_id = ? AND period = ?", (area_id, period))
    return frozenset(problem for event in events for problem in event.payload["merged"])


def _members(ledger: Ledger, area_id: str, period: str) -> dict[str, tuple[str, ...]]:
    """Patches by problem; read only where a person has told some apart."""
    if not ledger.rows("apart"):
        return {}
    query = "SELECT problem_id, patch_id FROM patch WHERE area_id = ? AND period <> ? ORDER BY patch_id"
    members: dict[str, list[str]] = {}
    for problem, patch in ledger.database.execute(query, (area_id, period)):
        members.setdefault(problem, []).append(patch)
    return {problem: tuple(patches) for problem, patches in members.items()}


def _before(
    ledger: Ledger, problem_id: str, period: str, geometry: BaseGeometry, area_m2: float
) -> tuple[BaseGeometry, float, str]:
    """Footprint, area and change of a problem as the periods before `period` left them."""
    past = [row for row in ledger.rows("history", "problem_id = ?", (problem_id,)) if row["period"] != period]
    past.sort(key=lambda row: (period_end(row["period"]), row["seq"]))
    if not past:
        return geometry, area_m2, ChangeKind.NEW
    drawn = [row for row in past if row["geometry"] is not None]
    footprint = geometry_of(drawn[-1]["geometry"]) if drawn else geometry
    spoken = [row["change_code"] for row in past if row["change_code"] != ChangeKind.NOT_OBSERVED]
    return footprint, past[-1]["area_m2"], spoken[-1] if spoken else ChangeKind.NEW


def _state_before(ledger: Ledger, problem_id: str, period: str) -> str:
    """State of a problem before an issue of `period` first spoke of it."""
    kinds = "('problem_opened', 'state_moved', 'problem_seen')"
    state = str(ProblemState.AUTO)
    for event in ledger.events(f"problem_id = ? AND kind IN {kinds}", (problem_id,)):
        if event.kind is EventKind.PROBLEM_OPENED:
            state = event.payload["state"]
        elif event.kind is EventKind.STATE_MOVED:
            state = event.payload["to"]
        elif event.period == period:
            break
        elif event.payload["change_code"] == ChangeKind.RELAPSED:
            state = str(ProblemState.RELAPSED)
    return state


def apart_pairs(ledger: Ledger) -> frozenset[frozenset[str]]:
    """Return the pairs of patches that a person has told apart."""
    return frozenset(frozenset((row["patch_a"], row["patch_b"])) for row in ledger.rows("apart"))
