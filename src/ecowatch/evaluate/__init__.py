"""Accuracy on labelled pairs: the review's own code on pairs whose truth is known, beside untuned baselines."""

from .evaluate import Evaluation, PairResult, evaluate
from .registry import LabelledPair, SensorClass, read_registry
from .tables import as_markdown, as_rows, as_table

__all__ = [
    "Evaluation",
    "LabelledPair",
    "PairResult",
    "SensorClass",
    "as_markdown",
    "as_rows",
    "as_table",
    "evaluate",
    "read_registry",
]
