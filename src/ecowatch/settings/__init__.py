"""Settings: frozen models of review, pipeline and cluster files, and their loading."""

from .cluster import Cluster
from .detect import Detect
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
    "Cluster",
    "DateRange",
    "Detect",
    "MinimumArea",
    "Output",
    "Patches",
    "Pipeline",
    "Prepare",
    "Review",
    "SceneSource",
    "Suppress",
    "Time",
    "bitemporal_pipeline",
    "load",
    "shipped_files",
    "shipped_pipelines",
    "uav_pipeline",
]
