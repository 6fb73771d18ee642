"""Is a ledger whole: the log against its own chain, the views against a replay of the log; and how to mend views.

Everything is read through SQLite's own check, then row by row; whatever the damage, the answer is a list of findings that
name the row and the column. Only a forgery that rewrites the whole chain up to a new head stays unseen: against that, the
head's hash is printed on what is published.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from ..atomic import sqlite_uri
from ..errors import EcowatchError, LedgerError, StorageError
from . import schema
from .compare import view_differences
from .event import Event, chained
from .store import Head, Ledger, content_digest, event_of, sealed, statements, version_of
from .views import project

MAX_FINDINGS = 1000
_BUSY_S = 30.0
_EVENT = (
    "SELECT kind, area_id, period, problem_id, patch_id, payload, actor, at, seq, event_id, prev, hash"
    " FROM event ORDER BY seq"
)


class Verified(NamedTuple):
    """What the check of a ledger found.

    Parameters
    ----------
    head
        Last event of the log as it was read.
    events
        Number of events read.
    digest
        `Ledger.digest` of what is stored; empty where it cannot be read.
    findings
        What is wrong, each with the thing it is about; empty: the ledger is whole.
    """

    head: Head
    events: int
    digest: str
    findings: tuple[str, ...]


class _Findings:
    """Findings up to a number that a person can read; a damaged file can hold millions."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.more = 0

    def add(self, finding: str) -> None:
        if len(self.told) < MAX_FINDINGS:
            self.told.append(finding)
        else:
            self.more += 1

    @contextmanager
    def about(self, thing: str) -> Iterator[None]:
        """Turn whatever damage brings about into a finding."""
        try:
            yield
        except EcowatchError:
            raise
        except Exception as error:
            _check_room(error)
            self.add(f"{thing}: it cannot be read: {error or type(error).__name__}")

    def all(self) -> tuple[str, ...]:
        return (*self.told, f"and {self.more} more") if self.more else tuple(self.told)


def verify(path: Path) -> Verified:
    """Check a ledger from its pages to its views; nothing is written.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    LedgerError
        ``LEDGER_MISSING``, ``NOT_A_LEDGER``, ``LEDGER_NEWER`` or ``LEDGER_OLDER``; damage is no error but a finding.
    StorageError
        ``DISK_FULL``: no room for the replay, a temporary file that goes with the process.
    """
    if not path.is_file():
        raise LedgerError("LEDGER_MISSING", path, "there is none", "correct the path")
    found = _checked(path, str)
    if any("decode to UTF-8" in finding for finding in found.findings):
        # Text that is none must be told of cell by cell, which takes longer.
        found = _checked(path, lambda raw: raw.decode("utf-8", "replace"))
    return found


def _checked(path: Path, text: Callable[[bytes], str]) -> Verified:
    findings = _Findings()
    log, digest = _Log(Head(0, ""), 0), ""
    with findings.about("file"), closing(_opened(path, text)) as database, closing(_replay()) as replay:
        database.execute("BEGIN")
        _check_version(database, path)
        _check_pages(database, findings)
        _check_schema(database, replay, findings)
        log = _check_log(database, replay, findings)
        for table in schema.VIEW_TABLES:
            with findings.about(f"table {table}"):
                for difference in view_differences(database, replay, table):
                    findings.add(difference)
        with findings.about("digest"):
            digest = content_digest(database)
    return Verified(log.head, log.events, digest, findings.all())


def rebuild(ledger: Ledger) -> int:
    """Make the views anew from the log, in one transaction; for damaged views with a whole log.

    Parameters
    ----------
    ledger
        Open for writing.

    Returns
    -------
    int
        Number of events replayed.

    Raises
    ------
    LedgerError
        ``LOG_DAMAGED``: the log itself cannot be trusted; ``LEDGER_UNREADABLE``: more than the views' rows is damaged.
        Nothing is changed then.
    """
    with ledger.transaction() as database:
        findings = _Findings()
        with closing(_replay()) as replay:
            log = _check_log(database, replay, findings)
            if findings.told:
                more = f" and {len(findings.all()) - 1} more" if len(findings.told) > 1 else ""
                raise LedgerError(
                    "LOG_DAMAGED", ledger.path, f"{findings.told[0]}{more}", "restore a copy of the ledger"
                )
            _make_views_anew(database, replay)
        for row in database.execute(_EVENT):
            project(database, row["seq"], event_of(tuple(row)[:8]))
        _check_pages(database, findings)
        if findings.told:
            raise LedgerError("LEDGER_UNREADABLE", ledger.path, findings.told[0], "restore a copy of the ledger")
    return log.events


