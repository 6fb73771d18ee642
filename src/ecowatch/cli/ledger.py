"""Commands on the ledger as a file: is it whole, bring it up to date, make its views anew."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from ..errors import ExitCode, LedgerError
from ..texts import text
from .options import JsonOption, LangOption, LedgerPath, LedgerToo, TakeOver
from .reviews import app
from .teller import LogForm, Teller, errors_told, language_of, ledger_rules

ledger_app = typer.Typer(help="The ledger as a file.", no_args_is_help=True)
app.add_typer(ledger_app, name="ledger")


@ledger_app.command()
def verify(
    path: LedgerPath = None,
    ledger: LedgerToo = None,
    as_json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Check the ledger from its pages to its views: exit 0 if it is whole, 65 with what is wrong."""
    teller = Teller(LogForm.AUTO, language_of(lang))
    with errors_told(teller):
        from ..ledger.verify import verify as checked  # noqa: PLC0415

        place, _ = _place(path, ledger)
        found = checked(place)
        if as_json:
            told = found._asdict() | {"head": found.head._asdict()}
            typer.echo(json.dumps(told, ensure_ascii=False, indent=1))
        elif found.findings:
            for finding in found.findings:
                teller.result(finding)
            teller.warn(text("ledger_damaged", teller.language, path=place, count=len(found.findings)))
        else:
            head = {"seq": found.head.seq, "hash": found.head.hash}
            teller.result(
                text("ledger_whole", teller.language, events=found.events, digest=found.digest, **head),
            )
        raise typer.Exit(ExitCode.BAD_INPUT if found.findings else ExitCode.DONE)


@ledger_app.command()
def migrate(
    path: LedgerPath = None, ledger: LedgerToo = None, take_over: TakeOver = False, lang: LangOption = None
) -> None:
    """Bring an older ledger to this program's schema; a copy of it stays beside."""
    teller = Teller(LogForm.AUTO, language_of(lang))
    with errors_told(teller):
        from ..ledger import Ledger  # noqa: PLC0415
        from ..ledger.schema import VERSION  # noqa: PLC0415

        place, wait_s = _place(path, ledger, must_exist=True)
        with Ledger.writer(place, wait_s=wait_s, take_over=take_over):
            pass
        teller.result(text("ledger_migrated", teller.language, path=place, version=VERSION))


@ledger_app.command()
def rebuild(
    path: LedgerPath = None, ledger: LedgerToo = None, take_over: TakeOver = False, lang: LangOption = None
) -> None:
    """Make damaged views anew from a log that is whole; refused if the log itself is damaged."""
    teller = Teller(LogForm.AUTO, language_of(lang))
    with errors_told(teller):
        from ..ledger import Ledger  # noqa: PLC0415
        from ..ledger.verify import rebuild as rebuilt  # noqa: PLC0415

        place, wait_s = _place(path, ledger, must_exist=True)
        with Ledger.writer(place, wait_s=wait_s, take_over=take_over) as opened:
            events = rebuilt(opened)
        teller.result(text("ledger_rebuilt", teller.language, path=place, events=events))


def _place(path: Path | None, ledger: Path | None, *, must_exist: bool = False) -> tuple[Path, float]:
    """Return the ledger asked for, and how long to wait for another writer."""
    if (path is None) == (ledger is None):
        raise typer.BadParameter("give LEDGER.db or --ledger, one of them")
    wait_s = 0.0
    if ledger is not None:
        rules = ledger_rules(ledger)
        path, wait_s = rules.path, rules.lock_wait_s
    assert path is not None
    if must_exist and not path.is_file():
        raise LedgerError("LEDGER_MISSING", path, "there is none", "correct the path")
    return path, wait_s
