"""Commands on reviews: run, rerun, evaluate, settings files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Annotated, NamedTuple, NoReturn

import typer

from .. import __version__
from ..codes import ChangeKind
from ..errors import ExitCode
from ..texts import text
from .ending import ending
from .lean import lean_imports
from .lines import boundary_of, tell_boundary
from .options import (
    AreaIds,
    ClusterFile,
    EnterOption,
    JsonOption,
    LangOption,
    LedgerFile,
    LogOption,
    PlanToo,
    ReissueOption,
    ReviewFile,
)
from .teller import LogForm, Teller, errors_told, language_of, ledger_rules

if TYPE_CHECKING:
    from ..ledger import EnteredUnit
    from ..review import RunResult, TaskResult
    from ..settings import Cluster, LedgerSettings, Pipeline, Review


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
    review: ReviewFile,
    cluster: ClusterFile = None,
    ledger: EnterOption = None,
    reissue: ReissueOption = "",
    plan: PlanToo = None,
    shard: Annotated[
        str,
        typer.Option(
            "--shard", metavar="I/N", help="Only part I of N of the plan, 0/N first; 'ecowatch merge' ends it."
        ),
    ] = "",
    log: LogOption = LogForm.AUTO,
    lang: LangOption = None,
) -> None:
    """Carry out a review and write its GeoPackage; with --ledger, enter it."""
    teller = Teller(log, language_of(lang))
    if plan is not None or shard:
        if ledger is not None:
            raise typer.BadParameter("a shard publishes nothing; give it to 'ecowatch merge'", param_hint="--ledger")
        _run_shard(review, cluster, teller, plan, shard)
    carry_out(review, cluster, teller, Entry(ledger, reissue))


@app.command()
def rerun(
    review: ReviewFile,
    area: AreaIds,
    cluster: ClusterFile = None,
    ledger: EnterOption = None,
    reissue: ReissueOption = "",
    log: LogOption = LogForm.AUTO,
    lang: LangOption = None,
) -> None:
    """Carry out a review for some of its areas: the same code with a shorter list of tasks."""
    # Processes would take longer to start than one area takes.
    threads = cluster is None and len(area) == 1
    carry_out(review, cluster, Teller(log, language_of(lang)), Entry(ledger, reissue), tuple(area), threads=threads)


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Holds registry.json and the labelled pairs.")],
    as_json: JsonOption = False,
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


def carry_out(
    path: Path,
    cluster: Path | None,
    teller: Teller,
    entry: Entry,
    areas: tuple[str, ...] = (),
    *,
    threads: bool = False,
) -> None:
    """Carry a review out, or some of its areas, in `threads` if so; enter it, tell of its end, leave with its exit code."""
    with errors_told(teller), lean_imports(frames=entry.ledger is not None):
        place = load_cluster(cluster)
    if threads:
        place = place.model_copy(update={"scheduler": "threads"})
    with errors_told(teller), ending(teller, path, place) as end:
        with lean_imports(frames=entry.ledger is not None):
            settings = end.review = load_review(path)
            _fork_ahead(place)
            from ..report import write_quicklooks  # noqa: PLC0415
            from ..review import run_review  # noqa: PLC0415

        rules = entry.rules()
        if areas:
            settings = settings.model_copy(update={"only": areas})
        with teller:
            _load_ahead(place)
            result = end.result = run_review(settings, place, progress=teller.progress, products=[write_quicklooks])
        finish(teller, result, rules, entry.reissue)


def _fork_ahead(cluster: Cluster) -> None:
    """Let the workers' imports begin beside those of this process."""
    if cluster.scheduler == "processes":
        from ..forks import prepare_forks  # noqa: PLC0415

        prepare_forks()


def _load_ahead(cluster: Cluster) -> None:
    """Load compiled code while the plan is made, which waits for files most of its time; other processes load their own."""
    if cluster.scheduler == "threads":
        from ..review.tile import warm_up  # noqa: PLC0415

        # As a daemon: a review that cannot begin does not wait for it.
        Thread(target=warm_up, name="load ahead", daemon=True).start()


def _run_shard(path: Path, cluster: Path | None, teller: Teller, plan: Path | None, shard: str) -> NoReturn:
    with errors_told(teller):
        if plan is None or not shard:
            raise typer.BadParameter(
                "one without the other; 'ecowatch plan --out' writes a plan", param_hint="--plan, --shard"
            )
        with lean_imports():
            from ..review import Shard, run_shard  # noqa: PLC0415

        try:
            part = Shard.parse(shard)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--shard") from error
        settings, place = load_settings(path, cluster)
        _fork_ahead(place)
        with teller:
            result = run_shard(settings, place, plan, part, progress=teller.progress)
        tell_failures(teller, result.failures)
        counts = {"tiles": result.tiles, "skipped": result.skipped, "failures": len(result.failures)}
        teller.result(text("shard_line", teller.language, shard=str(part), **counts), shard=str(part), **counts)
        raise typer.Exit(result.exit_code)


