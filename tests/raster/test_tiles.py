"""The fast reader against rasterio: the same bits, or rasterio's own say."""

from __future__ import annotations

import errno
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window as RasterWindow

from ecowatch.errors import ConfigError, SceneError
from ecowatch.grid import Grid, Window
from ecowatch.raster import GridReader, Layer, Reading, require_fast
from ecowatch.raster.tiles import TileReader
from ecowatch.tiff import read_tile_index

pytest.importorskip("imagecodecs", reason="the extra 'fast' is not installed")

ROWS, COLS = 300, 530
FORMS = [
    {"compress": codec, "predictor": predictor, "interleave": interleave}
    for codec, predictor, interleave in product(("deflate", "zstd"), (1, 2), ("band", "pixel"))
]


def write(path: Path, values: np.ndarray, **more: object) -> Path:
    profile = {
        "driver": "GTiff",
        "count": values.shape[0],
        "height": values.shape[1],
        "width": values.shape[2],
        "dtype": values.dtype.name,
        "tiled": True,
        "blockxsize": 128,
        "blockysize": 64,
        "crs": "EPSG:32650",
        "transform": rasterio.Affine(10, 0, 300_000, 0, -10, 3_900_000),
    }
    with rasterio.open(path, "w", **(profile | more)) as target:
        target.write(values)
    return path


def numbers(dtype: str, bands: int = 3) -> np.ndarray:
    info = np.iinfo(dtype)
    return np.random.default_rng(5).integers(info.min, info.max, (bands, ROWS, COLS), dtype, endpoint=True)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
@pytest.mark.parametrize("form", FORMS, ids=lambda f: "-".join(map(str, f.values())))
def test_equals_rasterio(tmp_path: Path, form: dict[str, object], dtype: str) -> None:
    path = write(tmp_path / "a.tif", numbers(dtype), **form)
    reader = TileReader.of(path)
    assert reader is not None
    for window in (Window(0, 0, 64, 128), Window(10, 100, 250, 529), Window(256, 512, ROWS, COLS), Window(5, 5, 6, 6)):
        for indexes in ([1, 2, 3], [3, 1]):
            out = np.empty((len(indexes), *window.shape), dtype)
            assert reader.read(indexes, window, out)
            with rasterio.open(path) as dataset:
                place = RasterWindow(window.col0, window.row0, *window.shape[::-1])
                assert (out == dataset.read(indexes, window=place)).all()
    reader.close()


@pytest.mark.parametrize(
    "more",
    [
        {"tiled": False, "blockysize": 16},
        {"compress": "lzw"},
        {"compress": "deflate", "predictor": 3, "dtype": "float32"},
        {"compress": "deflate", "ENDIANNESS": "BIG"},
        {"compress": "jpeg", "photometric": "ycbcr", "interleave": "pixel", "dtype": "uint8"},
        {"nbits": 12, "compress": "deflate"},
        {"compress": "deflate", "photometric": "cielab", "dtype": "uint8"},
    ],
    ids=["strips", "lzw", "float", "big-endian", "jpeg", "12-bit", "colour-transform"],
)
def test_what_is_not_plain_is_left_to_rasterio(tmp_path: Path, more: dict[str, object]) -> None:
    values = (numbers("uint16") % 4000).astype(str(more.get("dtype", "uint16")))
    if "tiled" in more:
        more = more | {"blockxsize": COLS}
    assert read_tile_index(write(tmp_path / "a.tif", values, **more)) is None


def test_of_a_tag_that_stands_there_twice_the_first_counts_as_for_libtiff(tmp_path: Path) -> None:
    """What is checked and what is read must not be told by two different entries."""
    path = write(tmp_path / "a.tif", numbers("uint16"), compress="deflate")
    sound = read_tile_index(path)
    data = bytearray(path.read_bytes())
    (start,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[start : start + 2])
    entries = [bytes(data[start + 2 + 12 * i : start + 14 + 12 * i]) for i in range(count)]
    (offsets,) = [entry for entry in entries if entry[:2] == struct.pack("<H", 324)]
    entries.insert(entries.index(offsets) + 1, offsets[:8] + struct.pack("<I", 8))
    data += bytes(len(data) % 2)
    data[4:8] = struct.pack("<I", len(data))
    data += struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    path.write_bytes(data)
    index = read_tile_index(path)
    assert sound is not None and index is not None and (index.offsets == sound.offsets).all()
    out = np.empty((3, ROWS, COLS), np.uint16)
    reader = TileReader.of(path)
    assert reader is not None and reader.read([1, 2, 3], Window(0, 0, ROWS, COLS), out)
    with rasterio.open(path) as dataset:
        assert (out == dataset.read()).all()
    reader.close()


