"""The ledger: where it lies, how patches are joined to problems, which areas are assessed when."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from ..codes import AreaGrade
from .model import FilePath, Settings


class Matching(Settings):
    """How the patches of a period are joined to the problems of the ledger; project defaults, not a norm's."""

    join_m: float = Field(default=100.0, ge=0, description="New patches within this distance, in m, are one problem.")
    join_days: int = Field(
        default=400,
        ge=0,
        description="Near ones join if at most so many days apart: a year, and the slack of a season.",
    )
    outline_px: float = Field(
        default=0.5, ge=0, description="Uncertainty of an outline beside the residual shift, in pixels of its image."
    )
    min_growth_m2: float = Field(default=400.0, gt=0, description="Smaller growth or loss is none, in m2.")
    min_growth_share: float = Field(default=0.02, ge=0, description="Nor is growth below this share of the problem.")
    ended_share: float = Field(
        default=0.1, ge=0, le=1, description="A problem with less than this share left has ended."
    )
    seen_share: float = Field(default=0.5, ge=0, le=1, description="A problem counts as seen if this share of it was.")
    greening: float = Field(
        default=0.1, gt=0, description="A patch whose NDVI rose by this much is a loss of activity, not a gain."
    )


class Programme(Settings):
    """One row of the assessment calendar."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$", description="Name of the programme.")
    grade: AreaGrade = Field(description="Grade of the areas it assesses; see docs/ledger.md.")
    every: Literal["half_year", "year", "three_years", "five_years", "campaign"] = Field(description="How often.")
    optional: bool = Field(default=False, description="Listed, but never overdue.")
    first: date | None = Field(default=None, description="Not before this date; a campaign or cycle begins with it.")
    last: date | None = Field(default=None, description="Not after this date.")
    due_days: int = Field(
        default=90, ge=0, description="Days from the end of the period to the sign-off (our default)."
    )

    @model_validator(mode="after")
    def _cycle_has_a_start(self) -> Programme:
        if self.every in ("three_years", "five_years", "campaign") and self.first is None:
            raise ValueError(f"'every = {self.every}' needs 'first'")
        return self


class Graded(Settings):
    """Which areas are of which grade."""

    grade: AreaGrade = Field(description="The grade.")
    areas: tuple[str, ...] = Field(min_length=1, description="Identities of the areas.")


class ClaimRules(Settings):
    """When images bear a claim of rectification out; project defaults, not a norm's."""

    ring_m: float = Field(
        default=100.0, gt=0, description="Width of the surroundings that a site is compared with, in m."
    )
    bare_ndvi: float = Field(default=0.25, description="Ground below this NDVI counts as bare.")
    bare_share: float = Field(
        default=0.2, ge=0, le=1, description="Bare ground is closed below this share of the site."
    )
    recovered_ndvi: float = Field(default=0.8, gt=0, description="Recovered: this share of the surroundings' NDVI.")
    built_distance: float = Field(
        default=0.08,
        gt=0,
        description="Structure gone: the spectrum is this far, in reflectance, from the worked ground.",
    )
    seasons: int = Field(default=2, ge=1, description="Growing seasons through which vegetation must hold.")
    season_months: tuple[int, int] = Field(default=(5, 9), description="First and last month of the growing season.")
    min_valid_share: float = Field(
        default=0.6, ge=0, le=1, description="A date counts if this share of the site is clear."
    )


class QualityRules(Settings):
    """What a published period must satisfy; sizes are project defaults, not a norm's."""

    min_area_m2: float = Field(default=400.0, ge=0, description="Smallest patch, in m2.")
    complex_min_area_m2: float = Field(
        default=50.0, ge=0, description="Smallest patch that lives as part of a complex change of min_area_m2 or more."
    )
    min_width_m: float = Field(default=2.0, ge=0, description="Smallest width, in m; roads are exempt.")
    area_tolerance: float = Field(default=0.001, gt=0, description="Stored and computed area agree within this share.")
    overlap_m2: float = Field(default=1.0, ge=0, description="Neighbours of one class may share this much, in m2.")


_YEARLY = (AreaGrade.NATIONAL_NATURE_PARK, AreaGrade.RED_LINE, AreaGrade.COUNTY_FUNCTION_ZONE)


def default_calendar() -> tuple[Programme, ...]:
    """Return the cadence that the policy on ecological supervision names, by grade."""
    half_yearly = (AreaGrade.NATIONAL_PARK, AreaGrade.NATIONAL_RESERVE)
    return (
        *(Programme(name=str(grade), grade=grade, every="half_year") for grade in half_yearly),
        *(Programme(name=str(grade), grade=grade, every="year") for grade in _YEARLY),
        Programme(name="local", grade=AreaGrade.LOCAL, every="year", optional=True),
        Programme(name="nation", grade=AreaGrade.NATION, every="five_years", first=date(2021, 1, 1)),
        Programme(name="demonstration", grade=AreaGrade.DEMONSTRATION, every="three_years", first=date(2021, 1, 1)),
    )


class LedgerSettings(Settings):
    """The ledger of a node, and the rules it is kept by; a changed rule shows in the digest of every unit entered."""

    node: str = Field(default="national", pattern=r"^[A-Za-z0-9_.-]+$", description="Name of this node, for exchange.")
    path: FilePath = Field(
        default=Path("../runs/ledger/ledger.db"), description="The ledger; a local disk, never a share."
    )
    published: FilePath = Field(default=Path("../runs/published"), description="Folder of the published periods.")
    lock_wait_s: float = Field(default=0.0, ge=0, description="Seconds to wait for another writer; then exit code 75.")
    rectify_days: int = Field(
        default=180, ge=1, description="Deadline of a rectification that names none (our default)."
    )
    match: Matching = Field(default=Matching(), description="How patches are joined to problems.")
    claim: ClaimRules = Field(default=ClaimRules(), description="When images bear a claim of rectification out.")
    quality: QualityRules = Field(default=QualityRules(), description="What a published period must satisfy.")
    graded: tuple[Graded, ...] = Field(default=(), description="Which areas are of which grade.")
    calendar: tuple[Programme, ...] = Field(default=default_calendar(), description="The assessment calendar.")

    def grade_of(self, area_id: str, kind: str) -> AreaGrade:
        """Return the grade of an area: as listed, else red line for a red line, else local."""
        for entry in self.graded:
            if area_id in entry.areas:
                return entry.grade
        return AreaGrade.RED_LINE if kind == "red_line" else AreaGrade.LOCAL
