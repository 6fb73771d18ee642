"""Scenes of STAC items on disk: which asset is which band, what its numbers mean, when it was taken."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import SceneError
from ..objects import is_object
from ..settings import SceneSource
from .dates import utc_instant
from .index import Box, indexed_items
from .offset import check_scene_offset
from .reading import Candidate, RasterFile, Reading, band_of, layer_of, local_path, open_rasters, require_red_and_nir
from .scene import RADAR_UNITS, Band, Quality, QualityKind, Scene, grid_key
from .sensors import SENSORS, Sensor, sensor_named
from .stac_links import Document, items

_ID = re.compile(r"[\w+:-][\w.+:-]{0,199}")
_PLATFORMS = (
    (re.compile(r"sentinel[-_ ]?1"), "s1_rtc"),
    (re.compile(r"sentinel[-_ ]?2"), "s2_l2a"),
    (re.compile(r"landsat[-_ ]?[457]\b"), "landsat_tm"),
    (re.compile(r"landsat[-_ ]?[89]\b"), "landsat_oli"),
    (re.compile(r"(gf|gaofen)[-_ ]?[16]\b"), "gf_4band"),
    (re.compile(r"cbers[-_ ]?4\b"), "cbers4_mux"),
)
_COMMON_ROLES = {
    "blue": "blue",
    "green": "green",
    "red": "red",
    "nir": "nir",
    "nir08": "nir",
    "swir16": "swir1",
    "swir22": "swir2",
}
_QUALITY_ASSETS = {QualityKind.SCL: ("scl",), QualityKind.QA_PIXEL: ("qa_pixel", "qa_pixel.tif")}
_PICTURES = {"thumbnail", "overview", "visual", "metadata"}
_OFFSET_SINCE = 4.0
_REPAIR = "repair the item"


class _Asset(NamedTuple):
    """One band of an asset as the item describes it; None where it says nothing."""

    key: str
    href: Any
    band_number: int
    scale: float | None
    offset: float | None
    nodata: float | None
    checksum: str | None


def candidates(source: SceneSource, roots: Sequence[Path]) -> Iterator[Candidate]:
    """Yield every item reachable from the path of `source`, and every document that cannot be used."""
    yield from _candidates(items(source.path, roots), source, roots)


def indexed_candidates(source: SceneSource, roots: Sequence[Path], within: Sequence[Box] | None) -> Iterator[Candidate]:
    """Yield the items of the index that is the path of `source`, of its dates and touching one of the boxes."""
    found = indexed_items(source.path, roots, within=within, since=source.since, until=source.until)
    yield from _candidates(found, source, roots)


def _candidates(documents: Iterable[Document], source: SceneSource, roots: Sequence[Path]) -> Iterator[Candidate]:
    for document in documents:
        name = document.item.get("id")
        where = f"{document.path} {name}" if isinstance(name, str) and _ID.fullmatch(name) else str(document.path)
        yield Candidate(where, partial(_read, document, source, roots, where))


def _read(document: Document, source: SceneSource, roots: Sequence[Path], where: str) -> Reading:
    if document.error is not None:
        raise document.error
    name, properties, assets = _parts(document.item, where)
    sensor = _sensor(properties, source, where)
    _check_level(name, document.item, properties, sensor, where)
    acquired, notes = _acquired(properties, where)
    described, quality_asset = _assets(assets, sensor, where)
    missing = [band.name for band in sensor.bands if band.role not in described]
    if sensor.quality is not None:
        require_red_and_nir(described, missing, where)
    files = _opened([*described.values(), *filter(None, [quality_asset])], document.path, roots, where)
    bands, more = _bands(described, sensor, properties, files, where)
    notes += more
    if any(is_object(file.admitted.path) for file in files.values()):
        notes += ("CHECKSUM_NOT_READ: objects of a store are known by ETag, size and version, not by their SHA-256",)
    if missing:
        notes += (f"BANDS_MISSING: {', '.join(missing)}",)
    quality = _quality(quality_asset, sensor, files, where)
    if sensor.key == "s2_l2a" and not source.trust_offset:
        _check_flags(bands, properties, where)
        check_scene_offset(bands, where)
    track = _track(properties) if sensor.unit in RADAR_UNITS else ""
    scene = Scene(name, sensor.key, acquired, bands, quality, notes, track)
    place = str(properties.get("s2:mgrs_tile") or properties.get("grid:code") or grid_key(scene.grid))
    generated = properties.get("s2:generation_time") or properties.get("updated") or properties.get("created") or ""
    return Reading(
        scene,
        (sensor.key, str(properties.get("platform")), place, acquired.isoformat()),
        (_baseline(properties) or 0.0, str(generated)),
    )


def _track(properties: dict[str, Any]) -> str:
    """Direction and relative orbit of a radar scene: looks from two sides are never compared."""
    return " ".join(str(properties[key]) for key in ("sat:orbit_state", "sat:relative_orbit") if key in properties)


def _parts(item: dict[str, Any], where: str) -> tuple[str, dict[str, Any], dict[str, dict[str, Any]]]:
    name, properties, assets = item.get("id"), item.get("properties"), item.get("assets")
    # The identity becomes part of names and messages; a path in it would lead elsewhere.
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise SceneError("STAC_INVALID", where, f"id {str(name)[:40]!r} is no plain name", _REPAIR)
    if not isinstance(properties, dict) or not isinstance(assets, dict):
        raise SceneError("STAC_INVALID", where, "no 'properties' or no 'assets'", _REPAIR)
    return name, properties, {key: a for key, a in assets.items() if isinstance(a, dict)}


def _sensor(properties: dict[str, Any], source: SceneSource, where: str) -> Sensor:
    if source.sensor != "auto":
        return sensor_named(source.sensor, source.path)
    names = [
        str(properties.get(k, "")).lower() for k in ("platform", "eo:platform", "constellation", "eo:constellation")
    ]
    for pattern, key in _PLATFORMS:
        if any(pattern.match(name) for name in names):
            return SENSORS[key]
    found = ", ".join(filter(None, names)) or "none"
    raise SceneError("SENSOR_UNKNOWN", where, f"platform {found[:60]!r}", f"set sensor to one of: {', '.join(SENSORS)}")


def _check_level(name: str, item: dict[str, Any], properties: dict[str, Any], sensor: Sensor, where: str) -> None:
    said = [properties.get(k) for k in ("s2:product_type", "processing:level", "landsat:correction")]
    words = " ".join(str(v) for v in [*said, item.get("collection"), name]).lower()
    if re.search(r"l1c|msi1c|_l1(tp|gt|gs)_|\bl1(tp|gt|gs)?\b", words):
        raise SceneError("SCENE_LEVEL", where, "Level 1 is not surface reflectance", "fetch the Level-2 product")
    collection = str(properties.get("landsat:collection_number", "02")).lstrip("0")
    if sensor.key.startswith("landsat") and (collection != "2" or re.search(r"_01_(t1|t2|rt)\b", words)):
        raise SceneError("SCENE_COLLECTION", where, "it is not Collection 2", "fetch the Collection 2 Level-2 product")


def _acquired(properties: dict[str, Any], where: str) -> tuple[datetime, tuple[str, ...]]:
    text = properties.get("datetime")
    if text is not None:
        return utc_instant(text, where), ()
    first, last = (utc_instant(properties.get(f"{end}_datetime"), where) for end in ("start", "end"))
    middle = first + (last - first) / 2
    return middle.astimezone(UTC), ("DATE_RANGE: the item gives a range of time; its middle is used",)


def _assets(assets: dict[str, dict[str, Any]], sensor: Sensor, where: str) -> tuple[dict[str, _Asset], _Asset | None]:
    """Assets by role, in the order of the sensor table, and the quality asset; the first of several wins."""
    found: dict[str, _Asset] = {}
    quality = None
    names = _QUALITY_ASSETS.get(sensor.quality, ()) if sensor.quality else ()
    for key, asset in assets.items():
        roles = asset.get("roles")
        if isinstance(roles, list) and _PICTURES & {str(role) for role in roles}:
            continue
        bands = _described_bands(asset)
        if key.lower() in names:
            quality = quality or _asset(key, asset, {}, 1, where)
        # Satellite products hold one band a file; an asset of several bytes a pixel is their colour picture.
        elif len(bands) <= 1 or sensor.quality is None or all(b.get("data_type", "uint8") != "uint8" for b in bands):
            for index, band in enumerate(bands or [{}], 1):
                role = _role(band, key, sensor)
                if role and role not in found:
                    found[role] = _asset(key, asset, band, index, where)
    order = [band.role for band in sensor.bands] or list(found)
    return {role: found[role] for role in order if role in found}, quality


def _described_bands(asset: dict[str, Any]) -> list[dict[str, Any]]:
    """The bands of an asset, with the raster extension's words joined to each (versions 1.0 and 1.1)."""
    named = asset.get("bands") or asset.get("eo:bands")
    raster = asset.get("raster:bands")
    named = [b if isinstance(b, dict) else {} for b in named] if isinstance(named, list) else []
    raster = [b if isinstance(b, dict) else {} for b in raster] if isinstance(raster, list) else []
    count = max(len(named), len(raster))
    return [{**(raster[i] if i < len(raster) else {}), **(named[i] if i < len(named) else {})} for i in range(count)]


