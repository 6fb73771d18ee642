"""What comes back: the rows of ``review_log`` of a working copy, each checked; a bad row is set aside and the rest goes on.

The file was in other hands. Nothing of it is run: it is opened by SQLite as unchangeable, only two plain tables are read, and
their columns must be those that went out.
"""

from __future__ import annotations

import math
import re
import sqlite3
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ..areas.geopackage import check_geopackage
from ..atomic import sqlite_uri
from ..codes import Activity, VerdictKind, VerdictReason
from ..errors import LedgerError
from ..intake import FileKind, admit
from ..ledger import MACHINE, Ledger
from ..scenes.scene import SHANGHAI
from .working_copy import LOG_COLUMNS, ledger_identity

E = TypeVar("E", bound=StrEnum)

MAX_COPY_BYTES = 2 * 2**30
MAX_ROWS = 200_000
_MAX_TEXT_BYTES = 1_000_000
_MAX_NAME, _MAX_NOTE = 100, 4000
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d))?")
_REMEDY = "export a new working copy and give the verdicts there"


class Refused(NamedTuple):
    """A row that cannot be entered: where it stands, what is wrong, what would be right."""

    where: str
    code: str
    finding: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.code} {self.where}: {self.finding}; {self.remedy}"


class LogRow(NamedTuple):
    """A checked row of a log; `area_m2` in square metres or None, `where` is file and line."""

    where: str
    log_uid: str
    problem_id: str
    patch_id: str
    verdict: VerdictKind
    reason: VerdictReason
    activity_code: str
    area_m2: float | None
    note: str
    reviewer: str
    at: str


class Copy(NamedTuple):
    """A working copy as it came back: its period, the ledger's head it was taken at, its rows good and bad."""

    path: Path
    period: str
    head_seq: int
    rows: tuple[LogRow, ...]
    refused: tuple[Refused, ...]


def read_copy(path: Path, ledger: Ledger) -> Copy:
    """Read the log of a working copy of `ledger`.

    Raises
    ------
    IntakeError, BoundaryError
        Where it is no GeoPackage, damaged or being edited.
    LedgerError
        ``COPY_UNREADABLE``, ``COPY_ACTIVE`` (a view or virtual table in place of a log), ``COPY_COLUMNS``,
        ``COPY_TOO_LONG`` or ``COPY_OF_OTHER`` (of another ledger, or of a future of this one).
    """
    real = admit(path, roots=(path.parent,), kinds={FileKind.GPKG}, max_bytes=MAX_COPY_BYTES).path
    check_geopackage(real)
    with _opened(real) as base:
        information = _information(base, path)
        _check_log(base, path)
        head_seq = _check_origin(information, ledger, path)
        raw = base.execute(f"SELECT {', '.join(LOG_COLUMNS)} FROM review_log ORDER BY id").fetchall()
    rows: list[LogRow] = []
    refused: list[Refused] = []
    for values in raw:
        where = f"{path}: review_log {values[0]}"
        try:
            rows.append(_checked(where, dict(zip(LOG_COLUMNS, values, strict=True))))
        except LedgerError as bad:
            refused.append(Refused(where, bad.code, bad.finding, bad.remedy))
    return Copy(path, information["period"], head_seq, tuple(rows), tuple(refused))


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(sqlite_uri(path, immutable=True), uri=True)) as base:
            base.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_TEXT_BYTES)
            base.execute("PRAGMA trusted_schema = OFF")
            base.text_factory = lambda raw: raw.decode("utf-8", "replace")
            yield base
    except sqlite3.Error as error:
        raise LedgerError("COPY_UNREADABLE", path, str(error), _REMEDY) from error


def _check_plain(base: sqlite3.Connection, path: Path, table: str) -> None:
    found = base.execute("SELECT type, sql FROM sqlite_master WHERE name = ? COLLATE NOCASE", (table,)).fetchall()
    if not found:
        raise LedgerError("COPY_COLUMNS", path, f"it has no table {table}", _REMEDY)
    (kind, sql), plural = found[0], len(found) > 1
    if plural or kind != "table" or not re.match(r"CREATE\s+TABLE\b", str(sql), re.IGNORECASE):
        raise LedgerError("COPY_ACTIVE", path, f"{table} is a view or a virtual table", _REMEDY)


def _check_log(base: sqlite3.Connection, path: Path) -> None:
    _check_plain(base, path, "review_log")
    columns = base.execute("SELECT name, hidden FROM pragma_table_xinfo('review_log')").fetchall()
    names = {str(name) for name, hidden in columns if not hidden}
    if names != set(LOG_COLUMNS) or len(columns) != len(LOG_COLUMNS):
        odd = sorted(names.symmetric_difference(LOG_COLUMNS)) or ["a computed one"]
        raise LedgerError("COPY_COLUMNS", path, f"columns of review_log differ: {', '.join(odd)[:200]}", _REMEDY)
    count = int(base.execute("SELECT count(*) FROM review_log").fetchone()[0])
    if count > MAX_ROWS:
        raise LedgerError("COPY_TOO_LONG", path, f"{count} rows", f"at most {MAX_ROWS} are read; split the copy")


