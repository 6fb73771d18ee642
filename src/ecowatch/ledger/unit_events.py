"""From what a period says of the problems of an area to the events that say so in the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..codes import ChangeKind, ProblemState
from .event import Event, EventKind, digest_of
from .geometry import geometry_text
from .match import Outcome
from .run_folder import FoundPatch, RunUnit
from .standing import Past

_QUIET = frozenset({ChangeKind.CONTINUING, ChangeKind.NOT_OBSERVED})


@dataclass(frozen=True)
class Issue:
    """One issue of a unit, with all that its events are written from.

    Parameters
    ----------
    unit
        What the run says.
    number
        1 for the first, one more each time the period is issued again.
    inputs, digest
        Inputs with the rules of matching, and the digest by which the issue is known.
    differences
        Why it differs from the issue before.
    past
        What stood before the period.
    outcomes
        What the period says of each problem.
    stock
        For each problem that is opened, by its first patch: whether it lies on ground frozen as baseline.
    """

    unit: RunUnit
    number: int
    inputs: Mapping[str, Any]
    digest: str
    differences: Mapping[str, Any]
    past: Past
    outcomes: Sequence[Outcome]
    stock: Mapping[str, bool]

    @cached_property
    def patches(self) -> dict[str, FoundPatch]:
        """The patches of the unit by identity."""
        return {patch.patch_id: patch for patch in self.unit.patches}


def unit_events(issue: Issue) -> list[Event]:
    """Return the events of one issue, the unit first; the same issue gives the same events."""
    quiet: dict[ChangeKind, list[str]] = {change: [] for change in _QUIET}
    spoken = []
    for outcome in issue.outcomes:
        if _says_nothing(outcome, issue):
            quiet[outcome.change].append(str(outcome.problem_id))
        else:
            spoken.append(outcome)
    names = {change: sorted(problems) for change, problems in quiet.items()}
    told = [event for outcome in spoken for event in _problem_events(outcome, issue)]
    return [_unit_event(issue, names), *_patch_events(issue), *told, *_restored(issue)]


def new_problem_id(area_id: str, patch_ids: Sequence[str]) -> str:
    """Return the identity of a problem from its area and the patches that opened it: it never changes afterwards."""
    return f"P{digest_of([area_id, min(patch_ids)])[:12]}"


def _says_nothing(outcome: Outcome, issue: Issue) -> bool:
    known = outcome.problem_id is not None and outcome.problem_id not in issue.past.touched
    quiet = outcome.change in _QUIET and not outcome.patch_ids and not _not_found_again(outcome, issue)
    return known and quiet and outcome.geometry is None


def _not_found_again(outcome: Outcome, issue: Issue) -> bool:
    """Whether an earlier issue of the period opened the problem and this one, though it saw the place, does not find it."""
    known = issue.past.standing.get(outcome.problem_id or "")
    seen_empty = outcome.change is ChangeKind.CONTINUING and not outcome.patch_ids
    return known is not None and known.opened_now and seen_empty


def _event(
    issue: Issue, kind: EventKind, payload: Mapping[str, Any], problem_id: str = "", patch_id: str = ""
) -> Event:
    unit = issue.unit
    # The number of the issue is part of every event: a third issue that equals the first is said again, not left out.
    numbered = {"issue": issue.number, **payload}
    return Event(kind, unit.area_id, unit.period, problem_id, patch_id, numbered, at=unit.as_of)


def _unit_event(issue: Issue, quiet: Mapping[ChangeKind, Sequence[str]]) -> Event:
    unit = issue.unit
    payload = {
        "inputs": issue.inputs,
        "inputs_digest": issue.digest,
        "run_id": unit.run_id,
        "observed_share": unit.observed_share,
        "patches": len(unit.patches),
        "continuing": list(quiet[ChangeKind.CONTINUING]),
        "not_observed_problems": list(quiet[ChangeKind.NOT_OBSERVED]),
        "unseen": [
            {"pipeline": u.pipeline, "reason": u.reason, "area_m2": u.area_m2, "geometry": geometry_text(u.geometry)}
            for u in unit.unseen
        ],
        "differences": issue.differences,
    }
    return _event(issue, EventKind.UNIT_ENTERED, payload)


def _patch_events(issue: Issue) -> Iterator[Event]:
    owner = {patch: o for o in issue.outcomes for patch in o.patch_ids}
    for patch in issue.unit.patches:
        outcome = owner.get(patch.patch_id)
        if outcome is None and patch.returning:
            continue
        problem = _identity(outcome, issue) if outcome else ""
        payload = _patch_payload(patch, str(outcome.change) if outcome else "")
        yield _event(issue, EventKind.PATCH_FOUND, payload, problem, patch.patch_id)


def _patch_payload(patch: FoundPatch, change: str) -> dict[str, Any]:
    return {
        "change_code": change,
        "activity_code": patch.activity_code,
        "direction": patch.direction,
        "area_m2": patch.area_m2,
        "before_date": patch.before_date,
        "after_date": patch.after_date,
        "pipeline": patch.pipeline,
        "geometry": geometry_text(patch.geometry),
        "line": None if patch.line is None else geometry_text(patch.line),
        "facts": {"tolerance_m": patch.tolerance_m, **patch.facts},
    }


def _identity(outcome: Outcome, issue: Issue) -> str:
    return outcome.problem_id or new_problem_id(issue.unit.area_id, outcome.patch_ids)


def _problem_events(outcome: Outcome, issue: Issue) -> Iterator[Event]:
    problem = _identity(outcome, issue)
    if outcome.problem_id is None:
        yield _opened(issue, problem, _new_payload(outcome, issue))
        return
    if _not_found_again(outcome, issue):
        why = f"issue {issue.number} of {issue.unit.period} does not find it"
        yield _event(issue, EventKind.PROBLEM_WITHDRAWN, {"why": why}, problem)
        return
    if outcome.merged:
        parents = sorted({problem, *outcome.merged})
        yield _event(issue, EventKind.PROBLEMS_MERGED, {"merged": sorted(outcome.merged), "parents": parents}, problem)
    yield _event(issue, EventKind.PROBLEM_SEEN, _seen_payload(outcome, issue), problem)
    yield from _split_events(outcome, issue, problem)


def _seen_payload(outcome: Outcome, issue: Issue) -> dict[str, Any]:
    geometry = outcome.geometry
    if geometry is None and outcome.problem_id in issue.past.touched:
        geometry = issue.past.standing[outcome.problem_id].geometry
    drawn: dict[str, Any] = {} if geometry is None else {"geometry": geometry_text(geometry)}
    if outcome.change is not ChangeKind.RELAPSED and outcome.problem_id in issue.past.relapsed_now:
        drawn["state"] = str(issue.past.standing[outcome.problem_id].state)
    sizes = {"area_m2": round(outcome.area_m2, 2), "delta_m2": round(outcome.delta_m2, 2)}
    patches = sorted({*outcome.patch_ids, *outcome.shared})
    return {"change_code": str(outcome.change), "patches": patches} | sizes | drawn


def _restored(issue: Issue) -> Iterator[Event]:
    """Problems that the issue before spoke of and this one has nothing to say of: they stand as they stood."""
    merged = {problem for o in issue.outcomes for problem in o.merged}
    spoken = {o.problem_id for o in issue.outcomes} | merged
    for problem in sorted(issue.past.touched - spoken):
        standing = issue.past.standing[problem]
        change = ChangeKind.ENDED if standing.ended else ChangeKind.CONTINUING
        payload = {"change_code": str(change), "patches": [], "area_m2": round(standing.area_m2, 2), "delta_m2": 0.0}
        payload["geometry"] = geometry_text(standing.geometry)
        if problem in issue.past.relapsed_now:
            payload["state"] = str(standing.state)
        yield _event(issue, EventKind.PROBLEM_SEEN, payload, problem)


def _new_payload(outcome: Outcome, issue: Issue) -> dict[str, Any]:
    stages = [issue.patches[patch].facts.get("stage") for patch in outcome.patch_ids]
    # A pipeline that looks twice has taken the pseudo-changes out already.
    state = ProblemState.SCREENED if any(stages) else ProblemState.AUTO
    return {
        "patches": sorted(outcome.patch_ids),
        "geometry": geometry_text(outcome.geometry) if outcome.geometry is not None else "",
        "area_m2": round(outcome.area_m2, 2),
        "activity_code": outcome.activity_code,
        "state": str(state),
        "stock": int(issue.stock.get(min(outcome.patch_ids), False)),
        "parents": [],
    }


def _opened(issue: Issue, problem: str, payload: Mapping[str, Any]) -> Event:
    return _event(issue, EventKind.PROBLEM_OPENED, payload, problem)


def _split_events(outcome: Outcome, issue: Issue, problem: str) -> Iterator[Event]:
    if not outcome.parts:
        return
    parent = issue.past.standing[problem]
    ids = []
    for part in outcome.parts:
        shape = geometry_text(part.geometry)
        ids.append(part.problem_id or f"P{digest_of([problem, issue.unit.period, shape])[:12]}")
        size = {"patches": [], "geometry": shape, "area_m2": round(part.area_m2, 2)}
        if part.problem_id:
            seen = size | {"change_code": str(ChangeKind.REDUCED), "delta_m2": 0.0}
            yield _event(issue, EventKind.PROBLEM_SEEN, seen, ids[-1])
            continue
        descent = {"state": str(parent.state), "stock": 0, "parents": [problem], "change_code": str(ChangeKind.REDUCED)}
        yield _opened(issue, ids[-1], size | descent | {"activity_code": parent.activity_code})
    yield _event(issue, EventKind.PROBLEM_SPLIT, {"parts": sorted(ids)}, problem)
