"""Runs enter the ledger: once, area by area, with every other thing left as it was; the commands as a user gives them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import geopandas
import pytest
import shapely
from typer.testing import CliRunner

from ecowatch.cli import app
from ecowatch.errors import LedgerError
from ecowatch.ledger import Ledger, enter_run, run_differences
from ecowatch.review import run_review
from ecowatch.settings import AreaSource, Cluster, LedgerSettings, Review, SceneSource

from .conftest import ROOT
from .test_evidence import FLASH, GRID, MINE, PLAIN, scene

LEFT, BOTTOM, RIGHT, TOP = GRID.bounds
WEST = shapely.box(LEFT + 100, BOTTOM + 2000, LEFT + 1900, TOP - 100)
EAST = shapely.box(LEFT + 2000, BOTTOM + 2000, RIGHT - 100, TOP - 100)
RULES = LedgerSettings()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two areas; each has one change."""
    folder = tmp_path_factory.mktemp("entering")
    scene(folder / "scenes", "20250420", 1, ())
    scene(folder / "scenes", "20260430", 2, (MINE, FLASH))
    outlines = geopandas.GeoDataFrame({"id": ["west", "east"]}, geometry=[WEST, EAST], crs=32650)
    outlines.to_file(folder / "areas.gpkg")
    return folder


def review(place: Path, **changes: object) -> Review:
    plain = Review(
        name="entering",
        period="2026H1",
        roots=(place,),
        runs=place / "runs",
        pipelines=ROOT / "pipelines",
        areas=(AreaSource(path=place / "areas.gpkg", id_field="id"),),
        sources=(SceneSource(path=place / "scenes", **PLAIN),),
    )
    return plain.model_copy(update=changes)


def carried_out(place: Path, **changes: object) -> Path:
    return run_review(review(place, **changes), Cluster(scheduler="threads", workers=2)).folder


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.writer(tmp_path / "ledger.db") as opened:
        yield opened


def rows_of(ledger: Ledger, area: str) -> list[tuple[object, ...]]:
    tables = ("unit", "patch", "problem")
    return [tuple(row) for table in tables for row in ledger.rows(table, "area_id = ? ORDER BY seq", (area,))]


def test_entering_twice_adds_nothing(place: Path, ledger: Ledger) -> None:
    folder = carried_out(place)
    first = enter_run(ledger, folder, RULES)
    assert [(u.area_id, u.issue, dict(u.changes)) for u in first.units] == [
        ("east", 1, {"1": 1}),
        ("west", 1, {"1": 1}),
    ]
    before = ledger.digest()
    again = enter_run(ledger, folder, RULES)
    assert (again.added, ledger.digest()) == (0, before)
    assert run_differences(ledger, folder, RULES) == {"east": {}, "west": {}}


def test_one_area_alone_touches_that_area_alone(place: Path, ledger: Ledger) -> None:
    """Areas entered one by one, in any order, hold what a run of both holds; a rerun of one leaves the other's rows."""
    enter_run(ledger, carried_out(place, only=("west",)), RULES)
    west = rows_of(ledger, "west")
    assert west and not rows_of(ledger, "east")
    enter_run(ledger, carried_out(place, only=("east",)), RULES)
    assert rows_of(ledger, "west") == west and rows_of(ledger, "east")
    assert enter_run(ledger, carried_out(place), RULES).added == 0


def test_another_rule_of_matching_is_a_new_issue_that_says_so(place: Path, ledger: Ledger) -> None:
    folder = carried_out(place)
    enter_run(ledger, folder, RULES)
    other = RULES.model_copy(update={"match": RULES.match.model_copy(update={"min_growth_m2": 500.0})})
    (east, west) = enter_run(ledger, folder, other).units
    assert (east.issue, west.issue) == (2, 2) and set(east.differences) == {"rules"}
    # The problems are the same ones, found again.
    assert len(ledger.rows("problem", "withdrawn = 0")) == 2
    assert {row["last_change"] for row in ledger.rows("problem")} == {"1"}


def test_a_period_that_was_signed_is_not_added_to_silently(place: Path, ledger: Ledger) -> None:
    from ecowatch.ledger import Event, EventKind  # noqa: PLC0415

    enter_run(ledger, carried_out(place, only=("west",)), RULES)
    ledger.commit([Event(EventKind.PERIOD_SIGNED, period="2026H1", payload={"head": "x"}, actor="王", at="2026-09-01")])
    with pytest.raises(LedgerError, match=r"PERIOD_SIGNED east 2026H1.*--reissue"):
        enter_run(ledger, carried_out(place), RULES)
    assert enter_run(ledger, carried_out(place), RULES, reissue="east came late").added > 0


