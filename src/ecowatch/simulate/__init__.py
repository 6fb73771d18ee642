"""Scenes with known changes: for tests, benchmarks and the sample data."""

from .changes import SPECTRA, TONES, PlantedChange, coverage, footprint, paint, plant
from .fields import ROLES, Cover, Landscape, fractal, landscape, reflectance, sampled
from .products import write_landsat, write_safe
from .scenes import AFTER, BEFORE, Conditions, SceneDate, ScenePair, simulated_pair
from .second import SecondDate, second_date_from
from .shapes import KINDS, ChangeSizes, shape_of, sizes_for
from .sky import Sky, clouds, coarser_classes, hidden_by, qa_pixel, scene_classes, under_sky
from .uav import UavPair, flight_outline, simulated_uav_pair

__all__ = [
    "AFTER",
    "BEFORE",
    "KINDS",
    "ROLES",
    "SPECTRA",
    "TONES",
    "ChangeSizes",
    "Conditions",
    "Cover",
    "Landscape",
    "PlantedChange",
    "SceneDate",
    "ScenePair",
    "SecondDate",
    "Sky",
    "UavPair",
    "clouds",
    "coarser_classes",
    "coverage",
    "flight_outline",
    "footprint",
    "fractal",
    "hidden_by",
    "landscape",
    "paint",
    "plant",
    "qa_pixel",
    "reflectance",
    "sampled",
    "scene_classes",
    "second_date_from",
    "shape_of",
    "simulated_pair",
    "simulated_uav_pair",
    "sizes_for",
    "under_sky",
    "write_landsat",
    "write_safe",
]
