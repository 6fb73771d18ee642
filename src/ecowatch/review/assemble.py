"""From the run-lengths of all tiles of an area to its patches, its coverage and what was not observed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import shapely
from shapely.geometry import MultiPolygon
from shapely.geometry.base import BaseGeometry

from ..areas import Area, majority, overlap_shares_of, prepared
from ..codes import Activity, Carrier, NotObserved
from ..grid import Grid, Window, geodesic_areas_m2, geodesic_length_m, transformed, wkt_of
from ..patches import (
    Evidence,
    PixelPatch,
    mean_spectrum,
    name_activity,
    strength_of,
)
from ..raster import burn
from ..settings import MinimumArea, Pipeline
from .fit import Fit
from .form import Form, forms_of
from .found import Found
from .look import Looked
from .pair import Comparison
from .pixels import feature_radiometry, is_calibrated
from .result import AreaResult, Coverage, Surroundings
from .unseen import observed_around, polygons_of, unseen_row, unseen_rows
from .windows import area_windows

Array = np.ndarray[Any, Any]


def assemble(
    comparison: Comparison,
    fit: Fit,
    found: Found,
    looks: Sequence[Looked],
    failed: Sequence[Window],
    surroundings: Surroundings,
) -> AreaResult:
    """Turn what the tiles of one comparison found into rows.

    Parameters
    ----------
    comparison, fit
        What was compared, and how it was fitted.
    found
        What the tiles that went well found.
    looks
        What the second look says of each of the candidates found, in their order.
    failed
        Tiles that did not go well.
    surroundings
        Other areas and carriers.
    """
    area = surroundings.placed(comparison.area)
    failed_px = sum(_inside_px(comparison, tile) for tile in failed)
    coverage = Coverage(found.inside_px + failed_px, found.observed_px, failed_px)
    unseen = found.unseen
    if coverage.not_observed_px != int((unseen[:, 2] - unseen[:, 1]).sum()):
        raise AssertionError(f"{area.area_id}: unseen runs and counted pixels disagree")
    candidates = _candidates(comparison, found.patches, looks, area, surroundings)
    kept = [candidate for candidate in candidates if candidate.look.reason is None]
    rows, roads = _patch_rows(comparison, fit, kept, unseen, area, surroundings)
    return AreaResult(
        area,
        comparison.pipeline,
        comparison,
        coverage,
        tuple(rows),
        tuple(roads),
        tuple(_suppressed_rows(comparison, candidates, area)),
        tuple(unseen_rows(comparison, unseen, failed, area, surroundings)),
        shift_measured_px=round(fit.measured.length_px, 3) if fit.measured else None,
        shift_px=fit.shift_px,
        fit=fit,
    )


def not_compared(area: Area, pipeline: Pipeline | None, note: str, surroundings: Surroundings) -> AreaResult:
    """Return the result of an area that could not be compared: wholly not observed, with the reason."""
    placed = surroundings.placed(area)
    row = unseen_row(placed, pipeline, NotObserved.NO_PAIR, placed.geometry, surroundings.crs)
    return AreaResult(placed, pipeline, None, Coverage(0, 0, 0), unseen=(row,), note=note)


def _inside_px(comparison: Comparison, tile: Window) -> int:
    grid, geometry = comparison.grid, comparison.area.geometry
    return sum(int(burn(geometry, grid.cropped(window)).sum()) for window in area_windows(comparison, tile))


class _Candidate(NamedTuple):
    """What is known of one candidate; `geometry` is in the output CRS, spectra are by role."""

    patch: PixelPatch
    patch_id: str
    look: Looked
    form: Form
    geometry: MultiPolygon
    area_m2: float
    before: dict[str, float]
    after: dict[str, float]


def _candidates(
    comparison: Comparison,
    patches: Sequence[PixelPatch],
    looks: Sequence[Looked],
    area: Area,
    surroundings: Surroundings,
) -> list[_Candidate]:
    """Put together what is known of candidates; many at a time cost little more than one."""
    unmeasured = [i for i, look in enumerate(looks) if look.form is None]
    made = dict(zip(unmeasured, forms_of(comparison, [patches[i] for i in unmeasured]), strict=True))
    forms = [look.form or made[i] for i, look in enumerate(looks)]
    placed = _placed([form.outline for form in forms], comparison.grid, area, surroundings)
    areas_m2 = geodesic_areas_m2(placed, surroundings.crs)
    names, radiometry_b = feature_radiometry(comparison, comparison.before)
    _, radiometry_a = feature_radiometry(comparison, comparison.after)
    before = [mean_spectrum(patch, names, radiometry_b, after=False) for patch in patches]
    after = [mean_spectrum(patch, names, radiometry_a, after=True) for patch in patches]
    known = zip(patches, _identities(comparison, patches), looks, forms, placed, areas_m2, before, after, strict=True)
    return [_Candidate(*one) for one in known]


def _patch_rows(
    comparison: Comparison,
    fit: Fit,
    candidates: Sequence[_Candidate],
    unseen: Array,
    area: Area,
    surroundings: Surroundings,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    rules, labels, shift_px = comparison.pipeline.patches, _labels(comparison, area), fit.shift_px
    unseen = unseen[np.argsort(unseen[:, 0], kind="stable")]
    hidden = np.ascontiguousarray(unseen[:, 0]), unseen
    rows, lines = [], []
    geometries = [candidate.geometry for candidate in candidates]
    carriers, coasts = _carriers(geometries, surroundings), _at_coast(geometries, surroundings)
    evidences = _evidence(comparison, fit, candidates, carriers, coasts)
    for candidate, carrier, evidence in zip(candidates, carriers, evidences, strict=True):
        named = name_activity(evidence, comparison.pipeline.activity)
        if candidate.area_m2 < smallest_area_m2(named.activity, rules.min_area_m2):
            continue
        rows.append(
            {"patch_id": candidate.patch_id}
            | labels
            | {
                "activity_code": str(named.activity),
                "activity_zh": named.activity.zh,
                "activity_en": named.activity.en,
                "energy": named.energy and str(named.energy),
                "act": named.act and str(named.act),
                "natural": named.natural and str(named.natural),
                "natural_zh": named.natural and named.natural.zh,
                "natural_en": named.natural and named.natural.en,
                "confidence": named.confidence,
                "reasons": "; ".join(named.reasons),
                **_stage(candidate.look),
                "carrier": carrier,
                "change_code": None,
                "area_ha": round(candidate.area_m2 / 1e4, 4),
                "area_m2": candidate.area_m2,
                "strength": strength_of(candidate.patch),
                "observed_share": observed_around(candidate.patch, *hidden),
                "shift_px": shift_px,
                "spectrum_before": json.dumps(candidate.before),
                "spectrum_after": json.dumps(candidate.after),
                "geometry": candidate.geometry,
            }
        )
        lines.append(candidate.form.line if named.activity is Activity.ROAD else None)
    rows = [row | extra for row, extra in zip(rows, _overlaps(rows, area, surroundings), strict=True)]
    return rows, [
        _road_row(row, line, comparison, area, surroundings)
        for row, line in zip(rows, lines, strict=True)
        if line is not None
    ]


def _stage(look: Looked) -> dict[str, Any]:
    return {
        "stage": str(look.stage),
        "stage_zh": look.stage.zh,
        "stage_en": look.stage.en,
        "time_facts": "; ".join(look.facts) or None,
    }


def _suppressed_rows(comparison: Comparison, candidates: Sequence[_Candidate], area: Area) -> list[dict[str, Any]]:
    """What looked like a change and is none: with the reason, where anyone can check it."""
    rows = []
    smallest_m2, labels = comparison.pipeline.patches.min_area_m2.default, _labels(comparison, area)
    for candidate in candidates:
        look = candidate.look
        if look.reason is None or candidate.area_m2 < smallest_m2:
            continue
        rows.append(
            {"patch_id": candidate.patch_id}
            | labels
            | {
                "reason": str(look.reason),
                "reason_zh": look.reason.zh,
                "reason_en": look.reason.en,
                "facts": "; ".join(look.facts),
                "stage": str(look.stage),
                "area_ha": round(candidate.area_m2 / 1e4, 4),
                "strength": strength_of(candidate.patch),
                "spectrum_before": json.dumps(candidate.before),
                "spectrum_after": json.dumps(candidate.after),
                "geometry": candidate.geometry,
            }
        )
    return rows


def _placed(shapes: list[BaseGeometry], grid: Grid, area: Area, surroundings: Surroundings) -> list[MultiPolygon]:
    """Outlines in the output CRS, cut to the area."""
    if not shapes:
        return []
    stack = shapely.geometrycollections(shapes)
    moved = shapely.get_parts(transformed(stack, grid.crs, surroundings.crs, surroundings.allowed))
    with prepared(area.geometry):
        whole = shapely.covers(area.geometry, moved)
    cut = [m if w else shapely.intersection(m, area.geometry) for m, w in zip(moved, whole, strict=True)]
    return [polygons_of(geometry) for geometry in cut]


def _evidence(
    comparison: Comparison,
    fit: Fit,
    candidates: Sequence[_Candidate],
    carriers: Sequence[str | None],
    coasts: Sequence[bool],
) -> Iterator[Evidence]:
    """Yield what the activity of each candidate is decided on."""
    pixel_m, calibrated = comparison.grid.pixel_m, is_calibrated(comparison)
    for candidate, carrier, coast in zip(candidates, carriers, coasts, strict=True):
        form = candidate.form
        yield Evidence(
            candidate.before,
            candidate.after,
            candidate.area_m2,
            form.length_m,
            form.width_m,
            form.rectangularity,
            pixel_m,
            straightness=form.straightness,
            context=candidate.look.context,
            carrier=Carrier.named(carrier) if carrier else None,
            near=frozenset({"coast"}) if coast else frozenset(),
            reflectance=calibrated,
            dark_before=fit.dark_before,
            dark_after=fit.dark_after,
        )


def _labels(comparison: Comparison, area: Area) -> dict[str, Any]:
    return {
        "area_id": area.area_id,
        "area_name": area.name,
        "period": comparison.period,
        "before_date": comparison.before.day_text,
        "after_date": comparison.after.day_text,
        "before_scenes": comparison.before.scene_ids,
        "after_scenes": comparison.after.scene_ids,
        "pipeline": comparison.pipeline.name,
        "pipeline_version": comparison.pipeline.version,
    }


def _road_row(
    row: Mapping[str, Any], line: BaseGeometry, comparison: Comparison, area: Area, surroundings: Surroundings
) -> dict[str, Any]:
    """The row of a road: its centre line within the area, and the width that its surface then has."""
    placed = transformed(line, comparison.grid.crs, surroundings.crs, surroundings.allowed)
    inside = shapely.intersection(placed, area.geometry)
    parts = [part for part in shapely.get_parts(inside) if part.geom_type == "LineString"]
    road = shapely.multilinestrings(parts)
    length = geodesic_length_m(road, surroundings.crs)
    width = row["area_ha"] * 1e4 / length if length > 0 else None
    return {
        **row,
        "length_m": round(length, 1),
        "width_m": None if width is None else round(width, 1),
        "geometry": road,
    }


def smallest_area_m2(activity: Activity, minimum: MinimumArea) -> float:
    """Return the smallest area, in square metres, at which a patch of `activity` is published."""
    named = {
        Activity.ROAD: minimum.road,
        Activity.SETTLEMENT: minimum.settlement,
        Activity.UNDETERMINED: minimum.undetermined,
    }
    return named.get(activity, minimum.default)


def _identities(comparison: Comparison, patches: Sequence[PixelPatch]) -> list[str]:
    """Identities from place and dates: the same patch found again gets the same one."""
    transform, wkt = comparison.grid.transform, wkt_of(comparison.grid.crs)
    dates, found = (comparison.before.day_text, comparison.after.day_text), []
    for patch in patches:
        x, y = transform * (int(patch.runs[0, 1]), int(patch.runs[0, 0]))
        place = [wkt, [round(x, 6), round(y, 6)]]
        text = json.dumps([comparison.area.area_id, comparison.period, comparison.pipeline.name, *place, *dates])
        found.append(f"{comparison.period}-{hashlib.sha256(text.encode()).hexdigest()[:12]}")
    return found


def _carriers(geometries: Sequence[BaseGeometry], surroundings: Surroundings) -> list[str | None]:
    """What was there before, by the largest share under each patch; None where no layer was given."""
    if surroundings.carriers is None:
        return [None] * len(geometries)
    return [majority(share) for share in overlap_shares_of(geometries, surroundings.carrier_overlay, surroundings.crs)]


def _at_coast(geometries: Sequence[BaseGeometry], surroundings: Surroundings) -> list[bool]:
    """Whether each patch touches ground that the carrier layer calls shoreline or nearshore water."""
    at_sea, _ = surroundings.sea.query(np.array(geometries, object), predicate="intersects")
    touching = set(at_sea.tolist())
    return [number in touching for number in range(len(geometries))]


def _overlaps(rows: Sequence[Mapping[str, Any]], area: Area, surroundings: Surroundings) -> list[dict[str, Any]]:
    """Shares of areas and zones under each patch."""
    crs, geometries = surroundings.crs, [row["geometry"] for row in rows]
    areas = overlap_shares_of(geometries, surroundings.area_overlay, crs)
    zones = overlap_shares_of(geometries, [(zone.zone, zone.geometry) for zone in area.zones], crs)
    return [
        {
            "area_shares": json.dumps(a, ensure_ascii=False),
            "zone_shares": json.dumps(z, ensure_ascii=False),
        }
        for a, z in zip(areas, zones, strict=True)
    ]
