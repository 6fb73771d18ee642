"""Change between two display images: simulated scenes with known changes, and real pairs where they are at hand."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from scipy.ndimage import gaussian_filter, label, shift

from ecowatch.detect.block import PairBlock
from ecowatch.detect.rgb import RgbStructureFit, fit_rgb_structure, reach_px, score_rgb_structure
from ecowatch.errors import PairError

AT_10_M: dict[str, Any] = {
    "colour_px": 3.0,
    "structure_px": 8.0,
    "texture_gain": 0.0,
    "relative": True,
    "contrast_floor": 0.02,
    "noise_floor": 0.01,
    "log_unit": 0.3,
}
AT_2_M: dict[str, Any] = {
    "colour_px": 5.0,
    "structure_px": 5.0,
    "texture_gain": 0.6,
    "relative": False,
    "contrast_floor": 0.01,
    "noise_floor": 0.01,
    "log_unit": 0.4,
}
SIDE = 256


def _scene(seed: int = 0) -> np.ndarray:
    """Fields of several colours, smooth inside, and a town of sharp blocks."""
    rng = np.random.default_rng(seed)
    shades = rng.uniform(0.2, 0.6, (8, 8, 3)) * (1.0, 0.9, 0.8)
    scene = np.kron(shades.transpose(2, 0, 1), np.ones((1, SIDE // 8, SIDE // 8)))
    town = np.kron(rng.uniform(0.2, 0.8, (20, 20)), np.ones((4, 4)))
    scene[:, 20:100, 20:100] = town * np.array([1.0, 0.95, 0.9])[:, None, None]
    return np.stack([gaussian_filter(band, 0.7) for band in scene])


def _display(scene: np.ndarray, seed: int) -> np.ndarray:
    noisy = scene + np.random.default_rng(seed).normal(0, 0.01, scene.shape)
    return (np.round(255 * np.clip(noisy, 0, 1)) / 255).astype(np.float32)


def _built(scene: np.ndarray, inside: np.ndarray, seed: int = 9) -> np.ndarray:
    """Roofs and yards of another colour than anything in the scene, where inside."""
    rng = np.random.default_rng(seed)
    grey = np.kron(rng.uniform(0.3, 0.9, (SIDE // 4, SIDE // 4)), np.ones((4, 4)))
    blue = np.stack([0.6 * grey, 0.8 * grey, np.clip(1.3 * grey, 0, 1)])
    return np.where(inside, blue, scene)


def _pair(before: np.ndarray, after: np.ndarray, valid: np.ndarray | None = None) -> PairBlock:
    return PairBlock(before, after, np.ones(before.shape[1:], bool) if valid is None else valid)


def _window(pair: PairBlock, row: int, col: int, end: int) -> PairBlock:
    before, after = (date[:, row:end, col:end] for date in (pair.before, pair.after))
    return PairBlock(before, after, pair.valid[row:end, col:end])


def _score(pair: PairBlock, numbers: dict[str, Any]) -> np.ndarray:
    return score_rgb_structure(pair, fit_rgb_structure([pair], **numbers), **numbers)


def _flagged(score: np.ndarray, weak: float = 3.5, strong: float = 4.2, least_px: int = 10) -> np.ndarray:
    groups, number = label(score > weak, np.ones((3, 3)))
    kept = np.bincount(groups[score > strong], minlength=number + 1) >= least_px
    kept[0] = False
    result: np.ndarray = kept[groups]
    return result


def _f1(flagged: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * (flagged & truth).sum() / max(flagged.sum() + truth.sum(), 1))


@pytest.mark.parametrize("numbers", [AT_10_M, AT_2_M])
@pytest.mark.parametrize("shift_px", [0.0, 0.15, 0.3])
def test_another_stretch_light_and_a_small_shift_show_nothing(numbers: dict[str, Any], shift_px: float) -> None:
    scene = _scene()
    other = np.stack([shift(band, shift_px, order=1, mode="nearest") for band in scene])
    other = 0.85 * other ** np.array([1.1, 1.05, 1.0])[:, None, None] + 0.03
    assert _flagged(_score(_pair(_display(scene, 1), _display(other, 2)), numbers)).mean() < 0.005


def test_one_image_twice_shows_nothing() -> None:
    image = _display(_scene(), 1)
    for numbers in (AT_10_M, AT_2_M):
        assert _score(_pair(image, image), numbers).max() < 3.5


@pytest.mark.parametrize("numbers", [AT_10_M, AT_2_M])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.6])
def test_a_changed_share_is_found_and_not_inverted(numbers: dict[str, Any], share: float) -> None:
    inside = np.zeros((SIDE, SIDE), bool)
    side = int(np.sqrt(share) * SIDE)
    inside[SIDE - side :, SIDE - side :] = True
    pair = _pair(_display(_scene(), 1), _display(_built(_scene(), inside), 2))
    flagged = _flagged(_score(pair, numbers))
    assert flagged[inside].mean() > 0.8
    assert _f1(flagged, inside) > 0.7


def test_blocks_with_reach_equal_the_whole() -> None:
    inside = np.zeros((SIDE, SIDE), bool)
    inside[120:180, 110:200] = True
    valid = np.ones((SIDE, SIDE), bool)
    valid[60:90, 100:140] = False
    pair = _pair(_display(_scene(), 1), _display(_built(_scene(), inside), 2), valid)
    for numbers in (AT_10_M, AT_2_M):
        fitted = fit_rgb_structure([pair], **numbers)
        whole, reach = score_rgb_structure(pair, fitted, **numbers), reach_px(**numbers)
        low, high = 101 - reach, 170 + reach
        part = _window(pair, low, low, high)
        cut = score_rgb_structure(part, fitted, **numbers)[reach:-reach, reach:-reach]
        assert np.array_equal(cut, whole[101:170, 101:170])
        narrow = _window(pair, low + 9, low, high)
        assert not np.array_equal(
            score_rgb_structure(narrow, fitted, **numbers)[reach - 9 : -reach, reach:-reach], whole[101:170, 101:170]
        )


def test_pixels_not_valid_have_no_say_and_no_score() -> None:
    valid = np.ones((SIDE, SIDE), bool)
    valid[50:120, 60:90] = False
    before, after = _display(_scene(), 1), _display(_scene(), 2)
    one = _score(_pair(before, after, valid), AT_2_M)
    other = _score(_pair(np.where(valid, before, 9.0), np.where(valid, after, -3.0), valid), AT_2_M)
    assert np.array_equal(one, other)
    assert not one[~valid].any()
    assert one.dtype == np.float32


def test_a_fit_survives_json_and_is_the_same_twice() -> None:
    pair = _pair(_display(_scene(), 1), _display(_scene(), 2))
    fitted = fit_rgb_structure([pair], **AT_10_M)
    again = RgbStructureFit(**json.loads(json.dumps(dataclasses.asdict(fitted))))
    assert np.array_equal(score_rgb_structure(pair, again, **AT_10_M), score_rgb_structure(pair, fitted, **AT_10_M))
    assert fit_rgb_structure([pair], **AT_10_M) == fitted


def test_a_gain_of_texture_counts_more_than_its_loss() -> None:
    inside = np.zeros((SIDE, SIDE), bool)
    inside[150:220, 150:220] = True
    bare, built = _display(_scene(), 1), _display(_built(_scene(), inside), 2)
    gained, lost = (_score(_pair(*dates), AT_2_M)[inside].mean() for dates in ((bare, built), (built, bare)))
    assert gained > lost + 1


def test_too_few_pixels_are_refused() -> None:
    valid = np.zeros((SIDE, SIDE), bool)
    valid[:10, :10] = True
    image = _display(_scene(), 1)
    with pytest.raises(PairError, match="only 100 pixels are valid"):
        fit_rgb_structure([_pair(image, image, valid)], **AT_2_M)


def _real(folder: Path, name: str) -> tuple[PairBlock, np.ndarray]:
    dates = []
    for part in ("t1", "t2", "label"):
        with rasterio.open(folder / f"{name}_{part}.tif") as source:
            dates.append(source.read())
    before, after = (date[:3].astype(np.float32) / 255 for date in dates[:2])
    return _pair(before, after), dates[2][0]


@pytest.mark.parametrize(
    ("name", "numbers", "least"),
    [
        ("s2rgb_oscd/dubai", AT_10_M, 0.60),
        ("s2rgb_oscd/abudhabi", AT_10_M, 0.44),
        ("vhr_beijing/beijing_A", AT_2_M, 0.74),
        ("vhr_dsifn/dsifn_1_1", AT_2_M, 0.5),
    ],
)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_real_pairs(shared_data: Path, name: str, numbers: dict[str, Any], least: float) -> None:
    pair, truth = _real(shared_data / "bitemporal", name)
    flagged = _flagged(_score(pair, numbers))
    assert _f1(flagged[truth != 255], truth[truth != 255] == 1) >= least
