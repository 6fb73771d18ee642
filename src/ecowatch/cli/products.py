"""Commands on products: publish a period, check a published or a flagged GeoPackage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ExitCode
from ..texts import text
from .options import JsonOption, LangOption, LedgerFile, LedgerToo, LogOption, OnlyAreas, PeriodName
from .reviews import app
from .teller import LogForm, Teller, errors_told, language_of, ledger_rules

if TYPE_CHECKING:
    from ..report.quality_sheet import Finding


@app.command()
def publish(
    period: PeriodName,
    ledger: LedgerFile,
    area: OnlyAreas = None,
    log: LogOption = LogForm.AUTO,
    lang: LangOption = None,
) -> None:
    """Write the GeoPackage of a period from the ledger: counted, read-only, with its SHA-256 beside it."""
    teller = Teller(log, language_of(lang))
    with errors_told(teller):
        from ..ledger import Ledger  # noqa: PLC0415
        from ..report.published import publish as write  # noqa: PLC0415

        rules = ledger_rules(ledger)
        with Ledger.reader(rules.path) as opened:
            done = write(opened, period, rules.published, areas=area or ())
        if done.kept is not None:
            teller.warn(text("former_kept", teller.language, path=done.kept), path=str(done.kept))
        told = {"seq": done.head.seq, "hash": done.head.hash[:12], "sha256": done.sha256}
        counts = {layer: count for layer, count in done.counts.items() if not layer.startswith("code_")}
        listed = ", ".join(f"{layer} {count}" for layer, count in counts.items())
        teller.result(text("period_published", teller.language, period=period, counts=listed, **told), **told, **counts)
        teller.result(str(done.path.resolve()))


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE.gpkg", help="A published period, or a flagged.gpkg.")],
    ledger: LedgerToo = None,
    as_json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Hold a GeoPackage against the ledger file's quality rules, or the defaults: exit 65 where one is broken, else 0."""
    teller = Teller(LogForm.AUTO, language_of(lang))
    with errors_told(teller):
        from ..report.quality import check_product  # noqa: PLC0415
        from ..settings import LedgerSettings  # noqa: PLC0415

        rules = ledger_rules(ledger) if ledger else LedgerSettings()
        findings = check_product(file, rules.quality)
        errors = sum(finding.severity == "error" for finding in findings)
        if as_json:
            typer.echo(json.dumps([finding._asdict() for finding in findings], ensure_ascii=False, indent=1))
        else:
            _tell(teller, findings, errors)
        raise typer.Exit(ExitCode.BAD_INPUT if errors else ExitCode.DONE)


def _tell(teller: Teller, findings: list[Finding], errors: int) -> None:
    if not findings:
        teller.result(text("check_clean", teller.language))
        return
    header = [text(f"finding_{name}", teller.language) for name in ("severity", "rule", "layer", "feature", "found")]
    rows = [[f.severity, f.rule, f.layer, f.feature, f.found] for f in findings]
    # What stands in a file from outside is text and no command to the terminal.
    plain = [["".join(sign if sign.isprintable() else "?" for sign in cell) for cell in row] for row in rows]
    teller.table(header, plain)
    teller.result(text("check_found", teller.language, errors=errors, warnings=len(findings) - errors))
