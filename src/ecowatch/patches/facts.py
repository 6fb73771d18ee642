"""Spectral facts of a patch: what its ground was, what it became, in numbers that a reviewer can check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..prepare import bare_soil, brightness, ndvi

Spectrum = Mapping[str, float]

_RADAR = ("vv", "vh", "hh", "hv")
_INFRARED = ("nir", "swir1", "swir2")


class SpectralFacts(NamedTuple):
    """Changes (after minus before) and states of the mean spectra; None where the bands for it are missing.

    Indices are −1…1; ``bright`` and ``bright_after`` are reflectance 0–1; ``radar_db`` is decibel. ``green`` is the NDVI, or
    the excess green where there is no infrared. ``infrared_ratio`` is after over before of the brightest infrared band;
    ``infrared_kept`` is the largest such ratio of nir and a shortwave band, so that all of them fell at least so far.
    """

    green: float | None
    green_before: float | None
    green_after: float | None
    bare: float | None
    bare_after: float | None
    wet: float | None
    wet_before: float | None
    wet_after: float | None
    infrared_after: float | None
    infrared_ratio: float | None
    infrared_kept: float | None
    bright: float | None
    bright_after: float | None
    redness: float | None
    redness_after: float | None
    redness_gained: float | None
    burn: float | None
    radar_db: float | None
    by_ndvi: bool
    full: bool

    @property
    def radar_only(self) -> bool:
        """Whether nothing but backscatter speaks."""
        return self.radar_db is not None and self.bright is None and self.green is None


def spectral_facts(before: Spectrum, after: Spectrum) -> SpectralFacts:
    """Return the facts that two mean spectra by band role carry.

    Parameters
    ----------
    before, after
        Reflectance or brightness 0–1 by role; backscatter in dB for the roles of radar. Missing roles are missing facts.
    """
    by_ndvi = {"nir", "red"} <= before.keys()
    green_b, green_a, green = _both(ndvi if by_ndvi else greenness, before, after)
    _, bare_a, bare = _both(bare_soil, before, after)
    wet_b, wet_a, wet = _both(wetness, before, after)
    _, bright_a, bright = _both(brightness, before, after)
    _, red_a, red = _both(redness, before, after)
    infrared_b, infrared_a, _ = _both(_infrared, before, after)
    return SpectralFacts(
        green=green,
        green_before=green_b,
        green_after=green_a,
        bare=bare,
        bare_after=bare_a,
        wet=wet,
        wet_before=wet_b,
        wet_after=wet_a,
        infrared_after=infrared_a,
        infrared_ratio=infrared_a / infrared_b if infrared_a is not None and infrared_b else None,
        infrared_kept=_kept(before, after),
        bright=bright,
        bright_after=bright_a,
        redness=red,
        redness_after=red_a,
        redness_gained=redness_of_gain(before, after),
        burn=_both(burn_ratio, before, after)[2],
        radar_db=_both(_backscatter, before, after)[2],
        by_ndvi=by_ndvi,
        full={"red", "nir", "swir1"} <= before.keys(),
    )


def wetness(spectrum: Spectrum) -> float | None:
    """Open water, −1…1: (visible − infrared) / (visible + infrared) of the longest visible gap that the sensor has.

    Infrared is the brightest of nir, swir1 and swir2: water is dark in all of them, roofs and shadow only in some.

    Source: McFeeters (1996) and Xu (2006); the brightest of their infrared bands is ours.
    """
    visible = next((spectrum[role] for role in ("green", "red", "blue") if role in spectrum), None)
    infrared = _infrared(spectrum)
    if visible is None or infrared is None or visible + infrared <= 0:
        return None
    return (visible - infrared) / (visible + infrared)


def burn_ratio(spectrum: Spectrum) -> float | None:
    """Burn ratio, −1…1: (nir − swir2) / (nir + swir2). Source: Key & Benson (2006), NBR."""
    if not {"nir", "swir2"} <= spectrum.keys() or spectrum["nir"] + spectrum["swir2"] <= 0:
        return None
    return (spectrum["nir"] - spectrum["swir2"]) / (spectrum["nir"] + spectrum["swir2"])


def greenness(spectrum: Spectrum) -> float | None:
    """Excess green of RGB images, −1…2. Source: Woebbecke et al. (1995)."""
    if not {"red", "green", "blue"} <= spectrum.keys():
        return None
    red, green, blue = (spectrum[role] for role in ("red", "green", "blue"))
    total = red + green + blue
    return (2 * green - red - blue) / total if total > 0 else None


def redness(spectrum: Spectrum) -> float | None:
    """Redness, −1…1: (red − blue) / (red + blue); soil is redder than roofs, concrete and plants."""
    if not {"red", "blue"} <= spectrum.keys() or spectrum["red"] + spectrum["blue"] <= 0:
        return None
    return (spectrum["red"] - spectrum["blue"]) / (spectrum["red"] + spectrum["blue"])


def redness_of_gain(before: Spectrum, after: Spectrum) -> float | None:
    """Redness of what was added, −1…1: (Δred − Δblue) / (|Δred| + |Δblue|); air that both dates share drops out.

    Source: ours. Soil adds more red than blue, roofs and concrete add both alike.
    """
    if not {"red", "blue"} <= before.keys() & after.keys():
        return None
    red, blue = after["red"] - before["red"], after["blue"] - before["blue"]
    size = abs(red) + abs(blue)
    return (red - blue) / size if size > 0 else None


def _infrared(spectrum: Spectrum) -> float | None:
    return max((spectrum[role] for role in _INFRARED if role in spectrum), default=None)


def _kept(before: Spectrum, after: Spectrum) -> float | None:
    roles = [role for role in _INFRARED if before.get(role, 0.0) > 0 and role in after]
    if "nir" not in roles or len(roles) < 2:
        return None
    return max(after[role] / before[role] for role in roles)


def _backscatter(spectrum: Spectrum) -> float | None:
    values = [spectrum[role] for role in _RADAR if role in spectrum]
    return sum(values) / len(values) if values else None


def _both(
    index: Callable[[Spectrum], float | None], before: Spectrum, after: Spectrum
) -> tuple[float | None, float | None, float | None]:
    """Before, after and their difference; all None where one of them is."""
    b, a = index(before), index(after)
    if b is None or a is None:
        return None, None, None
    return b, a, a - b
