"""The quality rules: for each a hand-drawn case that holds and one that does not; and the file through its door."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import geopandas
import pandas as pd
import pytest
import shapely
from pyproj import CRS
from shapely.geometry.base import BaseGeometry
from typer.testing import CliRunner

from ecowatch.cli import app
from ecowatch.errors import BoundaryError, IntakeError
from ecowatch.grid import geodesic_area_m2, geodesic_length_m, transformed
from ecowatch.report.quality import FLAGGED, PUBLISHED, check_product
from ecowatch.report.quality_rules import RULES, findings_of
from ecowatch.report.quality_sheet import Expected, Finding, Sheet
from ecowatch.settings import QualityRules

CGCS2000 = CRS.from_epsg(4490)
RULE = QualityRules()
# At 30° north a degree is 96 486 m of longitude and 110 852 m of latitude, to a metre.
EAST_M, NORTH_M = 1 / 96486, 1 / 110852


def box(x: float, y: float, width_m: float, height_m: float) -> BaseGeometry:
    """A rectangle whose lower left corner lies x, y metres from 100° E 30° N."""
    left, bottom = 100 + x * EAST_M, 30 + y * NORTH_M
    return shapely.box(left, bottom, left + width_m * EAST_M, bottom + height_m * NORTH_M)


def change(name: str, shape: BaseGeometry | None, **values: Any) -> dict[str, Any]:
    """A row of the layer `change` that satisfies every rule, but for `values`."""
    measured = shape is not None and shape.geom_type.endswith("Polygon") and not shape.is_empty
    hectares = round(geodesic_area_m2(shape, CGCS2000) / 1e4, 4) if measured else 1.0
    row = {
        "patch_id": name,
        "problem_id": f"P-{name}",
        "area_id": "lake",
        "period": "2026H1",
        "activity_code": "03",
        "change_code": "1",
        "direction": "gain",
        "before_date": "2025-05-01",
        "after_date": "2026-05-01",
        "pipeline": "bitemporal",
        "CODE": name,
        "BHQK": "1",
        "area_ha": hectares,
        "MJ": hectares,
        "core_ha": 0.0,
        "HXQMJ": 0.0,
        "geometry": shape,
    }
    return row | values


def sheet(*rows: dict[str, Any], layer: str = "change", crs: CRS = CGCS2000) -> Sheet:
    expected = (PUBLISHED | FLAGGED)[layer]
    return Sheet(layer, geopandas.GeoDataFrame(pd.DataFrame(list(rows)), geometry="geometry", crs=crs), expected)


def found(rule: str, one: Sheet, rules: QualityRules = RULE) -> list[tuple[str, str]]:
    findings = list(RULES[rule](one, rules))
    assert {f.rule for f in findings} <= {rule}
    return [(f.feature, f.severity) for f in findings]


FIELD, PLOT = box(0, 0, 40, 40), box(100, 0, 30, 20)
GOOD = (change("a", FIELD), change("b", PLOT))


def test_a_sound_layer_has_no_findings() -> None:
    assert findings_of([sheet(*GOOD)], RULE) == []
    road = shapely.LineString([(100, 30), (100.001, 30)])
    length = round(geodesic_length_m(road, CGCS2000), 1)
    line = change("c", road, activity_code="09", length_m=length, CD=length, core_m=10.0)
    lined = {name: value for name, value in line.items() if name not in ("area_ha", "MJ", "core_ha", "HXQMJ")}
    assert findings_of([sheet(lined, layer="change_road")], RULE) == []


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        ("required", {"area_id": None}),
        ("required", {"after_date": "  "}),
        ("required", {"area_ha": float("nan"), "MJ": 0.16}),
        ("enum", {"activity_code": "11"}),
        ("enum", {"change_code": "7"}),
        ("enum", {"BHQK": "4"}),
        ("enum", {"direction": "sideways"}),
        ("before_after", {"before_date": "2026-05-01"}),
        ("before_after", {"before_date": "2026-06-01"}),
        ("before_after", {"before_date": "2025-02-30"}),
        ("before_after", {"change_code": "9"}),
        ("before_after", {"problem_id": None}),
        ("period", {"after_date": "2026-07-01"}),
        ("period", {"after_date": "2025-12-31"}),
        ("period", {"period": "next year"}),
        ("area", {"area_ha": 0.1610}),
        ("area", {"MJ": 0.1590}),
        ("zone_sum", {"core_ha": 0.17}),
        ("zone_sum", {"HXQMJ": 0.1601}),
    ],
)
def test_each_rule_finds_the_row_that_breaks_it(rule: str, values: dict[str, Any]) -> None:
    assert found(rule, sheet(*GOOD)) == []
    assert found(rule, sheet(change("a", FIELD, **values), GOOD[1])) == [("a", "error")]


def test_a_missing_column_is_an_error_of_the_layer() -> None:
    rows = [{name: value for name, value in row.items() if name != "pipeline"} for row in GOOD]
    assert list(RULES["required"](sheet(*rows), RULE)) == [
        Finding("required", "change", "", "column pipeline is missing", "error")
    ]


def test_a_change_that_changes_nothing_is_a_warning() -> None:
    assert found("before_after", sheet(change("a", FIELD, change_code="0"))) == [("a", "warning")]
    # A loss outside all problems belongs to none and has no change code.
    assert found("before_after", sheet(change("a", FIELD, change_code=None, problem_id=None))) == []


def test_a_status_row_may_rest_on_an_earlier_period() -> None:
    row = change("a", FIELD) | {"problem_id": "P", "opened_period": "2025H1", "last_period": "2025H2", "state": "auto"}
    row |= {"after_date": "2025-05-01", "before_date": "2024-05-01"}
    assert found("period", sheet(row, layer="activity")) == []
    assert found("period", sheet(row | {"last_period": "2026H2"}, layer="activity")) == [("P", "error")]
    assert found("period", sheet(row | {"after_date": "2026-07-01"}, layer="activity")) == [("P", "error")]


def test_an_identity_stands_once() -> None:
    assert found("unique", sheet(*GOOD)) == []
    assert found("unique", sheet(GOOD[0], change("a", PLOT, CODE="b"))) == [("a", "error")]
    assert found("unique", sheet(GOOD[0], change("b", PLOT, CODE="a"))) == [("b", "error")]


def test_geometry_is_there_and_valid() -> None:
    bow = shapely.Polygon([(100, 30), (100.001, 30.001), (100.001, 30), (100, 30.001)])
    rows = sheet(change("a", FIELD), change("b", bow), change("c", None), change("d", shapely.Polygon()))
    assert sorted(found("valid_geometry", rows)) == [("b", "error"), ("c", "error"), ("d", "error")]
    assert "Self-intersection" in next(f.found for f in RULES["valid_geometry"](rows, RULE) if f.feature == "b")
    # Rules on shapes leave the broken ones alone, and none of them falls over one.
    assert {f.rule for f in findings_of([rows], RULE)} == {"valid_geometry"}


def test_what_is_listed_and_not_drawn_is_no_geometry() -> None:
    """GEOS ends the program over such a one: no other rule may look at it."""
    unholed = shapely.polygons(shapely.get_exterior_ring(FIELD), holes=[shapely.LinearRing()])
    shapes = {"a": shapely.multipolygons([FIELD, shapely.Polygon()]), "b": unholed}
    rows = sheet(*(change(name, FIELD) | {"geometry": shape} for name, shape in shapes.items()))
    told = [(f.feature, f.rule, f.found) for f in findings_of([rows], RULE)]
    assert told == [(name, "valid_geometry", "it lists a part or a ring that it does not draw") for name in shapes]


@pytest.mark.parametrize(
    ("sizes_m", "errors"),
    [
        ([(40, 40)], 0),
        ([(40, 40), (8, 8)], 0),  # a complex change: 64 m² lives beside 1600 m²
        ([(40, 40), (7, 7)], 1),  # 49 m² does not
        ([(15, 15), (12, 12)], 1),  # 369 m² in all are no patch
        ([(15, 15), (14, 14)], 0),  # 421 m² are
    ],
)
def test_several_parts_are_a_complex_change_or_an_error(sizes_m: list[tuple[float, float]], errors: int) -> None:
    parts = [box(100 * number, 0, *size) for number, size in enumerate(sizes_m)]
    rows = sheet(change("a", shapely.MultiPolygon(parts)))
    assert found("single_part", rows) == [("a", "error")] * errors


def test_neighbours_of_one_class_share_no_ground() -> None:
    beside, over = box(40, 0, 40, 40), box(39, 0, 40, 40)
    assert found("overlap", sheet(change("a", FIELD), change("b", beside))) == []
    assert found("overlap", sheet(change("a", FIELD), change("b", over))) == [("a", "error")]
    told = next(RULES["overlap"](sheet(change("a", FIELD), change("b", over)), RULE)).found
    assert told == "shares 40.0 m2 with b of the same class"
    for other in ({"activity_code": "04"}, {"area_id": "red line"}, {"pipeline": "uav"}):
        assert found("overlap", sheet(change("a", FIELD), change("b", over, **other))) == []
    # 2 cm of 40 m are 0.8 m², less than what is tolerated.
    assert found("overlap", sheet(change("a", FIELD), change("b", box(39.98, 0, 40, 40)))) == []


def test_stored_area_agrees_within_a_thousandth() -> None:
    large = box(0, 0, 1000, 1000)
    exact = geodesic_area_m2(large, CGCS2000) / 1e4
    assert found("area", sheet(change("a", large, area_ha=round(exact * 1.0009, 4)))) == []
    assert found("area", sheet(change("a", large, area_ha=round(exact * 1.0011, 4)))) == [("a", "error")]
    # In an area of 60 m² the rounding to 1 m² alone is more than a thousandth.
    assert found("area", sheet(change("a", box(0, 0, 6.2, 10)))) == []


@pytest.mark.parametrize(
    ("shapes", "small"),
    [
        ({"a": box(0, 0, 20.1, 20)}, []),
        ({"a": box(0, 0, 19.8, 20)}, ["a"]),
        ({"a": box(0, 0, 19, 20), "b": box(19, 0, 8, 8)}, []),  # connected: 444 m² in all
        ({"a": box(0, 0, 19, 20), "b": box(30, 0, 8, 8)}, ["a", "b"]),  # apart
        ({"a": box(0, 0, 40, 40), "b": box(40, 0, 7, 7)}, ["b"]),  # 49 m² is too small even as a part
        ({"a": box(0, 0, 19, 12), "b": box(19, 0, 8, 12), "c": box(27, 0, 8, 12)}, []),  # a chain of three
    ],
)
def test_small_patches_live_only_as_parts_of_a_complex_change(
    shapes: dict[str, BaseGeometry], small: list[str]
) -> None:
    rows = sheet(*(change(name, shape) for name, shape in shapes.items()))
    assert found("min_area", rows) == [(name, "error") for name in small]


def test_connected_changes_count_together_only_within_an_activity() -> None:
    rows = sheet(change("a", box(0, 0, 19, 20)), change("b", box(19, 0, 8, 8), activity_code="04"))
    assert [name for name, _ in found("min_area", rows)] == ["a", "b"]


def test_a_status_row_below_the_minimum_is_a_warning() -> None:
    row = change("a", box(0, 0, 10, 10)) | {"problem_id": "P", "state": "auto"}
    assert found("min_area", sheet(row, layer="activity")) == [("P", "warning")]


def test_a_pipeline_for_finer_images_has_its_own_minimum() -> None:
    hut = box(0, 0, 10, 10)
    assert found("min_area", sheet(change("a", hut, pipeline="uav"))) == []
    assert found("min_area", sheet(change("a", hut, pipeline="unknown"))) == [("a", "error")]
    assert found("min_area", sheet(change("a", hut)), QualityRules(min_area_m2=90)) == []


@pytest.mark.parametrize(
    ("shape", "activity", "narrow"),
    [
        (box(0, 0, 300, 2.1), "03", False),
        (box(0, 0, 300, 1.9), "03", True),
        (box(0, 0, 1.9, 300), "03", True),  # the other way round: degrees are not of one length
        (box(0, 0, 300, 1.9), "09", False),  # roads are exempt
        (shapely.union_all([box(0, 0, 40, 40), box(39, 20, 42, 1), box(80, 0, 40, 40)]), "03", True),  # a neck of 1 m
    ],
)
def test_narrow_patches_are_a_warning(shape: BaseGeometry, activity: str, narrow: bool) -> None:
    assert found("min_width", sheet(change("a", shape, activity_code=activity))) == [("a", "warning")] * narrow


def test_rules_hold_in_another_crs_too() -> None:
    utm = CRS.from_epsg(4527)
    moved = [row | {"geometry": transformed(row["geometry"], CGCS2000, utm)} for row in GOOD]
    thin = change("c", transformed(box(0, 100, 300, 1.9), CGCS2000, utm), area_ha=0.057, MJ=0.057)
    findings = findings_of([sheet(*moved, thin, crs=utm)], RULE)
    assert [(f.rule, f.feature) for f in findings] == [("min_width", "c")]


def test_lengths_of_roads_are_measured_again() -> None:
    road = shapely.LineString([(100, 30), (100.01, 30)])
    length = geodesic_length_m(road, CGCS2000)
    rows = [change("a", road, length_m=round(length * factor, 1)) for factor in (1, 1.0009, 1.0011)]
    assert [found("road_length", sheet(row, layer="change_road")) for row in rows] == [[], [], [("a", "error")]]
    over = change("a", road, length_m=100.0, core_m=60.0, buffer_m=40.1)
    assert found("zone_sum", sheet(over, layer="change_road")) == [("a", "error")]


def test_shares_of_a_flagged_file_add_up() -> None:
    rows = [
        change(name, FIELD, zone_shares=text) for name, text in [("a", '{"core": 0.6, "buffer": 0.4}'), ("b", "{}")]
    ]
    assert found("zone_sum", sheet(*rows, layer="patch")) == []
    bad = [change("a", FIELD, zone_shares=text) for text in ('{"core": 0.7, "buffer": 0.4}', "[1", '{"core": "x"}')]
    for row in bad:
        assert found("zone_sum", sheet(row, layer="patch")) == [("a", "error")]


def test_a_plain_table_is_checked_for_codes_and_keys() -> None:
    row = {
        "event_id": "e",
        "problem_id": "P",
        "verdict": "maybe",
        "reason": "none",
        "reviewer": "王",
        "at": "2026-07-01",
    }
    findings = findings_of([Sheet("verdict", pd.DataFrame([row, row]), PUBLISHED["verdict"])], RULE)
    assert [(f.rule, f.found) for f in findings] == [
        *[("enum", "verdict 'maybe' stands in no list")] * 2,
        ("unique", "event_id 'e' stands twice"),
    ]


def test_an_empty_layer_passes() -> None:
    empty = sheet(*GOOD).frame.iloc[:0]
    for layer, expected in PUBLISHED.items():
        assert findings_of([Sheet(layer, empty, Expected(expected.key, ()))], RULE) == []


def flagged(path: Path, *rows: dict[str, Any]) -> Path:
    """A file with the four layers of a flagged.gpkg that are checked."""
    frame = sheet(*rows).frame
    bare = frame.assign(length_m=1.0, observed_share=0.9, reason="masked").iloc[:0]
    for layer in FLAGGED:
        (frame if layer == "patch" else bare).to_file(path, layer=layer, driver="GPKG", engine="pyogrio")
    return path


def test_a_flagged_file_is_checked_and_told(tmp_path: Path) -> None:
    run, file = CliRunner().invoke, flagged(tmp_path / "flagged.gpkg", *GOOD)
    clean = run(app, ["check", str(file), "--lang", "en"])
    assert (clean.exit_code, clean.stdout) == (0, "all quality rules hold\n")
    warned = flagged(tmp_path / "warned.gpkg", change("a", box(0, 0, 300, 1.9)))
    shown = run(app, ["check", str(warned), "--lang", "zh"])
    assert shown.exit_code == 0
    assert "错误 0,警告 1" in shown.stdout
    hostile = flagged(tmp_path / "bad.gpkg", change("[red]x[/red]\x1b[2J", FIELD, activity_code="99"), GOOD[1])
    shown = run(app, ["check", str(hostile), "--lang", "en"])
    assert shown.exit_code == 65
    assert "[red]x[/red]?[2J" in shown.stdout
    told = json.loads(run(app, ["check", str(hostile), "--json"]).stdout)
    assert [(one["rule"], one["severity"], one["found"]) for one in told] == [
        ("enum", "error", "activity_code '99' stands in no list")
    ]


def test_rules_come_from_the_ledger_file(tmp_path: Path) -> None:
    file = flagged(tmp_path / "flagged.gpkg", change("a", box(0, 0, 10, 10)))
    settings = tmp_path / "ledger.toml"
    settings.write_text("[quality]\nmin_area_m2 = 90.0\n", "utf-8")
    assert CliRunner().invoke(app, ["check", str(file)]).exit_code == 65
    assert CliRunner().invoke(app, ["check", str(file), "--ledger", str(settings)]).exit_code == 0
    settings.write_text("[quality]\nmin_aera_m2 = 90.0\n", "utf-8")
    assert CliRunner().invoke(app, ["check", str(file), "--ledger", str(settings)]).exit_code == 78


def test_a_file_of_another_digest_is_found(tmp_path: Path) -> None:
    file = flagged(tmp_path / "flagged.gpkg", *GOOD)
    (tmp_path / "flagged.gpkg.sha256").write_text(f"{'0' * 64}  flagged.gpkg\n", "utf-8")
    assert [(f.rule, f.severity) for f in check_product(file, RULE)] == [("digest", "error")]


def test_a_missing_layer_is_found(tmp_path: Path) -> None:
    file = tmp_path / "published.gpkg"
    sheet(*GOOD).frame.to_file(file, layer="change", driver="GPKG", engine="pyogrio")
    missing = [f.layer for f in check_product(file, RULE) if f.rule == "layers"]
    assert missing == [layer for layer in PUBLISHED if layer != "change"]


def test_files_that_are_no_product_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.gpkg"
    text.write_text("hello", "utf-8")
    with pytest.raises(IntakeError, match="FILE_KIND"):
        check_product(text, RULE)
    other = tmp_path / "other.gpkg"
    sheet(*GOOD).frame.to_file(other, layer="rivers", driver="GPKG", engine="pyogrio")
    with pytest.raises(BoundaryError, match=r"NOT_A_PRODUCT .*its layers are: rivers"):
        check_product(other, RULE)
    cut = tmp_path / "cut.gpkg"
    whole = flagged(tmp_path / "flagged.gpkg", *GOOD).read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BoundaryError, match="VECTOR_UNREADABLE"):
        check_product(cut, RULE)


def test_a_layer_that_is_a_program_is_refused(tmp_path: Path) -> None:
    file = flagged(tmp_path / "flagged.gpkg", *GOOD)
    viewed = Path(shutil.copy(file, tmp_path / "viewed.gpkg"))
    with closing(sqlite3.connect(viewed)) as base:
        base.execute("ALTER TABLE not_observed RENAME TO hidden")
        base.execute("CREATE VIEW not_observed AS SELECT * FROM hidden")
        base.commit()
    with pytest.raises(BoundaryError, match="ACTIVE_CONTENT"):
        check_product(viewed, RULE)
