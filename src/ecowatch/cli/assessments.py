"""Commands on the assessment calendar, boundary versions and baselines: due, status, sign, boundary, baseline."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BoundaryError, ConfigError, LedgerError
from ..texts import Language, text
from .accounts import review_standing, tell_standing
from .lines import boundary_of, state_name, tell_boundary
from .options import AreaIds, ByOption, JsonOption, LangOption, LedgerFile, LedgerToo, LogOption, ReviewFile
from .reviews import app
from .teller import LogForm, Teller, errors_told, language_of, ledger_rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shapely.geometry.base import BaseGeometry

    from ..ledger.assessment import Counts
    from ..ledger.baseline import StockItem
    from ..ledger.boundaries import Boundary
    from ..ledger.calendar import DueUnit
    from ..ledger.event import Event
    from ..ledger.store import Ledger
    from ..settings import LedgerSettings, Review

_DAY = ["%Y-%m-%d"]
_SHANGHAI = timezone(timedelta(hours=8))

AsOf = Annotated[
    datetime | None, typer.Option("--as-of", formats=_DAY, help="Civil date; today in Asia/Shanghai without it.")
]


@app.command()
def due(
    ledger: LedgerFile,
    as_of: AsOf = None,
    every: Annotated[bool, typer.Option("--all", help="Also what was entered or signed off.")] = False,
    as_json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """List what the assessment calendar asks for, and by when: which area, in which period."""
    teller = Teller(LogForm.AUTO, language_of(lang))
    with errors_told(teller):
        from ..ledger.assessment import units_of  # noqa: PLC0415

        rules, day = ledger_rules(ledger), _civil(as_of)
        with _reader_or_none(rules, teller) as opened:
            units = units_of(opened, rules, day)
            _tell_ungraded(teller, rules, opened)
        kept = [unit for unit in units if every or unit.state not in ("entered", "signed")]
        if as_json:
            listed = [unit._asdict() | {"deadline": unit.deadline.isoformat()} for unit in kept]
            typer.echo(json.dumps({"as_of": day.isoformat(), "units": listed}, ensure_ascii=False, indent=1))
        elif kept:
            columns = ("deadline", "period", "programme", "area", "state", "observed")
            header = [text(name, teller.language) for name in columns]
            teller.table(header, [_unit_cells(unit, teller.language) for unit in kept])
        else:
            teller.result(text("nothing_due", teller.language, as_of=day))


@app.command()
def status(
    review: Annotated[
        Path | None, typer.Argument(metavar="[REVIEW.toml]", help="Review file: what its last or current run has done.")
    ] = None,
    ledger: LedgerToo = None,
    as_of: AsOf = None,
    as_json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Tell how a review's last or current run stands, or count a ledger's units and problems by state, or both."""
    teller = Teller(LogForm.AUTO, language_of(lang))
    if review is None and ledger is None:
        raise typer.BadParameter("give one, or both", param_hint="REVIEW.toml, --ledger")
    with errors_told(teller):
        told = review_standing(review) if review else None
        counts, day = _ledger_counts(ledger, as_of) if ledger else None, _civil(as_of)
        if as_json:
            parts: dict[str, Any] = {"review": told} if told else {}
            parts |= {"as_of": day.isoformat(), **counts._asdict(), "head": counts.head._asdict()} if counts else {}
            typer.echo(json.dumps(parts, ensure_ascii=False, indent=1))
            return
        if told:
            tell_standing(teller, told)
        if counts:
            header = [text(name, teller.language) for name in ("item", "count")]
            teller.table(header, _count_rows(counts, teller.language))


def _ledger_counts(ledger: Path, as_of: datetime | None) -> Counts:
    from ..ledger import Ledger  # noqa: PLC0415
    from ..ledger.assessment import counts_of  # noqa: PLC0415

    rules = ledger_rules(ledger)
    with Ledger.reader(rules.path) as opened:
        return counts_of(opened, rules, _civil(as_of))


@app.command()
def sign(
    period: Annotated[str, typer.Argument(help="2026H1, 2026, 2021-2025, or the name of a campaign.")],
    ledger: LedgerFile,
    by: ByOption,
    at: Annotated[
        datetime | None, typer.Option("--at", formats=_DAY, help="Date; today in Asia/Shanghai without it.")
    ] = None,
    despite: Annotated[str, typer.Option("--despite", help="Why it is signed although units are missing.")] = "",
    lang: LangOption = None,
) -> None:
    """Sign a period off: every unit that the calendar asks for must have been entered."""
    teller = Teller(LogForm.AUTO, language_of(lang))
    with errors_told(teller):
        from ..ledger import Ledger  # noqa: PLC0415
        from ..ledger.assessment import sign_off  # noqa: PLC0415

        rules, day = ledger_rules(ledger), _civil(at)
        with Ledger.writer(rules.path, wait_s=rules.lock_wait_s) as opened:
            event = sign_off(opened, rules, period, by=by, at=day, despite=despite)
            if event is None:
                teller.result(text("period_known", teller.language, period=period))
                return
            opened.commit([event])
        if event.payload["missing"]:
            said = {"count": len(event.payload["missing"]), "despite": event.payload["despite"]}
            teller.warn(text("signed_despite", teller.language, period=period, **said))
        teller.result(text("period_signed", teller.language, period=period, by=event.actor, at=event.at))


