"""Settings: frozen models of review, pipeline and cluster files, and their loading."""

from .cluster import Cluster
from .detect import Detect
from .ledger import ClaimRules, Graded, LedgerSettings, Matching, Programme, QualityRules, default_calendar
from .load import load
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
    "LedgerSettings",
    "Matching",
    "MinimumArea",
    "Output",
    "Patches",
    "Pipeline",
    "Prepare",
    "Programme",
    "QualityRules",
    "Review",
    "SceneSource",
    "Suppress",
    "Time",
    "bitemporal_pipeline",
    "default_calendar",
    "load",
    "shipped_files",
    "shipped_pipelines",
    "uav_pipeline",
]
