"""The ledger 台账: one site across the years, from first flag to close-out; nothing is ever lost."""

from .event import MACHINE, Event, EventKind, canonical, digest_of
from .geometry import LEDGER_CRS, geometry_bytes, geometry_of, geometry_text, metric_crs
from .lifecycle import OWING, SETTLED, TRANSITIONS, check_transition, moves, transition_allowed
from .store import Head, Ledger

__all__ = [
    "LEDGER_CRS",
    "MACHINE",
    "OWING",
    "SETTLED",
    "TRANSITIONS",
    "Event",
    "EventKind",
    "Head",
    "Ledger",
    "canonical",
    "check_transition",
    "digest_of",
    "geometry_bytes",
    "geometry_of",
    "geometry_text",
    "metric_crs",
    "moves",
    "transition_allowed",
]
