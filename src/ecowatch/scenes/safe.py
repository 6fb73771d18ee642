"""Sentinel-2 Level-2A as ESA delivers it: a SAFE folder with its granules, of today's, the pilot's or the cloud's naming."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from ..errors import SceneError
from ..grid import Grid
from ..intake import FileKind, admit, read_xml
from ..raster import Layer
from ..settings import SceneSource
from .dates import utc_instant
from .offset import check_scene_offset
from .reading import Candidate, RasterFile, Reading, layer_of, open_rasters, require_red_and_nir, same_grid
from .scene import Band, Quality, QualityKind, Scene
from .sensors import SENSORS

_PRODUCT_XML = re.compile(r"MTD_MSIL[12]\w*\.xml|S2\w+_MTD_SAFL[12]\w+\.xml|product_metadata\.xml", re.IGNORECASE)
_GRANULE_XML = re.compile(r"MTD_TL\.xml|metadata\.xml|S2\w+_MSI_L[12]\w+_TL_\w+\.xml", re.IGNORECASE)
_IMAGE = re.compile(r"(?:.*_)?(B\d[\dA]|SCL)(?:_(\d\d)m)?\.(?:jp2|tiff?)", re.IGNORECASE)
_TILE = re.compile(r"_T(\d\d[A-Z]{3})(?:_|$)")
# The order of band_id in the product metadata.
_BAND_IDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
_OFFSET_SINCE = 4.0
_INCOMPLETE = "fetch the product again, with all its files"


class _Product(NamedTuple):
    """What the product metadata say: name, baseline, times, and per band name the scale and offset."""

    name: str
    baseline: float
    generated: str
    sensed: str | None
    quantification: float
    offsets: dict[str, float]


def candidates(source: SceneSource, roots: Sequence[Path]) -> Iterator[Candidate]:
    """Yield every granule of every product under the folder of `source`, products without metadata included."""
    found: set[Path] = set()
    folders = {path.parent for path in source.path.rglob("*.xml") if _PRODUCT_XML.fullmatch(path.name)}
    folders |= {path.parent for path in source.path.rglob("tileInfo.json")}
    folders |= {path for path in [source.path, *source.path.rglob("*.SAFE")] if path.suffix.upper() == ".SAFE"}
    for folder in sorted(folders):
        for granule in _granules(folder):
            if granule not in found:
                found.add(granule)
                yield Candidate(str(granule), partial(_read, folder, granule, source.trust_offset, roots))


def _granules(folder: Path) -> list[Path]:
    inner = folder / "GRANULE"
    return (sorted(p for p in inner.iterdir() if p.is_dir()) if inner.is_dir() else []) or [folder]


def _read(folder: Path, granule: Path, trust_offset: bool, roots: Sequence[Path]) -> Reading:
    product = _product(_xml(folder, _PRODUCT_XML, "product metadata", roots), folder)
    acquired = utc_instant(product.sensed, folder)
    images = _images(granule)
    grid = _declared_grid(_xml(granule, _GRANULE_XML, "granule metadata", roots), granule)
    wanted = {band.name for band in SENSORS["s2_l2a"].bands} | {"SCL"}
    files = open_rasters((path for name, path in images.items() if name in wanted), roots)
    bands, notes = _bands(product, images, grid, files, granule)
    if "SCL" not in images:
        raise SceneError("SCENE_INCOMPLETE", granule, "missing: SCL (clouds would be taken for change)", _INCOMPLETE)
    quality, assumed = _layer(files[images["SCL"]], grid)
    if assumed:
        notes += ("GEOREF_FROM_METADATA: the files name no CRS; the extent of the granule metadata is used",)
    if not trust_offset:
        check_scene_offset(bands, granule)
    tile = match[1] if (match := _TILE.search(granule.name) or _TILE.search(product.name)) else granule.name
    scene_id = product.name if len(_granules(folder)) == 1 else f"{product.name}_{tile}"
    scene = Scene(scene_id, "s2_l2a", acquired, bands, Quality(QualityKind.SCL, quality), notes)
    return Reading(scene, ("s2_l2a", tile, acquired.isoformat()), (product.baseline, product.generated))


def _xml(folder: Path, name: re.Pattern[str], what: str, roots: Sequence[Path]) -> Element:
    found = sorted(p for p in folder.iterdir() if name.fullmatch(p.name)) if folder.is_dir() else []
    if not found:
        raise SceneError("SCENE_INCOMPLETE", folder, f"missing: {what} (XML)", _INCOMPLETE)
    return read_xml(admit(found[0], roots=roots, kinds={FileKind.XML}))


def _texts(root: Element, name: str) -> list[tuple[Element, str]]:
    """Elements by their name without namespace, with their text."""
    return [(e, (e.text or "").strip()) for e in root.iter() if e.tag.rpartition("}")[2] == name]


def _first(root: Element, *names: str) -> str | None:
    return next((text for name in names for _, text in _texts(root, name) if text), None)


def _product(root: Element, folder: Path) -> _Product:
    level = _first(root, "PROCESSING_LEVEL") or "no level"
    if not level.startswith("Level-2A"):
        raise SceneError("SCENE_LEVEL", folder, f"{level} is not surface reflectance", "fetch the Level-2A product")
    name = _first(root, "PRODUCT_URI", "PRODUCT_URI_2A") or folder.name
    sensed = _first(root, "DATATAKE_SENSING_START", "PRODUCT_START_TIME")
    try:
        baseline = float(_first(root, "PROCESSING_BASELINE") or "")
        quantification = float(_first(root, "BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE") or "")
        listed = _texts(root, "BOA_ADD_OFFSET")
        offsets = {_BAND_IDS[int(e.get("band_id", ""))]: float(text) for e, text in listed}
    except (ValueError, IndexError) as error:
        raise _unknown(folder, f"baseline, quantification or offset cannot be read ({error})") from error
    if not quantification > 0:
        raise _unknown(folder, f"quantification value {quantification:g}")
    if baseline >= _OFFSET_SINCE and not offsets:
        raise _unknown(folder, f"baseline {baseline:05.2f} without BOA_ADD_OFFSET list")
    name = name.removesuffix(".SAFE")
    return _Product(name, baseline, _first(root, "GENERATION_TIME") or "", sensed, quantification, offsets)


def _unknown(folder: Path, finding: str) -> SceneError:
    return SceneError("RADIOMETRY_UNKNOWN", folder, finding, "fetch the product with its complete metadata")


def _images(granule: Path) -> dict[str, Path]:
    """The finest file of each band, by band name."""
    best: dict[str, tuple[int, Path]] = {}
    for path in sorted(granule.rglob("*")):
        match = _IMAGE.fullmatch(path.name)
        folder = re.fullmatch(r"R(\d\d)m", path.parent.name, re.IGNORECASE)
        metres = (match and match[2]) or (folder and folder[1])
        if match and metres and path.parent.name.upper() != "QI_DATA":
            entry = (int(metres), path)
            best[match[1].upper()] = min(best.get(match[1].upper(), entry), entry)
    return {name: path for name, (_, path) in best.items()}


def _declared_grid(root: Element, granule: Path) -> Grid:
    """The grid of the granule metadata at its finest resolution."""
    try:
        crs = _first(root, "HORIZONTAL_CS_CODE")
        places = {e.get("resolution", ""): e for e, _ in _texts(root, "Geoposition")}
        sizes = {e.get("resolution", ""): e for e, _ in _texts(root, "Size")}
        finest = min(places, key=float)
        left, top, width, height = (float(_first(places[finest], k) or "") for k in ("ULX", "ULY", "XDIM", "YDIM"))
        shape = (int(_first(sizes[finest], "NROWS") or ""), int(_first(sizes[finest], "NCOLS") or ""))
        return Grid.from_parts(crs, (width, 0.0, left, 0.0, height, top), shape)
    except (ValueError, KeyError, RuntimeError) as error:
        raise SceneError(
            "GEOREF_UNKNOWN", granule, f"the granule metadata give no position ({error})", _INCOMPLETE
        ) from error


def _layer(file: RasterFile, declared: Grid) -> tuple[Layer, bool]:
    """One band's layer, and whether its place had to be taken from the metadata."""
    rows, cols = file.info.shape
    left, bottom, right, top = declared.bounds
    transform = ((right - left) / cols, 0.0, left, 0.0, (bottom - top) / rows, top)
    expected = Grid.from_parts(declared.crs, transform, file.info.shape)
    if file.info.grid is not None and not same_grid(file.info.grid, expected):
        raise SceneError(
            "GEOREF_CONFLICT",
            file.admitted.path,
            f"the file lies at {_place(file.info.grid)}, the metadata say {_place(expected)}",
            "fetch the product again; one of its files belongs to another tile",
        )
    return layer_of(file, fill=SENSORS["s2_l2a"].fill, grid=expected), file.info.grid is None


def _place(grid: Grid) -> str:
    return f"{grid.crs.to_string()[:40]} {tuple(round(v, 1) for v in grid.bounds)}"


def _bands(
    product: _Product, images: dict[str, Path], grid: Grid, files: dict[Path, RasterFile], where: Path
) -> tuple[tuple[Band, ...], tuple[str, ...]]:
    wanted = SENSORS["s2_l2a"].bands
    missing = [band.name for band in wanted if band.name not in images]
    if "SCL" not in images:
        missing.append("SCL")
    present = [band for band in wanted if band.name in images]
    require_red_and_nir([band.role for band in present], missing, where)
    if product.offsets and (unlisted := [b.name for b in present if b.name not in product.offsets]):
        raise _unknown(where, f"no BOA_ADD_OFFSET for {', '.join(unlisted)}")
    scale = 1 / product.quantification
    bands = tuple(
        Band(b.role, _layer(files[images[b.name]], grid)[0], scale, product.offsets.get(b.name, 0.0) * scale)
        for b in present
    )
    return bands, (f"BANDS_MISSING: {', '.join(missing)}",) if missing else ()