def _information(base: sqlite3.Connection, path: Path) -> dict[str, str]:
    _check_plain(base, path, "copy_info")
    told = {str(k): str(v) for k, v in base.execute("SELECT key, value FROM copy_info LIMIT 100")}
    wanted = {"format", "ledger", "node", "period", "head_seq", "head_hash"}
    if not wanted <= set(told) or not re.fullmatch(r"[A-Za-z0-9_.-]{4,40}", told["period"]):
        raise LedgerError("COPY_COLUMNS", path, "copy_info does not say where the copy comes from", _REMEDY)
    return told


def _check_origin(information: dict[str, str], ledger: Ledger, path: Path) -> int:
    """A copy belongs to this ledger if the head it was taken at is a link of this ledger's chain."""
    seq = int(information["head_seq"]) if re.fullmatch(r"\d{1,18}", information["head_seq"]) else 0
    link = ledger.database.execute("SELECT hash FROM event WHERE seq = ?", (seq,)).fetchone()
    if information["ledger"] != ledger_identity(ledger) or link is None or link[0] != information["head_hash"]:
        finding = f"it was taken from another ledger (node {information['node'][:40]!r}, event {seq})"
        raise LedgerError("COPY_OF_OTHER", path, finding, "import it where it was exported")
    return seq


def _checked(where: str, row: dict[str, Any]) -> LogRow:
    verdict = _code(VerdictKind, row["verdict"], "VERDICT_CODE", "verdict")
    reason = _code(VerdictReason, row["reason"] or VerdictReason.NONE, "REASON_CODE", "reason")
    activity = _code(Activity, row["activity_code"], "ACTIVITY_CODE", "activity_code") if row["activity_code"] else ""
    return LogRow(
        where,
        _text(row["log_uid"], "log_uid", _MAX_NAME),
        _text(row["problem_id"], "problem_id", 200),
        _text(row["patch_id"], "patch_id", 200),
        verdict,
        reason,
        activity,
        _area(row["area_m2"]),
        _text(row["note"], "note", _MAX_NOTE),
        reviewer_name(row["reviewer"]),
        statement_time(row["at"]),
    )


def _code(codes: Iterable[E], value: Any, code: str, column: str) -> E:
    known = {str(c): c for c in codes}
    if not isinstance(value, str) or value not in known:
        raise LedgerError(code, column, f"{column} is {str(value)[:40]!r}", f"one of: {', '.join(known)}")
    return known[value]


def _text(value: Any, column: str, longest: int) -> str:
    if value is None:
        return ""
    # Line ends are part of a note; every other control character is part of an attack or an accident.
    if not isinstance(value, str) or any(c == "\ufffd" or _control(c) for c in value):
        raise LedgerError("TEXT_INVALID", column, f"{column} is no plain UTF-8 text", "type it anew")
    if len(value) > longest:
        raise LedgerError("TEXT_TOO_LONG", column, f"{column} has {len(value)} characters", f"at most {longest}")
    return value.strip()


def _control(character: str) -> bool:
    return character not in "\n\r\t" and unicodedata.category(character) in ("Cc", "Cs")


def reviewer_name(value: Any) -> str:
    """Return the name of a person who gives a verdict.

    Raises
    ------
    LedgerError
        ``REVIEWER_MISSING``: no name, or the one under which the program itself speaks; ``TEXT_INVALID``.
    """
    name = _text(value, "reviewer", _MAX_NAME)
    if not name:
        raise LedgerError(
            "REVIEWER_MISSING", "reviewer", "no reviewer is named", "each verdict needs the name of who gives it"
        )
    if name.casefold() == MACHINE or "\n" in name:
        raise LedgerError(
            "REVIEWER_MISSING", "reviewer", f"{name[:40]!r} is no person's name", "give the name of a person"
        )
    return name


def _area(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= 1e13:
        return float(value)
    raise LedgerError(
        "AREA_INVALID", "area_m2", f"area_m2 is {str(value)[:40]!r}", "square metres, 0 or more, or nothing"
    )


def statement_time(value: Any) -> str:
    """Return the time of a statement as it was written.

    Raises
    ------
    LedgerError
        ``TIME_INVALID``.
    """
    text = value.strip() if isinstance(value, str) else ""
    if instant_of(text) is None:
        remedy = "a date, or an instant with its zone: 2026-07-01T08:00:00Z"
        raise LedgerError("TIME_INVALID", "at", f"at is {str(value)[:40]!r}", remedy)
    return text


def instant_of(text: str) -> datetime | None:
    """Return the UTC instant of an ISO date (its first moment in Asia/Shanghai) or of an instant with zone, else None."""
    if not _INSTANT.fullmatch(text):
        return None
    try:
        if len(text) == 10:
            day = date.fromisoformat(text)
            return datetime(day.year, day.month, day.day, tzinfo=SHANGHAI).astimezone(UTC)
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
