"""The patches of one period matched to the problems of the ledger: which patch belongs to which problem, and what follows.

A patch is a change between two dates, a problem keeps what stands. A site that does not change has no patch: it goes on if it
was observed. A patch belongs to the problem on whose ground it lies; if it lies on none, to one that is near and changed
lately; if there is none, it opens a new one together with its neighbours. How sure outlines are decides what "lies on" means,
see `footprint`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import NamedTuple

import numpy as np
import shapely
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from ..errors import LedgerError
from ..settings.ledger import Matching
from .footprint import Frame, as_array, new_ground, reached, seen_shares, shared_ground, surface, united
from .grouping import Apart, Groups, near_edges
from .outcome import Case, Outcome, Part, Sighting, Standing, judged, opened_anew, untouched

__all__ = ["Outcome", "Part", "Sighting", "Standing", "match_period"]


def match_period(
    standing: Sequence[Standing],
    sightings: Sequence[Sighting],
    *,
    unseen: BaseGeometry | None,
    apart: Apart,
    members: Mapping[str, Collection[str]],
    rules: Matching,
    crs: CRS,
) -> list[Outcome]:
    """Match the patches of one period to the problems of the ledger.

    Pure, independent of the order of its input, and near-linear in patches and problems.

    Parameters
    ----------
    standing
        The problems as they stood before the period, and those that an earlier issue of the period opened (`opened_now`).
    sightings
        The patches of the period.
    unseen
        What was not observed in the period, polygonal, in the ledger's coordinates; None if all was.
    apart
        Pairs of patches that a reviewer has parted: they come into one problem neither directly nor through others.
    members
        For each problem its patches; only needed for problems with patches in `apart`.
    rules
        Distances, days and sizes.
    crs
        A metric CRS for the place, see `geometry.metric_crs`.

    Returns
    -------
    list of Outcome
        By identity, new ones last. Problems that are settled or have ended, with no patch on their ground, have none. One that
        an earlier issue of the period opened and that is not found again goes on without a patch: it is to be withdrawn. A loss
        patch in no outcome lies on no problem.

    Raises
    ------
    LedgerError
        ``TWICE`` where a patch or problem is given twice.
    """
    _check_once([sighting.patch_id for sighting in sightings], [problem.problem_id for problem in standing])
    # Oldest first: the least number of a group, its root, is the problem that survives a merge.
    ordered = sorted(standing, key=lambda problem: (problem.opened_period, problem.problem_id))
    known = tuple(problem for problem in ordered if not problem.opened_now)
    frame = Frame(crs)
    gains, losses = (_Seen.of(sightings, direction, frame) for direction in ("gain", "loss"))
    scene = _Scene(known, frame.metric(problem.geometry for problem in known), gains, losses, rules, frame)
    pairs = _pairs(gains, scene.footprints_m, np.maximum(rules.join_m, gains.tolerance_m))
    groups = _grouped(scene, pairs, apart, members)
    claims = _claims(scene, groups, pairs)
    outcomes = [*_touched(scene, groups, claims), *_quiet(scene, groups, claims, unseen), *_new(scene, groups, claims)]
    outcomes = _named(outcomes, [problem for problem in ordered if problem.opened_now])
    return sorted(
        outcomes, key=lambda outcome: (outcome.problem_id is None, outcome.problem_id or "", outcome.patch_ids)
    )


@dataclass(frozen=True)
class _Seen:
    """Patches of one direction, ascending by identity, with their geometry in both coordinates."""

    sightings: tuple[Sighting, ...]
    geometry: np.ndarray
    metric: np.ndarray
    tolerance_m: np.ndarray

    @classmethod
    def of(cls, sightings: Sequence[Sighting], direction: str, frame: Frame) -> _Seen:
        chosen = (sighting for sighting in sightings if sighting.direction == direction)
        rows = tuple(sorted(chosen, key=lambda sighting: sighting.patch_id))
        geometry = as_array(row.geometry for row in rows)
        return cls(rows, geometry, frame.metric(geometry), np.array([row.tolerance_m for row in rows], float))


class _Scene(NamedTuple):
    """All that is given, in canonical order."""

    known: tuple[Standing, ...]
    footprints_m: np.ndarray
    gains: _Seen
    losses: _Seen
    rules: Matching
    frame: Frame


class _Pairs(NamedTuple):
    """Patches and problems within reach of each other: indices, shared area, whether beyond tolerance, distance in m."""

    patch: np.ndarray
    problem: np.ndarray
    shared: np.ndarray
    beyond: np.ndarray
    distance_m: np.ndarray

    def ordered(self, chosen: np.ndarray) -> list[tuple[int, int]]:
        """The chosen pairs, nearest first, then most shared ground, oldest problem, least patch."""
        keys = (self.patch, self.problem, -np.round(self.shared), np.round(self.distance_m, 2))
        order = np.lexsort([key[chosen] for key in keys])
        return list(zip(self.patch[chosen][order].tolist(), self.problem[chosen][order].tolist(), strict=True))


class _Claims(NamedTuple):
    """What falls to whom, beside the groups: all by index."""

    also: dict[int, list[int]]
    """Gain patches of others on the ground of a problem."""
    taken: dict[int, list[int]]
    """The same by patch: problems on whose ground it lies though it is another's."""
    losses: dict[int, list[int]]
    """By the root of a group: loss patches that belong to it."""
    losses_also: dict[int, list[int]]
    """By the root of a group: loss patches of others on its ground."""
    effective: frozenset[tuple[int, int]]
    """Root and loss patch, where the patch lies on the ground beyond its tolerance."""


