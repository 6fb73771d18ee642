"""Commands on what leaves and comes back: verdicts in working copies, clue packages, packages between nodes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ..codes import VerdictKind, VerdictReason
from ..errors import ExitCode
from ..texts import text
from .options import (
    AtOption,
    ByOption,
    KeyOption,
    LangOption,
    LedgerFile,
    OnlyAreas,
    OnlyStates,
    PeriodName,
    RankOption,
    ReceiptFile,
)
from .reviews import app
from .teller import LogForm, Teller, errors_told, language_of, ledger_rules

if TYPE_CHECKING:
    from ..desk import Merged
    from ..report.exchange_in import Taken

review_app = typer.Typer(help="Verdicts: working copies out and in.", no_args_is_help=True)
clue_app = typer.Typer(help="Clues handed over to the unit that must act.", no_args_is_help=True)
exchange_app = typer.Typer(help="Packages between nodes.", no_args_is_help=True)
app.add_typer(review_app, name="review")
app.add_typer(clue_app, name="clue")
app.add_typer(exchange_app, name="exchange")


@review_app.command(name="export")
def export_verdicts(
    period: PeriodName,
    out: Annotated[Path, typer.Argument(metavar="OUT.gpkg", help="The working copy; an existing one is not replaced.")],
    ledger: LedgerFile,
    area: OnlyAreas = None,
    state: OnlyStates = None,
    lang: LangOption = None,
) -> None:
    """Write a working copy: problems and patches to look at, and a log that takes verdicts."""
    teller = Teller(LogForm.AUTO, language_of(lang))
    with errors_told(teller):
        from ..desk import CopyScope, export_copy  # noqa: PLC0415
        from ..ledger import Ledger  # noqa: PLC0415

        rules = ledger_rules(ledger)
        scope = CopyScope(period, tuple(area or ()), tuple(state or ()))
        with Ledger.reader(rules.path) as opened:
            counts = export_copy(opened, out, scope, node=rules.node)
        teller.result(text("copy_written", teller.language, path=out, **counts._asdict()), **counts._asdict())


@review_app.command(name="import")
def import_verdicts(
    copies: Annotated[
        list[Path], typer.Argument(metavar="COPY.gpkg...", help="Working copies of one or more reviewers.")
    ],
    ledger: LedgerFile,
    lang: LangOption = None,
) -> None:
    """Enter the verdicts of working copies; exit 3 where reviewers differ or a row is set aside."""
    teller = Teller(LogForm.AUTO, language_of(lang))
    with errors_told(teller):
        from ..desk import import_copies, read_copy  # noqa: PLC0415
        from ..ledger import Ledger  # noqa: PLC0415

        rules = ledger_rules(ledger)
        with Ledger.writer(rules.path, wait_s=rules.lock_wait_s) as opened:
            done = import_copies(opened, [read_copy(copy, opened) for copy in copies])
        _tell_merged(teller, done)


@review_app.command()
def resolve(
    problem: Annotated[str, typer.Argument(metavar="PROBLEM")],
    ledger: LedgerFile,
    verdict: Annotated[VerdictKind, typer.Option("--verdict", help="The arbiter's verdict.")],
    by: ByOption,
    at: AtOption,
    reason: Annotated[VerdictReason, typer.Option("--reason", help="Coded reason.")] = VerdictReason.NONE,
    note: Annotated[str, typer.Option("--note", help="In words.")] = "",
    lang: LangOption = None,
) -> None:
    """Settle, by name, what reviewers do not agree on; their verdicts stay as they are."""
    teller = Teller(LogForm.AUTO, language_of(lang))
    with errors_told(teller):
        from ..desk import Ruling  # noqa: PLC0415
        from ..desk import resolve as settle  # noqa: PLC0415
        from ..ledger import Ledger  # noqa: PLC0415

        rules = ledger_rules(ledger)
        with Ledger.writer(rules.path, wait_s=rules.lock_wait_s) as opened:
            done = settle(opened, problem, Ruling(verdict, reason, by, at, note))
        _tell_merged(teller, done)


@review_app.command()
def conflicts(ledger: LedgerFile, lang: LangOption = None) -> None:
    """List what reviewers do not agree on; exit 3 where there is any."""
    teller = Teller(LogForm.AUTO, language_of(lang))
    with errors_told(teller):
        from ..desk import Merged, open_conflicts  # noqa: PLC0415
        from ..ledger import Ledger  # noqa: PLC0415

        with Ledger.reader(ledger_rules(ledger).path) as opened:
            found = open_conflicts(opened)
        _tell_merged(teller, Merged(0, (), (), found))


@clue_app.command(name="export")
def export_clue(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    problems: Annotated[list[str], typer.Argument(metavar="PROBLEM...", help="One problem, or a list for one clue.")],
    ledger: LedgerFile,
    to: Annotated[str, typer.Option("--to", help="Unit that receives it.")],
    deadline: Annotated[str, typer.Option("--deadline", help="Date by which it must be dealt with.")],
    at: AtOption,
    by: ByOption,
    out: Annotated[Path, typer.Option("--out", help="Folder in which the clue is made.")],
    as_zip: Annotated[bool, typer.Option("--zip", help="One zip instead of a folder.")] = False,
    run: Annotated[list[Path] | None, typer.Option("--run", help="Run folder from whose scenes chips are cut.")] = None,
    review: Annotated[list[Path] | None, typer.Option("--review", help="Review file, likewise.")] = None,
    lang: LangOption = None,
) -> None:
    """Hand a problem over: facts, chips, coordinates, digests, and a receipt to fill in; the ledger remembers it."""
    teller = Teller(LogForm.AUTO, language_of(lang))
    with errors_told(teller):
        from ..ledger import Ledger  # noqa: PLC0415
        from ..report.clues import HandOver, make_clue, review_of_run, write_clue  # noqa: PLC0415
        from ..settings import Review, load  # noqa: PLC0415

        rules = ledger_rules(ledger)
        reviews = [*(load(Review, path) for path in review or ()), *map(review_of_run, run or ())]
        with Ledger.writer(rules.path, wait_s=rules.lock_wait_s) as opened:
            clue = make_clue(opened, problems, HandOver(to, deadline, at, by), reviews)
            # The files first: what the ledger says was handed over must exist.
            path = write_clue(clue, out, as_zip=as_zip)
            opened.commit([clue.event])
        for problem, why in clue.without_chips.items():
            teller.warn(f"{problem}: {text('clue_no_chips', teller.language)}: {why}", problem=problem)
        told = {"path": path, "problems": len(set(problems)), "clue": clue.clue_id}
        teller.result(text("clue_written", teller.language, **told), **told)


@clue_app.command(name="receipt")
def clue_receipt(path: ReceiptFile, ledger: LedgerFile, lang: LangOption = None) -> None:
    """Record the receipt of a clue that came back filled in."""
    teller = Teller(LogForm.AUTO, language_of(lang))
    with errors_told(teller):
        from ..ledger import Ledger  # noqa: PLC0415
        from ..report.clues import receive_clue  # noqa: PLC0415

        rules = ledger_rules(ledger)
        with Ledger.writer(rules.path, wait_s=rules.lock_wait_s) as opened:
            added = receive_clue(opened, path)
        teller.result(text("clue_recorded" if added else "clue_known", teller.language), added=added)


@exchange_app.command(name="export")
def export_events(
    ledger: LedgerFile,
    to: Annotated[str, typer.Option("--to", help="Name of the node that is to receive it.")],
    out: Annotated[Path, typer.Option("--out", help="The package, a zip.")],
    key: KeyOption,
    area: OnlyAreas = None,
    since: Annotated[int, typer.Option("--since", min=0, help="Only events after this number of the log.")] = 0,
    rank: RankOption = None,
    lang: LangOption = None,
) -> None:
    """Write a signed package of events for another node."""
    teller = Teller(LogForm.AUTO, language_of(lang))
    with errors_told(teller):
        from ..ledger import Ledger  # noqa: PLC0415
        from ..report.exchange import Node, Selection, export_package, rank_of  # noqa: PLC0415
        from ..report.signing import read_key  # noqa: PLC0415

        rules = ledger_rules(ledger)
        node = Node(rules.node, rank_of(rules.node) if rank is None else rank)
        secret = read_key(key)
        with Ledger.reader(rules.path) as opened:
            selection = Selection(tuple(area or ()), since)
            made = export_package(opened, out, selection, sender=node, receiver=to, key=secret)
        told = {"count": made["count"], "seq": made["to_seq"]}
        teller.result(text("package_written", teller.language, path=out, **told), **told)


@exchange_app.command(name="import")
def import_events(
    package: Annotated[Path, typer.Argument(metavar="PACKAGE.zip")],
    ledger: LedgerFile,
    key: KeyOption,
    out: Annotated[Path, typer.Option("--out", help="Where to write the signed receipt.")],
    rank: RankOption = None,
    lang: LangOption = None,
) -> None:
    """Enter another node's package; exit 3 where events are refused or the nodes differ."""
    teller = Teller(LogForm.AUTO, language_of(lang))
    with errors_told(teller):
        from ..ledger import Ledger  # noqa: PLC0415
        from ..report.exchange import Node, rank_of, read_package  # noqa: PLC0415
        from ..report.exchange_in import take_package  # noqa: PLC0415
        from ..report.exchange_receipt import write_receipt  # noqa: PLC0415
        from ..report.signing import read_key  # noqa: PLC0415

        rules = ledger_rules(ledger)
        node = Node(rules.node, rank_of(rules.node) if rank is None else rank)
        secret = read_key(key)
        read = read_package(package, key=secret, receiver=node.name)
        with Ledger.writer(rules.path, wait_s=rules.lock_wait_s) as opened:
            taken = take_package(opened, read, node=node)
            write_receipt(out, opened, read, taken, key=secret)
        _tell_taken(teller, taken)


