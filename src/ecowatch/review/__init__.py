"""A review from settings to products: plan, fit, tiles, assembly, record."""

from .choice import DateGroup, witnesses_of
from .pair import Comparison, joined
from .plan import Plan, PlannedTask, expected_minutes, make_plan, planned_tasks, write_plan
from .record import software_versions
from .result import AreaResult, Coverage, Surroundings
from .run import RunResult, run_review
from .stages import TaskResult
from .tile import Task, TileResult, process
from .whole import review_whole

__all__ = [
    "AreaResult",
    "Comparison",
    "Coverage",
    "DateGroup",
    "Plan",
    "PlannedTask",
    "RunResult",
    "Surroundings",
    "Task",
    "TaskResult",
    "TileResult",
    "expected_minutes",
    "joined",
    "make_plan",
    "planned_tasks",
    "process",
    "review_whole",
    "run_review",
    "software_versions",
    "witnesses_of",
    "write_plan",
]
