"""The command line. Heavy modules are imported inside the commands: ``--help`` must answer at once."""

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
from .lean import begin_program
from .reviews import app


def main() -> None:
    """Entry point of the command ``ecowatch``."""
    begin_program()
    with left_at_once():
        app()


__all__ = ["app", "main"]
