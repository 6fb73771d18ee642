"""From the run-lengths of all tiles of an area to its patches, its coverage and what was not observed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import shapely
from shapely.geometry import MultiPolygon
from shapely.geometry.base import BaseGeometry

from ..areas import Area, majority, overlap_shares_of
from ..codes import Activity, Carrier, NotObserved
from ..grid import Grid, Window, geodesic_area_m2, geodesic_length_m, transformed
from ..patches import (
    Evidence,
    PixelPatch,
    mean_spectrum,
    name_activity,
    strength_of,
)
from ..raster import burn
from ..settings import MinimumArea, Pipeline
from .candidates import pixel_patches
from .fit import Fit, area_blocks
from .form import Form, forms_of
from .look import Looked
from .pair import Comparison
from .pixels import feature_radiometry, is_calibrated
from .result import AreaResult, Coverage, Surroundings
from .tile import TileResult
from .unseen import observed_around, polygons_of, unseen_row, unseen_rows

Array = np.ndarray[Any, Any]


def assemble(
    comparison: Comparison,
    fit: Fit,
    tiles: Sequence[TileResult],
    failed: Sequence[Window],
    looks: Sequence[Looked],
    surroundings: Surroundings,
) -> AreaResult:
    """Join the tiles of one comparison into rows.

    Parameters
    ----------
    comparison, fit
        What was compared, and how it was fitted.
    tiles
        Results of the tiles that went well, in any order.
    failed
        Tiles that did not.
    looks
        What the second look says of each of `pixel_patches`, in their order.
    surroundings
        Other areas and carriers.
    """
    area = comparison.area.in_crs(surroundings.crs, surroundings.allowed)
    unseen = np.concatenate([np.empty((0, 4), np.int32), *(t.blocks.unseen for t in tiles)])
    failed_px = sum(_inside_px(comparison, tile) for tile in failed)
    coverage = Coverage(
        expected_px=sum(t.inside_px for t in tiles) + failed_px,
        observed_px=sum(t.observed_px for t in tiles),
        failed_px=failed_px,
    )
    if coverage.not_observed_px != int((unseen[:, 2] - unseen[:, 1]).sum()):
        raise AssertionError(f"{area.area_id}: unseen runs and counted pixels disagree")
    patches = pixel_patches(comparison, [tile.blocks for tile in tiles])
    unmeasured = [i for i, look in enumerate(looks) if look.form is None]
    made = dict(zip(unmeasured, forms_of(comparison, [patches[i] for i in unmeasured]), strict=True))
    forms = [look.form or made[i] for i, look in enumerate(looks)]
    placed = _placed([form.outline for form in forms], comparison.grid, area, surroundings)
    candidates = _Candidates(patches, looks, forms, placed)
    kept = candidates.where(lambda look: look.reason is None)
    rows, roads = _patch_rows(comparison, fit, kept, unseen, area, surroundings)
    aside = candidates.where(lambda look: look.reason is not None)
    return AreaResult(
        area,
        comparison.pipeline,
        comparison,
        fit,
        coverage,
        tuple(rows),
        tuple(roads),
        tuple(_suppressed_rows(comparison, aside, area, surroundings)),
        tuple(unseen_rows(comparison, unseen, failed, area, surroundings)),
    )


def not_compared(area: Area, pipeline: Pipeline | None, note: str, surroundings: Surroundings) -> AreaResult:
    """Return the result of an area that could not be compared: wholly not observed, with the reason."""
    placed = area.in_crs(surroundings.crs, surroundings.allowed)
    row = unseen_row(placed, pipeline, NotObserved.NO_PAIR, placed.geometry, surroundings.crs)
    return AreaResult(placed, pipeline, None, None, Coverage(0, 0, 0), unseen=(row,), note=note)


def _inside_px(comparison: Comparison, tile: Window) -> int:
    grid, geometry = comparison.grid, comparison.area.geometry
    parts = [block.intersection(tile) for block in area_blocks(comparison, tile)]
    return sum(int(burn(geometry, grid.cropped(part)).sum()) for part in parts if part is not None)


class _Candidates(NamedTuple):
    """Candidates with what is known of each; all of one length."""

    patches: Sequence[PixelPatch]
    looks: Sequence[Looked]
    forms: Sequence[Form]
    placed: Sequence[MultiPolygon]

    def where(self, holds: Callable[[Looked], bool]) -> _Candidates:
        chosen = [i for i, look in enumerate(self.looks) if holds(look)]
        return _Candidates(
            [self.patches[i] for i in chosen],
            [self.looks[i] for i in chosen],
            [self.forms[i] for i in chosen],
            [self.placed[i] for i in chosen],
        )


def _patch_rows(
    comparison: Comparison,
    fit: Fit,
    candidates: _Candidates,
    unseen: Array,
    area: Area,
    surroundings: Surroundings,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    rules = comparison.pipeline.patches
    unseen = unseen[np.argsort(unseen[:, 0], kind="stable")]
    hidden, shift_px = (np.ascontiguousarray(unseen[:, 0]), unseen), fit.shift_px
    rows, lines = [], []
    carriers = _carriers(candidates.placed, surroundings)
    coasts = _at_coast(candidates.placed, surroundings)
    for patch, look, form, geometry, carrier, coast in zip(*candidates, carriers, coasts, strict=True):
        area_m2 = geodesic_area_m2(geometry, surroundings.crs)
        evidence = _evidence(comparison, fit, patch, look, form, area_m2, carrier, coast)
        named = name_activity(evidence, comparison.pipeline.activity)
        if area_m2 < smallest_area_m2(named.activity, rules.min_area_m2):
            continue
        rows.append(
            _identity(comparison, patch)
            | _labels(comparison, area)
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
                **_stage(look),
                "carrier": carrier,
                "change_code": None,
                "area_ha": round(area_m2 / 1e4, 4),
                "strength": strength_of(patch),
                "observed_share": observed_around(patch, *hidden),
                "shift_px": shift_px,
                "spectrum_before": json.dumps(evidence.before),
                "spectrum_after": json.dumps(evidence.after),
                "geometry": geometry,
            }
        )
        lines.append(form.line if named.activity is Activity.ROAD else None)
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


def _suppressed_rows(
    comparison: Comparison, candidates: _Candidates, area: Area, surroundings: Surroundings
) -> list[dict[str, Any]]:
    """What looked like a change and is none: with the reason, where anyone can check it."""
    rows = []
    names, radiometry_b = feature_radiometry(comparison, comparison.before)
    _, radiometry_a = feature_radiometry(comparison, comparison.after)
    for patch, look, _, geometry in zip(*candidates, strict=True):
        area_m2 = geodesic_area_m2(geometry, surroundings.crs)
        if look.reason is None or area_m2 < comparison.pipeline.patches.min_area_m2.default:
            continue
        rows.append(
            _identity(comparison, patch)
            | _labels(comparison, area)
            | {
                "reason": str(look.reason),
                "reason_zh": look.reason.zh,
                "reason_en": look.reason.en,
                "facts": "; ".join(look.facts),
                "stage": str(look.stage),
                "area_ha": round(area_m2 / 1e4, 4),
                "strength": strength_of(patch),
                "spectrum_before": json.dumps(mean_spectrum(patch, names, radiometry_b, after=False)),
                "spectrum_after": json.dumps(mean_spectrum(patch, names, radiometry_a, after=True)),
                "geometry": geometry,
            }
        )
    return rows


def _placed(shapes: list[BaseGeometry], grid: Grid, area: Area, surroundings: Surroundings) -> list[MultiPolygon]:
    """Outlines in the output CRS, cut to the area."""
    if not shapes:
        return []
    stack = shapely.geometrycollections(shapes)
    moved = shapely.get_parts(transformed(stack, grid.crs, surroundings.crs, surroundings.allowed))
    shapely.prepare(area.geometry)
    whole = shapely.covers(area.geometry, moved)
    cut = [m if w else shapely.intersection(m, area.geometry) for m, w in zip(moved, whole, strict=True)]
    return [polygons_of(geometry) for geometry in cut]


def _evidence(
    comparison: Comparison,
    fit: Fit,
    patch: PixelPatch,
    look: Looked,
    form: Form,
    area_m2: float,
    carrier: str | None,
    coast: bool,
) -> Evidence:
    names, radiometry_b = feature_radiometry(comparison, comparison.before)
    _, radiometry_a = feature_radiometry(comparison, comparison.after)
    before = mean_spectrum(patch, names, radiometry_b, after=False)
    after = mean_spectrum(patch, names, radiometry_a, after=True)
    return Evidence(
        before,
        after,
        area_m2,
        form.length_m,
        form.width_m,
        form.rectangularity,
        comparison.grid.pixel_m,
        straightness=form.straightness,
        context=look.context,
        carrier=Carrier.named(carrier) if carrier else None,
        near=frozenset({"coast"}) if coast else frozenset(),
        reflectance=is_calibrated(comparison),
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


def _identity(comparison: Comparison, patch: PixelPatch) -> dict[str, Any]:
    """Identity from place and dates: the same patch found again gets the same one."""
    row, col = int(patch.runs[0, 0]), int(patch.runs[0, 1])
    x, y = comparison.grid.transform * (col, row)
    text = json.dumps(
        [
            comparison.area.area_id,
            comparison.period,
            comparison.pipeline.name,
            comparison.grid.crs.to_wkt(),
            [round(x, 6), round(y, 6)],
            comparison.before.day_text,
            comparison.after.day_text,
        ]
    )
    return {"patch_id": f"{comparison.period}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"}


def _carriers(geometries: Sequence[BaseGeometry], surroundings: Surroundings) -> list[str | None]:
    """What was there before, by the largest share under each patch; None where no layer was given."""
    if surroundings.carriers is None:
        return [None] * len(geometries)
    return [majority(share) for share in overlap_shares_of(geometries, surroundings.carrier_overlay, surroundings.crs)]


def _at_coast(geometries: Sequence[BaseGeometry], surroundings: Surroundings) -> list[bool]:
    """Whether each patch touches ground that the carrier layer calls shoreline or nearshore water."""
    return [len(surroundings.sea.query(geometry, predicate="intersects")) > 0 for geometry in geometries]


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
