"""Versions of boundaries, and the audit of every adjustment: was the line moved around a violation?

A version is entered with what it changed. Each strip of ground that left the area, joined it or came under weaker protection is
laid over the open problems and over what changed recently; what it touches is a finding for a person, not a verdict.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from ..codes import AreaGrade, ProblemState
from ..errors import LedgerError
from ..grid import geodesic_area_m2, transformed
from ..outlines import BoundaryDiff, diff_outlines, polygon_parts
from .baseline import SAME_DATUM
from .calendar import period_dates
from .event import Event, EventKind
from .geometry import LEDGER_CRS, geometry_of, geometry_text, metric_crs
from .lifecycle import SETTLED
from .store import Ledger

REDRAWN_M = 1.0
"""Strips narrower than this, in m, are a line digitised again, not a line moved."""
MIN_TOUCHED_M2 = 50.0
"""A problem or patch is touched if the strip holds at least this much of it, in m2: the smallest patch that is ever kept."""
RECENT_PERIODS = 2
"""What changed in so many of the area's last periods is recent."""


@dataclass(frozen=True)
class Boundary:
    """One version of an area's boundary as it is to be entered.

    Parameters
    ----------
    area_id, name, kind
        Identity, name, and ``protected_area`` or ``red_line``.
    grade
        By which the assessment calendar goes.
    version
        Digest that names the version.
    geometry
        Polygons in `LEDGER_CRS`.
    zones
        (zone, polygons) pairs in `LEDGER_CRS`; empty where the source tells none.
    source
        Name of the file.
    """

    area_id: str
    name: str
    kind: str
    grade: AreaGrade
    version: str
    geometry: BaseGeometry
    zones: tuple[tuple[str, BaseGeometry], ...] = ()
    source: str = ""


class _Strip(NamedTuple):
    """Ground that an adjustment moved: ``lost``, ``gained`` or ``downgraded``; without what only a redrawn line left."""

    strip: str
    zones: str
    geometry: BaseGeometry


class _Marks(NamedTuple):
    """Open problems, or recent patches: geometries beside what is told of each."""

    geometries: NDArray[np.object_]
    facts: list[dict[str, Any]]


def version_events(
    ledger: Ledger,
    boundaries: Sequence[Boundary],
    *,
    valid_from: str,
    correction: bool = False,
    min_m2: float = MIN_TOUCHED_M2,
    redrawn_m: float = REDRAWN_M,
) -> list[Event]:
    """Return the events that enter those versions which the ledger does not hold yet, each with its audit.

    Parameters
    ----------
    ledger
        Open.
    boundaries
        At most one per area.
    valid_from
        First civil date (ISO) on which they hold; also the date of the events.
    correction
        Whether a version may take the place of one that holds from the same day, as when a period is issued again.
    min_m2
        A problem or patch of which a strip holds less, in m², is not touched.
    redrawn_m
        Parts of a strip narrower than this, in m, touch nothing.

    Returns
    -------
    list of Event
        In the order of `boundaries`; the findings are in ``payload["changes"]["touched"]``. A version that holds on that day
        already, or that is the newest one, gives no event.

    Raises
    ------
    LedgerError
        ``VALID_FROM`` where a date is none, or not later than that of the version before.
    """
    day = _day(valid_from)
    events = []
    for boundary in boundaries:
        history = ledger.rows("area_version", "area_id = ? ORDER BY valid_from, seq", (boundary.area_id,))
        holding = [row for row in history if row["valid_from"] <= day][-1:]
        if boundary.version in {row["version"] for row in (*holding, *history[-1:])}:
            continue
        changes: dict[str, Any] = {}
        if history:
            _check_later(boundary, history[-1], day, correction=correction)
            changes = _changes(ledger, boundary, history[-1], min_m2=min_m2, redrawn_m=redrawn_m)
        events.append(
            Event(EventKind.AREA_VERSIONED, boundary.area_id, payload=_payload(boundary, day, changes), at=day)
        )
    return events


