"""The published GeoPackage of a period: a small ledger entered by hand, read by geopandas, sqlite3 and QGIS."""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import geopandas
import pyogrio
import pytest
import shapely
from shapely.geometry.base import BaseGeometry
from typer.testing import CliRunner

from ecowatch.cli import app
from ecowatch.errors import LedgerError, StorageError
from ecowatch.grid import geodesic_area_m2, geodesic_length_m
from ecowatch.ledger import LEDGER_CRS, Event, EventKind, Ledger, geometry_text
from ecowatch.report import published
from ecowatch.report.published import Published, publish
from ecowatch.report.published_columns import CODE_LISTS, LAYERS, columns_of
from ecowatch.report.quality import check_product
from ecowatch.settings import QualityRules

K = EventKind
HOSTILE = '=HYPERLINK("http://x")<script>alert(1)</script>\'); DROP TABLE activity;--\t湖'
LAKE = shapely.box(100.0, 30.0, 100.1, 30.1)
CORE, BUFFER = shapely.box(100.0, 30.0, 100.05, 30.1), shapely.box(100.05, 30.0, 100.1, 30.1)
MINE_OLD, MINE_NEW = shapely.box(100.049, 30.05, 100.051, 30.052), shapely.box(100.048, 30.05, 100.052, 30.052)
ROAD, ROAD_LINE = (
    shapely.box(100.01, 30.01, 100.03, 30.0101),
    shapely.LineString([(100.01, 30.01005), (100.03, 30.01005)]),
)
QUARRY, NEW, JOINED = (shapely.box(x, 30.08, round(x + 0.001, 6), 30.081) for x in (100.01, 100.07, 100.071))
PERMITTED, MISTAKE, OTHER = (shapely.box(x, 30.03, round(x + 0.001, 6), 30.031) for x in (100.01, 100.02, 100.03))
CLOUD = shapely.box(100.09, 30.09, 100.1, 30.1)


def m2(shape: BaseGeometry) -> float:
    return geodesic_area_m2(shape, LEDGER_CRS)


def version(version: str, valid_from: str, changes: dict[str, Any], shape: BaseGeometry = LAKE) -> Event:
    zones = [{"zone": "core", "geometry": geometry_text(CORE)}, {"zone": "buffer", "geometry": geometry_text(BUFFER)}]
    payload = {
        "version": version,
        "name": HOSTILE,
        "kind": "protected_area",
        "grade": "national_reserve",
        "valid_from": valid_from,
        "zones": zones,
        "geometry": geometry_text(shape),
        "source": "lake.gpkg",
        "changes": changes,
    }
    return Event(K.AREA_VERSIONED, "lake", payload=payload, at=valid_from)


def unit(period: str, patches: int, **quiet: list[str]) -> Event:
    inputs = {
        "scenes": {f"S2_{period}": "ab" * 32},
        "pipelines": {"bitemporal": {"version": "2", "digest": "cd" * 32}},
        "boundary": "v",
        "rules": "ef" * 32,
        "software": {"ecowatch": "0.1.0"},
        "run_id": f"run-{period}",
    }
    payload = {
        "issue": 1,
        "inputs": inputs,
        "inputs_digest": "12" * 32,
        "run_id": f"run-{period}",
        "observed_share": 0.97,
        "patches": patches,
        "continuing": quiet.get("continuing", []),
        "not_observed_problems": quiet.get("hidden", []),
        "unseen": [
            {"pipeline": "bitemporal", "reason": "masked", "area_m2": m2(CLOUD), "geometry": geometry_text(CLOUD)}
        ],
        "differences": {},
    }
    return Event(K.UNIT_ENTERED, "lake", period, payload=payload, at=f"{period[:4]}-05-01")


def patch(
    period: str,
    problem: str,
    name: str,
    shape: BaseGeometry,
    activity: str,
    change: str,
    line: BaseGeometry | None = None,
) -> Event:
    year = int(period[:4])
    payload = {
        "issue": 1,
        "change_code": change,
        "activity_code": activity,
        "direction": "gain",
        "area_m2": m2(shape),
        "before_date": f"{year - 1}-05-01",
        "after_date": f"{year}-05-01",
        "pipeline": "bitemporal",
        "geometry": geometry_text(shape),
        "line": geometry_text(line) if line else None,
        "facts": {"after_scenes": f"S2_{period}", "confidence": 0.6, "energy": None, "pipeline_version": "2"},
    }
    return Event(K.PATCH_FOUND, "lake", period, problem, name, payload, at=f"{year}-05-01")


