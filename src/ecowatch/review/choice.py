"""Which dates of an area are compared, and which bear witness: season, clear share and sun, with the reasons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import shapely
from affine import Affine
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from ..areas import Area
from ..codes import State
from ..errors import PairError, SceneError
from ..grid import CGCS2000, Grid, transformed
from ..raster import burn, read_coarse
from ..scenes import Scene, Unit
from ..settings import DateRange, Pipeline, Prepare
from .pixels import quality_state
from .sun import sun_elevation_deg

Array = np.ndarray[Any, Any]

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
    def track(self) -> str:
        """Direction and orbit of a radar pass, "" for optical scenes."""
        return self.scenes[0].track

    def unit_of(self, role: str) -> Unit:
        """Return what the numbers of a band are; the same for all scenes of the group."""
        return self.scenes[0].band(role).unit

    @property
    def day_text(self) -> str | None:
        """ISO date, None where it is not known."""
        return self.day.isoformat() if self.dated else None

    @property
    def scene_ids(self) -> str:
        """Identities of the scenes, joined by a blank."""
        return " ".join(scene.scene_id for scene in self.scenes)


class Dates(NamedTuple):
    """The dates chosen for an area: the pair, earlier and other dates as witnesses, and why these."""

    before: DateGroup
    after: DateGroup
    earlier: tuple[DateGroup, ...]
    others: tuple[DateGroup, ...]
    why: str


class _Seen(NamedTuple):
    """A date, and the share of the area that it shows clearly; None where there is no other to choose."""

    group: DateGroup
    share: float | None

    @property
    def text(self) -> str:
        """How clear it is, for the reasons of a choice."""
        return "the only one" if self.share is None else f"{self.share:.0%} clear"


def date_groups(scenes: Iterable[Scene]) -> list[DateGroup]:
    """Group scenes of one sensor, civil date, track and radiometry, ordered by date."""
    groups: defaultdict[tuple[Any, ...], list[Scene]] = defaultdict(list)
    for scene in scenes:
        groups[scene.civil_date, scene.sensor, scene.track, scene.radiometry, scene.units].append(scene)
    return [
        DateGroup(key[0], key[1], tuple(sorted(group, key=lambda s: s.scene_id)))
        for key, group in sorted(groups.items(), key=lambda item: (*item[0][:3], str(item[0][3:])))
    ]


def choose_dates(
    area: Area,
    scenes: Sequence[Scene],
    pipeline: Pipeline,
    *,
    before_range: DateRange,
    after_range: DateRange,
    allowed: frozenset[str],
) -> Dates:
    """Choose the two dates of an area, and the dates that bear witness.

    After: of the clearest dates of the period, the latest. Before: of the clearest earlier dates of the same sensor and,
    for radar, the same track, the one nearest in season and height of the sun. Earlier witnesses come from no later than
    the before date, other witnesses from after it.

    Raises
    ------
    PairError
        ``NO_PAIR`` where one of the dates is missing.
    """
    groups = date_groups(scenes)
    prepare = pipeline.prepare
    candidates = [g for g in groups if g.day in after_range]
    if not candidates:
        raise PairError("NO_PAIR", area.area_id, f"no scene within {_span(after_range)}", "add scenes of the period")
    tracks = {g.track for g in groups if g.day in before_range}
    looks = [g for g in candidates if g.track in tracks] or candidates
    sight = Sight(area, allowed)
    after = _clearest(sight, looks, prepare)[-1]
    first = [g for g in groups if g.day in before_range and g.day < after.group.day and g.track == after.group.track]
    same = [g for g in first if g.sensor == after.group.sensor]
    if not first:
        raise PairError(
            "NO_PAIR", area.area_id, f"no scene within {_span(before_range)}", "set 'before', or add scenes"
        )
    place = centre_of(area, allowed)
    clear = _clearest(sight, same or first, prepare)
    before = min(clear, key=lambda seen: (_unlike(seen.group, after.group, place), -seen.group.day.toordinal()))
    alike = [g for g in groups if (g.sensor, g.track) == (after.group.sensor, after.group.track)]
    sooner = [g for g in alike if g.day < before.group.day]
    earlier = _witnesses(sight, sooner, after.group, pipeline, place, pipeline.time.earlier)
    others = _others(sight, alike, before.group, after.group, pipeline, place)
    why = (
        f"after {after.group.day}: {after.text}{_latest_of(looks)} in the period; "
        f"before {before.group.day}: {before.text}, {_season_days(before.group.day, after.group.day)} days off "
        f"in season, sun {_sun(before.group, place) - _sun(after.group, place):+.0f}°, of {len(same or first)} dates; "
        f"earlier witnesses: {_listed(earlier)}; other witnesses: {_listed(others)}"
        + "".join(f"; {group.day} not asked: {error}" for group, error in sight.unreadable)
    )
    return Dates(before.group, after.group, earlier, others, why)


def _others(
    sight: Sight,
    alike: Sequence[DateGroup],
    before: DateGroup,
    after: DateGroup,
    pipeline: Pipeline,
    place: tuple[float, float],
) -> tuple[DateGroup, ...]:
    """Dates from after the after date, and where these are too few, the latest from between the two."""
    most = pipeline.time.others
    later = [g for g in alike if g.day > after.day]
    found = _witnesses(sight, later, after, pipeline, place, most)
    missing = most - len(found)
    # Of those between the two the latest: the sooner after the before date, the likelier the change had not come yet.
    between = [g for g in alike if before.day < g.day < after.day][-missing:] if missing else []
    more = _witnesses(sight, between, after, pipeline, place, missing)
    return (*more, *found)


def _latest_of(groups: Sequence[DateGroup]) -> str:
    return f", the latest of the clearest of {len(groups)} dates" if len(groups) > 1 else ""


def _listed(groups: Sequence[DateGroup]) -> str:
    return ", ".join(str(g.day) for g in groups) or "none"


def _span(dates: DateRange) -> str:
    return f"{dates.first} … {dates.last}"


def _clearest(sight: Sight, groups: Sequence[DateGroup], prepare: Prepare) -> list[_Seen]:
    """The dates that are about as clear as the clearest, oldest first."""
    if len(groups) == 1:
        # Of a picture without overviews, looking from afar decodes all of it.
        return [_Seen(groups[0], None)]
    shares = [sight.seen_share(group, prepare.clear_scl) for group in groups]
    errors = [sight.error(group) for group in groups]
    if errors[0] is not None and all(errors):
        raise errors[0]
    least = max(shares) - prepare.equally_clear
    seen = zip(groups, shares, errors, strict=True)
    clear = [_Seen(group, share) for group, share, error in seen if share >= least and error is None]
    return sorted(clear, key=lambda s: (s.group.day, s.group.sensor))


def witnesses_of(
    area: Area,
    groups: Sequence[DateGroup],
    after: DateGroup,
    pipeline: Pipeline,
    place: tuple[float, float],
    allowed: frozenset[str],
    most: int,
) -> tuple[DateGroup, ...]:
    """Return up to `most` dates, most like the after date in season and sun first, clear enough to tell; oldest first.

    Parameters
    ----------
    area
        In any CRS.
    groups
        Candidates.
    after
        The after date.
    pipeline
        Tells what is clear, and how much of it is needed.
    place
        Longitude and latitude, for the sun.
    allowed
        Datums that may be taken as equal.
    most
        At most so many.
    """
    return _witnesses(Sight(area, allowed), groups, after, pipeline, place, most)


def _witnesses(
    sight: Sight,
    groups: Sequence[DateGroup],
    after: DateGroup,
    pipeline: Pipeline,
    place: tuple[float, float],
    most: int,
) -> tuple[DateGroup, ...]:
    found: list[DateGroup] = []
    for group in sorted(groups, key=lambda g: (_unlike(g, after, place), -g.day.toordinal())):
        if len(found) == most:
            break
        share = sight.seen_share(group, pipeline.prepare.clear_scl)
        if share >= pipeline.time.min_clear_share and sight.error(group) is None:
            found.append(group)
    return tuple(sorted(found, key=lambda g: g.day))


def _unlike(group: DateGroup, other: DateGroup, place: tuple[float, float]) -> float:
    """Days apart in season plus degrees apart in height of the sun: a day moves the sun by at most 0.4°."""
    return _season_days(group.day, other.day) + abs(_sun(group, place) - _sun(other, place))


def _season_days(day: date, other: date) -> int:
    gap = abs(day.timetuple().tm_yday - other.timetuple().tm_yday)
    return min(gap, 365 - gap)


def _sun(group: DateGroup, place: tuple[float, float]) -> float:
    return sun_elevation_deg(group.scenes[0].acquired, *place)


def centre_of(area: Area, allowed: frozenset[str]) -> tuple[float, float]:
    """Return longitude and latitude of an area's centroid, degrees."""
    point = transformed(area.geometry, area.crs, CGCS2000, allowed | {"EPSG:4326=EPSG:4490"}).centroid
    return float(point.x), float(point.y)


