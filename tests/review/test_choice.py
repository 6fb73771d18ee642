"""Which dates are compared and which bear witness: season, clear share, sun and track, on files of a few pixels."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
import shapely
from pyproj import CRS

from ecowatch.areas import Area
from ecowatch.errors import PairError, SceneError
from ecowatch.grid import Grid
from ecowatch.raster import write_geotiff
from ecowatch.review.choice import Dates, Sight, choose_dates, date_groups
from ecowatch.review.sun import sun_elevation_deg
from ecowatch.scenes import Scene, find_scenes
from ecowatch.settings import BandDescription, DateRange, Pipeline, SceneSource, Time
from ecowatch.tiff import read_tile_index

SIDE = 60
GRID = Grid.from_parts("EPSG:32650", (10, 0, 600_000, 0, -10, 3_400_000), (SIDE, SIDE))
OUTLINE = shapely.box(*GRID.bounds).buffer(-60, join_style="mitre")
AREA = Area("a", "a", "protected_area", OUTLINE, CRS.from_epsg(32650), (), "v", "test")
ALLOWED = frozenset({"EPSG:4326=EPSG:4490"})
YEAR = DateRange(date(2025, 1, 1), date(2025, 12, 31))
PERIOD = DateRange(date(2026, 1, 1), date(2026, 6, 30))


def scenes(folder: Path, clear: dict[str, float], *, track: str = "") -> tuple[Scene, ...]:
    """One scene per date, of which only the upper part of the given share is opaque."""
    where = folder / (track.replace(" ", "_") or "optical")
    where.mkdir(parents=True)
    for day, share in clear.items():
        values = np.full((2, SIDE, SIDE), 255, np.uint8)
        values[1, round(share * SIDE) :] = 0
        write_geotiff(where / f"s_{day}.tif", values, GRID)
    return admitted(where, track=track)


def admitted(where: Path, *, track: str = "") -> tuple[Scene, ...]:
    bands = (BandDescription(role="red", index=1), BandDescription(role="alpha", index=2))
    source = SceneSource(path=where, product="geotiff", sensor="plain", bands=bands, track=track)
    catalog = find_scenes(source, (where,))
    assert not catalog.quarantined
    return catalog.scenes


def chosen(found: tuple[Scene, ...], **time: float) -> Dates:
    pipeline = Pipeline(time=Time(**time))  # type: ignore[arg-type]
    return choose_dates(AREA, found, pipeline, before_range=YEAR, after_range=PERIOD, allowed=ALLOWED)


def days(groups: object) -> list[str]:
    return [f"{g.day:%Y%m%d}" for g in groups]  # type: ignore[attr-defined]


def test_the_season_counts_more_than_nearness_in_time(tmp_path: Path) -> None:
    dates = chosen(scenes(tmp_path, {"20250412": 1, "20251101": 1, "20251230": 1, "20260415": 1}))
    assert days([dates.before, dates.after]) == ["20250412", "20260415"]
    assert "3 days off in season" in dates.why


def test_the_season_runs_on_over_new_year(tmp_path: Path) -> None:
    dates = chosen(scenes(tmp_path, {"20250301": 1, "20251228": 1, "20260103": 1}))
    assert days([dates.before]) == ["20251228"] and "6 days off in season" in dates.why


def test_a_cloudy_date_is_not_taken_and_a_slightly_less_clear_one_is(tmp_path: Path) -> None:
    found = scenes(tmp_path, {"20250415": 0.5, "20250501": 0.95, "20250601": 1, "20260410": 0.92, "20260420": 0.6})
    dates = chosen(found)
    assert days([dates.before, dates.after]) == ["20250501", "20260410"]
    group = next(g for g in date_groups(found) if g.day == date(2025, 4, 15))
    assert Sight(AREA, ALLOWED).seen_share(group, ()) == pytest.approx(0.5, abs=0.05)


def test_of_two_dates_as_far_off_in_season_the_like_sun_is_taken(tmp_path: Path) -> None:
    """Twenty days before and after 10 May: in late April the sun stands lower by more than it stands higher in June."""
    place = (118.06, 30.72)
    height = {d: sun_elevation_deg(datetime(2025, *d, 4, tzinfo=UTC), *place) for d in ((4, 20), (5, 10), (5, 30))}
    assert height[5, 10] - height[4, 20] > height[5, 30] - height[5, 10] + 1
    dates = chosen(scenes(tmp_path, {"20250420": 1, "20250530": 1, "20260510": 1}))
    assert days([dates.before]) == ["20250530"]
    assert "sun +" in dates.why


def test_tracks_are_never_mixed(tmp_path: Path) -> None:
    """The descending pass is the latest of the period, but only the ascending one has an earlier date."""
    found = scenes(tmp_path, {"20240415": 1, "20250415": 1, "20260410": 1}, track="ascending 40")
    found += scenes(tmp_path, {"20240416": 1, "20260420": 1}, track="descending 11")
    dates = chosen(found)
    assert {g.track for g in (dates.before, dates.after, *dates.earlier, *dates.others)} == {"ascending 40"}
    assert days([*dates.earlier, dates.before, dates.after]) == ["20240415", "20250415", "20260410"]


def test_one_track_each_is_no_pair(tmp_path: Path) -> None:
    found = scenes(tmp_path, {"20250415": 1}, track="ascending 40") + scenes(tmp_path, {"20260410": 1}, track="b")
    with pytest.raises(PairError) as caught:
        chosen(found)
    assert caught.value.code == "NO_PAIR"


MANY = {
    "20210415": 1.0, "20220415": 1.0, "20230701": 1.0, "20240412": 1.0, "20240601": 0.2,
    "20250414": 1.0, "20260301": 1.0, "20260413": 1.0, "20260720": 1.0,
}  # fmt: skip


def test_witnesses_lie_before_and_after_the_before_date(tmp_path: Path) -> None:
    dates = chosen(scenes(tmp_path, MANY))
    assert days([dates.before, dates.after]) == ["20250414", "20260413"]
    # Too cloudy to tell: the first of June 2024.
    assert days(dates.earlier) == ["20210415", "20220415", "20230701", "20240412"]
    assert days(dates.others) == ["20260301", "20260720"]
    for group in (dates.before, dates.after, *dates.earlier, *dates.others):
        assert str(group.day) in dates.why
    assert "100% clear" in dates.why and "sun" in dates.why


def test_where_there_is_nothing_to_choose_no_pixel_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    monkeypatch.setattr(Sight, "seen_share", lambda _, group, __: looked.append(group.scene_ids) or 0.1)
    dates = chosen(scenes(tmp_path, {"20250414": 1.0, "20260413": 0.3}))
    assert days([dates.before, dates.after]) == ["20250414", "20260413"] and not looked
    assert dates.why.count("the only one") == 2
    dates = chosen(scenes(tmp_path / "more", {"20250414": 1.0, "20250420": 1.0, "20260413": 0.3}))
    assert set(looked) == {"s_20250414", "s_20250420"} and "10% clear" in dates.why


def test_at_most_so_many_witnesses_are_asked(tmp_path: Path) -> None:
    found = scenes(tmp_path, MANY)
    dates = chosen(found, earlier=2, others=1)
    assert days(dates.earlier) == ["20220415", "20240412"]
    assert len(dates.others) == 1
    none = chosen(found, earlier=0, others=0)
    assert (none.earlier, none.others) == ((), ()) and "other witnesses: none" in none.why


def test_the_order_of_the_scenes_does_not_matter(tmp_path: Path) -> None:
    found = scenes(tmp_path, MANY)
    assert chosen(found) == chosen(found[::-1])


@pytest.mark.parametrize("clear", [{"20250415": 1.0}, {"20260415": 1.0}, {"20260415": 1.0, "20260501": 1.0}])
def test_a_missing_date_is_no_pair(tmp_path: Path, clear: dict[str, float]) -> None:
    with pytest.raises(PairError, match="no scene within") as caught:
        chosen(scenes(tmp_path, clear))
    assert caught.value.code == "NO_PAIR"


def damage(path: Path) -> None:
    """Overwrite every block of a file, so that none decodes."""
    index = read_tile_index(path)
    assert index is not None
    data = bytearray(path.read_bytes())
    for offset, length in zip(index.offsets.ravel(), index.lengths.ravel(), strict=True):
        data[offset : offset + length] = b"\xff" * int(length)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("day", "pair"),
    [
        ("20230414", ["20250414", "20260413"]),
        ("20250414", ["20250601", "20260413"]),
        ("20260413", ["20250414", "20260301"]),
    ],
)
def test_a_date_that_cannot_be_read_is_not_chosen_and_the_others_are(tmp_path: Path, day: str, pair: list[str]) -> None:
    every = dict.fromkeys(("20230414", "20240414", "20250414", "20250601", "20260301", "20260413", "20260720"), 1.0)
    scenes(tmp_path, every)
    damage(tmp_path / "optical" / f"s_{day}.tif")
    dates = chosen(admitted(tmp_path / "optical"))
    assert days([dates.before, dates.after]) == pair
    assert day not in days([*dates.earlier, *dates.others])
    assert f"s_{day}.tif" in dates.why and "RASTER_UNREADABLE" in dates.why


def test_where_no_date_can_be_read_the_reason_is_told(tmp_path: Path) -> None:
    scenes(tmp_path, {"20250414": 1.0, "20260301": 1.0, "20260413": 1.0})
    for day in ("20260301", "20260413"):
        damage(tmp_path / "optical" / f"s_{day}.tif")
    with pytest.raises(SceneError, match="RASTER_UNREADABLE"):
        chosen(admitted(tmp_path / "optical"))