def opened(period: str, problem: str, shape: BaseGeometry, activity: str, patches: list[str]) -> Event:
    payload = {
        "patches": patches,
        "geometry": geometry_text(shape),
        "area_m2": m2(shape),
        "activity_code": activity,
        "state": "auto",
        "stock": 0,
        "parents": [],
    }
    return Event(K.PROBLEM_OPENED, "lake", period, problem, payload=payload, at=f"{period[:4]}-05-01")


def seen(period: str, problem: str, change: str, shape: BaseGeometry | None, area_m2: float) -> Event:
    payload = {
        "change_code": change,
        "patches": [],
        "geometry": geometry_text(shape) if shape else None,
        "area_m2": area_m2,
        "delta_m2": 0.0,
    }
    return Event(K.PROBLEM_SEEN, "lake", period, problem, payload=payload, at=f"{period[:4]}-05-01")


def verdict(problem: str, note: str, kind: str = "problem", at: str = "2026-07-10T09:00:00+08:00") -> Event:
    payload = {"verdict": kind, "reason": "none", "activity_code": None, "area_m2": None, "note": note}
    return Event(K.VERDICT_GIVEN, "lake", "2026H1", problem, "", payload, "王芳", at)


def moved(problem: str, former: str, state: str, **more: str) -> Event:
    payload = {"from": former, "to": state, "reason": "", **more}
    return Event(K.STATE_MOVED, "lake", "", problem, payload=payload, actor="王芳", at="2026-07-11")


