from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from ecowatch.detect.block import PairBlock
from ecowatch.detect.objects import BUILDINGS, ObjectsFit, fit_objects, margin, reach_px, score_objects
from ecowatch.detect.segments import (
    FEATURES,
    appearance,
    block_all,
    block_mean,
    direction_features,
    local_correlation,
    log_colour,
    working_factor,
)
from ecowatch.errors import PairError

Array = np.ndarray[Any, Any]

NUMBERS = {"pixel_m": 0.25, "working_m": 0.5, "smooth_m": 2.0}
STRONG = 2.4


def _meadow(side: int, seed: int = 3) -> tuple[Array, Array]:
    """The same grass on two days: slow slopes that stay, leaves that do not."""
    rng = np.random.default_rng(seed)
    slow = ndimage.gaussian_filter(rng.normal(size=(side, side)), 12)
    slow = 0.02 * slow / slow.std()
    clumps = ndimage.gaussian_filter(rng.normal(size=(side, side)), 2.5)
    ground = 0.3 + slow + 0.02 * clumps / clumps.std()
    colour = np.array([0.8, 1.1, 0.6])[:, None, None]
    days = [ground * colour + 0.01 * rng.normal(size=(3, side, side)) for _ in range(2)]
    return days[0].astype(np.float32), days[1].astype(np.float32)


def _with_roof(image: Array, rows: slice, cols: slice) -> Array:
    built = image.copy()
    built[:, rows, cols] = np.array([0.62, 0.63, 0.66], np.float32)[:, None, None]
    return built


def _town(image: Array, rows: int) -> Array:
    """Light roofs on a chessboard over the first rows, shade between them."""
    built = image.copy()
    row, col = (np.arange(side) % 24 < 14 for side in image.shape[1:])
    roofs = row[:, None] ^ col[None, :]
    built[:, ~roofs] *= 0.5
    built[:, roofs] = np.array([0.62, 0.63, 0.66], np.float32)[:, None]
    built[:, rows:] = image[:, rows:]
    return built


def _block(before: Array, after: Array, valid: Array | None = None) -> PairBlock:
    return PairBlock(before, after, np.ones(before.shape[1:], bool) if valid is None else valid)


def _scored(block: PairBlock) -> Array:
    return score_objects(block, fit_objects([block], **NUMBERS), **NUMBERS)


def test_a_new_roof_and_a_vanished_roof_stand_above_unchanged_grass() -> None:
    before, after = _meadow(320)
    roof = (slice(140, 190), slice(120, 180))
    for pair in (
        _block(before, _with_roof(after, *roof)),
        _block(_with_roof(before, *roof), after),
    ):
        score = _scored(pair)
        assert (score[roof] > STRONG).mean() > 0.8
        far = np.ones(score.shape, bool)
        far[90:240, 70:230] = False
        assert (score[far] > STRONG).sum() == 0


def test_grass_that_only_changed_its_light_shows_nothing() -> None:
    before, after = _meadow(320)
    cast = np.array([0.7, 0.75, 0.9], np.float32)[:, None, None]
    assert _scored(_block(before, after * cast)).max() < STRONG


def test_a_roof_that_stays_shows_nothing() -> None:
    before, after = _meadow(320)
    roof = (slice(140, 190), slice(120, 180))
    score = _scored(_block(_with_roof(before, *roof), _with_roof(after, *roof)))
    assert score.max() < STRONG


def test_blocks_with_margin_equal_the_whole_bit_by_bit() -> None:
    before, after = _meadow(512)
    after = _with_roof(after, slice(240, 290), slice(230, 300))
    block = _block(before, after)
    block.valid[300:310, 100:140] = False
    fitted = fit_objects([block], **NUMBERS)
    whole = score_objects(block, fitted, **NUMBERS)
    reach = reach_px(**NUMBERS)
    assert reach % working_factor(0.25, 0.5) == 0
    for row, col in ((0, 0), (0, 256), (256, 0), (256, 256)):
        top, left = max(row - reach, 0), max(col - reach, 0)
        window = (slice(top, min(row + 256 + reach, 512)), slice(left, min(col + 256 + reach, 512)))
        part = PairBlock(before[:, *window], after[:, *window], block.valid[window])
        score = score_objects(part, fitted, **NUMBERS)
        inner = score[row - top : row - top + 256, col - left : col - left + 256]
        assert np.array_equal(inner, whole[row : row + 256, col : col + 256])


