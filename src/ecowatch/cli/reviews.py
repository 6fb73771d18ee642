"""Commands on reviews: run, rerun, plan, evaluate, settings files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import __version__
from ..errors import ExitCode
from ..texts import text
from .teller import ClusterFile, Lang, LangOption, LogForm, LogOption, ReviewFile, Teller, errors_told, language_of

if TYPE_CHECKING:
    from ..review import RunResult
    from ..settings import Cluster, Pipeline, Review


app = typer.Typer(
    name="ecowatch",
    help="Find and follow human activity in protected areas and ecological red lines from satellite and UAV images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="Settings files.", no_args_is_help=True)
app.add_typer(config_app, name="config")


@app.command()
def run(
    review: ReviewFile, cluster: ClusterFile = None, log: LogOption = LogForm.AUTO, lang: LangOption = None
) -> None:
    """Carry out a review and write its GeoPackage."""
    _run(review, None, cluster, log, lang)


@app.command()
def rerun(
    review: ReviewFile,
    area: Annotated[list[str], typer.Option("--area", help="Identity of an area; may be repeated.")],
    cluster: ClusterFile = None,
    log: LogOption = LogForm.AUTO,
    lang: LangOption = None,
) -> None:
    """Carry out a review for some of its areas: the same code with a shorter list of tasks."""
    _run(review, tuple(area), cluster, log, lang)


@app.command()
def plan(
    review: ReviewFile,
    cluster: ClusterFile = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where to write plan.jsonl; beside the runs without it.")
    ] = None,
    log: LogOption = LogForm.AUTO,
    lang: LangOption = None,
) -> None:
    """Say what a run would do: new, skip, recompute, scenes, megabytes, minutes."""
    teller = Teller(log, language_of(lang))
    with errors_told(teller):
        from ..review import expected_minutes, make_plan, planned_tasks, write_plan  # noqa: PLC0415

        settings, place = _load(review, cluster)
        made = make_plan(settings)
        tasks = planned_tasks(made, place)
        path = out or settings.runs / settings.name / "plan.jsonl"
        write_plan(made, tasks, path)
        counts = {status: sum(t.status == status for t in tasks) for status in ("new", "skip", "recompute")}
        cost = {
            "scenes": made.scenes_found,
            "megabytes": sum(t.megabytes for t in tasks if t.status != "skip"),
            "minutes": expected_minutes(tasks, place.workers),
        }
        teller.tell_quarantined(made)
        for lone in made.unpaired:
            teller.warn(f"{lone.code} {lone.area.area_id}: {lone.finding}", area=lone.area.area_id, code=lone.code)
        teller.result(text("plan_line", teller.language, **counts, **cost), plan=str(path), **counts, **cost)
        teller.result(str(path.resolve()))
        raise typer.Exit(ExitCode.PARTIAL if made.quarantined else ExitCode.DONE)


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Holds registry.json and the labelled pairs.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list with an object per pair.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the tables as a Markdown page.")] = None,
    pipelines: Annotated[
        Path | None, typer.Option("--pipelines", help="Folder of pipeline files; the shipped ones without it.")
    ] = None,
    lang: LangOption = None,
) -> None:
    """Judge the pipelines on labelled pairs, through the review's own code, beside untuned baselines."""
    teller = Teller(LogForm.AUTO, language_of(lang))
    with errors_told(teller):
        from ..evaluate import as_markdown, as_rows, as_table  # noqa: PLC0415
        from ..evaluate import evaluate as judge  # noqa: PLC0415

        found = judge(folder, _pipelines(pipelines), baselines=not as_json, progress=teller.step)
        for message in found.problems:
            teller.warn(message)
        if out is not None:
            from ..atomic import write_text  # noqa: PLC0415

            write_text(out, as_markdown(found))
        if as_json:
            typer.echo(json.dumps(as_rows(found), indent=1))
        else:
            teller.table(*as_table(found))
        raise typer.Exit(ExitCode.PARTIAL if found.problems else ExitCode.DONE)


@config_app.command()
def example(
    name: Annotated[str, typer.Argument(help="example, or a shipped file such as pipelines/uav.toml.")] = "example",
) -> None:
    """Print a commented settings file, written from the program's own models."""
    from ..settings import shipped_files  # noqa: PLC0415

    files = shipped_files()
    if name not in files:
        typer.echo(f"no shipped file {name!r}; there are: {', '.join(files)}", err=True)
        raise typer.Exit(ExitCode.USAGE)
    typer.echo(files[name], nl=False)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def _run(path: Path, areas: tuple[str, ...] | None, cluster: Path | None, log: LogForm, lang: Lang | None) -> None:
    teller = Teller(log, language_of(lang))
    with errors_told(teller):
        from ..report import run_table, write_quicklooks  # noqa: PLC0415
        from ..review import run_review  # noqa: PLC0415

        settings, place = _load(path, cluster)
        if areas:
            settings = settings.model_copy(update={"only": areas})
        with teller:
            result = run_review(settings, place, progress=teller.progress, products=[write_quicklooks])
        teller.tell_quarantined(result.plan)
        _tell_result(teller, result)
        teller.table(*run_table(result.folder, teller.language))
        teller.result(f"{text('written', teller.language)}: {(result.folder / 'flagged.gpkg').resolve()}")
        raise typer.Exit(result.exit_code)


def _tell_result(teller: Teller, result: RunResult) -> None:
    if result.reused:
        teller.result(text("reused", teller.language))
    for failure in result.failures:
        message = f"{text('failed', teller.language)}: {failure.area_id} {failure.what}: {failure.error}"
        teller.warn(message, area=failure.area_id, error=failure.error)


def _load(review: Path, cluster: Path | None) -> tuple[Review, Cluster]:
    from ..settings import Cluster, Review, load  # noqa: PLC0415

    return load(Review, review), load(Cluster, cluster) if cluster else Cluster()


def _pipelines(folder: Path | None) -> dict[str, Pipeline]:
    from ..settings import Pipeline, load, shipped_pipelines  # noqa: PLC0415

    if folder is None:
        return shipped_pipelines()
    read = [load(Pipeline, path) for path in sorted(folder.glob("*.toml"))]
    return {pipeline.name: pipeline for pipeline in read}
