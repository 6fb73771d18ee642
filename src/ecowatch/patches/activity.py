"""Name the activity of a patch by rules, and say why.

Each rule looks at a few measured facts; each fact that spoke is kept as a reason. What the facts do not carry stays
"undetermined": a reviewer prefers an honest blank.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..codes import Activity
from ..prepare import bare_soil, brightness, ndvi, water
from ..settings import ActivityRules
from .measure import Evidence


class NamedActivity(NamedTuple):
    """An activity with confidence (0–1) and reasons, each ``fact=value``."""

    activity: Activity
    confidence: float
    reasons: tuple[str, ...]


class _Facts(NamedTuple):
    vegetation_lost: bool
    bare_gained: bool
    water_gained: bool
    brightened: bool
    reasons: tuple[str, ...]


def name_activity(evidence: Evidence, rules: ActivityRules) -> NamedActivity:
    """Return the activity that the spectra and the shape of a patch support best.

    Parameters
    ----------
    evidence
        Spectra before and after, size and shape.
    rules
        Thresholds of the pipeline.

    Returns
    -------
    NamedActivity
        ``UNDETERMINED`` where no rule holds. Confidence is a coarse rank (0.2 … 0.7), not a probability.
    """
    facts = _facts(evidence, rules)
    disturbed = facts.vegetation_lost or facts.bare_gained or facts.brightened
    line = evidence.elongation >= rules.road_elongation and evidence.width_m <= rules.road_width_m
    compact = evidence.rectangularity >= rules.rectangularity
    shape = (
        f"elongation={evidence.elongation:.1f}",
        f"width_m={evidence.width_m:.0f}",
        f"rectangularity={evidence.rectangularity:.2f}",
    )
    reasons = (*facts.reasons, *shape)
    if facts.water_gained:
        if compact and not line:
            return NamedActivity(Activity.AQUACULTURE, 0.6, reasons)
        return NamedActivity(Activity.UNDETERMINED, 0.3, reasons)
    if line:
        return NamedActivity(Activity.ROAD, 0.7 if disturbed else 0.4, reasons)
    if compact and evidence.area_m2 <= rules.building_max_m2 and facts.brightened and not facts.bare_gained:
        return NamedActivity(Activity.SETTLEMENT, 0.6, reasons)
    if facts.bare_gained or (facts.vegetation_lost and facts.brightened):
        return NamedActivity(Activity.MINING, 0.6 if facts.bare_gained and facts.brightened else 0.4, reasons)
    if compact and facts.brightened:
        return NamedActivity(Activity.OTHER, 0.3, reasons)
    return NamedActivity(Activity.UNDETERMINED, 0.2, reasons)


def _facts(evidence: Evidence, rules: ActivityRules) -> _Facts:
    reasons: list[str] = []

    def change(name: str, index: Callable[[dict[str, float]], float | None]) -> float:
        before, after = index(evidence.before), index(evidence.after)
        if before is None or after is None:
            return 0.0
        reasons.append(f"{name}={after - before:+.2f}")
        return after - before

    vegetation = change("ndvi", ndvi) if "nir" in evidence.before else change("greenness", _greenness)
    bare = change("bare_soil", bare_soil) if "swir1" in evidence.before else change("redness", _redness)
    bare_after = bare_soil(evidence.after)
    truly_bare = bare_after is None or bare_after > rules.bare_level
    wet = change("water", water)
    bright = change("brightness", brightness)
    water_after = water(evidence.after)
    # Bright roofs are high in green and low in swir like water, but water is dark.
    dark = bright <= rules.bright_gain
    gained_water = water_after is not None and dark and wet > rules.water_gain and water_after > rules.water_level
    return _Facts(
        vegetation < -rules.ndvi_drop,
        truly_bare and bare > rules.bare_gain,
        gained_water,
        bright > rules.bright_gain,
        tuple(reasons),
    )


def _greenness(spectrum: dict[str, float]) -> float | None:
    """Excess green of RGB images, −1…2. Source: Woebbecke et al. (1995)."""
    red, green, blue = (spectrum.get(role, 0.0) for role in ("red", "green", "blue"))
    total = red + green + blue
    return (2 * green - red - blue) / total if total > 0 else None


def _redness(spectrum: dict[str, float]) -> float | None:
    """Redness of RGB images, −1…1: (red − blue) / (red + blue); bare ground is redder than roofs and plants."""
    red, blue = spectrum.get("red", 0.0), spectrum.get("blue", 0.0)
    return (red - blue) / (red + blue) if red + blue > 0 else None
