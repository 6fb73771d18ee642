"""Claims of rectification against simulated scenes: a mine that grew over, one that stayed bare, one under cloud."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
from pyproj import CRS
from scipy import ndimage as ndi
from typer.testing import CliRunner

from ecowatch import objects
from ecowatch.cli import app
from ecowatch.codes import ProblemState
from ecowatch.errors import LedgerError, UnavailableError
from ecowatch.grid import Grid, transformed
from ecowatch.ledger import LEDGER_CRS, Event, EventKind, Ledger, geometry_text
from ecowatch.raster import write_geotiff
from ecowatch.review.claims import check_claims, moves_of
from ecowatch.review.site import ground_of, site_pieces
from ecowatch.settings import AreaSource, BandDescription, ClaimRules, LedgerSettings, Review, SceneSource

from ..stores import store

ROOT = Path(__file__).parents[2]
SIDE = 160
GRID = Grid.from_parts("EPSG:32650", (10, 0, 600_000, 0, -10, 3_400_000), (SIDE, SIDE))
ROLES = ("blue", "green", "red", "nir", "swir1")
GREEN = np.array([0.04, 0.07, 0.05, 0.35, 0.18])[:, None, None]
BARE = np.array([0.14, 0.18, 0.24, 0.30, 0.38])[:, None, None]
WATER = np.array([0.06, 0.06, 0.04, 0.02, 0.01])[:, None, None]
PLACES = {name: (slice(30, 50), slice(col, col + 20)) for name, col in (("grown", 20), ("bare", 70), ("hidden", 120))}
PLACES["pit"] = (slice(100, 120), slice(20, 40))
SINCE = ("20250610", "20250801", "20260610", "20260801")
DAYS = ("20230701", "20240701", *SINCE)
RULES = LedgerSettings()


def outline(where: tuple[slice, slice]) -> shapely.Polygon:
    left, top = GRID.transform @ (where[1].start, where[0].start)
    right, bottom = GRID.transform @ (where[1].stop, where[0].stop)
    return shapely.box(left, bottom, right, top)


def in_degrees(shape: shapely.Polygon) -> shapely.Polygon:
    return transformed(shape, CRS.from_epsg(32650), LEDGER_CRS, frozenset({"EPSG:4326=EPSG:4490"}))


def scene(folder: Path, number: int, day: str) -> None:
    """Green ground with structure; all four places are laid bare in 2024, then each goes its own way."""
    rng = np.random.default_rng(0)
    ground = GREEN * (1 + 0.3 * ndi.gaussian_filter(rng.standard_normal((1, SIDE, SIDE)), (0, 3, 3)) * 6)
    for name, where in PLACES.items():
        if day == "20240701" or (day > "20240701" and name != "grown"):
            ground[:, *where] = WATER if name == "pit" and day > "20240701" else BARE
    own = np.random.default_rng(number + 1)
    values = ground * own.uniform(0.96, 1.05) + own.normal(0, 0.003, ground.shape)
    numbers = np.clip(values * 1e4, 1, 9999).astype(np.uint16)
    if day > "20240701":
        rows, cols = PLACES["hidden"]
        numbers[:, rows.start - 4 : rows.stop - 4, cols.start - 4 : cols.stop + 4] = 0
    write_geotiff(folder / f"s_{day}.tif", numbers, GRID, nodata=0)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("claims")
    for number, day in enumerate(DAYS):
        scene(folder, number, day)
    return folder


@pytest.fixture
def review(scenes: Path, tmp_path: Path) -> Review:
    boundary = tmp_path / "area.gpkg"
    whole = shapely.box(*GRID.bounds).buffer(-50, join_style="mitre")
    geopandas.GeoDataFrame({"id": ["a"]}, geometry=[whole], crs="EPSG:32650").to_file(boundary)
    bands = tuple(BandDescription(role=role, index=i, scale=1e-4) for i, role in enumerate(ROLES, 1))
    return Review(
        name="test",
        period="2026",
        roots=(tmp_path, scenes),
        runs=tmp_path / "runs",
        pipelines=ROOT / "pipelines",
        areas=(AreaSource(path=boundary, id_field="id"),),
        sources=(SceneSource(path=scenes, product="geotiff", sensor="plain", bands=bands),),
    )


def events_of(name: str, *, kind: str = "restore", area: str = "a", facts: dict[str, Any] | None = None) -> list[Event]:
    """A mine found in 2024 and claimed to be rectified in spring 2025."""
    shape = geometry_text(in_degrees(outline(PLACES[name])))
    patch = {
        "issue": 1,
        "change_code": "1",
        "activity_code": "03",
        "direction": "gain",
        "area_m2": 40_000.0,
        "before_date": "2023-07-01",
        "after_date": "2024-07-01",
        "pipeline": "bitemporal",
        "geometry": shape,
        "facts": facts or {},
    }
    problem = {
        "patches": [f"t-{name}"],
        "geometry": shape,
        "area_m2": 40_000.0,
        "activity_code": "03",
        "state": "rectifying",
        "stock": 0,
        "parents": [],
    }
    moved = {"from": "rectifying", "to": "claimed_done", "reason": ""} | ({"rectification": kind} if kind else {})
    return [
        Event(EventKind.PATCH_FOUND, area, "2024", name, f"t-{name}", patch, at="2024-07-01"),
        Event(EventKind.PROBLEM_OPENED, area, "2024", name, payload=problem, at="2024-07-01"),
        Event(EventKind.STATE_MOVED, area, problem_id=name, payload=moved, actor="li", at="2025-04-01"),
    ]


def ledger_of(path: Path, *events: list[Event]) -> Path:
    with Ledger.writer(path / "l.db") as ledger:
        ledger.commit([event for some in events for event in some])
    return path / "l.db"


def checked(path: Path, review: Review, *problems: str, rules: LedgerSettings = RULES) -> dict[str, Event]:
    with Ledger.reader(path) as ledger:
        return {e.problem_id: e for e in check_claims(review, ledger, rules, problems=problems)}


def test_grown_over_passes_bare_fails_hidden_is_unknown(tmp_path: Path, review: Review) -> None:
    path = ledger_of(tmp_path, *map(events_of, PLACES))
    found = checked(path, review)
    assert {name: event.payload["passed"] for name, event in found.items()} == {
        "grown": True,
        "bare": False,
        "hidden": None,
        "pit": False,
    }
    grown, hidden = found["grown"].payload, found["hidden"].payload
    assert grown["seasons"] == 2 and grown["dates"] == ["2025-06-10", "2025-08-01", "2026-06-10", "2026-08-01"]
    assert found["grown"].at == "2026-08-01" and grown["claimed_on"] == "2025-04-01"
    assert sorted(grown["scenes"]) == [f"s_{day}" for day in DAYS] and all(
        len(d) == 64 for d in grown["scenes"].values()
    )
    assert hidden["dates"] == [] and "clear_dates=0/4" in hidden["why"] and hidden["seasons"] == 0
    assert "water=new" in found["pit"].payload["why"]
    first = {row["date"]: row for row in found["bare"].payload["series"]}["2026-08-01"]
    # By hand: NDVI of the ground painted, within the noise and the light of the date.
    assert first["ndvi"] == pytest.approx((0.30 - 0.24) / 0.54, abs=0.01) and first["bare_share"] == 1.0
    assert first["ring_ndvi"] == pytest.approx((0.35 - 0.05) / 0.40, abs=0.01) and first["valid_share"] == 1.0


def test_only_a_claim_that_passes_moves_and_moves_once(tmp_path: Path, review: Review) -> None:
    path = ledger_of(tmp_path, *map(events_of, PLACES))
    events = list(checked(path, review).values())
    with Ledger.writer(path) as ledger:
        moves = moves_of(ledger, events)
        assert [(m.problem_id, m.payload["from"], m.payload["to"]) for m in moves] == [
            ("grown", "claimed_done", "checked")
        ]
        assert ledger.commit([*events, *moves]) == 5
        (row,) = ledger.rows("problem", "problem_id = 'grown'")
        assert row["state"] == ProblemState.CHECKED and json.loads(row["evidence"])["passed"] is True
        head = ledger.head
    # The same once more, asked for by name: nothing is added, nobody is moved twice.
    again = list(checked(path, review, "grown", "bare").values())
    assert {e.event_id for e in again} <= {e.event_id for e in events}
    with Ledger.writer(path) as ledger:
        assert moves_of(ledger, again) == [] and ledger.commit(again) == 0 and ledger.head == head


def test_the_kind_of_the_plan_decides_what_is_needed(tmp_path: Path, review: Review) -> None:
    """With three seasons asked for, the site is out of the area but not yet restored; no kind means the strictest."""
    path = ledger_of(tmp_path, events_of("grown", kind="exit"))
    three = RULES.model_copy(update={"claim": ClaimRules(seasons=3)})
    assert checked(path, review, rules=three)["grown"].payload["passed"] is True
    (tmp_path / "b").mkdir()
    path = ledger_of(tmp_path / "b", events_of("grown", kind=""))
    payload = checked(path, review, rules=three)["grown"].payload
    assert payload["passed"] is None and payload["rectification"] == "restore" and "not_named" in payload["why"]


def test_another_area_is_left_alone_unless_it_is_named(tmp_path: Path, review: Review) -> None:
    path = ledger_of(tmp_path, events_of("grown", area="elsewhere"))
    assert checked(path, review) == {}
    with pytest.raises(LedgerError, match="AREA_NOT_REVIEWED grown: the review has no area elsewhere"):
        checked(path, review, "grown")
    with pytest.raises(LedgerError, match="PROBLEM_UNKNOWN nobody"):
        checked(path, review, "nobody")


def test_works_that_no_scene_shows_any_more_are_taken_from_their_patch(
    tmp_path: Path, review: Review, scenes: Path
) -> None:
    later = tmp_path / "later"
    later.mkdir()
    for day in SINCE:
        (later / f"s_{day}.tif").write_bytes((scenes / f"s_{day}.tif").read_bytes())
    sources = (review.sources[0].model_copy(update={"path": later}),)
    review = review.model_copy(update={"sources": sources, "roots": (tmp_path,)})
    spectra = {
        f"spectrum_{side}": json.dumps(dict(zip(ROLES, values.ravel().tolist(), strict=True)))
        for side, values in (("before", GREEN), ("after", BARE))
    }
    path = ledger_of(tmp_path, events_of("grown", facts=spectra), events_of("bare", facts=spectra))
    found = checked(path, review)
    assert found["grown"].payload["passed"] is True and found["bare"].payload["passed"] is False
    assert "works=2024-07-01" in found["grown"].payload["why"]
    # Without even that, nobody can say that the structure is gone.
    (tmp_path / "b").mkdir()
    path = ledger_of(tmp_path / "b", events_of("grown"))
    payload = checked(path, review)["grown"].payload
    assert payload["structure_gone"] is None and payload["passed"] is None


def test_a_site_of_an_inventory_has_no_patch_but_images(tmp_path: Path, review: Review) -> None:
    """What the last date up to its entry shows is the works; entered before any image, nobody can tell."""
    _, *inventory = events_of("grown", kind="exit")
    payload = checked(ledger_of(tmp_path, inventory), review)["grown"].payload
    assert payload["passed"] is True and "works=2024-07-01" in payload["why"] and "before=unknown" in payload["why"]
    (tmp_path / "b").mkdir()
    early = [replace(event, at="2020-01-01") for event in inventory]
    assert checked(ledger_of(tmp_path / "b", early), review)["grown"].payload["structure_gone"] is None


def test_a_damaged_date_is_left_out_and_named(tmp_path: Path, review: Review, scenes: Path) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    for day in DAYS:
        data = bytearray((scenes / f"s_{day}.tif").read_bytes())
        if day == SINCE[1]:
            # The header stays whole; the one block of pixels is not.
            data[600 : len(data) - 600] = bytes(len(data) - 1200)
        (copies / f"s_{day}.tif").write_bytes(data)
    sources = (review.sources[0].model_copy(update={"path": copies}),)
    review = review.model_copy(update={"sources": sources, "roots": (tmp_path,)})
    payload = checked(ledger_of(tmp_path, events_of("grown")), review)["grown"].payload
    assert "2025-08-01" not in payload["dates"] and payload["passed"] is None and payload["seasons"] == 1


def test_a_store_that_dies_while_dates_are_looked_at_leaves_no_date_out(
    tmp_path: Path, review: Review, scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was seen because nobody answered: that is no evidence of the site."""
    monkeypatch.setattr(objects, "FIRST_WAIT_S", 0.01)
    prefix = uuid.uuid4().hex
    with store(monkeypatch) as shop, Ledger.reader(ledger_of(tmp_path, events_of("grown"))) as ledger:
        shop.put("scenes", scenes, f"{prefix}/")
        shop.client.put_object(Bucket="scenes", Key=f"{prefix}/s_20260901.tif", Body=b"<html>log in</html>")
        place = Path(f"s3://scenes/{prefix}")
        sources = (review.sources[0].model_copy(update={"path": place}),)
        far = review.model_copy(update={"sources": sources, "roots": (*review.roots, place)})

        def die(_: object) -> None:
            # Told when all scenes are listed and none has been read yet.
            shop.instead = lambda *_: 503

        with pytest.raises(UnavailableError, match=r"STORE_UNAVAILABLE s3://scenes/.*\.tif: HTTP 503") as caught:
            check_claims(far, ledger, RULES, quarantined=die)
        assert caught.value.exit_code == 69
        shop.instead = lambda *_: None
        (seen,) = check_claims(far, ledger, RULES)
        assert seen.payload["passed"] is True


