"""Flagged pixels to patches: joined across tiles, outlined, measured, named."""

from .activity import NamedActivity, name_activity
from .label import PixelPatch, connected, outline_of_runs, patches_from_runs, polygon_of, simplified
from .measure import Evidence, centre_line, mean_spectrum, shape_of, strength_of

__all__ = [
    "Evidence",
    "NamedActivity",
    "PixelPatch",
    "centre_line",
    "connected",
    "mean_spectrum",
    "name_activity",
    "outline_of_runs",
    "patches_from_runs",
    "polygon_of",
    "shape_of",
    "simplified",
    "strength_of",
]
