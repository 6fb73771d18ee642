"""Scenes: from files of many products to one record that says what the numbers mean."""

from .catalog import find_scenes
from .scene import Band, Catalog, Quality, QualityKind, Quarantined, Scene
from .sensors import SENSORS

__all__ = [
    "SENSORS",
    "Band",
    "Catalog",
    "Quality",
    "QualityKind",
    "Quarantined",
    "Scene",
    "find_scenes",
]
