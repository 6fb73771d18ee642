"""Whether images bear a claim of rectification out: structure gone, bare ground closed, vegetation held through seasons.

Every answer has three values: borne out, contradicted, or not known. What was not observed is never rectified, and one date
alone decides nothing: it can be a residual cloud, or the week of an inspection. The answer is evidence for whoever closes
the case, with the facts it rests on as ``fact=value``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import takewhile
from statistics import median
from typing import NamedTuple

from ..codes import Rectification
from ..settings import ClaimRules

MIN_DATES = 2
"""So many clear dates must speak before anything is said of a season, or of the ground as it is now."""

_WATER_BEFORE = 0.5
_DORMANT_RING, _DORMANT_SITE = 0.7, 0.9
_GREENER = 1.15


@dataclass(frozen=True)
class SiteDate:
    """What one date shows of a site and of the ring of untouched ground around it.

    Parameters
    ----------
    day
        Civil date.
    valid_share
        Clear part of the site's pixels, 0–1.
    ndvi_median, ring_ndvi_median
        Of the clear pixels of the site, and of the clear land pixels of the ring; None where there are too few.
    bare_share, ring_bare_share
        Clear pixels that are neither water nor plants, 0–1.
    spectrum, ring_spectrum
        Median reflectance by band role; empty where nothing is clear.
    water_share
        Clear pixels that are open water, 0–1.
    """

    day: date
    valid_share: float
    ndvi_median: float | None
    ring_ndvi_median: float | None
    bare_share: float | None
    spectrum: Mapping[str, float]
    water_share: float | None = None
    ring_spectrum: Mapping[str, float] = field(default_factory=dict)
    ring_bare_share: float | None = None


@dataclass(frozen=True)
class ClaimEvidence:
    """What images say of a claim; None is "not known".

    Parameters
    ----------
    passed
        The claim as a whole, by the kind of the rectification.
    structure_gone, bare_closed, vegetation_held
        Its parts.
    seasons
        Growing seasons, one after another up to the last, through which vegetation held.
    dates
        The clear dates that were used, oldest first.
    why
        Facts, each ``fact=value``.
    """

    passed: bool | None
    structure_gone: bool | None
    bare_closed: bool | None
    vegetation_held: bool | None
    seasons: int
    dates: tuple[date, ...]
    why: tuple[str, ...]


def judge_claim(
    before_works: SiteDate | None,
    works: SiteDate,
    since: Sequence[SiteDate],
    *,
    rectification: Rectification,
    rules: ClaimRules,
    claimed_on: date | None = None,
) -> ClaimEvidence:
    """Judge a claim of rectification by what the dates since the works show.

    All three parts are read in the growing season, when ground that bears plants looks unlike ground that does not; the
    other months only tell turf and netting from plants. ``exit`` needs the structure gone and the bare ground closed,
    ``restore`` also vegetation that held; ``remediate`` leaves works in place, so it needs one of the first two.

    Parameters
    ----------
    before_works
        The site before the works; None where no image shows it.
    works
        The worked state.
    since
        Later dates, in any order, clear or not.
    rectification
        What was to be done.
    rules
        Limits.
    claimed_on
        When the claim was made: what dates before it show contradicts no claim, though it may support one.

    Returns
    -------
    ClaimEvidence
        With None for each part that too few clear dates tell of.
    """
    clear = sorted((s for s in since if _is_clear(s, rules)), key=lambda s: s.day)
    seasonal = [s for s in clear if season_of(s.day, rules.season_months) is not None]
    answered = [s for s in seasonal if claimed_on is None or s.day >= claimed_on]
    before = before_works if before_works is not None and before_works.spectrum else None
    now = _latest(answered, rules)
    gone = _agreed(_structure_gone(s, works, before, rules) for s in now)
    closed = _agreed(_bare_closed(s, before, rules) for s in now)
    seasons = _seasons(seasonal, before, rules)
    held, count = _vegetation_held(seasons, rules, claimed_on)
    why = (
        f"clear_dates={len(clear)}/{len(since)}",
        f"in_season={len(seasonal)}",
        *_now_facts(now, works, before, rules),
        *(season.fact for season in seasons),
        *_suspicions(clear, now, before, rules),
    )
    passed = _passed(rectification, gone, closed, held)
    return ClaimEvidence(passed, gone, closed, held, count, tuple(s.day for s in clear), why)


def season_of(day: date, months: tuple[int, int]) -> int | None:
    """Return the growing season of a date, by the year in which it began; None between the seasons.

    Parameters
    ----------
    day
        Civil date.
    months
        First and last month; a season whose first month is the later one runs over the turn of the year.
    """
    first, last = months
    if first <= last:
        return day.year if first <= day.month <= last else None
    if day.month >= first:
        return day.year
    return day.year - 1 if day.month <= last else None


def spectral_distance(one: Mapping[str, float], other: Mapping[str, float]) -> float | None:
    """Return the root mean square difference over the common bands, in reflectance; None without any."""
    roles = sorted(set(one) & set(other))
    if not roles:
        return None
    return math.sqrt(sum((one[r] - other[r]) ** 2 for r in roles) / len(roles))


def _is_clear(site: SiteDate, rules: ClaimRules) -> bool:
    return site.valid_share >= rules.min_valid_share and site.ndvi_median is not None and bool(site.spectrum)


def _latest(dates: Sequence[SiteDate], rules: ClaimRules) -> list[SiteDate]:
    """The dates that tell of the ground as it is now: the last season's, and where it has but one, the one before's too."""
    years = sorted({season_of(s.day, rules.season_months) or 0 for s in dates}, reverse=True)
    chosen: list[SiteDate] = []
    for year in years[:2]:
        if len(chosen) < MIN_DATES:
            chosen = [s for s in dates if season_of(s.day, rules.season_months) == year] + chosen
    return chosen


def _agreed(answers: Iterable[bool | None]) -> bool | None:
    """One answer of several dates, oldest first: more than half must say yes, and the end must not say no.

    Of two dates that disagree the one that says no is believed. A lone no at the very end is neither: not known.
    """
    told = [answer for answer in answers if answer is not None]
    if len(told) < MIN_DATES:
        return None
    if 2 * sum(told) <= len(told):
        return False
    refusals = len(list(takewhile(lambda yes: not yes, reversed(told))))
    return True if refusals == 0 else None if refusals == 1 else False


def _flooded(site: SiteDate, before: SiteDate | None, rules: ClaimRules) -> bool:
    """Water where none was before the works: a pit that filled is no ground that came back."""
    natural = (before.water_share or 0.0) if before else 0.0
    return (site.water_share or 0.0) - natural > rules.bare_share


def _structure_gone(site: SiteDate, works: SiteDate, before: SiteDate | None, rules: ClaimRules) -> bool | None:
    if _flooded(site, before, rules):
        return False
    apart = spectral_distance(site.spectrum, works.spectrum)
    back = _back(site, before)
    if apart is None or back is None:
        return None
    return apart >= rules.built_distance and back < apart


def _back(site: SiteDate, before: SiteDate | None) -> float | None:
    """How far the site still is from what it was, or from what lies around it: the smaller of both."""
    found = [spectral_distance(site.spectrum, like) for like in (site.ring_spectrum, before.spectrum if before else {})]
    return min((d for d in found if d is not None), default=None)


def _bare_closed(site: SiteDate, before: SiteDate | None, rules: ClaimRules) -> bool | None:
    if site.bare_share is None:
        return None
    if _flooded(site, before, rules):
        return False
    if site.bare_share < rules.bare_share:
        return True
    # In a desert, or in a year without rain, bare ground says nothing of the works.
    return None if (site.ring_bare_share or 0.0) >= rules.bare_share else False


def _recovered(site: SiteDate, before: SiteDate | None, rules: ClaimRules) -> bool | None:
    if before is not None and (before.water_share or 0.0) >= _WATER_BEFORE:
        # Where open water was filled in, water is what has to come back.
        return (
            None if site.water_share is None else site.water_share >= rules.recovered_ndvi * (before.water_share or 0)
        )
    level = _expected_ndvi(site, before, rules)
    if level is None or site.ndvi_median is None:
        return None
    return site.ndvi_median >= max(rules.recovered_ndvi * level, rules.bare_ndvi)


def _expected_ndvi(site: SiteDate, before: SiteDate | None, rules: ClaimRules) -> float | None:
    """NDVI that the site would have if nothing had been done to it.

    The ring gives the season and the weather, the date before the works what the site was beside its ring: grassland in a
    forest need not become forest. Without a clear ring it is the level before the works.
    """
    seasonal = before is not None and season_of(before.day, rules.season_months) is not None
    own = before.ndvi_median if before is not None and seasonal else None
    if site.ring_ndvi_median is None:
        return own if own is not None and own > rules.bare_ndvi else None
    if site.ring_ndvi_median <= rules.bare_ndvi:
        return None
    around = before.ring_ndvi_median if before is not None else None
    if own is None or around is None or min(own, around) <= rules.bare_ndvi:
        return site.ring_ndvi_median
    return site.ring_ndvi_median * min(1.0, own / around)


class _Season(NamedTuple):
    year: int
    last_day: date | None
    answers: tuple[bool, ...]
    held: bool | None

    @property
    def fact(self) -> str:
        word = {True: "held", False: "not_held", None: "unknown"}[self.held]
        return f"season_{self.year}={word}({sum(self.answers)}/{len(self.answers)})"


def _seasons(dates: Sequence[SiteDate], before: SiteDate | None, rules: ClaimRules) -> list[_Season]:
    """Every season from the first that was seen to the last, those between that nobody saw included."""
    told = [(s.day, yes) for s in dates if (yes := _recovered(s, before, rules)) is not None]
    years = [season_of(day, rules.season_months) or 0 for day, _ in told]
    seasons = []
    for year in range(min(years), max(years) + 1) if years else ():
        own = [item for item, season in zip(told, years, strict=True) if season == year]
        answers = tuple(yes for _, yes in own)
        seasons.append(_Season(year, own[-1][0] if own else None, answers, _agreed(answers)))
    return seasons


def _vegetation_held(seasons: Sequence[_Season], rules: ClaimRules, claimed_on: date | None) -> tuple[bool | None, int]:
    """Whether it held through the last seasons, and through how many."""
    judged = list(seasons)
    if judged and judged[-1].held is None and all(judged[-1].answers):
        # A season that has only begun, and well: those before it are asked.
        judged.pop()
    run = len(list(takewhile(lambda season: season.held is True, reversed(judged))))
    if run >= rules.seasons:
        return True, run
    if run == len(judged) or judged[-1 - run].held is None:
        return None, run
    last_day = judged[-1 - run].last_day
    spoken_after = claimed_on is None or (last_day is not None and last_day >= claimed_on)
    # Bare before the claim was made: too early to tell, not contradicted.
    return (False if spoken_after else None), run


def _passed(kind: Rectification, gone: bool | None, closed: bool | None, held: bool | None) -> bool | None:
    if kind is Rectification.REMEDIATE:
        parts = [gone, closed]
        return True if True in parts else None if None in parts else False
    parts = [gone, closed] if kind is Rectification.EXIT else [gone, closed, held]
    return False if False in parts else None if None in parts else True


def _now_facts(now: Sequence[SiteDate], works: SiteDate, before: SiteDate | None, rules: ClaimRules) -> tuple[str, ...]:
    facts = [f"works={works.day}", f"before={before.day if before else 'unknown'}"]
    if season_of(works.day, rules.season_months) is None:
        facts.append("works_seen=out_of_season")
    if not now:
        return (*facts, "now=not_observed")
    last = now[-1]
    facts.append(f"now={now[0].day}..{last.day}({len(now)})")
    numbers = {
        "apart": spectral_distance(last.spectrum, works.spectrum),
        "from_natural": _back(last, before),
        "bare_share": last.bare_share,
        "ndvi": last.ndvi_median,
        "ring_ndvi": last.ring_ndvi_median,
        "water_share": last.water_share,
    }
    facts += [f"{name}={number:.2f}" for name, number in numbers.items() if number is not None]
    if any(_flooded(s, before, rules) for s in now):
        facts.append("water=new")
    if (last.ring_bare_share or 0.0) >= rules.bare_share:
        facts.append("surroundings=bare")
    return tuple(facts)


def _suspicions(
    clear: Sequence[SiteDate], now: Sequence[SiteDate], before: SiteDate | None, rules: ClaimRules
) -> tuple[str, ...]:
    """What a person should look at: it proves nothing, and changes no answer."""
    netted = partial(_green_without_infrared, before=before, rules=rules)
    tests = {"green_without_infrared": any(map(netted, now)), "no_dormant_fall": _no_dormant_fall(clear, now, rules)}
    return tuple(f"suspicion={name}" for name, found in tests.items() if found)


def _green_without_infrared(site: SiteDate, *, before: SiteDate | None, rules: ClaimRules) -> bool:
    """Green to the eye but not in the infrared, as netting and paint are."""
    green, red, blue = (site.spectrum.get(role) for role in ("green", "red", "blue"))
    if green is None or red is None or (site.water_share or 0.0) > rules.bare_share:
        return False
    # Blue has its own haze; a sensor without it is judged by red alone.
    greener = green >= _GREENER * red and (blue is None or green >= _GREENER * blue)
    return greener and _recovered(site, before, rules) is False


def _no_dormant_fall(clear: Sequence[SiteDate], now: Sequence[SiteDate], rules: ClaimRules) -> bool:
    """Green all winter while the surroundings were not, as turf of plastic is, and evergreens are."""
    first = min((season_of(s.day, rules.season_months) or 0 for s in now), default=0) - rules.seasons + 1
    recent = [s for s in clear if s.day.year >= first and s.ring_ndvi_median is not None]
    summer = [s for s in recent if season_of(s.day, rules.season_months) is not None]
    winter = [s for s in recent if season_of(s.day, rules.season_months) is None]
    if not (now and summer and winter):
        return False
    site, ring = (_level(summer, ring=False), _level(summer, ring=True))
    if min(site, ring) <= rules.bare_ndvi:
        return False
    return _level(winter, ring=True) <= _DORMANT_RING * ring and _level(winter, ring=False) >= _DORMANT_SITE * site


def _level(dates: Sequence[SiteDate], *, ring: bool) -> float:
    return median((s.ring_ndvi_median if ring else s.ndvi_median) or 0.0 for s in dates)