def touched_by(event: Event) -> list[dict[str, Any]]:
    """Return the findings of an `area_versioned` event: problems first, then recent patches of other problems.

    Each tells ``strip`` (lost, gained, downgraded), ``zones`` (from > to, of a downgraded one), ``problem_id`` or
    ``patch_id``, ``area_m2`` within the strip, ``inside_m2`` of it left within the new boundary, and ``outside``.
    """
    return list(event.payload["changes"].get("touched", ()))


def _day(valid_from: str) -> str:
    try:
        return date.fromisoformat(valid_from).isoformat()
    except ValueError as error:
        raise LedgerError("VALID_FROM", valid_from, "is no date", "give it as 2026-01-01") from error


def _check_later(boundary: Boundary, former: Any, day: str, *, correction: bool) -> None:
    if day > former["valid_from"] or (correction and day == former["valid_from"]):
        return
    raise LedgerError(
        "VALID_FROM",
        boundary.area_id,
        f"{day} is not later than {former['valid_from']}, when version {former['version'][:12]} began",
        "a new version begins after the former one",
    )


def _payload(boundary: Boundary, day: str, changes: dict[str, Any]) -> dict[str, Any]:
    zones = [{"zone": zone, "geometry": geometry_text(geometry)} for zone, geometry in boundary.zones]
    head = {"version": boundary.version, "name": boundary.name, "kind": boundary.kind, "grade": str(boundary.grade)}
    shape = {"zones": zones, "geometry": geometry_text(boundary.geometry), "source": boundary.source}
    return head | {"valid_from": day} | shape | {"changes": changes}


def _changes(ledger: Ledger, new: Boundary, former: Any, *, min_m2: float, redrawn_m: float) -> dict[str, Any]:
    # Both sides as the ledger stores them: rounding one alone would leave a strip of millimetres along every line.
    outline = _stored(new.geometry)
    old_zones = [(zone["zone"], geometry_of(zone["geometry"])) for zone in json.loads(former["zones"])]
    new_zones = [(zone, _stored(geometry)) for zone, geometry in new.zones]
    diff = diff_outlines(geometry_of(former["geometry"]), outline, old_zones, new_zones, crs=LEDGER_CRS)
    recent_from = _recent_from(ledger, new.area_id)
    touched = _touched(ledger, list(_strips(diff, redrawn_m)), outline, recent_from, min_m2=min_m2)
    rule = {"min_m2": min_m2, "redrawn_m": redrawn_m, "recent_from": recent_from}
    return {"from_version": former["version"], **_diff_facts(diff), "rule": rule, "touched": touched}


def _stored(geometry: BaseGeometry) -> BaseGeometry:
    return polygon_parts(geometry_of(geometry_text(geometry)))


def _diff_facts(diff: BoundaryDiff) -> dict[str, Any]:
    zones = [{"zone": z.zone, "gained_m2": round(z.gained_m2, 2), "lost_m2": round(z.lost_m2, 2)} for z in diff.zones]
    downgraded = [
        {"from": d.from_zone, "to": d.to_zone, "area_m2": round(d.area_m2, 2), "geometry": geometry_text(d.geometry)}
        for d in diff.downgraded
    ]
    facts = {"gained_m2": round(diff.gained_m2, 2), "lost_m2": round(diff.lost_m2, 2)}
    shapes = {"gained": geometry_text(diff.gained), "lost": geometry_text(diff.lost)}
    return facts | shapes | {"zones": zones, "downgraded": downgraded}


def _strips(diff: BoundaryDiff, redrawn_m: float) -> Iterator[_Strip]:
    yield _Strip("lost", "", _wide(diff.lost, redrawn_m))
    yield _Strip("gained", "", _wide(diff.gained, redrawn_m))
    for part in diff.downgraded:
        yield _Strip("downgraded", f"{part.from_zone} > {part.to_zone}", _wide(part.geometry, redrawn_m))


