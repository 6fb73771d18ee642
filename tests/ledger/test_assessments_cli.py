"""The commands due, status, sign, boundary and baseline, from settings files to exit codes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import pytest
import shapely
from click.testing import Result
from typer.testing import CliRunner

from ecowatch.cli import app
from ecowatch.ledger import Event, EventKind, Ledger, geometry_of, geometry_text
from ecowatch.ledger.baseline import verify_baseline

STEP = 0.001
Call = Callable[..., Result]


def square(col: float, row: float, width: float = 1, height: float = 1) -> shapely.Geometry:
    right, top = 110 + (col + width) * STEP, 35 + (row + height) * STEP
    return shapely.box(110 + col * STEP, 35 + row * STEP, right, top)


PARK, SITE = square(0, 0, 10, 10), square(7, 4, 2, 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A ledger file that grades one park, a review file, and the park's boundary."""
    (tmp_path / "ledger.toml").write_text(
        'path = "ledger.db"\n[[graded]]\ngrade = "national_park"\nareas = ["park"]\n', "utf-8"
    )
    (tmp_path / "review.toml").write_text(
        'name = "h1"\nperiod = "2026H1"\nroots = ["."]\n'
        '[[areas]]\npath = "areas.gpkg"\nid_field = "id"\nzone_field = "zone"\n'
        '[[sources]]\npath = "scenes"\nproduct = "geotiff"\n',
        "utf-8",
    )
    draw(tmp_path, core=square(0, 0, 5, 10), experimental=square(5, 0, 5, 10))
    return tmp_path


def draw(folder: Path, **zones: shapely.Geometry) -> None:
    """Write the park with its zones."""
    columns = {"id": ["park"] * len(zones), "zone": list(zones)}
    frame = geopandas.GeoDataFrame(columns, geometry=list(zones.values()), crs="EPSG:4490")
    (folder / "areas.gpkg").unlink(missing_ok=True)
    frame.to_file(folder / "areas.gpkg")


