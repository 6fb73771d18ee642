"""Where, when, with what: the settings of one review, none of which changes which pixels are flagged."""

from __future__ import annotations

import calendar
import re
from datetime import date
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from .model import FilePath, Settings


class DateRange(NamedTuple):
    """First and last civil date, both included."""

    first: date
    last: date

    def __contains__(self, day: object) -> bool:
        return isinstance(day, date) and self.first <= day <= self.last


class AreaSource(Settings):
    """One layer of protected areas or red lines."""

    path: FilePath = Field(description="GeoPackage, Shapefile, file geodatabase or GeoJSON.")
    layer: str | None = Field(default=None, description="Layer name, where the file has several.")
    kind: Literal["protected_area", "red_line"] = Field(
        default="protected_area", description="protected_area or red_line."
    )
    id_field: str = Field(description="Field with the area's identity; rows with the same identity are one area.")
    name_field: str | None = Field(default=None, description="Field with the name; the identity where absent.")
    zone_field: str | None = Field(default=None, description="Field with the zone, in Chinese or by code.")
    encoding: str | None = Field(
        default=None, description="Text encoding of a shapefile; found from the text where absent."
    )
    crs: str | None = Field(default=None, description="CRS to assume, only where the file names none.")


class CarrierSource(Settings):
    """Polygons of what was there before: wetland, forest, grassland, shoreline, nearshore water."""

    path: FilePath = Field(description="Vector file.")
    layer: str | None = Field(default=None, description="Layer name, where the file has several.")
    field: str = Field(description="Field with the carrier.")
    crs: str | None = Field(default=None, description="CRS to assume, only where the file names none.")


class BandDescription(Settings):
    """One band of a plain GeoTIFF."""

    role: str = Field(
        description="blue, green, red, nir, swir1, swir2 …; alpha for opacity (largest number of its type: valid)."
    )
    index: int = Field(ge=1, description="Band number in the file, from 1.")
    scale: float = Field(default=1.0, gt=0, description="Reflectance = number x scale + offset.")
    offset: float = Field(default=0.0, description="See scale.")
    unit: Literal["reflectance", "brightness", "decibel", "amplitude", "power"] = Field(
        default="reflectance",
        description="What number x scale + offset is; brightness: 0-1, uncalibrated; the last three: radar backscatter.",
    )


class SceneSource(Settings):
    """One folder of scenes."""

    path: FilePath = Field(description="Folder of scenes; a STAC catalog, item collection or index (.parquet).")
    product: Literal["safe", "landsat_c2", "stac", "geotiff"] = Field(description="safe, landsat_c2, stac or geotiff.")
    sensor: str = Field(default="auto", description="Row of the sensor table; auto where the product tells it.")
    pipeline: str = Field(default="bitemporal", description="Name of a file in the pipelines folder, without .toml.")
    date_pattern: str = Field(
        default=r"(?P<date>\d{8})",
        description="geotiff only: where in the file name the date stands, as YYYYMMDD.",
    )
    bands: tuple[BandDescription, ...] = Field(default=(), description="geotiff with sensor 'plain': its bands.")
    track: str = Field(
        default="",
        description="geotiff, radar: direction and orbit, such as 'ascending 142'; a group 'track' in date_pattern wins.",
    )
    since: date | None = Field(default=None, description="STAC index only: first civil date of scenes to take.")
    until: date | None = Field(default=None, description="STAC index only: last civil date of scenes to take.")
    nodata: float | None = Field(default=None, description="geotiff: fill value where the file names none.")
    trust_offset: bool = Field(
        default=False,
        description="Take Sentinel-2's offset from the metadata even where the pixels contradict it.",
    )

    @field_validator("date_pattern")
    @classmethod
    def _names_a_date(cls, pattern: str) -> str:
        try:
            names = re.compile(pattern).groupindex
        except re.error as error:
            raise ValueError(f"no regular expression ({error})") from error
        if "date" not in names:
            raise ValueError("needs a group named 'date', for instance (?P<date>\\d{8})")
        return pattern


