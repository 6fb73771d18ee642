"""Say which candidates are no change of the ground, and why; they are set aside with the reason, never deleted.

Each rule looks at a few measured facts and needs decisive evidence: what is doubtful is kept. A sensor with fewer bands
gives fewer facts, and so fewer suppressions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from ..codes import PseudoChange, Stage
from ..detect.stage import TimeFacts, stage_of
from ..prepare import brightness, ndvi
from ..settings import Suppress
from .candidate import Candidate
from .second_look import Facts, Spectrum, ndvi_swing

# What comes back by itself: not to be said of a place whose own history says otherwise.
_CYCLES = (PseudoChange.CROP_CYCLE, PseudoChange.SEASON)
# What is told by levels: not to be said of a picture whose numbers mean something else in every scene.
_LEVELS = (PseudoChange.SNOW, PseudoChange.CLOUD, PseudoChange.HAZE, PseudoChange.WATER_LEVEL, PseudoChange.BURN)


class Verdict(NamedTuple):
    """What became of a candidate.

    Parameters
    ----------
    reason
        Why it is set aside; None where it is kept.
    stage
        How far time supports it.
    facts
        What spoke, each ``fact=value``.
    """

    reason: PseudoChange | None
    stage: Stage
    facts: tuple[str, ...]


class _Side(NamedTuple):
    """One date seen against the other: `here` is the date suspected, `there` the other one."""

    name: str
    here: Spectrum
    there: Spectrum
    masked: float
    once: bool | None


Reasons = tuple[str, ...] | None
Rule = Callable[[Candidate, Facts, Suppress], Reasons]


def judge(candidate: Candidate, rules: Suppress) -> Verdict:
    """Return whether a candidate is kept, at which stage, or set aside for which reason.

    Parameters
    ----------
    candidate
        Its window on all dates.
    rules
        Thresholds of the pipeline.

    Returns
    -------
    Verdict
        The first rule that has decisive evidence gives the reason.

    Raises
    ------
    ValueError
        Where the arrays do not belong together or no pixel of the candidate is usable in both dates.
    """
    facts = Facts(candidate, slack_px=rules.slack_px, alike=rules.alike, gap_px=rules.gap_px, saturated=rules.saturated)
    time = candidate.time or TimeFacts(0, 0, math.nan, math.nan, math.nan)
    stage = stage_of(
        time, returning_share=rules.returning_share, own_sigma=rules.own_sigma, persisting=rules.persisting
    )
    told = _time_reasons(time)
    beyond = stage in (Stage.CONFIRMED, Stage.EXCEEDS_HISTORY) and time.earlier_dates >= rules.history_dates
    for reason, rule in RULES.items():
        if (beyond and reason in _CYCLES) or (not candidate.calibrated and reason in _LEVELS):
            continue
        found = rule(candidate, facts, rules)
        if found is not None:
            return Verdict(reason, stage, (*found, *told))
    if stage is Stage.RETURNING:
        return Verdict(PseudoChange.RETURNING, stage, told)
    return Verdict(None, stage, told)


def _time_reasons(time: TimeFacts) -> tuple[str, ...]:
    told = [f"earlier_dates={time.earlier_dates}", f"later_dates={time.later_dates}"]
    if time.earlier_dates:
        told.append(f"returning_share={time.returning_share:.2f}")
    if not math.isnan(time.beyond_own):
        told.append(f"beyond_own={time.beyond_own:.1f}")
    if time.later_dates:
        told.append(f"persisting={time.persisting:.2f}")
    return tuple(told)


def _sides(c: Candidate, f: Facts, rules: Suppress) -> Iterable[_Side]:
    """The after date, then the before date, as the odd one; `once` is None where no third date tells."""
    after_once = before_once = None
    if c.time is not None and c.time.later_dates:
        after_once = c.time.persisting < rules.persisting
    if c.time is not None and c.time.earlier_dates:
        before_once = c.time.returning_share >= rules.returning_share
    if not (after_once is None and before_once is True):
        yield _Side("after", f.after, f.before, f.masked_after, after_once)
    yield _Side("before", f.before, f.after, f.masked_before, before_once)


def _saturation(c: Candidate, f: Facts, rules: Suppress) -> Reasons:
    shares = {"after": f.saturated_after, "before": f.saturated_before}
    for side in _sides(c, f, rules):
        other = "before" if side.name == "after" else "after"
        # A new white roof is at the top too: only what was bright anyway, or is at the top once, is a fault.
        was_bright = min(side.there.values()) >= 0.5
        if shares[side.name] >= 0.5 > shares[other] and side.once is not False and (side.once or was_bright):
            return f"saturated_{side.name}={shares[side.name]:.2f}", f"once={side.once}"
    return None


def _scene_edge(_: Candidate, f: Facts, rules: Suppress) -> Reasons:
    if f.along_gap < rules.along_gap or f.width_px > rules.thin_px:
        return None
    if f.offset_noise > rules.offset_noise and (f.texture_kept or 0.0) < rules.texture_kept:
        return None
    return f"along_gap={f.along_gap:.2f}", f"width_px={f.width_px:.1f}", f"offset_noise={f.offset_noise:.2f}"


def _stripe(_: Candidate, f: Facts, rules: Suppress) -> Reasons:
    straight = (
        f.width_px <= rules.thin_px and f.length_px >= rules.stripe_length_px and f.bend_px <= f.width_px / 3 + 0.1
    )
    # A road replaces the ground; a stripe adds a constant to it, so that the ground still shows.
    constant = f.offset_noise <= rules.offset_noise and (f.texture_kept or 0.0) >= rules.texture_kept
    if not (straight and constant and f.axis_deg <= rules.stripe_off_deg):
        return None
    return (
        f"width_px={f.width_px:.1f}",
        f"length_px={f.length_px:.0f}",
        f"axis_deg={f.axis_deg:.1f}",
        f"offset_noise={f.offset_noise:.2f}",
        f"texture_kept={f.texture_kept:.2f}",
    )


def _misregistration(c: Candidate, f: Facts, rules: Suppress) -> Reasons:
    if c.shift_px is None or f.explained is None:
        return None
    if f.explained < rules.explained:
        return None
    return f"width_px={f.width_px:.1f}", f"shift_px={c.shift_px:.2f}", f"explained={f.explained:.2f}"


def _snow(c: Candidate, f: Facts, rules: Suppress) -> Reasons:
    for side in _sides(c, f, rules):
        index = _ratio(side.here, "green", "swir1")
        other = _ratio(side.there, "green", "swir1")
        if index is None or other is None or side.once is False:
            continue
        bright = side.here["green"] >= rules.snow_green and side.here.get("nir", 1.0) >= rules.snow_green
        if bright and index >= rules.snow_index > other:
            return f"snow_index_{side.name}={index:.2f}", f"green={side.here['green']:.2f}"
    return None


def _cloud(c: Candidate, f: Facts, rules: Suppress) -> Reasons:
    dates = [*f.earlier, f.before, f.after, *f.later]
    bright = sum(d.get("blue", 0.0) >= rules.cloud_blue for d in dates)
    if bright >= rules.bright_dates:
        return None
    for side in _sides(c, f, rules):
        visible = [side.here[role] for role in ("blue", "green", "red") if role in side.here]
        if side.once is False or "blue" not in side.here or len(visible) < 2:
            continue
        level = sum(visible) / len(visible)
        white = max(visible) - min(visible) <= rules.cloud_white * level
        blueish = side.here["blue"] >= rules.cloud_blue_red * side.here.get("red", 0.0)
        bright_now = side.here["blue"] >= rules.cloud_blue
        if not (white and blueish and bright_now and side.here["blue"] - side.there["blue"] >= rules.cloud_gain):
            continue
        soft = f.sharpness is not None and f.sharpness <= rules.soft
        wet = "swir1" in side.here and side.here["swir1"] <= 0.9 * level
        supports = (soft, wet, side.masked >= rules.masked_near)
        if side.once or sum(supports) >= 2:
            return (
                f"blue_{side.name}={side.here['blue']:.2f}",
                f"bright_dates={bright}",
                f"soft={soft}",
                f"masked={side.masked:.2f}",
                f"once={side.once}",
            )
    return None


def _darkened(side: _Side, rules: Suppress) -> float | None:
    """Mean ratio of this date to the other, where all bands darkened alike; else None."""
    ratios = []
    for role, value in side.here.items():
        ratio = value / max(side.there[role], 1e-3)
        # Most sides have a band that did not darken.
        if ratio > rules.shadow_ratio or ratio <= 0.02:
            return None
        ratios.append(ratio)
    if len(ratios) < 3:
        return None
    return float(np.mean(ratios)) if float(np.std(np.log(ratios))) <= rules.shadow_spread else None


def _cloud_shadow(c: Candidate, f: Facts, rules: Suppress) -> Reasons:
    kept = f.texture_kept is not None and f.texture_kept >= rules.texture_kept
    for side in _sides(c, f, rules):
        ratio = _darkened(side, rules)
        # New water is dark as well.
        new_water = _is_water(side.here, rules) and not _is_water(side.there, rules)
        if ratio is None or side.once is False or new_water:
            continue
        near = side.masked >= rules.masked_near
        if (side.once and (near or kept)) or (near and kept):
            return f"dark_{side.name}={ratio:.2f}", f"masked={side.masked:.2f}", f"texture_kept={f.texture_kept}"
    return None


def _haze(c: Candidate, f: Facts, rules: Suppress) -> Reasons:
    if f.texture_kept is None or f.texture_kept < rules.texture_kept:
        return None
    for side in _sides(c, f, rules):
        gain = {role: side.here[role] - side.there[role] for role in side.here}
        blue, red = gain.get("blue", 0.0), gain.get("red", 0.0)
        rest = [abs(gain[role]) for role in ("nir", "swir1", "swir2") if role in gain]
        if side.once is False or blue < rules.haze_gain or not -0.01 <= red <= 0.9 * blue:
            continue
        if rest and max(rest) > blue:
            continue
        # Asked last: it is the dearest of the facts.
        if f.sharpness is not None and f.sharpness <= rules.soft:
            return f"blue_gain_{side.name}={blue:.3f}", f"red_gain={red:.3f}", f"texture_kept={f.texture_kept:.2f}"
    return None


def _relief_shadow(c: Candidate, f: Facts, rules: Suppress) -> Reasons:
    if c.sun_apart_deg is None or c.sun_apart_deg < rules.sun_apart_deg:
        return None
    kept = f.texture_kept is not None and f.texture_kept >= rules.texture_kept
    for side in _sides(c, f, rules):
        ratio = _darkened(side, rules)
        if ratio is None or side.once is False:
            continue
        if kept or (f.width_px <= rules.thin_px and f.bright_beside >= 0.15):
            return (
                f"dark_{side.name}={ratio:.2f}",
                f"sun_apart_deg={c.sun_apart_deg:.0f}",
                f"bright_beside={f.bright_beside:.2f}",
            )
    return None


def _wetness(spectrum: Spectrum) -> float | None:
    dry = "swir1" if "swir1" in spectrum else "nir"
    return _ratio(spectrum, "green" if "green" in spectrum else "red", dry)


def _is_water(spectrum: Spectrum, rules: Suppress) -> bool:
    index = _wetness(spectrum)
    return index is not None and index > rules.water_level and spectrum.get("nir", 0.0) <= rules.water_nir


def _water_level(c: Candidate, f: Facts, rules: Suppress) -> Reasons:
    wet = _is_water(f.before, rules), _is_water(f.after, rules)
    name = f"water_before={wet[0]}", f"water_after={wet[1]}"
    if all(wet):
        # Rafts and piles roughen the water; mud does not.
        smooth = f.texture_gain is None or f.texture_gain <= 2 or (f.texture_kept or 0.0) >= rules.texture_kept
        return (*name, f"texture_gain={f.texture_gain}") if smooth else None
    if not any(wet):
        return None
    land = f.after if wet[0] else f.before
    # What is built into the water is bright; a shore that fell dry is dark and wet.
    if (brightness(land) or 0.0) >= rules.bare_bright:
        return None
    then = [_is_water(s, rules) for s in f.earlier]
    if len(then) >= 4 and 2 <= sum(then) <= len(then) - 2:
        return (*name, f"water_dates={sum(then)}/{len(then)}")
    band = f.width_px <= rules.thin_px and c.elongation >= rules.shore_elongation and f.shore_share >= 0.25
    return (*name, f"width_px={f.width_px:.1f}", f"shore_share={f.shore_share:.2f}") if band else None


def _burn(c: Candidate, f: Facts, rules: Suppress) -> Reasons:
    first, second = (_ratio(s, "nir", "swir2") for s in (f.before, f.after))
    if first is None or second is None:
        return None
    dark = (brightness(f.after) or 1.0) <= min(rules.burn_brightness, (brightness(f.before) or 0.0) + 0.02)
    area = float(c.inside.sum()) * c.pixel_m**2
    # Asphalt is dark too, but small, straight or rectangular, and its short-wave infrared is low.
    loose = area >= rules.burn_area_m2 and c.rectangularity < rules.rectangularity and f.width_px > rules.thin_px
    charred = first - second >= rules.burn_drop and second < -0.1 and not _is_water(f.after, rules)
    if not (dark and loose and charred):
        return None
    return f"nbr={second - first:+.2f}", f"brightness={brightness(f.after):.2f}", f"area_m2={area:.0f}"


def _crop_cycle(c: Candidate, f: Facts, rules: Suppress) -> Reasons:
    before, after = ndvi(f.before), ndvi(f.after)
    if before is None or after is None or abs(after - before) < rules.crop_swing:
        return None
    if c.rectangularity < rules.rectangularity or _is_water(f.after, rules):
        return None
    told = f"ndvi={after - before:+.2f}", f"rectangularity={c.rectangularity:.2f}"
    swing = ndvi_swing((*f.earlier, f.before))
    if swing is not None and len(f.earlier) >= 3 and swing >= rules.crop_swing:
        seen = [s for s in f.earlier if _within(f.after, s, rules.alike)]
        if len(seen) >= 2:
            return (*told, f"swing={swing:.2f}", f"seen_before={len(seen)}")
    return (*told, *_alike(f)) if _moved_alike(f, rules) else None


def _season(_: Candidate, f: Facts, rules: Suppress) -> Reasons:
    before, after = ndvi(f.before), ndvi(f.after)
    if before is None or after is None or _is_water(f.after, rules):
        return None
    own = after - before
    # What moves less than this is not alike to ground that moved with the season, whatever that ground did.
    if abs(own) < 0.999 * rules.season_alike * rules.season_ndvi or not _moved_alike(f, rules):
        return None
    ground = (ndvi(f.alike_after) or 0.0) - (ndvi(f.alike_before) or 0.0)
    # Alike is alike in size too: a patch that did not follow the ground around is what is looked for.
    if (
        abs(ground) < rules.season_ndvi
        or own * ground <= 0
        or not rules.season_alike <= own / ground <= 1 / rules.season_alike
    ):
        return None
    return f"ndvi={after - before:+.2f}", f"ndvi_around={ground:+.2f}", *_alike(f)


def _moved_alike(f: Facts, rules: Suppress) -> bool:
    """Whether the ground that looked like the patch before looks like it after, measured by the change itself."""
    if not f.alike_after:
        return False
    change = max(abs(f.after[role] - f.before[role]) for role in f.after)
    apart = max(abs(f.after[role] - f.alike_after[role]) for role in f.after)
    return apart <= rules.alike_apart * change


def _alike(f: Facts) -> tuple[str, ...]:
    apart = max(abs(f.after[role] - f.alike_after[role]) for role in f.after)
    return f"alike_px={f.alike_px}", f"alike_apart={apart:.3f}"


def _within(one: Spectrum, other: Spectrum, limit: float) -> bool:
    return max(abs(one[role] - other[role]) for role in one) <= limit


def _ratio(spectrum: Spectrum, plus: str, minus: str) -> float | None:
    if plus not in spectrum or minus not in spectrum:
        return None
    total = spectrum[plus] + spectrum[minus]
    return (spectrum[plus] - spectrum[minus]) / total if total > 0 else None


RULES: dict[PseudoChange, Rule] = {
    PseudoChange.SATURATION: _saturation,
    PseudoChange.SCENE_EDGE: _scene_edge,
    PseudoChange.MISREGISTRATION: _misregistration,
    PseudoChange.SNOW: _snow,
    PseudoChange.CLOUD: _cloud,
    PseudoChange.CLOUD_SHADOW: _cloud_shadow,
    PseudoChange.HAZE: _haze,
    PseudoChange.RELIEF_SHADOW: _relief_shadow,
    PseudoChange.STRIPE: _stripe,
    PseudoChange.WATER_LEVEL: _water_level,
    PseudoChange.BURN: _burn,
    PseudoChange.CROP_CYCLE: _crop_cycle,
    PseudoChange.SEASON: _season,
}
"""Rule by reason, in the order in which they are asked."""
