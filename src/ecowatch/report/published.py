"""The published GeoPackage of a period: built fresh beside from the ledger, counted three ways, renamed, read-only.

The same ledger head gives the same bytes. What another head had published is kept under that head's name: nothing is ever
written over in silence.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyogrio

from .. import __version__
from ..atomic import replacing, sqlite_uri, storage_error, sweep, write_text
from ..digests import sha256_of
from ..errors import StorageError
from ..ledger import Head, Ledger
from .published_columns import CODE_LISTS, LAYERS, columns_of
from .published_layers import Frames, layers_of
from .published_query import Asked
from .styles import style_of

LIMITS = (
    "What images say is told as of the period, what people say (states, verdicts, deadlines) as of the ledger's head.",
    "Not observed is never no change: see the layer not_observed, and assessed and observed_share in area.",
    "An activity is a rule's suggestion until a verdict stands on it; activity_found keeps what the images said.",
    "A road is a row of activity and of activity_road: sum areas over the one, lengths over the other.",
)
_SCHEMA_URI = "http://www.geopackage.org/spec120/#extension_schema"
_SCHEMA = """
CREATE TABLE gpkg_data_columns (table_name TEXT NOT NULL, column_name TEXT NOT NULL, name TEXT, title TEXT, description TEXT,
  mime_type TEXT, constraint_name TEXT, CONSTRAINT pk_gdc PRIMARY KEY (table_name, column_name),
  CONSTRAINT gdc_tn UNIQUE (table_name, name));
CREATE TABLE gpkg_data_column_constraints (constraint_name TEXT NOT NULL, constraint_type TEXT NOT NULL, value TEXT,
  min NUMERIC, min_is_inclusive BOOLEAN, max NUMERIC, max_is_inclusive BOOLEAN, description TEXT,
  CONSTRAINT gdcc_ntv UNIQUE (constraint_name, constraint_type, value));
CREATE TABLE layer_styles (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256), f_table_schema TEXT(256),
  f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN,
  description TEXT, owner TEXT(30), ui TEXT(30), update_time DATETIME);
"""


class Published(NamedTuple):
    """What was published: the file, its SHA-256, rows by layer, the ledger's head, and where the former file was kept."""

    path: Path
    sha256: str
    counts: dict[str, int]
    head: Head
    kept: Path | None = None


def publish(ledger: Ledger, period: str, folder: Path, *, areas: Sequence[str] = ()) -> Published:
    """Write the GeoPackage of a period, and its SHA-256 beside it.

    Parameters
    ----------
    ledger
        Open for reading.
    period
        Such as ``2026H1``; units must have been entered for it.
    folder
        Published periods lie in folders of their own in it.
    areas
        Identities of areas; all where empty. A part has a name of its own and never takes the place of the whole.

    Raises
    ------
    LedgerError
        ``PERIOD_FORM``, ``PERIOD_UNKNOWN``, ``AREA_UNKNOWN``.
    StorageError
        ``CANNOT_WRITE``, or ``GPKG_INCOMPLETE`` where the file does not hold what the ledger says.
    """
    asked = Asked(ledger, period, tuple(sorted(set(areas))))
    head, frames = ledger.head, layers_of(asked)
    counts = {layer: len(frame) for layer, frame in frames.items()} | {
        f"code_{n}": len(v) for n, v in CODE_LISTS.items()
    }
    path = folder / period / f"{_stem(asked)}.gpkg"
    sweep(path)
    with replacing(path) as beside:
        beside.unlink()
        with _writing(path, f"{asked.day}T00:00:00.000Z"):
            _write_layers(beside, frames, _provenance(asked, head, counts), f"ledger:{head.seq}:{head.hash}")
            _write_registers(beside, f"{asked.day}T00:00:00.000Z")
            _check(beside, path, counts)
        sha256, kept = sha256_of(beside), _keep_former(path, beside)
    path.chmod(0o444)
    write_text(path.with_name(f"{path.name}.sha256"), f"{sha256}  {path.name}\n")
    return Published(path, sha256, counts, head, kept)


