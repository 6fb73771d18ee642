"""Arrays to arrays: which pixels are usable, the shift between the dates, features, spectral indices."""

from .align import PairShift, WindowShift, pair_shift, shifted, support_px, window_shift
from .features import DECIBEL_SCALE, FEATURE_SCALE, NO_DECIBEL, decibel_features, texture_features
from .indices import bare_soil, brightness, ndvi, water
from .quality import alpha_state, edges_off, fill_state, pair_state, qa_pixel_state, scl_state

__all__ = [
    "DECIBEL_SCALE",
    "FEATURE_SCALE",
    "NO_DECIBEL",
    "PairShift",
    "WindowShift",
    "alpha_state",
    "bare_soil",
    "brightness",
    "decibel_features",
    "edges_off",
    "fill_state",
    "ndvi",
    "pair_shift",
    "pair_state",
    "qa_pixel_state",
    "scl_state",
    "shifted",
    "support_px",
    "texture_features",
    "water",
    "window_shift",
]
