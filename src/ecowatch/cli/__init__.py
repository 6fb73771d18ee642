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
from .reviews import app


def main() -> None:
    """Entry point of the command ``ecowatch``."""
    app()


__all__ = ["app", "main"]