def test_reach_covers_what_a_pixel_feels() -> None:
    before, after = _meadow(512)
    fitted = fit_objects([_block(before, after)], **NUMBERS)
    plain = score_objects(_block(before, after), fitted, **NUMBERS)
    touched = after.copy()
    touched[:, 256:258, 256:258] = 1.0
    moved = score_objects(_block(before, touched), fitted, **NUMBERS) != plain
    rows, cols = np.nonzero(moved)
    assert moved[256, 256]
    assert max(256 - rows.min(), rows.max() - 257, 256 - cols.min(), cols.max() - 257) <= reach_px(**NUMBERS)


def test_not_valid_is_zero_and_its_numbers_do_not_count() -> None:
    before, after = _meadow(256)
    valid = np.ones((256, 256), bool)
    valid[100:140, 60:100] = False
    wild = after.copy()
    wild[:, ~valid] = np.nan
    scores = [_scored(_block(before, image, valid)) for image in (after, wild)]
    assert np.array_equal(scores[0], scores[1])
    assert (scores[0][~valid] == 0).all()
    assert np.isfinite(scores[0]).all()
    assert scores[0].dtype == np.float32


def test_inputs_stay_as_they_were_and_two_runs_agree() -> None:
    before, after = _meadow(200)
    copies = before.copy(), after.copy()
    assert np.array_equal(_scored(_block(before, after)), _scored(_block(before, after)))
    assert np.array_equal(before, copies[0])
    assert np.array_equal(after, copies[1])


def test_a_size_that_is_no_whole_number_of_working_pixels_keeps_its_shape() -> None:
    before, after = _meadow(201)
    assert _scored(_block(before[:, :, :187], after[:, :, :187])).shape == (201, 187)


def test_fit_survives_json_and_takes_the_light_off() -> None:
    before, after = _meadow(256)
    cast = np.array([0.9, 0.95, 1.1], np.float32)[:, None, None]
    fitted = fit_objects([_block(before, after * cast)], **NUMBERS)
    assert ObjectsFit(**json.loads(json.dumps(asdict(fitted)))).gain == fitted.gain
    shift = np.array(fitted.after_level) - np.array(fitted.before_level)
    # Blue gains log(1.1/0.9) on red, a little less by the dark offset.
    assert shift[1] == pytest.approx(np.log(1.1 / 0.9), abs=0.05)


def test_fit_ignores_a_changed_third() -> None:
    before, after = _meadow(300)
    changed = _with_roof(after, slice(0, 100), slice(0, 300))
    plain = fit_objects([_block(before, after)], **NUMBERS)
    third = fit_objects([_block(before, changed)], **NUMBERS)
    apart = [np.subtract(f.after_level, f.before_level) for f in (plain, third)]
    assert np.abs(apart[0] - apart[1]).max() < 0.05


def test_a_pair_that_is_strange_all_over_raises_its_own_zero() -> None:
    before, after = _meadow(256)
    quiet = fit_objects([_block(before, after)], **NUMBERS)
    assert quiet.lift == 0
    strange = _block(before, _town(after, 256))
    fitted = fit_objects([strange], **NUMBERS)
    assert fitted.lift > 0
    free = score_objects(strange, dataclasses.replace(fitted, lift=0.0), **NUMBERS)
    apart = free - score_objects(strange, fitted, **NUMBERS)
    assert apart == pytest.approx(np.full(apart.shape, fitted.lift / BUILDINGS.null_spread), abs=1e-3)


def test_a_town_over_sixty_per_cent_is_found_and_not_inverted() -> None:
    before, after = _meadow(320)
    built = 192
    block = _block(before, _town(after, built))
    fitted = fit_objects([block], **NUMBERS)
    score = score_objects(block, fitted, **NUMBERS)
    assert fitted.lift == 0
    assert (score[:160] > 1.2).mean() > 0.9
    assert (score[built + 60 :] > STRONG).sum() == 0


