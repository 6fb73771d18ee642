"""What a clue package says of a problem: all that the receiving unit and a later court may ask, from the ledger alone."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from ..codes import Activity, ChangeKind, ProblemState, VerdictKind, VerdictReason, Zone
from ..errors import LedgerError
from ..grid import geodesic_area_m2
from ..ledger import LEDGER_CRS, Ledger, geometry_of
from .coordinates import dms

Facts = dict[str, Any]
_DECIMALS = 8


def problem_facts(ledger: Ledger, problem_id: str) -> Facts:
    """Return the facts of one problem, as plain JSON values; areas in hectares, coordinates in CGCS2000.

    Raises
    ------
    LedgerError
        ``PROBLEM_UNKNOWN``, or ``CLUE_GONE`` where it was merged into another or withdrawn.
    """
    rows = ledger.rows("problem", "problem_id = ?", (problem_id,))
    if not rows:
        raise LedgerError("PROBLEM_UNKNOWN", problem_id, "the ledger has no such problem", "correct the identity")
    row = rows[0]
    if row["merged_into"] or row["withdrawn"]:
        why = f"it was merged into {row['merged_into']}" if row["merged_into"] else "it was withdrawn"
        raise LedgerError("CLUE_GONE", problem_id, why, "hand over the problem that stands")
    geometry = geometry_of(row["geometry"])
    return (
        _standing(row)
        | _area(ledger, row["area_id"], geometry)
        | coordinates(geometry)
        | _history(ledger, problem_id)
        | _evidence(ledger, problem_id)
        | {"verdicts": _verdicts(ledger, problem_id), "claim": json.loads(row["evidence"])}
    )


def _named(codes: Any, code: str) -> Facts:
    """A code with its names; one that this program does not know stands without."""
    member = next((c for c in codes if c == code), None)
    return {"code": code, "zh": member.zh if member else "", "en": member.en if member else ""}


def _ha(area_m2: float | None) -> float | None:
    return None if area_m2 is None else round(area_m2 / 1e4, 4)


def _standing(row: sqlite3.Row) -> Facts:
    verified = row["activity_code"] if row["activity_code"] != row["activity_found"] else ""
    return {
        "problem_id": row["problem_id"],
        "area_id": row["area_id"],
        "state": _named(ProblemState, row["state"]),
        "opened_period": row["opened_period"],
        "last_period": row["last_period"],
        "last_change": _named(ChangeKind, row["last_change"]),
        "activity_original": _named(Activity, row["activity_found"]),
        "activity_verified": _named(Activity, verified) if verified else None,
        "area_ha": _ha(row["area_m2"]),
        "area_original_ha": _ha(row["area_found_m2"]),
        "area_verified_ha": _ha(row["area_verified_m2"]),
        "stock": bool(row["stock"]),
        "relapses": row["relapses"],
        "parents": json.loads(row["parents"]),
        "responsible": row["responsible"],
        "rectification_deadline": row["deadline"],
        "rectification": row["rectification"],
    }


def _area(ledger: Ledger, area_id: str, geometry: BaseGeometry) -> Facts:
    versions = ledger.rows("area_version", "area_id = ? AND valid_to = '' ORDER BY seq DESC", (area_id,))
    if not versions:
        return {"area_name": "", "area_version": "", "zones": []}
    version = versions[0]
    zones = []
    for zone in json.loads(version["zones"]):
        inside = shapely.intersection(geometry, geometry_of(zone["geometry"]))
        hectares = _ha(geodesic_area_m2(inside, LEDGER_CRS))
        if hectares:
            zones.append({"zone": zone["zone"], "zh": _zone_zh(zone["zone"]), "area_ha": hectares})
    return {"area_name": version["name"], "area_version": version["version"], "zones": zones}


def _zone_zh(code: str) -> str:
    return next((zone.zh for zone in Zone if zone == code), code)


def coordinates(geometry: BaseGeometry) -> Facts:
    """Return centre and outline of a site as decimal degrees and as degrees, minutes and seconds.

    The centre is the centroid, or, where that lies outside the site, a point within it.

    Parameters
    ----------
    geometry
        Polygon or MultiPolygon in `LEDGER_CRS`.
    """
    centre = shapely.centroid(geometry)
    if not shapely.contains(geometry, centre):
        centre = shapely.point_on_surface(geometry)
    rings = []
    for number, polygon in enumerate(shapely.get_parts(geometry), start=1):
        for hole, ring in enumerate((polygon.exterior, *polygon.interiors)):
            vertices = [_position(x, y) for x, y in shapely.get_coordinates(ring)]
            rings.append({"part": number, "hole": hole, "vertices": vertices})
    return {"crs": "CGCS2000 (EPSG:4490)", "centre": _position(centre.x, centre.y), "outline": rings}


def _position(x: float, y: float) -> Facts:
    lon, lat = round(float(x), _DECIMALS), round(float(y), _DECIMALS)
    return {"lon": lon, "lat": lat, "lon_dms": dms(lon, "longitude"), "lat_dms": dms(lat, "latitude")}


def _history(ledger: Ledger, problem_id: str) -> Facts:
    rows = ledger.rows("history", "problem_id = ? ORDER BY seq, period", (problem_id,))
    history = [
        {
            "period": row["period"],
            "change": _named(ChangeKind, row["change_code"]),
            "area_ha": _ha(row["area_m2"]),
            "delta_ha": _ha(row["delta_m2"]),
            "patches": json.loads(row["patches"]),
        }
        for row in rows
    ]
    events = ledger.events("problem_id = ?", (problem_id,))
    chain = [{"event_id": e.event_id, "kind": str(e.kind), "actor": e.actor, "at": e.at} for e in events]
    return {"history": history, "events": chain}


def _evidence(ledger: Ledger, problem_id: str) -> Facts:
    """Patches, the scenes that show them, by digest, the pipelines that found them, and how much was seen."""
    rows = ledger.rows("patch", "problem_id = ? ORDER BY period, patch_id", (problem_id,))
    patches = [_patch(row) for row in rows]
    units = [_unit(ledger, row["area_id"], row["period"]) for row in _first_of_each_unit(rows)]
    named = {name for patch in patches for name in (*patch["before_scenes"], *patch["after_scenes"])}
    scenes = {name: digest for unit in units for name, digest in unit["scenes"].items() if not named or name in named}
    pipelines = {f"{unit['period']} {name}": value for unit in units for name, value in unit["pipelines"].items()}
    observed = [{"period": unit["period"], "observed_share": unit["observed_share"]} for unit in units]
    return {"patches": patches, "scenes": scenes, "pipelines": pipelines, "observed": observed}


def _first_of_each_unit(rows: Sequence[sqlite3.Row]) -> Iterable[sqlite3.Row]:
    return {(row["area_id"], row["period"]): row for row in reversed(rows)}.values()


def _patch(row: sqlite3.Row) -> Facts:
    facts = json.loads(row["facts"])
    names = ("patch_id", "period", "before_date", "after_date", "pipeline", "direction")
    told = {name: row[name] for name in names} | {"area_ha": _ha(row["area_m2"])}
    told |= {name: facts.get(name) for name in ("pipeline_version", "observed_share", "reasons", "confidence")}
    return told | {name: str(facts.get(name) or "").split() for name in ("before_scenes", "after_scenes")}


def _unit(ledger: Ledger, area_id: str, period: str) -> Facts:
    rows = ledger.rows("unit", "area_id = ? AND period = ?", (area_id, period))
    if not rows:
        return {"period": period, "observed_share": None, "scenes": {}, "pipelines": {}}
    inputs = json.loads(rows[0]["inputs"])
    told = {"period": period, "observed_share": rows[0]["observed_share"]}
    return told | {"scenes": inputs.get("scenes", {}), "pipelines": inputs.get("pipelines", {})}


def _verdicts(ledger: Ledger, problem_id: str) -> list[Facts]:
    return [
        {
            "verdict": _named(VerdictKind, row["verdict"]),
            "reason": _named(VerdictReason, row["reason"]),
            "activity": _named(Activity, row["activity_code"]) if row["activity_code"] else None,
            "area_ha": _ha(row["area_m2"]),
            "note": row["note"],
            "reviewer": row["reviewer"],
            "at": row["at"],
        }
        for row in ledger.rows("verdict", "problem_id = ? ORDER BY seq", (problem_id,))
    ]