def story() -> list[Event]:
    """Two half years: a mine grows, a quarry ends, two sites become one, one is no problem, one was a mistake."""
    half, later = "2025H1", "2026H1"
    found = {"mine": MINE_OLD, "quarry": QUARRY, "joined": JOINED, "permitted": PERMITTED, "mistake": MISTAKE}
    activities = {"mine": "03", "quarry": "04", "joined": "10", "permitted": "02", "mistake": "00"}
    events = [version("v1", "2020-01-01", {}), unit(half, 6)]
    for name, shape in found.items():
        events += [patch(half, name, f"{name}-1", shape, activities[name], "1")]
        events += [opened(half, name, shape, activities[name], [f"{name}-1"])]
    events += [patch(half, "road", "road-1", ROAD, "09", "1", ROAD_LINE), opened(half, "road", ROAD, "09", ["road-1"])]
    events += [version("v2", "2026-01-01", {"lost_m2": 12.5}, shapely.box(100.0, 30.0, 100.1, 30.099))]
    events += [unit(later, 2, continuing=["permitted"], hidden=["road"])]
    events += [patch(later, "mine", "mine-2", MINE_NEW, "03", "2"), seen(later, "mine", "2", MINE_NEW, m2(MINE_NEW))]
    events += [patch(later, "new", "new-1", NEW, "10", "1"), opened(later, "new", NEW, "10", ["new-1"])]
    events += [seen(later, "quarry", "4", None, 0.0)]
    merged = {
        "merged": ["joined"],
        "parents": ["joined"],
        "geometry": geometry_text(NEW),
        "area_m2": m2(NEW),
        "patches": [],
    }
    events += [Event(K.PROBLEMS_MERGED, "lake", later, "new", payload=merged, at="2026-05-01")]
    events += [Event(K.PROBLEM_WITHDRAWN, "lake", half, "mistake", payload={"why": "shadow"}, at="2025-05-01")]
    events += [verdict("mine", HOSTILE), moved("mine", "auto", "confirmed")]
    events += [
        moved("mine", "confirmed", "to_rectify", deadline="2026-06-01", responsible=HOSTILE, rectification="exit")
    ]
    return [*events, verdict("permitted", "", "no_problem"), moved("permitted", "auto", "no_problem")]


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger of the story; not to be written to."""
    ledger = tmp_path_factory.mktemp("told") / "ledger.db"
    with Ledger.writer(ledger) as opened_ledger:
        events = story()
        assert opened_ledger.commit(events) == len(events)
    return ledger


@pytest.fixture(scope="session")
def now(told: Path) -> Published:
    """2026H1, published from it; not to be changed."""
    return published_from(told, told.parent)


@pytest.fixture(scope="session")
def then(told: Path) -> Published:
    """2025H1, published from the same head."""
    return published_from(told, told.parent, "2025H1")


@pytest.fixture
def path(told: Path, tmp_path: Path) -> Path:
    """A copy of the ledger to write to."""
    return Path(shutil.copy(told, tmp_path / "ledger.db"))


def published_from(path: Path, tmp_path: Path, period: str = "2026H1", areas: tuple[str, ...] = ()) -> Published:
    with Ledger.reader(path) as ledger:
        return publish(ledger, period, tmp_path / "published", areas=areas)


def read(done: Published, layer: str) -> geopandas.GeoDataFrame:
    frame = geopandas.read_file(done.path, layer=layer)
    return frame.set_index(LAYERS[layer].key or "area_id")


def cells(frame: geopandas.GeoDataFrame, row: str, *columns: str) -> tuple[Any, ...]:
    return tuple(frame.loc[row, list(columns)])


def test_status_is_told_as_of_the_period(now: Published, then: Published) -> None:
    frame, former = read(now, "activity"), read(then, "activity")
    assert list(frame.index) == ["mine", "new", "road"]
    assert frame.geometry["mine"].equals(MINE_NEW)
    assert cells(frame, "mine", "last_change", "opened_period", "last_period") == ("2", "2025H1", "2026H1")
    assert cells(frame, "road", "last_change") == ("9",)
    # Merged and ended came later than 2025H1; that the sites are a mistake and no problem holds for every period.
    assert list(former.index) == ["joined", "mine", "quarry", "road"]
    assert former.geometry["mine"].equals(MINE_OLD)
    assert former.loc["mine", "area_ha"] == round(m2(MINE_OLD) / 1e4, 4)


def test_problem_layer_tells_the_whole_life(now: Published) -> None:
    frame = read(now, "problem")
    assert len(frame) == 7
    assert dict(frame["standing"]) == {
        "joined": 0, "mine": 1, "mistake": 0, "new": 1, "permitted": 0, "quarry": 0, "road": 1,
    }  # fmt: skip
    assert cells(frame, "joined", "merged_into") == ("new",)
    assert frame.geometry["quarry"].equals(QUARRY)
    assert cells(frame, "mine", "state", "deadline", "overdue", "rectification") == (
        "to_rectify",
        "2026-06-01",
        1,
        "exit",
    )
    assert cells(frame, "mine", "verdict", "reviewer", "activity_found") == ("problem", "王芳", "03")
    assert cells(frame, "permitted", "state_zh", "verdict") == ("非问题", "no_problem")


def test_changes_are_the_patches_of_the_period(now: Published, then: Published) -> None:
    frame = read(now, "change")
    assert list(frame.index) == ["mine-2", "new-1"]
    assert cells(frame, "mine-2", "problem_id", "change_code", "BHQK", "QSX", "HSX", "CODE") == (
        *("mine", "2", "2", "2025-05-01", "2026-05-01", "mine-2"),
    )
    assert cells(frame, "new-1", "JCPC", "SJY", "confidence", "change_zh") == ("2026H1", "S2_2026H1", 0.6, "新增")
    assert len(read(now, "change_road")) == 0
    former = read(then, "change_road")
    assert list(former.index) == ["road-1"]
    assert former.loc["road-1", "length_m"] == round(geodesic_length_m(ROAD_LINE, LEDGER_CRS), 1)


def test_zones_add_up_to_the_whole(now: Published) -> None:
    frame = read(now, "activity")
    west, east = MINE_NEW.intersection(CORE), MINE_NEW.intersection(BUFFER)
    assert frame.loc["mine", "core_ha"] == pytest.approx(m2(west) / 1e4, abs=1.01e-4)
    assert frame.loc["mine", "buffer_ha"] == pytest.approx(m2(east) / 1e4, abs=1.01e-4)
    # The area has the three-zone system: the third is 0, those of the other system are unknown.
    assert cells(frame, "mine", "experimental_ha", "SYQMJ") == (0.0, 0.0)
    assert frame["core_protection_ha"].isna().all()
    assert (frame["HXQMJ"] + frame["HCQMJ"] + frame["SYQMJ"] <= frame["MJ"] + 1e-9).all()
    assert dict(frame["GNFQ"]) == {"mine": "核心区", "new": "缓冲区", "road": "核心区"}
    road = read(now, "activity_road")
    assert cells(road, "road", "CD", "HXQCD", "HCQCD") == (road.loc["road", "length_m"],) * 2 + (0.0,)


def test_operational_names(now: Published) -> None:
    frame = read(now, "activity")
    assert cells(frame, "mine", "CODE", "YJLX", "BHDJB", "JCPC", "SJY") == ("mine", "03", "G", "2026H1", "S2_2026H1")
    assert cells(frame, "new", "ZXJD", "ZXWD") == ("100°04'14\"E", "30°04'50\"N")
    assert (frame["MJ"] == frame["area_ha"]).all()


def test_area_and_what_was_not_seen(now: Published, then: Published) -> None:
    area = read(now, "area")
    assert cells(area, "lake", "version", "valid_to", "assessed", "observed_share", "patches", "problems") == (
        *("v2", None, 1, 0.97, 2, 3),
    )
    assert cells(area, "lake", "grade_zh", "boundary_changes") == ("国家级自然保护区", '{"lost_m2":12.5}')
    assert cells(read(then, "area"), "lake", "version", "valid_to") == (*("v1", "2026-01-01"),)
    hidden = read(now, "not_observed")
    assert cells(hidden, "lake", "reason_zh", "area_ha") == ("云或阴影", round(m2(CLOUD) / 1e4, 4))


def test_same_head_gives_the_same_bytes(now: Published, path: Path, tmp_path: Path) -> None:
    done = published_from(path, tmp_path)
    assert done.sha256 == now.sha256
    before = done.path.read_bytes()
    again = published_from(path, tmp_path)
    assert again.sha256 == done.sha256
    assert again.kept is None
    assert done.path.read_bytes() == before


def test_file_is_read_only_and_its_digest_verifies(now: Published) -> None:
    assert stat.S_IMODE(now.path.stat().st_mode) == 0o444
    checked = subprocess.run(
        ["sha256sum", "-c", f"{now.path.name}.sha256"],
        cwd=now.path.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout.strip()) == (0, f"{now.path.name}: OK")
    assert {p.name for p in now.path.parent.iterdir()} == {now.path.name, f"{now.path.name}.sha256"}


def test_another_head_keeps_the_former_file(path: Path, tmp_path: Path) -> None:
    done = published_from(path, tmp_path)
    former = done.path.read_bytes()
    with Ledger.writer(path) as ledger:
        ledger.commit([verdict("new", "第二次", at="2026-07-12")])
    again = published_from(path, tmp_path)
    kept = done.path.with_name(f"ecowatch_2026H1.{done.head.hash[:12]}.gpkg")
    assert (again.kept, kept.read_bytes()) == (kept, former)
    assert again.sha256 != done.sha256
    assert stat.S_IMODE(kept.stat().st_mode) == 0o444
    for name in (kept.name, again.path.name):
        subprocess.run(["sha256sum", "--quiet", "-c", f"{name}.sha256"], cwd=kept.parent, check=True)
    assert len(read(again, "verdict")) == len(read(done._replace(path=kept), "verdict")) + 1


def test_a_foreign_file_in_its_place_is_kept_too(path: Path, tmp_path: Path) -> None:
    done = published_from(path, tmp_path)
    done.path.chmod(0o644)
    done.path.write_bytes(b"not a GeoPackage")
    again = published_from(path, tmp_path)
    assert again.sha256 == done.sha256
    assert again.kept is not None
    assert again.kept.read_bytes() == b"not a GeoPackage"


def test_outside_text_survives_as_data(now: Published) -> None:
    assert set(read(now, "activity")["area_name"]) == {HOSTILE}
    assert read(now, "problem").loc["mine", "responsible"] == HOSTILE
    notes = geopandas.read_file(now.path, layer="verdict").set_index("problem_id")["note"]
    assert notes["mine"] == HOSTILE


def test_registers_name_every_column_and_code(now: Published) -> None:
    with closing(sqlite3.connect(f"file:{now.path}?mode=ro", uri=True)) as base:
        titles = {(t, c): (name, title) for t, c, name, title in base.execute(
            "SELECT table_name, column_name, name, title FROM gpkg_data_columns"
        )}  # fmt: skip
        assert titles == {(layer, c.name): (c.zh, c.zh) for layer in LAYERS for c in columns_of(layer)}
        assert base.execute("PRAGMA user_version").fetchone() == (10200,)
        assert base.execute("SELECT zh FROM code_activity WHERE code = '04'").fetchone() == ("采石场",)
        styled = [row[0] for row in base.execute("SELECT f_table_name FROM layer_styles WHERE useAsDefault = 1")]
        assert styled == list(LAYERS)
        constraint = "SELECT description FROM gpkg_data_column_constraints WHERE constraint_name = ? AND value = ?"
        assert base.execute(constraint, ("code_state", "closed")).fetchone() == ("已销号 closed",)


def test_provenance_stands_in_the_file(now: Published) -> None:
    told = json.loads(pyogrio.read_info(now.path, layer="activity")["layer_metadata"]["ecowatch"])
    assert told["ledger"] == {"seq": now.head.seq, "hash": now.head.hash}
    assert told["counts"] == now.counts
    assert told["pipelines"] == {"bitemporal": [{"version": "2", "digest": "cd" * 32}]}
    assert told["units"]["lake"]["inputs_digest"] == "12" * 32
    assert told["units"]["lake"]["observed_share"] == 0.97
    assert told["scenes"] == {"S2_2026H1": ["ab" * 32]}
    assert any("Not observed is never no change" in limit for limit in told["limits"])


_QGIS = """
import json, sys
from qgis.core import QgsApplication, QgsExpression, QgsExpressionContext, QgsExpressionContextUtils, QgsVectorLayer
app = QgsApplication([], False)
app.initQgis()
told = {}
for name in sys.argv[2:]:
    layer = QgsVectorLayer(f"{sys.argv[1]}|layername={name}", name, "ogr")
    fields, renderer = layer.fields(), layer.renderer()
    context = QgsExpressionContext(QgsExpressionContextUtils.globalProjectLayerScopes(layer))
    first = next(layer.getFeatures(), None)
    tip = ""
    if first is not None and layer.mapTipTemplate():
        context.setFeature(first)
        tip = QgsExpression.replaceExpressionText(layer.mapTipTemplate(), context)
    told[name] = {
        "valid": layer.isValid(),
        "counted": layer.featureCount(),
        "read": sum(1 for _ in layer.getFeatures()),
        "crs": layer.crs().authid(),
        "aliases": {field.name(): layer.attributeAlias(i) for i, field in enumerate(fields)},
        "widgets": {field.name(): layer.editorWidgetSetup(i).type() for i, field in enumerate(fields)},
        "renderer": renderer.type() if renderer else "",
        "legend": [c.label() for c in renderer.categories()] if renderer and renderer.type() == "categorizedSymbol" else [],
        "tip": tip,
    }