def _check_once(*names: list[str]) -> None:
    for given in names:
        if len(set(given)) < len(given):
            twice = Counter(given).most_common(1)[0][0]
            raise LedgerError("TWICE", twice, "is given twice in one period", "give each patch and problem once")


def _pairs(seen: _Seen, footprints_m: np.ndarray, reach_m: np.ndarray) -> _Pairs:
    patch, problem, ground = reached(seen.metric, footprints_m, reach_m)
    first, tolerance_m = seen.metric[patch], seen.tolerance_m[patch]
    smaller_m2 = np.minimum(shapely.area(first), shapely.area(footprints_m[problem]))
    shared, beyond = shared_ground(first, ground, smaller_m2=smaller_m2, tolerance_m=tolerance_m)
    distance_m = np.zeros(len(patch))
    outside = shared == 0
    distance_m[outside] = shapely.distance(first[outside], ground[outside])
    return _Pairs(patch, problem, shared, beyond, distance_m)


def _days(dates: list[str]) -> np.ndarray:
    return np.array([date.fromisoformat(text[:10]).toordinal() for text in dates], np.int64)


def _grouped(scene: _Scene, pairs: _Pairs, apart: Apart, members: Mapping[str, Collection[str]]) -> Groups:
    """Group problems (numbers from 0) and gain patches (numbers after them).

    A group whose root is a problem belongs to it. Overlap first, most ground first: it joins a patch to its problem, and live
    problems to each other. Nearness comes after and never joins two problems; then fragments join their neighbours.
    """
    count, marks = len(scene.known), {}
    if apart:
        marks = {at: members.get(problem.problem_id, ()) for at, problem in enumerate(scene.known)}
        marks |= {count + at: (row.patch_id,) for at, row in enumerate(scene.gains.sightings)}
    groups = Groups(count + len(scene.gains.sightings), marks, apart)
    _join_overlapping(groups, scene, pairs)
    days = _days([row.after_date for row in scene.gains.sightings])
    _join_near(groups, scene, pairs, days)
    ids = [row.patch_id for row in scene.gains.sightings]
    number = {name: count + at for at, name in enumerate(ids)}
    rules = scene.rules
    for _, a, b in near_edges(ids, scene.gains.metric, days, join_m=rules.join_m, join_days=rules.join_days):
        if max(groups.root(number[a]), groups.root(number[b])) >= count:
            groups.join(number[a], number[b])
    return groups


def _join_overlapping(groups: Groups, scene: _Scene, pairs: _Pairs) -> None:
    known, count = scene.known, len(scene.known)
    for patch, problem in pairs.ordered(pairs.beyond | _touching(scene, pairs)):
        holder, other = groups.root(count + patch), groups.root(problem)
        # A settled or ended problem is alone in its group, so the root tells of all.
        if holder >= count or (known[holder].live and known[other].live):
            groups.join(count + patch, problem)


