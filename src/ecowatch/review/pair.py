"""Two dates of one area, and the grid they are compared on."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine

from .. import __version__
from ..areas import Area
from ..detect import WINDOWED
from ..errors import PairError
from ..grid import BLOCK_PX, CGCS2000, Grid, epsg_of, lattice_grid, transformed, utm_crs, wkt_of
from ..scenes import Scene
from ..settings import DateRange, Pipeline
from .choice import DateGroup, centre_of, choose_dates
from .sun import sun_apart_deg
from .versions import library_versions


@dataclass(frozen=True)
class Comparison:
    """One area, one pipeline, two dates, one grid: what is fitted once and then applied tile by tile.

    Parameters
    ----------
    area
        Boundary in the CRS of `grid`.
    period
        Of the review.
    pipeline
        How patches are found.
    grid
        Whole lattice blocks that hold the area.
    roles
        Bands that both dates have, in the order of the pipeline.
    before, after
        The two dates.
    why
        How the pair was chosen, for the record.
    parts
        Comparisons of several sensors over the same grid, whose evidence is joined; the first gives the dates and spectra
        that are published. Empty for a comparison of one sensor.
    earlier, others
        Dates that bear witness: from no later than the before date, and from after it.
    """

    area: Area
    period: str
    pipeline: Pipeline
    grid: Grid
    roles: tuple[str, ...]
    before: DateGroup
    after: DateGroup
    why: str
    parts: tuple[Comparison, ...] = ()
    earlier: tuple[DateGroup, ...] = ()
    others: tuple[DateGroup, ...] = ()

    @property
    def numbers(self) -> dict[str, Any]:
        """Numbers of a method that looks at surroundings, by keyword."""
        detect = self.pipeline.detect
        known = {"pixel_m": self.grid.pixel_m} if WINDOWED[detect.method].in_metres else {}
        return detect.numbers() | known

    @property
    def block_bytes(self) -> tuple[int, int]:
        """Bytes of a decoded lattice block of both dates: of its bands, and of the quality layers that lie over them."""
        scenes = [group.scenes[0] for group in (self.before, self.after)]
        bands = [scene.band(role).layer for scene in scenes for role in self.roles]
        quality = [scene.quality.layer for scene in scenes if scene.quality is not None]
        bytes_a_px = [sum(np.dtype(layer.dtype).itemsize for layer in layers) for layers in (bands, quality)]
        return BLOCK_PX**2 * bytes_a_px[0], BLOCK_PX**2 * bytes_a_px[1]

    @cached_property
    def sun_apart_deg(self) -> float | None:
        """Angle between the directions to the sun of both dates over the area, degrees; None where a time is unknown."""
        if not (self.before.dated and self.after.dated):
            return None
        place = centre_of(self.area, frozenset())
        return sun_apart_deg(self.before.scenes[0].acquired, self.after.scenes[0].acquired, *place)

    @cached_property
    def key(self) -> str:
        """SHA-256 over everything the result depends on."""
        grid = self.grid
        text = json.dumps(
            [
                code_digest(),
                self.area.version,
                self.period,
                self.pipeline.digest(),
                [wkt_of(grid.crs), list(grid.transform)[:6], grid.shape],
                self.roles,
                [[scene.digest for scene in group.scenes] for group in (self.before, self.after)],
                [
                    [scene.digest for group in groups for scene in group.scenes]
                    for groups in (self.earlier, self.others)
                ],
                [part.key for part in self.parts],
            ]
        )
        return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=1)
def code_digest() -> str:
    """SHA-256 over the program's own source and the libraries it computes with: no results of others are taken for its own."""
    folder = Path(__file__).parents[1]
    total = hashlib.sha256(json.dumps([__version__, library_versions()]).encode())
    for path in sorted(folder.rglob("*.py")):
        total.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return total.hexdigest()


def compare(
    area: Area,
    scenes: Sequence[Scene],
    pipeline: Pipeline,
    *,
    period: str,
    before_range: DateRange,
    after_range: DateRange,
    allowed: frozenset[str],
) -> Comparison:
    """Choose the two dates of an area and lay its grid.

    Parameters
    ----------
    area
        Boundary in any CRS.
    scenes
        Scenes that touch it, of any date.
    pipeline
        How patches are found.
    period, before_range, after_range
        Of the review.
    allowed
        Datums that may be taken as equal.

    Raises
    ------
    PairError
        ``NO_PAIR`` where one of the dates is missing, ``TOO_FEW_BANDS`` where they share none of the pipeline's bands.
    """
    dates = choose_dates(area, scenes, pipeline, before_range=before_range, after_range=after_range, allowed=allowed)
    before, after = dates.before, dates.after
    common = set(before.scenes[0].roles) & set(after.scenes[0].roles)
    roles = tuple(role for role in pipeline.detect.bands if role in common)
    if not roles:
        raise PairError(
            "TOO_FEW_BANDS",
            area.area_id,
            f"the dates share {sorted(common)}",
            "name their roles in detect.bands",
        )
    grid = area_grid(area, [*before.scenes, *after.scenes], roles, allowed)
    placed = area.in_crs(grid.crs, allowed)
    witnesses = tuple(
        tuple(g for g in group if set(roles) <= set(g.scenes[0].roles)) for group in (dates.earlier, dates.others)
    )
    return Comparison(placed, period, pipeline, grid, roles, before, after, dates.why, (), *witnesses)


def joined(parts: Sequence[Comparison], pipeline: Pipeline, allowed: frozenset[str]) -> Comparison:
    """Return one comparison that joins the evidence of several over the grid of the first.

    Parameters
    ----------
    parts
        Of one area, in the order of `pipeline.joins`; each keeps its own dates and pipeline.
    pipeline
        Flags, patches and activity of the result.
    allowed
        Datums that may be taken as equal.
    """
    first = parts[0]
    moved = tuple(replace(p, grid=first.grid, area=p.area.in_crs(first.grid.crs, allowed)) for p in parts)
    why = " | ".join(f"{p.pipeline.name}: {p.why}" for p in parts)
    return replace(first, pipeline=pipeline, why=why, parts=moved)


def area_grid(area: Area, scenes: Sequence[Scene], roles: Sequence[str], allowed: frozenset[str]) -> Grid:
    """Return the one grid of an area: that of most of its scenes, whole blocks, so that most are read without a warp.

    Of as many on either side, the area's own UTM zone wins, then the finer pixel. Where every scene is geographic, it is
    the area's UTM zone at the scenes' resolution.
    """
    grids = [min((scene.band(r).layer.grid for r in roles), key=lambda g: g.pixel_m) for scene in scenes]
    projected = [g for g in grids if not g.crs.is_geographic]
    centre = transformed(area.geometry, area.crs, CGCS2000, allowed | {"EPSG:4326=EPSG:4490"}).centroid
    own_zone = utm_crs(centre.x, centre.y)
    if projected:
        kinds = [(wkt_of(grid.crs), grid.pixel_size) for grid in projected]
        votes = Counter(kinds)
        first = {kind: projected[kinds.index(kind)] for kind in votes}
        zone = epsg_of(own_zone)
        winner = max(votes, key=lambda kind: (votes[kind], epsg_of(first[kind].crs) == zone, -kind[1][0], kind[0]))
        reference = first[winner]
    else:
        pixel = round(grids[0].pixel_m, 2)
        reference = Grid.from_parts(own_zone, Affine(pixel, 0, 0, 0, -pixel, 0), (1, 1))
    return lattice_grid(reference, area.in_crs(reference.crs, allowed).geometry.bounds)
