"""Metadata and pixels must agree on Sentinel-2's +1000; the numbers are drawn by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecowatch.errors import SceneError
from ecowatch.grid import Grid
from ecowatch.raster import GridReader, Layer, write_geotiff
from ecowatch.scenes.offset import _finding, _is_dark_enough, check_offset
from ecowatch.scenes.scene import Band

NONE, ADDED = (0.0, 0.0), (-1000.0, -1000.0)
# Two bands, the darkest pixels first; reflectance is (number - 1000) / 10000 where the pixels carry the offset.
CLEAN = [[150, 300, 900, 2500], [200, 1500, 3000, 4000]]
DARK = [[10, 20, 30, 40], [5, 10, 20, 30]]
BRIGHT = [[1800, 2000, 2500, 3000], [2600, 2800, 3000, 4000]]


def sampled(rows: list[list[int]], plus: int, copies: int = 100) -> np.ndarray:
    return np.repeat(np.array(rows, np.uint16) + np.uint16(plus), copies, axis=1)


def told(numbers: np.ndarray, offsets: tuple[float, float]) -> str:
    """Return what is told of numbers and offsets that disagree, "" where they agree."""
    try:
        check_offset(numbers, fill=0, offsets=offsets[: len(numbers)], where="s")
    except SceneError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("scene", [CLEAN, DARK, BRIGHT], ids=["clean", "dark", "bright"])
@pytest.mark.parametrize("declared", [NONE, ADDED], ids=["old baseline", "new baseline"])
@pytest.mark.parametrize("carried", [0, 1000], ids=["plain pixels", "pixels + 1000"])
def test_declared_and_carried_offset(scene: list[list[int]], declared: tuple[float, float], carried: int) -> None:
    agree = (declared == ADDED) == (carried == 1000)
    # A scene that is bright everywhere reads like one that carries the offset, and hides one that does not.
    if scene is BRIGHT:
        agree = declared == ADDED
    numbers = sampled(scene, carried)
    if agree:
        check_offset(numbers, fill=0, offsets=declared, where="scene")
    else:
        with pytest.raises(SceneError, match=r"OFFSET_CONFLICT scene: .*trust_offset = true"):
            check_offset(numbers, fill=0, offsets=declared, where="scene")


def test_both_figures_are_quoted() -> None:
    with pytest.raises(SceneError, match=r"offset -1000, but 75.0% of the pixels would be negative"):
        check_offset(sampled([[100, 300, 800, 2500]], 0), fill=0, offsets=(-1000.0,), where="s")
    with pytest.raises(SceneError, match=r"offset 0, but the darkest 0.1 % .* 1150"):
        check_offset(sampled([[150, 300], [400, 900]], 1000, 200), fill=0, offsets=NONE, where="s")


def test_few_negatives_are_the_atmosphere() -> None:
    numbers = np.full((2, 1000), 1300)
    numbers[:, :10] = 500
    check_offset(numbers, fill=0, offsets=ADDED, where="s")
    numbers[:, :11] = 500
    with pytest.raises(SceneError, match=r"1\.1%"):
        check_offset(numbers, fill=0, offsets=ADDED, where="s")


def test_dark_water_lies_about_zero() -> None:
    lake = np.tile([950, 1050, 990, 1010], (2, 200))
    assert told(lake, ADDED) == ""
    # The same lake without the +1000 lies far below zero.
    assert "100.0% of the pixels would be negative" in told(lake - 900, ADDED)


def test_too_few_valid_pixels_tell_nothing() -> None:
    numbers = np.zeros((2, 1000), np.uint16)
    numbers[:, :199] = 100
    check_offset(numbers, fill=0, offsets=ADDED, where="s")
    numbers[:, 199] = 100
    with pytest.raises(SceneError):
        check_offset(numbers, fill=0, offsets=ADDED, where="s")


def test_one_dark_band_is_enough_for_no_offset() -> None:
    numbers = np.array([[1500] * 1000, [1500] * 995 + [400] * 5])
    assert told(numbers, NONE) == ""
    assert "the darkest 0.1 %" in told(numbers[:1], NONE)


@pytest.mark.parametrize("dark_px", [0, 1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("unseen_px", [0, 10, 3000])
def test_what_is_dark_enough_stays_so_whatever_else_the_scene_holds(dark_px: int, unseen_px: int) -> None:
    """Each verdict that needs no further look is that of all numbers, the brightest the rest may hold."""
    first = np.full((2, 1000), 5000.0)
    first[1, :dark_px] = 999
    whole = np.concatenate([first, np.full((2, unseen_px), 65535.0)], axis=1)
    enough = _is_dark_enough([first[:, :400], first[:, 400:]], whole.shape[1])
    if enough:
        assert told(whole, NONE) == ""
    # Not more is asked than is needed: one dark number fewer could be too few.
    assert enough == (dark_px >= int(0.001 * (whole.shape[1] - 1)) + 2)


def test_a_scene_is_read_until_it_is_dark_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid.from_parts("EPSG:32650", (10, 0, 600_000, 0, -10, 3_400_000), (2300, 2300))
    rng, read = np.random.default_rng(2), []
    real = GridReader.read
    monkeypatch.setattr(GridReader, "read", lambda *given, **more: read.append(given) or real(*given, **more))
    for lowest, looks, finding in ((300, 1, ""), (1200, 16, "offset 0, but the darkest")):
        path = tmp_path / f"{lowest}.tif"
        write_geotiff(path, rng.integers(lowest, 3000, (1, *grid.shape)).astype(np.uint16), grid, nodata=0)
        layer = Layer(path, "GTiff", path.name, 1, grid, "uint16", 0.0)
        read.clear()
        assert finding in _finding([Band("red", layer, 1e-4, 0.0)], "s") and len(read) == looks
