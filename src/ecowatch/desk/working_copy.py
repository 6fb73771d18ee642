"""The working copy 工作副本 that goes out to reviewers: a GeoPackage with problems and patches to look at, and a log to add to.

What is published is read-only; verdicts are given in a copy. Its log takes rows and gives none back: a reviewer who changes
his mind adds a row. The copy says which ledger it was taken from and where that ledger stood, so that a verdict on something
that has changed since can be told from one that is up to date.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyogrio
import pyogrio.raw

from ..atomic import replacing, sqlite_uri, storage_error
from ..codes import Activity, ChangeKind, ProblemState, VerdictKind, VerdictReason
from ..errors import LedgerError, StorageError
from ..ledger import Ledger

LOG_COLUMNS = (
    "id",
    "log_uid",
    "problem_id",
    "patch_id",
    "verdict",
    "reason",
    "activity_code",
    "area_m2",
    "note",
    "reviewer",
    "at",
)
"""Columns of ``review_log``, in order."""

_TEXT, _REAL, _WHOLE = "TEXT", "REAL", "WHOLE"
_PROBLEM = {
    "problem_id": _TEXT,
    "area_id": _TEXT,
    "state": _TEXT,
    "opened_period": _TEXT,
    "last_period": _TEXT,
    "last_change": _TEXT,
    "activity_code": _TEXT,
    "activity_found": _TEXT,
    "area_m2": _REAL,
    "area_found_m2": _REAL,
    "area_verified_m2": _REAL,
    "stock": _WHOLE,
    "relapses": _WHOLE,
    "responsible": _TEXT,
    "deadline": _TEXT,
}
_PATCH = {
    "patch_id": _TEXT,
    "problem_id": _TEXT,
    "area_id": _TEXT,
    "period": _TEXT,
    "change_code": _TEXT,
    "activity_code": _TEXT,
    "direction": _TEXT,
    "area_m2": _REAL,
    "before_date": _TEXT,
    "after_date": _TEXT,
    "pipeline": _TEXT,
}
_CODES = {
    "code_verdict": VerdictKind,
    "code_reason": VerdictReason,
    "code_activity": Activity,
    "code_state": ProblemState,
    "code_change": ChangeKind,
}
_LAYERS = ("problem", "patch")


class CopyScope(NamedTuple):
    """What a working copy is about: a period, and, where given, some areas and states only."""

    period: str
    areas: tuple[str, ...] = ()
    states: tuple[ProblemState, ...] = ()


class CopyCounts(NamedTuple):
    """Rows of a working copy."""

    problems: int
    patches: int


def ledger_identity(ledger: Ledger) -> str:
    """Return what tells one ledger from another: the hash of its first event, empty for an empty one."""
    row = ledger.database.execute("SELECT hash FROM event WHERE seq = 1").fetchone()
    return str(row[0]) if row else ""


def export_copy(ledger: Ledger, out: Path, scope: CopyScope, *, node: str) -> CopyCounts:
    """Write the working copy of a period.

    Parameters
    ----------
    ledger
        Open for reading.
    out
        Target; one that is there already is never replaced, its log may hold verdicts.
    scope
        Problems of which the period says something, in these areas and states; all where none is named.
    node
        Name of this node.

    Raises
    ------
    StorageError
        ``COPY_EXISTS`` or ``CANNOT_WRITE``.
    LedgerError
        ``NOTHING_TO_REVIEW`` where no problem is in scope.
    """
    if out.exists():
        raise StorageError(
            "COPY_EXISTS", out, "there is a file, perhaps with verdicts", "import it, then name a new file"
        )
    problems = _problems(ledger, scope)
    if not problems:
        raise LedgerError("NOTHING_TO_REVIEW", scope.period, "no problem is in scope", "check period, areas and states")
    known = {row["problem_id"] for row in problems}
    patches = [
        p for p in ledger.rows("patch", "period = ? ORDER BY patch_id", (scope.period,)) if p["problem_id"] in known
    ]
    with replacing(out) as beside:
        beside.unlink()
        _write_layers(beside, out, problems, patches, scope.period)
        _complete(beside, _information(ledger, scope.period, node))
        _check(beside, out, CopyCounts(len(problems), len(patches)))
    return CopyCounts(len(problems), len(patches))


def _problems(ledger: Ledger, scope: CopyScope) -> list[sqlite3.Row]:
    in_period = "problem_id IN (SELECT problem_id FROM history WHERE period = ?)"
    rows = ledger.rows(
        "problem", f"{in_period} AND withdrawn = 0 AND merged_into = '' ORDER BY problem_id", (scope.period,)
    )
    areas, states = set(scope.areas), set(map(str, scope.states))
    return [r for r in rows if (not areas or r["area_id"] in areas) and (not states or r["state"] in states)]


def _information(ledger: Ledger, period: str, node: str) -> dict[str, str]:
    head = ledger.head
    told = {"format": "ecowatch working copy 1", "ledger": ledger_identity(ledger), "node": node, "period": period}
    return told | {"head_seq": str(head.seq), "head_hash": head.hash}


def _write_layers(beside: Path, out: Path, problems: Sequence[Any], patches: Sequence[Any], period: str) -> None:
    # GDAL stamps the tables with the clock unless told otherwise; a copy of the same head has the same bytes.
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": f"{_last_day(period)}T00:00:00.000Z"})
    try:
        _write_layer(beside, "problem", _PROBLEM, problems)
        _write_layer(beside, "patch", _PATCH, patches)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pyogrio.errors.FeatureError) as error:
        raise storage_error(out, error) from error
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


def _last_day(period: str) -> str:
    """Last day of ``2026H1``, ``2026`` or ``2021-2025``; what has no year in its name gets the first day there is."""
    found = re.fullmatch(r"(?:\d{4}-)?(\d{4})(H[12])?", period)
    if found is None:
        return "1970-01-01"
    return f"{found[1]}-06-30" if found[2] == "H1" else f"{found[1]}-12-31"


def _write_layer(path: Path, layer: str, columns: dict[str, str], rows: Sequence[Any]) -> None:
    dtypes = {_TEXT: object, _REAL: np.float64, _WHOLE: np.int64}
    values = [np.array([row[name] for row in rows], dtype=dtypes[kind]) for name, kind in columns.items()]
    pyogrio.raw.write(
        path,
        np.array([row["geometry"] for row in rows], dtype=object),
        values,
        np.array(list(columns), dtype=object),
        layer=layer,
        driver="GPKG",
        geometry_type="MultiPolygon",
        promote_to_multi=True,
        crs="EPSG:4490",
        dataset_options={"VERSION": "1.2"} if layer == "problem" else None,
        layer_options={"GEOMETRY_NAME": "geom", "FID": "fid", "SPATIAL_INDEX": "YES"},
    )


def _complete(path: Path, information: dict[str, str]) -> None:
    """Add what GDAL cannot write: the log and its guards, code lists, and the view of the latest verdicts."""
    with closing(sqlite3.connect(path)) as base:
        base.execute(_log_sql())
        for table, codes in _CODES.items():
            base.execute(f"CREATE TABLE {table} (code TEXT PRIMARY KEY NOT NULL, zh TEXT NOT NULL, en TEXT NOT NULL)")
            base.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", [(str(c), c.zh, c.en) for c in codes])
        base.execute("CREATE TABLE copy_info (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL)")
        base.executemany("INSERT INTO copy_info VALUES (?, ?)", sorted(information.items()))
        base.execute(_VIEW)
        for statement in _guards():
            base.execute(statement)
        srs, changed = base.execute(
            "SELECT srs_id, last_change FROM gpkg_contents WHERE table_name = 'problem'"
        ).fetchone()
        entry = (
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, last_change, srs_id) VALUES (?, ?, ?, ?, ?)"
        )
        tables = ("review_log", "copy_info", *_CODES)
        base.executemany(entry, [(table, "attributes", table, changed, None) for table in tables])
        base.execute(entry, ("problem_verdict", "features", "problem_verdict", changed, srs))
        shape = "INSERT INTO gpkg_geometry_columns VALUES ('problem_verdict', 'geom', 'MULTIPOLYGON', ?, 0, 0)"
        base.execute(shape, (srs,))
        base.commit()


def _log_sql() -> str:
    verdicts = ", ".join(f"'{code}'" for code in VerdictKind)
    reasons = ", ".join(f"'{code}'" for code in VerdictReason)
    return f"""CREATE TABLE review_log (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, log_uid TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(16)))),
  problem_id TEXT NOT NULL, patch_id TEXT, verdict TEXT NOT NULL CHECK (verdict IN ({verdicts})),
  reason TEXT CHECK (reason IN ({reasons})), activity_code TEXT, area_m2 REAL, note TEXT, reviewer TEXT NOT NULL,
  at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))"""


# GDAL and QGIS 3.22 read a view with geometry only where its key is called OGC_FID.
_VIEW = """CREATE VIEW problem_verdict AS SELECT p.fid AS OGC_FID, p.geom, p.problem_id, p.area_id, p.state, p.activity_code,
  p.area_m2, r.verdict, r.reason, r.reviewer, r.at FROM problem p LEFT JOIN review_log r
  ON r.id = (SELECT max(l.id) FROM review_log l WHERE l.problem_id = p.problem_id)"""


def _guards() -> Iterable[str]:
    for doing in ("UPDATE", "DELETE"):
        yield _guard("review_log", doing, "the log is append-only: add a row instead")
    for table in (*_LAYERS, "copy_info", *_CODES):
        for doing in ("INSERT", "UPDATE", "DELETE"):
            yield _guard(table, doing, "for reference only: verdicts go into review_log")


def _guard(table: str, doing: str, message: str) -> str:
    name = f"{table}_no_{doing.lower()}"
    return f"CREATE TRIGGER {name} BEFORE {doing} ON {table} BEGIN SELECT raise(ABORT, '{message}'); END"


def _check(beside: Path, out: Path, expected: CopyCounts) -> None:
    with closing(sqlite3.connect(sqlite_uri(beside, immutable=True), uri=True)) as base:
        for layer, count in zip(_LAYERS, expected, strict=True):
            stored = base.execute(f"SELECT count(*) FROM {layer}").fetchone()[0]
            read = pyogrio.read_info(beside, layer=layer, force_feature_count=True)["features"]
            if not stored == read == count:
                finding = f"layer {layer} holds {stored} rows, readers see {read}, {count} were written"
                raise StorageError("GPKG_INCOMPLETE", out, finding, "free space, then run again")
