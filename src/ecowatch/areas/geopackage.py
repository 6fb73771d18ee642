"""A GeoPackage from outside, looked at with SQLite alone before GDAL opens it.

It is a database, and a view in it is a program: listing the layers through GDAL runs it. And GDAL believes a stored number of
rows, which a killed writer leaves wrong. So the tables, their kind and their true number of rows are read here.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from ..atomic import sqlite_uri
from ..errors import BoundaryError

_REMEDY = "fetch it again, or save the layer anew in QGIS"


class LayerRows(NamedTuple):
    """Name of a feature table and the true number of its rows."""

    layer: str
    rows: int


def check_geopackage(path: Path) -> None:
    """Refuse a GeoPackage that is damaged, being written, or whose own registers are programs.

    Raises
    ------
    BoundaryError
        ``VECTOR_UNREADABLE``, ``GPKG_IN_USE`` or ``ACTIVE_CONTENT``.
    """
    journals = [path.with_name(path.name + suffix) for suffix in ("-wal", "-journal")]
    busy = [p.name for p in journals if p.is_file() and p.stat().st_size]
    if busy:
        raise BoundaryError("GPKG_IN_USE", path, f"{busy[0]} holds changes", "close the program that edits it")
    with _opened(path) as base:
        finding = str(base.execute("PRAGMA quick_check(1)").fetchone()[0])
        if finding != "ok":
            raise BoundaryError("VECTOR_UNREADABLE", path, f"the database is damaged ({finding})", _REMEDY)
        if not _is_plain_table(base, "gpkg_contents"):
            raise BoundaryError("VECTOR_UNREADABLE", path, "it is SQLite but no GeoPackage", _REMEDY)
        views = base.execute("SELECT name FROM sqlite_master WHERE type = 'view' AND name LIKE 'gpkg\\_%' ESCAPE '\\'")
        if row := views.fetchone():
            raise BoundaryError("ACTIVE_CONTENT", path, f"register '{row[0]}' is a view", _REMEDY)


def feature_layers(path: Path) -> list[str]:
    """Return the names of the feature layers, in the order of the register; nothing in the file is run."""
    with _opened(path) as base:
        rows = base.execute("SELECT table_name FROM gpkg_contents WHERE data_type = 'features' ORDER BY rowid")
        return [str(row[0]) for row in rows]


def layer_rows(path: Path, layer: str) -> LayerRows:
    """Return the true number of rows of one layer.

    Raises
    ------
    BoundaryError
        ``ACTIVE_CONTENT`` where the layer is a view or a virtual table, ``VECTOR_UNREADABLE`` where it is not there.
    """
    with _opened(path) as base:
        if not _is_plain_table(base, layer):
            found = base.execute("SELECT type FROM sqlite_master WHERE name = ?", (layer,)).fetchone()
            if found is None:
                raise BoundaryError("VECTOR_UNREADABLE", path, f"layer '{layer}' is registered but absent", _REMEDY)
            raise BoundaryError("ACTIVE_CONTENT", path, f"layer '{layer}' is a view or a virtual table", _REMEDY)
        name = layer.replace('"', '""')
        return LayerRows(layer, int(base.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]))


def _is_plain_table(base: sqlite3.Connection, name: str) -> bool:
    row = base.execute("SELECT type, sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    return row is not None and row[0] == "table" and not str(row[1]).upper().startswith("CREATE VIRTUAL")


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    # 20 MB/s is what a slow network disk gives; a query that runs on beyond that is no honest look at a table.
    deadline = time.monotonic() + 5 + path.stat().st_size / 20e6
    try:
        with closing(sqlite3.connect(sqlite_uri(path, immutable=True), uri=True)) as base:
            base.execute("PRAGMA trusted_schema = OFF")
            base.set_progress_handler(lambda: int(time.monotonic() > deadline), 100_000)
            yield base
    except sqlite3.Error as error:
        raise BoundaryError("VECTOR_UNREADABLE", path, f"the database cannot be read ({error})", _REMEDY) from error
