"""Score and thresholds: the methods and their numbers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .model import FilePath, Settings


class SarLogRatio(Settings):
    """Numbers of sar_log_ratio: the difference of two dates in decibel, near and over a region."""

    fine_px: float = Field(default=1.5, ge=0.5, le=5, description="Deviation of the fine averaging window, in pixels.")
    region_px: float = Field(default=4.0, ge=1, le=16, description="Deviation of the regional window, in pixels.")
    coherent_share: float = Field(
        default=0.25, ge=0, le=1, description="Share of an even change that is taken off the regional energy."
    )
    region_unit: float = Field(
        default=0.0857, gt=0, le=1, description="Excess of regional energy that counts as one deviation."
    )
    half_height_sigma: float = Field(
        default=3.5, ge=1, le=10, description="Half of the pair's typical change lies here; keep equal to weak_sigma."
    )
    noise_floor_db: float = Field(default=0.1, ge=0, le=2, description="Least noise of the averaged difference.")


class RgbStructure(Settings):
    """Numbers of rgb_structure: colour by IR-MAD and structure of brightness, both over a region."""

    colour_px: float = Field(
        default=3.0, ge=0.5, le=20, description="Deviation of the window over which colour is averaged, in pixels."
    )
    structure_px: float = Field(
        default=8.0, ge=1, le=30, description="The same for contrast, texture and correlation, in pixels."
    )
    texture_gain: float = Field(
        default=0.0, ge=0, le=2, description="Power with which a gain of texture counts; 0 takes gain and loss alike."
    )
    relative: bool = Field(
        default=True, description="Structure counts by how unlike it is (true), or by how much of it is new (false)."
    )
    contrast_floor: float = Field(
        default=0.02, ge=0.001, le=0.1, description="Deviation of brightness below which structure is noise."
    )
    noise_floor: float = Field(
        default=0.01, ge=0, le=0.1, description="Deviation of brightness, per band and date, never taken for change."
    )
    log_unit: float = Field(
        default=0.3, ge=0.05, le=2, description="Natural logarithm of the evidence that counts as one deviation."
    )


class Water(Settings):
    """Levels that tell water from land in the infrared, on each date's own range from dark to bright ground."""

    wet_share: float = Field(default=0.1, ge=0, le=1, description="Share of the range below which a pixel is water.")
    dry_share: float = Field(default=0.35, ge=0, le=1, description="Share of the range above which a pixel is land.")
    least_range: float = Field(
        default=0.08, ge=0, description="A smaller range tells neither, reflectance or brightness."
    )


class Objects(Settings):
    """Numbers of objects: buildings in colour pictures of half a metre and finer, by a small learned model."""

    working_m: float = Field(
        default=0.5, ge=0.3, le=1.0, description="The most a working pixel may measure, in metres; the model knows 0.5."
    )
    smooth_m: float = Field(
        default=2.0, ge=0, le=5, description="Deviation of the window over which evidence is gathered, in metres."
    )


class Onnx(Settings):
    """A learned model as a detector; its digest makes it part of the pipeline."""

    model: FilePath | None = Field(
        default=None, description="The model file (.onnx); its place does not matter, its digest does."
    )
    model_sha256: str = Field(
        default="", pattern=r"^([0-9a-f]{64})?$", description="SHA-256 of that file; another file is refused."
    )


WINDOWED_SECTIONS: dict[str, str] = {
    "objects": "objects",
    "onnx": "onnx",
    "rgb_structure": "rgb",
    "sar_log_ratio": "sar",
}
"""Method that looks at surroundings → section of `Detect` with its numbers."""


class Detect(Settings):
    """Score and thresholds."""

    method: Literal["ir_mad", "change_vector", "rgb_texture", "rgb_structure", "objects", "sar_log_ratio", "onnx"] = (
        Field(
            default="ir_mad",
            description=(
                "ir_mad, change_vector; rgb_texture, rgb_structure, objects (pictures); sar_log_ratio (radar); onnx (a model)."
            ),
        )
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
        default=1.25,
        gt=0,
        description="Weak flag: score this many robust deviations above the pair's own no-change score.",
    )
    strong_sigma: float = Field(
        default=3.5,
        gt=0,
        description="Strong flag, likewise; a patch needs strong pixels and takes in the weak ones around.",
    )
    min_strong_px: int = Field(default=2, ge=1, description="A patch has at least this many strong pixels.")
    min_strong_m2: float = Field(
        default=0.0, ge=0, description="The same as an area, square metres; the larger counts."
    )
    reach_px: int = Field(
        default=1, ge=0, le=8, description="What a displacement of so many pixels explains makes no strong flag."
    )
    texture_px: int = Field(default=5, ge=3, le=31, description="Side of the window of rgb_texture, odd, in pixels.")
    water: Water = Field(default=Water(), description="Where land became water, or water land.")
    rgb: RgbStructure = Field(default=RgbStructure(), description="Numbers of rgb_structure.")
    objects: Objects = Field(default=Objects(), description="Numbers of objects.")
    onnx: Onnx = Field(default=Onnx(), description="The model of onnx.")
    sar: SarLogRatio = Field(default=SarLogRatio(), description="Numbers of sar_log_ratio.")

    def numbers(self) -> dict[str, Any]:
        """Return the numbers of a method that looks at surroundings, by keyword."""
        section = WINDOWED_SECTIONS.get(self.method)
        numbers = {} if section is None else dict(getattr(self, section))
        return {key: str(value or "") if key == "model" else value for key, value in numbers.items()}
