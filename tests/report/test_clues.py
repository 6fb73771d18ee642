"""Clue packages: complete, the same bytes, harmless whatever the ledger holds; chips from proven scenes; receipts."""

from __future__ import annotations

import csv
import hashlib
import html.parser
import io
import json
import uuid
import zipfile
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
from PIL import Image

from ecowatch import objects
from ecowatch.errors import EcowatchError, LedgerError, UnavailableError
from ecowatch.grid import Grid, geodesic_area_m2, transformed
from ecowatch.ledger import LEDGER_CRS, Event, EventKind, Ledger, geometry_text
from ecowatch.raster import write_geotiff
from ecowatch.report.chips import Site, chip_grid, chips_of, drawn_chip
from ecowatch.report.clue_facts import coordinates
from ecowatch.report.clue_page import defused
from ecowatch.report.clues import Clue, HandOver, file_name, make_clue, receive_clue, review_of_run, write_clue
from ecowatch.report.coordinates import dms
from ecowatch.review import make_plan
from ecowatch.settings import AreaSource, BandDescription, Review, SceneSource

from ..desk.ground import SQUARES, add, count, make_ledger, opened, patch, seen, unit, verdict
from ..stores import store

ROOT = Path(__file__).parents[2]
TERMS = HandOver("某县生态环境局", "2026-12-31", "2026-07-10", "zhao")


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = make_ledger(tmp_path / "ledger.db")
    zones = [
        {"zone": "core", "geometry": geometry_text(shapely.box(110.0, 34.9, 110.0105, 35.1))},
        {"zone": "buffer", "geometry": geometry_text(shapely.box(110.0105, 34.9, 110.1, 35.1))},
        {"zone": "experimental", "geometry": geometry_text(shapely.box(111, 34.9, 112, 35.1))},
    ]
    area = {"version": "v1", "name": "示范区", "kind": "protected_area", "grade": "local", "valid_from": "2025-01-01"}
    area |= {"zones": zones, "geometry": zones[0]["geometry"], "source": "a.gpkg", "changes": {}}
    add(path, Event(EventKind.AREA_VERSIONED, "a", payload=area, at="2025-01-01"))
    return path


def made(book: Path, *problems: str, terms: HandOver = TERMS, **more: Any) -> Clue:
    with Ledger.reader(book) as ledger:
        return make_clue(ledger, problems, terms, **more)


def content(clue: Clue) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(clue.files["clue.json"])
    return told


def test_a_clue_says_what_the_receiver_must_know(book: Path) -> None:
    given = {"verdict": "problem", "reason": "none", "note": "现场有挖掘机", "activity_code": "04", "area_m2": 9000.0}
    add(book, Event(EventKind.VERDICT_GIVEN, "a", "2026H1", "p1", "t-p1", given, actor="li", at="2026-07-01"))
    told = content(made(book, "p1"))
    assert (told["receiver"], told["deadline"], told["handed_over_by"]) == ("某县生态环境局", "2026-12-31", "zhao")
    (problem,) = told["problems"]
    assert (problem["activity_original"]["code"], problem["activity_verified"]["code"]) == ("03", "04")
    assert (problem["area_ha"], problem["area_original_ha"], problem["area_verified_ha"]) == (1.0124, 1.0124, 0.9)
    assert problem["verdicts"][0]["reviewer"] == "li" and problem["verdicts"][0]["activity"]["zh"] == "采石场"
    assert problem["scenes"] == {"S2A_before": "11" * 32, "S2B_after": "22" * 32}
    assert problem["observed"] == [{"period": "2026H1", "observed_share": 0.875}]
    assert problem["pipelines"]["2026H1 bitemporal"]["version"] == 2
    assert problem["centre"]["lon_dms"] == "110°00'37.80\"E" and problem["centre"]["lat_dms"] == "35°00'01.80\"N"
    assert [e["kind"] for e in problem["events"]] == ["patch_found", "problem_opened", "verdict_given"]
    zones = {z["zone"]: z["area_ha"] for z in problem["zones"]}
    whole = geodesic_area_m2(SQUARES["p1"], LEDGER_CRS) / 1e4
    assert set(zones) == {"core", "buffer"} and zones["core"] == pytest.approx(whole / 2, abs=2e-4)
    assert sum(zones.values()) == pytest.approx(whole, abs=2e-4)


