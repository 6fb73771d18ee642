"""Chips 影像切片: a site before and after, cut from the very scenes that the ledger names, with its outline."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from shapely import get_parts
from shapely.geometry.base import BaseGeometry

from ..errors import EcowatchError, UnavailableError
from ..grid import Grid, Window, transformed
from ..ledger import LEDGER_CRS
from ..review import Comparison, DateGroup, Plan, make_plan
from ..settings import Review
from .quicklook import FALSE_COLOUR, TRUE_COLOUR, as_byte, colours_of, common_stretch

Array = np.ndarray[Any, Any]

_SIDE_PX = 480
_MIN_PX = 48
_LEAST_SHOWN_PX = 240
_INK = (255, 40, 40)


class Site(NamedTuple):
    """What a chip is to show.

    Parameters
    ----------
    area_id
        Area it lies in.
    geometry
        Its outline in `LEDGER_CRS`.
    scenes
        Digest of each scene that the ledger names for it.
    """

    area_id: str
    geometry: BaseGeometry
    scenes: Mapping[str, str]


class Chip(NamedTuple):
    """One picture as PNG: ``before`` or ``after``, its date and its scenes."""

    when: str
    png: bytes
    date: str
    scenes: tuple[str, ...]


class Chips(NamedTuple):
    """The chips of a site, or why there are none."""

    chips: tuple[Chip, ...]
    why: str


def drawn_chip(image: Array, outlines: Iterable[Array], *, least_px: int = _LEAST_SHOWN_PX) -> bytes:
    """Return a picture with outlines as PNG; the same input gives the same bytes.

    Parameters
    ----------
    image
        uint8 ``(row, col, 3)``; it is not modified.
    outlines
        Rings as float ``(n, 2)`` of column and row, in pixels from the upper left corner.
    least_px
        A smaller picture is enlarged by a whole factor to about this side; pixels stay pixels.
    """
    rows, cols = image.shape[:2]
    factor = max(1, round(least_px / max(rows, cols)))
    picture = Image.fromarray(np.ascontiguousarray(image.repeat(factor, axis=0).repeat(factor, axis=1)))
    pen = ImageDraw.Draw(picture)
    for ring in outlines:
        pen.line([(float(x) * factor, float(y) * factor) for x, y in ring], fill=_INK, width=2)
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def chips_of(review: Review, sites: Mapping[str, Site]) -> dict[str, Chips]:
    """Cut the chips of sites from the scenes of a review.

    Parameters
    ----------
    review
        Names the scenes; its plan is made anew, only for the areas of the sites.
    sites
        By problem.

    Returns
    -------
    dict
        An entry for each site: a scene that is missing or is not the one that the ledger names gives no chip but a reason.

    Raises
    ------
    UnavailableError
        ``STORE_UNAVAILABLE`` where the store of the scenes does not answer.
    """
    try:
        plan = make_plan(review.model_copy(update={"only": tuple(sorted({s.area_id for s in sites.values()}))}))
    except UnavailableError:
        # A store that does not answer says nothing about the scenes: the same clue can have its chips later.
        raise
    except EcowatchError as error:
        return {problem: Chips((), str(error)) for problem in sites}
    return {problem: _chips(plan, site) for problem, site in sites.items()}


def _chips(plan: Plan, site: Site) -> Chips:
    own = [c for c in plan.comparisons if c.area.area_id == site.area_id]
    proven = [c for c in own if _is_named(c.before, site) and _is_named(c.after, site)]
    if not own:
        return Chips((), f"the review has no pair of dates for {site.area_id}")
    if not proven:
        return Chips((), "the scenes at hand are not those that the ledger names for it, by digest")
    try:
        return Chips(_cut(proven[0], site, plan.allowed), "")
    except UnavailableError:
        raise
    except EcowatchError as error:
        return Chips((), str(error))


def _is_named(group: DateGroup, site: Site) -> bool:
    return all(site.scenes.get(scene.scene_id) == scene.digest for scene in group.scenes)


def _cut(comparison: Comparison, site: Site, allowed: frozenset[str]) -> tuple[Chip, ...]:
    geometry = transformed(site.geometry, LEDGER_CRS, comparison.grid.crs, allowed)
    grid = chip_grid(comparison.grid, geometry.bounds)
    roles = [r for r in TRUE_COLOUR if r in comparison.roles]
    if len(roles) < 3:
        roles = [r for r in FALSE_COLOUR if r in comparison.roles] or list(comparison.roles[:1])
    groups = {"before": comparison.before, "after": comparison.after}
    images = {when: colours_of(group, roles, grid) for when, group in groups.items()}
    stretch = common_stretch(images["before"], images["after"])
    rings = _rings(geometry, grid)
    return tuple(
        Chip(when, drawn_chip(as_byte(images[when], stretch), rings), group.day_text or "", _names(group))
        for when, group in groups.items()
    )


def _names(group: DateGroup) -> tuple[str, ...]:
    return tuple(scene.scene_id for scene in group.scenes)


def chip_grid(grid: Grid, bounds: Sequence[float], *, side_px: int = _SIDE_PX, least_px: int = _MIN_PX) -> Grid:
    """Return the grid of a chip: a site with as much again around it, in pixels of its image or coarser ones.

    Parameters
    ----------
    grid
        Of the image.
    bounds
        Left, bottom, right, top of the site, in the CRS of `grid`.
    side_px
        Longest side of the chip; a larger site is shown in coarser pixels.
    least_px
        Shortest side, in pixels of the image.
    """
    left, bottom, right, top = bounds
    col0, row0 = ~grid.transform * (left, top)
    col1, row1 = ~grid.transform * (right, bottom)
    side = max(least_px, 2 * max(col1 - col0, row1 - row0))
    middle_row, middle_col = (row0 + row1) / 2, (col0 + col1) / 2
    first_row, first_col = int(middle_row - side / 2), int(middle_col - side / 2)
    fine = grid.cropped(Window(first_row, first_col, first_row + int(side) + 1, first_col + int(side) + 1))
    step = max(1.0, max(fine.shape) / side_px)
    shape = (max(1, int(fine.shape[0] / step)), max(1, int(fine.shape[1] / step)))
    return Grid.from_parts(fine.crs, fine.transform * fine.transform.scale(step), shape)


def _rings(geometry: BaseGeometry, grid: Grid) -> list[Array]:
    inverse = ~grid.transform
    rings = []
    for polygon in get_parts(geometry):
        if polygon.geom_type == "Polygon":
            for ring in (polygon.exterior, *polygon.interiors):
                rings.append(np.array([inverse * point[:2] for point in ring.coords]))
    return rings
