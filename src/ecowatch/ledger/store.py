"""``ledger.db``: an append-only chain of events and the views they add up to, in one SQLite file with one writer.

Only Python's own sqlite3 opens the file, never GDAL: a second SQLite in the process would drop the first one's locks.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from ..atomic import sqlite_uri
from ..errors import EcowatchError, LedgerError, LockedError, StorageError
from . import schema
from .event import Event, EventKind, canonical, chained
from .lock import holder_text, writer_lock
from .views import project

_BUSY_S = 30.0
_EVENT_COLUMNS = "kind, area_id, period, problem_id, patch_id, payload, actor, at"


class Head(NamedTuple):
    """The last event of a ledger: its number and the hash of the chain up to it."""

    seq: int
    hash: str


class Ledger:
    """An open ledger; get one by `Ledger.reader` or `Ledger.writer`.

    Parameters
    ----------
    path
        The file.
    database
        Its open connection.
    token
        Fencing token of a writer, None for a reader.
    """

    def __init__(self, path: Path, database: sqlite3.Connection, token: int | None) -> None:
        self.path = path
        self.database = database
        self._token = token

    @classmethod
    @contextmanager
    def reader(cls, path: Path) -> Iterator[Ledger]:
        """Open for reading: one snapshot, however long it is read and whoever writes meanwhile.

        Raises
        ------
        LedgerError
            ``LEDGER_MISSING``, ``NOT_A_LEDGER``, ``LEDGER_NEWER``, ``LEDGER_OLDER`` or ``LEDGER_UNREADABLE``.
        """
        if not path.is_file():
            raise LedgerError("LEDGER_MISSING", path, "there is none", "enter a run first, or correct 'path'")
        with _reading(path), closing(_connected(path, "ro")) as database:
            database.execute("BEGIN")
            version = version_of(database, path)
            if version < schema.VERSION:
                raise LedgerError(
                    "LEDGER_OLDER", path, f"schema {version} of {schema.VERSION}", "'ecowatch ledger migrate'"
                )
            yield cls(path, database, None)

    @classmethod
    @contextmanager
    def writer(cls, path: Path, *, wait_s: float = 0.0, take_over: bool = False) -> Iterator[Ledger]:
        """Open as the one writer; make the ledger if it is absent, bring an older one up to date.

        Parameters
        ----------
        path
            The file; its lock is ``<name>.lock`` beside it.
        wait_s, take_over
            See `lock.writer_lock`.

        Raises
        ------
        LockedError
            ``LEDGER_LOCKED``: another writer holds it.
        LedgerError
            ``NOT_A_LEDGER``, ``LEDGER_NEWER`` or ``LEDGER_UNREADABLE``.
        StorageError
            ``DISK_FULL``, ``CANNOT_WRITE`` or ``NETWORK_DISK``.
        """
        lock = path.with_name(path.name + ".lock")
        with (
            writer_lock(lock, wait_s=wait_s, take_over=take_over),
            _storing(path),
            closing(_connected(path, "rwc")) as db,
        ):
            db.execute("PRAGMA journal_mode = WAL")
            migrate(db, path)
            with _transaction(db):
                token = int(_only(db, "SELECT token FROM lease")[0]) + 1
                db.execute("UPDATE lease SET token = ?, holder = ?", (token, holder_text()))
                _beat(db)
            yield cls(path, db, token)

    @property
    def head(self) -> Head:
        """The last event."""
        return Head(*_only(self.database, "SELECT seq, hash FROM head"))

    def rows(self, table: str, where: str = "1", values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Return rows of a view.

        Parameters
        ----------
        table
            One of `schema.VIEW_TABLES`.
        where
            A constant clause with ``?`` for each of `values`; never text from outside.
        values
            Bound to it.
        """
        if table not in schema.VIEW_TABLES:
            raise ValueError(f"{table} is no view of the ledger")
        return self.database.execute(f"SELECT * FROM {table} WHERE {where}", tuple(values)).fetchall()

    def events(self, where: str = "1", values: Sequence[Any] = ()) -> list[Event]:
        """Return events in the order they were entered; `where` as in `rows`."""
        query = f"SELECT {_EVENT_COLUMNS} FROM event WHERE {where} ORDER BY seq"
        return [event_of(row) for row in self.database.execute(query, tuple(values))]

    def commit(self, events: Iterable[Event]) -> int:
        """Enter events and bring the views up to date, in one transaction: all of them or none.

        An event that is there already is left out: the same work done twice makes one row.

        Returns
        -------
        int
            Number of events added.

        Raises
        ------
        LockedError
            ``LEASE_LOST`` where another writer has taken over since this one began.
        StorageError
            ``DISK_FULL`` or ``CANNOT_WRITE``; nothing was entered then.
        """
        with self.transaction() as database:
            added = sum(self._entered(event) for event in events)
            if added:
                _beat(database)
        return added

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection within one transaction of the writer: all that is done in it stays, or nothing.

        Raises
        ------
        LedgerError, LockedError, StorageError
            As `commit`.
        """
        if self._token is None:
            raise LedgerError("READ_ONLY", self.path, "it was opened for reading", "open it with Ledger.writer")
        with _storing(self.path), _transaction(self.database):
            self._check_lease()
            yield self.database

    def _check_lease(self) -> None:
        token, holder = _only(self.database, "SELECT token, holder FROM lease")
        if token != self._token:
            raise LockedError("LEASE_LOST", self.path, f"taken over by {holder}", "run again; nothing was entered")

    def _entered(self, event: Event) -> bool:
        db = self.database
        if db.execute("SELECT 1 FROM event WHERE event_id = ?", (event.event_id,)).fetchone():
            return False
        last = self.head
        seq, link = last.seq + 1, chained(last.hash, event.event_id)
        content = (event.kind, event.area_id, event.period, event.problem_id, event.patch_id)
        db.execute(
            f"INSERT INTO event (seq, event_id, {_EVENT_COLUMNS}, prev, hash) VALUES ({', '.join('?' * 12)})",
            (seq, event.event_id, *content, event.payload_text, event.actor, event.at, last.hash, link),
        )
        at, pid = _now(), os.getpid()
        db.execute(
            "INSERT INTO entered VALUES (?, ?, ?, ?)", (seq, at, sealed(socket.gethostname(), seq, at, pid), pid)
        )
        db.execute("UPDATE head SET seq = ?, hash = ?", (seq, link))
        project(db, seq, event)
        return True

    def digest(self) -> str:
        """Return the SHA-256 of everything the ledger says: the chain and all views, not who entered it when."""
        return content_digest(self.database)


def event_of(row: Iterable[Any]) -> Event:
    """Return the event of a row of the log: kind, area_id, period, problem_id, patch_id, payload, actor, at.

    Raises
    ------
    ValueError
        Where its kind or payload cannot be understood.
    """
    kind, area_id, period, problem_id, patch_id, payload, actor, at = tuple(row)
    return Event(EventKind(kind), area_id, period, problem_id, patch_id, json.loads(payload), actor, at)


def content_digest(database: sqlite3.Connection) -> str:
    """Return `Ledger.digest` of an open database; row by row, however large it is."""
    sink = hashlib.sha256(canonical([*_only(database, "SELECT seq, hash FROM head")]).encode())
    for name in schema.VIEW_TABLES:
        for row in database.execute(_ordered(name)):
            sink.update(canonical([name, *map(_plain, row)]).encode())
    return sink.hexdigest()


def sealed(text: str, *beside: Any) -> str:
    """Return a text with a checksum of it and of the values beside it in its row.

    The chain covers what happened, not who entered it when: without a checksum a flipped byte there could not be found.
    """
    return f"{text}#{zlib.crc32(canonical([text, *beside]).encode('utf-8', 'replace')):08x}"


def migrate(database: sqlite3.Connection, path: Path) -> None:
    """Bring a ledger to the schema of this program: a copy first, then all steps in one transaction.

    Raises
    ------
    LedgerError
        ``NOT_A_LEDGER`` or ``LEDGER_NEWER``.
    """
    version = version_of(database, path)
    if version == schema.VERSION:
        return
    if version:
        _copy_aside(database, path.with_name(f"{path.name}.schema{version}"))
    with _transaction(database):
        for step in schema.MIGRATIONS[version:]:
            for statement in statements(step):
                database.execute(statement)
        database.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {schema.VERSION}")


def _copy_aside(database: sqlite3.Connection, copy: Path) -> None:
    # VACUUM INTO does not fsync, and leaves a part of a copy where it is killed: its name must not be that of a whole one.
    part = copy.with_name(f"{copy.name}.part")
    part.unlink(missing_ok=True)
    database.execute("VACUUM INTO ?", (str(part),))
    for name in (part, copy.parent):
        handle = os.open(name, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    part.replace(copy)


def version_of(database: sqlite3.Connection, path: Path) -> int:
    """Return the schema version of an open database; 0 for an empty one.

    Raises
    ------
    LedgerError
        ``NOT_A_LEDGER`` or ``LEDGER_NEWER``.
    """
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    application = int(database.execute("PRAGMA application_id").fetchone()[0])
    tables = int(database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    if (tables or version) and application != schema.APPLICATION_ID:
        raise LedgerError("NOT_A_LEDGER", path, "it is another kind of database", "correct 'path'")
    if version > schema.VERSION:
        raise LedgerError(
            "LEDGER_NEWER", path, f"schema {version}, this program knows {schema.VERSION}", "update ecowatch"
        )
    return version


def statements(script: str) -> Iterator[str]:
    """Yield the statements of a script, to run within a transaction.

    sqlite3's own executescript would commit first, and a half-made ledger could stay.
    """
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    database = sqlite3.connect(sqlite_uri(path, mode), uri=True, timeout=_BUSY_S, isolation_level=None)
    database.row_factory = sqlite3.Row
    for setting in ("synchronous = FULL", "foreign_keys = ON", "trusted_schema = OFF"):
        database.execute(f"PRAGMA {setting}")
    return database


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


@contextmanager
def _storing(path: Path) -> Iterator[None]:
    """Turn SQLite's errors of writing into the family's."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise _as_error(path, error) from error
    except sqlite3.DatabaseError as error:
        raise LedgerError("LEDGER_UNREADABLE", path, str(error), "'ecowatch ledger verify'; restore a copy") from error


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise LedgerError("LEDGER_UNREADABLE", path, str(error), "'ecowatch ledger verify'; restore a copy") from error


def _as_error(path: Path, error: sqlite3.OperationalError) -> EcowatchError:
    text = str(error)
    if "locked" in text or "busy" in text:
        return LockedError("LEDGER_LOCKED", path, text, "another process holds a transaction open; run again")
    if "full" in text:
        return StorageError("DISK_FULL", path, text, "free space, then run again; nothing was lost")
    return StorageError("CANNOT_WRITE", path, text, "free space or permissions, then run again; nothing was lost")


def _ordered(table: str) -> str:
    columns = {
        "not_observed": "area_id, period, seq, pipeline, reason, geometry",
        "area_version": "area_id, version, valid_from",
    }
    return f"SELECT * FROM {table} ORDER BY {columns.get(table, '1, 2, 3')}"


def _beat(database: sqlite3.Connection) -> None:
    token, holder = _only(database, "SELECT token, holder FROM lease")
    database.execute("UPDATE lease SET heartbeat = ?", (sealed(_now(), token, holder),))


def _only(database: sqlite3.Connection, query: str) -> tuple[Any, ...]:
    row = database.execute(query).fetchone()
    if row is None:
        raise sqlite3.DatabaseError(f"a row that every ledger has is gone: {query}")
    return tuple(row)


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