print("QGIS" + json.dumps(told))
"""


@pytest.fixture(scope="session")
def qgis_python() -> Iterator[str]:
    """The system's Python with QGIS."""
    python = "/usr/bin/python3"
    probe = [python, "-c", "import qgis.core"]
    if not Path(python).exists() or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("python3-qgis is not installed ('make debian')")
    yield python


def test_geopandas_sqlite_and_qgis_count_alike(now: Published, qgis_python: str, tmp_path: Path) -> None:
    """Must show 5: the same counts in all three, and QGIS reads aliases, styles and forms."""
    tables = list(now.counts)
    script = tmp_path / "look.py"
    script.write_text(_QGIS, "utf-8")
    environment = {
        "QT_QPA_PLATFORM": "offscreen",
        "HOME": str(tmp_path),
        "XDG_RUNTIME_DIR": str(tmp_path),
        "LC_ALL": "C.UTF-8",
    }
    shown = subprocess.run(
        [qgis_python, str(script), str(now.path), *tables], capture_output=True, text=True, env=environment, check=True
    )
    told = json.loads(next(line for line in shown.stdout.splitlines() if line.startswith("QGIS"))[4:])
    with closing(sqlite3.connect(f"file:{now.path}?mode=ro", uri=True)) as base:
        stored = {t: base.execute(f'SELECT count(*) FROM "{t}"').fetchone()[0] for t in tables}
    assert stored == {t: len(geopandas.read_file(now.path, layer=t)) for t in tables}
    assert stored == {t: told[t]["counted"] for t in tables} == {t: told[t]["read"] for t in tables}
    assert stored == now.counts
    for layer, shape in LAYERS.items():
        assert told[layer]["valid"]
        assert told[layer]["crs"] == ("EPSG:4490" if shape.geometry else "")
        assert {n: a for n, a in told[layer]["aliases"].items() if n != "fid"} == {
            c.name: c.zh for c in columns_of(layer)
        }
    assert "已销号 closed" in told["problem"]["legend"]
    assert told["activity"]["widgets"]["YJLX"] == "ValueMap"
    assert told["area"]["renderer"] == "singleSymbol"
    assert "<script>" not in told["activity"]["tip"]
    assert "&lt;script&gt;" in told["activity"]["tip"]
    # Looking does not write: neither into the file nor beside it.
    assert hashlib_of(now.path) == now.sha256
    assert {p.suffix for p in now.path.parent.iterdir()} == {".gpkg", ".sha256"}


