"""The GeoPackage of flagged patches: built beside, read back, renamed; the same results give the same bytes."""

from __future__ import annotations

import json
import sqlite3
import warnings
from array import array
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pyproj import CRS

from ..atomic import replacing, sqlite_uri, storage_error
from ..errors import StorageError
from ..grid import geodesic_area_m2
from .result import AreaResult

Array = np.ndarray[Any, Any]
Row = Mapping[str, Any]

_TEXT, _REAL, _WHOLE = "string", "float64", "int64"
_PATCH = {
    "patch_id": _TEXT,
    "area_id": _TEXT,
    "area_name": _TEXT,
    "period": _TEXT,
    "activity_code": _TEXT,
    "activity_zh": _TEXT,
    "activity_en": _TEXT,
    "energy": _TEXT,
    "act": _TEXT,
    "natural": _TEXT,
    "natural_zh": _TEXT,
    "natural_en": _TEXT,
    "confidence": _REAL,
    "reasons": _TEXT,
    "stage": _TEXT,
    "stage_zh": _TEXT,
    "stage_en": _TEXT,
    "time_facts": _TEXT,
    "change_code": _TEXT,
    "area_ha": _REAL,
    "strength": _REAL,
    "before_date": _TEXT,
    "after_date": _TEXT,
    "before_scenes": _TEXT,
    "after_scenes": _TEXT,
    "observed_share": _REAL,
    "area_shares": _TEXT,
    "zone_shares": _TEXT,
    "carrier": _TEXT,
    "shift_px": _REAL,
    "spectrum_before": _TEXT,
    "spectrum_after": _TEXT,
    "pipeline": _TEXT,
    "pipeline_version": _TEXT,
}
LAYERS: dict[str, tuple[str, dict[str, str]]] = {
    "patch": ("MultiPolygon", _PATCH),
    "patch_road": ("MultiLineString", _PATCH | {"length_m": _REAL, "width_m": _REAL}),
    "suppressed": (
        "MultiPolygon",
        {
            "patch_id": _TEXT,
            "area_id": _TEXT,
            "area_name": _TEXT,
            "period": _TEXT,
            "reason": _TEXT,
            "reason_zh": _TEXT,
            "reason_en": _TEXT,
            "facts": _TEXT,
            "stage": _TEXT,
            "area_ha": _REAL,
            "strength": _REAL,
            "before_date": _TEXT,
            "after_date": _TEXT,
            "before_scenes": _TEXT,
            "after_scenes": _TEXT,
            "spectrum_before": _TEXT,
            "spectrum_after": _TEXT,
            "pipeline": _TEXT,
            "pipeline_version": _TEXT,
        },
    ),
    "area_summary": (
        "MultiPolygon",
        {
            "area_id": _TEXT,
            "area_name": _TEXT,
            "kind": _TEXT,
            "period": _TEXT,
            "pipeline": _TEXT,
            "pipeline_version": _TEXT,
            "before_date": _TEXT,
            "after_date": _TEXT,
            "area_ha": _REAL,
            "observed_share": _REAL,
            "observed_ha": _REAL,
            "not_observed_ha": _REAL,
            "failed_ha": _REAL,
            "patches": _WHOLE,
            "patch_ha": _REAL,
            "suppressed": _WHOLE,
            "suppressed_ha": _REAL,
            "shift_measured_px": _REAL,
            "shift_px": _REAL,
            "note": _TEXT,
        },
    ),
    "not_observed": (
        "MultiPolygon",
        {
            "area_id": _TEXT,
            "pipeline": _TEXT,
            "reason": _TEXT,
            "reason_zh": _TEXT,
            "reason_en": _TEXT,
            "area_ha": _REAL,
        },
    ),
}
"""Layers of ``flagged.gpkg``: geometry type, and columns with their types; units in ``docs/columns.md``."""


def summary_row(result: AreaResult, period: str, crs: CRS) -> dict[str, Any]:
    """Return the row of the layer `area_summary`; its hectares add up: area = observed + not observed + failed."""
    area_ha = round(geodesic_area_m2(result.area.geometry, crs) / 1e4, 4)
    coverage, comparison = result.coverage, result.comparison
    share = 1 / coverage.expected_px if coverage.expected_px else 0.0
    observed = round(area_ha * coverage.observed_px * share, 4)
    failed = round(area_ha * coverage.failed_px * share, 4)
    return {
        "area_id": result.area.area_id,
        "area_name": result.area.name,
        "kind": result.area.kind,
        "period": period,
        "pipeline": result.pipeline.name if result.pipeline else None,
        "pipeline_version": result.pipeline.version if result.pipeline else None,
        "before_date": comparison.before.day.isoformat() if comparison else None,
        "after_date": comparison.after.day.isoformat() if comparison else None,
        "area_ha": area_ha,
        "observed_share": coverage.observed_share,
        "observed_ha": observed,
        "not_observed_ha": round(area_ha - observed - failed, 4),
        "failed_ha": failed,
        "patches": len(result.patches),
        "patch_ha": round(sum(row["area_ha"] for row in result.patches), 4),
        "suppressed": len(result.suppressed),
        "suppressed_ha": round(sum(row["area_ha"] for row in result.suppressed), 4),
        "shift_measured_px": result.shift_measured_px,
        "shift_px": result.shift_px,
        "note": result.note or ("; ".join(result.area.notes) or None),
        "geometry": result.area.geometry,
    }