def finish(teller: Teller, result: RunResult, rules: LedgerSettings | None, reissue: str) -> NoReturn:
    """Tell what came of a run, enter it into a ledger where one is given, and leave with its exit code."""
    from ..report import run_table  # noqa: PLC0415

    teller.tell_quarantined(result.plan)
    if result.reused:
        teller.result(text("reused", teller.language))
    tell_failures(teller, result.failures)
    teller.table(*run_table(result.folder, teller.language))
    teller.result(f"{text('written', teller.language)}: {(result.folder / 'flagged.gpkg').resolve()}")
    if rules is not None:
        _enter(teller, result, rules, reissue)
    raise typer.Exit(result.exit_code)


class Entry(NamedTuple):
    """Into which ledger a run is entered, and why a signed period is issued again."""

    ledger: Path | None
    reissue: str

    def rules(self) -> LedgerSettings | None:
        """Read the ledger's settings before anything is computed: a typing slip must not cost a night."""
        return ledger_rules(self.ledger) if self.ledger else None


def _enter(teller: Teller, result: RunResult, rules: LedgerSettings, reissue: str) -> None:
    from ..ledger import Ledger, enter_run  # noqa: PLC0415

    boundaries = [boundary_of(area, rules, result.plan.allowed) for area in result.plan.areas]
    with Ledger.writer(rules.path, wait_s=rules.lock_wait_s) as ledger:
        entered = enter_run(ledger, result.folder, rules, boundaries=boundaries, reissue=reissue)
        head = ledger.head
    for unit in entered.units:
        if unit.boundary is not None and unit.boundary.payload["changes"]:
            tell_boundary(teller, unit.area_id, unit.boundary)
        _tell_unit(teller, unit)
    for left in entered.left_out:
        teller.warn(text("left_out", teller.language, area=left), area=left)
    added = text("entered", teller.language, added=entered.added, seq=head.seq, head=head.hash[:12])
    teller.result(added, added=entered.added, seq=head.seq, head=head.hash)


def _tell_unit(teller: Teller, unit: EnteredUnit) -> None:
    if unit.differences:
        told = json.dumps(unit.differences, ensure_ascii=False)
        message = text("reissued", teller.language, area=unit.area_id, period=unit.period, issue=unit.issue, why=told)
        teller.warn(message, area=unit.area_id, differences=unit.differences)
    if unit.changes:
        counts = ", ".join(
            f"{ChangeKind.of(code).zh if teller.language == 'zh' else ChangeKind.of(code).en} {number}"
            for code, number in sorted(unit.changes.items())
        )
        teller.result(f"{unit.area_id} {unit.period}: {counts}", area=unit.area_id, changes=dict(unit.changes))


@app.command()
def diff(
    folder: Annotated[Path, typer.Argument(metavar="RUN_FOLDER", help="A finished run.")],
    ledger: LedgerFile,
    log: LogOption = LogForm.AUTO,
    lang: LangOption = None,
) -> None:
    """Explain how a run differs from what the ledger holds of its period; changes nothing."""
    teller = Teller(log, language_of(lang))
    with errors_told(teller):
        from ..ledger import Ledger, run_differences  # noqa: PLC0415

        rules = ledger_rules(ledger)
        with Ledger.reader(rules.path) as opened:
            found = run_differences(opened, folder, rules)
        for area, why in sorted(found.items()):
            told = json.dumps(why, ensure_ascii=False, indent=1) if why else text("no_difference", teller.language)
            teller.result(f"{area}: {told}", area=area, differences=why)


def tell_failures(teller: Teller, failures: Iterable[TaskResult]) -> None:
    """Tell which tasks failed, and why."""
    for failure in failures:
        message = f"{text('failed', teller.language)}: {failure.area_id} {failure.what}: {failure.error}"
        teller.warn(message, area=failure.area_id, error=failure.error)


def load_settings(review: Path, cluster: Path | None) -> tuple[Review, Cluster]:
    """Read a review file and a cluster file."""
    return load_review(review), load_cluster(cluster)


def load_review(path: Path) -> Review:
    """Read a review file."""
    from ..settings import Review, load  # noqa: PLC0415

    return load(Review, path)


def load_cluster(path: Path | None) -> Cluster:
    """Read a cluster file; without one, two processes of this machine."""
    from ..settings import Cluster, load  # noqa: PLC0415

    return load(Cluster, path) if path else Cluster()


def _pipelines(folder: Path | None) -> dict[str, Pipeline]:
    from ..settings import Pipeline, load, shipped_pipelines  # noqa: PLC0415

    if folder is None:
        return shipped_pipelines()
    read = [load(Pipeline, path) for path in sorted(folder.glob("*.toml"))]
    return {pipeline.name: pipeline for pipeline in read}