def hashlib_of(path: Path) -> str:
    return subprocess.run(["sha256sum", str(path)], capture_output=True, text=True, check=True).stdout.split()[0]


def test_a_period_without_patches_is_published_empty(path: Path, tmp_path: Path) -> None:
    with Ledger.writer(path) as ledger:
        ledger.commit([unit("2026H2", 0, continuing=["mine", "road", "new"])])
    done = published_from(path, tmp_path, "2026H2")
    assert (done.counts["change"], done.counts["activity"]) == (0, 3)
    assert check_product(done.path, QualityRules()) == []


def test_only_some_areas_have_a_file_of_their_own(path: Path, tmp_path: Path) -> None:
    other = unit("2026H1", 1)
    events = [
        Event(other.kind, "../hill", other.period, payload=other.payload, at=other.at),
        Event(K.PROBLEM_OPENED, "../hill", "2026H1", "hill", payload=opened("2026H1", "hill", OTHER, "03", []).payload),
    ]
    with Ledger.writer(path) as ledger:
        ledger.commit(events)
    lake, hill = (published_from(path, tmp_path, areas=(area,)) for area in ("lake", "../hill"))
    assert lake.path.name == "ecowatch_2026H1_lake.gpkg"
    assert hill.path.name.startswith("ecowatch_2026H1_part_")
    assert hill.path.parent == lake.path.parent == tmp_path / "published" / "2026H1"
    assert list(read(hill, "activity").index) == ["hill"]
    assert lake.counts["problem"] == 7
    # The ledger knows no boundary of it: its name is its identity.
    assert cells(read(hill, "activity"), "hill", "area_name", "BHDJB") == ("../hill", None)
    assert cells(read(hill, "area"), "../hill", "area_name", "assessed", "observed_share") == ("../hill", 1, 0.97)
    broken = {(f.rule, f.layer) for f in check_product(hill.path, QualityRules())}
    assert {("valid_geometry", "area"), ("required", "area")} <= broken


