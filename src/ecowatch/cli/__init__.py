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
from .reviews import app


def main() -> None:
    """Entry point of the command ``ecowatch``."""
    # Two hundred thousand things are made by importing, and stay: to look for rubbish among them takes a tenth of the start.
    gc.set_threshold(10_000)
    app()


__all__ = ["app", "main"]
