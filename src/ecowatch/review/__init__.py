"""A review from settings to products: plan, fit, tiles, assembly, record."""

from .assemble import AreaResult, Coverage
from .pair import Comparison, DateGroup
from .plan import Plan, PlannedTask, expected_minutes, make_plan, planned_tasks, write_plan
from .run import RunResult, TaskResult, run_review
from .tile import Task, TileResult, process

__all__ = [
    "AreaResult",
    "Comparison",
    "Coverage",
    "DateGroup",
    "Plan",
    "PlannedTask",
    "RunResult",
    "Task",
    "TaskResult",
    "TileResult",
    "expected_minutes",
    "make_plan",
    "planned_tasks",
    "process",
    "run_review",
    "write_plan",
]