def test_roads_merged_into_one_keep_both_lines(path: Path, tmp_path: Path) -> None:
    shape, line = (
        shapely.box(100.03, 30.01, 100.04, 30.0101),
        shapely.LineString([(100.03, 30.01005), (100.04, 30.01005)]),
    )
    both = shapely.union(ROAD, shape)
    merged = {
        "merged": ["spur"],
        "parents": ["spur"],
        "geometry": geometry_text(both),
        "area_m2": m2(both),
        "patches": [],
    }
    with Ledger.writer(path) as ledger:
        ledger.commit(
            [
                unit("2026H2", 1),
                patch("2026H2", "spur", "spur-1", shape, "09", "1", line),
                opened("2026H2", "spur", shape, "09", ["spur-1"]),
                Event(K.PROBLEMS_MERGED, "lake", "2026H2", "road", payload=merged, at="2026-08-01"),
                seen("2026H2", "road", "2", both, m2(both)),
            ]
        )
    roads = read(published_from(path, tmp_path, "2026H2"), "activity_road")
    assert list(roads.index) == ["road"]
    expected = sum(geodesic_length_m(part, LEDGER_CRS) for part in (ROAD_LINE, line))
    assert roads.loc["road", "length_m"] == pytest.approx(expected, abs=0.06)