def footprint(scene: Scene, crs: CRS, allowed: frozenset[str]) -> BaseGeometry:
    """Return the outline of a scene's raster in `crs`."""
    box = shapely.box(*scene.grid.bounds)
    return transformed(shapely.segmentize(box, box.length / 64), scene.grid.crs, crs, allowed)


class Sight:
    """An area seen from afar, few pixels across; laid once per CRS, whatever the number of dates it is looked at on.

    Dates whose quality layer cannot be read are gathered in `unreadable`, with why: they are not chosen, and others are.

    Parameters
    ----------
    area
        In any CRS.
    allowed
        Datums that may be taken as equal.
    """

    def __init__(self, area: Area, allowed: frozenset[str]) -> None:
        self._area = area
        self._allowed = allowed
        self._laid: dict[str, tuple[Grid, Array]] = {}
        self.unreadable: list[tuple[DateGroup, SceneError]] = []

    def seen_share(self, group: DateGroup, clear_scl: tuple[int, ...]) -> float:
        """Estimate which share of the area a date shows clearly, from a coarse read of the quality layer.

        Returns
        -------
        float
            0–1; only for choosing among dates, never published. 0 of a date that cannot be read; `unreadable` says why.
        """
        if self.error(group) is not None:
            return 0.0
        crs = group.scenes[0].grid.crs
        grid, inside = self._lay(crs)
        if not inside.any():
            # Narrower than a coarse pixel anywhere: nothing to choose by.
            return 1.0
        seen = np.zeros(grid.shape, bool)
        for scene in group.scenes:
            layer = scene.bands[0].layer if scene.quality is None else scene.quality.layer
            try:
                seen |= quality_state(scene, read_coarse([layer], grid), clear_scl=clear_scl) == State.USABLE
            except SceneError as error:
                if scene.quality is not None:
                    self.unreadable.append((group, error))
                    return 0.0
                # A damaged band is told by the tiles that hold the damage; the others can still be compared.
                seen |= burn(footprint(scene, crs, self._allowed), grid)
        return float(seen[inside].mean())

    def error(self, group: DateGroup) -> SceneError | None:
        """Return why a date that was looked at cannot be read, None where it can."""
        return next((error for other, error in self.unreadable if other is group), None)

    def _lay(self, crs: CRS) -> tuple[Grid, Array]:
        """The coarse grid of the area in a CRS, and which of its pixels lie in the area."""
        name = crs.to_wkt()
        if name not in self._laid:
            geometry = self._area.in_crs(crs, self._allowed).geometry
            left, bottom, right, top = geometry.bounds
            pixel = max(right - left, top - bottom) / _COARSE_PX
            shape = (max(1, round((top - bottom) / pixel)), max(1, round((right - left) / pixel)))
            grid = Grid.from_parts(crs, Affine(pixel, 0, left, 0, -pixel, top), shape)
            self._laid[name] = grid, burn(geometry, grid)
        return self._laid[name]