def test_a_run_that_is_not_as_it_was_written_is_refused(place: Path, ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="RUN_INCOMPLETE"):
        enter_run(ledger, place, RULES)
    folder = carried_out(place, name="changed")
    (folder / "flagged.gpkg").write_bytes((folder / "flagged.gpkg").read_bytes()[:-1] + b"x")
    with pytest.raises(LedgerError, match="RUN_CHANGED"):
        enter_run(ledger, folder, RULES)
    assert ledger.head.seq == 0


def test_a_damaged_product_is_assembled_anew_from_sealed_tiles(place: Path) -> None:
    folder = carried_out(place, name="sealed")
    sound = (folder / "flagged.gpkg").read_bytes()
    (folder / "flagged.gpkg").unlink()
    tile = next((place / "runs" / "sealed" / "work").rglob("*.npz"))
    rotten = bytearray(tile.read_bytes())
    rotten[len(rotten) // 2] ^= 1
    tile.write_bytes(rotten)
    assert list(tile.parent.glob("_DONE.*.json"))
    steps: list[str] = []
    again = run_review(
        review(place, name="sealed"),
        Cluster(scheduler="threads", workers=2),
        progress=lambda *told: steps.append(told[1]),
    )
    assert "damaged" in steps and steps.count("tile") == 1
    assert (again.folder / "flagged.gpkg").read_bytes() == sound


def test_the_commands(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run with a ledger, list, show, move, diff: as a user gives them."""
    monkeypatch.setenv("LANG", "C")
    rules, settings, cluster = tmp_path / "ledger.toml", tmp_path / "review.toml", tmp_path / "cluster.toml"
    rules.write_text('path = "ledger.db"\n')
    cluster.write_text('scheduler = "threads"\n')
    bands = "".join(
        f'[[sources.bands]]\nrole = "{band.role}"\nindex = {band.index}\nscale = 1e-4\n' for band in PLAIN["bands"]
    )
    settings.write_text(
        f'name = "commands"\nperiod = "2026H1"\nroots = ["{place}"]\nruns = "runs"\npipelines = "{ROOT / "pipelines"}"\n'
        f'[[areas]]\npath = "{place / "areas.gpkg"}"\nid_field = "id"\n'
        f'[[sources]]\npath = "{place / "scenes"}"\nproduct = "geotiff"\nsensor = "plain"\n{bands}'
    )

    def told(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == code, result.output
        return result.output

    assert "LEDGER_MISSING" in told("problem", "list", "--ledger", rules, code=65)
    assert "west 2026H1: new 1" in told("run", settings, "--cluster", cluster, "--ledger", rules)
    assert "0 events added" in told("run", settings, "--cluster", cluster, "--ledger", rules)
    # Once more as a program of its own, which imports less.
    command = [
        sys.executable,
        "-m",
        "ecowatch",
        "run",
        str(settings),
        "--cluster",
        str(cluster),
        "--ledger",
        str(rules),
    ]
    rules.write_text('path = "other.db"\n')
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "west 2026H1: new 1" in done.stdout, done.stderr
    rules.write_text('path = "ledger.db"\n')
    (east, west) = json.loads(told("problem", "list", "--ledger", rules, "--json"))
    assert (east["area_id"], west["area_id"], west["state"]) == ("east", "west", "screened")
    word = ("--ledger", rules, "--by", "王审", "--at", "2026-07-01")
    assert "entered" in told("problem", "move", west["problem_id"], "--to", "confirmed", *word)
    assert "TRANSITION" in told("problem", "move", west["problem_id"], "--to", "closed", *word, code=65)
    shown = json.loads(told("problem", "show", west["problem_id"], "--ledger", rules))
    assert shown["problem"]["state"] == "confirmed" and shown["events"][-1]["actor"] == "王审"
    (run,) = (p.parent for p in (tmp_path / "runs" / "commands").glob("*/run.json"))
    assert told("diff", run, "--ledger", rules).count("as the ledger has it") == 2
    rules.write_text('path = "ledger.db"\npfad = 1\n')
    assert "CONFIG_UNKNOWN_KEY" in told("run", settings, "--cluster", cluster, "--ledger", rules, code=78)
