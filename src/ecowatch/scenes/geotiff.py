"""A folder of GeoTIFF files, one scene each: the date stands in the name, the bands in the sensor table or the settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from ..errors import ConfigError, SceneError
from ..objects import is_object, objects_under
from ..settings import BandDescription, SceneSource
from .dates import civil_noon
from .reading import Candidate, RasterFile, Reading, band_of, layer_of, open_raster
from .scene import Quality, QualityKind, Scene, Unit
from .sensors import Sensor, sensor_named

_SUFFIXES = {".tif", ".tiff"}
_QUALITY_ROLES = {kind.value for kind in QualityKind}


def candidates(source: SceneSource, roots: Sequence[Path]) -> Iterator[Candidate]:
    """Yield every GeoTIFF under the folder of `source`.

    Raises
    ------
    ConfigError
        ``SENSOR_UNKNOWN`` or ``BANDS_UNDESCRIBED`` where the settings do not say what the bands are.
    """
    sensor = sensor_named(source.sensor if source.sensor != "auto" else "plain", source.path)
    described = source.bands or _descriptions(sensor)
    if not described:
        raise ConfigError(
            "BANDS_UNDESCRIBED",
            source.path,
            f"sensor {source.sensor!r} does not say what the bands of a GeoTIFF are",
            "name a sensor of the table, or describe the bands under [[sources.bands]]",
        )
    found = objects_under(source.path) if is_object(source.path) else source.path.rglob("*")
    for path in sorted(found):
        if path.suffix.lower() in _SUFFIXES:
            yield Candidate(str(path), partial(_read, path, source, sensor, described, roots))


def _descriptions(sensor: Sensor) -> tuple[BandDescription, ...]:
    return tuple(
        BandDescription(
            role=band.role, index=band.number, scale=sensor.scale, offset=sensor.offset, unit=sensor.unit.value
        )
        for band in sensor.bands
    )


def _read(
    path: Path, source: SceneSource, sensor: Sensor, described: Sequence[BandDescription], roots: Sequence[Path]
) -> Reading:
    acquired = civil_noon(_date_text(path, source.date_pattern), path)
    file = open_raster(path, roots)
    _check_file(file, sensor, source, described, path)
    fill = source.nodata if source.nodata is not None else sensor.fill
    bands = tuple(
        band_of(d.role, file, fill=fill, index=d.index, scale=d.scale, offset=d.offset, unit=Unit(d.unit))
        for d in described
        if d.role not in _QUALITY_ROLES
    )
    quality = _quality(file, described)
    notes = () if quality or bands[0].layer.fill is not None else ("NO_FILL: no nodata value and no alpha band",)
    # The path below the source tells two files of one name apart.
    scene_id = path.relative_to(source.path).with_suffix("").as_posix()
    scene = Scene(scene_id, sensor.key, acquired, bands, quality, notes, _track(path, source))
    return Reading(scene, None, (0.0, ""))


def _track(path: Path, source: SceneSource) -> str:
    match = re.search(source.date_pattern, path.name)
    named = match.groupdict().get("track") if match else None
    return named or source.track


def _date_text(path: Path, pattern: str) -> str:
    match = re.search(pattern, path.name)
    if match is None or not match["date"]:
        raise SceneError(
            "DATE_MISSING",
            path,
            f"the file name does not match date_pattern {pattern!r}",
            "rename it, or set date_pattern",
        )
    return match["date"]


def _check_file(
    file: RasterFile, sensor: Sensor, source: SceneSource, described: Sequence[BandDescription], path: Path
) -> None:
    info = file.info
    absent = [f"{d.role} (band {d.index})" for d in described if d.index > info.bands]
    if absent or all(d.role in _QUALITY_ROLES for d in described):
        raise SceneError(
            "SCENE_BANDS",
            path,
            f"{info.bands} bands, none for: {', '.join(absent) or 'any spectral role'}",
            "check the sensor, or describe the bands",
        )
    if info.grid is None:
        raise SceneError("NO_CRS", path, "the file has no CRS or no transform", "deliver it with its georeference")
    if sensor.dtype and not source.bands and info.dtype != sensor.dtype:
        raise SceneError(
            "RADIOMETRY_UNKNOWN",
            path,
            f"its numbers are {info.dtype}, the scale of {sensor.key} is for {sensor.dtype}",
            "describe the bands with their scale under [[sources.bands]]",
        )


def _quality(file: RasterFile, described: Sequence[BandDescription]) -> Quality | None:
    named = next((d for d in described if d.role in _QUALITY_ROLES), None)
    if (named or file.info.alpha_index) and file.info.dtype.startswith("float"):
        raise SceneError(
            "SCENE_BANDS", file.admitted.path, f"opacity or classes as {file.info.dtype}", "deliver them as integers"
        )
    if named is not None:
        return Quality(QualityKind(named.role), layer_of(file, fill=None, index=named.index))
    if file.info.alpha_index is not None:
        return Quality(QualityKind.ALPHA, layer_of(file, fill=None, index=file.info.alpha_index))
    return None
