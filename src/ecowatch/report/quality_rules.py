"""The rules that a published layer must satisfy: each is one function from a layer to its findings.

After the rule set of a European change product (EEA Natura 2000: enum, before ≠ after, single-part, valid, stored area, minimum
area with the complex change, minimum width by a negative buffer), with relative tolerances and areas on the ellipsoid.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..codes import Activity, ChangeKind
from ..errors import EcowatchError
from ..grid import coordinate_transformer, geodesic_area_m2, geodesic_length_m
from ..ledger import LEDGER_CRS
from ..settings import QualityRules, shipped_pipelines
from .published_columns import CODE_LISTS, COLUMNS, ZONE_HA, ZONE_M
from .published_query import period_days
from .quality_sheet import ERROR, WARNING, Finding, Sheet

# What rounding alone may change: four decimals of a hectare, one of a metre.
_HALF_HA4_M2, _HALF_DM_M = 0.5, 0.05
_SHARES_SLACK = 1e-3
_CLOSED_LISTS = {name: {code for code, _, _ in codes} for name, codes in CODE_LISTS.items()}
_CLOSED = {c.name: _CLOSED_LISTS[c.codes] for c in COLUMNS.values() if c.codes} | {
    "BHQK": {"1", "2", "3"},
    "direction": {"gain", "loss"},
}
_EQUATOR_M, _FLATTENING = 6378137.0, 1 / 298.257222101


Rule = Callable[[Sheet, QualityRules], Iterator[Finding]]


def required(sheet: Sheet, _: QualityRules) -> Iterator[Finding]:
    """Columns that must be there and filled."""
    for column in sheet.expected.required:
        if column not in sheet.frame:
            yield Finding("required", sheet.layer, "", f"column {column} is missing", ERROR)
            continue
        blank = [text.strip() == "" for text in sheet.texts(column)]
        yield from sheet.found("required", np.flatnonzero(blank), f"{column} is empty")


def enum(sheet: Sheet, _: QualityRules) -> Iterator[Finding]:
    """Coded values stand in their list."""
    for column, known in _CLOSED.items():
        if column in sheet.frame and column not in sheet.expected.open_codes:
            texts = sheet.texts(column)
            bad = [row for row, text in enumerate(texts) if text and text not in known]
            yield from sheet.found("enum", bad, lambda row, c=column, t=texts: f"{c} {t[row]!r} stands in no list")


def unique(sheet: Sheet, _: QualityRules) -> Iterator[Finding]:
    """An identity stands once."""
    for column in (sheet.expected.key, "CODE"):
        if column in sheet.frame:
            values = pd.Series(sheet.texts(column))
            twice = np.flatnonzero(values.duplicated() & (values != ""))
            yield from sheet.found("unique", twice, lambda row, c=column, v=values: f"{c} {v[row]!r} stands twice")


def before_after(sheet: Sheet, _: QualityRules) -> Iterator[Finding]:
    """The date before lies before the date after, and a change changes something."""
    if sheet.has("before_date", "after_date"):
        before, after = _days(sheet, "before_date"), _days(sheet, "after_date")
        for column, days in (("before_date", before), ("after_date", after)):
            texts = sheet.texts(column)
            bad = [row for row, text in enumerate(texts) if text and pd.isna(days[row])]
            yield from sheet.found("before_after", bad, lambda row, c=column, t=texts: f"{c} {t[row]!r} is no date")
        wrong = np.flatnonzero(before >= after)
        yield from sheet.found(
            "before_after", wrong, lambda row: f"before {before[row]:%Y-%m-%d}, after {after[row]:%Y-%m-%d}"
        )
    if sheet.layer.startswith("change") and sheet.has("change_code", "problem_id"):
        codes = np.array(sheet.texts("change_code"), dtype=object)
        unseen, same = codes == ChangeKind.NOT_OBSERVED, codes == ChangeKind.CONTINUING
        lone = (codes == "") != (np.array(sheet.texts("problem_id"), dtype=object) == "")
        yield from sheet.found(
            "before_after", np.flatnonzero(lone), "a problem without a change, or a change of no problem"
        )
        yield from sheet.found("before_after", np.flatnonzero(unseen), "a change that was not observed")
        yield from sheet.found("before_after", np.flatnonzero(same), "a change that changes nothing (0)", WARNING)


def period(sheet: Sheet, _: QualityRules) -> Iterator[Finding]:
    """Dates lie inside the period, earlier periods before its end."""
    if "period" not in sheet.frame:
        return
    first, last = _bounds(sheet, "period", 0), _bounds(sheet, "period", 1)
    shown = sheet.texts("period")
    bad = [row for row, text in enumerate(shown) if text and pd.isna(last[row])]
    yield from sheet.found("period", bad, lambda row: f"{shown[row]!r} is no period")
    if "after_date" in sheet.frame:
        after, late = _days(sheet, "after_date"), "after_date {:%Y-%m-%d} outside {}"
        outside = (after > last) | ((after < first) & sheet.expected.during)
        yield from sheet.found("period", np.flatnonzero(outside), lambda row: late.format(after[row], shown[row]))
    for column in {"opened_period", "last_period"} & set(sheet.frame):
        ends, texts = _bounds(sheet, column, 1), sheet.texts(column)
        wrong = np.flatnonzero(ends > last)
        yield from sheet.found("period", wrong, lambda row, c=column, t=texts: f"{c} {t[row]} after {shown[row]}")


def _days(sheet: Sheet, column: str) -> pd.Series:
    return pd.to_datetime(pd.Series(sheet.texts(column)), format="%Y-%m-%d", errors="coerce")


def _bounds(sheet: Sheet, column: str, end: int) -> pd.Series:
    texts = sheet.texts(column)
    known: dict[str, Any] = {}
    for text in set(texts):
        try:
            known[text] = pd.Timestamp(period_days(text)[end])
        except EcowatchError:
            known[text] = pd.NaT
    return pd.to_datetime(pd.Series([known[text] for text in texts], dtype="datetime64[us]"))


def valid_geometry(sheet: Sheet, _: QualityRules) -> Iterator[Finding]:
    """Geometries are there, and valid by the rules of the OGC."""
    none = shapely.is_missing(sheet.shapes) | shapely.is_empty(sheet.shapes)
    yield from sheet.found("valid_geometry", np.flatnonzero(none), "no geometry")
    bad = np.flatnonzero(~none & ~shapely.is_valid(sheet.shapes))
    yield from sheet.found("valid_geometry", bad, lambda row: str(shapely.is_valid_reason(sheet.shapes[row])))
    told = "it lists a part or a ring that it does not draw"
    yield from sheet.found("valid_geometry", np.flatnonzero(sheet.hollow), told)


def single_part(sheet: Sheet, rules: QualityRules) -> Iterator[Finding]:
    """A polygon has one part, or is a complex change: each part and the whole large enough to live as one."""
    if not sheet.expected.sized:
        return
    least, parts = _least_m2(sheet, rules)
    many = sheet.surfaces[shapely.get_num_geometries(sheet.shapes[sheet.surfaces]) > 1]
    smallest = {
        row: min(geodesic_area_m2(part, sheet.crs) for part in shapely.get_parts(sheet.shapes[row])) for row in many
    }
    whole = sheet.areas_m2
    bad = [row for row in many if smallest[row] < parts[row] or whole[row] < least[row]]
    told = "{} parts, the smallest of {:.1f} m2, {:.1f} m2 in all"
    yield from sheet.found(
        "single_part",
        bad,
        lambda row: told.format(shapely.get_num_geometries(sheet.shapes[row]), smallest[row], whole[row]),
    )


def overlap(sheet: Sheet, rules: QualityRules) -> Iterator[Finding]:
    """Neighbours of one class share no ground."""
    if not sheet.expected.apart or not sheet.has(*sheet.expected.apart):
        return
    rows = sheet.surfaces
    classes = (
        pd.DataFrame({c: sheet.texts(c) for c in sheet.expected.apart}).groupby(list(sheet.expected.apart)).ngroup()
    )
    first, second = _pairs(sheet.shapes[rows], classes.to_numpy()[rows])
    common = shapely.intersection(sheet.shapes[rows[first]], sheet.shapes[rows[second]])
    meeting = np.flatnonzero(shapely.area(common) > 0)
    shared = {i: geodesic_area_m2(common[i], sheet.crs) for i in meeting}
    named = (
        sheet.texts(sheet.expected.key)
        if sheet.has(sheet.expected.key)
        else [str(i + 1) for i in range(len(sheet.frame))]
    )
    for i, area_m2 in shared.items():
        if area_m2 > rules.overlap_m2:
            told = f"shares {area_m2:.1f} m2 with {named[rows[second[i]]]} of the same class"
            yield from sheet.found("overlap", [rows[first[i]]], told)


def _pairs(shapes: NDArray[np.object_], classes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (first before second) of shapes of one class that meet."""
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    kept = (first < second) & (classes[first] == classes[second])
    order = np.lexsort((second[kept], first[kept]))
    return first[kept][order], second[kept][order]