def test_a_disk_that_fails_is_told_by_rasterio_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tif", numbers("uint16"), compress="deflate")

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "preadv", fail)
    with GridReader(layer(path).grid, Reading(fast=True)) as reader:
        read = reader.read([layer(path)], Window(0, 0, 64, 64)).values
    with rasterio.open(path) as dataset:
        assert (read[0] == dataset.read(1)[:64, :64]).all()


def layer(path: Path, index: int = 1, dtype: str = "uint16") -> Layer:
    with rasterio.open(path) as dataset:
        grid = Grid.from_parts(dataset.crs.to_wkt(), dataset.transform, dataset.shape)
    return Layer(path, "GTiff", path.name, index, grid, dtype, 0.0)


def test_a_tile_left_out_reads_as_rasterio_says(tmp_path: Path) -> None:
    path, values = tmp_path / "sparse.tif", numbers("uint16", 1)
    values[:, :64, :128] = 0
    write(path, values, compress="deflate", SPARSE_OK=True, nodata=0)
    index = read_tile_index(path)
    assert index is not None and int(index.lengths[0, 0, 0]) == 0
    own = layer(path)
    read = [GridReader(own.grid, Reading(fast)).read([own], own.grid.window).values for fast in (True, False)]
    assert (read[0] == read[1]).all() and (read[0] == values).all()


def test_what_claims_more_room_than_anything_coded_takes_is_left_to_rasterio(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", numbers("uint8", 1), compress="deflate")
    index = read_tile_index(path)
    assert index is not None
    index.lengths[0, 0, 0] = 2 * 64 * 128 + 1
    reader = TileReader(path, index)
    out = np.empty((1, 64, 128), "uint8")
    assert not reader.read([1], Window(0, 0, 64, 128), out) and reader.read([1], Window(0, 128, 64, 256), out)
    reader.close()


def test_files_of_other_forms_and_threads_beside_do_not_disturb_one_another(tmp_path: Path) -> None:
    kinds: list[tuple[str, int, dict[str, object]]] = [
        ("uint16", 3, {"compress": "deflate", "interleave": "pixel"}),
        ("uint8", 1, {"compress": "none", "blockxsize": 256, "blockysize": 256}),
    ]
    files = []
    for number, (dtype, bands, form) in enumerate(kinds):
        path = write(tmp_path / f"{number}.tif", numbers(dtype, bands), **form)
        files.append((path, numbers(dtype, bands)))

    def agree(_: int) -> bool:
        found = True
        readers = [(TileReader.of(path), values) for path, values in files]
        for row in range(0, ROWS - 60, 20):
            for reader, values in readers:
                assert reader is not None
                window, out = Window(row, 0, row + 60, COLS), np.empty((len(values), 60, COLS), values.dtype)
                found &= reader.read(range(1, len(values) + 1), window, out)
                found &= bool((out == values[:, row : row + 60]).all())
        for reader, _values in readers:
            reader.close()
        return found

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(agree, range(6)))


def test_a_damaged_tile_is_refused_with_the_file_named(tmp_path: Path) -> None:
    path = write(tmp_path / "damaged.tif", numbers("uint16", 1), compress="deflate")
    index = read_tile_index(path)
    assert index is not None
    with path.open("r+b") as stream:
        stream.seek(int(index.offsets[0, 1, 1]))
        stream.write(bytes(64))
    own = layer(path)
    with (
        GridReader(own.grid, Reading(fast=True)) as reader,
        pytest.raises(SceneError, match=r"damaged\.tif") as refused,
    ):
        reader.read([own], own.grid.window)
    assert refused.value.code == "RASTER_UNREADABLE"


def test_blocks_are_kept_by_content(tmp_path: Path) -> None:
    """A file that was replaced is another file, even under its old name."""
    first, second = numbers("uint16", 1), numbers("uint16", 1)[:, ::-1]
    own = layer(write(tmp_path / "a.tif", first, compress="deflate"))
    with GridReader(own.grid, Reading(fast=True)) as reader:
        assert (reader.read([own], own.grid.window).values == first).all()
    write(tmp_path / "a.tif", second, compress="deflate")
    newer = Layer(own.path, own.driver, "another digest", 1, own.grid, own.dtype, own.fill)
    with GridReader(own.grid, Reading(fast=True)) as reader:
        assert (reader.read([newer], own.grid.window).values == second).all()


def test_without_the_extra_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecowatch.raster.tiles.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"ecowatch\[fast\]"):
        require_fast()
