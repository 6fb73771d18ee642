"""Commands that prepare scenes for reading: copies of slow formats, and an index of many items."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ExitCode
from ..texts import text
from .lean import lean_imports
from .options import ClusterFile, LangOption, LogOption, ReviewFile
from .reviews import app, load_settings
from .teller import LogForm, Teller, errors_told, language_of


@app.command()
def ingest(
    review: ReviewFile,
    cluster: ClusterFile = None,
    log: LogOption = LogForm.AUTO,
    lang: LangOption = None,
) -> None:
    """Decode the JPEG 2000 bands of a review once and keep them as GeoTIFF; a run does this by itself where it pays."""
    teller = Teller(log, language_of(lang))
    with errors_told(teller):
        with lean_imports():
            from ..review import ingest_review  # noqa: PLC0415

        settings, place = load_settings(review, cluster)
        with teller:
            plan, told = ingest_review(settings, place, progress=teller.progress)
        teller.tell_quarantined(plan)
        counts = {"made": told.made, "kept": told.kept, "left_out": told.left_out, "failed": len(told.failures)}
        for failure in told.failures:
            teller.warn(failure, error=failure)
        teller.result(text("ingested", teller.language, **counts), folder=str(settings.cache_folder), **counts)
        incomplete = told.failures or told.left_out or plan.quarantined
        raise typer.Exit(ExitCode.PARTIAL if incomplete else ExitCode.DONE)


index_app = typer.Typer(help="One file that lists many scenes.", no_args_is_help=True)
app.add_typer(index_app, name="index")


@index_app.command()
def build(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="SOURCE... OUT.parquet", help="STAC files or folders, then the index to write."),
    ],
    lang: LangOption = None,
) -> None:
    """Write STAC items into one GeoParquet file, which a source of product 'stac' may name as its path."""
    teller = Teller(LogForm.AUTO, language_of(lang))
    with errors_told(teller):
        from ..scenes import INDEX_SUFFIX, build_index  # noqa: PLC0415

        *sources, out = paths
        if not sources or out.suffix != INDEX_SUFFIX:
            typer.echo(f"name at least one source, and last the index to write (…{INDEX_SUFFIX})", err=True)
            raise typer.Exit(ExitCode.USAGE)
        built = build_index(sources, out)
        for line in built.left_out:
            teller.warn(line)
        counts = {"items": built.items, "left_out": len(built.left_out)}
        teller.result(text("indexed", teller.language, **counts, out=out), **counts)
        raise typer.Exit(ExitCode.PARTIAL if built.left_out else ExitCode.DONE)