def test_fit_refuses_what_it_cannot_use() -> None:
    before, after = _meadow(64)
    with pytest.raises(PairError, match="no working pixel is usable"):
        fit_objects([_block(before, after, np.zeros((64, 64), bool))], **NUMBERS)
    with pytest.raises(PairError, match="no working pixel is usable"):
        fit_objects([], **NUMBERS)
    with pytest.raises(ValueError, match="red, green, blue"):
        fit_objects([_block(before[:2], after[:2])], **NUMBERS)


def test_working_factor_is_the_largest_power_of_two_within_the_limit() -> None:
    assert [working_factor(p, 0.5) for p in (0.05, 0.1, 0.2, 0.25, 0.3, 0.5, 2.0)] == [8, 4, 2, 2, 1, 1, 1]
    with pytest.raises(ValueError, match="above zero"):
        working_factor(0.0, 0.5)


def test_block_mean_and_block_all_by_hand() -> None:
    image = np.array([[[0, 2, 8], [4, 6, 8]]], np.float32)
    assert block_mean(image, 2).tolist() == [[[3.0, 8.0]]]
    assert block_all(np.array([[True, True, True], [True, False, True]]), 2).tolist() == [[False, True]]


def test_margin_equals_the_sum_written_out() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(0, 2, (len(FEATURES), 4, 5)).astype(np.float32)
    got = margin(features, BUILDINGS)
    for row, col in np.ndindex(4, 5):
        wanted = BUILDINGS.constant
        for k, value in enumerate(features[:, row, col]):
            z = min(max((value - BUILDINGS.centre[k]) / BUILDINGS.scale[k], -BUILDINGS.limit), BUILDINGS.limit)
            wanted += z * (BUILDINGS.above[k] if z > 0 else BUILDINGS.below[k])
        assert got[row, col] == pytest.approx(wanted, abs=1e-4)


def test_one_light_for_both_leaves_no_evidence() -> None:
    before, _ = _meadow(128)
    colour = log_colour(before)
    seen = appearance(colour, step_m=0.5)
    correlation = local_correlation(colour[0], colour[0], step_m=0.5)
    features = dict(zip(FEATURES, direction_features(seen, seen, correlation), strict=True))
    assert np.abs(features["colour_change"]).max() == 0
    assert np.abs(features["texture_gain"]).max() == 0
    # Even ground is damped: a floor stands below both powers.
    assert 0.5 < correlation.min() <= correlation.max() <= 1


def test_standing_out_is_distance_from_the_mean_of_24_metres() -> None:
    colour = np.random.default_rng(5).normal(0, 0.3, (3, 80, 80)).astype(np.float32)
    seen = appearance(colour, step_m=0.5)
    row, col, half = 40, 37, 24
    square = seen.fine[:, row - half : row + half + 1, col - half : col + half + 1].astype(np.float64)
    apart = seen.fine[:, row, col] - square.mean(axis=(1, 2))
    wanted = np.sqrt(apart[0] ** 2 + 4 * apart[1] ** 2 + 9 * apart[2] ** 2)
    assert seen.standing_out[row, col] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "pixel_m", "changed"),
    [
        ("vhr_fotbcd/fotbcd_binary_test_114", 0.2, True),
        ("vhr_fotbcd/fotbcd_binary_val_104", 0.2, True),
        ("vhr_fotbcd/fotbcd_binary_test_654", 0.2, False),
        ("vhr_whu/whu_lgp_train2", 0.2, False),
    ],
)
def test_real_tiles(shared_data: Path, name: str, pixel_m: float, changed: bool) -> None:
    rasterio = pytest.importorskip("rasterio")
    images = []
    for end in ("t1", "t2", "label"):
        with rasterio.open(shared_data / "bitemporal" / f"{name}_{end}.tif") as source:
            images.append(source.read())
    before, after = (image[:3].astype(np.float32) / 255 for image in images[:2])
    block, numbers = _block(before, after), {**NUMBERS, "pixel_m": pixel_m}
    score = score_objects(block, fit_objects([block], **numbers), **numbers)
    if changed:
        groups, count = ndimage.label(images[2][0] == 1, np.ones((3, 3)))
        best = ndimage.maximum(score, groups, range(1, count + 1))
        assert (best > STRONG).all()
    else:
        assert (score > STRONG).mean() < 0.01