def test_no_scene_at_all_is_unknown(tmp_path: Path, review: Review) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    sources = (review.sources[0].model_copy(update={"path": empty}),)
    event = checked(ledger_of(tmp_path, events_of("grown")), review.model_copy(update={"sources": sources}))["grown"]
    assert event.payload["passed"] is None and "scenes=none" in event.payload["why"]


def test_the_ring_by_hand() -> None:
    """Three pixels wide, one of them left out at the edge, and without the neighbour."""
    grid = Grid.from_parts("EPSG:32650", (10, 0, 0, 0, -10, 200), (20, 20))
    site, other = shapely.box(80, 80, 120, 120), shapely.box(120, 0, 200, 200)
    (piece,) = site_pieces(site, other, grid, ring_m=30)
    assert piece.inside.sum() == 16
    rows, cols = np.nonzero(piece.ring)
    x, y = (piece.window.col0 + cols) * 10 + 5, 200 - (piece.window.row0 + rows) * 10 - 5
    apart = shapely.distance(site, shapely.points(x, y))
    assert ((apart > 10) & (apart < 30)).all() and x.max() < 120
    # Counted: of the 20 columns and rows, those two and three pixels off, on the three sides that are free.
    expected = [
        (c, r)
        for c in range(12)
        for r in range(20)
        if 10 < shapely.distance(site, shapely.Point(c * 10 + 5, r * 10 + 5)) < 30
    ]
    assert len(rows) == len(expected) > 30


