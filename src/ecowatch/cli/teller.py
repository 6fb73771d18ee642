"""How a command speaks: words on stderr, results on stdout, one line and an exit code for every error."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from threading import Timer
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer

from ..errors import EcowatchError, ExitCode
from ..texts import Language, default_language, text

if TYPE_CHECKING:
    from ..review import Plan, PlanSummary
    from ..settings import LedgerSettings

_AGAIN_S = 0.05


class LogForm(StrEnum):
    """How progress is told."""

    AUTO = "auto"
    JSON = "json"


class Lang(StrEnum):
    """Language of tables and messages."""

    ZH = "zh"
    EN = "en"


def language_of(lang: Lang | None) -> Language:
    """Return the language asked for, else that of the environment."""
    if lang is None:
        return default_language()
    return "zh" if lang is Lang.ZH else "en"


def ledger_rules(path: Path) -> LedgerSettings:
    """Read the settings of a ledger."""
    from ..settings import LedgerSettings, load  # noqa: PLC0415

    return load(LedgerSettings, path)


class errors_told:  # noqa: N801 - reads as a phrase after 'with'
    """Turns errors and signals into one line and an exit code."""

    def __init__(self, teller: Teller) -> None:
        self._teller = teller

    def __enter__(self) -> None:
        # SLURM and cron end jobs with SIGTERM: leave through the usual way out, so that temporary files go.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._teller.stop)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, EcowatchError):
            self._teller.warn(str(error), code=error.code)
            raise typer.Exit(error.exit_code) from error
        if isinstance(error, KeyboardInterrupt):
            self._teller.warn(text("interrupted", self._teller.language))
            raise typer.Exit(ExitCode.INTERRUPTED) from error


class Teller:
    """Words on stderr, results on stdout; a bar on a terminal, a line per area elsewhere, JSON on request."""

    def __init__(self, log: LogForm, language: Language) -> None:
        self.language = language
        self._json = log is LogForm.JSON
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}
        self._finished: set[tuple[str, str]] = set()
        self._signal: int | None = None

    def __enter__(self) -> None:
        if not self._json and sys.stderr.isatty():
            from rich.console import Console  # noqa: PLC0415
            from rich.progress import Progress  # noqa: PLC0415

            self._bar = Progress(console=Console(stderr=True), transient=True)
            self._bar.start()

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGTERM and SIGINT: leave at once, or, where a library swallows that, after the task under way."""
        self._signal = number
        if any(each.f_code.co_name == "__del__" for each in _callers(frame)):
            # Python would swallow it there, and print where: once more in a moment.
            again = Timer(_AGAIN_S, os.kill, (os.getpid(), number))
            # Whoever has come to the end meanwhile is not held up.
            again.daemon = True
            again.start()
        else:
            self._leave_if_told()

    def _leave_if_told(self) -> None:
        if self._signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self._signal is not None:
            raise SystemExit(ExitCode.TRY_AGAIN)

    def progress(self, area: str, step: str, done: int, total: int) -> None:
        """Tell of a finished task; leave here if the signal to stop was lost."""
        self._leave_if_told()
        if self._json:
            self._event("progress", area=area, step=step, done=done, total=total)
        elif self._bar is not None:
            if step not in self._tasks:
                self._tasks[step] = self._bar.add_task(text(f"step_{step}", self.language), total=total)
            self._bar.update(self._tasks[step], completed=done, total=total)
        elif (area, step) not in self._finished:
            self._finished.add((area, step))
            typer.echo(f"{area}: {text(f'step_{step}', self.language)} ({done}/{total})", err=True)

    def step(self, name: str) -> None:
        """Tell what is being worked on; leave here if the signal to stop was lost."""
        self._leave_if_told()
        typer.echo(name, err=True)

    def warn(self, message: str, **fields: object) -> None:
        """Tell of something that went wrong, with its parts for the JSON form."""
        if self._json:
            self._event("warning", message=message, **fields)
        else:
            typer.echo(message, err=True)

    def tell_quarantined(self, plan: Plan | PlanSummary) -> None:
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
        # Names from outside are data: a bracket in one is no markup.
        Console(width=None if sys.stdout.isatty() else 160, markup=False).print(table)

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


def _callers(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _dumps(value: object, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=options.get("default", str))