@exchange_app.command()
def receipt(
    path: ReceiptFile,
    ledger: LedgerFile,
    key: KeyOption,
    lang: LangOption = None,
) -> None:
    """Record the receipt of a package that this node sent."""
    teller = Teller(LogForm.AUTO, language_of(lang))
    with errors_told(teller):
        from ..ledger import Ledger  # noqa: PLC0415
        from ..report.exchange_receipt import record_receipt  # noqa: PLC0415
        from ..report.signing import read_key  # noqa: PLC0415

        rules = ledger_rules(ledger)
        secret = read_key(key)
        with Ledger.writer(rules.path, wait_s=rules.lock_wait_s) as opened:
            added = record_receipt(opened, path, key=secret, node=rules.node)
        teller.result(text("receipt_recorded" if added else "receipt_known", teller.language), added=added)


def _tell_merged(teller: Teller, done: Merged) -> NoReturn:
    for row in done.refused:
        teller.warn(f"{text('row_set_aside', teller.language)}: {row}", code=row.code, where=row.where)
    for conflict in done.conflicts:
        told = f"{conflict.code} {conflict.problem_id}: {conflict.finding}"
        teller.warn(f"{text('conflict', teller.language)}: {told}", code=conflict.code, problem=conflict.problem_id)
    counts = {"added": done.added, "moved": len(done.moved)}
    counts |= {"conflicts": len(done.conflicts), "refused": len(done.refused)}
    teller.result(text("verdicts_entered", teller.language, **counts), **counts)
    raise typer.Exit(ExitCode.PARTIAL if done.conflicts or done.refused else ExitCode.DONE)


def _tell_taken(teller: Teller, taken: Taken) -> NoReturn:
    for event in taken.refused:
        told = f"{event.code} {event.event_id[:12]}: {event.finding}"
        teller.warn(f"{text('event_refused', teller.language)}: {told}", code=event.code)
    for difference in taken.differences:
        told = text("nodes_differ", teller.language, **difference._asdict())
        teller.warn(told, problem=difference.problem_id, holds=difference.holds)
    counts = {"accepted": taken.accepted, "duplicates": taken.duplicates}
    counts |= {"refused": len(taken.refused), "differences": len(taken.differences)}
    teller.result(text("package_taken", teller.language, **counts), **counts)
    raise typer.Exit(ExitCode.PARTIAL if taken.refused or taken.differences else ExitCode.DONE)
