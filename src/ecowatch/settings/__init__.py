"""Settings: frozen models of review, pipeline and cluster files, and their loading."""

from .cluster import Cluster, Kubernetes, Queue, bytes_of, seconds_of
from .detect import Detect
from .ledger import ClaimRules, Graded, LedgerSettings, Matching, Programme, QualityRules, default_calendar
from .load import load
from .notify import Notify
from .pipeline import (
    ActivityRules,
    Align,
    MinimumArea,
    Patches,
    Pipeline,
    Prepare,
    bitemporal_pipeline,
    uav_pipeline,
)
from .rates import Rates
from .review import AreaSource, BandDescription, CarrierSource, DateRange, Output, Review, SceneSource
from .shipped import shipped_files, shipped_pipelines
from .witness import Suppress, Time

__all__ = [
    "ActivityRules",
    "Align",
    "AreaSource",
    "BandDescription",
    "CarrierSource",
    "ClaimRules",
    "Cluster",
    "DateRange",
    "Detect",
    "Graded",
    "Kubernetes",
    "LedgerSettings",
    "Matching",
    "MinimumArea",
    "Notify",
    "Output",
    "Patches",
    "Pipeline",
    "Prepare",
    "Programme",
    "QualityRules",
    "Queue",
    "Rates",
    "Review",
    "SceneSource",
    "Suppress",
    "Time",
    "bitemporal_pipeline",
    "bytes_of",
    "default_calendar",
    "load",
    "seconds_of",
    "shipped_files",
    "shipped_pipelines",
    "uav_pipeline",
]
