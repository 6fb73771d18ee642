"""The calendar: periods by cadence, what stands in for what, and the days on which a unit changes its state."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecowatch.codes import AreaGrade
from ecowatch.ledger.calendar import AssessedArea, Entered, due_units, missing_units, period_dates, periods_of
from ecowatch.settings import Programme, default_calendar

PARK, GARDEN, LOCAL = AreaGrade.NATIONAL_PARK, AreaGrade.NATIONAL_NATURE_PARK, AreaGrade.LOCAL
NATION, BASIN, DEMO = AreaGrade.NATION, AreaGrade.CAMPAIGN, AreaGrade.DEMONSTRATION


def programme(every: str, grade: AreaGrade = PARK, **changes: object) -> Programme:
    return Programme.model_validate({"name": "p", "grade": grade, "every": every, **changes})


def days(*parts: str) -> tuple[date, ...]:
    return tuple(date.fromisoformat(part) for part in parts)


def states(
    row: Programme, as_of: str, entered: dict[str, Entered] | None = None, signed: object = None, **area: object
):
    units = due_units(
        [row],
        [AssessedArea("a", "甲", row.grade, **area)],
        {("a", period): unit for period, unit in (entered or {}).items()},
        signed or {},
        date.fromisoformat(as_of),
    )
    return {unit.period: unit.state for unit in units}


def test_half_years_with_their_deadlines() -> None:
    found = periods_of(programme("half_year", first=date(2024, 1, 1)), date(2025, 1, 1))
    assert [(p.name, p.first, p.last, p.due) for p in found] == [
        ("2024H1", *days("2024-01-01", "2024-06-30", "2024-09-28")),
        ("2024H2", *days("2024-07-01", "2024-12-31", "2025-03-31")),
        ("2025H1", *days("2025-01-01", "2025-06-30", "2025-09-28")),
    ]


def test_a_leap_year_moves_the_deadline_by_its_day() -> None:
    row = programme("year", first=date(2026, 1, 1), due_days=60)
    assert [p.due.isoformat() for p in periods_of(row, date(2028, 1, 1))] == ["2027-03-01", "2028-02-29", "2029-03-01"]


def test_a_year_and_a_half_year_lie_wholly_between_first_and_last_of_the_programme() -> None:
    row = programme("half_year", first=date(2025, 2, 1), last=date(2026, 6, 30))
    assert [p.name for p in periods_of(row, date(2030, 1, 1))] == ["2025H2", "2026H1"]


def test_cycles_follow_each_other_without_a_gap() -> None:
    row = programme("five_years", NATION, first=date(2021, 1, 1))
    found = periods_of(row, date(2031, 1, 1))
    assert [p.name for p in found] == ["2021-2025", "2026-2030", "2031-2035"]
    assert found[0][1:] == days("2021-01-01", "2025-12-31", "2026-03-31")
    # A cycle that begins on a leap day: no day is lost, none counts twice.
    odd = periods_of(programme("three_years", DEMO, first=date(2024, 2, 29)), date(2036, 1, 1))
    assert [p.first.isoformat() for p in odd[:3]] == ["2024-02-29", "2027-03-01", "2030-03-01"]
    assert all(b.first - a.last == timedelta(days=1) for a, b in pairwise(odd))


def test_a_campaign_is_one_period_of_a_year_under_its_own_name() -> None:
    row = programme("campaign", BASIN, first=date(2026, 3, 1), name="yangtze-2026")
    assert periods_of(row, date(2026, 2, 28)) == []
    (found,) = periods_of(row, date(2030, 1, 1))
    assert found[:3] == ("yangtze-2026", *days("2026-03-01", "2027-02-28"))
    (shorter,) = periods_of(row.model_copy(update={"last": date(2026, 10, 31)}), date(2026, 3, 1))
    assert shorter.last == date(2026, 10, 31)


@pytest.mark.parametrize(
    ("every", "until", "names"),
    [
        ("half_year", "2026-06-30", ["2025H2", "2026H1"]),
        ("half_year", "2026-07-01", ["2026H1", "2026H2"]),
        ("year", "2026-12-31", ["2025", "2026"]),
    ],
)
def test_a_calendar_without_a_start_asks_for_the_last_period_that_ended(
    every: str, until: str, names: list[str]
) -> None:
    assert [p.name for p in periods_of(programme(every), date.fromisoformat(until))] == names


@settings(deadline=None)
@given(st.dates(date(2000, 1, 1), date(2080, 1, 1)), st.integers(0, 4000), st.sampled_from(("half_year", "year")))
def test_periods_are_contiguous_and_the_last_one_holds_the_day(start: date, later: int, every: str) -> None:
    until = start + timedelta(days=later)
    found = periods_of(programme(every), until, since=start)
    assert found[0].first <= start <= found[0].last and found[-1].first <= until <= found[-1].last
    assert all(b.first - a.last == timedelta(days=1) for a, b in pairwise(found))
    assert [period_dates(p.name) for p in found] == [(p.first, p.last) for p in found]


def test_names_of_periods() -> None:
    assert period_dates("2021-2025") == days("2021-01-01", "2025-12-31")
    assert [period_dates(name) for name in ("yangtze", "2026H3", "2025-2021", "26H1", "2026H1x")] == [None] * 5


def test_a_unit_is_due_up_to_and_on_the_deadline_and_overdue_the_day_after() -> None:
    row = programme("half_year", first=date(2026, 1, 1), last=date(2026, 6, 30))
    seen = [states(row, day)["2026H1"] for day in ("2026-06-30", "2026-07-01", "2026-09-28", "2026-09-29")]
    assert seen == ["not_due", "due", "due", "overdue"]
    assert states(row, "2025-12-31") == {}


def test_an_optional_unit_is_listed_and_never_overdue() -> None:
    row = programme("year", LOCAL, optional=True, first=date(2020, 1, 1), last=date(2020, 12, 31))
    assert states(row, "2026-01-01") == {"2020": "due"}


def test_an_area_is_not_asked_for_what_ended_before_it_was_there() -> None:
    row = programme("half_year", first=date(2024, 1, 1))
    assert list(states(row, "2026-01-01", since=date(2025, 6, 30))) == ["2025H1", "2025H2", "2026H1"]
    assert list(states(row, "2026-01-01", since=date(2025, 7, 1))) == ["2025H2", "2026H1"]


def test_entered_signed_and_entered_again_after_the_signature() -> None:
    row = programme("half_year", first=date(2026, 1, 1), last=date(2026, 6, 30))
    assert states(row, "2027-01-01", {"2026H1": Entered(0.9, 7)}) == {"2026H1": "entered"}
    assert states(row, "2027-01-01", {"2026H1": Entered(0.9, 7)}, {"2026H1": 9}) == {"2026H1": "signed"}
    assert states(row, "2027-01-01", {"2026H1": Entered(0.9, 11)}, {"2026H1": 9}) == {"2026H1": "entered"}
    # A signature does not stand in for what was never entered.
    assert states(row, "2027-01-01", {}, {"2026H1": 9}) == {"2026H1": "overdue"}


@pytest.mark.parametrize(
    ("entered", "state"),
    [
        ({"2025": 0.9}, "entered"),
        ({"2025H1": 0.9, "2025H2": 0.8}, "entered"),
        ({"2025H2": 0.8}, "overdue"),
        ({"2025H1": 0.9, "2024H2": 0.8}, "overdue"),
    ],
)
def test_two_half_years_are_a_year_but_one_is_not(entered: dict[str, float], state: str) -> None:
    row = programme("year", GARDEN, first=date(2025, 1, 1), last=date(2025, 12, 31))
    assert states(row, "2027-01-01", {k: Entered(v) for k, v in entered.items()}) == {"2025": state}


def test_the_lesser_observed_share_of_two_halves_is_told() -> None:
    row = programme("year", GARDEN, first=date(2025, 1, 1), last=date(2025, 12, 31))
    entered = {("a", "2025H1"): Entered(0.4, 3), ("a", "2025H2"): Entered(0.8, 9)}
    (unit,) = due_units([row], [("a", "甲", GARDEN)], entered, {"2025": 8}, date(2027, 1, 1))
    assert (unit.observed_share, unit.state) == (0.4, "entered")  # the second half came after the signature


@pytest.mark.parametrize(
    ("entered", "state"),
    [
        (["2021", "2022", "2023", "2024"], "overdue"),
        (["2025"], "entered"),
        (["2025H1", "2025H2"], "entered"),
        (["2025H2"], "overdue"),
        (["2021-2025"], "entered"),
        (["2026"], "overdue"),
    ],
)
def test_a_cycle_needs_its_final_year(entered: list[str], state: str) -> None:
    row = programme("five_years", NATION, first=date(2021, 1, 1), last=date(2025, 12, 31))
    assert states(row, "2027-01-01", {k: Entered(1.0) for k in entered}) == {"2021-2025": state}


@pytest.mark.parametrize(
    ("entered", "state"),
    [("2026H1", "entered"), ("2026H2", "entered"), ("2026", "entered"), ("2027H1", "overdue"), ("2025", "overdue")],
)
def test_a_campaign_is_entered_by_a_period_that_shares_most_of_its_days(entered: str, state: str) -> None:
    """From 25 March: 54 % of the half year in which it begins, 46 % of the one in which it ends."""
    row = programme("campaign", BASIN, first=date(2026, 3, 25), name="c")
    assert states(row, "2028-01-01", {entered: Entered(1.0)}) == {"c": state}


def test_the_shipped_calendar_asks_each_grade_as_the_policy_does() -> None:
    areas = [(str(grade), "", grade) for grade in AreaGrade]
    units = due_units(default_calendar(), areas, {}, {}, date(2026, 12, 31))
    running = {unit.area_id: unit.period for unit in units if unit.state == "not_due"}
    half, year = (
        ("national_park", "national_reserve"),
        ("national_nature_park", "red_line", "county_function_zone", "local"),
    )
    assert running == {
        **dict.fromkeys(half, "2026H2"),
        **dict.fromkeys(year, "2026"),
        "nation": "2026-2030",
        "demonstration": "2024-2026",
    }
    assert {u.area_id for u in units if u.optional} == {"local"}
    assert [u.deadline for u in units] == sorted(u.deadline for u in units)


def test_a_sign_off_waits_for_what_is_neither_optional_nor_entered() -> None:
    rows = [programme("year", GARDEN), programme("year", LOCAL, optional=True, name="l")]
    areas = [("a", "", GARDEN), ("b", "", GARDEN), ("c", "", LOCAL)]
    units = due_units(rows, areas, {("a", "2025"): Entered(1.0)}, {}, date(2026, 2, 1))
    assert [u.area_id for u in missing_units(units, "2025")] == ["b"]
