"""Commands on problems: list, show, move along the life cycle, take a grouping apart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..codes import Activity, ChangeKind, ProblemState, Rectification
from ..errors import ExitCode
from ..texts import Language, text
from .options import AtOption, ByOption, JsonOption, LangOption, LedgerFile, OnlyAreas, OnlyStates, ReasonOption
from .reviews import app
from .teller import LogForm, Teller, errors_told, language_of, ledger_rules

if TYPE_CHECKING:
    from ..ledger import Event

problem_app = typer.Typer(help="Problems of the ledger.", no_args_is_help=True)
app.add_typer(problem_app, name="problem")


@problem_app.command(name="list")
def list_problems(
    ledger: LedgerFile,
    state: OnlyStates = None,
    area: OnlyAreas = None,
    as_json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """List the problems, with state, last change, hectares and deadline."""
    teller = Teller(LogForm.AUTO, language_of(lang))
    with errors_told(teller):
        from ..ledger import Ledger  # noqa: PLC0415

        with Ledger.reader(ledger_rules(ledger).path) as opened:
            rows = [dict(row) for row in opened.rows("problem", "withdrawn = 0 ORDER BY area_id, problem_id")]
        kept = [r for r in rows if (not state or r["state"] in state) and (not area or r["area_id"] in area)]
        if as_json:
            typer.echo(json.dumps([_plain(row) for row in kept], ensure_ascii=False, indent=1))
            return
        columns = ("area", "problem", "state", "change", "activity", "hectares", "responsible", "deadline")
        teller.table([text(name, teller.language) for name in columns], [_cells(row, teller.language) for row in kept])


@problem_app.command()
def show(problem: str, ledger: LedgerFile, lang: LangOption = None) -> None:
    """Print everything the ledger holds of one problem, as JSON: present state, history, verdicts, events."""
    teller = Teller(LogForm.AUTO, language_of(lang))
    with errors_told(teller):
        from ..ledger import Ledger, problem_row  # noqa: PLC0415

        with Ledger.reader(ledger_rules(ledger).path) as opened:
            told: dict[str, Any] = {"problem": _plain(dict(problem_row(opened, problem)))}
            for table in ("history", "verdict", "patch"):
                rows = opened.rows(table, "problem_id = ? ORDER BY seq", (problem,))
                told[table] = [_plain(dict(row)) for row in rows]
            events = opened.events("problem_id = ?", (problem,))
        told["events"] = [{"kind": e.kind, "period": e.period, "actor": e.actor, "at": e.at} for e in events]
        typer.echo(json.dumps(told, ensure_ascii=False, indent=1))


@problem_app.command()
def move(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    problem: str,
    ledger: LedgerFile,
    to: Annotated[ProblemState, typer.Option("--to", help="State to move to.")],
    by: ByOption,
    at: AtOption,
    reason: ReasonOption = "",
    responsible: Annotated[str | None, typer.Option("--responsible", help="Unit that must act.")] = None,
    deadline: Annotated[str | None, typer.Option("--deadline", help="Date by which.")] = None,
    rectification: Annotated[Rectification | None, typer.Option("--rectification", help="Kind of plan.")] = None,
    lang: LangOption = None,
) -> None:
    """Move a problem along its life: confirmed, to_rectify, rectifying, claimed_done, checked, closed …"""
    teller = Teller(LogForm.AUTO, language_of(lang))
    with errors_told(teller):
        from ..ledger import CasePlan, Ledger, Said  # noqa: PLC0415
        from ..ledger import move as moved  # noqa: PLC0415

        rules, plan = ledger_rules(ledger), CasePlan(responsible, deadline, rectification)
        with Ledger.writer(rules.path, wait_s=rules.lock_wait_s) as opened:
            event = moved(opened, problem, to, rules, said=Said(by, at, reason), plan=plan)
            _told(teller, opened.commit([event]), event)


@problem_app.command()
def apart(
    patch_a: str,
    patch_b: str,
    ledger: LedgerFile,
    by: ByOption,
    at: AtOption,
    reason: ReasonOption = "",
    lang: LangOption = None,
) -> None:
    """Undo a grouping: two patches that were taken for one problem are two, now and later."""
    teller = Teller(LogForm.AUTO, language_of(lang))
    with errors_told(teller):
        from ..ledger import Ledger, Said, take_apart  # noqa: PLC0415

        rules = ledger_rules(ledger)
        with Ledger.writer(rules.path, wait_s=rules.lock_wait_s) as opened:
            event = take_apart(opened, patch_a, patch_b, rules, said=Said(by, at, reason))
            _told(teller, opened.commit([event]), event)


def _told(teller: Teller, added: int, event: Event) -> None:
    teller.result(text("event_entered" if added else "event_known", teller.language, event=event.event_id[:12]))
    raise typer.Exit(ExitCode.DONE)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()}


def _cells(row: dict[str, Any], language: Language) -> list[str]:
    names = (ProblemState.of(row["state"]), ChangeKind.of(row["last_change"]), Activity.of(row["activity_code"]))
    state, change, activity = (n.zh if language == "zh" else n.en for n in names)
    merged = f" → {row['merged_into']}" if row["merged_into"] else ""
    size = f"{row['area_m2'] / 1e4:.2f}"
    return [
        row["area_id"],
        row["problem_id"] + merged,
        state,
        change,
        activity,
        size,
        row["responsible"],
        row["deadline"],
    ]
