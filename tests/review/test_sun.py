"""The sun over Beijing and the equator, against an almanac's round numbers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ecowatch.review.sun import sun_apart_deg, sun_elevation_deg

BEIJING = (116.4, 39.9)


@pytest.mark.parametrize(
    ("instant", "place", "expected"),
    [
        (datetime(2026, 6, 21, 4, 16, tzinfo=UTC), BEIJING, 90 - 39.9 + 23.44),
        (datetime(2026, 12, 22, 4, 13, tzinfo=UTC), BEIJING, 90 - 39.9 - 23.44),
        (datetime(2026, 3, 20, 12, 7, tzinfo=UTC), (0.0, 0.0), 90.0),
        (datetime(2026, 3, 20, 18, 7, tzinfo=UTC), (0.0, 0.0), 0.0),
    ],
)
def test_elevation(instant: datetime, place: tuple[float, float], expected: float) -> None:
    assert sun_elevation_deg(instant, *place) == pytest.approx(expected, abs=0.7)


def test_same_day_of_another_year_has_the_same_sun() -> None:
    one, other = (datetime(year, 5, 4, 3, 0, tzinfo=UTC) for year in (2024, 2025))
    assert sun_apart_deg(one, other, *BEIJING) < 0.5


def test_between_solstices_the_sun_is_far_apart() -> None:
    one, other = datetime(2026, 6, 21, 3, tzinfo=UTC), datetime(2026, 12, 22, 3, tzinfo=UTC)
    assert sun_apart_deg(one, other, *BEIJING) > 40
