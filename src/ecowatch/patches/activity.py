"""Name the activity of a patch by rules, and say why.

Each rule looks at a few measured facts; each fact that spoke is kept as a reason. What the facts do not carry stays
"undetermined", and what looks natural is called so: a reviewer prefers an honest blank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..codes import Act, Activity, EnergyKind, Natural
from ..settings import ActivityRules
from .context import Context
from .facts import SpectralFacts, spectral_facts
from .measure import Evidence

_MIN_REGULARITY = 0.3
_SURELY_COMPACT = 0.75
# Bands whose gains differ by a factor of 1.75, as those of the Landsat sensors do, shift a normalised difference by this.
_GAIN_DOUBT = 0.27
_PLAINLY_BARE = 3
_PLANTED_NDVI = 0.4
_SLIM = 2
_ROAD_NDVI = 0.25
_SHARP_M = 2.0
_SURELY_RECTANGULAR = 0.8
_ROOF_BRIGHTNESS = 0.28


class NamedActivity(NamedTuple):
    """An activity with confidence (0–1) and reasons, each ``fact=value``.

    ``energy`` is the sub-class of `Activity.ENERGY`; ``act`` is the policy's act that the activity implies; ``natural`` says
    what kind of natural change an undetermined patch looks like. None where the evidence does not say.
    """

    activity: Activity
    confidence: float
    reasons: tuple[str, ...]
    energy: EnergyKind | None = None
    act: Act | None = None
    natural: Natural | None = None


class _Case(NamedTuple):
    """A patch, and what the rules ask of it, answered."""

    evidence: Evidence
    rules: ActivityRules
    spectral: SpectralFacts
    vegetation_lost: bool
    vegetation_gained: bool
    bare_gained: bool
    brightened: bool
    darkened: bool
    grey: bool
    water_gained: bool
    water_lost: bool
    line: bool
    compact: bool
    at_water: bool

    @property
    def disturbed(self) -> bool:
        return self.vegetation_lost or self.bare_gained or self.brightened


class _Answer(NamedTuple):
    activity: Activity
    confidence: float
    natural: Natural | None = None
    energy: EnergyKind | None = None
    act: Act | None = None


_Rule = Callable[[_Case], _Answer | None]


def name_activity(evidence: Evidence, rules: ActivityRules) -> NamedActivity:
    """Return the activity that spectra, shape and surroundings of a patch support best.

    Parameters
    ----------
    evidence
        Spectra before and after, size and shape; surroundings as far as known. What is missing speaks for nothing, and
        lowers the confidence.
    rules
        Thresholds of the pipeline.

    Returns
    -------
    NamedActivity
        ``UNDETERMINED`` where no rule holds, and where the change looks natural. The first rule that holds names the patch.
        Confidence is the share of patches named right in the injected-change test at that confidence, rounded down to a
        tenth; ``docs/methods.md`` has the table. It is no more than that: real places differ.
    """
    spectral = spectral_facts(
        _without(evidence.before, evidence.dark_before), _without(evidence.after, evidence.dark_after)
    )
    case = _case(evidence, spectral, rules)
    found = next((a for a in (rule(case) for rule in _RULES) if a is not None), None)
    answer = found or _Answer(Activity.UNDETERMINED, 0.2)
    act = answer.act or _ACTS.get(answer.activity)
    reasons = _reasons(evidence, spectral)
    return NamedActivity(answer.activity, round(answer.confidence, 2), reasons, answer.energy, act, answer.natural)


def _without(spectrum: Mapping[str, float], dark: Mapping[str, float]) -> dict[str, float]:
    return {role: max(value - dark[role], 0.0) if role in dark else value for role, value in spectrum.items()}


def _case(evidence: Evidence, s: SpectralFacts, rules: ActivityRules) -> _Case:
    line = evidence.elongation >= rules.road_elongation and evidence.width_m <= rules.road_width_m
    context = evidence.context
    around = context.around_before if context is not None else None
    return _Case(
        evidence=evidence,
        rules=rules,
        spectral=s,
        vegetation_lost=_above(s.green, rules.ndvi_drop, sign=-1),
        vegetation_gained=_above(s.green, rules.ndvi_drop),
        bare_gained=_bare_gained(s, rules),
        brightened=_above(s.bright, rules.bright_gain),
        darkened=_above(s.bright, 0.5 * rules.bright_gain, sign=-1),
        grey=s.redness_gained is not None and s.redness_gained <= rules.grey_redness,
        water_gained=_water_gained(evidence, s, rules),
        water_lost=_above(s.wet, rules.water_gain, sign=-1)
        and _above(s.wet_before, rules.water_level)
        and _above(s.infrared_ratio, 2 / rules.dark_infrared_share),
        line=line,
        compact=evidence.rectangularity >= rules.rectangularity,
        at_water=(around is not None and around >= rules.near_water) or bool(evidence.near & {"coast", "river"}),
    )


def _water_gained(evidence: Evidence, s: SpectralFacts, rules: ActivityRules) -> bool:
    """Roofs may be higher in green than in infrared as water is, but only water takes the infrared away.

    Brightness is not asked: muddy water is brighter than plants. Rims of mixed pixels hide small ponds in the mean of
    their patch; shares of pixels, where they are known, show them.
    """
    if s.infrared_ratio is None or not _above(s.wet, rules.water_gain):
        return False
    context = evidence.context or Context()
    share = context.after.get("water", 0.0) - context.before.get("water", 0.0)
    # Nearly black in the infrared is enough where the bands' own gains leave the level of the index open.
    black = not evidence.reflectance and s.infrared_ratio < 0.5 * rules.dark_infrared_share
    # Water mixed with plants keeps the same small share of every infrared band; panels and tar lose nir alone.
    planted = s.by_ndvi and _above(s.green_before, _PLANTED_NDVI)
    mixed = planted and s.infrared_kept is not None and s.infrared_kept < 0.6 * rules.dark_infrared_share
    level = black or mixed or _above(s.wet_after, rules.water_level) or share > rules.water_share_gain
    return level and s.infrared_ratio < rules.dark_infrared_share


def _bare_gained(s: SpectralFacts, rules: ActivityRules) -> bool:
    """By the bare-soil index; by redness where there is no shortwave infrared."""
    if s.bare is not None:
        return s.bare > rules.bare_gain and _above(s.bare_after, rules.bare_level)
    return _above(s.redness, rules.bare_gain)


def _above(value: float | None, threshold: float, *, sign: int = 1) -> bool:
    return value is not None and sign * value > threshold


def _radar(case: _Case) -> _Answer | None:
    """Backscatter alone tells smooth new water from nothing else, and never what people built."""
    fall = case.spectral.radar_db
    if not case.spectral.radar_only or fall is None:
        return None
    shaped = case.compact and case.evidence.pixels >= case.rules.shape_min_px
    if fall < -case.rules.radar_drop_db and not shaped and not case.line:
        return _Answer(Activity.UNDETERMINED, 0.4, Natural.FLOOD)
    return _Answer(Activity.UNDETERMINED, 0.2)


def _new_water(case: _Case) -> _Answer | None:
    """Compact water with straight banks is a pond; irregular water is a flood, a tide or a river that moved."""
    if not case.water_gained:
        return None
    if case.evidence.pixels < case.rules.shape_min_px or case.line:
        return _Answer(Activity.UNDETERMINED, 0.3, _water_kind(case) if case.at_water else None)
    # Mixed pixels round the corners of small ponds off: what fills its rectangle need not be straight as well.
    sides = case.evidence.straightness
    straight = sides is None or sides >= case.rules.straightness or case.evidence.rectangularity >= _SURELY_COMPACT
    if case.compact and straight and case.evidence.area_m2 <= case.rules.pond_max_m2:
        return _Answer(Activity.AQUACULTURE, 0.5 if case.at_water else 0.8)
    if case.compact:
        return _Answer(Activity.UNDETERMINED, 0.3)
    return _Answer(Activity.UNDETERMINED, 0.7 if case.at_water else 0.6, _water_kind(case))


def _water_kind(case: _Case) -> Natural:
    if "coast" in case.evidence.near:
        return Natural.TIDE
    along_river = "river" in case.evidence.near and case.evidence.elongation >= 3
    return Natural.MEANDER if along_river else Natural.FLOOD


def _lost_water(case: _Case) -> _Answer | None:
    """Water that became straight-edged bright ground was filled; else its level fell."""
    if not case.water_lost:
        return None
    built = case.compact and case.brightened and case.evidence.pixels >= case.rules.shape_min_px
    if case.line and case.brightened:
        return _Answer(Activity.ROAD, 0.4)
    if built:
        at_sea = "coast" in case.evidence.near or case.evidence.carrier in ("nearshore", "shoreline")
        return _Answer(Activity.OTHER, 0.4, act=Act.RECLAMATION if at_sea else None)
    return _Answer(Activity.UNDETERMINED, 0.5, _water_kind(case))


def _road(case: _Case) -> _Answer | None:
    if not case.line or (case.spectral.bright is None and case.spectral.green is None):
        return None
    if case.vegetation_gained and not case.brightened:
        return _Answer(Activity.UNDETERMINED, 0.2)
    # Benches and heaps of mines may be strips as well, but seldom as long and narrow.
    slim = case.evidence.elongation >= _SLIM * case.rules.road_elongation
    if not case.disturbed:
        # Tar on bare ground: darker, and without plants. A shaded ditch or slope keeps its plants.
        s = case.spectral
        tar = slim and not (s.by_ndvi and _above(s.green_after, _ROAD_NDVI)) and not case.vegetation_gained
        return _Answer(Activity.ROAD, 0.4) if tar else _Answer(Activity.UNDETERMINED, 0.2)
    return _Answer(Activity.ROAD, 0.9 if slim else 0.3)


def _fire(case: _Case) -> _Answer | None:
    """Plants gone, the burn ratio down, and no brighter: diggings and roofs are brighter than plants, ash is not."""
    s = case.spectral
    darker = s.bright is not None and s.bright < 0.5 * case.rules.bright_gain
    if not (_above(s.burn, case.rules.burn_drop, sign=-1) and case.vegetation_lost and darker) or case.compact:
        return None
    return _Answer(Activity.UNDETERMINED, 0.5, Natural.FIRE)


def _landslide(case: _Case) -> _Answer | None:
    steep = case.evidence.slope_deg is not None and case.evidence.slope_deg >= case.rules.landslide_slope_deg
    if not (steep and case.bare_gained and case.evidence.elongation >= 2) or case.compact:
        return None
    return _Answer(Activity.UNDETERMINED, 0.5, Natural.LANDSLIDE)


def _building(case: _Case) -> _Answer | None:
    """Compact, brighter and grey; soil is redder. Larger than any block of buildings: some other work."""
    redness = case.spectral.redness_gained
    grey = case.grey if redness is not None else not case.bare_gained
    # Bands of an image that is no reflectance have gains of their own: in doubt, colour counts only with shape and soil.
    if redness is not None and not case.evidence.reflectance and redness > case.rules.grey_redness - _GAIN_DOUBT:
        shaped = case.compact or not case.bare_gained
        grey = grey and shaped and not _above(case.spectral.bare, _PLAINLY_BARE * case.rules.bare_gain)
    if not (case.brightened and grey):
        return None
    confidence = 0.8 if case.compact else 0.6
    activity = Activity.SETTLEMENT if case.evidence.area_m2 <= case.rules.building_max_m2 else Activity.OTHER
    return _Answer(activity, confidence, act=Act.BUILDING)


def _photovoltaic(case: _Case) -> _Answer | None:
    """Large straight-edged fields of dark, bluish, dry and plantless ground; rows, where the pixel shows them."""
    s = case.spectral
    if not (case.compact and case.evidence.area_m2 >= case.rules.array_min_m2 and case.grey) or case.brightened:
        return None
    after = case.evidence.after
    dry = s.full and after["swir1"] >= after["nir"]
    plantless = dry and s.green_after is not None and s.green_after < 0.35
    rows = case.evidence.context is not None and case.evidence.context.regularity >= _MIN_REGULARITY
    if not (plantless or rows) or not (case.vegetation_lost or case.darkened):
        return None
    return _Answer(Activity.ENERGY, 0.5 if rows else 0.3, energy=EnergyKind.PHOTOVOLTAIC)


def _mine(case: _Case) -> _Answer | None:
    """Bare and brighter ground; without straight edges, or it may as well be a field."""
    if case.bare_gained and case.compact and not case.brightened:
        return _Answer(Activity.AGRICULTURE, 0.4)
    if not (case.bare_gained or (case.vegetation_lost and case.brightened)):
        return None
    sure = case.bare_gained and case.brightened
    return _Answer(Activity.MINING, 0.9 if sure and case.spectral.full else 0.6 if sure else 0.4)


def _roof(case: _Case) -> _Answer | None:
    """Sharp images show roofs by their corners alone: no brighter than the yard before, but not as dark as water."""
    s, evidence = case.spectral, case.evidence
    sharp = evidence.pixel_m <= _SHARP_M and evidence.pixels >= case.rules.shape_min_px
    lit = _above(s.bright_after, _ROOF_BRIGHTNESS) and not case.vegetation_gained
    if not (sharp and lit and evidence.rectangularity >= _SURELY_RECTANGULAR):
        return None
    activity = Activity.SETTLEMENT if evidence.area_m2 <= case.rules.building_max_m2 else Activity.OTHER
    return _Answer(activity, 0.4)


def _other_work(case: _Case) -> _Answer | None:
    if case.compact and case.brightened:
        return _Answer(Activity.OTHER, 0.3)
    return None


_RULES: tuple[_Rule, ...] = (
    _radar,
    _new_water,
    _lost_water,
    _road,
    _fire,
    _landslide,
    _building,
    _roof,
    _photovoltaic,
    _mine,
    _other_work,
)

_ACTS = {
    Activity.SETTLEMENT: Act.BUILDING,
    Activity.MINING: Act.MINING,
    Activity.QUARRY: Act.MINING,
    Activity.ENERGY: Act.BUILDING,
    Activity.TOURISM: Act.BUILDING,
    Activity.ROAD: Act.ROAD,
    Activity.OTHER: Act.BUILDING,
}


def _reasons(evidence: Evidence, s: SpectralFacts) -> tuple[str, ...]:
    changes = {
        "ndvi" if s.by_ndvi else "greenness": s.green,
        "bare_soil": s.bare,
        "redness": s.redness,
        "redness_of_gain": s.redness_gained,
        "water": s.wet,
        "brightness": s.bright,
        "infrared_ratio": s.infrared_ratio,
        "burn_ratio": s.burn,
        "backscatter_db": s.radar_db,
    }
    told = [f"{name}={value:+.2f}" for name, value in changes.items() if value is not None]
    told += [f"elongation={evidence.elongation:.1f}", f"width_m={evidence.width_m:.0f}"]
    told.append(f"rectangularity={evidence.rectangularity:.2f}")
    known = {"straightness": evidence.straightness, "slope_deg": evidence.slope_deg}
    if evidence.context is not None:
        known["water_around"] = evidence.context.around_before
        known["regularity"] = evidence.context.regularity or None
    told += [f"{name}={value:.2f}" for name, value in known.items() if value is not None]
    told += [f"carrier={evidence.carrier}"] if evidence.carrier else []
    return (*told, *(f"near={name}" for name in sorted(evidence.near)))
