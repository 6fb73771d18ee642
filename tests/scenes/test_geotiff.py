"""Folders of GeoTIFFs: dates in names, bands by sensor or description."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecowatch.errors import ConfigError
from ecowatch.raster import GridReader
from ecowatch.scenes import Catalog, QualityKind, Unit, find_scenes
from ecowatch.settings import BandDescription, SceneSource

Write = Callable[..., Path]
FOUR = np.arange(4 * 36, dtype=np.uint16).reshape(4, 6, 6)
RGB = np.arange(3 * 36, dtype=np.uint8).reshape(3, 6, 6)


def found(folder: Path, **keywords: Any) -> Catalog:
    source = SceneSource(path=folder, product="geotiff", **({"sensor": "gf_4band"} | keywords))
    return find_scenes(source, [folder])


def test_date_bands_and_fill(tmp_path: Path, write_tif: Write) -> None:
    write_tif(tmp_path / "GF1_20240501.tif", FOUR)
    write_tif(tmp_path / "deeper" / "GF1_20230501.TIF", FOUR)
    first, second = found(tmp_path).scenes
    assert (first.scene_id, second.scene_id) == ("deeper/GF1_20230501", "GF1_20240501")
    assert second.acquired == datetime(2024, 5, 1, 4, tzinfo=UTC) and second.civil_date == date(2024, 5, 1)
    assert second.roles == ("blue", "green", "red", "nir")
    assert [b.layer.index for b in second.bands] == [1, 2, 3, 4]
    assert second.radiometry[0] == ("blue", 1e-4, 0.0) and second.quality is None


def test_fill_of_file_source_and_sensor(tmp_path: Path, write_tif: Write) -> None:
    write_tif(tmp_path / "a_20240501.tif", FOUR, nodata=7)
    write_tif(tmp_path / "b_20240502.tif", FOUR, nodata=None)
    assert [s.bands[0].layer.fill for s in found(tmp_path, nodata=9).scenes] == [7, 9]
    assert [s.bands[0].layer.fill for s in found(tmp_path).scenes] == [7, 0]


def test_pattern_with_separators(tmp_path: Path, write_tif: Write) -> None:
    write_tif(tmp_path / "99999999_2024-05-01T03.tif", FOUR)
    (scene,) = found(tmp_path, date_pattern=r"_(?P<date>\d{4}-\d\d-\d\d)").scenes
    assert scene.civil_date == date(2024, 5, 1)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("nodate.tif", "DATE_MISSING"),
        ("x_20241345.tif", "DATE_IMPLAUSIBLE"),
        ("x_19600101.tif", "DATE_IMPLAUSIBLE"),
        ("x_20990101.tif", "DATE_IMPLAUSIBLE"),
    ],
)
def test_bad_date(tmp_path: Path, write_tif: Write, name: str, code: str) -> None:
    write_tif(tmp_path / name, FOUR)
    (row,) = found(tmp_path).quarantined
    assert row.code == code and name in row.where and row.remedy


def test_uav_with_and_without_alpha(tmp_path: Path, write_tif: Write) -> None:
    opacity = np.full((1, 6, 6), 255, np.uint8)
    write_tif(tmp_path / "a_20240501.tif", np.concatenate([RGB, opacity]), nodata=None, alpha=True)
    write_tif(tmp_path / "b_20240502.tif", RGB, nodata=None, color=True)
    with_alpha, without = found(tmp_path, sensor="uav_rgb").scenes
    assert with_alpha.roles == ("red", "green", "blue")
    assert with_alpha.quality is not None and with_alpha.quality.kind is QualityKind.ALPHA
    assert with_alpha.quality.layer.index == 4
    assert without.quality is None and without.notes[0].startswith("NO_FILL")


def test_uav_of_sixteen_bits_needs_a_description(tmp_path: Path, write_tif: Write) -> None:
    write_tif(tmp_path / "a_20240501.tif", RGB.astype(np.uint16))
    assert found(tmp_path, sensor="uav_rgb").quarantined[0].code == "RADIOMETRY_UNKNOWN"


def test_described_bands(tmp_path: Path, write_tif: Write) -> None:
    write_tif(tmp_path / "a_20240501.tif", FOUR)
    bands = (
        BandDescription(role="nir", index=3, scale=1 / 65535),
        BandDescription(role="red", index=1, scale=1 / 65535, offset=0.5),
        BandDescription(role="alpha", index=4),
    )
    (scene,) = found(tmp_path, sensor="plain", bands=bands).scenes
    assert scene.radiometry == (("nir", 1 / 65535, 0.0), ("red", 1 / 65535, 0.5))
    assert scene.quality is not None and scene.quality.layer.index == 4


def test_too_few_bands(tmp_path: Path, write_tif: Write) -> None:
    write_tif(tmp_path / "a_20240501.tif", FOUR[:3])
    (row,) = found(tmp_path).quarantined
    assert row.code == "SCENE_BANDS" and "nir (band 4)" in row.finding


def test_no_georeference_rotated_and_cut_off(tmp_path: Path, write_tif: Write, shared_data: Path) -> None:
    for name in ("rotated.tif", "all-nodata.tif"):
        source = shared_data / "formats" / "rasterio_tests" / name
        (tmp_path / f"{source.stem}_20240501.tif").write_bytes(source.read_bytes())
    whole = write_tif(
        tmp_path / "cut_20240501.tif", np.random.default_rng(1).integers(1, 9999, (4, 600, 600), np.uint16)
    )
    whole.write_bytes(whole.read_bytes()[:-5000])
    (tmp_path / "html_20240501.tif").write_text("<html>log in</html>")
    codes = {Path(q.where).name.split("_")[0]: q.code for q in found(tmp_path).quarantined}
    assert codes["rotated"] in {"ROTATED", "SCENE_BANDS"}
    assert codes["cut"].startswith("RASTER_") and codes["html"] == "FILE_KIND"


def test_settings_that_cannot_serve(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'gf_4band'"):
        found(tmp_path, sensor="gf_4bands")
    with pytest.raises(ConfigError, match="BANDS_UNDESCRIBED"):
        found(tmp_path, sensor="auto")
    with pytest.raises(ConfigError, match="PATH_MISSING") as caught:
        found(tmp_path / "absent")
    assert caught.value.exit_code == 78


def test_floats_are_read_as_whole_multiples(tmp_path: Path, write_tif: Write) -> None:
    """Sums of floats depend on their order; NaN and the file's own fill are both no data."""
    values = np.array([[0.12344, 0.5, np.nan], [-0.02, -9.0, 1.1], [0, 0, 0]], np.float32)
    write_tif(tmp_path / "x_20240501.tif", values, nodata=-9.0)
    (scene,) = found(tmp_path, sensor="plain", bands=(BandDescription(role="red", index=1),)).scenes
    band = scene.bands[0]
    with GridReader(band.layer.grid) as reader:
        numbers = reader.read([band.layer], band.layer.grid.window).values[0]
    assert numbers.dtype == np.int32
    assert (numbers == band.layer.fill).tolist() == [[False, False, True], [False, True, False], [False] * 3]
    known = numbers != band.layer.fill
    assert np.allclose(numbers[known] * band.scale + band.offset, values[known], atol=5e-5)


def test_radar_by_track_and_unit(tmp_path: Path, write_tif: Write) -> None:
    power = np.full((2, 6, 6), 0.05, np.float32)
    for name in ("S1_20240501_asc.tif", "S1_20240502_desc.tif"):
        write_tif(tmp_path / name, power)
    pattern = r"(?P<date>\d{8})_(?P<track>asc|desc)"
    scenes = found(tmp_path, sensor="s1_rtc", date_pattern=pattern).scenes
    assert [scene.track for scene in scenes] == ["asc", "desc"]
    assert scenes[0].units == (Unit.POWER, Unit.POWER) and scenes[0].roles == ("vv", "vh")
    other = found(tmp_path, sensor="s1_rtc", track="ascending 142").scenes
    assert other[0].track == "ascending 142" and other[0].digest != scenes[0].digest


def test_digital_numbers_are_no_backscatter(tmp_path: Path, write_tif: Write) -> None:
    write_tif(tmp_path / "S1_20240501.tif", np.ones((2, 6, 6), np.uint16))
    made = found(tmp_path, sensor="s1_rtc")
    assert not made.scenes and made.quarantined[0].code == "RADIOMETRY_UNKNOWN"
