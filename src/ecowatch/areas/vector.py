"""Reading one vector layer from outside: through the one door, with a known driver, never fewer rows than the file has."""

from __future__ import annotations

import difflib
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError

from ..errors import BoundaryError, ConfigError, EcowatchError, IntakeError
from ..intake import VECTOR_KINDS, Admitted, FileKind, admit
from .dbf import check_row_counts, text_encoding
from .geopackage import check_geopackage, feature_layers, layer_rows


@dataclass(frozen=True)
class LayerRequest:
    """What to read: file, layer, fields and what to assume where the file is silent."""

    path: Path
    layer: str | None
    fields: tuple[str, ...]
    crs: str | None = None
    encoding: str | None = None


@dataclass(frozen=True, eq=False)
class VectorLayer:
    """One layer as read: texts and geometries row by row, nothing repaired yet.

    Parameters
    ----------
    columns
        For each field asked for, the text of each row: trimmed, NFC, empty where there is no value.
    geometries
        object, (row,), shapely geometries, None where a row has none.
    crs
        CRS of the geometries, longitude/easting first.
    source
        Name of the file.
    changed_fields
        Fields some of whose texts only differ in the way Unicode composes them.
    """

    columns: dict[str, list[str]]
    geometries: NDArray[np.object_]
    crs: CRS
    source: str
    changed_fields: tuple[str, ...] = ()


def read_layer(request: LayerRequest, roots: Sequence[Path]) -> VectorLayer:
    """Read one layer of a GeoPackage, shapefile, file geodatabase or GeoJSON file.

    Parameters
    ----------
    request
        File, layer, fields, and the CRS and encoding to assume.
    roots
        Folders under which input may lie.

    Raises
    ------
    ConfigError
        ``PATH_MISSING``, ``CRS_UNKNOWN``.
    IntakeError
        For a file outside the roots or of another kind.
    BoundaryError
        ``VECTOR_UNREADABLE``, ``ACTIVE_CONTENT``, ``GPKG_IN_USE``, ``LAYER_UNKNOWN``, ``FIELD_UNKNOWN``, ``NO_CRS``,
        ``NO_GEOMETRY``, ``NO_ROWS``, ``ROWS_LOST``, ``TEXT_ENCODING``.
    """
    admitted = _admitted(request.path, roots)
    with _named(request.path):
        if admitted.kind is FileKind.GPKG:
            check_geopackage(admitted.path)
        if admitted.kind is FileKind.SHAPEFILE:
            check_row_counts(admitted.path)
        layer = _chosen_layer(admitted, request)
        expected = layer_rows(admitted.path, layer).rows if admitted.kind is FileKind.GPKG else None
        options = _options(admitted, request)
        _check_fields(admitted, request, layer, options)
        import pyogrio.raw  # noqa: PLC0415 - brings pandas along, which workers never need

        # The condition makes GDAL count the rows itself instead of believing the number stored in a GeoPackage.
        meta, _, wkb, data = pyogrio.raw.read(
            _target(admitted), layer=layer, columns=list(request.fields), where="1=1", force_2d=True, **options
        )
        _check_rows(request.path, wkb, expected)
        geometries = shapely.from_wkb(wkb, on_invalid="ignore")
    columns = dict(zip(meta["fields"], data, strict=True))
    texts = {field: [_text(v) for v in columns[field]] for field in request.fields}
    return VectorLayer(
        columns={f: [unicodedata.normalize("NFC", t) for t in values] for f, values in texts.items()},
        geometries=np.asarray(geometries, dtype=object),
        crs=_crs_of(meta["crs"], request),
        source=request.path.name,
        changed_fields=tuple(f for f, values in texts.items() if _confusable(values)),
    )


