"""How a patch is found: every number that can change which pixels are flagged, with its default, once."""

from __future__ import annotations

import hashlib
import json

from pydantic import Field, model_validator

from .detect import Detect, RgbStructure
from .model import Settings
from .witness import Suppress, Time


class Prepare(Settings):
    """Which pixels are usable."""

    clear_scl: tuple[int, ...] = Field(
        default=(4, 5, 6, 7, 11),
        description="Sentinel-2 scene classes taken as clear: vegetation, bare, water, unclassified, snow.",
    )
    equally_clear: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Dates whose clear shares differ by less are equally clear; season and recency then choose.",
    )
    erode_px: int = Field(default=2, ge=0, le=16, description="Pixels taken off around every unusable one.")
    spread_share: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="Point spread of a sensor as a share of its pixel; the finer of two sensors is blurred to the coarser.",
    )
    min_valid_px: int = Field(
        default=200, ge=50, description="Fewer pixels seen in both dates than this, and the pair is refused."
    )


class Align(Settings):
    """The shift between the two dates."""

    band: str = Field(default="red", description="Role of the band on which the shift is measured.")
    window_px: int = Field(default=256, ge=32, le=512, description="Side of a measuring window, in pixels.")
    max_windows: int = Field(default=24, ge=1, description="At most this many windows of the lattice are measured.")
    min_valid_share: float = Field(
        default=0.6, ge=0, le=1, description="A window with fewer usable pixels is left out."
    )
    min_peak: float = Field(
        default=0.35,
        ge=0,
        le=1,
        description="Correlation below this, after alignment, marks a window as unreliable.",
    )
    apply_from_px: float = Field(
        default=0.2, ge=0, description="A smaller shift is left as it is: resampling costs more detail than it gains."
    )
    max_shift_px: float = Field(default=10.0, gt=0, description="A pair with a larger shift is refused.")
    max_residual_px: float = Field(
        default=0.5, gt=0, description="A pair with a larger shift after alignment is refused."
    )
    agree_px: float = Field(
        default=0.3, gt=0, le=5, description="Windows no further than this from one displacement agree, in pixels."
    )
    min_agree: int = Field(
        default=3, ge=1, le=100, description="So many windows must agree; of fewer windows, more than half."
    )
    max_degree: int = Field(
        default=1, ge=0, le=2, description="Richest shift over the area: 0 constant, 1 sloping, 2 bent."
    )
    min_gain_px: float = Field(
        default=0.05,
        ge=0,
        le=5,
        description="A richer shift must foretell windows left out of its fit better by this, in pixels.",
    )
    max_step_px: float = Field(
        default=0.02,
        gt=0,
        le=1,
        description="A shift that is not constant is taken out on cells between which it changes by at most this.",
    )


class MinimumArea(Settings):
    """Smallest patch by activity, in square metres."""

    default: float = Field(default=400.0, ge=0, description="Any activity not named below.")
    road: float = Field(default=400.0, ge=0, description="Roads.")
    settlement: float = Field(default=400.0, ge=0, description="Buildings.")
    undetermined: float = Field(default=900.0, ge=0, description="Where the evidence does not carry an activity.")


class Patches(Settings):
    """From flagged pixels to polygons."""

    max_hole_m2: float = Field(default=2000.0, ge=0, description="Holes up to this size are filled.")
    simplify_px: float = Field(default=0.8, ge=0, description="Tolerance of the edge simplification, in pixels.")
    min_area_m2: MinimumArea = Field(default=MinimumArea(), description="Smallest patch by activity.")