def _stem(asked: Asked) -> str:
    whole = f"ecowatch_{asked.period}"
    if not asked.areas:
        return whole
    # An identity comes from outside: only a plain one becomes a part of a name.
    if len(asked.areas) == 1 and re.fullmatch(r"[A-Za-z0-9_-]{1,40}", asked.areas[0]):
        return f"{whole}_{asked.areas[0]}"
    return f"{whole}_part_{hashlib.sha256(json.dumps(asked.areas).encode()).hexdigest()[:12]}"


@contextmanager
def _writing(path: Path, stamp: str) -> Iterator[None]:
    # GDAL stamps the file's tables with the clock unless told otherwise.
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": stamp})
    try:
        yield
    except (
        pyogrio.errors.DataSourceError,
        pyogrio.errors.DataLayerError,
        pyogrio.errors.FeatureError,
        sqlite3.Error,
    ) as error:
        raise storage_error(path, error) from error
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


def _write_layers(path: Path, frames: Frames, metadata: str, source: str) -> None:
    for layer, frame in frames.items():
        spatial = {"geometry_type": LAYERS[layer].geometry, "promote_to_multi": True} if LAYERS[layer].geometry else {}
        options = {"FID": "fid", "IDENTIFIER": LAYERS[layer].zh, "DESCRIPTION": source}
        if spatial:
            options |= {"GEOMETRY_NAME": "geom", "SPATIAL_INDEX": "YES"}
        # On a layer, not on the file: GDAL copies a file's metadata to a sidecar whenever the file is read.
        first = (
            {"dataset_options": {"VERSION": "1.2"}, "layer_metadata": {"ecowatch": metadata}}
            if layer == "activity"
            else {}
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="A geometry of type")
            pyogrio.write_dataframe(frame, path, layer=layer, driver="GPKG", layer_options=options, **spatial, **first)
    for name, codes in CODE_LISTS.items():
        table = pd.DataFrame(codes, columns=["code", "zh", "en"], dtype="string")
        options = {"FID": "fid", "IDENTIFIER": f"code_{name}"}
        pyogrio.write_dataframe(table, path, layer=f"code_{name}", driver="GPKG", layer_options=options)


def _write_registers(path: Path, stamp: str) -> None:
    """Titles, code lists and styles, by sqlite alone: GDAL is done, and only tables of our own are touched."""
    with closing(sqlite3.connect(path)) as database:
        database.executescript(_SCHEMA)
        for table in ("gpkg_data_columns", "gpkg_data_column_constraints"):
            extension = (table, None, "gpkg_schema", _SCHEMA_URI, "read-write")
            database.execute("INSERT INTO gpkg_extensions VALUES (?, ?, ?, ?, ?)", extension)
        constraints = [
            (f"code_{name}", "enum", code, f"{zh} {en}") for name, codes in CODE_LISTS.items() for code, zh, en in codes
        ]
        database.executemany(
            "INSERT INTO gpkg_data_column_constraints (constraint_name, constraint_type, value, description)"
            " VALUES (?, ?, ?, ?)",
            constraints,
        )
        columns = [
            (layer, c.name, c.zh, c.zh, c.en, f"code_{c.codes}" if c.codes else None)
            for layer in LAYERS
            for c in columns_of(layer)
        ]
        database.executemany("INSERT INTO gpkg_data_columns VALUES (?, ?, ?, ?, ?, NULL, ?)", columns)
        contents = ("layer_styles", "attributes", "layer_styles", "", stamp)
        database.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, last_change)"
            " VALUES (?, ?, ?, ?, ?)",
            contents,
        )
        styles = [(la, "geom" if LAYERS[la].geometry else "", LAYERS[la].zh, style_of(la), stamp) for la in LAYERS]
        database.executemany(
            "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, styleQML,"
            " styleSLD, useAsDefault, description, owner, ui, update_time)"
            " VALUES ('', '', ?, ?, ?, ?, '', 1, 'ecowatch', '', '', ?)",
            styles,
        )
        database.commit()


