"""Landsat Collection 2 Level 2: bands beside an MTL file, which says what their numbers mean."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from ..errors import SceneError
from ..intake import FileKind, admit, read_json, read_text, read_xml
from ..settings import SceneSource
from .dates import utc_instant
from .reading import Candidate, Reading, layer_of, local_path, open_raster, open_rasters, require_red_and_nir
from .scene import Band, Quality, QualityKind, Scene
from .sensors import SENSORS, Sensor

Groups = dict[str, dict[str, str]]

_ROOT = "LANDSAT_METADATA_FILE"
_SPACECRAFT = {
    "LANDSAT_4": "landsat_tm",
    "LANDSAT_5": "landsat_tm",
    "LANDSAT_7": "landsat_tm",
    "LANDSAT_8": "landsat_oli",
    "LANDSAT_9": "landsat_oli",
}
_MTL = re.compile(r"(.+)_MTL\.(txt|json|xml)", re.IGNORECASE)
_ORDER = {"txt": 0, "json": 1, "xml": 2}
_LINE = re.compile(r"\s*(\w+)\s*=\s*(.*?)\s*")


def candidates(source: SceneSource, roots: Sequence[Path]) -> Iterator[Candidate]:
    """Yield every product with an MTL file under the folder of `source`; of several forms, text goes first."""
    best: dict[tuple[Path, str], tuple[int, Path]] = {}
    for path in sorted(source.path.rglob("*")):
        if match := _MTL.fullmatch(path.name):
            entry = (_ORDER[match[2].lower()], path)
            best[path.parent, match[1]] = min(best.get((path.parent, match[1]), entry), entry)
    for _, path in best.values():
        yield Candidate(str(path), partial(_read, path, roots))


def read_mtl(path: Path, roots: Sequence[Path]) -> Groups:
    """Return the groups of an MTL file, whichever of its three forms it has; values stay text.

    Raises
    ------
    IntakeError, SceneError
        ``METADATA_INVALID`` or ``SCENE_COLLECTION`` (a root group that is not Collection 2's).
    """
    admitted = admit(path, roots=roots, kinds={FileKind.TEXT, FileKind.GEOJSON, FileKind.XML})
    if admitted.kind is FileKind.XML:
        element = read_xml(admitted)
        root = element.tag
        groups = {group.tag: {e.tag: (e.text or "").strip() for e in group} for group in element}
    elif admitted.kind is FileKind.GEOJSON:
        root, groups = _json_groups(read_json(admitted), path)
    else:
        root, groups = _text_groups(read_text(admitted), path)
    if root != _ROOT:
        raise SceneError("SCENE_COLLECTION", path, f"root group {root!r} is not Collection 2's", _collection_remedy())
    return groups


def _json_groups(value: object, path: Path) -> tuple[str, Groups]:
    if isinstance(value, dict) and len(value) == 1:
        root, inner = next(iter(value.items()))
        if isinstance(inner, dict) and all(isinstance(group, dict) for group in inner.values()):
            return root, {name: {k: str(v) for k, v in group.items()} for name, group in inner.items()}
    raise SceneError("METADATA_INVALID", path, "it is no MTL structure", "fetch the product again")


def _text_groups(text: str, path: Path) -> tuple[str, Groups]:
    root, groups, current = "", {}, ""
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if not match:
            continue
        key, value = match[1], match[2].strip('"')
        if key == "GROUP" and not root:
            root = value
        elif key == "GROUP":
            current = value
            groups[current] = dict[str, str]()
        elif key == "END_GROUP":
            current = ""
        elif current:
            groups[current][key] = value
    if not root or not groups:
        raise SceneError("METADATA_INVALID", path, "it holds no GROUP = … lines", "fetch the product again")
    return root, groups


def _collection_remedy() -> str:
    return "fetch the Collection 2 Level-2 product"


def _read(path: Path, roots: Sequence[Path]) -> Reading:
    groups = read_mtl(path, roots)
    content, image = groups.get("PRODUCT_CONTENTS", {}), groups.get("IMAGE_ATTRIBUTES", {})
    _check_product(content, path)
    sensor = _sensor(image, path)
    day, hour = image.get("DATE_ACQUIRED", ""), image.get("SCENE_CENTER_TIME", "")
    acquired = utc_instant(f"{day}T{hour}" if day and hour else "", path)
    bands, missing = _bands(sensor, groups, path, roots)
    quality = _file(content.get("FILE_NAME_QUALITY_L1_PIXEL"), path, roots)
    if quality is None:
        raise SceneError(
            "SCENE_INCOMPLETE", path, "missing: QA_PIXEL (clouds would be taken for change)", "fetch it too"
        )
    layer = layer_of(open_raster(quality, roots), fill=None)
    notes = (f"BANDS_MISSING: {', '.join(missing)}",) if missing else ()
    name = content.get("LANDSAT_PRODUCT_ID") or path.name
    scene = Scene(name, sensor.key, acquired, bands, Quality(QualityKind.QA_PIXEL, layer), notes)
    place = (image.get("WRS_PATH", ""), image.get("WRS_ROW", ""))
    generated = groups.get("LEVEL2_PROCESSING_RECORD", {}).get("DATE_PRODUCT_GENERATED", "")
    # The centre time moves by microseconds between two processings; path, row and day do not.
    return Reading(scene, (image.get("SPACECRAFT_ID", ""), *place, day), (2.0, generated))


def _check_product(content: dict[str, str], path: Path) -> None:
    level, collection = content.get("PROCESSING_LEVEL", "no level"), content.get("COLLECTION_NUMBER", "")
    if collection.lstrip("0") != "2":
        raise SceneError("SCENE_COLLECTION", path, f"collection {collection or 'unknown'}", _collection_remedy())
    if not level.startswith("L2"):
        raise SceneError("SCENE_LEVEL", path, f"{level} is not surface reflectance", _collection_remedy())


def _sensor(image: dict[str, str], path: Path) -> Sensor:
    spacecraft = image.get("SPACECRAFT_ID", "")
    if spacecraft not in _SPACECRAFT or image.get("SENSOR_ID", "") == "MSS":
        found = f"{spacecraft or 'no spacecraft'} {image.get('SENSOR_ID', '')}".strip()
        raise SceneError(
            "SENSOR_UNKNOWN", path, f"{found} has no row in the sensor table", "use Landsat 4-9 TM, ETM+ or OLI"
        )
    return SENSORS[_SPACECRAFT[spacecraft]]


def _bands(sensor: Sensor, groups: Groups, path: Path, roots: Sequence[Path]) -> tuple[tuple[Band, ...], list[str]]:
    content = groups.get("PRODUCT_CONTENTS", {})
    files = {b: _file(content.get(f"FILE_NAME_BAND_{b.name[1:]}"), path, roots) for b in sensor.bands}
    present = {band: file for band, file in files.items() if file is not None}
    missing = [band.name for band in sensor.bands if band not in present]
    require_red_and_nir([band.role for band in present], missing, path)
    opened = open_rasters(present.values(), roots)
    bands = []
    for band, file in present.items():
        scale, offset = _radiometry(groups, band.name[1:], path)
        bands.append(Band(band.role, layer_of(opened[file], fill=sensor.fill), scale, offset))
    return tuple(bands), missing


def _radiometry(groups: Groups, number: str, path: Path) -> tuple[float, float]:
    values = groups.get("LEVEL2_SURFACE_REFLECTANCE_PARAMETERS", {})
    try:
        scale, offset = (float(values[f"REFLECTANCE_{part}_BAND_{number}"]) for part in ("MULT", "ADD"))
    except (KeyError, ValueError) as error:
        raise SceneError(
            "RADIOMETRY_UNKNOWN", path, f"no reflectance scale or offset for band {number} ({error})", "fetch it again"
        ) from error
    if not scale > 0:
        raise SceneError("RADIOMETRY_UNKNOWN", path, f"scale {scale:g} of band {number}", "fetch it again")
    return scale, offset


def _file(name: str | None, mtl: Path, roots: Sequence[Path]) -> Path | None:
    """The file an MTL names, if it is there; deliveries change the case of the suffix."""
    if not name:
        return None
    path = local_path(name, mtl.parent, roots, mtl)
    if path.is_file():
        return path
    return next((p for p in sorted(mtl.parent.iterdir()) if p.name.lower() == path.name.lower() and p.is_file()), None)
