"""The command that says what a review would do and how long it takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ExitCode
from ..texts import text
from .options import ClusterFile, JsonOption, LangOption, LogOption, ReviewFile
from .reviews import app, load_settings
from .teller import LogForm, Teller, errors_told, language_of

if TYPE_CHECKING:
    from ..review import PlanSummary


@app.command()
def plan(
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
    as_json: JsonOption = False,
    log: LogOption = LogForm.AUTO,
    lang: LangOption = None,
) -> None:
    """Say what a run would do: new, skip, recompute, scenes, megabytes, hours."""
    teller = Teller(log, language_of(lang))
    with errors_told(teller):
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
