"""How a patch is found: every number that can change which pixels are flagged, with its default, once."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .model import Settings


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
        default=0.1, ge=0, description="A smaller shift is left as it is: resampling costs detail."
    )
    max_shift_px: float = Field(default=5.0, gt=0, description="A pair with a larger shift is refused.")
    max_residual_px: float = Field(
        default=0.5, gt=0, description="A pair with a larger shift after alignment is refused."
    )


class Detect(Settings):
    """Score and thresholds."""

    method: Literal["ir_mad", "change_vector", "rgb_texture"] = Field(
        default="ir_mad",
        description="ir_mad, change_vector, or rgb_texture (colour and texture, for UAV images).",
    )
    bands: tuple[str, ...] = Field(
        default=("blue", "green", "red", "nir", "swir1", "swir2"),
        min_length=1,
        description="Band roles to use, as far as both dates have them.",
    )
    sample_px: int = Field(default=100_000, ge=1000, description="Pixels of the fixed lattice that the fit may use.")
    max_blocks: int = Field(default=24, ge=1, description="Blocks of the lattice that the fit may read.")
    max_iterations: int = Field(default=50, ge=1, description="Reweighting rounds of the fit.")
    tolerance: float = Field(
        default=1e-3, gt=0, description="The fit has converged when nothing moves by more than this."
    )
    noise_floor: float = Field(
        default=0.01,
        ge=0,
        description="Deviation of reflectance, per band and date, that is never taken for change: sensor, air, angle.",
    )
    weak_sigma: float = Field(
        default=2.0,
        gt=0,
        description="Weak flag: score this many robust deviations above the pair's own no-change score.",
    )
    strong_sigma: float = Field(
        default=3.5,
        gt=0,
        description="Strong flag, likewise; a patch needs strong pixels and takes in the weak ones around.",
    )
    min_strong_px: int = Field(default=2, ge=1, description="A patch has at least this many strong pixels.")
    reach_px: int = Field(
        default=1, ge=0, le=8, description="What a displacement of so many pixels explains makes no strong flag."
    )
    texture_px: int = Field(default=5, ge=3, le=31, description="Side of the window of rgb_texture, odd, in pixels.")


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
    bright_gain: float = Field(
        default=0.04, gt=0, description="Ground has brightened when mean reflectance rises by this."
    )
    road_elongation: float = Field(default=6.0, gt=1, description="Length over width from which a patch is a line.")
    road_width_m: float = Field(default=60.0, gt=0, description="A line wider than this is no road.")
    building_max_m2: float = Field(default=6000.0, gt=0, description="Compact bright patches up to this are buildings.")
    rectangularity: float = Field(
        default=0.6, gt=0, le=1, description="Share of its rectangle that a building or pond fills."
    )


class Pipeline(Settings):
    """One way of finding patches. Changing any value here asks for a new version."""

    name: str = Field(default="bitemporal", pattern=r"^[a-z0-9_-]+$", description="Name written to every patch.")
    version: str = Field(default="1", description="Version written to every patch; raise it with any change below.")
    prepare: Prepare = Field(default=Prepare(), description="Which pixels are usable.")
    align: Align = Field(default=Align(), description="The shift between the two dates.")
    detect: Detect = Field(default=Detect(), description="Score and thresholds.")
    patches: Patches = Field(default=Patches(), description="From flagged pixels to polygons.")
    activity: ActivityRules = Field(default=ActivityRules(), description="Rules that name an activity.")


def bitemporal_pipeline() -> Pipeline:
    """Return the shipped pipeline for multispectral satellite pairs."""
    return Pipeline()


def uav_pipeline() -> Pipeline:
    """Return the shipped pipeline for RGB orthomosaics of UAVs."""
    return Pipeline(
        name="uav",
        prepare=Prepare(erode_px=3),
        align=Align(max_shift_px=20.0),
        detect=Detect(method="rgb_texture", bands=("red", "green", "blue"), min_strong_px=20),
        patches=Patches(
            max_hole_m2=20.0,
            min_area_m2=MinimumArea(default=20.0, road=20.0, settlement=10.0, undetermined=20.0),
        ),
        activity=ActivityRules(road_width_m=15.0, building_max_m2=2000.0, rectangularity=0.8),
    )