def _wide(strip: BaseGeometry, redrawn_m: float) -> BaseGeometry:
    """The parts of a strip at least so wide: what survives being worn down by half of it from both sides."""
    if strip.is_empty or redrawn_m <= 0:
        return strip
    crs = metric_crs(strip)
    flat = transformed(strip, LEDGER_CRS, crs, SAME_DATUM)
    core = shapely.buffer(flat, -redrawn_m / 2, join_style="mitre")
    # Grown a little further than it was worn, so that cutting with the strip gives its own edges back.
    grown = shapely.buffer(core, redrawn_m * 0.51, join_style="mitre")
    back = transformed(polygon_parts(grown), crs, LEDGER_CRS, SAME_DATUM)
    return polygon_parts(shapely.intersection(strip, polygon_parts(back)))


def _touched(
    ledger: Ledger, strips: Sequence[_Strip], outline: BaseGeometry, recent_from: str, *, min_m2: float
) -> list[dict[str, Any]]:
    if all(strip.geometry.is_empty for strip in strips):
        return []
    problems = list(_over(strips, _open_problems(ledger), outline, min_m2))
    told = {finding["problem_id"] for finding in problems}
    patches = list(_over(strips, _recent_patches(ledger, recent_from, told), outline, min_m2))
    return [*problems, *patches]


def _over(strips: Sequence[_Strip], marks: _Marks, outline: BaseGeometry, min_m2: float) -> Iterator[dict[str, Any]]:
    tree = shapely.STRtree(marks.geometries)
    for strip in strips:
        for index in sorted(tree.query(strip.geometry, predicate="intersects").tolist()):
            shape = polygon_parts(marks.geometries[index])
            area_m2 = _common_m2(shape, strip.geometry)
            if area_m2 >= min_m2:
                inside_m2 = _common_m2(shape, outline)
                facts = {"area_m2": area_m2, "inside_m2": inside_m2, "outside": inside_m2 < min_m2}
                yield {"strip": strip.strip, "zones": strip.zones, **marks.facts[index], **facts}


def _common_m2(a: BaseGeometry, b: BaseGeometry) -> float:
    return round(geodesic_area_m2(polygon_parts(shapely.intersection(a, b)), LEDGER_CRS), 2)


def _open_problems(ledger: Ledger) -> _Marks:
    """Open problems of every area: a line may also be moved around what a neighbour or an overlapping area found."""
    rows = ledger.rows("problem", "withdrawn = 0 AND merged_into = '' ORDER BY problem_id")
    rows = [row for row in rows if row["state"] not in SETTLED]
    facts = [{"problem_id": r["problem_id"], "of_area": r["area_id"], "state": r["state"]} for r in rows]
    return _Marks(_geometries(rows), facts)


def _recent_patches(ledger: Ledger, recent_from: str, told: set[str]) -> _Marks:
    """Patches since that date, but not of problems told already, nor of what a person judged to be no problem."""
    if not recent_from:
        return _Marks(_geometries([]), [])
    dismissed = "withdrawn = 1 OR state = ?"
    left_out = told | {r["problem_id"] for r in ledger.rows("problem", dismissed, (str(ProblemState.NO_PROBLEM),))}
    rows = ledger.rows("patch", "after_date >= ? ORDER BY patch_id", (recent_from,))
    rows = [row for row in rows if row["problem_id"] not in left_out]
    names = ("patch_id", "period", "direction")
    return _Marks(_geometries(rows), [{"of_area": r["area_id"], **{n: r[n] for n in names}} for r in rows])


def _geometries(rows: Sequence[Any]) -> NDArray[np.object_]:
    return np.asarray(shapely.from_wkb([bytes(row["geometry"]) for row in rows]), dtype=object).reshape(-1)


def _recent_from(ledger: Ledger, area_id: str) -> str:
    """First day of the area's last periods, '' where none was entered."""
    found = [period_dates(row["period"]) for row in ledger.rows("unit", "area_id = ?", (area_id,))]
    last = sorted((dates for dates in found if dates is not None), key=lambda dates: dates[1])[-RECENT_PERIODS:]
    return min((first.isoformat() for first, _ in last), default="")