def test_a_site_on_several_blocks_is_cut_and_counted_once() -> None:
    grid = Grid.from_parts("EPSG:32650", (10, 0, 0, 0, -10, 0), (2048, 2048))
    site = shapely.box(5000, -5300, 5300, -5000)
    pieces = site_pieces(site, shapely.Polygon(), grid, ring_m=50)
    assert len(pieces) == 4 and sum(int(p.inside.sum()) for p in pieces) == 900


def test_water_and_bare_ground_by_hand() -> None:
    values = np.hstack([GREEN[:, 0], GREEN[:, 0], BARE[:, 0], WATER[:, 0]])
    found = ground_of(values, ROLES, water_level=0.0, bare_ndvi=0.25)
    assert (found.bare_share, found.water_share) == (0.25, 0.25)
    assert found.land_ndvi == pytest.approx(0.75) and found.land_spectrum["red"] == pytest.approx(0.05)
    # A roof of blue metal passes the index with the short-wave band, but it is no water.
    roof = np.array([[0.30], [0.28], [0.22], [0.29], [0.20]])
    assert ground_of(roof, ROLES, water_level=0.0, bare_ndvi=0.25).water_share == 0.0
    nothing = ground_of(np.empty((5, 0)), ROLES, water_level=0.0, bare_ndvi=0.25)
    assert nothing.ndvi is None and nothing.spectrum == {}


