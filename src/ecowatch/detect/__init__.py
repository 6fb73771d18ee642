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
from .block import PairBlock
from .decide import Thresholds, fit_thresholds
from .windowed import WINDOWED, Windowed, flag_scores, runs_of

__all__ = [
    "METHODS",
    "WINDOWED",
    "BlockResult",
    "LinearScore",
    "Margins",
    "PairBlock",
    "Thresholds",
    "Windowed",
    "detect_block",
    "fit_change_vector",
    "fit_ir_mad",
    "fit_thresholds",
    "flag_scores",
    "runs_of",
    "sample_score",
]