class _Log(NamedTuple):
    head: Head
    events: int


def _make_views_anew(database: sqlite3.Connection, fresh: sqlite3.Connection) -> None:
    """Empty views as the migrations make them; indices and triggers that were dropped come back with them."""
    for table in schema.VIEW_TABLES:
        database.execute(f"DROP TABLE IF EXISTS {table}")
    there = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    for name, statement in fresh.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid"):
        if name not in there:
            database.execute(statement)


def _opened(path: Path, text: Callable[[bytes], str]) -> sqlite3.Connection:
    database = sqlite3.connect(sqlite_uri(path), uri=True, timeout=_BUSY_S, isolation_level=None)
    database.row_factory = sqlite3.Row
    database.text_factory = text
    for setting in ("trusted_schema = OFF", "cell_size_check = ON"):
        database.execute(f"PRAGMA {setting}")
    return database


def _replay() -> sqlite3.Connection:
    # A name of no characters: a private temporary database that spills to disk when it grows large.
    database = sqlite3.connect("", isolation_level=None)
    database.row_factory = sqlite3.Row
    for setting in ("journal_mode = MEMORY", "synchronous = OFF", "cache_size = -65536"):
        database.execute(f"PRAGMA {setting}")
    database.execute("BEGIN")
    for statement in (s for step in schema.MIGRATIONS for s in statements(step)):
        database.execute(statement)
    database.execute("COMMIT")
    return database


def _check_room(error: BaseException) -> None:
    """A full disk is no damage: only the replay writes."""
    if isinstance(error, sqlite3.OperationalError) and "full" in str(error):
        raise StorageError("DISK_FULL", "temporary folder", str(error), "free space, or set SQLITE_TMPDIR") from error


def _check_version(database: sqlite3.Connection, path: Path) -> None:
    version = version_of(database, path)
    if version < schema.VERSION:
        found = f"schema {version} of {schema.VERSION}"
        raise LedgerError("LEDGER_OLDER", path, found, "'ecowatch ledger migrate', then verify")


def _check_pages(database: sqlite3.Connection, findings: _Findings) -> None:
    with findings.about("file"):
        for (told,) in database.execute(f"PRAGMA integrity_check({MAX_FINDINGS})"):
            if told != "ok":
                findings.add(f"file: {told}")


def _check_schema(database: sqlite3.Connection, fresh: sqlite3.Connection, findings: _Findings) -> None:
    """Compare the tables, indices and triggers with those that the migrations make."""
    query = (
        "SELECT type || ' ' || name, tbl_name || coalesce(sql, '') || iif(type IN ('table', 'index'), '', rootpage)"
        " FROM sqlite_master"
    )
    with findings.about("schema"):
        stored, right = (dict(tuple(row) for row in d.execute(query)) for d in (database, fresh))
        for name in sorted(stored.keys() | right.keys()):
            if name not in stored:
                findings.add(f"schema: {name} is missing")
            elif name not in right:
                findings.add(f"schema: {name} does not belong there")
            elif stored[name] != right[name]:
                findings.add(f"schema: {name} is not as it was made")