def test_dates_are_civil_ones(tmp_path: Path, review: Review) -> None:
    """Said late in the evening in UTC: the next morning in Shanghai."""
    *first, claim = events_of("grown")
    late = Event(
        claim.kind, claim.area_id, problem_id="grown", payload=claim.payload, actor="li", at="2025-06-10T20:00+00:00"
    )
    payload = checked(ledger_of(tmp_path, [*first, late]), review)["grown"].payload
    assert date.fromisoformat(payload["claimed_on"]) == date(2025, 6, 11)


def test_a_displaced_date_is_laid_on_the_date_of_the_works(tmp_path: Path, review: Review) -> None:
    """A small mine that is still there, seen six pixels off since: its old outline would show nothing but green."""
    side, rng = 300, np.random.default_rng(1)
    grid = Grid.from_parts("EPSG:32650", (10, 0, 600_000, 0, -10, 3_400_000), (side, side))
    green = GREEN * (1 + 0.3 * ndi.gaussian_filter(rng.standard_normal((1, side, side)), (0, 3, 3)) * 6)
    mined = green.copy()
    mined[:, 33:39, 22:28] = BARE
    folder = tmp_path / "displaced"
    folder.mkdir()
    for number, day in enumerate(DAYS):
        ground = np.roll(mined, (6, 6), (1, 2)) if day in SINCE else mined if day == "20240701" else green
        noisy = ground + np.random.default_rng(number).normal(0, 0.002, ground.shape)
        write_geotiff(folder / f"s_{day}.tif", np.clip(noisy * 1e4, 1, 9999).astype(np.uint16), grid, nodata=0)
    sources = (review.sources[0].model_copy(update={"path": folder}),)
    review = review.model_copy(update={"sources": sources, "roots": (tmp_path,)})
    shape = geometry_text(in_degrees(outline((slice(33, 39), slice(22, 28)))))
    patch, problem, claim = events_of("grown", kind="exit")
    patch, problem = (
        Event(e.kind, "a", "2024", "grown", e.patch_id, {**e.payload, "geometry": shape}, at=e.at)
        for e in (patch, problem)
    )
    payload = checked(ledger_of(tmp_path, [patch, problem, claim]), review)["grown"].payload
    assert payload["passed"] is False and len(payload["dates"]) == 4, payload["why"]
    assert all(row["bare_share"] > 0.8 for row in payload["series"] if row["date"] > "2024-01-01")


