"""An index of scenes: the same scenes as from the items themselves, of the right places and dates, and nothing else."""

from __future__ import annotations

import json
import shutil
import tracemalloc
import uuid
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from ecowatch import objects
from ecowatch.cli import app
from ecowatch.errors import ConfigError, IntakeError, SceneError, UnavailableError
from ecowatch.scenes import build_index, find_scenes
from ecowatch.scenes.index import indexed_items
from ecowatch.settings import SceneSource

from ..stores import store

FIRST = date(2026, 1, 1)


def item(number: int, href: str, **properties: Any) -> dict[str, Any]:
    """Scene `number` lies in column number % 20 and was taken number // 20 days after the first."""
    west, day = 100.0 + number % 20, FIRST + timedelta(number // 20)
    box = [west, 30.0, west + 0.5, 30.5]
    ring = [[west, 30.0], [west + 0.5, 30.0], [west + 0.5, 30.5], [west, 30.5], [west, 30.0]]
    assets: dict[str, Any] = {
        key: {"href": href.format(key=key), "eo:bands": [{"name": name, "common_name": key}]}
        for key, name in (("red", "B04"), ("nir", "B08"))
    }
    assets["red"]["raster:bands"] = [{"scale": 0.0001, "offset": 0, "nodata": 0}]
    assets["nir"]["raster:bands"] = [{"scale": 0.0001, "offset": 0.0}]
    assets["scl"] = {"href": href.format(key="scl"), "roles": ["data"]}
    told = {"datetime": f"{day}T03:00:{number % 20:02d}Z", "platform": "sentinel-2a", "s2:processing_baseline": "03.00"}
    if number % 3 == 0:
        told["s2:mgrs_tile"] = f"50TM{chr(65 + number % 20)}"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"S2_{number:04d}",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": box,
        "properties": told | properties,
        "assets": assets,
        "links": [{"rel": "self", "href": "http://elsewhere/item"}],
    }


@pytest.fixture
def folder(tmp_path: Path, write_tif: Callable[..., Path]) -> Path:
    """Two hundred items in folders of their own, over the same few pixels."""
    rng = np.random.default_rng(0)
    for key in ("red", "nir"):
        write_tif(tmp_path / "tif" / f"{key}.tif", rng.integers(100, 3000, (40, 40)).astype(np.uint16))
    write_tif(tmp_path / "tif" / "scl.tif", np.full((20, 20), 4, np.uint8), nodata=None, pixel_m=20.0)
    for number in range(200):
        place = tmp_path / "items" / f"{number % 7}" / f"{number}.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(item(number, "../../tif/{key}.tif")))
    return tmp_path


def source(path: Path, **keywords: Any) -> SceneSource:
    return SceneSource(path=path, product="stac", trust_offset=True, **keywords)


def test_the_same_scenes_come_of_an_index_as_of_its_items(folder: Path) -> None:
    out = folder / "elsewhere" / "index.parquet"
    assert build_index([folder / "items"], out) == (200, ())
    plain = find_scenes(source(folder / "items"), [folder])
    indexed = find_scenes(source(out), [folder])
    assert plain.quarantined == indexed.quarantined == () and len(plain.scenes) == 200
    assert indexed.scenes == plain.scenes
    assert [s.digest for s in indexed.scenes] == [s.digest for s in plain.scenes]


def test_only_scenes_that_touch_an_area_are_made(folder: Path) -> None:
    out = folder / "index.parquet"
    build_index([folder / "items"], out)

    def numbers(**keywords: Any) -> set[int]:
        return {int(d.item["id"][3:]) for d in indexed_items(out, [folder], **keywords)}

    assert numbers() == set(range(200))
    # Two boxes far apart: what lies between them is left out too.
    boxes = [(102.1, 30.1, 102.2, 30.2), (117.1, 30.1, 117.2, 30.2)]
    assert numbers(within=boxes) == {n for n in range(200) if n % 20 in (2, 17)}
    assert numbers(within=[(102.6, 30.1, 102.9, 30.2)]) == set()
    # Touching by a hair, within the margin.
    assert numbers(within=[(102.52, 30.1, 102.6, 30.2)]) == {n for n in range(200) if n % 20 == 2}
    assert numbers(within=[(102.1, 31.0, 102.2, 31.2)]) == set()
    assert numbers(within=[]) == set()
    catalog = find_scenes(source(out), [folder], within=boxes)
    assert len(catalog.scenes) == 20


