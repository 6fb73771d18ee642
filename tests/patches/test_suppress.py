"""Pseudo-change: for each rule a scene it must name, and for each a real change that it must leave alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from ecowatch.codes import PseudoChange, Stage, State
from ecowatch.detect.stage import TimeFacts
from ecowatch.patches.candidate import Candidate, Look
from ecowatch.patches.second_look import Facts
from ecowatch.patches.suppress import RULES, judge
from ecowatch.settings import Suppress
from ecowatch.simulate.changes import SPECTRA

NAN = float("nan")
ROLES = ("blue", "green", "red", "nir", "swir1", "swir2")
SIDE = 60
GRASS = (0.04, 0.07, 0.06, 0.30, 0.20, 0.11)
DRY = (0.08, 0.11, 0.14, 0.22, 0.28, 0.20)
FALLOW = (0.09, 0.12, 0.15, 0.20, 0.27, 0.21)
WATER = (0.06, 0.07, 0.05, 0.03, 0.015, 0.01)
CLOUD = (0.62, 0.60, 0.59, 0.62, 0.46, 0.36)
CHAR = (0.03, 0.035, 0.04, 0.07, 0.14, 0.15)
ASPHALT = (0.085, 0.095, 0.10, 0.13, 0.15, 0.14)
RULES_USED = Suppress()
ROWS, COLS = np.mgrid[:SIDE, :SIDE]
BOX = (abs(ROWS - 30) < 6) & (abs(COLS - 30) < 6)
LINE = (abs(ROWS - 30) < 2) & (COLS > 5) & (COLS < 55)
DISC = (ROWS - 30) ** 2 + (COLS - 30) ** 2 < 12**2


def ground(spectrum: tuple[float, ...] = GRASS, *, seed: int = 1, rough: float = 0.12) -> np.ndarray:
    """Six bands with the detail that any ground has, the same for one seed."""
    detail = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((SIDE, SIDE)), 1.0)
    detail *= rough / detail.std()
    return (np.array(spectrum)[:, None, None] * (1 + detail)).astype(np.float32)


def noisy(values: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng([seed, 9]).normal(0, 0.002, values.shape)
    return np.clip(values + noise, 0, 1).astype(np.float32)


def put(values: np.ndarray, inside: np.ndarray, spectrum: tuple[float, ...] | str, *, seed: int = 5) -> np.ndarray:
    """The ground replaced inside, with its own detail and mixed pixels at the rim."""
    tone = tuple(SPECTRA[spectrum][r] for r in ROLES) if isinstance(spectrum, str) else spectrum
    share = ndimage.gaussian_filter(inside.astype(np.float32), 0.5)
    return (values + share * (ground(tone, seed=seed, rough=0.05) - values)).astype(np.float32)


def usable() -> np.ndarray:
    return np.full((SIDE, SIDE), State.USABLE, np.uint8)


def look(values: np.ndarray, seed: int = 0, state: np.ndarray | None = None) -> Look:
    return Look(noisy(values, seed), usable() if state is None else state)


def candidate(before: np.ndarray, after: np.ndarray, inside: np.ndarray, **other: Any) -> Candidate:
    line = inside is LINE
    settings: dict[str, Any] = {
        "earlier": (),
        "later": (),
        "rectangularity": 0.95 if line or inside is BOX else 0.5,
        "elongation": 16.0 if line else 1.0,
        "shift_px": 0.1,
        "sun_apart_deg": None,
        "time": None,
    }
    settings.update(other)
    state = settings.pop("after_state", None)
    return Candidate(ROLES, inside, 10.0, before=look(before, 1), after=look(after, 2, state), **settings)


def soft(radius_px: float, reach_px: float) -> np.ndarray:
    """1 in the middle, fading out."""
    distance = np.hypot(ROWS - 30, COLS - 30)
    return np.clip(1 - (distance - radius_px) / reach_px, 0, 1)


def clouded(values: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    return (values + opacity * (np.array(CLOUD)[:, None, None] - values)).astype(np.float32)


def masked_corner() -> np.ndarray:
    state = usable()
    state[:16, :16] = State.MASKED
    return state


def reason(c: Candidate) -> PseudoChange | None:
    verdict = judge(c, RULES_USED)
    assert verdict.facts
    assert all("=" in fact for fact in verdict.facts)
    return verdict.reason


ONCE = TimeFacts(5, 1, 0.0, 6.0, 0.0)
STAYS = TimeFacts(5, 1, 0.0, 6.0, 1.0)


# --- what must be named ---------------------------------------------------------------------------------------------


def test_cloud_left_by_the_mask() -> None:
    before = ground()
    assert reason(candidate(before, clouded(before, soft(4, 16)), DISC)) is PseudoChange.CLOUD
    thin = clouded(before, 0.6 * soft(4, 16))
    assert reason(candidate(before, thin, DISC)) is None  # two dates alone do not tell
    assert reason(candidate(before, thin, DISC, time=ONCE)) is PseudoChange.CLOUD


def test_cloud_of_the_before_date() -> None:
    clear = ground()
    assert reason(candidate(clouded(clear, soft(4, 16)), clear, DISC)) is PseudoChange.CLOUD


def test_a_cloud_fixed_for_three_dates_is_ground() -> None:
    before = ground()
    after = clouded(before, soft(4, 16))
    c = candidate(before, after, DISC, later=(look(after, 3), look(after, 4)))
    assert reason(c) is None


def test_cloud_shadow() -> None:
    before = ground(DRY)
    after = before * np.where(DISC, 0.5, 1.0).astype(np.float32)
    assert reason(candidate(before, after, DISC, after_state=masked_corner())) is PseudoChange.CLOUD_SHADOW
    assert reason(candidate(before, after, DISC, time=ONCE)) is PseudoChange.CLOUD_SHADOW
    assert reason(candidate(before, after, DISC)) is None  # nothing but darkness: doubtful, so kept


def test_haze() -> None:
    before = ground(rough=0.2)
    veil = soft(4, 22) * np.array([0.05, 0.035, 0.02, 0.005, 0.0, 0.0])[:, None, None]
    assert reason(candidate(before, (before + veil).astype(np.float32), DISC)) is PseudoChange.HAZE


def test_snow() -> None:
    before = ground(DRY)
    assert reason(candidate(before, put(before, DISC, (0.7, 0.7, 0.68, 0.6, 0.1, 0.08)), DISC)) is PseudoChange.SNOW


def test_relief_shadow_needs_another_sun() -> None:
    before = ground(DRY)
    after = before * np.where(DISC, 0.55, 1.0).astype(np.float32)
    assert reason(candidate(before, after, DISC, sun_apart_deg=20.0)) is PseudoChange.RELIEF_SHADOW
    assert reason(candidate(before, after, DISC, sun_apart_deg=2.0)) is None


def test_shadow_beside_a_building() -> None:
    building = (abs(ROWS - 33) < 2) & LINE[30][None, :]
    before = put(ground(DRY), building, "building")
    strip = (abs(ROWS - 30) < 1.5) & (COLS > 5) & (COLS < 55) & ~building
    after = before * np.where(strip, 0.6, 1.0).astype(np.float32)
    c = candidate(before, after, strip, sun_apart_deg=20.0, elongation=16.0)
    assert reason(c) is PseudoChange.RELIEF_SHADOW


def test_harvest_where_the_parcels_around_are_harvested_too() -> None:
    parcels = (ROWS // 12 + COLS // 12) % 2 == 0
    own = (ROWS // 12 == 2) & (COLS // 12 == 2)
    before = put(ground(DRY, seed=2), parcels, GRASS)
    after = put(before, parcels, FALLOW)
    assert reason(candidate(before, after, own, rectangularity=1.0)) is PseudoChange.CROP_CYCLE


def test_harvest_of_a_field_that_was_bare_before() -> None:
    before = ground()
    after = put(before, BOX, FALLOW)
    dates = tuple(look(v, i) for i, v in enumerate((before, after, before, after), 3))
    swings = candidate(before, after, BOX, earlier=dates, time=TimeFacts(2, 0, 0.9, NAN, NAN))
    assert reason(swings) is PseudoChange.CROP_CYCLE


def test_season_moves_the_surroundings_alike() -> None:
    before = ground()
    after = ground(DRY)
    darker = after * np.where(DISC, 0.93, 1.0).astype(np.float32)
    assert reason(candidate(before, darker, DISC)) is PseudoChange.SEASON


def test_turbid_water() -> None:
    before = ground(WATER, rough=0.05)
    after = put(before, DISC, (0.10, 0.13, 0.12, 0.07, 0.02, 0.01))
    assert reason(candidate(before, after, DISC)) is PseudoChange.WATER_LEVEL


def test_shore_that_fell_dry() -> None:
    lake = ROWS >= 29
    before = put(ground(), lake, WATER)
    shore = (ROWS >= 29) & (ROWS < 31) & (COLS > 5) & (COLS < 55)
    after = put(before, shore, (0.06, 0.08, 0.09, 0.12, 0.10, 0.08))
    assert reason(candidate(before, after, shore, elongation=25.0)) is PseudoChange.WATER_LEVEL


def test_burn() -> None:
    before = ground()
    assert reason(candidate(before, put(before, DISC, CHAR), DISC)) is PseudoChange.BURN


def test_edge_within_the_residual_shift() -> None:
    before = put(ground(rough=0.02), ROWS >= 30, "mine")
    after = ndimage.shift(before, (0, 0.4, 0), order=1, mode="nearest")
    edge = (ROWS == 30) & (COLS > 5) & (COLS < 55)
    assert reason(candidate(before, after, edge, elongation=50.0, shift_px=0.3)) is PseudoChange.MISREGISTRATION


def test_stripe() -> None:
    before = ground(DRY, rough=0.2)
    after = before + np.where(LINE, 0.04, 0.0).astype(np.float32)
    assert reason(candidate(before, after, LINE)) is PseudoChange.STRIPE


def test_scene_edge() -> None:
    before = ground(DRY, rough=0.2)
    state = usable()
    state[:28] = State.NO_DATA
    along = (ROWS >= 29) & (ROWS < 31) & (COLS > 5) & (COLS < 50)
    after = (before + np.where(along, 0.05, 0)).astype(np.float32)
    assert reason(candidate(before, after, along, after_state=state)) is PseudoChange.SCENE_EDGE


def test_saturation_of_bright_ground() -> None:
    before = ground((0.75,) * 6, rough=0.05)
    after = before + np.where(DISC, 0.5, 0.0).astype(np.float32)
    assert reason(candidate(before, after, DISC)) is PseudoChange.SATURATION


def test_earlier_state_that_came_back() -> None:
    before = ground(DRY)
    after = put(before, DISC, "mine")
    verdict = judge(candidate(before, after, DISC, time=TimeFacts(5, 0, 0.8, NAN, NAN)), RULES_USED)
    assert (verdict.reason, verdict.stage) == (PseudoChange.RETURNING, Stage.RETURNING)
    assert "returning_share=0.80" in verdict.facts


# --- what must be kept ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("soil", [GRASS, DRY, FALLOW])
@pytest.mark.parametrize("kind", ["mine", "building", "pond", "road", ASPHALT])
@pytest.mark.parametrize("inside", [BOX, LINE, DISC], ids=["box", "line", "disc"])
@pytest.mark.parametrize("time", [None, STAYS, TimeFacts(5, 0, 0.1, 6.0, NAN)], ids=["pair", "stays", "history"])
def test_real_change_is_kept(soil: Any, kind: Any, inside: np.ndarray, time: TimeFacts | None) -> None:
    before = ground(soil)
    after = put(before, inside, kind)
    c = candidate(before, after, inside, time=time, sun_apart_deg=20.0)
    cloudy = dataclasses.replace(c, after=c.after._replace(state=masked_corner()))
    assert reason(c) is None
    assert reason(cloudy) is None


def test_mine_beside_water_is_kept() -> None:
    before = put(ground(), ROWS >= 36, WATER)
    assert reason(candidate(before, put(before, BOX, "mine"), BOX)) is None


def test_pond_beside_water_is_kept() -> None:
    before = put(ground(), ROWS >= 36, WATER)
    assert reason(candidate(before, put(before, BOX, "pond"), BOX)) is None


def test_reclamation_and_causeway_are_kept() -> None:
    before = put(ground(), ROWS >= 24, WATER)
    assert reason(candidate(before, put(before, BOX, "mine"), BOX)) is None
    assert reason(candidate(before, put(before, LINE, "road"), LINE)) is None


def test_rafts_on_water_are_kept() -> None:
    before = ground(WATER, rough=0.05)
    rafts = np.where(BOX & ((ROWS + COLS) % 2 == 0), 0.06, 0.0).astype(np.float32)
    assert reason(candidate(before, before + rafts * np.array([1, 1, 1, 1, 0.1, 0.1])[:, None, None], BOX)) is None


def test_bright_quarry_is_kept() -> None:
    before = ground()
    assert reason(candidate(before, put(before, DISC, (0.42, 0.45, 0.47, 0.5, 0.5, 0.45)), DISC)) is None


def test_white_roof_that_saturates_is_kept() -> None:
    before = ground(DRY)
    assert reason(candidate(before, put(before, BOX, (1.2, 1.2, 1.2, 1.1, 1.0, 0.9)), BOX)) is None


def test_mine_in_a_season_of_change_is_kept() -> None:
    before, after = ground(), put(ground(DRY), BOX, "mine")
    assert reason(candidate(before, after, BOX)) is None


def test_thin_road_is_no_edge() -> None:
    before = ground(rough=0.02)
    road = (ROWS == 30) & (COLS > 5) & (COLS < 55)
    c = candidate(before, put(before, road, "road"), road, elongation=50.0, shift_px=0.3)
    assert reason(c) is None
    assert Facts(c, slack_px=0.25, alike=0.04, gap_px=4, saturated=0.995).explained < 0.3


# --- few bands, refusals, repetition --------------------------------------------------------------------------------


def rgb(c: Candidate) -> Candidate:
    first = [Look(x.values[:3], x.state) for x in (c.before, c.after)]
    return dataclasses.replace(c, roles=ROLES[:3], before=first[0], after=first[1])


@pytest.mark.parametrize("kind", ["mine", "building", "pond", "road", ASPHALT])
def test_rgb_keeps_real_change(kind: Any) -> None:
    before = ground()
    assert reason(rgb(candidate(before, put(before, BOX, kind), BOX))) is None


def test_rgb_names_a_cloud_beside_the_mask_only() -> None:
    before = ground()
    c = candidate(before, clouded(before, 0.6 * soft(4, 16)), DISC)
    assert reason(rgb(c)) is None
    beside = dataclasses.replace(c, after=c.after._replace(state=masked_corner()))
    assert reason(rgb(beside)) is PseudoChange.CLOUD


def test_every_reason_has_a_rule_and_two_names() -> None:
    assert {*RULES, PseudoChange.RETURNING} == set(PseudoChange)
    assert all(r.zh and r.en for r in PseudoChange)


def test_twice_the_same() -> None:
    before = ground()
    c = candidate(before, put(before, BOX, "mine"), BOX)
    assert judge(c, RULES_USED) == judge(c, RULES_USED)


def test_refuses_what_does_not_belong_together() -> None:
    before = ground()
    c = candidate(before, before, BOX)
    with pytest.raises(ValueError, match="do not belong together"):
        judge(dataclasses.replace(c, earlier=(Look(before[:3], usable()),)), RULES_USED)
    hidden = dataclasses.replace(c, after=c.after._replace(state=np.full((SIDE, SIDE), State.MASKED, np.uint8)))
    with pytest.raises(ValueError, match="no pixel"):
        judge(hidden, RULES_USED)