def test_every_file_is_named_with_its_digest_and_bytes_are_the_same(book: Path, tmp_path: Path) -> None:
    one, two = made(book, "p2", "p1", "p1"), made(book, "p1", "p2")
    assert one == two and len(content(one)["problems"]) == 2
    manifest = json.loads(one.files["manifest.json"])
    assert manifest["clue_id"] == one.clue_id and set(one.files) - set(manifest["files"]) == {
        "manifest.json",
        "receipt.json",
    }
    for name, digest in manifest["files"].items():
        assert hashlib.sha256(one.files[name]).hexdigest() == digest
    assert hashlib.sha256(one.files["manifest.json"]).hexdigest() == one.digest
    first, second = (write_clue(one, tmp_path / n, as_zip=True).read_bytes() for n in ("x", "y"))
    assert first == second
    folder = write_clue(one, tmp_path / "x")
    assert write_clue(one, tmp_path / "x") == folder
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert {n: archive.read(n) for n in archive.namelist()} == one.files
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == one.files
    (folder / "clue.csv").write_text("changed")
    with pytest.raises(EcowatchError, match=r"CLUE_EXISTS .*clue\.csv"):
        write_clue(one, tmp_path / "x")
    assert made(book, "p1").clue_id != one.clue_id
    assert made(book, "p1", terms=TERMS._replace(to="other")).clue_id != made(book, "p1").clue_id


