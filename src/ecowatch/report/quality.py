"""Check a published or a flagged GeoPackage: through the one door in, then rule by rule."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import geopandas
import pandas as pd
import pyogrio
from shapely.errors import ShapelyError

from ..areas.geopackage import check_geopackage, feature_layers, layer_rows
from ..errors import BoundaryError
from ..intake import Admitted, FileKind, admit
from ..settings import QualityRules
from .published_columns import LAYERS
from .quality_rules import findings_of
from .quality_sheet import ERROR, WARNING, Expected, Finding, Sheet

_NOW = ("problem_id", "area_id", "period", "activity_code", "state", "opened_period", "last_period", "CODE")
# A loss outside all problems is a patch of no problem, and has no change code.
_CHANGE = ("patch_id", "area_id", "period", "activity_code", "before_date", "after_date", "CODE")
_PATCH = ("patch_id", "area_id", "period", "activity_code", "before_date", "after_date", "pipeline")
_APART = ("area_id", "activity_code")
PUBLISHED: dict[str, Expected] = {
    # A site that was made smaller may fall below the minimum and still stand: a warning.
    "activity": Expected("problem_id", (*_NOW, "area_ha", "MJ"), WARNING, _APART),
    "activity_road": Expected("problem_id", (*_NOW, "length_m", "CD")),
    "change": Expected(
        "patch_id", (*_CHANGE, "direction", "pipeline", "area_ha", "MJ"), ERROR, (*_APART, "pipeline"), during=True
    ),
    "change_road": Expected("patch_id", (*_CHANGE, "direction", "pipeline", "length_m", "CD"), during=True),
    "problem": Expected(
        "problem_id", ("problem_id", "area_id", "state", "activity_code", "opened_period", "standing", "area_ha")
    ),
    "verdict": Expected("event_id", ("event_id", "problem_id", "verdict", "reason", "reviewer", "at")),
    "area": Expected(
        "area_id", ("area_id", "area_name", "kind", "grade", "version", "valid_from", "area_ha", "assessed")
    ),
    "not_observed": Expected("", ("area_id", "reason", "area_ha"), open_codes=("reason",)),
}
"""What is asked of the layers of a published period."""
FLAGGED: dict[str, Expected] = {
    "patch": Expected("patch_id", (*_PATCH, "area_ha"), ERROR, (*_APART, "pipeline"), during=True),
    "patch_road": Expected("patch_id", (*_PATCH, "length_m"), during=True),
    "area_summary": Expected("", ("area_id", "period", "area_ha", "observed_share")),
    "not_observed": Expected("", ("area_id", "reason", "area_ha"), open_codes=("reason",)),
}
"""What is asked of the layers of ``flagged.gpkg``."""


def check_product(path: Path, rules: QualityRules) -> list[Finding]:
    """Run the quality rules on a GeoPackage.

    Parameters
    ----------
    path
        A published period or a ``flagged.gpkg``; it is not trusted.
    rules
        Sizes and tolerances.

    Returns
    -------
    list of Finding
        Errors and warnings in the order of layers and rules; empty where all is well.

    Raises
    ------
    IntakeError, BoundaryError
        Where the file cannot be opened safely, ``VECTOR_UNREADABLE``, ``ACTIVE_CONTENT``, ``ROWS_LOST``, ``NO_CRS``,
        or ``NOT_A_PRODUCT``.
    """
    admitted = admit(path, roots=[path.parent], kinds={FileKind.GPKG})
    check_geopackage(admitted.path)
    present = set(feature_layers(admitted.path))
    asked = _asked(path, present)
    missing = [layer for layer in asked if layer not in present and not _is_table(admitted.path, layer)]
    findings = [Finding("layers", layer, "", "the layer is missing", ERROR) for layer in missing]
    sheets = [_read(admitted.path, layer, expected) for layer, expected in asked.items() if layer not in missing]
    return findings + _digest_findings(path, admitted) + findings_of(sheets, rules)


def _asked(path: Path, present: set[str]) -> Mapping[str, Expected]:
    if present & {"activity", "change", "problem"}:
        return PUBLISHED
    if "patch" in present:
        return FLAGGED
    layers = ", ".join(sorted(present)) or "none"
    raise BoundaryError("NOT_A_PRODUCT", path, f"its layers are: {layers}", "give a published period or a flagged.gpkg")


def _is_table(path: Path, layer: str) -> bool:
    if layer not in LAYERS or LAYERS[layer].geometry:
        return False
    try:
        layer_rows(path, layer)
    except BoundaryError as error:
        if error.code == "ACTIVE_CONTENT":
            raise
        return False
    return True


def _read(path: Path, layer: str, expected: Expected) -> Sheet:
    count = layer_rows(path, layer).rows
    spatial = not (layer in LAYERS and not LAYERS[layer].geometry)
    try:
        # The condition makes GDAL count the rows itself instead of believing the number stored in the file.
        frame: pd.DataFrame = pyogrio.read_dataframe(
            path, layer=layer, where="1=1", read_geometry=spatial, force_2d=True, on_invalid="ignore"
        )
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ShapelyError, ValueError) as error:
        raise BoundaryError("VECTOR_UNREADABLE", path, f"layer {layer}: {error}", "fetch it again") from error
    if len(frame) != count:
        raise BoundaryError("ROWS_LOST", path, f"layer {layer}: {len(frame)} of {count} rows read", "fetch it again")
    if isinstance(frame, geopandas.GeoDataFrame) and frame.crs is None:
        raise BoundaryError("NO_CRS", path, f"layer {layer} has no CRS", "save it with its CRS")
    return Sheet(layer, frame, expected)


def _digest_findings(path: Path, admitted: Admitted) -> list[Finding]:
    """The file is the one whose SHA-256 stands beside it."""
    beside = path.with_name(f"{path.name}.sha256")
    if not beside.is_file():
        return []
    told = beside.read_bytes()[:64].decode("ascii", "replace")
    if told == admitted.digest:
        return []
    return [
        Finding("digest", "", path.name, f"SHA-256 {admitted.digest[:12]}…, {beside.name} says {told[:12]}…", ERROR)
    ]
