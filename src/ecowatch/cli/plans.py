"""The command that says what a review would do and how long it takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from ..errors import ExitCode
from ..texts import text
from .lean import lean_imports
from .options import ClusterFile, JsonOption, LangOption, LogOption, ReviewFile
from .reviews import app, load_settings
from .teller import LogForm, Teller, errors_told, language_of

if TYPE_CHECKING:
    from ..review import PlanSummary, Triaged


@app.command()
def plan(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    review: ReviewFile,
    cluster: ClusterFile = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where to write plan.jsonl; beside the runs without it.")
    ] = None,
    workers: Annotated[
        str, typer.Option("--workers", metavar="N,N,…", help="Tell the hours on so many workers, such as 1,8,32.")
    ] = "",
    rates: Annotated[
        Path | None, typer.Option("--rates", help="What work costs, TOML from 'benchmarks/national.py rates'.")
    ] = None,
    by_overviews: Annotated[
        bool, typer.Option("--triage", help="Instead, list which areas to review first, from overviews; no result.")
    ] = False,
    as_json: JsonOption = False,
    log: LogOption = LogForm.AUTO,
    lang: LangOption = None,
) -> None:
    """Say what a run would do: new, skip, recompute, scenes, megabytes, hours."""
    teller = Teller(log, language_of(lang))
    if by_overviews:
        if out is not None or workers or rates is not None:
            raise typer.BadParameter("it ends in a list; there is no plan to write", param_hint="--triage")
        _triage(review, cluster, teller, as_json=as_json)
    with errors_told(teller):
        with lean_imports():
            from ..review import plan_to_file  # noqa: PLC0415
            from ..settings import Rates, load  # noqa: PLC0415

        numbers = _numbers(workers)
        settings, place = load_settings(review, cluster)
        path = out or settings.runs / settings.name / "plan.jsonl"
        asked = dict.fromkeys((place.workers, *numbers))
        measured = load(Rates, rates) if rates else None
        made = plan_to_file(settings, place, path, workers=tuple(asked), rates=measured)
        told = _told(made, place.workers)
        teller.tell_quarantined(made)
        for area, code, finding in made.unpaired:
            teller.warn(f"{code} {area}: {finding}", area=area, code=code)
        if as_json:
            typer.echo(json.dumps(told | {"plan": str(path.resolve())}, ensure_ascii=False))
        else:
            _tell(teller, told, path, numbers)
        raise typer.Exit(ExitCode.PARTIAL if made.quarantined else ExitCode.DONE)


def _triage(review: Path, cluster: Path | None, teller: Teller, *, as_json: bool) -> NoReturn:
    with errors_told(teller):
        with lean_imports():
            from ..review import make_plan, triage  # noqa: PLC0415

        settings, place = load_settings(review, cluster)
        with teller:
            made = make_plan(settings)
            found = triage(
                made,
                workers=place.workers,
                progress=lambda area, done, total: teller.progress(area, "triage", done, total),
            )
        teller.tell_quarantined(made)
        if as_json:
            typer.echo(json.dumps([one._asdict() for one in found], ensure_ascii=False, indent=1))
        else:
            names = ("area", "dates", "comparable", "changed", "hectares_rough", "note")
            teller.table([text(name, teller.language) for name in names], [_triage_row(one) for one in found])
        teller.warn(text("triage_note", teller.language))
        raise typer.Exit(ExitCode.PARTIAL if made.quarantined else ExitCode.DONE)


def _triage_row(one: Triaged) -> list[str]:
    shares = ["" if share is None else f"{100 * share:.2f} %" for share in (one.usable_share, one.changed_share)]
    dates = f"{one.before} → {one.after}" if one.after else ""
    rough = "" if one.changed_ha is None else f"{one.changed_ha:.1f}"
    return [f"{one.area_id} {one.area_name}", dates, *shares, rough, one.note]


def _numbers(workers: str) -> tuple[int, ...]:
    parts = [part.strip() for part in workers.split(",")] if workers else []
    if not all(part.isdecimal() and 0 < int(part) <= 100_000 for part in parts):
        raise typer.BadParameter(f"{workers!r} is no list of whole numbers such as 1,8,32", param_hint="--workers")
    return tuple(int(part) for part in parts)


def _told(made: PlanSummary, own: int) -> dict[str, Any]:
    expected = made.expected
    hours = expected.hours()
    return {
        "run_id": made.run_id,
        **expected.counts,
        "areas": made.areas,
        "comparisons": made.comparisons,
        "copies": len(expected.copied),
        "fits": expected.fits,
        "tiles": made.lines,
        "scenes": made.scenes_found,
        "megabytes": round(expected.megabytes, 1),
        "minutes": round(hours[own] * 60, 2),
        "hours": {str(n): round(h, 4) for n, h in hours.items()},
        "busy_share": {str(n): round(s.busy_share, 3) for n, s in expected.schedules.items()},
    }


def _tell(teller: Teller, told: dict[str, Any], path: Path, numbers: tuple[int, ...]) -> None:
    line = text("plan_line", teller.language, **told)
    teller.result(line, plan=str(path), **told)
    if numbers:
        rows = [[str(n), f"{told['hours'][str(n)]:.2f}", f"{told['busy_share'][str(n)]:.0%}"] for n in numbers]
        teller.table([text(f"plan_{name}", teller.language) for name in ("workers", "hours", "busy")], rows)
    teller.result(str(path.resolve()))
