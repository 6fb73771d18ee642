"""The command line. Heavy modules are imported inside the commands: ``--help`` must answer at once."""

from . import assessments, claims, desk, ledger, problems, products  # noqa: F401 - registers their commands
from .reviews import app


def main() -> None:
    """Entry point of the command ``ecowatch``."""
    app()


__all__ = ["app", "main"]
