"""Boundaries on the command line: what the ledger takes of an area, and what is told of a line that moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..codes import ProblemState
from ..texts import Language, text
from .teller import Teller

if TYPE_CHECKING:
    from ..areas import Area
    from ..ledger import Boundary, Event
    from ..settings import LedgerSettings


def boundary_of(area: Area, rules: LedgerSettings, allowed: frozenset[str]) -> Boundary:
    """Return an area as the ledger keeps it: in CGCS2000, with its grade and zones."""
    from ..ledger import LEDGER_CRS, Boundary  # noqa: PLC0415

    placed = area.in_crs(LEDGER_CRS, allowed)
    return Boundary(
        area_id=area.area_id,
        name=area.name,
        kind=area.kind,
        grade=rules.grade_of(area.area_id, area.kind),
        version=area.version,
        geometry=placed.geometry,
        zones=tuple((zone.zone, zone.geometry) for zone in placed.zones),
        source=area.source,
    )


def tell_boundary(teller: Teller, area_id: str, event: Event | None) -> None:
    """Tell what became of a boundary: known, first, or moved, and around what."""
    from ..ledger.boundaries import touched_by  # noqa: PLC0415

    if event is None:
        teller.result(text("boundary_known", teller.language, area=area_id))
        return
    payload, changes = event.payload, event.payload["changes"]
    values: dict[str, Any] = {"area": area_id, "version": payload["version"][:12], "day": payload["valid_from"]}
    if not changes:
        teller.result(text("boundary_first", teller.language, **values))
        return
    for finding in touched_by(event):
        teller.warn(_finding_text(area_id, finding, teller.language), code="LINE_MOVED", **finding)
    values |= {"gained": changes["gained_m2"], "lost": changes["lost_m2"]}
    values["downgraded"] = sum(part["area_m2"] for part in changes["downgraded"])
    teller.result(text("boundary_new", teller.language, **values))


def _finding_text(area_id: str, finding: Mapping[str, Any], language: Language) -> str:
    strip = text(f"strip_{finding['strip']}", language, zones=finding["zones"])
    left = text("now_outside" if finding["outside"] else "still_inside", language, m2=finding["inside_m2"])
    said: dict[str, Any] = {"area": area_id, "of_area": finding["of_area"], "m2": finding["area_m2"], "strip": strip}
    if "problem_id" in finding:
        state = state_name(finding["state"], language)
        return text("touched_problem", language, problem=finding["problem_id"], state=state, left=left, **said)
    named = {"patch": finding["patch_id"], "period": finding["period"]}
    return text("touched_patch", language, left=left, **named, **said)


def state_name(code: str, language: Language) -> str:
    """Return the name of a problem state in a language."""
    state = ProblemState.of(code)
    return state.zh if language == "zh" else state.en
