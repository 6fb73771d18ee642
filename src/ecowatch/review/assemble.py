"""From the run-lengths of all tiles of an area to its patches, its coverage and what was not observed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from pyproj import CRS
from shapely.geometry import MultiPolygon
from shapely.geometry.base import BaseGeometry

from ..areas import Area, Carriers, majority, overlap_shares_of
from ..codes import Activity, NotObserved, State
from ..grid import Grid, Window, geodesic_area_m2, geodesic_length_m, transformed
from ..patches import (
    Evidence,
    PixelPatch,
    mean_spectrum,
    name_activity,
    outline_of_runs,
    patches_from_runs,
    polygon_of,
    shape_of,
    simplified,
    strength_of,
)
from ..raster import burn
from ..settings import MinimumArea, Pipeline
from .fit import Fit, area_blocks
from .pair import Comparison
from .pixels import feature_radiometry
from .tile import TileResult

Array = np.ndarray[Any, Any]
_SURROUNDINGS_PX = 3


@dataclass(frozen=True)
class Coverage:
    """Pixels of one area under one pipeline: expected = observed + not observed + failed."""

    expected_px: int
    observed_px: int
    failed_px: int

    @property
    def not_observed_px(self) -> int:
        """Pixels that were read but not seen clearly in both dates."""
        return self.expected_px - self.observed_px - self.failed_px

    @property
    def observed_share(self) -> float:
        """Share of the area that was really seen, 4 decimals."""
        return round(self.observed_px / self.expected_px, 4) if self.expected_px else 0.0


@dataclass(frozen=True)
class AreaResult:
    """All that is published of one area under one pipeline; geometries are in the output CRS.

    Parameters
    ----------
    area
        In the output CRS.
    pipeline
        None where the area had no scenes at all.
    comparison, fit
        None where no pair could be compared.
    coverage
        Pixel accounting; zero pixels where there was no grid.
    patches, roads
        Rows of the layers `patch` and `patch_road`.
    unseen
        Rows of the layer `not_observed`.
    note
        Code and finding where the area could not be compared.
    """

    area: Area
    pipeline: Pipeline | None
    comparison: Comparison | None
    fit: Fit | None
    coverage: Coverage
    patches: tuple[Mapping[str, Any], ...] = ()
    roads: tuple[Mapping[str, Any], ...] = ()
    unseen: tuple[Mapping[str, Any], ...] = ()
    note: str | None = None


@dataclass(frozen=True)
class Surroundings:
    """What patches are laid over, all in the output CRS.

    Parameters
    ----------
    crs
        The output CRS.
    allowed
        Datums that may be taken as equal.
    areas
        All areas, for overlaps.
    carriers
        What was there before, if given.
    """

    crs: CRS
    allowed: frozenset[str]
    areas: tuple[Area, ...]
    carriers: Carriers | None = None


def assemble(
    comparison: Comparison,
    fit: Fit,
    tiles: Sequence[TileResult],
    failed: Sequence[Window],
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
    patches = _pixel_patches(comparison, tiles)
    rows, roads = _patch_rows(comparison, fit, patches, unseen, area, surroundings)
    return AreaResult(
        area,
        comparison.pipeline,
        comparison,
        fit,
        coverage,
        tuple(rows),
        tuple(roads),
        tuple(_unseen_rows(comparison, unseen, failed, area, surroundings)),
    )


def not_compared(area: Area, pipeline: Pipeline | None, note: str, surroundings: Surroundings) -> AreaResult:
    """Return the result of an area that could not be compared: wholly not observed, with the reason."""
    placed = area.in_crs(surroundings.crs, surroundings.allowed)
    row = _unseen_row(placed, pipeline, NotObserved.NO_PAIR, placed.geometry, surroundings.crs)
    return AreaResult(placed, pipeline, None, None, Coverage(0, 0, 0), unseen=(row,), note=note)


def _inside_px(comparison: Comparison, tile: Window) -> int:
    grid, geometry = comparison.grid, comparison.area.geometry
    parts = [block.intersection(tile) for block in area_blocks(comparison, tile)]
    return sum(int(burn(geometry, grid.cropped(part)).sum()) for part in parts if part is not None)


def _pixel_patches(comparison: Comparison, tiles: Sequence[TileResult]) -> list[PixelPatch]:
    bands = len(feature_radiometry(comparison, comparison.before)[0])
    runs = np.concatenate([np.empty((0, 3), np.int32), *(t.blocks.runs for t in tiles)])
    sums = np.concatenate([np.empty((0, 3 + 2 * bands), np.int64), *(t.blocks.sums for t in tiles)])
    pipeline = comparison.pipeline
    smallest = min(pipeline.patches.min_area_m2.model_dump().values())
    # A pixel fewer than the smallest area: the final decision is taken on the outline, by activity.
    min_px = max(1, math.floor(smallest / comparison.grid.pixel_m**2) - 1)
    return patches_from_runs(runs, sums, min_strong_px=pipeline.detect.min_strong_px, min_px=min_px)


def _patch_rows(
    comparison: Comparison,
    fit: Fit,
    patches: list[PixelPatch],
    unseen: Array,
    area: Area,
    surroundings: Surroundings,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    grid, rules = comparison.grid, comparison.pipeline.patches
    outlines = [polygon_of(p, grid, max_hole_m2=rules.max_hole_m2) for p in patches]
    placed = _placed(simplified(outlines, tolerance=rules.simplify_px * max(grid.pixel_size)), grid, area, surroundings)
    unseen = unseen[np.argsort(unseen[:, 0], kind="stable")]
    rows, lines = [], []
    for patch, outline, geometry in zip(patches, outlines, placed, strict=True):
        area_m2 = geodesic_area_m2(geometry, surroundings.crs)
        evidence, line = _evidence(comparison, patch, outline, area_m2)
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
                "confidence": named.confidence,
                "reasons": "; ".join(named.reasons),
                "change_code": None,
                "area_ha": round(area_m2 / 1e4, 4),
                "strength": strength_of(patch),
                "observed_share": _observed_around(patch, unseen),
                "shift_px": fit.shift_px,
                "spectrum_before": json.dumps(evidence.before),
                "spectrum_after": json.dumps(evidence.after),
                "geometry": geometry,
            }
        )
        lines.append(line if named.activity is Activity.ROAD else None)
    rows = [row | extra for row, extra in zip(rows, _overlaps(rows, area, surroundings), strict=True)]
    return rows, [
        _road_row(row, line, comparison, area, surroundings)
        for row, line in zip(rows, lines, strict=True)
        if line is not None
    ]


def _placed(shapes: list[BaseGeometry], grid: Grid, area: Area, surroundings: Surroundings) -> list[MultiPolygon]:
    """Outlines in the output CRS, cut to the area."""
    if not shapes:
        return []
    stack = shapely.geometrycollections(shapes)
    moved = shapely.get_parts(transformed(stack, grid.crs, surroundings.crs, surroundings.allowed))
    shapely.prepare(area.geometry)
    whole = shapely.covers(area.geometry, moved)
    cut = [m if w else shapely.intersection(m, area.geometry) for m, w in zip(moved, whole, strict=True)]
    return [_polygons(geometry) for geometry in cut]


def _evidence(
    comparison: Comparison, patch: PixelPatch, outline: BaseGeometry, area_m2: float
) -> tuple[Evidence, BaseGeometry | None]:
    names, radiometry_b = feature_radiometry(comparison, comparison.before)
    _, radiometry_a = feature_radiometry(comparison, comparison.after)
    length, width, rectangularity, line = shape_of(patch, outline, comparison.grid)
    before = mean_spectrum(patch, names, radiometry_b, after=False)
    after = mean_spectrum(patch, names, radiometry_a, after=True)
    return Evidence(before, after, area_m2, length, width, rectangularity, comparison.grid.pixel_m), line


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


def _overlaps(rows: Sequence[Mapping[str, Any]], area: Area, surroundings: Surroundings) -> list[dict[str, Any]]:
    """Shares of areas, zones and carriers under each patch."""
    crs, geometries = surroundings.crs, [row["geometry"] for row in rows]
    areas = overlap_shares_of(geometries, [(other.area_id, other.geometry) for other in surroundings.areas], crs)
    zones = overlap_shares_of(geometries, [(zone.zone, zone.geometry) for zone in area.zones], crs)
    carriers: list[str | None] = [None] * len(rows)
    if surroundings.carriers is not None:
        carriers = [majority(share) for share in overlap_shares_of(geometries, surroundings.carriers.parts, crs)]
    return [
        {
            "area_shares": json.dumps(a, ensure_ascii=False),
            "zone_shares": json.dumps(z, ensure_ascii=False),
            "carrier": carrier,
        }
        for a, z, carrier in zip(areas, zones, carriers, strict=True)
    ]


def _observed_around(patch: PixelPatch, unseen: Array) -> float:
    """Share of the patch's frame, grown by a few pixels, that was not hidden: a low one means it may go on unseen."""
    window = patch.window.padded(_SURROUNDINGS_PX)
    first, last = np.searchsorted(unseen[:, 0], (window.row0, window.row1))
    part = unseen[first:last]
    hidden = np.clip(np.minimum(part[:, 2], window.col1) - np.maximum(part[:, 1], window.col0), 0, None).sum()
    return round(1 - float(hidden) / math.prod(window.shape), 4)


