"""Arrays to flags: score, thresholds, run-lengths; time as evidence."""

from .bitemporal import (
    METHODS,
    LinearScore,
    detect_block,
    fit_change_vector,
    fit_ir_mad,
    sample_score,
)
from .block import BlockResult, PairBlock, block_runs
from .decide import Thresholds, fit_thresholds
from .fusion import joined_score
from .history import Earlier
from .stage import TimeFacts, TimeNumbers, time_of_patch
from .water import WaterTurn, fit_water_turn, flag_water_turns
from .windowed import WINDOWED, Windowed, flag_scores

__all__ = [
    "METHODS",
    "WINDOWED",
    "BlockResult",
    "Earlier",
    "LinearScore",
    "PairBlock",
    "Thresholds",
    "TimeFacts",
    "TimeNumbers",
    "WaterTurn",
    "Windowed",
    "block_runs",
    "detect_block",
    "fit_change_vector",
    "fit_ir_mad",
    "fit_thresholds",
    "fit_water_turn",
    "flag_scores",
    "flag_water_turns",
    "joined_score",
    "sample_score",
    "time_of_patch",
]
