"""A review from settings to products: plan, fit, tiles, assembly, record."""

from .accounts import read_accounts, standing
from .choice import DateGroup, witnesses_of
from .first_look import Triaged, triage
from .ingest import Ingested, ingest_review
from .merge import ShardResult, merge_review, run_shard
from .pair import Comparison, joined
from .plan import Plan, PlannedTask, make_plan, planned_tasks
from .plan_file import PlanSummary, plan_to_file
from .record import read_record
from .result import AreaResult, Coverage, Surroundings
from .run import RunResult, run_review
from .shard import Shard, shards_standing
from .stages import TaskResult
from .tile import Task, TileResult, process
from .versions import software_versions
from .whole import review_whole

__all__ = [
    "AreaResult",
    "Comparison",
    "Coverage",
    "DateGroup",
    "Ingested",
    "Plan",
    "PlanSummary",
    "PlannedTask",
    "RunResult",
    "Shard",
    "ShardResult",
    "Surroundings",
    "Task",
    "TaskResult",
    "TileResult",
    "Triaged",
    "ingest_review",
    "joined",
    "make_plan",
    "merge_review",
    "plan_to_file",
    "planned_tasks",
    "process",
    "read_accounts",
    "read_record",
    "review_whole",
    "run_review",
    "run_shard",
    "shards_standing",
    "software_versions",
    "standing",
    "triage",
    "witnesses_of",
]
