"""The end of a run, however it comes: metrics and messages where the cluster file asks for them; then the process's own."""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..errors import EcowatchError, ExitCode
from .teller import Teller

if TYPE_CHECKING:
    from ..review import RunResult
    from ..settings import Cluster, Review


@dataclass
class Ending:
    """What is known of a run when it ends; filled in as it goes on.

    Parameters
    ----------
    path
        The review file.
    review
        Its settings; None where they cannot be read.
    result
        What came of it; None where it did not come so far.
    """

    path: Path
    review: Review | None = None
    result: RunResult | None = None


@contextmanager
def ending(teller: Teller, path: Path, cluster: Cluster) -> Iterator[Ending]:
    """Tell of the end of what happens in a ``with`` block, then let it end as it would have.

    Parameters
    ----------
    teller
        Told where telling failed.
    path
        The review file.
    cluster
        Whom to tell.
    """
    started, known = time.time(), Ending(path)
    try:
        yield known
    except BaseException as error:
        _tell(teller, known, cluster, error, started)
        raise
    _tell(teller, known, cluster, None, started)


def _tell(teller: Teller, known: Ending, cluster: Cluster, error: BaseException | None, started: float) -> None:
    if cluster.notify is None:
        return
    try:
        from ..report.notify import end_of, tell_end  # noqa: PLC0415

        line = str(error) if isinstance(error, EcowatchError) else ""
        names = (known.review.name, known.review.period) if known.review else (known.path.stem, "")
        runs = known.review.runs / known.review.name if known.review else None
        end = end_of(*names, _code(error), line, runs=runs, result=known.result, started=started, ended=time.time())
        tell_end(cluster.notify, end, teller.language, teller.warn)
    except Exception as failed:
        teller.warn(f"NOTIFY_FAILED end of run: {type(failed).__name__}; the run itself is not concerned")


def _code(error: BaseException | None) -> int:
    if error is None:
        return int(ExitCode.DONE)
    if isinstance(error, EcowatchError | typer.Exit):
        return int(error.exit_code)
    if isinstance(error, KeyboardInterrupt):
        return int(ExitCode.INTERRUPTED)
    return error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1


@contextmanager
def left_at_once() -> Iterator[None]:
    """End the process with the exit code of a ``with`` block as soon as its work is done.

    To take a hundred libraries apart costs Python a second, and serves nobody. Threads are waited for, and what libraries
    leave to the end of a process is done: they are imported inside the block, and what is registered later is called sooner.
    """
    codes: list[int] = []
    atexit.register(_leave, codes)
    try:
        yield
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            codes.append(end.code or 0)
        raise


def _leave(codes: list[int]) -> None:
    # Whoever caught the exit and failed then has a traceback and a code of its own.
    if not codes or hasattr(sys, "last_type"):
        return
    # A reader that is gone is told of in the usual way.
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(codes[0])
