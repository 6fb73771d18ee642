"""One bad scene never stops the others; of duplicates and of several processings one remains."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from ecowatch.errors import IntakeError, SceneError
from ecowatch.scenes import SENSORS, Scene, find_scenes
from ecowatch.scenes import geotiff as geotiff_module
from ecowatch.settings import SceneSource

Write = Callable[..., Path]
FOUR = np.arange(4 * 36, dtype=np.uint16).reshape(4, 6, 6)


def scenes_of(folder: Path, product: str = "geotiff") -> tuple[Scene, ...]:
    source = SceneSource(path=folder, product=product, sensor="gf_4band" if product == "geotiff" else "auto")  # type: ignore[arg-type]
    return find_scenes(source, [folder]).scenes


def test_newest_processing_wins(tmp_path: Path, write_safe: Write) -> None:
    write_safe(tmp_path, baseline="05.09")
    write_safe(tmp_path, baseline="05.10")
    catalog = find_scenes(SceneSource(path=tmp_path, product="safe"), [tmp_path])
    (scene,) = catalog.scenes
    assert "_N0510_" in scene.scene_id
    (row,) = catalog.quarantined
    # The pixels and what they mean are alike here, so the older one counts as a copy.
    assert row.code == "DUPLICATE" and "_N0509_" in row.where


def test_older_processing_of_other_pixels_is_superseded(tmp_path: Path, write_safe: Write) -> None:
    write_safe(tmp_path, baseline="05.10", numbers=1300)
    write_safe(tmp_path, baseline="03.01", listed=False, numbers=250)
    catalog = find_scenes(SceneSource(path=tmp_path, product="safe"), [tmp_path])
    assert [s.band("red").offset for s in catalog.scenes] == [pytest.approx(-0.1)]
    assert catalog.quarantined[0].code == "SUPERSEDED" and "_N0301_" in catalog.quarantined[0].where


def test_other_tile_or_time_is_another_acquisition(tmp_path: Path, write_safe: Write) -> None:
    write_safe(tmp_path / "a", numbers=1300)
    write_safe(tmp_path / "b", numbers=1400, sensed="2024-05-11T03:05:31Z")
    assert len(find_scenes(SceneSource(path=tmp_path, product="safe"), [tmp_path]).scenes) == 2


def test_duplicate(tmp_path: Path, write_tif: Write) -> None:
    write_tif(tmp_path / "a_20240501.tif", FOUR)
    shutil.copy(tmp_path / "a_20240501.tif", tmp_path / "b_20240501.tif")
    catalog = find_scenes(SceneSource(path=tmp_path, product="geotiff", sensor="gf_4band"), [tmp_path])
    assert [s.scene_id for s in catalog.scenes] == ["a_20240501"]
    (row,) = catalog.quarantined
    assert row.code == "DUPLICATE" and "b_20240501" in row.where and "a_20240501" in row.finding


def test_two_flights_of_one_day_both_stay(tmp_path: Path, write_tif: Write) -> None:
    write_tif(tmp_path / "a_20240501.tif", FOUR)
    write_tif(tmp_path / "b_20240501.tif", FOUR + np.uint16(1))
    assert len(scenes_of(tmp_path)) == 2


def test_unreadable_file_names_file_finding_and_remedy(tmp_path: Path, write_tif: Write) -> None:
    write_tif(tmp_path / "good_20240501.tif", FOUR)
    (tmp_path / "bad_20240501.tif").write_bytes(b"II*\0" + b"\xff" * 60)
    catalog = find_scenes(SceneSource(path=tmp_path, product="geotiff", sensor="gf_4band"), [tmp_path])
    assert [s.scene_id for s in catalog.scenes] == ["good_20240501"]
    (row,) = catalog.quarantined
    assert "bad_20240501.tif" in row.where and row.finding and row.remedy
    assert str(row) == f"{row.code} {row.where}: {row.finding}; {row.remedy}"


@pytest.mark.parametrize("error", [KeyError("x"), RecursionError(), UnicodeDecodeError("utf-8", b"x", 0, 1, "bad")])
def test_what_nobody_foresaw(
    tmp_path: Path, write_tif: Write, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    write_tif(tmp_path / "a_20240501.tif", FOUR)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(geotiff_module, "open_raster", fail)
    (row,) = find_scenes(SceneSource(path=tmp_path, product="geotiff", sensor="gf_4band"), [tmp_path]).quarantined
    assert row.code == "SCENE_UNREADABLE" and type(error).__name__ in row.finding


def test_interrupt_is_not_swallowed(tmp_path: Path, write_tif: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tif(tmp_path / "a_20240501.tif", FOUR)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(geotiff_module, "open_raster", interrupt)
    with pytest.raises(KeyboardInterrupt):
        scenes_of(tmp_path)


def test_source_outside_the_roots(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    with pytest.raises(IntakeError, match="OUTSIDE_ROOTS"):
        find_scenes(SceneSource(path=tmp_path / "out", product="safe"), [tmp_path / "in"])


def test_digest_does_not_depend_on_the_place(tmp_path: Path, write_safe: Write) -> None:
    product = write_safe(tmp_path / "here")
    shutil.copytree(product, tmp_path / "there" / "renamed.SAFE")
    (here,), (there,) = scenes_of(tmp_path / "here", "safe"), scenes_of(tmp_path / "there", "safe")
    assert here.bands[0].layer.path != there.bands[0].layer.path
    assert here.digest == there.digest


def test_digest_depends_on_what_the_numbers_mean(tmp_path: Path, write_tif: Write) -> None:
    write_tif(tmp_path / "a_20240501.tif", FOUR)
    (scene,) = scenes_of(tmp_path)
    band = scene.bands[0]
    others = [
        replace(scene, acquired=scene.acquired + timedelta(seconds=1)),
        replace(scene, sensor="plain"),
        replace(scene, bands=scene.bands[1:]),
        replace(scene, bands=scene.bands[::-1]),
        replace(scene, bands=(replace(band, scale=2e-4), *scene.bands[1:])),
        replace(scene, bands=(replace(band, offset=-0.1), *scene.bands[1:])),
        replace(scene, bands=(replace(band, layer=replace(band.layer, digest="0" * 64)), *scene.bands[1:])),
    ]
    assert len({s.digest for s in [scene, *others]}) == len(others) + 1
    assert replace(scene, scene_id="other", notes=("N",)).digest == scene.digest


def test_scene_refuses_what_cannot_be_read_together(tmp_path: Path, write_tif: Write) -> None:
    write_tif(tmp_path / "a_20240501.tif", FOUR)
    (scene,) = scenes_of(tmp_path)
    band = scene.bands[0]
    with pytest.raises(SceneError, match="MIXED_BANDS"):
        replace(scene, bands=(replace(band, layer=replace(band.layer, fill=9.0)), *scene.bands[1:]))
    with pytest.raises(SceneError, match="name each role once"):
        replace(scene, bands=(band, band))
    with pytest.raises(SceneError, match="not UTC"):
        replace(scene, acquired=datetime(2024, 5, 1))
    with pytest.raises(SceneError, match="not UTC"):
        replace(scene, acquired=datetime(2024, 5, 1, tzinfo=timezone(timedelta(hours=8))))
    with pytest.raises(SceneError, match="no band 'swir1'; use one of: blue, green, red, nir"):
        scene.band("swir1")


def test_sensor_table_is_whole() -> None:
    for key, row in SENSORS.items():
        assert row.key == key and row.title and row.source and row.scale > 0
        assert len({b.role for b in row.bands}) == len(row.bands)
        assert [b.number for b in row.bands] == list(range(1, len(row.bands) + 1))
    assert SENSORS["s2_l2a"].role_of("B8A") == "nir2" and SENSORS["s2_l2a"].role_of("B10") is None
