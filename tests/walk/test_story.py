"""One site across five years: new, grown, rectified and closed, relapsed, merged with its neighbour; a boundary moves.

Everything goes the way of a real assessment: images, the review itself, the ledger. The ledger that must result is drawn
below, one row per site, one column per year.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import geopandas
import pytest
import shapely

from ecowatch.codes import ProblemState, Rectification
from ecowatch.errors import LedgerError
from ecowatch.grid import transformed
from ecowatch.ledger import (
    LEDGER_CRS,
    Boundary,
    CasePlan,
    Entered,
    Event,
    EventKind,
    Ledger,
    Said,
    enter_run,
    geometry_of,
    move,
    touched_by,
)
from ecowatch.review import run_review
from ecowatch.settings import AreaSource, Cluster, LedgerSettings, Review, SceneSource

from .conftest import ROOT
from .test_evidence import GRID, PLAIN, place, scene

MINE = (slice(60, 90), slice(60, 100))
GROWTH = (slice(60, 90), slice(100, 118))
NEIGHBOUR = (slice(60, 86), slice(160, 190))
BRIDGE = (slice(62, 84), slice(116, 162))
CAMP = (slice(300, 322), slice(330, 352))
GROUND = {
    2020: (),
    2021: (MINE, NEIGHBOUR, CAMP),
    2022: (MINE, GROWTH, NEIGHBOUR, CAMP),
    2023: (NEIGHBOUR, CAMP),
    2024: (MINE, NEIGHBOUR, CAMP),
    2025: (MINE, GROWTH, BRIDGE, NEIGHBOUR, CAMP),
}
WIDE = shapely.box(*GRID.bounds).buffer(-100, join_style="mitre")
# From 2024 on the reserve ends west of the camp.
NARROW = WIDE.intersection(shapely.box(GRID.bounds[0], GRID.bounds[1], GRID.bounds[0] + 3200, GRID.bounds[3]))

NO_PLAN = CasePlan()

STORY = """
            2021      2022        2023        2024          2025
