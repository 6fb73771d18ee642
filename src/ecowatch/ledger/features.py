"""What a model may know of a patch: its own measures, never where it lies, in whose area, or when it was read.

A model that knew the place would learn where reviewers had been, and one that knew the scene which batch was read by whom.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import shapely

from ..codes import Activity, Carrier, Stage, Zone
from ..prepare import bare_soil, brightness, ndvi, water
from .geometry import geometry_of

Array = np.ndarray[Any, Any]

MISSING = -1000.0
"""Stands for "not known": below every true value, so that a tree can tell it from all of them with one cut."""

_ROLES = ("blue", "green", "red", "nir", "swir1", "swir2")
_INDICES = {"ndvi": ndvi, "water": water, "bare_soil": bare_soil, "brightness": brightness}
_TOLD = ("strength", "confidence", "observed_share", "shift_px", "length_m", "width_m")
_MEASURED = ("log_area_m2", "gain", "days_apart", "season_sin", "season_cos", "roughness", "elongation", "core_share")
_SIDES = ("before", "after", "turn")
_STRICT = (Zone.CORE, Zone.BUFFER, Zone.CORE_PROTECTION)

FEATURES: tuple[str, ...] = (
    *_TOLD,
    *_MEASURED,
    *(f"{side}_{name}" for side in _SIDES for name in (*_ROLES, *_INDICES)),
    *(f"stage_{stage}" for stage in Stage),
    *(f"activity_{activity}" for activity in Activity),
    *(f"carrier_{carrier}" for carrier in Carrier),
)
"""Names of the columns of `feature_table`; a model file names those that it was made for."""


def feature_table(patches: Sequence[Mapping[str, Any]]) -> Array:
    """Return the features of patches.

    Parameters
    ----------
    patches
        Rows of the view `patch`.

    Returns
    -------
    ndarray
        float32, ``(patch, feature)`` in the order of `FEATURES`; `MISSING` where something is not known.
    """
    rows = [_features(patch) for patch in patches]
    table = np.array([[_number(row.get(name)) for name in FEATURES] for row in rows], np.float32)
    return table.reshape(len(rows), len(FEATURES))


def facts_of(patch: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the further facts of a row of the view `patch`, as text or parsed already."""
    return _parsed(patch["facts"])


def _features(patch: Mapping[str, Any]) -> dict[str, Any]:
    facts = facts_of(patch)
    told = {name: facts.get(name) for name in _TOLD}
    carrier = Carrier.named(facts.get("carrier") or "")
    kinds = {f"stage_{facts.get('stage')}": 1, f"activity_{patch['activity_code']}": 1, f"carrier_{carrier}": 1}
    none = {name: 0 for name in FEATURES if name.startswith(("stage_", "activity_", "carrier_"))}
    return {**told, **_measured(patch, facts), **_spectral(facts), **none, **kinds}


def _measured(patch: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    zones = _parsed(facts.get("zone_shares"))
    measured = {
        "log_area_m2": math.log10(max(patch["area_m2"], 1.0)),
        "gain": float(patch["direction"] == "gain"),
        "core_share": sum(float(zones.get(zone, 0.0)) for zone in _STRICT) if zones else None,
    }
    return measured | _dated(patch["before_date"], patch["after_date"]) | _shape(patch.get("geometry"))


def _dated(before: str, after: str) -> dict[str, Any]:
    if not before or not after:
        return {}
    last = date.fromisoformat(after)
    angle = 2 * math.pi * last.timetuple().tm_yday / 365.25
    apart = (last - date.fromisoformat(before)).days
    return {"days_apart": apart, "season_sin": math.sin(angle), "season_cos": math.cos(angle)}


def _shape(stored: bytes | str | None) -> dict[str, Any]:
    """Outline against a circle of its size, and the sides of its rectangle: plain numbers, no areas."""
    if stored is None:
        return {}
    geometry = geometry_of(stored)
    squeeze = math.cos(math.radians(shapely.centroid(geometry).y))
    even = shapely.transform(geometry, lambda xy: xy * (squeeze, 1.0))
    if even.area <= 0:
        return {}
    rectangle = shapely.minimum_rotated_rectangle(even)
    short, long = sorted(np.hypot(*np.diff(np.asarray(rectangle.exterior.coords)[:3], axis=0).T))
    roughness = even.length / (2 * math.sqrt(math.pi * even.area))
    return {"roughness": roughness, "elongation": float(long / max(short, 1e-12))}


def _spectral(facts: Mapping[str, Any]) -> dict[str, Any]:
    sides = [_parsed(facts.get(f"spectrum_{side}")) for side in ("before", "after")]
    values = [
        {role: spectrum.get(role) for role in _ROLES} | {name: index(spectrum) for name, index in _INDICES.items()}
        for spectrum in sides
    ]
    before, after = values
    turn = {k: _less(after[k], before[k]) for k in before}
    return {f"{side}_{k}": v for side, of in zip(_SIDES, (before, after, turn), strict=True) for k, v in of.items()}


def _less(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _parsed(value: Any) -> Mapping[str, Any]:
    """Facts are JSON within JSON: the run's table has text columns."""
    told = json.loads(value) if isinstance(value, str) and value else value
    return told if isinstance(told, Mapping) else {}


def _number(value: Any) -> float:
    if value is None or isinstance(value, str):
        return MISSING
    number = float(value)
    return number if math.isfinite(number) else MISSING