class ActivityRules(Settings):
    """Thresholds of the rules that name an activity; changes are after minus before."""

    ndvi_drop: float = Field(default=0.12, gt=0, description="Vegetation is lost when NDVI falls by more than this.")
    bare_gain: float = Field(
        default=0.06, gt=0, description="Bare ground is gained when the bare-soil index rises by this."
    )
    bare_level: float = Field(default=0.0, description="Bare-soil index above which the ground after is bare.")
    water_gain: float = Field(default=0.2, gt=0, description="Water is gained when the water index rises by this.")
    water_level: float = Field(default=0.0, description="Water index above which the ground after is water.")
    dark_infrared_share: float = Field(
        default=0.75, gt=0, le=1, description="New water keeps less than this of the infrared that was there before."
    )
    water_share_gain: float = Field(
        default=0.4, gt=0, le=1, description="Water is gained, too, when its share of the patch's pixels rises by this."
    )
    bright_gain: float = Field(
        default=0.04, gt=0, description="Ground has brightened when mean reflectance rises by this."
    )
    road_elongation: float = Field(default=8.0, gt=1, description="Length over width from which a patch is a line.")
    road_width_m: float = Field(default=60.0, gt=0, description="A line wider than this is no road.")
    building_max_m2: float = Field(
        default=30_000.0, gt=0, description="Compact bright patches up to this are buildings, larger ones other works."
    )
    rectangularity: float = Field(
        default=0.6, gt=0, le=1, description="Share of its rectangle that a building or pond fills."
    )
    straightness: float = Field(
        default=0.5, gt=0, le=1, description="Share of its outline on long straight edges that a made shape has."
    )
    grey_redness: float = Field(
        default=0.14, description="(red - blue) / (red + blue) up to which ground is grey as roofs are, not soil."
    )
    shape_min_px: float = Field(default=30.0, gt=0, description="A patch of fewer pixels has no shape to judge.")
    pond_max_m2: float = Field(default=500_000.0, gt=0, description="Compact new water up to this is a pond.")
    array_min_m2: float = Field(default=10_000.0, gt=0, description="A photovoltaic field is at least this large.")
    burn_drop: float = Field(
        default=0.27, gt=0, description="Burnt ground when the burn ratio falls by more than this."
    )
    near_water: float = Field(
        default=0.1, gt=0, le=1, description="A patch lies at water when this share of its rim was water before."
    )
    landslide_slope_deg: float = Field(default=25.0, gt=0, description="Landslides begin at this slope, in degrees.")
    radar_drop_db: float = Field(
        default=3.0, gt=0, description="New smooth water is assumed when backscatter falls by more than this, in dB."
    )


