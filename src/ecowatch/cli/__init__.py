"""The command line. Heavy modules are imported inside the commands: ``--help`` must answer at once."""

import gc

from . import (  # noqa: F401 - registers their commands
    accounts,
    assessments,
    claims,
    desk,
    ingest,
    ledger,
    plans,
    problems,
    products,
    shards,
)
from .ending import left_at_once
from .reviews import app


def main() -> None:
    """Entry point of the command ``ecowatch``."""
    # Two hundred thousand things are made by importing, and stay: to look for rubbish among them takes a tenth of the start.
    gc.set_threshold(10_000)
    with left_at_once():
        app()


__all__ = ["app", "main"]