mine        new       expanded    ended       relapsed      expanded
neighbour   new       continuing  continuing  continuing    -
camp        new       continuing  continuing  not_observed  not_observed
"""


@dataclass
class World:
    """The places of the story and its ledger."""

    folder: Path
    ledger: Path
    rules: LedgerSettings = field(default_factory=LedgerSettings)

    def review(self, year: int) -> Review:
        outline = WIDE if year < 2024 else NARROW
        path = self.folder / f"area_{year}.gpkg"
        if not path.exists():
            geopandas.GeoDataFrame({"id": ["a"]}, geometry=[outline], crs=32650).to_file(path)
        return Review(
            name="story",
            period=str(year),
            roots=(self.folder,),
            runs=self.folder / "runs",
            pipelines=ROOT / "pipelines",
            areas=(AreaSource(path=path, id_field="id"),),
            sources=(SceneSource(path=self.folder / "scenes", **PLAIN),),
        )

    def assess(self, ledger: Ledger, year: int) -> Entered:
        if not (self.folder / "scenes" / f"s_{year}0720.tif").exists():
            scene(self.folder / "scenes", f"{year}0720", year - 2000, GROUND[year])
        result = run_review(self.review(year), Cluster(scheduler="threads", workers=2))
        assert not result.failures
        (area,) = (area.in_crs(LEDGER_CRS, result.plan.allowed) for area in result.plan.areas)
        boundary = Boundary(
            area_id=area.area_id,
            name=area.name,
            kind=area.kind,
            grade=self.rules.grade_of(area.area_id, area.kind),
            version=area.version,
            geometry=area.geometry,
            zones=(),
            source=area.source,
        )
        return enter_run(ledger, result.folder, self.rules, boundaries=[boundary])


def step(ledger: Ledger, world: World, problem: str, state: ProblemState, day: str, plan: CasePlan = NO_PLAN) -> None:
    event = move(ledger, problem, state, world.rules, said=Said("李核查", day, "story"), plan=plan)
    assert ledger.commit([event]) == 1


def at(ledger: Ledger, where: tuple[slice, slice]) -> str:
    """The problem on whose ground the middle of a place lies."""
    spot = transformed(place(where).centroid, GRID.crs, LEDGER_CRS, frozenset({"EPSG:4326=EPSG:4490"}))
    rows = ledger.rows("problem", "1 ORDER BY opened_period, problem_id")
    return next(row["problem_id"] for row in rows if geometry_of(row["geometry"]).contains(spot))


def rectified(ledger: Ledger, world: World, problem: str) -> None:
    """The mine is confirmed, ordered to go, claimed to be gone, borne out by an image, and closed."""
    step(ledger, world, problem, ProblemState.CONFIRMED, "2023-01-10")
    plan = CasePlan("某县人民政府", "2023-06-30", Rectification.EXIT)
    step(ledger, world, problem, ProblemState.TO_RECTIFY, "2023-01-20", plan)
    step(ledger, world, problem, ProblemState.RECTIFYING, "2023-02-01")
    step(ledger, world, problem, ProblemState.CLAIMED_DONE, "2023-06-01")


def closed(ledger: Ledger, world: World, problem: str) -> None:
    with pytest.raises(LedgerError, match="NOT_CHECKED"):
        move(ledger, problem, ProblemState.CHECKED, world.rules, said=Said("李核查", "2023-12-01"))
    evidence = {"passed": True, "structure_gone": True, "bare_closed": True, "vegetation_held": None, "seasons": 1}
    seen = Event(EventKind.CLAIM_CHECKED, "a", "2023", problem, payload=evidence, at="2023-07-20")
    ledger.commit([seen])
    step(ledger, world, problem, ProblemState.CHECKED, "2023-12-02")
    step(ledger, world, problem, ProblemState.CLOSED, "2023-12-20")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ledger, World, dict[str, str]]]:
    """The whole story, told once."""
    folder = tmp_path_factory.mktemp("story")
    world = World(folder, folder / "ledger.db")
    scene(folder / "scenes", "20200720", 20, GROUND[2020])
    with Ledger.writer(world.ledger) as ledger:
        world.assess(ledger, 2021)
        names = {name: at(ledger, where) for name, where in (("mine", MINE), ("neighbour", NEIGHBOUR), ("camp", CAMP))}
        world.assess(ledger, 2022)
        rectified(ledger, world, names["mine"])
        world.assess(ledger, 2023)
        closed(ledger, world, names["mine"])
        world.assess(ledger, 2024)
        world.assess(ledger, 2025)
        yield ledger, world, names


def test_the_ledger_is_the_one_drawn(told: tuple[Ledger, World, dict[str, str]]) -> None:
    ledger, _, names = told
    code = {
        "new": "1",
        "expanded": "2",
        "ended": "4",
        "relapsed": "6",
        "continuing": "0",
        "not_observed": "9",
        "-": None,
    }
    header, *lines = STORY.strip().splitlines()
    assert {row["problem_id"] for row in ledger.rows("problem")} == set(names.values())
    for line in lines:
        name, *changes = line.split()
        found = {r["period"]: r["change_code"] for r in ledger.rows("history", "problem_id = ?", (names[name],))}
        assert [found.get(year) for year in header.split()] == [code[change] for change in changes], name


def test_the_states_and_the_parents(told: tuple[Ledger, World, dict[str, str]]) -> None:
    ledger, _, names = told
    rows = {row["problem_id"]: row for row in ledger.rows("problem")}
    mine, neighbour = rows[names["mine"]], rows[names["neighbour"]]
    assert (mine["state"], mine["relapses"], mine["merged_into"]) == ("relapsed", 1, "")
    assert neighbour["merged_into"] == names["mine"] and mine["opened_period"] == "2021"
    assert sorted((names["mine"], names["neighbour"])) == json.loads(mine["parents"])
    moves = [e.payload["to"] for e in ledger.events("kind = 'state_moved' AND problem_id = ?", (names["mine"],))]
    assert moves == ["confirmed", "to_rectify", "rectifying", "claimed_done", "checked", "closed"]


def test_the_areas_are_those_on_the_ground(told: tuple[Ledger, World, dict[str, str]]) -> None:
    ledger, _, names = told
    planted = shapely.union_all([place(where) for where in (MINE, GROWTH, BRIDGE, NEIGHBOUR)])
    (row,) = ledger.rows("problem", "problem_id = ?", (names["mine"],))
    assert row["area_m2"] == pytest.approx(planted.area, rel=0.12)
    history = {r["period"]: r["area_m2"] for r in ledger.rows("history", "problem_id = ?", (names["mine"],))}
    assert history["2023"] == 0.0
    assert history["2021"] == pytest.approx(place(MINE).area, rel=0.12)
    assert history["2022"] == pytest.approx(place(MINE).union(place(GROWTH)).area, rel=0.12)


def test_the_boundary_was_moved_around_the_camp(told: tuple[Ledger, World, dict[str, str]]) -> None:
    ledger, _, names = told
    first, second = ledger.events("kind = 'area_versioned'")
    assert touched_by(first) == []
    assert names["camp"] in {finding.get("problem_id") for finding in touched_by(second)}
    versions = ledger.rows("area_version", "area_id = 'a' ORDER BY valid_from")
    assert [(v["valid_from"], v["valid_to"]) for v in versions] == [("2021-01-01", "2024-01-01"), ("2024-01-01", "")]


def test_telling_it_again_adds_nothing(told: tuple[Ledger, World, dict[str, str]]) -> None:
    ledger, world, _ = told
    before = ledger.digest()
    again = world.assess(ledger, 2025)
    assert again.added == 0 and ledger.digest() == before
    with pytest.raises(LedgerError, match="PERIOD_CLOSED"):
        world.rules = world.rules.model_copy(update={"match": world.rules.match.model_copy(update={"join_m": 90.0})})
        world.assess(ledger, 2022)


def test_a_late_scene_gives_an_explained_issue(told: tuple[Ledger, World, dict[str, str]]) -> None:
    """Last of all: a scene comes late, the period is issued again, and the ledger says why."""
    ledger, world, names = told
    world.rules = LedgerSettings()
    scene(world.folder / "scenes", "20250810", 40, GROUND[2025])
    (unit,) = world.assess(ledger, 2025).units
    assert unit.issue == 2 and [s for s in unit.differences["scenes_added"] if "20250810" in s]
    (row,) = ledger.rows("unit", "period = '2025'")
    assert row["issue"] == 2
    # The story is the same: the mine has grown over its neighbour, once.
    found = {r["period"]: r["change_code"] for r in ledger.rows("history", "problem_id = ?", (names["mine"],))}
    assert found["2025"] == "2"
    (mine,) = ledger.rows("problem", "problem_id = ?", (names["mine"],))
    planted = shapely.union_all([place(where) for where in (MINE, GROWTH, BRIDGE, NEIGHBOUR)])
    assert mine["area_m2"] == pytest.approx(planted.area, rel=0.12)
