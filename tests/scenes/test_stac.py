"""STAC on disk: items, collections and catalogs, both spellings of the raster words, and names that are no files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecowatch.grid import Grid
from ecowatch.raster import write_geotiff
from ecowatch.scenes import Catalog, find_scenes
from ecowatch.settings import SceneSource

Write = Callable[..., Path]
NUMBERS = (np.arange(400).reshape(20, 20) + 1200).astype(np.uint16)
HREFS = [
    "../../../../../../etc/passwd",
    "/etc/passwd",
    "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::1]:8765/B04.tif",
    "https://example.org@127.0.0.1/B04.tif",
    "s3://bucket/B04.tif",
    "/vsicurl/http://127.0.0.1/B04.tif",
    "/vsicurl?use_head=no&url=http%3A%2F%2F127.0.0.1",
    "/vsizip//vsicurl/http://127.0.0.1/x.zip/B04.tif",
    "/vsisubfile/0_100,/etc/passwd",
    "vsistdin/",
    "/VSIMEM/x.tif",
    "WMS:http://127.0.0.1/?",
    "MEM:::DATAPOINTER=4096,PIXELS=10,LINES=10",
    "PG:host=127.0.0.1 dbname=ledger",
    "vrt:///etc/passwd?bands=1",
    "GTIFF_DIR:1:B04.tif",
    "<VRTDataset rasterXSize='1' rasterYSize='1'></VRTDataset>",
    '{"type": "gdal_streamed_alg"}',
    "B04.tif\u0000.png",
    "B04.tif\n",
    "\\\\host\\share\\B04.tif",
    "//host/share/B04.tif",
    "C:\\B04.tif",
    "%2e%2e/B04.tif",
    "B04.tif?token=1",
    "",
    None,
    7,
    ["B04.tif"],
]


def band(name: str, common: str, **more: Any) -> dict[str, Any]:
    return {"href": f"./{name}.tif", "eo:bands": [{"name": name, "common_name": common}], "roles": ["data"], **more}


def item(**properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": "S2A_50TMK_20240501_0_L2A",
        "properties": {
            "datetime": "2024-05-01T03:05:31Z",
            "platform": "sentinel-2a",
            "s2:processing_baseline": "05.10",
            **properties,
        },
        "assets": {
            "visual": {"href": "./TCI.tif", "roles": ["visual"], "eo:bands": [{"name": "B04", "common_name": "red"}]},
            "red": band("B04", "red"),
            "nir": band("B08", "nir"),
            "nir08": band("B8A", "nir08"),
            "scl": {"href": "./SCL.tif", "roles": ["data"]},
        },
    }


@pytest.fixture
def folder(tmp_path: Path, write_tif: Write) -> Path:
    for number, name in enumerate(("B04", "B08", "B8A")):
        write_tif(tmp_path / f"{name}.tif", NUMBERS + np.uint16(number))
    write_tif(tmp_path / "SCL.tif", np.full((20, 20), 4, np.uint8), nodata=None)
    return tmp_path


def found(folder: Path, document: Any, name: str = "item.json", **keywords: Any) -> Catalog:
    (folder / name).write_text(document if isinstance(document, str) else json.dumps(document))
    return find_scenes(SceneSource(path=folder / name, product="stac", **keywords), [folder])


def refusal(folder: Path, document: Any, **keywords: Any) -> str:
    catalog = found(folder, document, **keywords)
    assert catalog.scenes == ()
    return str(catalog.quarantined[0])


def test_item_without_raster_words(folder: Path) -> None:
    (scene,) = found(folder, item()).scenes
    assert scene.radiometry == (("red", 1e-4, -0.1), ("nir", 1e-4, -0.1), ("nir2", 1e-4, -0.1))
    assert any(note.startswith("OFFSET_FROM_BASELINE") for note in scene.notes)
    assert scene.sensor == "s2_l2a" and scene.bands[0].layer.path.name == "B04.tif"


@pytest.mark.parametrize(
    "words",
    [
        {"raster:bands": [{"scale": 0.0001, "offset": -0.1, "nodata": 0}]},
        {"raster:scale": 0.0001, "raster:offset": -0.1, "nodata": 0},
        {
            "eo:bands": None,
            "bands": [{"name": "B04", "eo:common_name": "red", "raster:scale": 1e-4, "raster:offset": -0.1}],
        },
    ],
    ids=["1.0", "1.1 asset", "1.1 band"],
)
def test_both_spellings_of_scale_and_offset(folder: Path, words: dict[str, Any]) -> None:
    document = item()
    document["assets"]["red"].update(words)
    (scene,) = found(folder, document).scenes
    assert scene.band("red").scale == 1e-4 and scene.band("red").offset == -0.1


def test_collection_of_items_catalog_and_folder_find_the_same(folder: Path) -> None:
    single = found(folder, item()).scenes
    assert found(folder, {"type": "FeatureCollection", "features": [item()]}, "items.json").scenes == single
    links = [{"rel": "item", "href": "./item.json"}, {"rel": "root", "href": "https://example.org"}]
    (folder / "sub").mkdir()
    (folder / "sub" / "collection.json").write_text(
        json.dumps({"type": "Collection", "links": [{"rel": "item", "href": "../item.json"}]})
    )
    catalog = {"type": "Catalog", "links": [{"rel": "child", "href": "./sub/collection.json"}]}
    assert found(folder, catalog, "catalog.json").scenes == single
    assert found(folder, {"type": "Catalog", "links": links}, "catalog.json").scenes == single
    assert find_scenes(SceneSource(path=folder, product="stac"), [folder]).scenes == single


def test_catalog_that_links_to_itself(folder: Path) -> None:
    text = refusal(folder, {"type": "Catalog", "links": [{"rel": "child", "href": "./item.json"}]})
    assert text.startswith("STAC_LOOP")


def test_one_bad_item_of_two(folder: Path) -> None:
    bad = item() | {"id": "bad", "properties": {"datetime": "2024-05-01T03:05:31", "platform": "sentinel-2a"}}
    catalog = found(folder, {"type": "FeatureCollection", "features": [bad, item()]})
    assert [s.scene_id for s in catalog.scenes] == ["S2A_50TMK_20240501_0_L2A"]
    assert catalog.quarantined[0].code == "DATE_AMBIGUOUS" and catalog.quarantined[0].where.endswith("item.json bad")


@pytest.mark.parametrize("href", HREFS, ids=repr)
def test_name_that_is_no_local_file(folder: Path, href: Any) -> None:
    document = item()
    document["assets"]["red"]["href"] = href
    assert refusal(folder, document).startswith("HREF_NOT_ALLOWED")
    catalog = {"type": "Catalog", "links": [{"rel": "item", "href": href}]}
    assert refusal(folder, catalog).startswith("HREF_NOT_ALLOWED")


def test_link_out_of_the_roots(folder: Path, tmp_path_factory: pytest.TempPathFactory, write_tif: Write) -> None:
    outside = write_tif(tmp_path_factory.mktemp("outside") / "B04.tif", NUMBERS)
    (folder / "B04.tif").unlink()
    (folder / "B04.tif").symlink_to(outside)
    assert refusal(folder, item()).startswith("HREF_NOT_ALLOWED")


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2021-07-01T00:30:00+08:00", date(2021, 7, 1)),
        ("2021-06-30T15:59:59Z", date(2021, 6, 30)),
        ("2021-06-30T16:00:00Z", date(2021, 7, 1)),
        ("2016-12-31T23:59:60Z", date(2017, 1, 1)),
    ],
)
def test_civil_date_of_an_instant(folder: Path, text: str, day: date) -> None:
    assert found(folder, item(datetime=text)).scenes[0].civil_date == day


def test_range_of_time(folder: Path) -> None:
    times = {"start_datetime": "2021-06-30T00:00:00Z", "end_datetime": "2021-06-30T04:00:00Z"}
    (scene,) = found(folder, item(datetime=None, **times)).scenes
    assert scene.acquired.hour == 2 and scene.notes[0].startswith("DATE_RANGE")


@pytest.mark.parametrize(
    ("properties", "code"),
    [
        ({"datetime": "2021-07-01T00:30:00"}, "DATE_AMBIGUOUS"),
        ({"datetime": "yesterday"}, "DATE_IMPLAUSIBLE"),
        ({"datetime": "1970-01-01T00:00:00Z"}, "DATE_IMPLAUSIBLE"),
        ({"datetime": "2099-01-01T00:00:00Z"}, "DATE_IMPLAUSIBLE"),
        ({"datetime": None}, "DATE_MISSING"),
        ({"datetime": 5}, "DATE_MISSING"),
        ({"platform": "mystery"}, "SENSOR_UNKNOWN"),
        ({"s2:product_type": "S2MSI1C"}, "SCENE_LEVEL"),
    ],
)
def test_property_that_cannot_serve(folder: Path, properties: dict[str, Any], code: str) -> None:
    assert refusal(folder, item(**properties)).startswith(code)


def test_offset_said_twice(folder: Path) -> None:
    document = item(**{"earthsearch:boa_offset_applied": True})
    document["assets"]["red"]["raster:bands"] = [{"scale": 0.0001, "offset": -0.1}]
    assert "boa_offset_applied" in refusal(folder, document)
    assert found(folder, document, trust_offset=True).scenes[0].band("red").offset == -0.1


def test_offset_said_to_be_removed_but_carried(folder: Path) -> None:
    text = refusal(folder, item(**{"earthsearch:boa_offset_applied": True}))
    assert text.startswith("OFFSET_CONFLICT") and "still carry" in text


def test_checksum(folder: Path) -> None:
    document = item()
    digest = hashlib.sha256((folder / "B04.tif").read_bytes()).hexdigest()
    document["assets"]["red"]["file:checksum"] = "1220" + digest
    assert found(folder, document).scenes
    document["assets"]["red"]["file:checksum"] = "1220" + "00" * 32
    assert refusal(folder, document).startswith("ASSET_CHECKSUM")


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("<html>502</html>", "FILE_KIND"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "JSON_INVALID"),
        (json.dumps(item()).replace('"href":', '"href": "./evil.tif", "href":', 1), "JSON_INVALID"),
        (json.dumps(item() | {"bbox": [float("nan")]}), "JSON_INVALID"),
        (json.dumps(item()).replace('"05.10"', "9" * 5000), "JSON_INVALID"),
        ("[1, 2]", "STAC_INVALID"),
        (json.dumps(item() | {"id": "../../x"}), "STAC_INVALID"),
        (json.dumps(item() | {"id": "a" * 300}), "STAC_INVALID"),
        (json.dumps(item() | {"assets": []}), "STAC_INVALID"),
        (json.dumps(item() | {"assets": {}}), "SCENE_INCOMPLETE"),
        (json.dumps({"type": "FeatureCollection", "features": [1]}), "STAC_INVALID"),
    ],
    ids=["html", "deep", "twice", "nan", "digits", "list", "id path", "id long", "assets", "no assets", "features"],
)
def test_document_that_cannot_serve(folder: Path, raw: str, code: str) -> None:
    assert refusal(folder, raw).startswith(code)


def test_landsat_item(folder: Path) -> None:
    document = item(platform="landsat-8")
    document["id"] = "LC08_L2SP_123032_20240501_02_T1"
    document["assets"] = {
        "red": band("OLI_B4", "red") | {"href": "./B04.tif"},
        "nir08": band("OLI_B5", "nir08") | {"href": "./B08.tif"},
        "qa_pixel": {"href": "./SCL.tif", "roles": ["cloud"]},
    }
    (scene,) = found(folder, document).scenes
    assert scene.sensor == "landsat_oli" and scene.radiometry == (("red", 2.75e-5, -0.2), ("nir", 2.75e-5, -0.2))
    del document["assets"]["qa_pixel"]
    assert "QA_PIXEL" in refusal(folder, document)


def test_real_items_point_elsewhere(shared_data: Path) -> None:
    catalog = find_scenes(SceneSource(path=shared_data / "formats" / "stac_odc", product="stac"), [shared_data])
    assert catalog.scenes == ()
    assert {q.code for q in catalog.quarantined} <= {
        "HREF_NOT_ALLOWED",
        "FILE_MISSING",
        "SCENE_COLLECTION",
        "SCENE_INCOMPLETE",
        "SENSOR_UNKNOWN",
    }


def test_one_file_of_many_measured_bands_is_no_picture(tmp_path: Path) -> None:
    """Simulated and analysis-ready deliveries keep all bands in one 16-bit file beside the classes."""
    roles = ("blue", "green", "red", "nir", "swir1", "swir2")
    grid = Grid.from_parts("EPSG:32650", (10, 0, 600_000, 0, -10, 3_400_000), (64, 64))
    write_geotiff(
        tmp_path / "image.tif",
        np.random.default_rng(0).integers(300, 3000, (6, 64, 64)).astype(np.uint16),
        grid,
        nodata=0,
    )
    write_geotiff(tmp_path / "scl.tif", np.full((1, 64, 64), 4, np.uint8), grid)
    common = {"swir1": "swir16", "swir2": "swir22"}
    bands = [{"name": r, "common_name": common.get(r, r)} for r in roles]
    assets = {
        "image": {
            "href": "./image.tif",
            "eo:bands": bands,
            "raster:bands": [{"data_type": "uint16", "scale": 1e-4, "offset": 0, "nodata": 0}] * 6,
        },
        "scl": {"href": "./scl.tif"},
    }
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "one",
        "properties": {"datetime": "2026-04-25T02:55:49Z", "platform": "sentinel-2b"},
        "assets": assets,
        "links": [],
    }
    (tmp_path / "item.json").write_text(json.dumps(item))
    catalog = find_scenes(SceneSource(path=tmp_path / "item.json", product="stac"), [tmp_path])
    assert catalog.quarantined == ()
    assert catalog.scenes[0].roles == roles
    assert [band.layer.index for band in catalog.scenes[0].bands] == [1, 2, 3, 4, 5, 6]