def _touching(scene: _Scene, pairs: _Pairs) -> np.ndarray:
    """Pairs of a patch and a live problem that meet at their edges, where the patch opens new ground.

    Works that go on from a known site share no ground with it, only an edge: they are its growth however long it stood still,
    and where they meet two sites they join them. A change seen a second time beside the truth meets its neighbours too, but
    opens nothing.
    """
    live = np.array([problem.live for problem in scene.known], bool)
    meets: np.ndarray = live[pairs.problem] & ~pairs.beyond & (pairs.distance_m <= scene.gains.tolerance_m[pairs.patch])
    touching = set(pairs.patch[meets].tolist())
    own: dict[int, list[int]] = {patch: [] for patch in touching}
    for patch, problem in zip(pairs.patch[pairs.beyond].tolist(), pairs.problem[pairs.beyond].tolist(), strict=True):
        if patch in touching:
            own[patch].append(problem)
    opening = np.zeros(len(scene.gains.metric), bool)
    for patch, problems in own.items():
        ground, tolerance_m = scene.gains.metric[[patch]], scene.gains.tolerance_m[[patch]]
        fresh = new_ground(ground, united(scene.footprints_m[problems]), tolerance_m) if problems else ground[0]
        opening[patch] = fresh.area >= scene.rules.min_growth_m2
    meets &= opening[pairs.patch]
    return meets


def _join_near(groups: Groups, scene: _Scene, pairs: _Pairs, days: np.ndarray) -> None:
    known, count = scene.known, len(scene.known)
    live = np.array([problem.live for problem in known], bool)
    last = _days([problem.last_date for problem in known])
    near = live[pairs.problem] & (np.abs(days[pairs.patch] - last[pairs.problem]) <= scene.rules.join_days)
    for patch, problem in pairs.ordered(near & ~pairs.beyond):
        if groups.root(count + patch) >= count:
            groups.join(count + patch, problem)


def _claims(scene: _Scene, groups: Groups, pairs: _Pairs) -> _Claims:
    count = len(scene.known)
    also: dict[int, list[int]] = {}
    taken: dict[int, list[int]] = {}
    for patch, problem in pairs.ordered(pairs.beyond):
        if groups.root(count + patch) != groups.root(problem):
            also.setdefault(problem, []).append(patch)
            taken.setdefault(patch, []).append(problem)
    return _Claims(also, taken, *_loss_claims(scene, groups))


def _loss_claims(
    scene: _Scene, groups: Groups
) -> tuple[dict[int, list[int]], dict[int, list[int]], frozenset[tuple[int, int]]]:
    """Loss patches by the groups on whose ground they lie; the one with most of it owns the patch."""
    pairs = _pairs(scene.losses, scene.footprints_m, scene.losses.tolerance_m)
    live = np.array([problem.live for problem in scene.known], bool)
    touching = ~pairs.beyond & live[pairs.problem]
    owner: dict[int, int] = {}
    owned: dict[int, list[int]] = {}
    also: dict[int, list[int]] = {}
    effective = set()
    for on_ground, chosen in ((True, pairs.beyond), (False, touching)):
        for patch, problem in pairs.ordered(chosen):
            root = groups.root(problem)
            if patch not in owner:
                owner[patch] = root
                owned.setdefault(root, []).append(patch)
            elif on_ground and owner[patch] != root and patch not in also.get(root, ()):
                also.setdefault(root, []).append(patch)
            if on_ground:
                effective.add((root, patch))
    return owned, also, frozenset(effective)


def _ground(scene: _Scene, patch: int, claims: _Claims) -> BaseGeometry:
    """The ground that a patch brings to its owner: without that of other problems, so that none is counted twice."""
    geometry: BaseGeometry = scene.gains.geometry[patch]
    if patch not in claims.taken:
        return geometry
    others = united([scene.known[problem].geometry for problem in claims.taken[patch]])
    left = surface(shapely.difference(geometry, others))
    return geometry if left.is_empty else left


def _touched(scene: _Scene, groups: Groups, claims: _Claims) -> list[Outcome]:
    """Outcomes of the problems on whose ground, or near which, something was found."""
    count = len(scene.known)
    found = []
    for numbers in groups.components():
        problems = [number for number in numbers if number < count]
        if problems:
            case = _case(scene, problems, [number - count for number in numbers[len(problems) :]], claims)
            if case.patch_ids or case.shared:
                found.append(judged(case, scene.rules, scene.frame))
    return found


