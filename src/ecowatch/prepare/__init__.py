"""Arrays to arrays: which pixels are usable, the shift between the dates, features, spectral indices."""

from .align import WindowShift, shifted, support_px, window_shift
from .features import DECIBEL_SCALE, FEATURE_SCALE, NO_DECIBEL, decibel_features, physical_values, texture_features
from .field import (
    PlacedShift,
    ShiftField,
    field_support_px,
    fit_field,
    nearest_by_field,
    shifted_by_field,
    with_cells,
)
from .indices import bare_soil, brightness, ndvi, water
from .quality import alpha_state, edges_off, fill_state, pair_state, qa_pixel_state, scl_state
from .resolution import blur_sigma_px, blur_support_px, blurred

__all__ = [
    "DECIBEL_SCALE",
    "FEATURE_SCALE",
    "NO_DECIBEL",
    "PlacedShift",
    "ShiftField",
    "WindowShift",
    "alpha_state",
    "bare_soil",
    "blur_sigma_px",
    "blur_support_px",
    "blurred",
    "brightness",
    "decibel_features",
    "edges_off",
    "field_support_px",
    "fill_state",
    "fit_field",
    "ndvi",
    "nearest_by_field",
    "pair_state",
    "physical_values",
    "qa_pixel_state",
    "scl_state",
    "shifted",
    "shifted_by_field",
    "support_px",
    "texture_features",
    "water",
    "window_shift",
    "with_cells",
]