class Pipeline(Settings):
    """One way of finding patches. Changing any value here asks for a new version."""

    name: str = Field(default="bitemporal", pattern=r"^[a-z0-9_-]+$", description="Name written to every patch.")
    version: str = Field(default="1", description="Version written to every patch; raise it with any change below.")
    joins: tuple[str, ...] = Field(
        default=(),
        description="Pipelines whose evidence is joined; then only this one's flags, patches and activity count.",
    )
    join_weights: tuple[float, ...] = Field(default=(), description="One per joined pipeline; the first is usually 1.")
    prepare: Prepare = Field(default=Prepare(), description="Which pixels are usable.")
    align: Align = Field(default=Align(), description="The shift between the two dates.")
    detect: Detect = Field(default=Detect(), description="Score and thresholds.")
    time: Time = Field(default=Time(), description="Further dates of a place as evidence.")
    suppress: Suppress = Field(
        default=Suppress(), description="Rules that set a candidate aside: what is no change of the ground."
    )
    patches: Patches = Field(default=Patches(), description="From flagged pixels to polygons.")
    activity: ActivityRules = Field(default=ActivityRules(), description="Rules that name an activity.")

    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON of all values but the place of a model file."""
        values = self.model_dump(mode="json", exclude={"detect": {"onnx": {"model"}}})
        return hashlib.sha256(json.dumps(values, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    @model_validator(mode="after")
    def _one_weight_each(self) -> Pipeline:
        if len(self.joins) != len(self.join_weights) or any(weight <= 0 for weight in self.join_weights):
            raise ValueError("'join_weights' needs one positive number for each of 'joins'")
        return self


def bitemporal_pipeline() -> Pipeline:
    """Return the shipped pipeline for multispectral satellite pairs."""
    return Pipeline(version="2")


def sar_pipeline() -> Pipeline:
    """Return the shipped pipeline for calibrated radar backscatter."""
    return Pipeline(
        name="sar",
        prepare=Prepare(erode_px=0),
        align=Align(band="vv", apply_from_px=0.5, max_residual_px=2.0),
        detect=Detect(
            method="sar_log_ratio", bands=("vv", "vh", "hh", "hv"), weak_sigma=3.5, strong_sigma=5.0, min_strong_px=6
        ),
        patches=Patches(
            min_area_m2=MinimumArea(default=1500.0, road=1500.0, settlement=1500.0, undetermined=1500.0),
        ),
    )


def rgb_pipeline() -> Pipeline:
    """Return the shipped pipeline for display pictures of about 10 m."""
    return Pipeline(
        name="rgb",
        prepare=Prepare(erode_px=0),
        detect=Detect(
            method="rgb_structure",
            bands=("red", "green", "blue", "nir", "swir1"),
            weak_sigma=3.5,
            strong_sigma=4.2,
            min_strong_px=10,
        ),
        patches=Patches(min_area_m2=MinimumArea(default=2000.0, road=2000.0, settlement=2000.0, undetermined=2000.0)),
    )


def vhr_pipeline() -> Pipeline:
    """Return the shipped pipeline for colour pictures of about 2 m."""
    return Pipeline(
        name="vhr",
        prepare=Prepare(erode_px=0),
        detect=Detect(
            method="rgb_structure",
            bands=("red", "green", "blue", "nir"),
            weak_sigma=3.5,
            strong_sigma=4.2,
            min_strong_px=10,
            rgb=RgbStructure(
                colour_px=5.0, structure_px=5.0, texture_gain=0.6, relative=False, contrast_floor=0.01, log_unit=0.4
            ),
        ),
        patches=Patches(
            max_hole_m2=200.0, min_area_m2=MinimumArea(default=240.0, road=240.0, settlement=240.0, undetermined=240.0)
        ),
    )


def joined_pipeline() -> Pipeline:
    """Return the shipped pipeline that joins display pictures with radar."""
    plain = rgb_pipeline()
    return plain.model_copy(
        update={
            "name": "rgb_sar",
            "joins": ("rgb", "sar"),
            "join_weights": (1.0, 0.2),
            "detect": plain.detect.model_copy(update={"weak_sigma": 3.6, "strong_sigma": 4.3}),
        }
    )


def buildings_pipeline() -> Pipeline:
    """Return the shipped pipeline for buildings in colour pictures of half a metre and finer."""
    return Pipeline(
        name="buildings",
        prepare=Prepare(erode_px=0),
        align=Align(max_shift_px=20.0, apply_from_px=0.5, max_residual_px=5.0),
        detect=Detect(
            method="objects",
            bands=("red", "green", "blue"),
            weak_sigma=1.0,
            strong_sigma=2.4,
            min_strong_px=1,
            min_strong_m2=3.0,
        ),
        patches=Patches(
            max_hole_m2=20.0, min_area_m2=MinimumArea(default=10.0, road=10.0, settlement=10.0, undetermined=10.0)
        ),
        activity=ActivityRules(road_width_m=15.0, building_max_m2=6000.0, rectangularity=0.8),
    )


def uav_pipeline() -> Pipeline:
    """Return the shipped pipeline for RGB orthomosaics of UAVs."""
    return Pipeline(
        name="uav",
        version="2",
        prepare=Prepare(erode_px=3),
        align=Align(max_shift_px=20.0),
        detect=Detect(method="rgb_texture", bands=("red", "green", "blue"), min_strong_px=20),
        patches=Patches(
            max_hole_m2=20.0,
            min_area_m2=MinimumArea(default=20.0, road=20.0, settlement=10.0, undetermined=20.0),
        ),
        activity=ActivityRules(road_width_m=15.0, building_max_m2=2000.0, rectangularity=0.8),
    )