def test_overlapping_zones_are_counted_once(path: Path, tmp_path: Path) -> None:
    doubled = version("v3", "2026-03-01", {})
    zones = [{"zone": "core", "geometry": geometry_text(LAKE)}, *doubled.payload["zones"][1:]]
    with Ledger.writer(path) as ledger:
        ledger.commit([Event(K.AREA_VERSIONED, "lake", payload={**doubled.payload, "zones": zones}, at="2026-03-01")])
    frame = read(published_from(path, tmp_path), "activity")
    assert list(frame["buffer_ha"]) == [0.0, 0.0, 0.0]
    assert (frame["core_ha"] == frame["area_ha"]).all()


@pytest.mark.parametrize(
    ("period", "areas", "code"),
    [
        ("2027H1", (), "PERIOD_UNKNOWN"),
        ("2026", (), "PERIOD_UNKNOWN"),
        ("../../etc", (), "PERIOD_FORM"),
        ("2026H1\n", (), "PERIOD_FORM"),
        ("2026H1", ("hill' OR 1=1 --",), "AREA_UNKNOWN"),
    ],
)
def test_what_the_ledger_does_not_know_is_refused(
    told: Path, tmp_path: Path, period: str, areas: tuple[str, ...], code: str
) -> None:
    with pytest.raises(LedgerError, match=code):
        published_from(told, tmp_path, period, areas)
    assert not (tmp_path / "published").exists()


def test_rows_that_are_not_there_stop_the_publishing(now: Published) -> None:
    with pytest.raises(
        StorageError, match=r"GPKG_INCOMPLETE .*layer activity holds 3 rows, readers see 3, the ledger says 4"
    ):
        published._check(now.path, now.path, {**now.counts, "activity": 4})


def test_a_stored_count_that_lies_is_not_believed(now: Published, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gpkg"
    shutil.copy(now.path, copy)
    copy.chmod(0o644)
    with closing(sqlite3.connect(copy)) as base:
        base.execute("UPDATE gpkg_ogr_contents SET feature_count = 1 WHERE table_name = 'change'")
        base.commit()
    assert check_product(copy, QualityRules()) == []


def test_every_column_is_told_in_the_docs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "published.md").read_text("utf-8")
    missing = {c.name for layer in LAYERS for c in columns_of(layer) if f"`{c.name}`" not in text}
    assert missing == set()
    assert {name for name in (*LAYERS, *(f"code_{c}" for c in CODE_LISTS)) if f"`{name}`" not in text} == set()


def test_titles_are_unique_within_a_layer() -> None:
    for layer in LAYERS:
        titles = [c.zh for c in columns_of(layer)]
        names = [c.name.lower() for c in columns_of(layer)]
        assert len(set(titles)) == len(titles)
        assert len(set(names)) == len(names)


def test_commands_publish_and_check(told: Path, tmp_path: Path) -> None:
    settings = tmp_path / "ledger.toml"
    settings.write_text(f'path = "{told}"\npublished = "{tmp_path / "out"}"\n', "utf-8")
    run = CliRunner().invoke
    done = run(app, ["publish", "2026H1", "--ledger", str(settings), "--lang", "zh"])
    assert done.exit_code == 0, done.output
    assert "2026H1 已发布:activity 3" in done.output
    file = tmp_path / "out" / "2026H1" / "ecowatch_2026H1.gpkg"
    assert str(file) in done.output.replace("\n", "")
    checked = run(app, ["check", str(file), "--ledger", str(settings), "--json"])
    assert (checked.exit_code, json.loads(checked.stdout)) == (0, [])
    assert run(app, ["publish", "2030H1", "--ledger", str(settings)]).exit_code == 65
    assert run(app, ["check", str(tmp_path / "none.gpkg")]).exit_code == 65
