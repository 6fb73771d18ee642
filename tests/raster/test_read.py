"""Reading on a grid: whole blocks, replicated, shifted, warped; what no file covers is told."""

from __future__ import annotations

import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from pyproj import Transformer
from scipy import ndimage as ndi

from ecowatch.errors import SceneError
from ecowatch.grid import Grid, Window
from ecowatch.intake import RASTER_KINDS, admit
from ecowatch.prepare import ShiftField, shifted, with_cells
from ecowatch.raster import (
    GridReader,
    Layer,
    Reading,
    burn,
    by_block,
    inspect,
    placement,
    read_coarse,
    sample_numbers,
    write_geotiff,
    write_jp2,
)

GRID = Grid.from_parts("EPSG:32650", (10, 0, 600_000, 0, -10, 3_400_000), (1100, 1300))


def smooth(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(shape)
    return np.clip(2000 + 9000 * ndi.gaussian_filter(noise, 6), 1, 9999).astype(np.uint16)


def layers_of(path: Path, fill: float | None = 0) -> list[Layer]:
    admitted = admit(path, roots=[path.parent], kinds=RASTER_KINDS)
    info = inspect(admitted)
    assert info.grid is not None
    return [
        Layer(admitted.path, admitted.kind.value, admitted.digest, i + 1, info.grid, info.dtype, fill)
        for i in range(info.bands)
    ]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    values = np.stack([smooth(GRID.shape, n) for n in range(2)])
    write_geotiff(path, values, GRID, nodata=0)
    return path, values


@pytest.mark.parametrize(
    "window", [Window(0, 0, 512, 512), Window(512, 1024, 1024, 1536), Window(300, 200, 900, 1111), Window(1, 2, 4, 9)]
)
def test_windows_are_put_together_from_blocks(scene: tuple[Path, np.ndarray], window: Window) -> None:
    path, values = scene
    with GridReader(GRID) as reader:
        pixels = reader.read(layers_of(path), window)
    common = window.intersection(GRID.window)
    assert common is not None
    inside = common.within(window)
    assert (pixels.values[:, *inside] == values[:, common.row0 : common.row1, common.col0 : common.col1]).all()
    if common != window:
        assert pixels.covered is not None and pixels.covered.sum() == np.prod(common.shape)
        assert (pixels.values[:, ~pixels.covered] == 0).all()


def test_a_window_beside_the_scene_is_not_covered(scene: tuple[Path, np.ndarray]) -> None:
    with GridReader(GRID) as reader:
        pixels = reader.read(layers_of(scene[0]), Window(-600, -600, -88, -88))
    assert pixels.covered is not None and not pixels.covered.any()


def test_what_no_file_covers_is_filled_as_each_layer_says(scene: tuple[Path, np.ndarray]) -> None:
    """Two descriptions of one file, read by one thread: neither may be given the other's block."""
    window = Window(1024, 1024, 1536, 1536)
    for fill in (0, 7, 0):
        with GridReader(GRID) as reader:
            pixels = reader.read(layers_of(scene[0], fill), window)
        assert pixels.covered is not None and (pixels.values[:, ~pixels.covered] == fill).all()


def test_coarser_pixels_are_repeated(tmp_path: Path) -> None:
    coarse = Grid.from_parts("EPSG:32650", (20, 0, 600_000, 0, -20, 3_400_000), (550, 650))
    values = smooth(coarse.shape)
    write_geotiff(tmp_path / "swir.tif", values[None], coarse)
    (layer,) = layers_of(tmp_path / "swir.tif")
    with GridReader(GRID) as reader:
        for window in (Window(0, 0, 512, 512), Window(511, 511, 514, 515)):
            got = reader.read([layer], window).values[0]
            rows, cols = np.mgrid[window.row0 : window.row1, window.col0 : window.col1]
            assert (got == values[rows // 2, cols // 2]).all()


CONSTANT = ShiftField((0.4,), (-0.3,), (0.0, 0.0), 1.0, (0.0, 0.0, 1100.0, 1300.0), 0.0, 1, 1)
SLOPING = with_cells(
    ShiftField((0.2, 1.0, 0.3), (-0.4, 0.2, -0.9), (550, 650), 650, (0, 0, 1100, 1300), 0.0, 9, 9), max_step_px=0.02
)


def test_a_constant_field_is_one_cubic_convolution(scene: tuple[Path, np.ndarray]) -> None:
    window = Window(400, 500, 700, 900)
    with GridReader(GRID) as reader:
        got = reader.read(layers_of(scene[0]), window, shift=CONSTANT).values
    padded = np.ascontiguousarray(scene[1][:, 397:703, 497:903])
    assert (got == shifted(padded, None, shift_px=(0.4, -0.3), pad_px=3, fill=0)[0]).all()


@pytest.mark.parametrize("categorical", [False, True])
@pytest.mark.parametrize("stored", ["as the grid", "coarser", "turned"])
def test_a_sloping_read_does_not_depend_on_the_window(tmp_path: Path, stored: str, categorical: bool) -> None:
    if stored == "turned":
        grid = Grid.from_parts("EPSG:32651", (10, 0, 25_000, 0, -10, 3_412_000), (2000, 2400))
    else:
        side = 10 if stored == "as the grid" else 20
        grid = Grid.from_parts("EPSG:32650", (side, 0, 600_000, 0, -side, 3_400_000), (11000 // side, 13000 // side))
    write_geotiff(tmp_path / "scene.tif", smooth(grid.shape)[None], grid, nodata=0)
    layers = layers_of(tmp_path / "scene.tif")
    whole = Window(-30, 100, 1130, 1320)
    with GridReader(GRID) as reader:
        large = reader.read(layers, whole, shift=SLOPING, categorical=categorical)
    assert large.covered is not None and large.covered.any()
    for window in (Window(500, 500, 530, 1040), Window(300, 700, 301, 702), Window(-10, 900, 600, 1310)):
        with GridReader(GRID) as reader:
            small = reader.read(layers, window, shift=SLOPING, categorical=categorical)
        own = window.within(whole)
        assert (small.values == large.values[:, *own]).all()
        covered = np.ones(window.shape, bool) if small.covered is None else small.covered
        assert (covered == large.covered[own]).all()


def test_a_layer_that_lies_on_the_grid_is_moved_beside_one_that_is_warped(tmp_path: Path) -> None:
    """Two files of one date, one of them half a pixel off the grid: both are moved."""
    values = smooth(GRID.shape)
    off = Grid.from_parts("EPSG:32650", (10, 0, 600_005, 0, -10, 3_400_005), GRID.shape)
    write_geotiff(tmp_path / "on.tif", values[None], GRID, nodata=0)
    write_geotiff(tmp_path / "off.tif", values[None], off, nodata=0)
    layers = layers_of(tmp_path / "on.tif") + layers_of(tmp_path / "off.tif")
    window = Window(100, 100, 600, 400)
    for shift in (CONSTANT, SLOPING):
        with GridReader(GRID) as reader:
            both = reader.read(layers, window, shift=shift).values
            alone = reader.read(layers[:1], window, shift=shift).values
        assert (both[0] == alone[0]).all()


def test_a_shifted_read_undoes_a_displacement(tmp_path: Path, scene: tuple[Path, np.ndarray]) -> None:
    moved = ndi.shift(scene[1][0].astype(float), (0.4, -0.3), order=5, mode="nearest")
    write_geotiff(tmp_path / "moved.tif", np.floor(moved + 0.5).astype(np.uint16)[None], GRID, nodata=0)
    with GridReader(GRID) as reader:
        back = reader.read(layers_of(tmp_path / "moved.tif"), Window(100, 100, 700, 700), shift=CONSTANT).values[0]
    assert np.abs(back.astype(int) - scene[1][0, 100:700, 100:700]).max() <= 4


@pytest.mark.parametrize("crs", ["EPSG:32651", "EPSG:4326"])
def test_another_crs_is_warped_onto_the_grid(tmp_path: Path, crs: str) -> None:
    """A plane of numbers that follows the easting must read as that plane wherever it was stored."""
    if crs == "EPSG:4326":
        other = Grid.from_parts(crs, (1e-4, 0, 118.04, 0, -9e-5, 30.735), (1500, 1600))
    else:
        other = Grid.from_parts(crs, (10, 0, 25_000, 0, -10, 3_412_000), (2000, 2400))
    cols, rows = np.meshgrid(np.arange(other.shape[1]) + 0.5, np.arange(other.shape[0]) + 0.5)
    x = other.transform.c + cols * other.transform.a
    y = other.transform.f + rows * other.transform.e
    easting, _ = Transformer.from_crs(crs, "EPSG:32650", always_xy=True).transform(x, y)
    write_geotiff(tmp_path / "other.tif", ((easting - 590_000) / 2).astype(np.uint16)[None], other, nodata=0)
    (layer,) = layers_of(tmp_path / "other.tif")
    assert placement(layer.grid, GRID) is None
    with GridReader(GRID) as reader:
        pixels = reader.read([layer], Window(512, 512, 1024, 1024))
        again = reader.read([layer], Window(600, 600, 700, 700))
    assert pixels.covered is not None and pixels.covered.any()
    expected = (600_000 + (np.arange(512, 1024) + 0.5) * 10 - 590_000) / 2
    wrong = np.abs(pixels.values[0].astype(float) - expected)[pixels.covered]
    assert wrong.max() <= 1.6, "a quarter of a pixel"
    assert (again.values[0] == pixels.values[0, 88:188, 88:188]).all()


def test_an_unreadable_block_names_the_file(tmp_path: Path, scene: tuple[Path, np.ndarray]) -> None:
    data = bytearray(scene[0].read_bytes())
    data[len(data) // 2 : -10] = bytes(len(data) - 10 - len(data) // 2)
    path = tmp_path / "spoiled.tif"
    path.write_bytes(data)
    with GridReader(GRID) as reader, pytest.raises(SceneError, match=r"RASTER_UNREADABLE .*spoiled\.tif"):
        for block in GRID.blocks():
            reader.read(layers_of(path), block)


def test_a_coarse_read_keeps_no_more_than_a_strip(tmp_path: Path) -> None:
    grid = Grid.from_parts("EPSG:32650", (10, 0, 600_000, 0, -10, 3_400_000), (8192, 1024))
    path = tmp_path / "tall.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=1024, height=8192, count=1, dtype="uint16", tiled=True, compress="zstd",
        blockxsize=512, blockysize=512, crs="EPSG:32650", transform=grid.transform,
    ) as image:  # fmt: skip
        image.write(np.ones((1, 8192, 1024), np.uint16))
    layers, coarse = layers_of(path), Grid.from_parts("EPSG:32650", (640, 0, 600_000, 0, -640, 3_400_000), (128, 16))
    tracemalloc.start()
    assert (read_coarse(layers, coarse).values == 1).all()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 512 * 1024 * 2, f"{peak} bytes, of an image of {8192 * 1024 * 2}"


def test_coarse_reads_take_every_nth_pixel(scene: tuple[Path, np.ndarray]) -> None:
    path, values = scene
    grid = Grid.from_parts("EPSG:32650", (100, 0, 600_000, 0, -100, 3_400_000), (110, 130))
    coarse = read_coarse(layers_of(path), grid).values
    assert np.corrcoef(coarse[0].ravel(), values[0, 5::10, 5::10].ravel())[0, 1] > 0.95


@pytest.mark.parametrize("suffix", [".tif", ".jp2"])
def test_samples_come_from_all_over(tmp_path: Path, suffix: str) -> None:
    grid = Grid.from_parts("EPSG:32650", (10, 0, 600_000, 0, -10, 3_400_000), (2300, 2300))
    values = np.tile(np.arange(2300, dtype=np.uint16), (2300, 1)) + 100
    path = tmp_path / f"scene{suffix}"
    if suffix == ".tif":
        write_geotiff(path, values[None], grid, nodata=0)
    else:
        write_jp2(path, values, grid)
    sample = sample_numbers(layers_of(path), grid, max_px=256)
    numbers = np.concatenate([part.ravel() for part in sample.parts])
    assert numbers.size == sample.pixels < values.size / 8
    assert numbers.min() < 700 and numbers.max() > 1900


def test_burnt_blocks_equal_the_whole() -> None:
    area = shapely.Point(606_000, 3_394_500).buffer(3777).difference(shapely.Point(606_000, 3_394_500).buffer(900))
    whole = burn(area, GRID)
    for block in GRID.blocks():
        assert (burn(area, GRID.cropped(block)) == whole[block.row0 : block.row1, block.col0 : block.col1]).all()
    assert whole.sum() * 100 == pytest.approx(area.area, rel=1e-3)


OPENED_BY_TWO_THREADS = """
import sys, threading
from pathlib import Path
import rasterio
from ecowatch.raster.files import open_checked

opened, first_is_in, second_is_in = rasterio.open, threading.Event(), threading.Event()

def interleaved(path, **options):
    if threading.current_thread() is first:
        first_is_in.set()
        second_is_in.wait()
    else:
        second_is_in.set()
        first.join()
    return opened(path, **options)

rasterio.open = interleaved
first, second = (threading.Thread(target=open_checked, args=(Path(sys.argv[1]), "GTiff")) for _ in range(2))
first.start()
first_is_in.wait()
second.start()
second.join()
"""


def test_a_file_without_georeference_is_opened_in_silence_while_another_thread_ends_opening_one(tmp_path: Path) -> None:
    path = tmp_path / "plain.tif"
    with rasterio.open(path, "w", driver="GTiff", width=8, height=8, count=1, dtype="uint8") as dataset:
        dataset.write(np.ones((1, 8, 8), np.uint8))
    # A process of its own: pytest has filters of its own.
    command = [sys.executable, "-c", OPENED_BY_TWO_THREADS, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stderr == ""


@pytest.mark.parametrize("fast", [False, True])
def test_threads_share_blocks_out_and_change_nothing(scene: tuple[Path, np.ndarray], fast: bool) -> None:
    if fast:
        pytest.importorskip("imagecodecs")
    path, image = scene
    layers = layers_of(path)
    grid, reading = layers[0].grid, Reading(fast)
    blocks = list(grid.blocks())
    threads: set[int] = set()

    def total(reader: GridReader, block: Window) -> int:
        threads.add(threading.get_ident())
        return int(reader.read(layers, block).values.sum())

    with GridReader(grid, reading) as reader:
        alone = by_block(reader, total, blocks, hands=1)
        assert sum(alone) == image.sum() and len(set(alone)) > 1
        for hands in (2, 3, 99):
            threads.clear()
            assert by_block(reader, total, blocks, hands=hands) == alone
            assert 1 < len(threads) <= min(hands, len(blocks))
        assert by_block(reader, total, [], hands=2) == []


def test_an_unreadable_block_in_another_thread_is_told(scene: tuple[Path, np.ndarray]) -> None:
    layers = layers_of(scene[0])
    blocks = list(layers[0].grid.blocks())
    files = len(list(Path("/proc/self/fd").iterdir()))

    def refused(_reader: GridReader, block: Window) -> None:
        if block == blocks[1]:
            raise SceneError("RASTER_UNREADABLE", scene[0], "torn", "fetch it again")

    with GridReader(layers[0].grid) as reader, pytest.raises(SceneError, match="RASTER_UNREADABLE"):
        by_block(reader, refused, blocks, hands=2)
    assert len(list(Path("/proc/self/fd").iterdir())) <= files
