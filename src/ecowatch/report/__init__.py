"""What people look at: the short table and the pictures of a run."""

from .quicklook import quicklook, write_quicklooks
from .tables import run_table

__all__ = ["quicklook", "run_table", "write_quicklooks"]