def _case(scene: _Scene, problems: list[int], patches: list[int], claims: _Claims) -> Case:
    root, gains, losses = problems[0], scene.gains, scene.losses
    survivor = scene.known[root]
    also = sorted({patch for problem in problems for patch in claims.also.get(problem, ())})
    owned_losses, other_losses = claims.losses.get(root, []), claims.losses_also.get(root, [])
    ground = [_ground(scene, patch, claims) for patch in patches]
    # A live problem has that ground already; a settled one learns that it was worked on again.
    extra = [] if survivor.live else also
    ground += [surface(shapely.intersection(gains.geometry[patch], survivor.geometry)) for patch in extra]
    used = [*patches, *extra]
    loss = sorted(patch for patch in (*owned_losses, *other_losses) if (root, patch) in claims.effective)
    cut = any(patch in claims.taken for patch in used)
    return Case(
        problems=tuple(scene.known[problem] for problem in problems),
        footprints_m=scene.footprints_m[problems],
        ground=as_array(ground),
        ground_m=scene.frame.metric(ground) if cut else gains.metric[used],
        ground_tolerance_m=gains.tolerance_m[used],
        loss=losses.geometry[loss],
        loss_m=losses.metric[loss],
        loss_tolerance_m=losses.tolerance_m[loss],
        patch_ids=_ids((gains, patches), (losses, owned_losses)),
        shared=_ids((gains, also), (losses, other_losses)),
        again=all(gains.sightings[patch].before_date < survivor.last_date for patch in used),
    )


def _ids(*chosen: tuple[_Seen, list[int]]) -> tuple[str, ...]:
    return tuple(sorted(seen.sightings[patch].patch_id for seen, patches in chosen for patch in patches))


def _quiet(scene: _Scene, groups: Groups, claims: _Claims, unseen: BaseGeometry | None) -> list[Outcome]:
    """Outcomes of live problems without any patch."""
    touched = {groups.root(len(scene.known) + patch) for patch in range(len(scene.gains.sightings))}
    touched |= claims.also.keys() | claims.losses.keys() | claims.losses_also.keys()
    rest = [problem for at, problem in enumerate(scene.known) if problem.live and groups.root(at) not in touched]
    shares = seen_shares(as_array(problem.geometry for problem in rest), unseen)
    seen = (shares >= scene.rules.seen_share).tolist()
    return [untouched(problem, seen=was_seen) for problem, was_seen in zip(rest, seen, strict=True)]


def _new(scene: _Scene, groups: Groups, claims: _Claims) -> list[Outcome]:
    count = len(scene.known)
    found = []
    for numbers in groups.components():
        if numbers[0] >= count:
            patches = [number - count for number in numbers]
            grounds = as_array(_ground(scene, patch, claims) for patch in patches)
            found.append(opened_anew(tuple(scene.gains.sightings[patch] for patch in patches), grounds))
    return found


def _named(outcomes: list[Outcome], opened_now: list[Standing]) -> list[Outcome]:
    """Give new problems and parts the identities of an earlier issue of the period: most common ground first, each once."""
    if not opened_now:
        return outcomes
    named = list(outcomes)
    wanting = [(at, -1) for at, outcome in enumerate(outcomes) if outcome.problem_id is None]
    wanting += [(at, part) for at, outcome in enumerate(outcomes) for part in range(len(outcome.parts))]
    shapes = as_array(outcomes[at].geometry if part < 0 else outcomes[at].parts[part].geometry for at, part in wanting)
    given = _given(shapes, as_array(problem.geometry for problem in opened_now))
    for slot, chosen in given.items():
        at, part = wanting[slot]
        named[at] = _with_name(named[at], part, opened_now[chosen].problem_id)
    left_over = sorted(set(range(len(opened_now))) - set(given.values()))
    return [*named, *(untouched(opened_now[at], seen=True) for at in left_over)]


def _given(shapes: np.ndarray, named: np.ndarray) -> dict[int, int]:
    """Which named shape each shape is, most common ground first, each once."""
    want, name = shapely.STRtree(named).query(shapes, predicate="intersects")
    common = shapely.area(shapely.intersection(shapes[want], named[name]))
    order = np.lexsort((want, name, -np.round(common, 14)))
    given: dict[int, int] = {}
    used: set[int] = set()
    for at in order[common[order] > 0].tolist():
        slot, chosen = int(want[at]), int(name[at])
        if slot not in given and chosen not in used:
            given[slot] = chosen
            used.add(chosen)
    return given


def _with_name(outcome: Outcome, part: int, problem_id: str) -> Outcome:
    if part < 0:
        return replace(outcome, problem_id=problem_id)
    parts = list(outcome.parts)
    parts[part] = parts[part]._replace(problem_id=problem_id)
    return replace(outcome, parts=tuple(parts))