def _role(band: dict[str, Any], key: str, sensor: Sensor) -> str | None:
    """Role by the band's name in the product, else by its common name, else by the asset's key."""
    wanted = {b.role for b in sensor.bands}
    for name in (band.get("name"), key):
        plain = str(name or "").upper().rpartition("_")[2].removesuffix(".TIF")
        if role := sensor.role_of(plain):
            return role
    for name in (band.get("common_name"), band.get("eo:common_name"), band.get("name"), key):
        # Sentinel-2 has two near infrared bands; "nir08" is the narrow one there.
        role = "nir2" if name == "nir08" and "nir2" in wanted else _COMMON_ROLES.get(str(name))
        if role and (role in wanted or not wanted):
            return role
    return key if key in wanted else None


def _asset(key: str, asset: dict[str, Any], band: dict[str, Any], index: int, where: str) -> _Asset:
    def number(*names: str) -> float | None:
        for part, name in ((part, name) for part in (band, asset) for name in names):
            value = part.get(name)
            if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
                return float(value)
            if value is not None:
                raise SceneError("STAC_INVALID", where, f"asset {key!r}: {name} is {str(value)[:40]!r}", _REPAIR)
        return None

    checksum = asset.get("file:checksum")
    return _Asset(
        key,
        asset.get("href"),
        index,
        number("scale", "raster:scale"),
        number("offset", "raster:offset"),
        number("nodata"),
        checksum if isinstance(checksum, str) else None,
    )


