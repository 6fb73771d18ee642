"""Spectral indices of mean reflectances by band role; None where the sensor lacks a band."""

from __future__ import annotations

from collections.abc import Mapping

Spectrum = Mapping[str, float]


def _normalised(spectrum: Spectrum, plus: tuple[str, ...], minus: tuple[str, ...]) -> float | None:
    if not all(role in spectrum for role in (*plus, *minus)):
        return None
    high, low = sum(spectrum[r] for r in plus), sum(spectrum[r] for r in minus)
    total = high + low
    return (high - low) / total if total > 0 else None


def ndvi(spectrum: Spectrum) -> float | None:
    """Vegetation, −1…1: (nir − red) / (nir + red). Source: Rouse et al. (1974)."""
    return _normalised(spectrum, ("nir",), ("red",))


def water(spectrum: Spectrum) -> float | None:
    """Open water, −1…1: (green − swir1) / (green + swir1); with nir instead where there is no swir1.

    Source: Xu (2006), MNDWI; McFeeters (1996), NDWI.
    """
    return _normalised(spectrum, ("green",), ("swir1" if "swir1" in spectrum else "nir",))


def bare_soil(spectrum: Spectrum) -> float | None:
    """Bare ground, −1…1: (swir1 + red − nir − blue) over their sum. Source: Rikimaru et al. (2002), BSI."""
    return _normalised(spectrum, ("swir1", "red"), ("nir", "blue"))


def brightness(spectrum: Spectrum) -> float | None:
    """Mean reflectance of the visible bands, 0…1."""
    visible = [spectrum[role] for role in ("blue", "green", "red") if role in spectrum]
    return sum(visible) / len(visible) if visible else None
