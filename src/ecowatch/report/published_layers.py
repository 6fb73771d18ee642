"""What the ledger says of a period: the rows of the layers of the published GeoPackage.

What images say (footprint, change, standing, merged) is told as of the period; what people say (state, verdicts, deadlines)
as of the ledger's head, for a later finding that something is no problem must reach the earlier file too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from ..codes import Activity, AreaGrade, ChangeKind, NotObserved, ProblemState, Zone
from ..grid import geodesic_area_m2, geodesic_length_m
from ..ledger import LEDGER_CRS, OWING, geometry_of
from .published_columns import CODE_LISTS, LAYERS, OFFICIAL, ZONE_HA, ZONE_M, columns_of
from .published_query import Asked, last_day
from .published_zones import Zones, amounts_by_zone, disjoint_zones, rounded_within

Frames = dict[str, pd.DataFrame]
Shapes = NDArray[np.object_]

_NATIONAL = {AreaGrade.NATIONAL_PARK, AreaGrade.NATIONAL_RESERVE, AreaGrade.NATIONAL_NATURE_PARK}
_OPERATIONAL = {
    str(ChangeKind.NEW): "1",
    str(ChangeKind.RELAPSED): "1",
    str(ChangeKind.EXPANDED): "2",
    str(ChangeKind.REDUCED): "3",
    str(ChangeKind.ENDED): "3",
}
_SAYS = f"change_code NOT IN ('{ChangeKind.CONTINUING}', '{ChangeKind.NOT_OBSERVED}')"
# A WKB without coordinates has nine bytes.
_DRAWN = "length(geometry) > 9"
# Centre lines may leave the outline they were taken from by a pixel or two; in degrees here, about ten metres.
_LINE_LEEWAY_DEG = 1e-4
_FACTS = (
    *(
        "energy",
        "act",
        "natural",
        "carrier",
        "confidence",
        "reasons",
        "stage",
        "strength",
        "before_scenes",
        "after_scenes",
    ),
    *("observed_share", "shift_px", "pipeline_version"),
)
_ZONE_ZH = {str(zone): zone.zh for zone in Zone}


def layers_of(asked: Asked) -> Frames:
    """Return the tables of all layers in the order of `published_columns.LAYERS`.

    Returns
    -------
    dict
        Layer to its rows, in the order of its key; a GeoDataFrame in CGCS2000 where the layer has geometries.

    Raises
    ------
    LedgerError
        See `Asked.check`.
    """
    asked.check()
    areas = _areas(asked)
    zones = {
        area: disjoint_zones([(z["zone"], geometry_of(z["geometry"])) for z in json.loads(text)])
        for area, text in zip(areas["area_id"], _or(areas["zones"], "[]"), strict=True)
    }
    problems = _problems(asked)
    standing = problems[problems["standing"] == 1].reset_index(drop=True)
    activity = _activity(asked, standing)
    changes = _changes(asked)
    lined = changes[changes["line"].notna()].reset_index(drop=True)
    frames = {
        "activity": _measured(activity, zones),
        "activity_road": _lined(_roads(asked, activity, problems), zones),
        "change": _measured(changes, zones),
        "change_road": _lined(lined.assign(geometry=_shapes(lined["line"])), zones),
        "problem": problems,
        "verdict": _verdicts(asked, problems),
        "area": _summed(asked, areas, activity),
        "not_observed": _not_observed(asked),
    }
    places = areas.set_index("area_id")[["area_name", "grade"]]
    return {layer: _finished(layer, frame, places, asked.period) for layer, frame in frames.items()}


def _areas(asked: Asked) -> pd.DataFrame:
    """The version of each area that holds on the last day; for an assessed area without one, its first version."""
    units = asked.rows(
        "unit", "area_id observed_share issue run_id inputs_digest", "period = ?1 AND :areas ORDER BY area_id"
    )
    columns = "area_id version name kind grade valid_from valid_to zones geometry changes"
    versions = asked.rows("area_version", columns, ":areas ORDER BY area_id, valid_from, seq")
    begun, ended = versions["valid_from"].astype(str) <= asked.day, versions["valid_to"].astype(str)
    valid = versions[begun & ((ended == "") | (ended > asked.day))].drop_duplicates("area_id", keep="last")
    early = versions[versions["area_id"].isin(set(units["area_id"]) - set(valid["area_id"]))]
    chosen = pd.concat([valid, early.drop_duplicates("area_id")])
    chosen = chosen.rename(columns={"name": "area_name", "changes": "boundary_changes"})
    # An area without any boundary keeps its row: that it was assessed must not be lost.
    chosen = chosen.merge(units, on="area_id", how="outer").sort_values("area_id").reset_index(drop=True)
    chosen["area_name"] = _or(chosen["area_name"], chosen["area_id"])
    return chosen.assign(assessed=chosen["issue"].notna().astype(int), geometry=_shapes(chosen["geometry"]))


def _problems(asked: Asked) -> pd.DataFrame:
    columns = (
        "problem_id area_id state opened_period last_period last_change activity_code activity_found area_m2 area_found_m2"
        " area_verified_m2 stock relapses merged_into parents withdrawn responsible deadline rectification evidence geometry"
    )
    table = asked.rows("problem", columns, "opened_period IN :periods AND :areas ORDER BY problem_id")
    identity = table["problem_id"]
    last, drawn = asked.latest("period change_code", "1"), asked.latest("area_m2 geometry", _DRAWN)
    table["last_period"] = _or(identity.map(last["period"]), table["opened_period"])
    table["last_change"] = _or(identity.map(last["change_code"]), table["last_change"])
    table["area_m2"] = _or(identity.map(drawn["area_m2"]), table["area_m2"])
    table["geometry"] = _shapes(_or(identity.map(drawn["geometry"]), table["geometry"]))
    table["merged_into"] = table["merged_into"].mask(identity.isin(_merged_later(asked)), "")
    said = identity.map(asked.latest("change_code", _SAYS)["change_code"])
    gone = (said == ChangeKind.ENDED) | (table["merged_into"] != "") | (table["withdrawn"] == 1)
    gone |= table["state"] == ProblemState.NO_PROBLEM
    late = table["state"].isin([str(state) for state in OWING]) & (table["deadline"] != "")
    late &= table["deadline"].astype(str) < asked.day
    table = table.assign(standing=(~gone).astype(int), overdue=late.astype(int))
    for name in ("area", "area_found", "area_verified"):
        table[f"{name}_ha"] = _rounded(table[f"{name}_m2"], 1e4, 4)
    verdicts = asked.rows("verdict", "problem_id verdict reason reviewer at", "1 ORDER BY at, seq")
    return table.join(verdicts.drop_duplicates("problem_id", keep="last").set_index("problem_id"), on="problem_id")


def _merged_later(asked: Asked) -> set[str]:
    """Problems that were merged only after the period."""
    end = last_day(asked.period)
    events = asked.ledger.events("kind = 'problems_merged'")
    return {merged for e in events if e.period and last_day(e.period) > end for merged in e.payload["merged"]}


def _activity(asked: Asked, standing: pd.DataFrame) -> pd.DataFrame:
    table = standing.join(asked.last_patches("before_date after_date pipeline facts"), on="problem_id")
    return table.assign(**_facts(table["facts"], ["after_scenes"]))


def _changes(asked: Asked) -> pd.DataFrame:
    columns = (
        "patch_id problem_id area_id issue change_code direction activity_code area_m2 before_date after_date pipeline facts"
        " geometry line"
    )
    table = asked.rows("patch", columns, "period = ?1 AND :areas ORDER BY patch_id")
    table = table.assign(geometry=_shapes(table["geometry"]), area_ha=_rounded(table["area_m2"], 1e4, 4))
    return table.assign(**_facts(table["facts"], _FACTS))


def _roads(asked: Asked, activity: pd.DataFrame, problems: pd.DataFrame) -> pd.DataFrame:
    """Standing roads: the lines of all their patches, also of those merged into them, within what is left of them."""
    lines = asked.rows(
        "patch", "problem_id line", "line IS NOT NULL AND period IN :periods AND :areas ORDER BY patch_id"
    )
    into = {p: m for p, m in zip(problems["problem_id"], problems["merged_into"], strict=True) if m}
    lines["problem_id"] = [_survivor(problem, into) for problem in lines["problem_id"]]
    roads = activity[activity["activity_code"] == Activity.ROAD].set_index("problem_id")
    lines = lines[lines["problem_id"].isin(roads.index)].reset_index(drop=True)
    outlines = shapely.buffer(_object(roads["geometry"].reindex(lines["problem_id"])), _LINE_LEEWAY_DEG)
    inside = shapely.intersection(_shapes(lines["line"]), outlines)
    groups = lines.groupby("problem_id").indices
    joined = {problem: _lines_of(shapely.union_all(inside[rows])) for problem, rows in groups.items()}
    kept = sorted(problem for problem, shape in joined.items() if not shape.is_empty)
    return roads.loc[kept].reset_index().assign(geometry=_object([joined[problem] for problem in kept]))


def _survivor(problem: str, into: Mapping[str, str]) -> str:
    for _ in range(len(into)):
        problem = into.get(problem, problem)
    return problem


def _lines_of(shape: BaseGeometry) -> BaseGeometry:
    flat = shapely.get_parts(shapely.get_parts(shape))
    return shapely.normalize(shapely.multilinestrings(flat[shapely.get_type_id(flat) == 1]))


def _measured(table: pd.DataFrame, zones: Mapping[str, Zones]) -> pd.DataFrame:
    """Add what lies in each zone, in hectares."""
    total = table["area_m2"].to_numpy(float)
    shapes = _sound(_object(table["geometry"]))
    amounts, main = amounts_by_zone(shapes, list(table["area_id"]), zones, _area_m2, total)
    parts = rounded_within(amounts, table["area_ha"].to_numpy(float), scale=1e4, decimals=4)
    return table.assign(zone=main, **{ZONE_HA[zone]: part for zone, part in parts.items()})


def _lined(table: pd.DataFrame, zones: Mapping[str, Zones]) -> pd.DataFrame:
    """Add the length and what lies in each zone, in metres."""
    shapes = _object(table["geometry"])
    exact = np.array([_length_m(shape) for shape in shapes], dtype=float)
    length = np.round(exact, 1)
    amounts, main = amounts_by_zone(shapes, list(table["area_id"]), zones, _length_m, exact)
    parts = rounded_within(amounts, length, scale=1.0, decimals=1)
    return table.assign(zone=main, length_m=length, **{ZONE_M[zone]: part for zone, part in parts.items()})


def _area_m2(shape: BaseGeometry) -> float:
    return geodesic_area_m2(shape, LEDGER_CRS)


def _length_m(shape: BaseGeometry) -> float:
    return geodesic_length_m(shape, LEDGER_CRS) if shapely.length(shape) > 0 else 0.0


def _verdicts(asked: Asked, problems: pd.DataFrame) -> pd.DataFrame:
    columns = "event_id problem_id patch_id verdict reason activity_code area_m2 note reviewer at"
    table = asked.rows("verdict", columns, "1 ORDER BY seq")
    table = table.join(problems.set_index("problem_id")["area_id"], on="problem_id", how="inner").reset_index(drop=True)
    return table.assign(area_ha=_rounded(table["area_m2"], 1e4, 4))


def _summed(asked: Asked, areas: pd.DataFrame, activity: pd.DataFrame) -> pd.DataFrame:
    found = activity.groupby("area_id")["area_ha"].agg(["size", "sum"])
    patches = asked.rows("patch", "area_id", "period = ?1 AND :areas").groupby("area_id").size()
    baseline = asked.rows("baseline", "area_id as_of problems area_m2", "as_of <= ?2").set_index("area_id")
    area = areas["area_id"]
    return areas.assign(
        area_ha=[None if shape is None else round(_area_m2(shape) / 1e4, 4) for shape in areas["geometry"]],
        # Nothing entered is no zero: only an assessed area has a number of patches.
        patches=_or(area.map(patches), 0).where(areas["assessed"] == 1, None),
        problems=_or(area.map(found["size"]), 0),
        activity_ha=_rounded(_or(area.map(found["sum"]), 0.0), 1.0, 4),
        baseline_as_of=area.map(baseline["as_of"]),
        baseline_problems=area.map(baseline["problems"]),
        baseline_ha=_rounded(area.map(baseline["area_m2"]), 1e4, 4),
    )


def _not_observed(asked: Asked) -> pd.DataFrame:
    where = "period = ?1 AND :areas ORDER BY area_id, pipeline, reason, seq, geometry"
    table = asked.rows("not_observed", "area_id pipeline reason area_m2 geometry", where)
    names = {str(reason): reason for reason in NotObserved}
    return table.assign(
        geometry=_shapes(table["geometry"]),
        area_ha=_rounded(table["area_m2"], 1e4, 4),
        reason_zh=[names[r].zh if r in names else None for r in table["reason"]],
        reason_en=[names[r].en if r in names else None for r in table["reason"]],
    )


def _finished(layer: str, table: pd.DataFrame, places: pd.DataFrame, period: str) -> pd.DataFrame:
    """Give a table the columns of its layer: names of codes, operational names, types."""
    if "area_name" not in table:
        table = table.join(places, on="area_id")
        table["area_name"] = _or(table["area_name"], table["area_id"])
    wanted = LAYERS[layer].columns
    table = table.assign(period=period)
    for code, stem in (("activity", "activity_code"), ("change", "change_code"), *((c, c) for c in CODE_LISTS)):
        names = {key: (zh, en) for key, zh, en in CODE_LISTS[code]}
        for position, language in enumerate(("zh", "en")):
            if (column := f"{code}_{language}") in wanted and column not in table:
                table[column] = [names.get(value, (None, None))[position] for value in table[stem]]
    table = _operational(table, LAYERS[layer].key, wanted)
    data = {column.name: _typed(table[column.name], column.kind) for column in columns_of(layer)}
    if not LAYERS[layer].geometry:
        return pd.DataFrame(data)
    return geopandas.GeoDataFrame(data, geometry=_object(table["geometry"]), crs=LEDGER_CRS)


def _operational(table: pd.DataFrame, key: str, wanted: Sequence[str]) -> pd.DataFrame:
    """Add the names of the operational systems, see docs/published.md."""
    same = {
        "CODE": key,
        "BHDMC": "area_name",
        "MJ": "area_ha",
        "CD": "length_m",
        "JCPC": "period",
        "SJY": "after_scenes",
    }
    same |= {"QSX": "before_date", "HSX": "after_date"} | {official: ours for ours, official in OFFICIAL.items()}
    table = table.assign(**{name: table[ours] for name, ours in same.items() if name in wanted})
    if "YJLX" in wanted:
        table["YJLX"] = [None if code == Activity.UNDETERMINED else code for code in table["activity_code"]]
        table["GNFQ"] = [_ZONE_ZH.get(zone, zone) for zone in table["zone"]]
    if "BHQK" in wanted:
        table["BHQK"] = [_OPERATIONAL.get(code) for code in table["change_code"]]
    if "BHDJB" in wanted:
        table["BHDJB"] = ["G" if grade in _NATIONAL else None for grade in table["grade"]]
        points = shapely.point_on_surface(_object(table["geometry"]))
        table["ZXJD"] = [_dms(x, "EW") for x in shapely.get_x(points)]
        table["ZXWD"] = [_dms(y, "NS") for y in shapely.get_y(points)]
    return table


def _dms(degrees: float, ends: str) -> str | None:
    if not np.isfinite(degrees):
        return None
    minutes, seconds = divmod(round(abs(degrees) * 3600), 60)
    return f"{minutes // 60}°{minutes % 60:02d}'{seconds:02d}\"{ends[int(degrees < 0)]}"


def _facts(texts: Iterable[Any], names: Sequence[str]) -> dict[str, pd.Series]:
    facts = [json.loads(text) if isinstance(text, str) else {} for text in texts]
    return {name: pd.Series([fact.get(name) for fact in facts], dtype=object) for name in names}


def _typed(values: pd.Series, kind: str) -> Any:
    if kind == "text":
        return pd.Series([v if isinstance(v, str) and v else None for v in values], dtype=object)
    numbers = pd.to_numeric(values.astype(object).where(values.notna(), None)).astype("float64")
    return pd.array(numbers, dtype="Int64" if kind == "whole" else "float64")


def _or(first: pd.Series, second: Any) -> pd.Series:
    return first.astype(object).where(first.notna(), second)


def _rounded(values: pd.Series, divisor: float, decimals: int) -> NDArray[np.float64]:
    rounded: NDArray[np.float64] = np.round(pd.to_numeric(values).to_numpy(float, na_value=np.nan) / divisor, decimals)
    return rounded


def _object(values: Iterable[Any]) -> Shapes:
    items = list(values)
    result = np.empty(len(items), dtype=object)
    result[:] = items
    return result


def _shapes(blobs: Iterable[Any]) -> Shapes:
    shapes: Shapes = shapely.from_wkb(_object(blob if isinstance(blob, bytes) else None for blob in blobs))
    return shapes


def _sound(shapes: Shapes) -> Shapes:
    """Shapes that can be cut; what is written stays as the ledger has it."""
    broken = ~shapely.is_valid(shapes)
    if not broken.any():
        return shapes
    result = shapes.copy()
    result[broken] = shapely.make_valid(shapes[broken], method="structure")
    return result
