"""What one period says of one problem, judged from all patches that fall to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from ..codes import Activity, ChangeKind, ProblemState
from ..settings.ledger import Matching
from .footprint import (
    Frame,
    area_m2,
    assembled,
    is_thin,
    new_ground,
    opened,
    sites,
    surface,
    united,
    without_slivers,
)
from .lifecycle import SETTLED

# Areas in a metric CRS are off by less than this within a few zones of its place: only what is closer to a threshold needs
# its geodesic area to be judged by.
_PROJECTION = 0.1


@dataclass(frozen=True)
class Sighting:
    """A patch of the period that is to be matched.

    Parameters
    ----------
    patch_id
        Its identity.
    geometry
        Polygon or MultiPolygon in the ledger's coordinates.
    area_m2
        Its area, in m².
    direction
        ``gain``: ground was opened, built on or dug; ``loss``: works are gone.
    activity_code
        See `codes.Activity`.
    before_date, after_date
        ISO dates that were compared.
    tolerance_m
        How far its outline may lie beside the truth: residual shift and uncertainty of the outline, in m.
    """

    patch_id: str
    geometry: BaseGeometry
    area_m2: float
    direction: Literal["gain", "loss"]
    activity_code: str
    before_date: str
    after_date: str
    tolerance_m: float


@dataclass(frozen=True)
class Standing:
    """A problem of the ledger as it stood before the period.

    Parameters
    ----------
    problem_id
        Its identity.
    geometry
        What stands on the ground, in the ledger's coordinates; of an ended one, what stood last.
    area_m2
        Standing area, in m²; 0 for an ended one.
    activity_code
        See `codes.Activity`.
    last_date
        ISO date of the last image on which it changed.
    state
        See `codes.ProblemState`.
    ended
        Nothing was left of it.
    opened_now
        Opened by an earlier issue of the period that is matched: it lends its identity to what is found anew, and nothing
        else, so that a second issue says what a first one would have said.
    opened_period
        Period in which it was opened.
    """

    problem_id: str
    geometry: BaseGeometry
    area_m2: float
    activity_code: str
    last_date: str
    state: ProblemState | str
    ended: bool
    opened_now: bool
    opened_period: str

    @property
    def live(self) -> bool:
        """Whether something stands there that is somebody's business: it grows, and merges with its neighbours."""
        return not self.ended and self.state not in SETTLED