def test_the_command_enters_evidence_and_moves(tmp_path: Path, review: Review, scenes: Path) -> None:
    """From files to the ledger, twice; a file that is no image is named and left out."""
    path = ledger_of(tmp_path, events_of("grown"), events_of("bare"))
    copies = tmp_path / "copies"
    copies.mkdir()
    for day in DAYS:
        (copies / f"s_{day}.tif").write_bytes((scenes / f"s_{day}.tif").read_bytes())
    (copies / "s_20260901.tif").write_bytes(b"<html>log in</html>")
    bands = "\n".join(f'[[sources.bands]]\nrole = "{r}"\nindex = {i}\nscale = 1e-4' for i, r in enumerate(ROLES, 1))
    (tmp_path / "review.toml").write_text(
        f"""
name = "test"
period = "2026"
roots = ["."]
runs = "runs"
pipelines = "{ROOT / "pipelines"}"
[[areas]]
path = "area.gpkg"
id_field = "id"
[[sources]]
path = "copies"
product = "geotiff"
sensor = "plain"
{bands}
""",
        "utf-8",
    )
    (tmp_path / "ledger.toml").write_text(f'path = "{path}"\n', "utf-8")
    arguments = ["claim", "check", str(tmp_path / "review.toml"), "--ledger", str(tmp_path / "ledger.toml"), "--lang"]
    first = CliRunner().invoke(app, [*arguments, "en"])
    assert first.exit_code == 0, first.output
    assert "2 claims tested, 1 of them moved to checked; 3 events added" in first.output
    assert "borne out" in first.output and "contradicted" in first.output and "FILE_KIND" in first.output
    with Ledger.reader(path) as ledger:
        assert {r["problem_id"]: r["state"] for r in ledger.rows("problem")} == {
            "grown": "checked",
            "bare": "claimed_done",
        }
        head = ledger.head
    second = CliRunner().invoke(app, [*arguments, "zh", "--problem", "grown", "--problem", "bare", "--json"])
    assert second.exit_code == 0 and '"passed": true' in second.output
    with Ledger.reader(path) as ledger:
        assert ledger.head == head
    unknown = CliRunner().invoke(app, [*arguments, "en", "--problem", "nobody"])
    assert unknown.exit_code == 65 and "PROBLEM_UNKNOWN nobody" in unknown.output
