"""Two dates of one area: candidate scenes, the choice among them, the grid they are compared on."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from affine import Affine
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from .. import __version__
from ..areas import Area
from ..codes import State
from ..errors import PairError
from ..grid import Grid, lattice_grid, transformed, utm_crs
from ..raster import burn, read_coarse
from ..scenes import Scene
from ..settings import DateRange, Pipeline, Prepare
from .pixels import quality_state

_COARSE_PX = 160


@dataclass(frozen=True)
class DateGroup:
    """The scenes of one sensor, one civil date and one radiometry: neighbours of one pass, read as a mosaic.

    `dated` is False only where nobody knows the date, as in some labelled pairs: `day` then only tells first from second.
    """

    day: date
    sensor: str
    scenes: tuple[Scene, ...]
    dated: bool = True

    def radiometry(self, roles: Sequence[str]) -> tuple[tuple[float, float], ...]:
        """Return (scale, offset) per role; the same for all scenes of the group."""
        bands = [self.scenes[0].band(role) for role in roles]
        return tuple((band.scale, band.offset) for band in bands)

    @property
    def day_text(self) -> str | None:
        """ISO date, None where it is not known."""
        return self.day.isoformat() if self.dated else None

    @property
    def scene_ids(self) -> str:
        """Identities of the scenes, joined by a blank."""
        return " ".join(scene.scene_id for scene in self.scenes)


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
    """

    area: Area
    period: str
    pipeline: Pipeline
    grid: Grid
    roles: tuple[str, ...]
    before: DateGroup
    after: DateGroup
    why: str

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
                [grid.crs.to_wkt(), list(grid.transform)[:6], grid.shape],
                self.roles,
                [scene.digest for group in (self.before, self.after) for scene in group.scenes],
            ]
        )
        return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=1)
def code_digest() -> str:
    """SHA-256 over the program's own source: results of other code are never taken for its own."""
    folder = Path(__file__).parents[1]
    total = hashlib.sha256(__version__.encode())
    for path in sorted(folder.rglob("*.py")):
        total.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return total.hexdigest()


def date_groups(scenes: Iterable[Scene]) -> list[DateGroup]:
    """Group scenes of one sensor, civil date and radiometry, ordered by date."""
    groups: defaultdict[tuple[Any, ...], list[Scene]] = defaultdict(list)
    for scene in scenes:
        groups[scene.civil_date, scene.sensor, scene.radiometry].append(scene)
    return [
        DateGroup(key[0], key[1], tuple(sorted(group, key=lambda s: s.scene_id)))
        for key, group in sorted(groups.items(), key=lambda item: (item[0][0], item[0][1], str(item[0][2])))
    ]


def footprint(scene: Scene, crs: CRS, allowed: frozenset[str]) -> BaseGeometry:
    """Return the outline of a scene's raster in `crs`."""
    box = shapely.box(*scene.grid.bounds)
    return transformed(shapely.segmentize(box, box.length / 64), scene.grid.crs, crs, allowed)


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
    groups = date_groups(scenes)
    after = _best(area, [g for g in groups if g.day in after_range], pipeline.prepare, allowed, near=None)
    if after is None:
        raise PairError("NO_PAIR", area.area_id, f"no scene within {_span(after_range)}", "add scenes of the period")
    sensor_first = [g for g in groups if g.day in before_range and g.day < after.day]
    same = [g for g in sensor_first if g.sensor == after.sensor]
    before = _best(area, same or sensor_first, pipeline.prepare, allowed, near=after.day)
    if before is None:
        raise PairError(
            "NO_PAIR", area.area_id, f"no scene within {_span(before_range)}", "set 'before', or add scenes"
        )
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
    why = (
        f"after: clearest then latest of {sum(g.day in after_range for g in groups)} dates in the period; "
        f"before: clearest then nearest in season of {len(same or sensor_first)} earlier dates"
    )
    return Comparison(area.in_crs(grid.crs, allowed), period, pipeline, grid, roles, before, after, why)


def area_grid(area: Area, scenes: Sequence[Scene], roles: Sequence[str], allowed: frozenset[str]) -> Grid:
    """Return the one grid of an area: that of most of its scenes, whole blocks, so that most are read without a warp.

    Of as many on either side, the area's own UTM zone wins, then the finer pixel. Where every scene is geographic, it is
    the area's UTM zone at the scenes' resolution.
    """
    grids = [min((scene.band(r).layer.grid for r in roles), key=lambda g: g.pixel_m) for scene in scenes]
    projected = [g for g in grids if not g.crs.is_geographic]
    centre = transformed(area.geometry, area.crs, CRS.from_epsg(4490), allowed | {"EPSG:4326=EPSG:4490"}).centroid
    own_zone = utm_crs(centre.x, centre.y)
    if projected:
        votes = Counter((g.crs.to_wkt(), g.pixel_size) for g in projected)
        winner = max(
            votes, key=lambda k: (votes[k], CRS.from_wkt(k[0]).to_epsg() == own_zone.to_epsg(), -k[1][0], k[0])
        )
        reference = next(g for g in projected if (g.crs.to_wkt(), g.pixel_size) == winner)
    else:
        pixel = round(grids[0].pixel_m, 2)
        reference = Grid.from_parts(own_zone, Affine(pixel, 0, 0, 0, -pixel, 0), (1, 1))
    return lattice_grid(reference, area.in_crs(reference.crs, allowed).geometry.bounds)


def _span(dates: DateRange) -> str:
    return f"{dates.first} … {dates.last}"


def _best(
    area: Area, groups: Sequence[DateGroup], prepare: Prepare, allowed: frozenset[str], *, near: date | None
) -> DateGroup | None:
    if len(groups) < 2:
        return groups[0] if groups else None
    seen = [seen_share(area, group, prepare.clear_scl, allowed) for group in groups]
    clear = [g for g, share in zip(groups, seen, strict=True) if share >= max(seen) - prepare.equally_clear]
    if near is None:
        return max(clear, key=lambda g: (g.day, g.sensor))
    return min(clear, key=lambda g: (_season_days(g.day, near), -g.day.toordinal(), g.sensor))


def _season_days(day: date, other: date) -> int:
    gap = abs(day.timetuple().tm_yday - other.timetuple().tm_yday)
    return min(gap, 365 - gap)


def seen_share(area: Area, group: DateGroup, clear_scl: tuple[int, ...], allowed: frozenset[str]) -> float:
    """Estimate which share of an area a date shows clearly, from a coarse read of the quality layer.

    Returns
    -------
    float
        0–1; only for choosing among dates, never published.
    """
    crs = group.scenes[0].grid.crs
    geometry = area.in_crs(crs, allowed).geometry
    left, bottom, right, top = geometry.bounds
    pixel = max(right - left, top - bottom) / _COARSE_PX
    shape = (max(1, round((top - bottom) / pixel)), max(1, round((right - left) / pixel)))
    grid = Grid.from_parts(crs, Affine(pixel, 0, left, 0, -pixel, top), shape)
    inside = burn(geometry, grid)
    if not inside.any():
        # Narrower than a coarse pixel anywhere: nothing to choose by.
        return 1.0
    seen = np.zeros(shape, bool)
    for scene in group.scenes:
        if scene.quality is None:
            seen |= burn(footprint(scene, crs, allowed), grid)
        else:
            pixels = read_coarse([scene.quality.layer], grid)
            seen |= quality_state(scene, pixels, clear_scl=clear_scl) == State.USABLE
    return float(seen[inside].mean())
