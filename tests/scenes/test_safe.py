"""Sentinel-2 SAFE folders: real structure, real metadata, and small ones with one thing wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from ecowatch.scenes import Catalog, QualityKind, find_scenes
from ecowatch.settings import SceneSource

Write = Callable[..., Path]


def found(path: Path, **keywords: object) -> Catalog:
    return find_scenes(SceneSource(path=path, product="safe", **keywords), [path])  # type: ignore[arg-type]


def only_refusal(path: Path, **keywords: object) -> str:
    catalog = found(path, **keywords)
    assert catalog.scenes == ()
    (row,) = catalog.quarantined
    return str(row)


def test_real_structures_open(shared_data: Path) -> None:
    catalog = found(shared_data / "formats" / "s2_safe_gdal_fake")
    pilot, plain, recent = catalog.scenes
    assert [s.civil_date for s in catalog.scenes] == [date(2017, 8, 23), date(2018, 8, 18), date(2023, 8, 23)]
    assert pilot.roles == plain.roles == recent.roles
    assert recent.radiometry[2] == ("red", 1e-4, pytest.approx(-0.1))
    assert plain.radiometry[2] == ("red", 1e-4, 0.0)
    assert recent.quality is not None and recent.quality.kind is QualityKind.SCL
    assert plain.notes[0].startswith("GEOREF_FROM_METADATA")
    assert plain.grid.pixel_m == pytest.approx(60) and recent.grid.pixel_m == pytest.approx(10)
    assert plain.grid.crs.to_epsg() == 32634
    (refused,) = catalog.quarantined
    assert refused.code == "SCENE_LEVEL" and "Level-1C" in refused.finding


def test_metadata_alone_is_incomplete(shared_data: Path) -> None:
    catalog = found(shared_data / "formats" / "s2_safe_metadata")
    assert catalog.scenes == ()
    assert [q.code for q in catalog.quarantined].count("SCENE_LEVEL") == 1
    incomplete = [q for q in catalog.quarantined if q.code == "SCENE_INCOMPLETE"]
    assert len(incomplete) == 5
    assert sum("B04" in q.finding and "SCL" in q.finding for q in incomplete) == 4
    assert any("product metadata" in q.finding for q in incomplete)


def test_scene_of_today(tmp_path: Path, write_safe: Write) -> None:
    write_safe(tmp_path)
    (scene,) = found(tmp_path).scenes
    assert scene.acquired == datetime(2024, 5, 1, 3, 5, 31, 24000, tzinfo=UTC)
    assert scene.roles == ("blue", "green", "red", "nir", "swir1", "swir2")
    assert scene.band("nir").offset == pytest.approx(-0.1)
    assert scene.band("swir1").layer.grid.pixel_m == 20 and scene.grid.pixel_m == 10
    assert scene.bands[0].layer.fill == 0
    assert scene.notes == ("BANDS_MISSING: B05, B06, B07, B8A",)


def test_corrected_pixels_with_an_offset_in_the_metadata(tmp_path: Path, write_safe: Write) -> None:
    write_safe(tmp_path, numbers=200)
    text = only_refusal(tmp_path)
    assert text.startswith("OFFSET_CONFLICT") and "-1000" in text and "trust_offset" in text
    assert len(found(tmp_path, trust_offset=True).scenes) == 1


def test_uncorrected_pixels_without_an_offset_in_the_metadata(tmp_path: Path, write_safe: Write) -> None:
    write_safe(tmp_path, baseline="03.01", listed=False, numbers=1200)
    assert "still carry the +1000" in only_refusal(tmp_path)


def test_old_baseline_with_plain_pixels(tmp_path: Path, write_safe: Write) -> None:
    write_safe(tmp_path, baseline="03.01", listed=False, numbers=200)
    assert found(tmp_path).scenes[0].radiometry[0] == ("blue", 1e-4, 0.0)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"listed": False}, "RADIOMETRY_UNKNOWN .*05.09 without BOA_ADD_OFFSET list"),
        ({"level": "Level-1C"}, "SCENE_LEVEL .*Level-1C is not surface reflectance"),
        ({"sensed": "2024-05-01T03:05:31"}, "DATE_AMBIGUOUS .*names no zone"),
        ({"sensed": "2099-05-01T03:05:31Z"}, "DATE_IMPLAUSIBLE .*2099"),
        ({"without": ("B04", "SCL")}, "SCENE_INCOMPLETE .*missing: B04.*SCL"),
        ({"without": ("SCL",)}, "SCENE_INCOMPLETE .*missing: SCL"),
        ({"file_left": 400_100.0}, r"GEOREF_CONFLICT .*B02_10m.jp2.*400100.*400000"),
    ],
    ids=["no offset list", "L1C", "no zone", "2099", "no red", "no SCL", "other place"],
)
def test_one_thing_wrong(tmp_path: Path, write_safe: Write, wrong: dict[str, object], text: str) -> None:
    write_safe(tmp_path, **wrong)
    assert re.match(text, only_refusal(tmp_path))


def test_document_type_is_refused(tmp_path: Path, write_safe: Write) -> None:
    product = write_safe(tmp_path)
    xml = product / "MTD_MSIL2A.xml"
    xml.write_text(xml.read_text().replace("<n1:Level-2A_User_Product", "<!DOCTYPE x>\n<n1:Level-2A_User_Product", 1))
    assert only_refusal(tmp_path).startswith("XML_INVALID")
