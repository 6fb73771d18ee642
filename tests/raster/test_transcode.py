"""Copies of JPEG 2000: the same numbers, whole or absent, and never one of another source."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio

from ecowatch.errors import SceneError
from ecowatch.grid import Grid, Window
from ecowatch.intake import RASTER_KINDS, admit
from ecowatch.raster import GridReader, Layer, copy_path, inspect, is_sound, seal_of, transcode, write_jp2

GRID = Grid.from_parts("EPSG:32650", (10.0, 0.0, 4e5, 0.0, -10.0, 4.5e6), (1300, 1100))


def layer_of(path: Path, fill: float | None = 0.0) -> Layer:
    admitted = admit(path, roots=[path.parent], kinds=RASTER_KINDS)
    info = inspect(admitted)
    return Layer(path, admitted.kind.value, admitted.digest, 1, info.grid or GRID, info.dtype, fill)


@pytest.fixture
def jp2(tmp_path: Path) -> Path:
    rows, cols = np.indices(GRID.shape)
    numbers = (1000 + 500 * np.sin(rows / 40) + 3 * cols).astype(np.uint16)
    numbers += np.random.default_rng(1).integers(0, 200, GRID.shape).astype(np.uint16)
    numbers[:70, :90] = 0
    path = tmp_path / "B04.jp2"
    write_jp2(path, numbers, GRID)
    return path


def test_a_copy_holds_the_numbers_the_grid_and_the_fill_of_its_source(jp2: Path, tmp_path: Path) -> None:
    layer = layer_of(jp2)
    copy = copy_path(tmp_path / "cache", layer.digest)
    assert not is_sound(copy)
    transcode(layer, copy)
    assert is_sound(copy)
    with rasterio.open(jp2) as source, rasterio.open(copy) as made:
        np.testing.assert_array_equal(made.read(), source.read())
        assert (made.crs, made.transform, made.nodata) == (source.crs, source.transform, 0.0)
        assert made.block_shapes == [(512, 512)] and made.profile["compress"] == "zstd"
    # Cloud-optimised: the directory lies before the pixels.
    head = copy.read_bytes()[:8]
    assert int.from_bytes(head[4:8], "little") < 4096
    # Nothing is left beside them.
    assert sorted(p.name for p in copy.parent.iterdir()) == sorted([copy.name, seal_of(copy).name])


def test_windows_of_a_copy_are_those_of_its_source(jp2: Path, tmp_path: Path) -> None:
    layer = layer_of(jp2)
    copy = copy_path(tmp_path / "cache", layer.digest)
    transcode(layer, copy)
    made = Layer(copy, "GTiff", layer.digest, 1, layer.grid, layer.dtype, layer.fill)
    for window in (Window(0, 0, 512, 512), Window(500, 700, 1400, 1300), Window(-40, -40, 30, 30)):
        with GridReader(GRID) as a, GridReader(GRID) as b:
            one, other = a.read([layer], window), b.read([made], window)
        np.testing.assert_array_equal(one.values, other.values)
        assert (one.covered is None) == (other.covered is None)
        if one.covered is not None:
            np.testing.assert_array_equal(one.covered, other.covered)


def test_classes_of_one_byte_are_copied_too(tmp_path: Path) -> None:
    grid = Grid.from_parts("EPSG:32650", (20.0, 0.0, 4e5, 0.0, -20.0, 4.5e6), (550, 650))
    classes = np.random.default_rng(2).integers(0, 12, grid.shape).astype(np.uint8)
    path = tmp_path / "SCL.jp2"
    write_jp2(path, classes, grid)
    layer = layer_of(path, fill=None)
    copy = copy_path(tmp_path / "cache", layer.digest)
    transcode(layer, copy)
    with rasterio.open(copy) as made:
        np.testing.assert_array_equal(made.read(1), classes)
        assert made.nodata is None and made.res == (20.0, 20.0)


def test_a_source_without_georeference_is_placed_as_its_metadata_say(tmp_path: Path) -> None:
    path = tmp_path / "bare.jp2"
    values = np.arange(900 * 700, dtype=np.uint16).reshape(900, 700) % 5000
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", count=1, height=900, width=700, dtype="uint16") as dataset:
            dataset.write(values, 1)
        with memory.open() as dataset:
            rasterio.shutil.copy(dataset, path, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
    grid = GRID.cropped(Window(0, 0, 900, 700))
    admitted = admit(path, roots=[tmp_path], kinds=RASTER_KINDS)
    layer = Layer(path, admitted.kind.value, admitted.digest, 1, grid, "uint16", 0.0)
    copy = copy_path(tmp_path / "cache", layer.digest)
    transcode(layer, copy)
    with rasterio.open(copy) as made:
        assert made.transform == grid.transform and made.crs.to_epsg() == 32650
        np.testing.assert_array_equal(made.read(1), values)


@pytest.mark.parametrize(
    "damage",
    [
        lambda copy: copy.write_bytes(copy.read_bytes()[:-1]),
        lambda copy: copy.write_bytes(bytes(copy.stat().st_size)),
        lambda copy: copy.unlink(),
        lambda copy: seal_of(copy).unlink(),
        lambda copy: seal_of(copy).write_text("{"),
        lambda copy: seal_of(copy).write_text("[]"),
        lambda copy: seal_of(copy).write_text(json.dumps({"bytes": copy.stat().st_size, "sha256": "0" * 64})),
    ],
    ids=["cut off", "zeros", "gone", "no seal", "half a seal", "no object", "other digest"],
)
def test_a_damaged_copy_is_no_copy_and_is_made_anew(jp2: Path, tmp_path: Path, damage: object) -> None:
    layer = layer_of(jp2)
    copy = copy_path(tmp_path / "cache", layer.digest)
    transcode(layer, copy)
    whole = copy.read_bytes()
    damage(copy)  # type: ignore[operator]
    assert not is_sound(copy)
    transcode(layer, copy)
    assert is_sound(copy) and copy.read_bytes() == whole


def test_a_source_that_breaks_off_is_named_and_leaves_nothing(jp2: Path, tmp_path: Path) -> None:
    layer = layer_of(jp2)
    data = jp2.read_bytes()
    jp2.write_bytes(data[: len(data) // 3] + os.urandom(len(data) - len(data) // 3))
    copy = copy_path(tmp_path / "cache", layer.digest)
    with pytest.raises(SceneError, match=r"RASTER_UNREADABLE .*B04\.jp2"):
        transcode(layer, copy)
    assert not copy.exists() and list(copy.parent.iterdir()) == []


def test_each_content_has_a_copy_of_its_own(tmp_path: Path) -> None:
    assert copy_path(tmp_path, "a" * 64) != copy_path(tmp_path, "b" * 64)
    assert copy_path(tmp_path, "a" * 64) == copy_path(tmp_path, "a" * 64)


def test_a_real_product_in_jpeg_2000_is_copied_without_loss(tmp_path: Path) -> None:
    folder = os.environ.get("ECOWATCH_TEST_DATA")
    found = sorted(Path(folder or "/nonexistent").glob("series/sits_mt/raster/mod13q1/*.jp2"))
    if not found:
        pytest.skip("real test data are absent: set ECOWATCH_TEST_DATA to their folder")
    path = Path(shutil.copy(found[0], tmp_path))
    layer = layer_of(path, fill=None)
    copy = copy_path(tmp_path / "cache", layer.digest)
    transcode(layer, copy)
    with rasterio.open(path) as source, rasterio.open(copy) as made:
        np.testing.assert_array_equal(made.read(), source.read())
