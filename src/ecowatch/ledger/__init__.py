"""The ledger 台账: one site across the years, from first flag to close-out; nothing is ever lost."""

from .boundaries import Boundary, touched_by, version_events
from .casework import CasePlan, Said, checked_instant, checked_name, move, problem_row, take_apart
from .enter import Entered, EnteredUnit, enter_run, enter_unit, run_differences
from .event import MACHINE, Event, EventKind, canonical, digest_of
from .geometry import LEDGER_CRS, geometry_bytes, geometry_of, geometry_text, metric_crs
from .lifecycle import OWING, SETTLED, TRANSITIONS, check_transition, moves, transition_allowed
from .run_folder import period_end, read_run
from .store import Head, Ledger

__all__ = [
    "LEDGER_CRS",
    "MACHINE",
    "OWING",
    "SETTLED",
    "TRANSITIONS",
    "Boundary",
    "CasePlan",
    "Entered",
    "EnteredUnit",
    "Event",
    "EventKind",
    "Head",
    "Ledger",
    "Said",
    "canonical",
    "check_transition",
    "checked_instant",
    "checked_name",
    "digest_of",
    "enter_run",
    "enter_unit",
    "geometry_bytes",
    "geometry_of",
    "geometry_text",
    "metric_crs",
    "move",
    "moves",
    "period_end",
    "problem_row",
    "read_run",
    "run_differences",
    "take_apart",
    "touched_by",
    "transition_allowed",
    "version_events",
]
