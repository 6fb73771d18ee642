"""Arrays to flags: score, thresholds, run-lengths."""

from .bitemporal import (
    METHODS,
    BlockResult,
    LinearScore,
    Margins,
    detect_block,
    fit_change_vector,
    fit_ir_mad,
    sample_score,
)
from .decide import Thresholds, fit_thresholds

__all__ = [
    "METHODS",
    "BlockResult",
    "LinearScore",
    "Margins",
    "Thresholds",
    "detect_block",
    "fit_change_vector",
    "fit_ir_mad",
    "fit_thresholds",
    "sample_score",
]