@app.command()
def boundary(
    review: ReviewFile,
    ledger: LedgerFile,
    valid_from: Annotated[datetime, typer.Option("--valid-from", formats=_DAY, help="First day on which they hold.")],
    log: LogOption = LogForm.AUTO,
    lang: LangOption = None,
) -> None:
    """Enter the boundaries of a review file, and tell where a line was moved around a problem."""
    teller = Teller(log, language_of(lang))
    with errors_told(teller):
        from ..ledger import Ledger  # noqa: PLC0415
        from ..ledger.boundaries import version_events  # noqa: PLC0415
        from ..settings import Review, load  # noqa: PLC0415

        rules, day = ledger_rules(ledger), valid_from.date().isoformat()
        boundaries = review_boundaries(load(Review, review), rules)
        with Ledger.writer(rules.path, wait_s=rules.lock_wait_s) as opened:
            events = version_events(opened, boundaries, valid_from=day)
            opened.commit(events)
        entered = {event.area_id: event for event in events}
        for each in boundaries:
            tell_boundary(teller, each.area_id, entered.get(each.area_id))


@app.command()
def baseline(
    ledger: LedgerFile,
    area: AreaIds,
    as_of: Annotated[datetime, typer.Option("--as-of", formats=_DAY, help="Day of the stock.")],
    by: ByOption,
    inventory: Annotated[
        Path | None, typer.Option("--from", help="Take an inventory from this file instead of the ledger's problems.")
    ] = None,
    layer: Annotated[str | None, typer.Option("--layer", help="Its layer, where it has several.")] = None,
    activity_field: Annotated[str | None, typer.Option("--activity-field", help="Its field of the activity.")] = None,
    lang: LangOption = None,
) -> None:
    """Freeze the stock of existing activity of areas at a date, signed by its digest; once."""
    teller = Teller(LogForm.AUTO, language_of(lang))
    with errors_told(teller):
        from ..ledger import Ledger  # noqa: PLC0415
        from ..ledger.baseline import freeze  # noqa: PLC0415

        rules, day, areas = ledger_rules(ledger), as_of.date(), sorted(set(area))
        rows = _inventory(inventory, layer, activity_field) if inventory else None
        with Ledger.writer(rules.path, wait_s=rules.lock_wait_s) as opened:
            _check_known(opened, rules, areas)
            stock = _stock(teller, opened, areas, day, rows)
            events = [freeze(opened, area_id, stock[area_id], as_of=day, by=by) for area_id in areas]
            opened.commit([event for event in events if event is not None])
        for area_id, event in zip(areas, events, strict=True):
            _tell_baseline(teller, area_id, event)


def review_boundaries(review: Review, rules: LedgerSettings) -> list[Boundary]:
    """Return the boundaries of a review file as the ledger takes them, in CGCS2000, by identity.

    Raises
    ------
    BoundaryError
        ``AREA_TWICE``, ``AREA_UNKNOWN``, and what `areas.read_areas` raises.
    """
    from ..areas import read_areas  # noqa: PLC0415

    found: dict[str, Boundary] = {}
    for source in review.areas:
        for area in read_areas(source, review.roots):
            if area.area_id in found:
                finding = "two boundary layers hold this identity"
                raise BoundaryError("AREA_TWICE", area.area_id, finding, "make identities unique")
            found[area.area_id] = boundary_of(area, rules, frozenset(review.allow_datum))
    missing = sorted(set(review.only) - found.keys())
    if missing:
        known = f"known: {', '.join(sorted(found))}"
        raise BoundaryError("AREA_UNKNOWN", missing[0], "no boundary layer holds it", known)
    return [found[area_id] for area_id in sorted(found) if not review.only or area_id in review.only]


def _civil(day: datetime | None) -> date:
    return (day or datetime.now(_SHANGHAI)).date()


@contextmanager
def _reader_or_none(rules: LedgerSettings, teller: Teller) -> Iterator[Ledger | None]:
    """The calendar can be asked before the first run is entered."""
    from ..ledger import Ledger  # noqa: PLC0415

    if rules.path.exists():
        with Ledger.reader(rules.path) as opened:
            yield opened
    else:
        teller.warn(text("no_ledger_yet", teller.language, path=rules.path))
        yield None


