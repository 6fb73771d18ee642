"""Where verdicts are given: working copies go out to reviewers, and what comes back is brought together."""

from .merge import (
    Conflict,
    Merged,
    Opinion,
    Ruling,
    agreed_move,
    conflicts_of,
    import_copies,
    open_conflicts,
    opinions,
    resolve,
)
from .review_log import Copy, LogRow, Refused, instant_of, read_copy, reviewer_name, statement_time
from .working_copy import CopyCounts, CopyScope, export_copy, ledger_identity

__all__ = [
    "Conflict",
    "Copy",
    "CopyCounts",
    "CopyScope",
    "LogRow",
    "Merged",
    "Opinion",
    "Refused",
    "Ruling",
    "agreed_move",
    "conflicts_of",
    "export_copy",
    "import_copies",
    "instant_of",
    "ledger_identity",
    "open_conflicts",
    "opinions",
    "read_copy",
    "resolve",
    "reviewer_name",
    "statement_time",
]