def _unseen_rows(
    comparison: Comparison,
    unseen: Array,
    failed: Sequence[Window],
    area: Area,
    surroundings: Surroundings,
) -> list[dict[str, Any]]:
    grid, crs, allowed = comparison.grid, surroundings.crs, surroundings.allowed
    rows = []
    for state, reason in ((State.MASKED, NotObserved.MASKED), (State.NO_DATA, NotObserved.NO_DATA)):
        runs = unseen[unseen[:, 3] == state]
        if len(runs):
            outline = transformed(outline_of_runs(runs, grid), grid.crs, crs, allowed)
            rows.append(_unseen_row(area, comparison.pipeline, reason, outline, crs))
    if failed:
        tiles = shapely.union_all([shapely.box(*grid.window_bounds(tile)) for tile in failed])
        placed = transformed(tiles, grid.crs, crs, allowed)
        outline = shapely.intersection(placed, area.geometry)
        rows.append(_unseen_row(area, comparison.pipeline, NotObserved.FAILED, outline, crs))
    return rows


def _unseen_row(
    area: Area, pipeline: Pipeline | None, reason: NotObserved, geometry: BaseGeometry, crs: CRS
) -> dict[str, Any]:
    polygons = _polygons(geometry)
    return {
        "area_id": area.area_id,
        "pipeline": pipeline.name if pipeline else None,
        "reason": str(reason),
        "reason_zh": reason.zh,
        "reason_en": reason.en,
        "area_ha": round(geodesic_area_m2(polygons, crs) / 1e4, 4),
        "geometry": polygons,
    }


def _polygons(geometry: BaseGeometry) -> MultiPolygon:
    parts = [p for p in shapely.get_parts(geometry) if p.geom_type == "Polygon" and not p.is_empty]
    parts += [q for p in shapely.get_parts(geometry) if p.geom_type == "MultiPolygon" for q in p.geoms]
    return MultiPolygon(parts)
