"""Further dates as evidence, and what is no change of the ground."""

from __future__ import annotations

from pydantic import Field

from .model import Settings


class Time(Settings):
    """Further dates of a place as evidence."""

    earlier: int = Field(
        default=8, ge=0, le=16, description="At most so many dates from before the before date are asked."
    )
    others: int = Field(
        default=2,
        ge=0,
        le=8,
        description="At most so many dates from after the before date are asked, besides the after.",
    )
    min_clear_share: float = Field(
        default=0.3, ge=0, le=1, description="A date that shows less of the area clearly is not asked."
    )
    season_days: int = Field(
        default=45, ge=0, le=183, description="Dates within so many days of the year are of one season."
    )
    second_from_dates: int = Field(
        default=4,
        ge=2,
        description="From so many earlier dates on, the second most similar one counts: one may be an unseen cloud.",
    )
    before_like: float = Field(
        default=0.7, ge=0, le=1, description="An earlier date this far towards the before date shows no return."
    )
    min_stable_px: int = Field(
        default=20, ge=1, description="Ground pixels around a patch that are needed to level a date."
    )
    returning_sigma: float = Field(
        default=2.0, gt=0, description="A pixel within so many deviations of an earlier date has returned to it."
    )
    min_own_dates: int = Field(default=4, ge=3, description="Dates that are needed for a place's own variation.")
    own_spread_floor: float = Field(default=0.01, gt=0, description="Smallest own spread, reflectance.")
    radar_average_px: int = Field(
        default=3, ge=1, le=9, description="Radar: side of the window over which each date is averaged, in pixels."
    )
    radar_significance: float = Field(
        default=0.001, gt=0, le=0.05, description="Radar: p-value below which two dates of a pixel differ."
    )


class Suppress(Settings):
    """Thresholds of the rules that set a candidate aside; reflectances and indices are levels or differences, 0–1."""

    returning_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="An earlier state came back where at least this share of the pixels resembles it.",
    )
    own_sigma: float = Field(
        default=2.0, gt=0, description="Within so many of its own deviations a place does what it does by itself."
    )
    history_dates: int = Field(
        default=3, ge=1, description="From so many earlier dates on, they overrule the rules on crops and season."
    )
    persisting: float = Field(
        default=0.5, ge=0, le=1, description="A change persists where another date shows at least this part of it."
    )
    slack_px: float = Field(
        default=0.25, ge=0, description="A displacement is tried up to the measured residual plus this, in pixels."
    )
    explained: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="Part of the change that a displacement must explain for a misregistration edge.",
    )
    alike: float = Field(
        default=0.04,
        ge=0,
        description="Ground looked like the patch where no band differed by more than this reflectance.",
    )
    alike_apart: float = Field(
        default=0.4,
        ge=0,
        le=1,
        description="It still looks like it where it differs by at most this share of the change.",
    )
    gap_px: int = Field(default=4, ge=0, description="Near a pixel without data, in pixels.")
    along_gap: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="Share of a patch near such pixels from which it lies along a scene's edge.",
    )
    saturated: float = Field(
        default=0.995, gt=0, description="Reflectance or brightness from which a number is at the top."
    )
    thin_px: float = Field(default=3.0, gt=0, description="Up to this width, in pixels, a patch is thin.")
    stripe_length_px: float = Field(
        default=12.0, gt=0, description="From this length, in pixels, a thin patch may be a stripe."
    )
    stripe_off_deg: float = Field(
        default=3.0,
        ge=0,
        le=22.5,
        description="A stripe runs along a row, a column or a diagonal within so many degrees.",
    )
    offset_noise: float = Field(
        default=0.3, ge=0, description="Spread of a change over its size up to which it is one constant offset."
    )
    texture_kept: float = Field(
        default=0.7,
        ge=0,
        le=1,
        description="Correlation of the detail of both dates from which the ground still shows.",
    )
    soft: float = Field(
        default=0.35, ge=0, le=1, description="Step at the rim over the full height up to which a change fades out."
    )
    masked_near: float = Field(
        default=0.05, ge=0, le=1, description="Share of the window under masked cloud from which cloud is near."
    )
    cloud_blue: float = Field(default=0.2, ge=0, description="Reflectance in blue from which something may be a cloud.")
    cloud_gain: float = Field(default=0.08, ge=0, description="Rise in blue from which it may be one.")
    cloud_white: float = Field(
        default=0.25, ge=0, description="Range of the visible bands over their mean up to which it is white."
    )
    cloud_blue_red: float = Field(default=0.95, ge=0, description="Blue over red from which it is no bare ground.")
    bright_dates: int = Field(default=3, ge=1, description="What is bright on so many dates is ground.")
    shadow_ratio: float = Field(
        default=0.85, gt=0, le=1, description="Every band falls to at most this share in a shadow."
    )
    shadow_spread: float = Field(
        default=0.35, ge=0, description="Deviation of the bands' log ratios up to which they darkened alike."
    )
    sun_apart_deg: float = Field(
        default=8.0, ge=0, description="Angle between the suns of both dates from which shadows of relief differ."
    )
    haze_gain: float = Field(default=0.015, ge=0, description="Rise in blue from which it may be haze.")
    snow_index: float = Field(
        default=0.4, ge=-1, le=1, description="Normalised difference of green and swir1 from which it may be snow."
    )
    snow_green: float = Field(default=0.3, ge=0, description="Reflectance in green from which it may be snow.")
    water_level: float = Field(default=0.0, ge=-1, le=1, description="Water index above which a spectrum is water.")
    water_nir: float = Field(default=0.15, ge=0, description="Reflectance in near infrared up to which it is water.")
    shore_elongation: float = Field(
        default=4.0, ge=1, description="Length over width from which a thin patch may be a strip of shore."
    )
    bare_bright: float = Field(
        default=0.15, ge=0, description="Brightness from which land in former water was built, not laid dry."
    )
    burn_drop: float = Field(
        default=0.3, ge=0, description="Fall of the normalised burn ratio from which it may be a burn."
    )
    burn_brightness: float = Field(default=0.1, ge=0, description="Brightness up to which ground is char.")
    burn_area_m2: float = Field(
        default=10000.0, ge=0, description="Smaller dark patches are no burns, in square metres."
    )
    crop_swing: float = Field(default=0.25, ge=0, description="Range of NDVI from which a place is farmed.")
    season_ndvi: float = Field(
        default=0.08, ge=0, description="Change of NDVI of like ground around from which the season changed."
    )
    season_alike: float = Field(
        default=0.6,
        gt=0,
        le=1,
        description="The patch moved with the season where the smaller NDVI change is this part.",
    )
    rectangularity: float = Field(default=0.6, ge=0, le=1, description="Share of its rectangle that a field fills.")