def _tell_ungraded(teller: Teller, rules: LedgerSettings, opened: Ledger | None) -> None:
    listed = {area for entry in rules.graded for area in entry.areas}
    rows = opened.rows("area_version", "valid_to = '' AND kind <> 'red_line'") if opened else []
    ungraded = sorted({row["area_id"] for row in rows} - listed)
    if ungraded:
        teller.warn(text("ungraded", teller.language, count=len(ungraded), areas=", ".join(ungraded)))


def _unit_cells(unit: DueUnit, language: Language) -> list[str]:
    name = unit.area_id if unit.name in ("", unit.area_id) else f"{unit.area_id} {unit.name}"
    state = text(f"unit_{unit.state}", language)
    if unit.optional:
        state = f"{state} ({text('optional', language)})"
    share = "" if unit.observed_share is None else f"{unit.observed_share:.0%}"
    return [unit.deadline.isoformat(), unit.period, unit.programme, name, state, share]


def _count_rows(counts: Counts, language: Language) -> list[list[str]]:
    def named(key: str) -> str:
        return text(key, language)

    units = [[f"{named('units')}: {named(f'unit_{state}')}", str(n)] for state, n in counts.units.items()]
    problems = [[f"{named('problems')}: {state_name(state, language)}", str(n)] for state, n in counts.problems.items()]
    overdue = [
        [f"{named('overdue_problems')}: {unit or named('no_unit_named')}", str(n)] for unit, n in counts.overdue.items()
    ]
    single = [
        [named("open_problems"), str(counts.open)],
        *(overdue or [[named("overdue_problems"), "0"]]),
        [named("relapsed_problems"), str(counts.relapsed)],
        [named("not_observed_problems"), str(counts.not_observed)],
        [named("ledger_head"), f"{counts.head.seq} {counts.head.hash}"],
    ]
    return [*units, *problems, *single]


def _inventory(path: Path, layer: str | None, field: str | None) -> list[tuple[str, BaseGeometry]]:
    """Rows of an inventory: the code of its activity and its polygons, repaired, in CGCS2000."""
    from ..areas.model import moved  # noqa: PLC0415
    from ..areas.repair import cleaned_polygons  # noqa: PLC0415
    from ..areas.vector import LayerRequest, read_layer  # noqa: PLC0415
    from ..ledger import LEDGER_CRS  # noqa: PLC0415
    from ..ledger.baseline import SAME_DATUM, activity_code  # noqa: PLC0415

    if not field:
        raise ConfigError("FIELD_MISSING", path, "which field tells the activity?", "name it: --activity-field NAME")
    found = read_layer(LayerRequest(path, layer, (field,)), [path.parent])
    labels = [f"row {n}" for n in range(1, len(found.geometries) + 1)]
    shapes, _ = cleaned_polygons(found.geometries, found.crs, labels, path)
    if found.crs != LEDGER_CRS:
        shapes = [moved(shape, found.crs, LEDGER_CRS, SAME_DATUM, path.name) for shape in shapes]
    codes = [activity_code(w, f"{path} {row}") for w, row in zip(found.columns[field], labels, strict=True)]
    return list(zip(codes, shapes, strict=True))


def _check_known(ledger: Ledger, rules: LedgerSettings, areas: Sequence[str]) -> None:
    from ..ledger.assessment import assessed_areas  # noqa: PLC0415

    known = {area.area_id for area in assessed_areas(ledger, rules)}
    known |= {row["area_id"] for row in ledger.rows("unit")}
    for area_id in areas:
        if area_id not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise LedgerError("AREA_UNKNOWN", area_id, "neither ledger nor settings hold it", f"known: {listed}")


def _stock(
    teller: Teller,
    ledger: Ledger,
    areas: Sequence[str],
    as_of: date,
    rows: Sequence[tuple[str, BaseGeometry]] | None,
) -> dict[str, list[StockItem]]:
    from ..ledger.baseline import inventory_items, rows_within, standing_items  # noqa: PLC0415

    if rows is None:
        return {area_id: standing_items(ledger, area_id, as_of) for area_id in areas}
    placed = {area_id: rows_within(ledger, area_id, rows, as_of) for area_id in areas}
    elsewhere = len(rows) - len({n for numbers in placed.values() for n in numbers})
    if elsewhere:
        teller.warn(text("baseline_elsewhere", teller.language, rows=elsewhere), code="ROWS_ELSEWHERE", rows=elsewhere)
    return {area_id: inventory_items(area_id, [rows[n] for n in numbers]) for area_id, numbers in placed.items()}


def _tell_baseline(teller: Teller, area_id: str, event: Event | None) -> None:
    if event is None:
        teller.result(text("baseline_known", teller.language, area=area_id))
        return
    payload = event.payload
    values = {"items": len(payload["items"]), "hectares": payload["area_m2"] / 1e4, "digest": payload["digest"]}
    teller.result(text("baseline_frozen", teller.language, area=area_id, as_of=payload["as_of"], **values))
