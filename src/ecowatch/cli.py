"""The command line. Heavy modules are imported inside the commands: ``--help`` must answer at once."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from . import __version__
from .errors import EcowatchError, ExitCode
from .texts import Language, default_language, text

if TYPE_CHECKING:
    from .review import Plan, RunResult
    from .settings import Cluster, Pipeline, Review


class LogForm(StrEnum):
    """How progress is told."""

    AUTO = "auto"
    JSON = "json"


class Lang(StrEnum):
    """Language of tables and messages."""

    ZH = "zh"
    EN = "en"


app = typer.Typer(
    name="ecowatch",
    help="Find and follow human activity in protected areas and ecological red lines from satellite and UAV images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="Settings files.", no_args_is_help=True)
app.add_typer(config_app, name="config")

ReviewFile = Annotated[Path, typer.Argument(metavar="REVIEW.toml", help="Review file; see 'ecowatch config example'.")]
ClusterFile = Annotated[Path | None, typer.Option("--cluster", help="Cluster file; two local processes without it.")]
LogOption = Annotated[LogForm, typer.Option("--log", help="auto: a bar or lines; json: one JSON object per event.")]
LangOption = Annotated[Lang | None, typer.Option("--lang", help="zh or en; from LANG without it.")]


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
    teller = _Teller(log, _language(lang))
    with _errors_told(teller):
        from .review import expected_minutes, make_plan, planned_tasks, write_plan  # noqa: PLC0415

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
    teller = _Teller(LogForm.AUTO, _language(lang))
    with _errors_told(teller):
        from .evaluate import as_markdown, as_rows, as_table  # noqa: PLC0415
        from .evaluate import evaluate as judge  # noqa: PLC0415

        found = judge(folder, _pipelines(pipelines), baselines=not as_json, progress=teller.step)
        for message in found.problems:
            teller.warn(message)
        if out is not None:
            from .atomic import write_text  # noqa: PLC0415

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
    from .settings import shipped_files  # noqa: PLC0415

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
    teller = _Teller(log, _language(lang))
    with _errors_told(teller):
        from .report import run_table, write_quicklooks  # noqa: PLC0415
        from .review import run_review  # noqa: PLC0415

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


def _tell_result(teller: _Teller, result: RunResult) -> None:
    if result.reused:
        teller.result(text("reused", teller.language))
    for failure in result.failures:
        message = f"{text('failed', teller.language)}: {failure.area_id} {failure.what}: {failure.error}"
        teller.warn(message, area=failure.area_id, error=failure.error)


def _load(review: Path, cluster: Path | None) -> tuple[Review, Cluster]:
    from .settings import Cluster, Review, load  # noqa: PLC0415

    return load(Review, review), load(Cluster, cluster) if cluster else Cluster()


def _pipelines(folder: Path | None) -> dict[str, Pipeline]:
    from .settings import Pipeline, load, shipped_pipelines  # noqa: PLC0415

    if folder is None:
        return shipped_pipelines()
    read = [load(Pipeline, path) for path in sorted(folder.glob("*.toml"))]
    return {pipeline.name: pipeline for pipeline in read}


def _language(lang: Lang | None) -> Language:
    if lang is None:
        return default_language()
    return "zh" if lang is Lang.ZH else "en"


class _errors_told:  # noqa: N801 - reads as a phrase after 'with'
    """Turns errors and signals into one line and an exit code."""

    def __init__(self, teller: _Teller) -> None:
        self._teller = teller

    def __enter__(self) -> None:
        # SLURM and cron end jobs with SIGTERM: leave through the usual way out, so that temporary files go.
        signal.signal(signal.SIGTERM, self._teller.stop)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, EcowatchError):
            self._teller.warn(str(error), code=error.code)
            raise typer.Exit(error.exit_code) from error
        if isinstance(error, KeyboardInterrupt):
            raise typer.Exit(ExitCode.INTERRUPTED) from error


class _Teller:
    """Words on stderr, results on stdout; a bar on a terminal, a line per area elsewhere, JSON on request."""

    def __init__(self, log: LogForm, language: Language) -> None:
        self.language = language
        self._json = log is LogForm.JSON
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}
        self._finished: set[tuple[str, str]] = set()
        self._stopped = False

    def __enter__(self) -> None:
        if not self._json and sys.stderr.isatty():
            from rich.console import Console  # noqa: PLC0415
            from rich.progress import Progress  # noqa: PLC0415

            self._bar = Progress(console=Console(stderr=True), transient=True)
            self._bar.start()

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def stop(self, *_: Any) -> NoReturn:
        """Handle SIGTERM: leave at once, or, where a library swallows that, after the task under way."""
        self._stopped = True
        raise SystemExit(ExitCode.TRY_AGAIN)

    def progress(self, area: str, step: str, done: int, total: int) -> None:
        """Tell of a finished task; leave here if the signal to stop was lost."""
        if self._stopped:
            raise SystemExit(ExitCode.TRY_AGAIN)
        if self._json:
            self._event("progress", area=area, step=step, done=done, total=total)
        elif self._bar is not None:
            if step not in self._tasks:
                self._tasks[step] = self._bar.add_task(text(f"step_{step}", self.language), total=total)
            self._bar.update(self._tasks[step], completed=done)
        elif (area, step) not in self._finished:
            self._finished.add((area, step))
            typer.echo(f"{area}: {text(f'step_{step}', self.language)} ({done}/{total})", err=True)

    def step(self, name: str) -> None:
        """Tell what is being worked on; leave here if the signal to stop was lost."""
        if self._stopped:
            raise SystemExit(ExitCode.TRY_AGAIN)
        typer.echo(name, err=True)

    def warn(self, message: str, **fields: object) -> None:
        """Tell of something that went wrong, with its parts for the JSON form."""
        if self._json:
            self._event("warning", message=message, **fields)
        else:
            typer.echo(message, err=True)

    def tell_quarantined(self, plan: Plan) -> None:
        """Tell which scenes cannot be trusted, and what to do about each."""
        for q in plan.quarantined:
            message = f"{text('quarantined', self.language)}: {q.code} {q.where}: {q.finding}; {q.remedy}"
            self.warn(message, code=q.code, file=q.where)

    def result(self, message: str, **fields: object) -> None:
        """Tell a result, on stdout unless as JSON."""
        if self._json:
            self._event("result", message=message, **fields)
        else:
            typer.echo(message)

    def table(self, header: list[str], rows: list[list[str]]) -> None:
        """Print a table, or its rows as JSON."""
        if self._json:
            for row in rows:
                self._event("row", **dict(zip(header, row, strict=True)))
            return
        from rich.console import Console  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415

        table = Table(*header)
        for row in rows:
            table.add_row(*row)
        Console(width=None if sys.stdout.isatty() else 160).print(table)

    def _event(self, kind: str, **fields: object) -> None:
        import structlog  # noqa: PLC0415

        log: Callable[..., Any] = structlog.wrap_logger(
            structlog.PrintLogger(sys.stderr),
            processors=[
                structlog.processors.TimeStamper(fmt="iso"),
                structlog.processors.JSONRenderer(_dumps),
            ],
        ).info
        log(kind, **fields)


def _dumps(value: object, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=options.get("default", str))


def main() -> None:
    """Entry point of the command ``ecowatch``."""
    app()