def _check_log(database: sqlite3.Connection, replay: sqlite3.Connection, findings: _Findings) -> _Log:
    """Walk the chain, replaying each event on the way; then head, bookkeeping and lease."""
    last, count = Head(0, ""), 0
    replay.execute("BEGIN")
    try:
        for row in database.execute(_EVENT):
            _check_link(row, last, findings)
            _replayed(replay, row, findings)
            last, count = Head(row["seq"], row["hash"]), count + 1
    except (sqlite3.DatabaseError, MemoryError) as error:
        findings.add(f"event {last.seq + 1}: it cannot be read: {error or type(error).__name__}")
    replay.execute("COMMIT")
    with findings.about("head"):
        _check_head(database, last, findings)
    with findings.about("entered"):
        _check_entered(database, findings)
    with findings.about("lease"):
        _check_lease(database, findings)
    return _Log(last, count)


def _check_link(row: sqlite3.Row, last: Head, findings: _Findings) -> None:
    seq = row["seq"]
    if seq > last.seq + 1:
        gone = f"event {last.seq + 1}" if seq == last.seq + 2 else f"events {last.seq + 1} to {seq - 1}"
        findings.add(f"{gone}: missing from the log")
    elif seq < 1:
        findings.add(f"event {seq}: numbers begin with 1")
    if row["prev"] != last.hash:
        findings.add(f"event {seq}: it does not follow event {last.seq}: prev is not the hash before it")
    if row["hash"] != chained(row["prev"], row["event_id"]):
        findings.add(f"event {seq}: its hash is not that of prev and event_id")


def _replayed(replay: sqlite3.Connection, row: sqlite3.Row, findings: _Findings) -> None:
    event = _understood(row, findings)
    if event is None:
        return
    try:
        project(replay, row["seq"], event)
    except Exception as error:  # a payload that was tampered with can fail in any way
        _check_room(error)
        findings.add(f"event {row['seq']}: it cannot be replayed: {type(error).__name__} {error}")


def _understood(row: sqlite3.Row, findings: _Findings) -> Event | None:
    seq = row["seq"]
    try:
        event = event_of(tuple(row)[:8])
        own = event.event_id
    except (ValueError, TypeError, RecursionError) as error:
        findings.add(f"event {seq}: it cannot be understood: {error}")
        return None
    if event.payload_text != row["payload"] or own != row["event_id"]:
        findings.add(f"event {seq}: its content is not what event_id says")
    return event


def _check_head(database: sqlite3.Connection, last: Head, findings: _Findings) -> None:
    rows = database.execute("SELECT seq, hash FROM head").fetchall()
    if len(rows) != 1:
        findings.add(f"head: {len(rows)} rows, not one")
    for seq, link in rows:
        if seq != last.seq:
            findings.add(f"head: it names event {seq} as the last, the log ends with event {last.seq}")
            if seq > last.seq:
                findings.add(f"event {seq}: missing from the end of the log")
        elif link != last.hash:
            findings.add(f"head: its hash is not that of event {seq}")


def _check_entered(database: sqlite3.Connection, findings: _Findings) -> None:
    query = (
        "SELECT event.seq, entered.seq, at_utc, host, pid FROM event LEFT JOIN entered USING (seq)"
        " UNION ALL SELECT NULL, seq, at_utc, host, pid FROM entered WHERE seq NOT IN (SELECT seq FROM event)"
    )
    for event, seq, at, host, pid in database.execute(query):
        if seq is None:
            findings.add(f"event {event}: entered has no row of it")
        elif event is None:
            findings.add(f"event {seq}: entered has a row of it, the log has none")
        elif not _seal_holds(host, seq, at, pid):
            findings.add(f"event {seq}: entered does not agree with its checksum")


def _check_lease(database: sqlite3.Connection, findings: _Findings) -> None:
    rows = database.execute("SELECT token, holder, heartbeat FROM lease").fetchall()
    if len(rows) != 1:
        findings.add(f"lease: {len(rows)} rows, not one")
    for token, holder, heartbeat in rows:
        untouched = (token, holder, heartbeat) == (0, "", "")
        if not untouched and not _seal_holds(heartbeat, token, holder):
            findings.add("lease: it does not agree with its checksum")


def _seal_holds(text: object, *beside: object) -> bool:
    readable = isinstance(text, str) and all(isinstance(value, str | int) for value in beside)
    return readable and text == sealed(str(text).rpartition("#")[0], *beside)