def area(sheet: Sheet, rules: QualityRules) -> Iterator[Finding]:
    """The stored area is the area on the ellipsoid."""
    told = "{} {:.4f}, computed {:.4f} ha"
    for column in ("area_ha", "MJ"):
        if column in sheet.frame and len(sheet.shapes):
            stored = sheet.numbers(column) * 1e4
            slack = rules.area_tolerance * sheet.areas_m2 + _HALF_HA4_M2
            wrong = np.flatnonzero(np.abs(stored - sheet.areas_m2) > slack)
            yield from sheet.found(
                "area",
                wrong,
                lambda row, c=column, s=stored: told.format(c, s[row] / 1e4, sheet.areas_m2[row] / 1e4),
            )


def min_area(sheet: Sheet, rules: QualityRules) -> Iterator[Finding]:
    """A polygon is large enough, or a part of connected ones of the same activity that together are."""
    if not sheet.expected.sized or not sheet.has("activity_code"):
        return
    rows = sheet.surfaces
    area_m2, activity = (
        sheet.areas_m2[rows],
        pd.factorize(np.array(sheet.texts("activity_code"), dtype=object)[rows])[0],
    )
    first, second = _pairs(sheet.shapes[rows], activity)
    links = coo_array((np.ones(len(first)), (first, second)), shape=(len(rows), len(rows)))
    group = connected_components(links, directed=False)[1] if len(rows) else np.empty(0, dtype=int)
    together = np.bincount(group, weights=area_m2)[group] if len(rows) else area_m2
    least, part = (limit[rows] for limit in _least_m2(sheet, rules))
    small = np.flatnonzero((area_m2 < least) & ~((together >= least) & (area_m2 >= part)))
    told = {int(rows[i]): f"{area_m2[i]:.1f} m2, {together[i]:.1f} m2 with its neighbours" for i in small}
    yield from sheet.found("min_area", list(told), lambda row: told[int(row)], sheet.expected.sized)


