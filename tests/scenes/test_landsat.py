"""Landsat Collection 2 Level 2: MTL files of every sensor and form, and a real delivery."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pytest

from ecowatch.errors import EcowatchError
from ecowatch.scenes import QualityKind, find_scenes
from ecowatch.scenes.landsat import read_mtl
from ecowatch.settings import SceneSource


@pytest.fixture
def landsat(shared_data: Path) -> Path:
    return shared_data / "formats" / "landsat_c2"


def test_every_mtl_is_understood(landsat: Path) -> None:
    files = sorted(p for p in landsat.rglob("*_MTL.*") if p.suffix in (".txt", ".json", ".xml"))
    assert len(files) > 15
    for path in files:
        groups = read_mtl(path, [landsat])
        assert groups["PRODUCT_CONTENTS"]["LANDSAT_PRODUCT_ID"] in path.name
        assert groups["IMAGE_ATTRIBUTES"]["SPACECRAFT_ID"].startswith("LANDSAT_")
        if "_L2S" in path.name:
            scale = groups["LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"]["REFLECTANCE_MULT_BAND_3"]
            assert float(scale) == 2.75e-5


def test_three_forms_say_the_same(landsat: Path) -> None:
    forms = [read_mtl(p, [landsat]) for p in sorted((landsat / "assets3").glob("*_MTL.*"))]
    assert len(forms) == 3
    for group in ("PRODUCT_CONTENTS", "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"):
        texts = [{k: v for k, v in f[group].items() if k.startswith(("FILE_NAME_BAND", "REFLECTANCE"))} for f in forms]
        assert texts[0] == texts[1] == texts[2]


def test_real_delivery(landsat: Path) -> None:
    (scene,) = find_scenes(SceneSource(path=landsat / "assets3", product="landsat_c2"), [landsat]).scenes
    assert scene.sensor == "landsat_oli" and scene.civil_date == date(2019, 12, 1)
    assert scene.acquired.hour == 15 and scene.acquired.utcoffset() is not None
    assert scene.roles == ("blue", "green", "red", "nir", "swir1")
    assert set(scene.radiometry) == {(role, 2.75e-5, -0.2) for role in scene.roles}
    assert scene.notes == ("BANDS_MISSING: B7",)
    assert scene.quality is not None and scene.quality.kind is QualityKind.QA_PIXEL
    assert scene.quality.layer.fill is None and scene.bands[0].layer.fill == 0


def test_levels_and_sensors_of_the_collection(landsat: Path) -> None:
    catalog = find_scenes(SceneSource(path=landsat, product="landsat_c2"), [landsat])
    assert len(catalog.scenes) == 1
    codes = {Path(q.where).name[:4]: q.code for q in catalog.quarantined}
    assert codes["LM01"] == "SCENE_LEVEL"
    assert codes["LE07"] == codes["LT05"] == codes["LC09"] == "SCENE_INCOMPLETE"


def delivery(landsat: Path, target: Path, *changes: tuple[str, str], without: str = "none") -> str:
    target.mkdir()
    for path in (landsat / "assets3").iterdir():
        if path.suffix == ".TIF" and without not in path.name:
            shutil.copy(path, target)
    (mtl,) = (landsat / "assets3").glob("*_MTL.txt")
    text = mtl.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    (target / mtl.name).write_text(text)
    catalog = find_scenes(SceneSource(path=target, product="landsat_c2"), [target])
    return str(catalog.quarantined[0]) if catalog.quarantined else "accepted"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("COLLECTION_NUMBER = 02", "COLLECTION_NUMBER = 01"), "SCENE_COLLECTION"),
        (("LANDSAT_METADATA_FILE", "L1_METADATA_FILE"), "SCENE_COLLECTION"),
        (('"L2SP"', '"L1TP"'), "SCENE_LEVEL"),
        (('15:13:51.8610990Z"', '15:13:51.8610990"'), "DATE_AMBIGUOUS"),
        (("DATE_ACQUIRED = 2019-12-01", "DATE_ACQUIRED = 1959-12-01"), "DATE_IMPLAUSIBLE"),
        (('"LANDSAT_8"', '"LANDSAT_3"'), "SENSOR_UNKNOWN"),
        (("REFLECTANCE_MULT_BAND_4 = 2.75e-05\n", ""), "RADIOMETRY_UNKNOWN"),
        (('"LC08_L2SP_008059_20191201_20200825_02_T1_SR_B4.TIF"', '"../../../etc/passwd"'), "HREF_NOT_ALLOWED"),
        (('"LC08_L2SP_008059_20191201_20200825_02_T1_SR_B4.TIF"', '"/vsicurl/http://x/B4.TIF"'), "HREF_NOT_ALLOWED"),
    ],
)
def test_one_thing_wrong(landsat: Path, tmp_path: Path, change: tuple[str, str], text: str) -> None:
    assert delivery(landsat, tmp_path / "d", change).startswith(text)


@pytest.mark.parametrize(("name", "text"), [("_B4", "missing: B4"), ("_B5", "missing: B5"), ("QA_PIXEL", "QA_PIXEL")])
def test_what_is_missing_is_named(landsat: Path, tmp_path: Path, name: str, text: str) -> None:
    finding = delivery(landsat, tmp_path / "d", without=name)
    assert finding.startswith("SCENE_INCOMPLETE") and text in finding


@pytest.mark.parametrize(
    "text", ["", "no groups at all", "GROUP = X\n", '{"a": 1}', '{"a": {"b": 1}}', "<a><b>1</b></a>"]
)
def test_text_that_is_no_mtl(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x_MTL.txt"
    path.write_text(text)
    with pytest.raises(EcowatchError, match=r"x_MTL\.txt"):
        read_mtl(path, [tmp_path])