def _provenance(asked: Asked, head: Head, counts: Mapping[str, int]) -> str:
    """What the file says of its making: nothing that depends on where or when it was written."""
    where = "period = ?1 AND :areas ORDER BY area_id"
    units = asked.rows("unit", "area_id issue run_id inputs inputs_digest observed_share", where)
    inputs = [json.loads(text) for text in units["inputs"]]
    told: dict[str, Any] = {
        "period": asked.period,
        "areas": list(asked.areas) or "all",
        "ledger": {"seq": head.seq, "hash": head.hash},
        "counts": dict(counts),
        "written_by": {"ecowatch": __version__, "gdal": ".".join(map(str, pyogrio.__gdal_version__))},
        "pipelines": _merged(inputs, "pipelines"),
        "scenes": _merged(inputs, "scenes"),
        "software": _distinct(one.get("software") for one in inputs),
        "rules": _distinct(one.get("rules") for one in inputs),
        "units": {
            area: {
                "issue": issue,
                "run_id": run,
                "inputs_digest": digest,
                "observed_share": share,
                "boundary": one.get("boundary"),
            }
            for area, issue, run, digest, share, one in zip(
                units["area_id"],
                units["issue"],
                units["run_id"],
                units["inputs_digest"],
                units["observed_share"],
                inputs,
                strict=True,
            )
        },
        "limits": list(LIMITS),
    }
    return json.dumps(told, ensure_ascii=False, sort_keys=True)


def _merged(inputs: Sequence[Mapping[str, Any]], key: str) -> dict[str, Any]:
    """Name to every value that some unit had for it: two units may have used two versions of one pipeline."""
    names = sorted({name for one in inputs for name in one.get(key) or {}})
    return {name: _distinct(one[key].get(name) for one in inputs if one.get(key)) for name in names}


def _distinct(values: Iterator[Any]) -> list[Any]:
    texts = {json.dumps(value, ensure_ascii=False, sort_keys=True) for value in values if value is not None}
    return [json.loads(text) for text in sorted(texts)]


def _check(beside: Path, path: Path, expected: Mapping[str, int]) -> None:
    """Count the rows by sqlite and by what readers will use, against the ledger's; look the file over."""
    with closing(sqlite3.connect(sqlite_uri(beside, immutable=True), uri=True)) as database:
        for layer, count in expected.items():
            stored = database.execute(f'SELECT count(*) FROM "{layer}"').fetchone()[0]
            read = pyogrio.read_info(beside, layer=layer, force_feature_count=True)["features"]
            if not stored == read == count:
                finding = f"layer {layer} holds {stored} rows, readers see {read}, the ledger says {count}"
                raise StorageError("GPKG_INCOMPLETE", path, finding, "free space, then publish again")
        whole = database.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if whole != "ok":
            raise StorageError(
                "GPKG_INCOMPLETE", path, f"integrity check: {whole}", "check the disk, then publish again"
            )
    for suffix in ("-journal", "-wal", "-shm"):
        Path(f"{beside}{suffix}").unlink(missing_ok=True)


def _keep_former(path: Path, beside: Path) -> Path | None:
    """Keep the published file under the name of its own ledger head, if its bytes are others than those to come."""
    if not path.exists() or sha256_of(path) == sha256_of(beside):
        return None
    former = sha256_of(path)
    kept = path.with_name(f"{path.stem}.{_head_hash(path) or former[:12]}.gpkg")
    if kept.exists() and sha256_of(kept) != former:
        # The same head written by another version of the program.
        kept = path.with_name(f"{kept.stem}.{former[:12]}.gpkg")
    if not kept.exists():
        try:
            os.link(path, kept)
        except OSError:
            shutil.copy2(path, kept)
    kept.chmod(0o444)
    write_text(kept.with_name(f"{kept.name}.sha256"), f"{former}  {kept.name}\n")
    return kept


def _head_hash(path: Path) -> str | None:
    """First 12 digits of the head that a published file names, None where it names none."""
    query = "SELECT description FROM gpkg_contents WHERE table_name = 'activity'"
    try:
        with closing(sqlite3.connect(sqlite_uri(path, immutable=True), uri=True)) as database:
            row = database.execute(query).fetchone()
    except sqlite3.Error:
        return None
    found = re.fullmatch(r"ledger:\d+:([0-9a-f]{12})[0-9a-f]*", str(row[0])) if row else None
    return found[1] if found else None
