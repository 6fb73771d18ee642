"""Scenes: from files of many products to one record that says what the numbers mean."""

from .catalog import find_scenes
from .reading import in_whole_numbers
from .scene import RADAR_UNITS, Band, Catalog, Quality, QualityKind, Quarantined, Scene, Unit
from .sensors import SENSORS

__all__ = [
    "RADAR_UNITS",
    "SENSORS",
    "Band",
    "Catalog",
    "Quality",
    "QualityKind",
    "Quarantined",
    "Scene",
    "Unit",
    "find_scenes",
    "in_whole_numbers",
]
