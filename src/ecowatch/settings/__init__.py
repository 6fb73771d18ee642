"""Settings: frozen models of review, pipeline and cluster files, and their loading."""

from .cluster import Cluster
from .load import load
from .pipeline import (
    ActivityRules,
    Align,
    Detect,
    MinimumArea,
    Patches,
    Pipeline,
    Prepare,
    bitemporal_pipeline,
    uav_pipeline,
)
from .review import AreaSource, BandDescription, CarrierSource, DateRange, Output, Review, SceneSource
from .shipped import shipped_files, shipped_pipelines

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
    "bitemporal_pipeline",
    "load",
    "shipped_files",
    "shipped_pipelines",
    "uav_pipeline",
]
