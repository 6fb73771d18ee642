"""Flagged pixels to patches: joined across tiles, outlined, measured, named."""

from .activity import NamedActivity, name_activity
from .candidate import Candidate, Look
from .context import Context, context_of, dark_levels
from .label import (
    PixelPatch,
    connected,
    grouped,
    outline_of_runs,
    outlines_of,
    outlines_of_groups,
    patches_from_runs,
    polygon_of,
    simplified,
)
from .limits import limits_of
from .measure import Evidence, Shape, mean_spectrum, shapes_of, strength_of
from .suppress import Verdict, judge

__all__ = [
    "Candidate",
    "Context",
    "Evidence",
    "Look",
    "NamedActivity",
    "PixelPatch",
    "Shape",
    "Verdict",
    "connected",
    "context_of",
    "dark_levels",
    "grouped",
    "judge",
    "limits_of",
    "mean_spectrum",
    "name_activity",
    "outline_of_runs",
    "outlines_of",
    "outlines_of_groups",
    "patches_from_runs",
    "polygon_of",
    "shapes_of",
    "simplified",
    "strength_of",
]