def _admitted(path: Path, roots: Sequence[Path]) -> Admitted:
    try:
        return admit(path, roots=roots, kinds=VECTOR_KINDS)
    except IntakeError as error:
        if error.code == "FILE_MISSING":
            raise ConfigError("PATH_MISSING", path, error.finding, "correct 'path' in the review file") from error
        raise


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn whatever the readers throw into one error that names the file."""
    try:
        with warnings.catch_warnings():
            # GDAL warns of open rings and the like; each geometry is checked afterwards.
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
    except EcowatchError:
        raise
    except UnicodeDecodeError as error:
        if path.suffix.lower() != ".shp":  # the other formats are UTF-8 by definition: the text is damaged
            raise BoundaryError(
                "VECTOR_UNREADABLE",
                path,
                "a text in it is damaged",
                "fetch it again, or save the layer anew as GeoPackage",
            ) from error
        raise BoundaryError(
            "TEXT_ENCODING", path, f"the text is not {error.encoding}", "name the true one: encoding = 'GB18030'"
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BoundaryError(
            "VECTOR_UNREADABLE", path, reason.rstrip("."), "fetch it again, or save the layer anew as GeoPackage"
        ) from error


def _target(admitted: Admitted) -> str:
    # A JSON text that holds '<OGRVRTDataSource' in its first kilobyte is opened as OGR VRT; the prefix forbids that. The
    # other kinds begin with binary bytes or are folders, which no text driver claims.
    return f"GeoJSON:{admitted.path}" if admitted.kind is FileKind.GEOJSON else str(admitted.path)


def _options(admitted: Admitted, request: LayerRequest) -> dict[str, Any]:
    if admitted.kind is FileKind.GPKG:
        return {"IMMUTABLE": "YES", "LIST_ALL_TABLES": "NO"}
    if admitted.kind is FileKind.SHAPEFILE:
        encoding = request.encoding or text_encoding(admitted.path)
        return {"encoding": encoding} if encoding else {}
    return {}


def _chosen_layer(admitted: Admitted, request: LayerRequest) -> str:
    if admitted.kind is FileKind.GPKG:
        known = feature_layers(admitted.path)
    else:
        import pyogrio  # noqa: PLC0415 - brings pandas along, which workers never need

        known = [str(name) for name, kind in pyogrio.list_layers(_target(admitted)) if kind is not None]
    if request.layer is None and len(known) == 1:
        return known[0]
    if request.layer in known:
        return str(request.layer)
    if not known:
        raise BoundaryError("NO_GEOMETRY", request.path, "it has no layer with geometry", "give a layer of polygons")
    if request.layer is None:
        finding, remedy = f"it has {len(known)} layers", f"name one: layer = one of {', '.join(known)}"
    else:
        finding, remedy = f"no layer '{request.layer}'", did_you_mean(request.layer, known)
    raise BoundaryError("LAYER_UNKNOWN", request.path, finding, remedy)


def _check_fields(admitted: Admitted, request: LayerRequest, layer: str, options: dict[str, Any]) -> None:
    import pyogrio  # noqa: PLC0415 - brings pandas along, which workers never need

    info = pyogrio.read_info(_target(admitted), layer=layer, **options)
    if info["driver"] != admitted.kind.value:
        raise BoundaryError(
            "VECTOR_UNREADABLE",
            request.path,
            f"GDAL takes it for {info['driver']}",
            f"save it as {admitted.kind.value}",
        )
    known = [str(f) for f in info["fields"]]
    if not known and info["features"] == 0:
        # A GeoJSON without features has no fields either.
        raise _no_rows(request.path)
    for field in request.fields:
        if field not in known:
            raise BoundaryError("FIELD_UNKNOWN", request.path, f"no field '{field}'", did_you_mean(field, known))


def _check_rows(path: Path, wkb: Any, expected: int | None) -> None:
    if wkb is None:
        raise BoundaryError("NO_GEOMETRY", path, "the layer has no geometry", "give a layer of polygons")
    if expected is not None and len(wkb) != expected:
        raise BoundaryError(
            "ROWS_LOST",
            path,
            f"{len(wkb)} of {expected} rows were read",
            "save the layer anew; its registers are wrong",
        )
    if len(wkb) == 0:
        raise _no_rows(path)


def _no_rows(path: Path) -> BoundaryError:
    return BoundaryError("NO_ROWS", path, "the layer is empty", "check the file and the layer")


def did_you_mean(wrong: str, known: Sequence[str]) -> str:
    """Return the remedy for an unknown name: the nearest known one first, then all."""
    near = difflib.get_close_matches(wrong.casefold(), [k.casefold() for k in known], n=1, cutoff=0.5)
    hint = next((f"did you mean '{k}'? " for k in known if near and k.casefold() == near[0]), "")
    return f"{hint}known are: {', '.join(known) or 'none'}"


def _crs_of(text: str | None, request: LayerRequest) -> CRS:
    if text is None and request.crs is None:
        raise BoundaryError(
            "NO_CRS", request.path, "the file names no CRS", "name it in the review file: crs = 'EPSG:4490'"
        )
    try:
        crs = CRS.from_user_input(text if text is not None else request.crs)
    except CRSError as error:
        if text is None:
            raise ConfigError("CRS_UNKNOWN", request.path, f"crs = '{request.crs}' is none", "use 'EPSG:…'") from error
        raise BoundaryError(
            "NO_CRS", request.path, "its CRS cannot be understood", "save it with an EPSG CRS"
        ) from error
    code = crs.to_epsg()
    # A .prj spells a CRS in ESRI's words; by its number it is the same CRS in every format.
    return CRS.from_epsg(code) if code else crs


def _text(value: Any) -> str:
    """Return a cell as trimmed text: '' for no value, whole numbers without '.0'."""
    if value is None or value != value:  # noqa: PLR0124 - NaN and NaT are the values that differ from themselves
        return ""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def _confusable(texts: Sequence[str]) -> bool:
    return len(set(texts)) != len({unicodedata.normalize("NFC", t) for t in texts})