class Output(Settings):
    """What is written beside the GeoPackage."""

    rasters: bool = Field(default=False, description="Also write score and valid as cloud-optimised GeoTIFF.")
    crs: str = Field(default="EPSG:4490", description="CRS of the GeoPackage; CGCS2000 by default.")
    quicklook: bool = Field(default=True, description="Write a PNG per area: before, after, patches on top.")


class Cache(Settings):
    """Copies of slow formats, decoded once; every one can be made again, and none is removed by itself."""

    path: FilePath | None = Field(default=None, description="Folder of the copies; 'cache' under 'runs' where absent.")
    max_gb: float = Field(
        default=500.0, gt=0, description="Size in GB up to which it grows; what finds no room is read as it is, slowly."
    )
    jpeg2000: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="auto: copy a scene of which the areas need a third or more; always; never.",
    )


class Review(Settings):
    """One assessment of a set of areas for a period."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$", description="Name of the review; a folder under 'runs'.")
    period: str = Field(description="2026H1, 2026H2 or 2026.")
    roots: tuple[FilePath, ...] = Field(min_length=1, description="Folders under which all input must lie.")
    runs: FilePath = Field(default=Path("../runs"), description="Folder for the results.")
    pipelines: FilePath = Field(default=Path("../pipelines"), description="Folder of the pipeline files.")
    before: tuple[date, date] | None = Field(
        default=None,
        description="First and last date of the earlier scenes; the same season a year before where absent.",
    )
    only: tuple[str, ...] = Field(default=(), description="Identities of the areas to review; all where empty.")
    allow_datum: tuple[str, ...] = Field(
        default=("EPSG:4326=EPSG:4490",),
        description="Pairs of datums that may be taken as equal, by name; WGS 84 and CGCS2000 agree within decimetres.",
    )
    areas: tuple[AreaSource, ...] = Field(min_length=1, description="Boundary layers.")
    carrier: CarrierSource | None = Field(default=None, description="Polygons of what was there before; optional.")
    sources: tuple[SceneSource, ...] = Field(min_length=1, description="Folders of scenes.")
    joined: tuple[str, ...] = Field(
        default=(), description="Pipelines that join others, such as 'rgb_sar': run where an area has all they join."
    )
    trust_mtime: bool = Field(
        default=True,
        description="Take a file of unchanged size, mtime, ctime and inode for unchanged; false reads all bytes anew.",
    )
    output: Output = Field(default=Output(), description="What is written beside the GeoPackage.")
    cache: Cache = Field(default=Cache(), description="Copies of slow formats, decoded once.")

    @field_validator("period")
    @classmethod
    def _is_a_period(cls, period: str) -> str:
        if not re.fullmatch(r"(19|20)\d{2}(H[12])?", period):
            raise ValueError("is none of the forms 2026H1, 2026H2, 2026")
        return period

    @model_validator(mode="after")
    def _before_is_before(self) -> Review:
        if self.before is not None:
            first, last = self.before
            if not first <= last < self.after_range.last:
                raise ValueError("'before' must run forward and end before the period does")
        return self

    @property
    def cache_folder(self) -> Path:
        """Where copies of slow formats lie."""
        return self.cache.path or self.runs / "cache"

    @property
    def after_range(self) -> DateRange:
        """The dates of the period."""
        year = int(self.period[:4])
        first, last = {"H1": (1, 6), "H2": (7, 12)}.get(self.period[4:], (1, 12))
        return DateRange(date(year, first, 1), date(year, last, calendar.monthrange(year, last)[1]))

    @property
    def before_range(self) -> DateRange:
        """The dates of the earlier scenes: as set, else the same months a year before."""
        if self.before is not None:
            return DateRange(*self.before)
        first, last = self.after_range
        year = first.year - 1
        return DateRange(first.replace(year=year), date(year, last.month, calendar.monthrange(year, last.month)[1]))
