"""A finished run enters the ledger: one transaction per area and period, exactly once however often it is done."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from ..codes import ChangeKind
from ..errors import LedgerError
from ..settings import LedgerSettings
from .baseline import is_stock
from .boundaries import Boundary, version_events
from .differences import PatchFacts, differences
from .event import Event, digest_of
from .geometry import geometry_of, geometry_text, metric_crs
from .match import Outcome, Sighting, match_period
from .run_folder import FoundPatch, RunUnit, failed_areas, inputs_digest, period_end, read_run
from .standing import Past, apart_pairs, standing_before
from .store import Ledger
from .unit_events import Issue, unit_events


class EnteredUnit(NamedTuple):
    """What became of one area of a run.

    Parameters
    ----------
    area_id, period, issue
        Which; issue 0 where nothing was entered because all of it was there.
    added
        Number of events.
    changes
        Number of problems by kind of change.
    differences
        Why this issue differs from the one before; empty for a first one.
    boundary
        The event of a boundary that is new to the ledger.
    """

    area_id: str
    period: str
    issue: int
    added: int
    changes: Mapping[str, int]
    differences: Mapping[str, Any]
    boundary: Event | None = None


class Entered(NamedTuple):
    """What became of a run: its areas, and those left out because they failed in part."""

    units: tuple[EnteredUnit, ...]
    left_out: tuple[str, ...]

    @property
    def added(self) -> int:
        """Number of events added."""
        return sum(unit.added for unit in self.units)


def enter_run(
    ledger: Ledger, folder: Path, rules: LedgerSettings, *, boundaries: Sequence[Boundary] = (), reissue: str = ""
) -> Entered:
    """Enter a finished run.

    Parameters
    ----------
    ledger
        Open for writing.
    folder
        Run folder.
    rules
        How patches are joined to problems.
    boundaries
        Boundaries with their zones; a version that is new to the ledger is entered with its area.
    reissue
        Why a period that was signed off is issued again; empty: it is refused.

    Raises
    ------
    LedgerError
        ``RUN_INCOMPLETE``, ``RUN_CHANGED``; ``PERIOD_CLOSED`` where a later period was entered; ``PERIOD_SIGNED``.
    """
    versions = {b.area_id: b for b in boundaries}
    units = []
    for unit in read_run(folder, rules.match):
        own = [versions[unit.area_id]] if unit.area_id in versions else []
        units.append(enter_unit(ledger, unit, rules, boundaries=own, reissue=reissue))
    return Entered(tuple(units), failed_areas(folder))


def run_differences(ledger: Ledger, folder: Path, rules: LedgerSettings) -> dict[str, dict[str, Any]]:
    """Explain, area by area, how a run differs from what the ledger holds of its period; areas new to it say ``new``."""
    found: dict[str, dict[str, Any]] = {}
    for unit in read_run(folder, rules.match):
        former = _former(ledger, unit)
        found[unit.area_id] = _explained(ledger, unit, former, rules) if former else {"new": True}
    return found


def enter_unit(
    ledger: Ledger, unit: RunUnit, rules: LedgerSettings, *, boundaries: Sequence[Boundary] = (), reissue: str = ""
) -> EnteredUnit:
    """Enter what a run says of one area in one period, in one transaction; parameters and errors as in `enter_run`."""
    former = _former(ledger, unit)
    if former is not None and former["inputs_digest"] == inputs_digest(unit, rules.match):
        return EnteredUnit(unit.area_id, unit.period, 0, 0, {}, {})
    _check_open(ledger, unit, former is not None, reissue)
    past = standing_before(ledger, unit.area_id, unit.period)
    outcomes = _outcomes(ledger, unit, past, rules)
    explained = _explained(ledger, unit, former, rules) if former else {}
    issue = Issue(
        unit=unit,
        number=former["issue"] + 1 if former else 1,
        inputs={**unit.inputs, "rules": rules.match.digest()},
        digest=inputs_digest(unit, rules.match),
        differences=explained | ({"reissue": reissue} if reissue else {}),
        past=past,
        outcomes=outcomes,
        stock=_stock(ledger, unit, outcomes),
    )
    events = [
        *version_events(ledger, boundaries, valid_from=_first_day(unit.period), correction=True),
        *unit_events(issue),
    ]
    added = ledger.commit(events)
    changes = {str(kind): sum(o.change is kind for o in outcomes) for kind in ChangeKind}
    return EnteredUnit(
        unit.area_id, unit.period, issue.number, added, {k: n for k, n in changes.items() if n}, explained
    )


def _first_day(period: str) -> str:
    end = period_end(period)
    return f"{end.year}-07-01" if period.endswith("H2") else f"{period[:4]}-01-01"


def _former(ledger: Ledger, unit: RunUnit) -> Any:
    rows = ledger.rows("unit", "area_id = ? AND period = ?", (unit.area_id, unit.period))
    return rows[0] if rows else None


def _check_open(ledger: Ledger, unit: RunUnit, again: bool, reissue: str) -> None:
    periods = [row["period"] for row in ledger.rows("unit", "area_id = ?", (unit.area_id,))]
    later = sorted(p for p in periods if period_end(p) > period_end(unit.period))
    where = f"{unit.area_id} {unit.period}"
    if later:
        raise LedgerError(
            "PERIOD_CLOSED",
            where,
            f"{later[0]} was entered already",
            "its next period takes up what is new; see 'ecowatch diff'",
        )
    if ledger.rows("signed", "period = ?", (unit.period,)) and not reissue:
        word = "issued again" if again else "added to"
        raise LedgerError(
            "PERIOD_SIGNED", where, f"a period that was signed off is not {word} silently", "--reissue REASON"
        )


def _facts(found: Sequence[FoundPatch]) -> dict[str, PatchFacts]:
    return {p.patch_id: (digest_of([geometry_text(p.geometry), p.activity_code]), p.area_m2) for p in found}


def _explained(ledger: Ledger, unit: RunUnit, former: Any, rules: LedgerSettings) -> dict[str, Any]:
    rows = ledger.rows("patch", "area_id = ? AND period = ?", (unit.area_id, unit.period))
    old = {r["patch_id"]: (digest_of([bytes(r["geometry"]).hex(), r["activity_code"]]), r["area_m2"]) for r in rows}
    entered = _facts([p for p in unit.patches if not p.returning or p.patch_id in old])
    now = {**unit.inputs, "rules": rules.match.digest()}
    return differences(json.loads(former["inputs"]), now, old, entered)


def _outcomes(ledger: Ledger, unit: RunUnit, past: Past, rules: LedgerSettings) -> list[Outcome]:
    known = _on_known_ground(unit, past)
    taken = [p for p in unit.patches if not p.natural and (not p.returning or p.patch_id in known)]
    sightings = [
        Sighting(
            patch_id=p.patch_id,
            geometry=p.geometry,
            area_m2=p.area_m2,
            direction=p.direction,
            activity_code=p.activity_code,
            before_date=p.before_date,
            after_date=p.after_date,
            tolerance_m=p.tolerance_m,
        )
        for p in taken
    ]
    return match_period(
        list(past.standing.values()),
        sightings,
        unseen=_unseen(unit, past),
        apart=apart_pairs(ledger),
        members=past.members,
        rules=rules.match,
        crs=metric_crs(unit.geometry),
    )


def _unseen(unit: RunUnit, past: Past) -> BaseGeometry | None:
    """What the period did not see, the ground of problems beyond a boundary that was moved included."""
    shapely.prepare(unit.geometry)
    beyond = [s.geometry for s in past.standing.values() if not unit.geometry.covers(s.geometry)]
    parts = [unit.unseen_by_all, *(shapely.difference(ground, unit.geometry) for ground in beyond)]
    unseen = shapely.union_all(parts)
    return None if unseen.is_empty else unseen


def _on_known_ground(unit: RunUnit, past: Past) -> frozenset[str]:
    """Patches that lie on the ground of a problem the ledger knows."""
    tree = shapely.STRtree([standing.geometry for standing in past.standing.values()])
    shapes = np.array([patch.geometry for patch in unit.patches], dtype=object)
    hits = tree.query(shapes, predicate="intersects")[0] if len(shapes) else ()
    return frozenset(unit.patches[i].patch_id for i in hits)


def _stock(ledger: Ledger, unit: RunUnit, outcomes: Sequence[Outcome]) -> dict[str, bool]:
    """Which new problems lie on ground that the area's baseline holds, by their first patch."""
    rows = ledger.rows("baseline", "area_id = ?", (unit.area_id,))
    if not rows:
        return {}
    frozen, crs = geometry_of(rows[0]["geometry"]), metric_crs(unit.geometry)
    tolerance = {p.patch_id: p.tolerance_m for p in unit.patches}
    new = [o for o in outcomes if o.problem_id is None and o.geometry is not None]
    return {
        min(o.patch_ids): is_stock(o.geometry, frozen, tolerance_m=max(tolerance[p] for p in o.patch_ids), crs=crs)
        for o in new
    }
