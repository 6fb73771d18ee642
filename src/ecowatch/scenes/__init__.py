"""Scenes: from files of many products to one record that says what the numbers mean."""

from .catalog import INDEX_SUFFIX, find_scenes
from .index import IndexBuilt, build_index
from .reading import in_whole_numbers
from .scene import RADAR_UNITS, Band, Catalog, Quality, QualityKind, Quarantined, Scene, Unit
from .sensors import SENSORS

__all__ = [
    "INDEX_SUFFIX",
    "RADAR_UNITS",
    "SENSORS",
    "Band",
    "Catalog",
    "IndexBuilt",
    "Quality",
    "QualityKind",
    "Quarantined",
    "Scene",
    "Unit",
    "build_index",
    "find_scenes",
    "in_whole_numbers",
]