def _least_m2(sheet: Sheet, rules: QualityRules) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Smallest area of each row, alone and as a part; a pipeline for finer images may have a smaller one of its own."""
    names = sheet.texts("pipeline") if sheet.has("pipeline") else [""] * len(sheet.frame)
    own = {name: min(p.patches.min_area_m2.model_dump().values()) for name, p in shipped_pipelines().items()}
    least = np.array([min(rules.min_area_m2, own.get(name, rules.min_area_m2)) for name in names], dtype=float)
    return least, np.minimum(least, rules.complex_min_area_m2)


def min_width(sheet: Sheet, rules: QualityRules) -> Iterator[Finding]:
    """A polygon does not vanish or fall apart when it is made narrower; roads are exempt."""
    if not sheet.expected.sized or not sheet.has("activity_code") or not rules.min_width_m:
        return
    roads = np.array(sheet.texts("activity_code"), dtype=object) == Activity.ROAD
    rows = np.array([row for row in sheet.surfaces if not roads[row]], dtype=int)
    flat = _in_metres(sheet.shapes[rows], sheet.crs)
    left = shapely.buffer(flat, -rules.min_width_m / 2)
    gone = shapely.is_empty(left)
    width = f"{rules.min_width_m:g} m"
    yield from sheet.found("min_width", rows[gone], f"nowhere {width} wide", WARNING)
    parted = ~gone & (shapely.get_num_geometries(left) > shapely.get_num_geometries(flat))
    yield from sheet.found("min_width", rows[parted], f"has a neck narrower than {width}", WARNING)


def _in_metres(shapes: NDArray[np.object_], crs: CRS) -> NDArray[np.object_]:
    """Each shape in metres around its own centre; for distances within it, never for areas."""
    degrees = shapes
    if not crs.is_geographic:
        transformer = coordinate_transformer(crs, LEDGER_CRS, frozenset({"EPSG:4326=EPSG:4490"}))
        degrees = shapely.transform(shapes, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1])))
    centre = shapely.centroid(degrees)
    xy, owner = shapely.get_coordinates(degrees, return_index=True)
    latitude = np.radians(shapely.get_y(centre))[owner]
    squared = _FLATTENING * (2 - _FLATTENING)
    bend = 1 - squared * np.sin(latitude) ** 2
    x = np.radians(xy[:, 0] - shapely.get_x(centre)[owner]) * _EQUATOR_M / np.sqrt(bend) * np.cos(latitude)
    y = np.radians(xy[:, 1] - shapely.get_y(centre)[owner]) * _EQUATOR_M * (1 - squared) / bend**1.5
    moved: NDArray[np.object_] = shapely.set_coordinates(degrees.copy(), np.column_stack([x, y]))
    return moved


def zone_sum(sheet: Sheet, _: QualityRules) -> Iterator[Finding]:
    """What lies in the zones adds up to no more than the whole."""
    told = "zones {:.4f} of {} {:.4f}"
    named = {"area_ha": tuple(ZONE_HA.values()), "MJ": ("HXQMJ", "HCQMJ", "SYQMJ"), "length_m": tuple(ZONE_M.values())}
    for whole, parts in (named | {"CD": ("HXQCD", "HCQCD", "SYQCD")}).items():
        present = [part for part in parts if part in sheet.frame]
        if whole in sheet.frame and present:
            total, size = np.nansum([sheet.numbers(part) for part in present], axis=0), sheet.numbers(whole)
            over = np.flatnonzero(total > size + 1e-6)
            yield from sheet.found(
                "zone_sum", over, lambda row, t=total, s=size, w=whole: told.format(t[row], w, s[row])
            )
    if "zone_shares" in sheet.frame:
        shares = [_share_sum(text) for text in sheet.texts("zone_shares")]
        more = [row for row, share in enumerate(shares) if not share <= 1 + _SHARES_SLACK]
        yield from sheet.found("zone_sum", more, lambda row: f"zone_shares add up to {shares[row]:.4f}")


def _share_sum(text: str) -> float:
    try:
        return float(sum(json.loads(text or "{}").values()))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return float("nan")


def road_length(sheet: Sheet, rules: QualityRules) -> Iterator[Finding]:
    """The stored length of a road is its length on the ellipsoid."""
    lines = np.flatnonzero(sheet.sound & (shapely.get_dimensions(sheet.shapes) == 1))
    computed = np.full(len(sheet.shapes), np.nan)
    computed[lines] = [geodesic_length_m(sheet.shapes[row], sheet.crs) for row in lines]
    told = "{} {:.1f}, computed {:.1f} m"
    for column in ("length_m", "CD"):
        if column in sheet.frame:
            stored = sheet.numbers(column)
            wrong = lines[np.abs(stored - computed)[lines] > (rules.area_tolerance * computed + _HALF_DM_M)[lines]]
            yield from sheet.found(
                "road_length", wrong, lambda row, c=column, s=stored: told.format(c, s[row], computed[row])
            )


RULES: dict[str, Rule] = {
    "required": required,
    "enum": enum,
    "unique": unique,
    "before_after": before_after,
    "period": period,
    "valid_geometry": valid_geometry,
    "single_part": single_part,
    "overlap": overlap,
    "area": area,
    "min_area": min_area,
    "min_width": min_width,
    "zone_sum": zone_sum,
    "road_length": road_length,
}
"""All rules by name, in the order in which they are told."""


def findings_of(sheets: Sequence[Sheet], rules: QualityRules) -> list[Finding]:
    """Return what all rules find in all layers, layer by layer."""
    return [finding for sheet in sheets for rule in RULES.values() for finding in rule(sheet, rules)]