class Page(html.parser.HTMLParser):
    """Tags and attributes of a page as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def test_text_from_outside_stays_text(book: Path) -> None:
    evil = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    payload = {"verdict": "problem", "reason": "none", "note": evil}
    add(
        book,
        Event(EventKind.VERDICT_GIVEN, "a", "2026H1", "p1", "", payload, actor="=cmd|' /C calc'!A0", at="2026-07-01"),
    )
    clue = made(book, "p1", terms=TERMS._replace(to="=HYPERLINK(1)" + evil, by="@SUM(1)"))
    page = Page(clue.files["clue.html"].decode())
    assert {"script", "img", "iframe", "object", "link"}.isdisjoint(page.tags)
    assert not any(name.startswith("on") for name, _ in page.attributes)
    rows = list(csv.reader(io.StringIO(clue.files["clue.csv"].decode("utf-8-sig"))))
    assert rows[0][0] == "problem_id" and len(rows) == 2
    told = dict(zip(*rows, strict=True))
    assert told["receiver"].startswith("'=HYPERLINK") and told["handed_over_by"] == "'@SUM(1)"
    assert float(told["longitude"]) == pytest.approx(110.0105) and told["state"] == "疑似问题"


def test_formulas_are_defused() -> None:
    assert [defused(c) for c in ("=1", "+1", "-1", "@a", "\t=1", "\r=1")] == [
        "'=1",
        "'+1",
        "'-1",
        "'@a",
        "'\t=1",
        "'\r=1",
    ]
    assert [defused(c) for c in ("a=1", "", None, "中")] == ["a=1", "", "", "中"]


def test_names_of_files_are_safe_and_unlike() -> None:
    assert file_name("P2026-a_1") == "P2026-a_1"
    names = [file_name(n) for n in ("../../etc/passwd", "..\\..\\etc\\passwd", "a/b", "a_b", "a b", "")]
    assert len(set(names)) == 6 and not any(c in "".join(names) for c in "/\\. ")


def test_the_page_is_for_both_languages_and_says_what_is_missing(book: Path) -> None:
    page = made(book, "p1").files["clue.html"].decode()
    for words in (
        "问题线索移交单 Clue handed over",
        "无影像切片 no chips",
        "接收单位 receiving unit",
        "110°00&#x27;36.00&quot;E",
    ):
        assert words in page
    assert "--review" in content(made(book, "p1"))["problems"][0]["no_chips_because"]


def test_the_outline_opens_in_geopandas_as_cgcs2000(book: Path, tmp_path: Path) -> None:
    folder = write_clue(made(book, "p1", "p2"), tmp_path)
    frame = geopandas.read_file(folder / "outline.geojson")
    assert frame.crs.to_epsg() == 4490 and list(frame.problem_id) == ["p1", "p2"]
    assert frame.geometry[0].normalize().equals_exact(SQUARES["p1"].normalize(), 1e-8)


@pytest.mark.parametrize(
    ("problems", "terms", "code"),
    [
        (("p9",), TERMS, "PROBLEM_UNKNOWN"),
        ((), TERMS, "CLUE_EMPTY"),
        (("p1",), TERMS._replace(to=" "), "CLUE_TERMS to"),
        (("p1",), TERMS._replace(deadline="2026-07-09"), "CLUE_TERMS deadline"),
        (("p1",), TERMS._replace(deadline="soon"), "DATE_AMBIGUOUS"),
        (("p1",), TERMS._replace(by=""), "NAME_MISSING"),
        (("p2",), TERMS, "CLUE_GONE p2: it was merged into p1"),
        (("p3",), TERMS, "CLUE_GONE p3: it was withdrawn"),
    ],
)
def test_what_cannot_be_handed_over_is_refused(
    book: Path, problems: tuple[str, ...], terms: HandOver, code: str
) -> None:
    merged = {"merged": ["p2"], "parents": ["p1", "p2"]}
    add(book, Event(EventKind.PROBLEMS_MERGED, "a", "2026H1", "p1", payload=merged, at="2026-05-20"))
    add(book, Event(EventKind.PROBLEM_WITHDRAWN, "a", "2026H1", "p3", payload={"why": "x"}, at="2026-05-20"))
    with pytest.raises(LedgerError, match=code):
        made(book, *problems, terms=terms)


def handed(book: Path, folder: Path) -> Path:
    clue = made(book, "p1")
    add(book, clue.event)
    return write_clue(clue, folder) / "receipt.json"


def filled(path: Path, **changes: Any) -> Path:
    values = {"received_by": "孙", "received_at": "2026-07-12", "case_no": "环罚〔2026〕7号", "note": ""}
    path.write_text(json.dumps(json.loads(path.read_text()) | values | changes))
    return path


def received(book: Path, path: Path) -> int:
    with Ledger.writer(book) as ledger:
        return receive_clue(ledger, path)


def test_a_receipt_comes_back_once(book: Path, tmp_path: Path) -> None:
    receipt = handed(book, tmp_path)
    assert add(book, made(book, "p1").event) == 0
    assert received(book, filled(receipt)) == 1 and received(book, receipt) == 0
    with Ledger.reader(book) as ledger:
        (row,) = ledger.rows("clue")
        assert (row["received_at"], row["receiver"]) == ("2026-07-12", "某县生态环境局")
        assert json.loads(row["receipt"])["case_no"] == "环罚〔2026〕7号"
        assert ledger.events("kind = 'clue_received'")[0].actor == "孙"
    with pytest.raises(LedgerError, match=r"CLUE_RECEIVED .*differs"):
        received(book, filled(receipt, received_by="周"))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"clue_id": "00" * 32}, "CLUE_UNKNOWN"),
        ({"digest": "00" * 32}, "CLUE_DIGEST"),
        ({"received_by": ""}, "NAME_MISSING"),
        ({"received_by": "ecowatch"}, "NAME_MISSING"),
        ({"received_at": ""}, "DATE_AMBIGUOUS"),
        ({"received_at": "2026-07-12T08:00:00"}, "DATE_AMBIGUOUS"),
        ({"received_at": "2026-07-01"}, "RECEIPT_INVALID .*before it was handed over"),
        ({"case_no": 7}, "RECEIPT_INVALID .*case_no"),
        ({"note": "x" * 5000}, "RECEIPT_INVALID .*note"),
        ({"note": "a\0b"}, "RECEIPT_INVALID .*note"),
        ({"more": ""}, "RECEIPT_INVALID .*no receipt of a clue"),
        ({"format": "2"}, "RECEIPT_INVALID .*no receipt of a clue"),
    ],
)
def test_a_receipt_that_does_not_fit_is_refused(book: Path, tmp_path: Path, changes: dict[str, Any], code: str) -> None:
    receipt, before = filled(handed(book, tmp_path), **changes), count(book)
    with pytest.raises(LedgerError, match=code):
        received(book, receipt)
    assert count(book) == before


def test_degrees_are_rounded_before_they_are_cut() -> None:
    assert dms(112.504166666, "longitude") == "112°30'15.00\"E"
    assert dms(112.99999999, "longitude") == "113°00'00.00\"E"
    assert dms(-33.5, "latitude") == "33°30'00.00\"S" and dms(-1e-9, "latitude") == "0°00'00.00\"N"
    assert dms(-0.0001, "longitude") == "0°00'00.36\"W"
    rng = np.random.default_rng(3)
    for value in rng.uniform(-90, 90, 200):
        degrees, rest = dms(value, "latitude")[:-1].split("°")
        minutes, seconds = rest.rstrip('"').split("'")
        back = int(degrees) + int(minutes) / 60 + float(seconds) / 3600
        assert back == pytest.approx(abs(value), abs=0.0051 / 3600) and float(seconds) < 60 and int(minutes) < 60
    for wrong in (90.1, float("nan")):
        with pytest.raises(ValueError, match="is no latitude"):
            dms(wrong, "latitude")


def test_the_centre_lies_in_the_site_and_holes_are_told() -> None:
    horseshoe = shapely.box(0, 0, 3, 3) - shapely.box(1, 1, 2, 4)
    centre = coordinates(horseshoe)["centre"]
    assert shapely.Point(centre["lon"], centre["lat"]).within(horseshoe)
    ring = coordinates(shapely.box(0, 0, 3, 3) - shapely.box(1, 1, 2, 2))["outline"]
    assert [(r["part"], r["hole"], len(r["vertices"])) for r in ring] == [(1, 0, 5), (1, 1, 5)]


def test_a_chip_shows_its_pixels_and_its_outline() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[:20] = (10, 200, 30)
    before = image.copy()
    ring = np.array([(10.0, 5.0), (50.0, 5.0), (50.0, 35.0), (10.0, 35.0), (10.0, 5.0)])
    drawn = drawn_chip(image, [ring], least_px=240)
    assert drawn == drawn_chip(image, [ring], least_px=240) and (image == before).all()
    shown = np.asarray(Image.open(io.BytesIO(drawn)))
    assert shown.shape == (160, 240, 3)
    assert tuple(shown[0, 0]) == (10, 200, 30) and tuple(shown[159, 0]) == (0, 0, 0)
    assert tuple(shown[20, 120]) == tuple(shown[80, 40]) == (255, 40, 40)


def test_the_grid_of_a_chip_holds_the_site_in_its_middle() -> None:
    grid = Grid.from_parts("EPSG:32650", (10, 0, 500_000, 0, -10, 3_900_000), (1000, 1000))
    for bounds in [(504_000, 3_894_000, 504_050, 3_894_050), (501_000, 3_891_000, 508_000, 3_899_000)]:
        chip = chip_grid(grid, bounds)
        left, bottom, right, top = chip.bounds
        assert left < bounds[0] and bottom < bounds[1] and right > bounds[2] and top > bounds[3]
        assert (left + right) / 2 == pytest.approx((bounds[0] + bounds[2]) / 2, abs=30)
        assert (bottom + top) / 2 == pytest.approx((bounds[1] + bounds[3]) / 2, abs=30)
        assert 48 <= max(chip.shape) <= 480


IMAGE = Grid.from_parts("EPSG:32649", (10, 0, 412_000, 0, -10, 3_878_000), (512, 512))
MINE = shapely.box(413_500, 3_875_500, 413_900, 3_875_900)


@pytest.fixture
def scenes(tmp_path: Path) -> Review:
    """Green ground before, the same with a bright square after; two bands of three are all that is needed."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    col, row = (int(v) for v in ~IMAGE.transform * (413_500, 3_875_900))
    for day, works in (("20250501", False), ("20260501", True)):
        rng = np.random.default_rng(1)
        values = rng.normal(1, 0.05, (4, 512, 512)) * np.array([400, 700, 500, 3500])[:, None, None]
        if works:
            values[:3, row : row + 40, col : col + 40] = np.array([1500, 2000, 2600])[:, None, None]
        write_geotiff(folder / f"s_{day}.tif", values.clip(1, 9999).astype(np.uint16), IMAGE, nodata=0)
    outline = shapely.box(*IMAGE.bounds).buffer(-300, join_style="mitre")
    geopandas.GeoDataFrame({"id": ["a"], "name": ["区"]}, geometry=[outline], crs=IMAGE.crs).to_file(
        tmp_path / "area.gpkg"
    )
    roles = ("blue", "green", "red", "nir")
    bands = tuple(BandDescription(role=role, index=i, scale=1e-4) for i, role in enumerate(roles, 1))
    return Review(
        name="test",
        period="2026H1",
        roots=(tmp_path,),
        runs=tmp_path / "runs",
        pipelines=ROOT / "pipelines",
        allow_datum=("EPSG:4326=EPSG:4490",),
        areas=(AreaSource(path=tmp_path / "area.gpkg", id_field="id", name_field="name"),),
        sources=(SceneSource(path=folder, product="geotiff", sensor="plain", bands=bands),),
    )


