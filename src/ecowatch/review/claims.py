"""Claims of rectification against the images: what every date of a review's scenes shows of a site and its surroundings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, NamedTuple

import shapely
from shapely.geometry.base import BaseGeometry

from ..areas import Area, read_areas
from ..codes import ProblemState, Rectification
from ..errors import EcowatchError, LedgerError, UnavailableError
from ..grid import BLOCK_PX, Grid, transformed
from ..ledger import LEDGER_CRS, Event, EventKind, Ledger, check_transition, geometry_of, metric_crs, problem_row
from ..ledger.rectified import ClaimEvidence, SiteDate, judge_claim, season_of
from ..prepare import ShiftField, ndvi, water
from ..raster import GridReader
from ..scenes import Quarantined, Scene, Unit, find_scenes
from ..scenes.scene import SHANGHAI
from ..settings import ClaimRules, LedgerSettings, Pipeline, Review, load
from .choice import DateGroup, date_groups, footprint
from .pair import Comparison, area_grid
from .shift import measure_shift, shift_to_apply
from .site import Piece, site_date, site_pieces

_NEEDED = ("red", "nir")
_PROJECTABLE = frozenset({"EPSG:4326=EPSG:4490"})


def check_claims(
    review: Review,
    ledger: Ledger,
    settings: LedgerSettings,
    *,
    problems: Sequence[str] = (),
    quarantined: Callable[[Quarantined], object] = str,
) -> list[Event]:
    """Check claims of rectification against the scenes of a review.

    Every optical scene of its sources is looked at, of whatever date: seasons are what a claim is tested by.

    Parameters
    ----------
    review
        Scenes, boundaries, pipelines (which tell what is clear).
    ledger
        Open; only read.
    settings
        With the rules of a claim.
    problems
        Identities, in whatever state; without any, every problem of the review's areas that is claimed to be done.
    quarantined
        Told of each scene that cannot be trusted.

    Returns
    -------
    list of Event
        One ``claim_checked`` per problem, by identity; the same scenes and claims give the same events.

    Raises
    ------
    LedgerError
        ``PROBLEM_UNKNOWN``, or ``AREA_NOT_REVIEWED`` where a named problem lies in none of the review's areas.
    UnavailableError
        ``STORE_UNAVAILABLE``: what nobody could look at is no evidence.
    """
    areas = {area.area_id: area for source in review.areas for area in read_areas(source, review.roots)}
    known = {name: area for name, area in areas.items() if not review.only or name in review.only}
    rows = _rows(ledger, known, problems)
    sources = _sources(review, quarantined) if rows else []
    return [_checked(review, known[row["area_id"]], _claim(ledger, row), sources, settings.claim) for row in rows]


def moves_of(ledger: Ledger, checked: Iterable[Event]) -> list[Event]:
    """Return the moves to ``checked`` that claims borne out by images give rise to.

    Parameters
    ----------
    ledger
        As it is now: a problem that has moved on meanwhile is left alone.
    checked
        Events of `check_claims`.
    """
    moves = []
    for event in checked:
        (row,) = ledger.rows("problem", "problem_id = ?", (event.problem_id,))
        state = ProblemState.of(row["state"])
        # Not whatever may lead to "checked", but a claim: nothing else was tested.
        if event.payload["passed"] is True and state is ProblemState.CLAIMED_DONE:
            check_transition(event.problem_id, state, ProblemState.CHECKED)
            reason = f"claim_checked {event.event_id}"
            payload = {"from": str(state), "to": str(ProblemState.CHECKED), "reason": reason}
            moves.append(replace(event, kind=EventKind.STATE_MOVED, payload=payload))
    return moves


class _Source(NamedTuple):
    """Scenes that tell plants from bare ground, and the pipeline that says what of them is clear."""

    pipeline: Pipeline
    scenes: tuple[Scene, ...]


@dataclass(frozen=True)
class _Claim:
    """A problem as the ledger knows it; `others` are all further problems of its area."""

    problem_id: str
    rectification: str
    geometry: BaseGeometry
    others: BaseGeometry
    patches: tuple[Mapping[str, Any], ...]
    claimed_on: date | None
    opened_on: date


def _rows(ledger: Ledger, areas: Mapping[str, Area], problems: Sequence[str]) -> list[Mapping[str, Any]]:
    if not problems:
        where = "state = ? AND merged_into = '' AND withdrawn = 0 ORDER BY problem_id"
        claimed = ledger.rows("problem", where, (ProblemState.CLAIMED_DONE,))
        return [dict(row) for row in claimed if row["area_id"] in areas]
    found: list[Mapping[str, Any]] = []
    for name in sorted(set(problems)):
        row = problem_row(ledger, name)
        if row["area_id"] not in areas:
            raise LedgerError(
                "AREA_NOT_REVIEWED", name, f"the review has no area {row['area_id']}", "give the review that has it"
            )
        found.append(dict(row))
    return found


def _claim(ledger: Ledger, row: Mapping[str, Any]) -> _Claim:
    name = row["problem_id"]
    patches = [p for one in _merged(ledger, name) for p in ledger.rows("patch", "problem_id = ?", (one,))]
    where = "area_id = ? AND problem_id <> ? AND merged_into = '' AND withdrawn = 0 ORDER BY problem_id"
    others = [geometry_of(r["geometry"]) for r in ledger.rows("problem", where, (row["area_id"], name))]
    told = ledger.events("problem_id = ?", (name,))
    moved = [e for e in told if e.kind is EventKind.STATE_MOVED]
    claims = [e.at for e in moved if e.payload["to"] == ProblemState.CLAIMED_DONE]
    geometry = geometry_of(row["geometry"])
    return _Claim(
        name,
        row["rectification"],
        geometry,
        shapely.union_all(others),
        tuple(dict(p) for p in sorted(patches, key=lambda p: (p["after_date"], p["patch_id"]))),
        _civil_date(claims[-1]) if claims else None,
        min((_civil_date(e.at) for e in told if e.at), default=date.max),
    )


def _merged(ledger: Ledger, name: str) -> list[str]:
    """A problem and all that were merged into it, directly or not."""
    parts = [r["problem_id"] for r in ledger.rows("problem", "merged_into = ? ORDER BY problem_id", (name,))]
    return [name, *(one for part in parts for one in _merged(ledger, part))]


def _civil_date(at: str) -> date:
    instant = datetime.fromisoformat(at)
    return (instant if instant.tzinfo is None else instant.astimezone(SHANGHAI)).date()


def _sources(review: Review, quarantined: Callable[[Quarantined], object]) -> list[_Source]:
    """Optical scenes in reflectance, each once: two pipelines may read one folder."""
    seen: set[str] = set()
    sources = []
    for source in review.sources:
        pipeline = load(Pipeline, review.pipelines / f"{source.pipeline}.toml")
        catalog = find_scenes(source, review.roots)
        for left in catalog.quarantined:
            quarantined(left)
        scenes = [s for s in catalog.scenes if _tells_plants(s) and s.digest not in seen]
        seen |= {s.digest for s in scenes}
        sources.append(_Source(pipeline, tuple(scenes)))
    return sources


def _tells_plants(scene: Scene) -> bool:
    units = {band.role: band.unit for band in scene.bands}
    return all(units.get(role) is Unit.REFLECTANCE for role in _NEEDED)


def _checked(review: Review, area: Area, claim: _Claim, sources: Sequence[_Source], rules: ClaimRules) -> Event:
    looked = _looked(review, area, claim, sources, rules)
    before, works = _before(claim, looked.dates, rules), _works(claim, looked.dates, rules)
    since = [site for site in looked.dates if site.day > works.day]
    kind = Rectification.of(claim.rectification) if claim.rectification else Rectification.RESTORE
    evidence = judge_claim(before, works, since, rectification=kind, rules=rules, claimed_on=claim.claimed_on)
    used = {site.day for site in (before, works, *since) if site is not None}
    last = evidence.dates[-1] if evidence.dates else max((s.day for s in since), default=works.day)
    named = () if claim.rectification else ("rectification=not_named:restore",)
    payload = {
        **_payload(evidence, (*named, *looked.left_out)),
        "rectification": str(kind),
        "claimed_on": claim.claimed_on.isoformat() if claim.claimed_on else "",
        "scenes": {s.scene_id: s.digest for g in looked.groups if g.day in used for s in g.scenes},
        "series": [_figures(site) for site in looked.dates if site.day in used],
    }
    return Event(EventKind.CLAIM_CHECKED, area.area_id, "", claim.problem_id, payload=payload, at=last.isoformat())


def _payload(evidence: ClaimEvidence, facts: Sequence[str]) -> dict[str, Any]:
    return {
        "passed": evidence.passed,
        "structure_gone": evidence.structure_gone,
        "bare_closed": evidence.bare_closed,
        "vegetation_held": evidence.vegetation_held,
        "seasons": evidence.seasons,
        "dates": [day.isoformat() for day in evidence.dates],
        "why": "; ".join((*evidence.why, *facts)),
    }


def _figures(site: SiteDate) -> dict[str, Any]:
    """A date as evidence that can be drawn; to four decimals, so that no last bit of a machine makes another event."""
    numbers = {
        "valid_share": site.valid_share,
        "ndvi": site.ndvi_median,
        "ring_ndvi": site.ring_ndvi_median,
        "bare_share": site.bare_share,
        "water_share": site.water_share,
    }
    return {"date": site.day.isoformat()} | {k: None if v is None else round(v, 4) for k, v in numbers.items()}


def _before(claim: _Claim, dates: Sequence[SiteDate], rules: ClaimRules) -> SiteDate | None:
    """The last clear date before the works, of the growing season if there is one; else what the first patch tells."""
    told = [p for p in claim.patches if p["before_date"]]
    if not told:
        return None
    first = min(told, key=lambda p: (p["before_date"], p["patch_id"]))
    until = date.fromisoformat(first["before_date"])
    return (_clear_until(until, dates, rules) or [_of_patch(first, "before", until)])[-1]


def _clear_until(until: date, dates: Sequence[SiteDate], rules: ClaimRules) -> list[SiteDate]:
    clear = [s for s in dates if s.day <= until and s.valid_share >= rules.min_valid_share]
    return [s for s in clear if season_of(s.day, rules.season_months) is not None] or clear


def _works(claim: _Claim, dates: Sequence[SiteDate], rules: ClaimRules) -> SiteDate:
    """The date on which the last works were found; where the review has it no more, what their patch tells.

    What was in an inventory has no patch: it is the last clear date up to its entry.
    """
    gains = [p for p in claim.patches if p["direction"] == "gain" and p["after_date"]]
    if not gains:
        nothing = SiteDate(claim.opened_on, 0.0, None, None, None, {})
        return (_clear_until(claim.opened_on, dates, rules) or [nothing])[-1]
    last = max(gains, key=lambda p: (p["after_date"], p["area_m2"], p["patch_id"]))
    day = date.fromisoformat(last["after_date"])
    same = [s for s in dates if s.day == day and s.valid_share >= rules.min_valid_share]
    return same[0] if same else _of_patch(last, "after", day)


def _of_patch(patch: Mapping[str, Any], side: str, day: date) -> SiteDate:
    told = json.loads(patch["facts"]).get(f"spectrum_{side}") or {}
    spectrum = json.loads(told) if isinstance(told, str) else told
    wet = water(spectrum)
    # Numbers that are no reflectance (brightness, decibel) tell nothing here.
    if ndvi(spectrum) is None or not all(0 <= value <= 1.5 for value in spectrum.values()):
        return SiteDate(day, 0.0, None, None, None, {})
    return SiteDate(day, 1.0, ndvi(spectrum), None, None, spectrum, None if wet is None else float(wet > 0))


class _Looked(NamedTuple):
    """What the dates show, oldest first and one per day; the scenes they are of; and which dates had to be left out."""

    dates: tuple[SiteDate, ...]
    groups: tuple[DateGroup, ...]
    left_out: tuple[str, ...]


def _looked(review: Review, area: Area, claim: _Claim, sources: Sequence[_Source], rules: ClaimRules) -> _Looked:
    allowed = frozenset(review.allow_datum)
    reach = _grown(claim.geometry, rules.ring_m)
    over = [
        (source.pipeline, group)
        for source in sources
        for group in date_groups([s for s in source.scenes if _touches(s, reach, allowed)])
    ]
    if not over:
        return _Looked((), (), ("scenes=none",))
    scenes = [scene for _, group in over for scene in group.scenes]
    grid = area_grid(area, scenes, _NEEDED, allowed)
    site, others = (
        transformed(g, LEDGER_CRS, grid.crs, allowed | _PROJECTABLE) for g in (claim.geometry, claim.others)
    )
    pieces = site_pieces(site, others, grid, ring_m=rules.ring_m)
    placed = area.in_crs(grid.crs, allowed)
    views = [_view(placed, review.period, pipeline, grid, group) for pipeline, group in over]
    days: dict[date, tuple[SiteDate, DateGroup]] = {}
    left_out = []
    with GridReader(grid) as reader:
        reference = _reference(claim, views)
        for view in views:
            day = view.after.day
            try:
                seen = site_date(reader, view, pieces, _shift(reader, reference, view, pieces), rules)
            except UnavailableError:
                # A store that does not answer says nothing about the date.
                raise
            except EcowatchError as error:
                left_out.append(f"left_out={day}:{error.code}")
                continue
            # Two sensors on one day are one look at the ground, not two.
            if day not in days or seen.valid_share > days[day][0].valid_share:
                days[day] = seen, view.after
    told = [days[day] for day in sorted(days)]
    return _Looked(tuple(seen for seen, _ in told), tuple(group for _, group in told), tuple(sorted(left_out)))


def _touches(scene: Scene, reach: BaseGeometry, allowed: frozenset[str]) -> bool:
    return bool(shapely.intersects(footprint(scene, LEDGER_CRS, allowed | _PROJECTABLE), reach))


def _grown(geometry: BaseGeometry, by_m: float) -> BaseGeometry:
    metric = metric_crs(geometry)
    near = shapely.buffer(transformed(geometry, LEDGER_CRS, metric, _PROJECTABLE), by_m)
    return transformed(near, metric, LEDGER_CRS, _PROJECTABLE)


def _view(area: Area, period: str, pipeline: Pipeline, grid: Grid, group: DateGroup) -> Comparison:
    """One date, as a pair of itself: it is then read and masked by the code that reads all pairs."""
    bands = pipeline.detect.bands
    roles = tuple(r for r in dict.fromkeys((*bands, *_NEEDED)) if r in group.scenes[0].roles)
    return Comparison(area, period, pipeline, grid, roles, group, group, "claim")


def _reference(claim: _Claim, views: Sequence[Comparison]) -> Comparison:
    """The date of the works, or the one nearest to it: the outline was drawn on that."""
    days = [p["after_date"] for p in claim.patches if p["direction"] == "gain" and p["after_date"]]
    day = date.fromisoformat(max(days)) if days else views[0].after.day
    return min(views, key=lambda view: (abs((view.after.day - day).days), view.after.day, view.after.sensor))


def _shift(reader: GridReader, reference: Comparison, view: Comparison, pieces: Sequence[Piece]) -> ShiftField | None:
    """What is taken out of a date so that it lies on the date of the works, measured around the site."""
    roles = tuple(role for role in view.roles if role in reference.roles)
    if view.after == reference.after:
        return None
    against = replace(view, before=reference.after, roles=roles)
    near = [p.window.padded(BLOCK_PX // 2) for p in pieces]
    blocks = [b for b in view.grid.blocks() if any(b.intersection(w) for w in near)]
    return shift_to_apply(against, measure_shift(reader, against, blocks, None))