@pytest.fixture
def call(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command on the ledger file."""
    monkeypatch.setenv("LANG", "en_US.UTF-8")

    def _call(*arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "--ledger", str(folder / "ledger.toml")])

    return _call


def enter(folder: Path, period: str, at: str, share: float = 0.9) -> None:
    payload: dict[str, Any] = {"issue": 1, "inputs": {}, "inputs_digest": "", "run_id": "r", "observed_share": share}
    payload |= {"patches": 0, "continuing": [], "not_observed_problems": ["p1"], "unseen": [], "differences": {}}
    with Ledger.writer(folder / "ledger.db") as ledger:
        ledger.commit([Event(EventKind.UNIT_ENTERED, "park", period, payload=payload, at=at)])


def open_problem(folder: Path, state: str = "to_rectify") -> None:
    shape = {"geometry": geometry_text(SITE), "area_m2": 40000.0, "activity_code": "03", "patches": ["t1"]}
    said = {"from": "confirmed", "to": state, "reason": "", "responsible": "[某县]", "deadline": "2026-09-30"}
    opened = shape | {"state": "confirmed", "stock": 0, "parents": []}
    with Ledger.writer(folder / "ledger.db") as ledger:
        ledger.commit(
            [
                Event(EventKind.PROBLEM_OPENED, "park", "2026H1", "p1", payload=opened, at="2026-05-01"),
                Event(EventKind.STATE_MOVED, "park", problem_id="p1", payload=said, actor="li", at="2026-05-02"),
            ]
        )


def head(folder: Path) -> int:
    with Ledger.reader(folder / "ledger.db") as ledger:
        return ledger.head.seq


def test_due_before_the_first_run_and_after_it(folder: Path, call: Call) -> None:
    told = call("due", "--as-of", "2026-09-28", "--json")
    assert told.exit_code == 0 and "no ledger yet" in told.stderr and not (folder / "ledger.db").exists()
    units = json.loads(told.stdout)["units"]
    assert [(u["period"], u["area_id"], u["state"], u["deadline"]) for u in units] == [
        ("2026H1", "park", "due", "2026-09-28"),
        ("2026H2", "park", "not_due", "2027-03-31"),
    ]
    enter(folder, "2026H1", "2026-06-20")
    assert [u["period"] for u in json.loads(call("due", "--as-of", "2026-09-29", "--json").stdout)["units"]] == [
        "2026H2"
    ]
    table = call("due", "--as-of", "2026-09-29", "--all", "--lang", "zh").stdout
    assert "已入台账" in table and "90%" in table and "期限" in table


def test_sign_needs_the_unit_and_tells_what_is_missing(folder: Path, call: Call) -> None:
    sign = ("sign", "2026H1", "--by", "李", "--at", "2026-08-01")
    refused = call(*sign)
    assert refused.exit_code == 65
    assert "PERIOD_INCOMPLETE 2026H1: 1 of 1 units are not entered: park (national_park)" in refused.stderr
    assert "PERIOD_UNKNOWN 2019: the calendar has no unit" in call("sign", "2019", "--by", "li").stderr
    running = call("sign", "2026H2", "--by", "li", "--at", "2026-08-01")
    assert (running.exit_code, "PERIOD_RUNNING" in running.stderr) == (65, True)
    assert "NAME_MISSING" in call("sign", "2026H1", "--by", " ", "--at", "2026-08-01").stderr
    enter(folder, "2026H1", "2026-06-20")
    assert call(*sign).exit_code == 0
    before = head(folder)
    again = call(*sign)
    assert "signed off already" in again.stdout and head(folder) == before
    # What comes in after the signature is not covered by it.
    assert [
        u["state"] for u in json.loads(call("due", "--all", "--as-of", "2026-08-01", "--json").stdout)["units"]
    ] == [
        "signed",
        "not_due",
    ]
    enter(folder, "2026H1", "2026-06-21", share=0.95)
    assert call(*sign).exit_code == 0 and head(folder) == before + 2


def test_sign_despite_records_the_reason_and_the_unit_stays_overdue(folder: Path, call: Call) -> None:
    told = call("sign", "2026H1", "--by", "li", "--at", "2026-10-01", "--despite", "no images: floods")
    assert told.exit_code == 0 and "although 1 units are missing: no images: floods" in told.stderr
    with Ledger.reader(folder / "ledger.db") as ledger:
        (event,) = ledger.events()
    assert event.payload["despite"] == "no images: floods"
    assert event.payload["missing"] == [["national_park", "park"]]
    units = json.loads(call("due", "--as-of", "2026-10-01", "--json").stdout)["units"]
    assert [u["state"] for u in units] == ["overdue", "not_due"]
    before = head(folder)
    again = ("sign", "2026H1", "--by", "li", "--at", "2026-10-01", "--despite", "no images: floods")
    call(*again)
    assert head(folder) == before
    # Another area is asked for now: what was signed said nothing of it.
    rules = (folder / "ledger.toml").read_text("utf-8")
    (folder / "ledger.toml").write_text(rules.replace('["park"]', '["park", "second"]'), "utf-8")
    call(*again)
    assert head(folder) == before + 1


def test_status_counts(folder: Path, call: Call) -> None:
    missing = call("status")
    assert missing.exit_code == 65 and "LEDGER_MISSING" in missing.stderr
    open_problem(folder)
    enter(folder, "2026H1", "2026-06-20")
    on_time = json.loads(call("status", "--as-of", "2026-09-30", "--json").stdout)
    assert on_time["overdue"] == {}
    late = json.loads(call("status", "--as-of", "2026-10-01", "--json").stdout)
    assert late["units"] == {"not_due": 1, "due": 0, "overdue": 0, "entered": 1, "signed": 0}
    assert late["problems"] == {"to_rectify": 1} and late["overdue"] == {"[某县]": 1}
    assert (late["open"], late["relapsed"], late["not_observed"]) == (1, 0, 1)
    assert late["head"]["seq"] == 3
    table = call("status", "--as-of", "2026-10-01").stdout
    assert re.search(r"overdue: \[某县\] +│ 1", table) and "to be rectified" in table


def test_boundary_entered_then_moved_around_a_problem(folder: Path, call: Call) -> None:
    bound = ("boundary", str(folder / "review.toml"), "--valid-from")
    assert "first boundary" in call(*bound, "2026-01-01").stdout
    assert "boundary as before" in call(*bound, "2026-01-01").stdout and head(folder) == 1
    open_problem(folder)
    draw(folder, core=square(0, 0, 5, 10), experimental=square(5, 0, 1, 10))
    moved = call(*bound, "2026-07-01")
    assert moved.exit_code == 0
    assert "problem p1 (park, to be rectified) lie in ground that left the area; it lies outside now" in moved.stderr
    draw(folder, core=square(0, 0, 2, 10), experimental=square(2, 0, 4, 10))
    early = call(*bound, "2026-06-30")
    assert early.exit_code == 65 and "VALID_FROM park: 2026-06-30 is not later than 2026-07-01" in early.stderr
    lowered = call(*bound, "2026-08-01", "--lang", "zh")
    assert lowered.exit_code == 0 and lowered.stderr == "" and "降级" in lowered.stdout
    assert call(*bound, "1 July").exit_code == 2


def test_baseline_of_the_problems_and_a_second_one_refused(folder: Path, call: Call) -> None:
    open_problem(folder)
    freeze = ("baseline", "--area", "park", "--by", "li", "--as-of")
    assert "1 items, 4.0508 ha" in call(*freeze, "2026-06-30").stdout
    before = head(folder)
    assert "frozen already" in call(*freeze, "2026-06-30").stdout and head(folder) == before
    refused = call(*freeze, "2026-04-30")
    assert refused.exit_code == 65 and "BASELINE_FROZEN park: frozen as of 2026-06-30 by li" in refused.stderr
    unknown = call("baseline", "--area", "pork", "--by", "li", "--as-of", "2026-06-30")
    assert "AREA_UNKNOWN pork: neither ledger nor settings hold it; known: park" in unknown.stderr


def test_baseline_from_an_inventory(folder: Path, call: Call) -> None:
    """Another CRS, a bow-tie to repair, a row elsewhere; then a field and an activity that are none."""
    call("boundary", str(folder / "review.toml"), "--valid-from", "2026-01-01")
    bow = shapely.Polygon([(110.001, 35.001), (110.002, 35.002), (110.002, 35.001), (110.001, 35.002)])
    shapes, kinds = [square(3, 3), bow, square(50, 50)], ["道路", "3", "03"]
    frame = geopandas.GeoDataFrame({"LX": kinds, "bad": ["?"] * 3}, geometry=shapes, crs="EPSG:4490").to_crs(32649)
    frame.to_file(folder / "stock.gpkg", layer="stock")
    command = (
        "baseline",
        "--area",
        "park",
        "--by",
        "li",
        "--as-of",
        "2026-06-30",
        "--from",
        str(folder / "stock.gpkg"),
    )
    assert "FIELD_MISSING" in call(*command).stderr
    assert "FIELD_UNKNOWN" in call(*command, "--activity-field", "LY").stderr
    assert "ACTIVITY_UNKNOWN" in call(*command, "--activity-field", "bad").stderr
    told = call(*command, "--layer", "stock", "--activity-field", "LX")
    assert told.exit_code == 0 and "1 rows of the inventory lie in none of the areas" in told.stderr
    with Ledger.reader(folder / "ledger.db") as ledger:
        (event,) = ledger.events("kind = ?", (str(EventKind.BASELINE_FROZEN),))
        assert verify_baseline(ledger, "park") == event.payload["digest"]
    assert sorted(item["activity_code"] for item in event.payload["items"]) == ["03", "09"]
    assert all(geometry_of(item["geometry"]).is_valid for item in event.payload["items"])
    assert event.payload["digest"] in told.stdout