def _opened(assets: Sequence[_Asset], item_path: Path, roots: Sequence[Path], where: str) -> dict[str, RasterFile]:
    """The checked files of a scene by their links."""
    paths = [local_path(a.href, item_path.parent, roots, f"{where} asset {a.key!r}") for a in assets]
    files = open_rasters(paths, roots)
    for asset, path in zip(assets, paths, strict=True):
        # Multihash: 0x12 = SHA-256, 0x20 = its 32 bytes. Other kinds are not known here and prove nothing.
        checksum = "" if is_object(path) else (asset.checksum or "").lower()
        if checksum.startswith("1220") and checksum[4:] != files[path].admitted.digest:
            raise SceneError("ASSET_CHECKSUM", path, "its SHA-256 is not the item's file:checksum", "fetch it again")
    return {asset.href: files[path] for asset, path in zip(assets, paths, strict=True)}


def _bands(
    described: dict[str, _Asset],
    sensor: Sensor,
    properties: dict[str, Any],
    files: dict[str, RasterFile],
    where: str,
) -> tuple[tuple[Band, ...], tuple[str, ...]]:
    bands, implied = [], False
    for role, asset in described.items():
        file = files[asset.href]
        if sensor.unit in RADAR_UNITS and not file.info.dtype.startswith("float"):
            raise SceneError(
                "RADIOMETRY_UNKNOWN", where, f"asset {asset.key!r} holds {file.info.dtype}", "calibrate it first (RTC)"
            )
        fill = asset.nodata if asset.nodata is not None else sensor.fill
        scale = asset.scale if asset.scale is not None else sensor.scale
        if not scale > 0:
            raise SceneError("RADIOMETRY_UNKNOWN", where, f"asset {asset.key!r}: scale {scale:g}", _REPAIR)
        offset = asset.offset
        if offset is None:
            offset, from_baseline = _unstated_offset(scale, properties, sensor)
            implied |= from_baseline
        bands.append(
            band_of(role, file, fill=fill, index=asset.band_number, scale=scale, offset=offset, unit=sensor.unit)
        )
    note = "OFFSET_FROM_BASELINE: the item names no offset; -1000 follows from its processing baseline"
    return tuple(bands), (note,) if implied else ()


def _unstated_offset(scale: float, properties: dict[str, Any], sensor: Sensor) -> tuple[float, bool]:
    """The offset where the item names none, and whether it follows from the baseline."""
    baseline = _baseline(properties) or 0.0
    applied = properties.get("earthsearch:boa_offset_applied") is True
    if sensor.key == "s2_l2a" and baseline >= _OFFSET_SINCE and not applied:
        return -1000 * scale, True
    # The sensor's offset belongs to the sensor's scale; another scale is another product (HLS), without offset.
    return (sensor.offset if math.isclose(scale, sensor.scale) else 0.0), False


def _baseline(properties: dict[str, Any]) -> float | None:
    try:
        return float(properties.get("s2:processing_baseline") or properties.get("processing:version") or "")
    except (ValueError, TypeError):
        return None


def _check_flags(bands: Sequence[Band], properties: dict[str, Any], where: str) -> None:
    if properties.get("earthsearch:boa_offset_applied") is True and any(band.offset for band in bands):
        raise SceneError(
            "OFFSET_CONFLICT",
            where,
            f"boa_offset_applied is true, yet raster:bands names offset {min(b.offset for b in bands):g}",
            "correct the item, or set trust_offset = true for this source if raster:bands is right",
        )


def _quality(asset: _Asset | None, sensor: Sensor, files: dict[str, RasterFile], where: str) -> Quality | None:
    if sensor.quality is None:
        return None
    if asset is None:
        name = sensor.quality.value.upper()
        raise SceneError(
            "SCENE_INCOMPLETE", where, f"missing: {name} (clouds would be taken for change)", "fetch it too"
        )
    return Quality(sensor.quality, layer_of(files[asset.href], fill=None))