def mined(tmp_path: Path, digests: dict[str, str]) -> Path:
    """A ledger whose one problem is the mine, found from scenes of these digests."""
    shape = geometry_text(transformed(MINE, IMAGE.crs, LEDGER_CRS, frozenset({"EPSG:4326=EPSG:4490"})))
    inputs = {"scenes": digests, "pipelines": {"bitemporal": {"version": 2, "digest": "33" * 32}}}
    facts = {"before_scenes": min(digests), "after_scenes": max(digests)}
    found = patch("p1")
    told = {**found.payload, "geometry": shape, "facts": facts}
    events = [unit("a", inputs=inputs), Event(found.kind, "a", "2026H1", "p1", "t-p1", told, at="2026-05-01")]
    add(tmp_path / "mine.db", *events, opened("p1", geometry=shape))
    return tmp_path / "mine.db"


def test_chips_are_cut_from_the_scenes_that_the_ledger_names(scenes: Review, tmp_path: Path) -> None:
    comparison = make_plan(scenes).comparisons[0]
    digests = {s.scene_id: s.digest for group in (comparison.before, comparison.after) for s in group.scenes}
    book = mined(tmp_path, digests)
    clue = made(book, "p1", reviews=[scenes])
    assert clue.without_chips == {}
    chips = content(clue)["problems"][0]["chips"]
    assert [(c["file"], c["date"]) for c in chips] == [
        ("chips/p1_before.png", "2025-05-01"),
        ("chips/p1_after.png", "2026-05-01"),
    ]
    before, after = (np.asarray(Image.open(io.BytesIO(clue.files[c["file"]]))).astype(int) for c in chips)
    rows, cols = before.shape[:2]
    middle, corner = (
        (slice(rows // 2 - 20, rows // 2 + 20), slice(cols // 2 - 20, cols // 2 + 20)),
        (slice(0, 20), slice(0, 20)),
    )
    assert after[middle].mean() > before[middle].mean() + 60
    assert abs(after[corner].mean() - before[corner].mean()) < 15
    assert '<img src="chips/p1_after.png"' in clue.files["clue.html"].decode()
    assert made(book, "p1", reviews=[scenes]).files == clue.files


def test_without_the_very_scenes_the_clue_says_why_it_has_no_chips(scenes: Review, tmp_path: Path) -> None:
    comparison = make_plan(scenes).comparisons[0]
    named = {s.scene_id: "00" * 32 for group in (comparison.before, comparison.after) for s in group.scenes}
    clue = made(mined(tmp_path, named), "p1", reviews=[scenes])
    assert "not those that the ledger names" in clue.without_chips["p1"] and "chips/p1_after.png" not in clue.files
    site = Site("elsewhere", SQUARES["p1"], {})
    assert "elsewhere" in chips_of(scenes, {"p": site})["p"].why
    gone = scenes.model_copy(update={"roots": (tmp_path / "none",)})
    assert chips_of(gone, {"p": site._replace(area_id="a")})["p"].chips == ()


def test_a_store_that_does_not_answer_is_no_reason_for_a_clue_without_chips(
    scenes: Review, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "FIRST_WAIT_S", 0.01)
    prefix = uuid.uuid4().hex
    with store(monkeypatch) as shop:
        shop.put("scenes", scenes.sources[0].path, f"{prefix}/")
        place = Path(f"s3://scenes/{prefix}")
        sources = (scenes.sources[0].model_copy(update={"path": place}),)
        far = scenes.model_copy(update={"sources": sources, "roots": (*scenes.roots, place)})
        comparison = make_plan(far).comparisons[0]
        asked = len(shop.requests)
        digests = {s.scene_id: s.digest for group in (comparison.before, comparison.after) for s in group.scenes}
        book = mined(tmp_path, digests)
        assert made(book, "p1", reviews=[far]).without_chips == {}
        # Before the scenes are listed, and when they are listed and about to be read.
        for answers in (0, asked):
            left = iter(range(answers))
            shop.instead = lambda *_, left=left: 503 if next(left, None) is None else None
            with pytest.raises(UnavailableError, match=r"STORE_UNAVAILABLE s3://scenes.*: HTTP 503") as caught:
                made(book, "p1", reviews=[far])
            assert caught.value.exit_code == 69 and next(left, None) is None


def test_a_run_names_its_review(scenes: Review, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"settings": scenes.model_dump(mode="json")}))
    assert review_of_run(tmp_path).digest() == scenes.digest()
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(EcowatchError, match="RUN_UNREADABLE"):
        review_of_run(tmp_path)


def test_what_comes_later_makes_another_clue(book: Path) -> None:
    first = made(book, "p1")
    add(book, seen("p1"), verdict("p1", "problem", "li"))
    assert made(book, "p1").clue_id != first.clue_id
