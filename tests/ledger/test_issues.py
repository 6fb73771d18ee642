"""A period issued again: what the second issue says stands, what it no longer says is taken back, and the log keeps both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import shapely

from ecowatch.codes import ChangeKind, ProblemState, Rectification
from ecowatch.grid import geodesic_area_m2
from ecowatch.ledger import LEDGER_CRS, CasePlan, Event, EventKind, Ledger, Said, enter_unit, geometry_of, move
from ecowatch.ledger.run_folder import FoundPatch, RunUnit, Unseen
from ecowatch.ledger.verify import verify
from ecowatch.settings import LedgerSettings

RULES = LedgerSettings()
AREA = shapely.box(110, 35, 110.1, 35.1)


def ground(east: float, width: float = 0.001) -> shapely.Polygon:
    return shapely.box(110.01 + east, 35.01, 110.01 + east + width, 35.011)


def patch(
    name: str, where: shapely.Polygon, year: int, direction: str = "gain", *, returning: bool = False
) -> FoundPatch:
    return FoundPatch(
        patch_id=f"{year}-{name}",
        pipeline="bitemporal",
        activity_code="03",
        before_date=f"{year - 1}-07-01",
        after_date=f"{year}-07-01",
        geometry=where,
        line=None,
        area_m2=round(geodesic_area_m2(where, LEDGER_CRS), 2),
        direction=direction,  # type: ignore[arg-type]
        natural=False,
        returning=returning,
        tolerance_m=5.0,
        facts={"stage": "one_date"},
    )


def unit(year: int, *patches: FoundPatch, late: str = "", unseen: shapely.Polygon | None = None) -> RunUnit:
    scenes = {f"s{year}": "1"} | ({late: "2"} if late else {})
    inputs: dict[str, Any] = {"scenes": scenes, "pipelines": {"bitemporal": {"version": "1"}}, "boundary": "b"}
    inputs |= {"software": {"ecowatch": "1"}, "not_compared": []}
    hidden = (Unseen("bitemporal", "masked", 1.0, unseen),) if unseen is not None else ()
    return RunUnit("a", "区", "red_line", str(year), AREA, inputs, "run", f"{year}-07-01", 1.0, patches, hidden)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.writer(tmp_path / "l.db") as made:
        enter_unit(made, unit(2021, patch("mine", ground(0), 2021)), RULES)
        yield made
        assert verify(made.path).findings == ()


def the(ledger: Ledger) -> Any:
    (row,) = ledger.rows("problem", "withdrawn = 0 AND merged_into = ''")
    return row


def change(ledger: Ledger, year: int) -> str | None:
    rows = ledger.rows("history", "period = ? AND problem_id = ?", (str(year), the(ledger)["problem_id"]))
    return rows[0]["change_code"] if rows else None


def closed(ledger: Ledger) -> None:
    """The mine of 2021 goes in 2022, and the case is closed."""
    enter_unit(ledger, unit(2022, patch("gone", ground(0), 2022, "loss")), RULES)
    assert change(ledger, 2022) == ChangeKind.ENDED
    said, plan = Said("王审", "2022-09-01"), CasePlan("某县", None, Rectification.EXIT)
    problem = the(ledger)["problem_id"]
    for state in (ProblemState.CONFIRMED, ProblemState.TO_RECTIFY, ProblemState.CLAIMED_DONE):
        ledger.commit([move(ledger, problem, state, RULES, said=said, plan=plan)])
    ledger.commit([Event(EventKind.CLAIM_CHECKED, "a", problem_id=problem, payload={"passed": True}, at="2022-09-02")])
    for state in (ProblemState.CHECKED, ProblemState.CLOSED):
        ledger.commit([move(ledger, problem, state, RULES, said=said)])


def test_an_expansion_that_a_late_scene_does_not_bear_out_is_taken_back(ledger: Ledger) -> None:
    small = the(ledger)["area_m2"]
    enter_unit(ledger, unit(2022, patch("more", ground(0.001), 2022)), RULES)
    assert (change(ledger, 2022), the(ledger)["area_m2"]) == ("2", pytest.approx(2 * small, rel=0.01))
    again = enter_unit(ledger, unit(2022, late="s2022b"), RULES)
    assert again.issue == 2 and again.differences["scenes_added"] == ["s2022b"]
    assert again.differences["patches_removed"] == ["2022-more"]
    assert (change(ledger, 2022), the(ledger)["area_m2"]) == ("0", pytest.approx(small))
    assert shapely.equals_exact(geometry_of(the(ledger)["geometry"]), ground(0), 1e-8, normalize=True)
    third = enter_unit(ledger, unit(2022, patch("more", ground(0.001), 2022)), RULES)
    assert (third.issue, change(ledger, 2022)) == (3, "2")


def test_a_problem_that_the_second_issue_does_not_find_is_withdrawn_not_deleted(ledger: Ledger) -> None:
    enter_unit(ledger, unit(2022, patch("camp", ground(0.05), 2022)), RULES)
    assert len(ledger.rows("problem", "withdrawn = 0")) == 2
    enter_unit(ledger, unit(2022, late="s2022b"), RULES)
    assert len(ledger.rows("problem", "withdrawn = 0")) == 1 and len(ledger.rows("problem")) == 2
    assert [e.kind for e in ledger.events("kind = 'problem_withdrawn'")] == ["problem_withdrawn"]


def test_a_closed_site_relapses_by_itself_and_a_relapse_can_be_taken_back(ledger: Ledger) -> None:
    closed(ledger)
    assert the(ledger)["state"] == "closed"
    enter_unit(ledger, unit(2023, patch("back", ground(0), 2023, returning=True)), RULES)
    assert (the(ledger)["state"], the(ledger)["relapses"], change(ledger, 2023)) == ("relapsed", 1, "6")
    enter_unit(ledger, unit(2023, late="s2023b"), RULES)
    assert (the(ledger)["state"], change(ledger, 2023)) == ("closed", "4")
    enter_unit(ledger, unit(2023, patch("back", ground(0), 2023), late="s2023c"), RULES)
    assert (the(ledger)["state"], the(ledger)["relapses"]) == ("relapsed", 1)


def test_what_came_back_on_unknown_ground_stays_set_aside(ledger: Ledger) -> None:
    enter_unit(ledger, unit(2022, patch("crop", ground(0.05), 2022, returning=True)), RULES)
    assert len(ledger.rows("problem")) == 1 and ledger.rows("patch", "period = '2022'") == []


def test_a_site_under_cloud_is_not_observed_and_keeps_its_ground(ledger: Ledger) -> None:
    enter_unit(ledger, unit(2022, unseen=ground(-0.005, 0.01)), RULES)
    assert (change(ledger, 2022), the(ledger)["area_m2"]) == ("9", pytest.approx(the(ledger)["area_found_m2"]))
    # It had not ended: seen again later, it goes on.
    enter_unit(ledger, unit(2023), RULES)
    assert change(ledger, 2023) == "0"


def test_a_loss_in_the_middle_splits_and_the_history_adds_up(ledger: Ledger) -> None:
    wide = ground(0, 0.006)
    enter_unit(ledger, unit(2022, patch("wide", wide, 2022)), RULES)
    enter_unit(ledger, unit(2023, patch("middle", ground(0.001, 0.003), 2023, "loss")), RULES)
    rows = ledger.rows("problem", "1 ORDER BY parents DESC")
    assert len(rows) == 2 and [r["last_change"] for r in rows] == ["3", "3"]
    standing = sum(row["area_m2"] for row in rows)
    assert standing == pytest.approx(sum(r["delta_m2"] for r in ledger.rows("history")), abs=1)