def test_dates_are_civil_dates_of_shanghai(folder: Path) -> None:
    late = item(900, "tif/{key}.tif", datetime="2026-01-03T17:00:00Z")
    (folder / "items" / "late.json").write_text(json.dumps(late))
    ranged = item(901, "tif/{key}.tif", start_datetime="2020-01-01T00:00:00Z", end_datetime="2020-01-02T00:00:00Z")
    ranged["properties"]["datetime"] = None
    (folder / "items" / "ranged.json").write_text(json.dumps(ranged))
    out = folder / "index.parquet"
    build_index([folder / "items"], out)
    found = indexed_items(out, [folder], since=date(2026, 1, 4), until=date(2026, 1, 5))
    numbers = {int(d.item["id"][3:]) for d in found}
    assert numbers == {n for n in range(200) if n // 20 in (3, 4)} | {900, 901}


def test_one_bad_item_is_told_and_the_others_are_indexed(folder: Path) -> None:
    bad = item(0, "x")
    del bad["geometry"]
    (folder / "items" / "bad.json").write_text(json.dumps(bad))
    (folder / "items" / "half.json").write_text("{")
    odd = [[0, 0, 1], ["a", 0, 1, 1], [1e400, 0, 1, 1]]
    for number, box in enumerate(odd):
        (folder / "items" / f"odd{number}.json").write_text(json.dumps(item(0, "x") | {"bbox": box}))
    empty = item(0, "x") | {"geometry": {"type": "Polygon", "coordinates": []}}
    (folder / "items" / "empty.json").write_text(json.dumps({k: v for k, v in empty.items() if k != "bbox"}))
    built = build_index([folder / "items"], folder / "index.parquet")
    assert built.items == 200
    assert {line.split()[0] for line in built.left_out} == {"JSON_INVALID", "STAC_INVALID"}
    assert len(built.left_out) == 3 + len(odd)


def test_the_same_items_in_any_order_give_the_same_bytes(folder: Path) -> None:
    shutil.copytree(folder / "items", folder / "copies" / "b")
    a, b = folder / "a.parquet", folder / "b.parquet"
    build_index([folder / "items" / str(n) for n in range(7)], a)
    build_index([folder / "items" / str(n) for n in reversed(range(7))], b)
    assert a.read_bytes() == b.read_bytes()


def test_a_link_of_an_index_is_as_little_trusted_as_that_of_an_item(folder: Path) -> None:
    hostile = folder / "hostile"
    hostile.mkdir()
    for number, href in enumerate(("/etc/passwd", "http://x/a.tif", "/vsicurl/http://x/a.tif", "../../../etc/passwd")):
        (hostile / f"{number}.json").write_text(json.dumps(item(number, href)))
    build_index([hostile], folder / "index.parquet")
    found = find_scenes(source(folder / "index.parquet"), [folder])
    assert {q.code for q in found.quarantined} == {"HREF_NOT_ALLOWED"} and found.scenes == ()


def test_what_is_no_index_is_refused(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    path = folder / "index.parquet"
    pq.write_table(pa.table({"a": [1, 2]}), path)
    with pytest.raises(SceneError, match=r"INDEX_INVALID .*index\.parquet: it is no index of STAC items"):
        list(indexed_items(path, [folder], within=[(0, 0, 1, 1)]))
    path.write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    with pytest.raises(SceneError, match="INDEX_INVALID"):
        list(indexed_items(path, [folder]))
    path.write_text("{}")
    with pytest.raises(IntakeError, match="FILE_KIND"):
        list(indexed_items(path, [folder]))
    build_index([folder / "items"], path)
    with pytest.raises(IntakeError, match="OUTSIDE_ROOTS"):
        list(indexed_items(path, [tmp_path_factory.mktemp("other")]))
    with pytest.raises(ConfigError, match="PATH_MISSING"):
        build_index([folder / "none"], path)
    (folder / "empty").mkdir()
    with pytest.raises(SceneError, match=r"INDEX_ITEMS .*no item was found"):
        build_index([folder / "empty"], folder / "none.parquet")
    assert not (folder / "none.parquet").exists()


def test_memory_follows_what_is_asked_for_and_not_what_is_there(tmp_path: Path) -> None:
    collection = {"type": "FeatureCollection", "features": [item(n, "{key}.tif") for n in range(3000)]}
    (tmp_path / "all.json").write_text(json.dumps(collection))
    build_index([tmp_path / "all.json"], tmp_path / "index.parquet")

    box = (105.1, 30.1, 105.2, 30.2)
    tracemalloc.start()
    count = sum(1 for _ in indexed_items(tmp_path / "index.parquet", [tmp_path], within=[box]))
    peak_mb = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    # Python's own objects: of 150 items, not of the 3000 there are (over 15 MB).
    assert count == 150 and peak_mb < 5


def test_the_command_builds_an_index(folder: Path) -> None:
    out = folder / "index.parquet"
    done = CliRunner().invoke(app, ["index", "build", str(folder / "items"), str(out), "--lang", "en"])
    assert done.exit_code == 0, done.output
    assert "200 items, 0 left out" in done.output and out.is_file()
    assert CliRunner().invoke(app, ["index", "build", str(folder / "items")]).exit_code == 2


def test_a_store_that_dies_makes_no_index_with_a_gap(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "FIRST_WAIT_S", 0.01)
    prefix, out = uuid.uuid4().hex, folder / "index.parquet"
    with store(monkeypatch) as shop:
        shop.put("scenes", folder / "items" / "0", f"{prefix}/")
        assert build_index([Path(f"s3://scenes/{prefix}")], out) == (29, ())
        out.unlink()
        shop.instead = lambda _, path: 503 if path.endswith("/7.json") else None
        with pytest.raises(UnavailableError, match=r"STORE_UNAVAILABLE s3://scenes.*7\.json: HTTP 503") as caught:
            build_index([Path(f"s3://scenes/{prefix}")], out)
        assert caught.value.exit_code == 69 and not out.exists()