def write_geopackage(
    path: Path,
    results: Sequence[AreaResult],
    *,
    period: str,
    as_of: str,
    crs: CRS,
    metadata: Mapping[str, Any],
) -> None:
    """Write the layers of a run.

    Parameters
    ----------
    path
        Target, replaced as a whole.
    results
        One entry per area and pipeline, in order.
    period
        Of the review.
    as_of
        Date (ISO) that the file carries as its own: the last day of the period, not the clock.
    crs
        Of all geometries.
    metadata
        What the file says of its making; must not depend on where or when it ran.

    Raises
    ------
    StorageError
        ``CANNOT_WRITE``, or ``GPKG_INCOMPLETE`` where the file does not hold what was written.
    """
    import pyogrio  # noqa: PLC0415 - brings pandas along, which workers never need

    tables, counts = {layer: _Table(columns) for layer, (_, columns) in LAYERS.items()}, dict.fromkeys(LAYERS, 0)
    for result in results:
        tables["patch"].add(result.patches)
        tables["patch_road"].add(result.roads)
        tables["suppressed"].add(result.suppressed)
        tables["area_summary"].add([summary_row(result, period, crs)])
        tables["not_observed"].add(result.unseen)
    with replacing(path) as beside:
        beside.unlink()
        # GDAL stamps the file's tables with the clock unless told otherwise. What is half written is thrown away, and the
        # whole is fsynced before it is renamed: SQLite need not wait for the disk at each layer.
        options = {"OGR_CURRENT_DATE": f"{as_of}T00:00:00.000Z", "OGR_SQLITE_SYNCHRONOUS": "OFF"}
        pyogrio.set_gdal_config_options(options)
        try:
            for layer, (kind, _) in LAYERS.items():
                table = tables.pop(layer)
                _write_layer(beside, layer, kind, table, crs, metadata)
                counts[layer] = len(table.outlines)
        except (
            pyogrio.errors.DataSourceError,
            pyogrio.errors.DataLayerError,
            pyogrio.errors.FeatureError,
        ) as error:
            raise storage_error(path, error) from error
        finally:
            pyogrio.set_gdal_config_options(dict.fromkeys(options))
        _check(beside, path, counts)


# Codes, dates and scenes come again and again and are few. Other texts differ from row to row, or are one object for all rows
# of an area: to look for each of them among all former ones takes more memory than they do.
_MOST_SHARED = 256


class _Column:
    """The values of one column, as they come, and which of them there are; a text that comes again is held once."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.values: Any = [] if kind == _TEXT else array("d" if kind == _REAL else "q")
        self.absent = array("b")
        self._texts: dict[str, str] = {}

    def add(self, value: Any) -> None:
        """Enter a value."""
        self.absent.append(value is None)
        if self.kind == _TEXT:
            if value and len(self._texts) < _MOST_SHARED:
                self._texts.setdefault(value, value)
            self.values.append(self._texts.get(value, value))
        else:
            self.values.append(0 if value is None else value)

    def arrays(self) -> tuple[Array, Array]:
        """Return the values as GDAL is given them, and where there are none."""
        return np.array(self.values, object if self.kind == _TEXT else self.kind), np.array(self.absent, bool)


class _Table:
    """The rows of a layer by column, as they come: of many areas, no more is held than what will stand in the file."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        self.columns = {name: _Column(kind) for name, kind in columns.items()}
        self.outlines: list[bytes] = []

    def add(self, rows: Sequence[Row]) -> None:
        """Enter rows."""
        self.outlines += shapely.to_wkb(np.array([row["geometry"] for row in rows], object)).tolist()
        for name, column in self.columns.items():
            for row in rows:
                column.add(row[name])


def _write_layer(
    path: Path,
    layer: str,
    kind: str,
    table: _Table,
    crs: CRS,
    metadata: Mapping[str, Any],
) -> None:
    import pyogrio.raw  # noqa: PLC0415 - brings pandas along where it is imported first, which workers never need

    names = list(table.columns)
    # Each column goes as its arrays are made.
    data, absent = zip(*(table.columns.pop(name).arrays() for name in names), strict=True)
    code = crs.to_epsg()
    first = not path.exists()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A geometry of type")
        pyogrio.raw.write(
            path,
            np.array(table.outlines, object),
            data,
            names,
            absent,
            crs=f"EPSG:{code}" if code else crs.to_wkt("WKT1_GDAL"),
            layer=layer,
            driver="GPKG",
            geometry_type=kind,
            promote_to_multi=True,
            dataset_options={"VERSION": "1.2"} if first else None,
            layer_options={"GEOMETRY_NAME": "geom", "FID": "fid", "SPATIAL_INDEX": "YES"},
            # On a layer, not on the file: GDAL copies a file's metadata to a sidecar whenever the file is read.
            layer_metadata={"ecowatch": json.dumps(metadata, ensure_ascii=False, sort_keys=True)} if first else None,
        )


def _check(beside: Path, path: Path, expected: Mapping[str, int]) -> None:
    """Count the rows twice, by sqlite and by what readers will use: an interrupted write can leave the two apart."""
    import pyogrio  # noqa: PLC0415 - brings pandas along, which workers never need

    with closing(sqlite3.connect(sqlite_uri(beside, immutable=True), uri=True)) as database:
        for layer, count in expected.items():
            stored = database.execute(f'SELECT count(*) FROM "{layer}"').fetchone()[0]
            read = pyogrio.read_info(beside, layer=layer, force_feature_count=True)["features"]
            if not stored == read == count:
                raise StorageError(
                    "GPKG_INCOMPLETE",
                    path,
                    f"layer {layer} holds {stored} rows, readers see {read}, {count} were written",
                    "free space, then run again",
                )
    for suffix in ("-journal", "-wal", "-shm"):
        Path(f"{beside}{suffix}").unlink(missing_ok=True)
