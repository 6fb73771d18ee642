"""A claim of rectification against hand-drawn series: what passes, what fails, what nobody can know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from ecowatch.codes import Rectification
from ecowatch.ledger.rectified import ClaimEvidence, SiteDate, judge_claim, season_of, spectral_distance
from ecowatch.settings import ClaimRules

RULES = ClaimRules()
ROLES = ("blue", "green", "red", "nir", "swir1")
SPECTRUM = {
    "green": (0.04, 0.07, 0.05, 0.35, 0.18),
    "bare": (0.14, 0.18, 0.24, 0.30, 0.38),
    "roof": (0.30, 0.31, 0.32, 0.34, 0.36),
    "water": (0.06, 0.06, 0.04, 0.02, 0.01),
    "winter": (0.09, 0.11, 0.13, 0.20, 0.26),
    "netting": (0.08, 0.14, 0.09, 0.13, 0.16),
    "snow": (0.80, 0.80, 0.78, 0.70, 0.10),
}


def spectrum(name: str) -> dict[str, float]:
    return dict(zip(ROLES, SPECTRUM[name], strict=True))


def ndvi(name: str) -> float:
    s = spectrum(name)
    return (s["nir"] - s["red"]) / (s["nir"] + s["red"])


def seen(day: str, ground: str, ring: str | None = "green", **changes: Any) -> SiteDate:
    """A site that is all of one ground, within a ring that is all of another."""
    site = SiteDate(
        date.fromisoformat(day),
        1.0,
        ndvi(ground),
        ndvi(ring) if ring else None,
        float(ndvi(ground) < RULES.bare_ndvi and ground != "water"),
        spectrum(ground),
        float(ground == "water"),
        spectrum(ring) if ring else {},
        float(ndvi(ring) < RULES.bare_ndvi) if ring else None,
    )
    return replace(site, **changes)


def cloudy(day: str) -> SiteDate:
    return SiteDate(date.fromisoformat(day), 0.1, None, None, None, {})


BEFORE = seen("2022-07-01", "green")
WORKS = seen("2024-07-01", "bare")
SUMMERS = ("05-20", "07-10", "08-30")


def summer(year: int, ground: str, **changes: Any) -> list[SiteDate]:
    return [seen(f"{year}-{day}", ground, **changes) for day in SUMMERS]


def judged(since: Sequence[SiteDate], kind: str = "restore", **changes: Any) -> ClaimEvidence:
    given: dict[str, Any] = {"before_works": BEFORE, "works": WORKS, "rules": RULES} | changes
    return judge_claim(since=since, rectification=Rectification(kind), **given)


def parts(found: ClaimEvidence) -> tuple[bool | None, ...]:
    return found.passed, found.structure_gone, found.bare_closed, found.vegetation_held


def test_two_green_seasons_pass_whatever_order_the_dates_come_in() -> None:
    since = summer(2025, "green") + summer(2026, "green")
    found = judged(since)
    assert parts(found) == (True, True, True, True) and found.seasons == 2
    assert found == judged(since[::-1])
    assert found.dates[0] == date(2025, 5, 20) and found.dates[-1] == date(2026, 8, 30)
    assert "season_2025=held(3/3)" in found.why and "clear_dates=6/6" in found.why


def test_ground_that_stays_bare_fails_for_every_kind() -> None:
    for kind in Rectification:
        assert judged(summer(2025, "bare") + summer(2026, "bare"), kind).passed is False


def test_one_season_is_not_two() -> None:
    """Gone and closed, so an exit is borne out; of a restoration it is too early to tell."""
    since = summer(2025, "green")
    assert parts(judged(since)) == (None, True, True, None) and judged(since).seasons == 1
    assert judged(since, "exit").passed is True


def test_green_up_around_one_date_is_no_season() -> None:
    """Green when the inspectors came, bare before and after."""
    flash = [seen("2026-05-20", "bare"), seen("2026-07-10", "green"), seen("2026-08-30", "bare")]
    found = judged(summer(2025, "green") + flash)
    assert found.passed is False and found.vegetation_held is False and found.seasons == 0
    # Green in the first season, bare ever after.
    assert judged(summer(2025, "green") + summer(2026, "bare")).vegetation_held is False
    # Green at the first date of a season, bare at its other one.
    two = [seen("2026-05-20", "green"), seen("2026-08-30", "bare")]
    assert judged(summer(2025, "green") + two).vegetation_held is False


def test_a_single_bad_date_within_a_season_is_forgiven_at_its_end_it_is_a_question() -> None:
    within = [seen("2026-05-20", "green"), seen("2026-07-10", "bare"), seen("2026-08-30", "green")]
    assert judged(summer(2025, "green") + within).passed is True
    at_end = [seen("2026-05-20", "green"), seen("2026-07-10", "green"), seen("2026-08-30", "bare")]
    assert parts(judged(summer(2025, "green") + at_end)) == (None, None, None, None)


def test_a_season_nobody_saw_breaks_the_run() -> None:
    since = [*summer(2025, "green"), cloudy("2026-07-01"), *summer(2027, "green")]
    found = judged(since)
    assert found.vegetation_held is None and found.seasons == 1 and "season_2026=unknown(0/0)" in found.why
    assert judged(since + summer(2028, "green")).passed is True


def test_a_season_that_has_only_begun_does_not_take_the_former_ones_away() -> None:
    since = summer(2025, "green") + summer(2026, "green")
    assert judged([*since, seen("2027-05-15", "green")]).passed is True
    assert judged([*since, seen("2027-05-15", "bare")]).vegetation_held is None


@pytest.mark.parametrize("kind", list(Rectification))
def test_cloud_at_every_date_is_unknown_not_rectified(kind: Rectification) -> None:
    found = judged([cloudy(f"{year}-{day}") for year in (2025, 2026) for day in SUMMERS], kind)
    assert parts(found) == (None, None, None, None) and found.dates == ()
    assert "now=not_observed" in found.why and "clear_dates=0/6" in found.why
    assert judged([], kind).passed is None


def test_one_clear_date_decides_nothing() -> None:
    for ground in ("green", "bare"):
        assert parts(judged([seen("2025-07-10", ground)], "exit")) == (None, None, None, None)


def test_winter_dates_alone_decide_nothing() -> None:
    """Dormant plants and bare ground look alike; snow looks like neither, and like its surroundings."""
    for ground in ("winter", "snow"):
        since = [seen(f"{year}-{day}", ground, ground) for year in (2025, 2026) for day in ("01-10", "02-20", "11-20")]
        assert judged(since, "exit").passed is None


def test_water_left_in_the_pit_is_not_gone() -> None:
    found = judged(summer(2025, "water") + summer(2026, "water"), "exit")
    assert parts(found)[:3] == (False, False, False) and "water=new" in found.why
    assert judged(summer(2025, "water") + summer(2026, "water"), "remediate").passed is False


def test_where_water_was_filled_in_water_must_come_back() -> None:
    filled = {"before_works": seen("2022-07-01", "water")}
    assert judged(summer(2025, "water") + summer(2026, "water"), **filled).passed is True
    assert judged(summer(2025, "bare") + summer(2026, "bare"), **filled).passed is False


def test_a_roof_on_the_ground_is_neither_gone_nor_closed() -> None:
    roof = seen("2024-07-01", "roof")
    assert judged(summer(2025, "roof"), "exit", works=roof).passed is False
    # Torn down but never planted: enough to be called tidied, not to be called out of the area.
    torn = summer(2025, "bare")
    assert judged(torn, "exit", works=roof).passed is False
    assert judged(summer(2025, "green"), "exit", works=roof).passed is True


def test_remediation_needs_one_of_the_two() -> None:
    """Buildings may stay where the spoil around them is covered."""
    partly = summer(2025, "roof", bare_share=0.1)
    roof = seen("2024-07-01", "roof")
    assert judged(partly, "remediate", works=roof).passed is True
    assert judged(partly, "exit", works=roof).passed is False


def test_surroundings_bare_themselves_tell_nothing_of_bare_ground() -> None:
    """A desert, or a year without rain: unknown, though half the site is bare."""
    dry = [seen(f"{year}-{day}", "bare", "bare") for year in (2025, 2026) for day in SUMMERS]
    found = judged(dry, "exit", before_works=seen("2022-07-01", "bare", "bare"))
    assert found.bare_closed is None and found.structure_gone is False
    assert "surroundings=bare" in found.why
    assert judged(dry, "restore").vegetation_held is None


def test_grassland_in_a_forest_need_not_become_forest() -> None:
    """The site before the works was less green than its ring, and is measured by that."""
    grass = {"ndvi_median": 0.45}
    before = seen("2022-07-01", "green", **grass)
    since = summer(2025, "green", **grass) + summer(2026, "green", **grass)
    assert judged(since, before_works=before).passed is True
    assert judged(since).passed is False


def test_without_a_date_before_the_works_the_ring_is_the_measure() -> None:
    assert judged(summer(2025, "green") + summer(2026, "green"), before_works=None).passed is True
    alone = [replace(s, ring_ndvi_median=None, ring_spectrum={}) for s in summer(2025, "green") + summer(2026, "green")]
    # Neither before nor ring: there is nothing to come back to.
    assert parts(judged(alone, before_works=None)) == (None, None, True, None)
    assert judged(alone).passed is True


def test_dates_before_the_claim_contradict_nothing() -> None:
    claimed = date(2026, 6, 15)
    before_it = [*summer(2025, "bare"), seen("2026-05-20", "bare")]
    found = judged(before_it, "exit", claimed_on=claimed)
    assert parts(found) == (None, None, None, None)
    after_it = [*before_it, seen("2026-07-10", "green"), seen("2026-08-30", "green")]
    found = judged(after_it, claimed_on=claimed)
    assert parts(found) == (None, True, True, None) and found.seasons == 1
    assert judged(after_it, "exit", claimed_on=claimed).passed is True
    # Without the date of the claim the bare season does contradict it.
    assert judged(after_it).vegetation_held is False


def test_green_seasons_before_the_claim_support_it() -> None:
    since = summer(2025, "green") + summer(2026, "green")
    assert judged(since, claimed_on=date(2026, 6, 1)).passed is True


def test_netting_is_green_to_the_eye_only() -> None:
    found = judged(summer(2025, "netting") + summer(2026, "netting"))
    assert found.passed is False and "suspicion=green_without_infrared" in found.why
    assert not any("suspicion" in fact for fact in judged(summer(2025, "bare") + summer(2026, "bare")).why)


def test_turf_that_stays_green_in_winter_is_told_but_proves_nothing() -> None:
    summers = summer(2025, "green") + summer(2026, "green")
    turf = [seen(day, "green", "winter") for day in ("2026-01-10", "2026-02-20")]
    found = judged(summers + turf)
    assert "suspicion=no_dormant_fall" in found.why and found.passed is True
    # Plants that fade with their surroundings, and an evergreen ring, are no riddle.
    for ground, ring in (("winter", "winter"), ("green", "green")):
        plain = [seen(day, ground, ring) for day in ("2026-01-10", "2026-02-20")]
        assert not any("suspicion" in fact for fact in judged(summers + plain).why)


def test_seasons_over_the_turn_of_the_year() -> None:
    assert season_of(date(2026, 1, 5), (11, 3)) == 2025 and season_of(date(2026, 11, 5), (11, 3)) == 2026
    assert season_of(date(2026, 6, 5), (11, 3)) is None
    assert season_of(date(2026, 5, 1), (5, 9)) == 2026 and season_of(date(2026, 10, 1), (5, 9)) is None


def test_more_seasons_can_be_asked_for() -> None:
    since = [s for year in (2025, 2026) for s in summer(year, "green")]
    assert judged(since, rules=ClaimRules(seasons=3)).passed is None
    assert judged(since + summer(2027, "green"), rules=ClaimRules(seasons=3)).passed is True


def test_distance_by_hand() -> None:
    assert spectral_distance({"red": 0.1, "nir": 0.3}, {"red": 0.2, "nir": 0.3, "blue": 1}) == pytest.approx(
        0.0707, abs=1e-4
    )
    assert spectral_distance({"red": 0.1}, {"nir": 0.3}) is None
    assert judged(summer(2025, "green"), "exit", works=replace(WORKS, spectrum={})).structure_gone is None