class Part(NamedTuple):
    """A new problem that was split off another one.

    Parameters
    ----------
    geometry
        What stands there, in the ledger's coordinates.
    area_m2
        Its area, in m².
    problem_id
        Identity given by an earlier issue of the same period, else None.
    """

    geometry: BaseGeometry
    area_m2: float
    problem_id: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What the period says of one problem.

    Parameters
    ----------
    problem_id
        None for a new problem that no earlier issue of the period has named.
    change
        What happened to it.
    patch_ids
        Patches that belong to it, ascending; each patch belongs to one problem at most.
    shared
        Patches that belong to another problem but cover ground of this one too.
    geometry
        The standing footprint in the ledger's coordinates; None where it is unchanged, and where it has ended: an ended
        problem keeps the outline of what stood there.
    area_m2
        Standing area after the period, in m²; 0 where it has ended.
    delta_m2
        Change of the standing area on the ground, in m²: ``area_m2`` plus the areas of `parts`, less the areas before of
        this problem and of all in `merged`.
    activity_code
        As before; of a new problem that of the most ground, an undetermined one last.
    merged
        Problems that are now part of this one, oldest first.
    parts
        New problems split off this one, largest first.
    """

    problem_id: str | None
    change: ChangeKind
    patch_ids: tuple[str, ...]
    geometry: BaseGeometry | None
    area_m2: float
    delta_m2: float
    activity_code: str
    shared: tuple[str, ...] = ()
    merged: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Case:
    """One problem, or several that merge, with the patches that fall to it.

    Parameters
    ----------
    problems
        The survivor first.
    footprints_m
        Their footprints, in metres.
    ground, ground_m, ground_tolerance_m
        Ground of the gain patches: in the ledger's coordinates, in metres, and its tolerance in m.
    loss, loss_m, loss_tolerance_m
        The same of the loss patches that lie on the footprints beyond their tolerance.
    patch_ids, shared
        See `Outcome`.
    again
        All gain patches compare a date before the last change that is known with a later one: they may show it again.
    """

    problems: tuple[Standing, ...]
    footprints_m: np.ndarray
    ground: np.ndarray
    ground_m: np.ndarray
    ground_tolerance_m: np.ndarray
    loss: np.ndarray
    loss_m: np.ndarray
    loss_tolerance_m: np.ndarray
    patch_ids: tuple[str, ...]
    shared: tuple[str, ...]
    again: bool

    @property
    def old_m2(self) -> float:
        """Area before, of all problems, in m²."""
        return sum(problem.area_m2 for problem in self.problems)


class _Ground(NamedTuple):
    """What stands after the period, and which way it went."""

    geometry: BaseGeometry | None
    grows: bool
    shrinks: bool
    parts: tuple[Part, ...] = ()


def judged(case: Case, rules: Matching, frame: Frame) -> Outcome:
    """Return what a period says of a problem that has patches.

    Parameters
    ----------
    case
        The problem and its patches.
    rules
        How large a change must be to be one.
    frame
        The way to metres.
    """
    survivor = case.problems[0]
    if not survivor.live and len(case.ground):
        return _relapsed(case, rules, frame)
    if survivor.ended:
        return _outcome(case, ChangeKind.ENDED, _Ground(None, False, False), survivor.area_m2)
    return _changed(case, _ground_after(case, rules, frame))


def opened_anew(sightings: tuple[Sighting, ...], grounds: np.ndarray) -> Outcome:
    """Return the outcome of gain patches that are a new problem.

    Parameters
    ----------
    sightings
        The patches, ascending by identity.
    grounds
        Their ground, in the ledger's coordinates.
    """
    geometry = united(grounds)
    area = area_m2(geometry)
    patch_ids = tuple(sighting.patch_id for sighting in sightings)
    return Outcome(None, ChangeKind.NEW, patch_ids, geometry, area, area, _activity(sightings))


def untouched(problem: Standing, *, seen: bool) -> Outcome:
    """Return the outcome of a problem without patch: it goes on if it was seen; unseen, nothing is known."""
    change = ChangeKind.CONTINUING if seen else ChangeKind.NOT_OBSERVED
    return Outcome(problem.problem_id, change, (), None, problem.area_m2, 0.0, problem.activity_code)


def _activity(sightings: tuple[Sighting, ...]) -> str:
    area: dict[str, float] = {}
    for sighting in sightings:
        area[sighting.activity_code] = area.get(sighting.activity_code, 0.0) + sighting.area_m2
    return min(area, key=lambda code: (code == Activity.UNDETERMINED, -area[code], code))


def _outcome(case: Case, change: ChangeKind, after: _Ground, area: float) -> Outcome:
    survivor, *others = case.problems
    return Outcome(
        problem_id=survivor.problem_id,
        change=change,
        patch_ids=case.patch_ids,
        geometry=after.geometry,
        area_m2=area,
        delta_m2=area + sum(part.area_m2 for part in after.parts) - case.old_m2,
        activity_code=survivor.activity_code,
        shared=case.shared,
        merged=tuple(problem.problem_id for problem in others),
        parts=after.parts,
    )


def _relapsed(case: Case, rules: Matching, frame: Frame) -> Outcome:
    """Works on a settled or ended site: what stands is what the patches show; on ground judged no problem, also what stood."""
    survivor = case.problems[0]
    if survivor.ended or survivor.state == ProblemState.CLOSED:
        geometry = united(case.ground)
        return _outcome(case, ChangeKind.RELAPSED, _Ground(geometry, True, False), area_m2(geometry))
    after = _ground_after(case, rules, frame)
    if after.grows or not case.again:
        area = case.old_m2 if after.geometry is None else area_m2(after.geometry)
        return _outcome(case, ChangeKind.RELAPSED, after, area)
    # The change that was judged no problem, seen a second time by the next half-year's pair of dates.
    return _changed(case, after)


def _changed(case: Case, after: _Ground) -> Outcome:
    if after.shrinks and after.geometry is None:
        return _outcome(case, ChangeKind.ENDED, after, 0.0)
    area = case.old_m2 if after.geometry is None else area_m2(after.geometry)
    outcome = _outcome(case, ChangeKind.CONTINUING, after, area)
    if not (after.grows or after.shrinks):
        return outcome
    expanded = outcome.delta_m2 >= 0 if after.grows and after.shrinks else after.grows
    return _outcome(case, ChangeKind.EXPANDED if expanded else ChangeKind.REDUCED, after, area)


def _ground_after(case: Case, rules: Matching, frame: Frame) -> _Ground:
    """What stands after gains and losses; None for the geometry where it is unchanged, or, having shrunk, where it is gone."""
    footprint_m = united(case.footprints_m)
    floor_m2 = max(rules.min_growth_m2, rules.min_growth_share * case.old_m2)
    grows, shrinks = _grows(case, footprint_m, frame, floor_m2), _shrinks(case, footprint_m, frame, floor_m2)
    merges = len(case.problems) > 1
    if not (grows or shrinks or merges):
        return _Ground(None, False, False)
    left = united([problem.geometry for problem in case.problems])
    if shrinks:
        left = _left(case, left, footprint_m, frame)
        gone = area_m2(left) < rules.ended_share * case.old_m2 or left.is_empty
        if gone and not grows:
            return _Ground(None, False, True)
    if grows:
        left = surface(united([left, *case.ground]))
    return _split(left, case, rules, frame, grows) if shrinks else _Ground(left, grows, False)


def _at_least(geometry_m: BaseGeometry, floor_m2: float, frame: Frame) -> bool:
    if abs(geometry_m.area - floor_m2) > _PROJECTION * floor_m2:
        return bool(geometry_m.area > floor_m2)
    return area_m2(geometry_m, frame.crs) >= floor_m2


def _grows(case: Case, footprint_m: BaseGeometry, frame: Frame, floor_m2: float) -> bool:
    if not len(case.ground):
        return False
    return _at_least(new_ground(case.ground_m, footprint_m, case.ground_tolerance_m), floor_m2, frame)


def _shrinks(case: Case, footprint_m: BaseGeometry, frame: Frame, floor_m2: float) -> bool:
    if not len(case.loss):
        return False
    lost = surface(shapely.intersection(_less(united(case.loss_m), case.ground_m), footprint_m))
    return _at_least(opened(lost, case.loss_tolerance_m.max()), floor_m2, frame)


def _less(loss: BaseGeometry, ground: np.ndarray) -> BaseGeometry:
    """Loss without gain: what was opened in the same period stands."""
    return shapely.difference(loss, united(ground)) if len(ground) else loss


def _left(case: Case, footprint: BaseGeometry, footprint_m: BaseGeometry, frame: Frame) -> BaseGeometry:
    """Footprint without the lost ground, and without the slivers that a loss leaves which lies a little beside it."""
    left = surface(shapely.difference(footprint, _less(united(case.loss), case.ground)))
    width_m = float(case.loss_tolerance_m.max())
    return left if is_thin(footprint_m, width_m) else without_slivers(left, frame, width_m)


def _split(left: BaseGeometry, case: Case, rules: Matching, frame: Frame, grows: bool) -> _Ground:
    """Sites that a loss has left apart become problems of their own, if large enough; the largest keeps the identity."""
    first, *others = sites(left, frame, max(rules.join_m, float(case.loss_tolerance_m.max())))
    large = [(site, area) for site in others if (area := area_m2(site)) >= rules.min_growth_m2]
    if not large:
        return _Ground(left, grows, True)
    apart = {id(site) for site, _ in large}
    rest = assembled([first, *(site for site in others if id(site) not in apart)])
    return _Ground(rest, grows, True, tuple(Part(site, area) for site, area in large))
