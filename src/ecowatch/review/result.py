"""What a review says of one area under one pipeline, and what it was laid over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import shapely
from pyproj import CRS

from ..areas import Area, Carriers, Overlay
from ..codes import Carrier
from ..settings import Pipeline
from .fit import Fit
from .pair import Comparison

_SEA = (Carrier.SHORELINE, Carrier.NEARSHORE)


@dataclass(frozen=True)
class Coverage:
    """Pixels of one area under one pipeline: expected = observed + not observed + failed."""

    expected_px: int
    observed_px: int
    failed_px: int

    @property
    def not_observed_px(self) -> int:
        """Pixels that were read but not seen clearly in both dates."""
        return self.expected_px - self.observed_px - self.failed_px

    @property
    def observed_share(self) -> float:
        """Share of the area that was really seen, 4 decimals."""
        return round(self.observed_px / self.expected_px, 4) if self.expected_px else 0.0


@dataclass(frozen=True)
class AreaResult:
    """All that is published of one area under one pipeline; geometries are in the output CRS.

    Parameters
    ----------
    area
        In the output CRS.
    pipeline
        None where the area had no scenes at all.
    comparison, fit
        What was compared and how it was fitted; None where no pair could be compared.
    coverage
        Pixel accounting; zero pixels where there was no grid.
    patches, roads, suppressed
        Rows of the layers `patch`, `patch_road` and `suppressed`.
    unseen
        Rows of the layer `not_observed`.
    shift_measured_px, shift_px
        Displacement of the after date as delivered, and what may be left of it, pixels; None where it is not known.
    note
        Code and finding where the area could not be compared.
    """

    area: Area
    pipeline: Pipeline | None
    comparison: Comparison | None
    coverage: Coverage
    patches: tuple[Mapping[str, Any], ...] = ()
    roads: tuple[Mapping[str, Any], ...] = ()
    suppressed: tuple[Mapping[str, Any], ...] = ()
    unseen: tuple[Mapping[str, Any], ...] = ()
    shift_measured_px: float | None = None
    shift_px: float | None = None
    fit: Fit | None = None
    note: str | None = None


@dataclass(frozen=True)
class Surroundings:
    """What patches are laid over, all in the output CRS.

    Parameters
    ----------
    crs
        The output CRS.
    allowed
        Datums that may be taken as equal.
    areas
        All areas, for overlaps.
    carriers
        What was there before, if given.
    """

    crs: CRS
    allowed: frozenset[str]
    areas: Sequence[Area]
    carriers: Carriers | None = None

    def placed(self, area: Area) -> Area:
        """Return an area in the output CRS: the one that is here already, moved from its source at once, where it is."""
        number = self._numbers.get(area.area_id)
        return area.in_crs(self.crs, self.allowed) if number is None else self.areas[number]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {area.area_id: number for number, area in enumerate(self.areas)}

    @cached_property
    def area_overlay(self) -> Overlay:
        """The areas as patches are laid over them; their tree is built once for all areas of a run."""
        return Overlay((area.area_id, area.geometry) for area in self.areas)

    @cached_property
    def carrier_overlay(self) -> Overlay:
        """The carriers likewise; empty without a layer of them."""
        return Overlay(self.carriers.parts if self.carriers else ())

    @cached_property
    def sea(self) -> shapely.STRtree:
        """Polygons that the carrier layer calls shoreline or nearshore water."""
        parts = self.carriers.parts if self.carriers else ()
        return shapely.STRtree([geometry for label, geometry in parts if Carrier.named(label) in _SEA])
