"""The form of a candidate: its outline and what the outline tells; any worker can measure it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from ..patches import PixelPatch, outlines_of, shapes_of, simplified
from .pair import Comparison


@dataclass(frozen=True)
class Form:
    """What the outline of a candidate tells; geometries in the CRS of the area's grid.

    Parameters
    ----------
    outline
        Polygon or MultiPolygon, smoothed as the pipeline says.
    length_m, width_m, rectangularity, straightness, line, elongation, fill
        As `Shape` tells them.
    """

    outline: BaseGeometry
    length_m: float
    width_m: float
    rectangularity: float
    straightness: float
    line: BaseGeometry | None
    elongation: float
    fill: float

    def plain(self) -> dict[str, Any]:
        """Return the form as JSON values; `form_from` gives back an equal one."""
        numbers = {name: value for name, value in vars(self).items() if isinstance(value, float)}
        return {
            **numbers,
            "outline": _text(self.outline),
            "line": None if self.line is None else _text(self.line),
        }


def form_from(d: dict[str, Any]) -> Form:
    """Return the form that `Form.plain` gave."""
    line = None if d["line"] is None else _geometry(d["line"])
    return Form(**(d | {"outline": _geometry(d["outline"]), "line": line}))


# Python's own way between bytes and text: that of GEOS takes ten times as long as all the rest.
def _text(geometry: BaseGeometry) -> str:
    raw: bytes = shapely.to_wkb(geometry)
    return raw.hex()


def _geometry(text: str) -> BaseGeometry:
    return shapely.from_wkb(bytes.fromhex(text))


def forms_of(comparison: Comparison, patches: Sequence[PixelPatch]) -> list[Form]:
    """Measure the forms of candidates; many at a time cost little more than one.

    Parameters
    ----------
    comparison
        Tells the grid, and how far holes are filled and outlines smoothed.
    patches
        Their pixels.
    """
    grid, rules = comparison.grid, comparison.pipeline.patches
    outlines = outlines_of(patches, grid, max_hole_m2=rules.max_hole_m2)
    # Two patches never share an edge, or they would be one: whoever is smoothed beside a patch changes nothing.
    smooth = simplified(list(outlines), tolerance=rules.simplify_px * max(grid.pixel_size))
    shapes = shapes_of(patches, outlines, grid)
    return [Form(outline, *shape) for outline, shape in zip(smooth, shapes, strict=True)]
