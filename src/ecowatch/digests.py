"""SHA-256 of files, and what was found of files by their digests, remembered from run to run.

Hashing gigabytes again at every start costs seconds.

A file is taken for unchanged where its path, device, inode, size, time of change (mtime) and time of the inode's change
(ctime) are what they were, as git's index does. A program may set mtime back, but not ctime. What cannot be told is
computed anew: a file that changed less than two seconds before it was read (its time stamps are too coarse to tell a
second change), and a memory that is missing, damaged or of another form.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from .errors import IntakeError

RACY_NS = 2_000_000_000
"""Age of a change, in nanoseconds, from which a second one would show in the time stamps."""

MEMORY_NAME = ".digests.sqlite"
_TABLES = (
    "CREATE TABLE IF NOT EXISTS digests_1"
    " (path BLOB PRIMARY KEY, state TEXT NOT NULL, digest TEXT NOT NULL, seal TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS findings_1"
    " (key TEXT PRIMARY KEY, finding TEXT NOT NULL, seal TEXT NOT NULL) WITHOUT ROWID",
)
_FLUSH_EVERY = 64
_HELD = 65_536
_LOCK_WAIT_S = 5.0


class _State(NamedTuple):
    """What must be as it was for a file to count as unchanged."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, path: str) -> _State:
        told = Path(path).stat()
        return cls(told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns, told.st_ctime_ns)

    def settled(self, seen_ns: int) -> bool:
        """Whether a change after `seen_ns` would show."""
        return seen_ns - max(self.mtime_ns, self.ctime_ns) >= RACY_NS


class Memory:
    """Digests of files by path and state; kept in a file where one is named, else as long as this object.

    Parameters
    ----------
    path
        The file; None keeps nothing beyond this process. It need not exist, and may be deleted at any time.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[str, tuple[_State, str]] = {}
        self._unsaved: dict[str, tuple[_State, str]] = {}
        self._findings: dict[str, str] = {}
        self._connection: sqlite3.Connection | None = None
        self._lock = Lock()

    def find(self, path: str, state: _State) -> str | None:
        """Return the digest of a file in that state, if it is remembered."""
        with self._lock:
            if path not in self._known and (row := self._row(path)) is not None:
                self._known[path] = row
            known = self._known.get(path)
            if len(self._known) > _HELD:
                self._known.clear()
        return known[1] if known is not None and known[0] == state else None

    def add(self, path: str, state: _State, digest: str, *, settled: bool) -> None:
        """Remember the digest of a file that was in that state before and after it was read.

        One that is not settled is taken for one content as long as the block lasts, and not kept beyond it.
        """
        with self._lock:
            self._known[path] = (state, digest)
            if settled:
                self._unsaved[path] = (state, digest)
            if len(self._unsaved) >= _FLUSH_EVERY:
                self._save()

    def finding(self, key: str) -> str | None:
        """Return what was found under a key, if it is remembered."""
        with self._lock:
            if key in self._findings:
                return self._findings[key]
            row = self._select("SELECT finding, seal FROM findings_1 WHERE key = ?", key)
        return row[0] if row is not None and row[1] == _seal(key, row[0]) else None

    def add_finding(self, key: str, finding: str) -> None:
        """Remember what was found under a key."""
        with self._lock:
            self._findings[key] = finding
            if len(self._findings) >= _FLUSH_EVERY:
                self._save()

    def close(self) -> None:
        """Save what is new; a memory that cannot be saved is lost, nothing else."""
        with self._lock:
            self._save()
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _row(self, path: str) -> tuple[_State, str] | None:
        found = self._select("SELECT state, digest, seal FROM digests_1 WHERE path = ?", os.fsencode(path))
        if found is None or found[2] != _seal(path, found[0], found[1]):
            return None
        return _State(*map(int, found[0].split())), found[1]

    def _select(self, query: str, key: str | bytes) -> tuple[str, ...] | None:
        row: tuple[str, ...] | None = None
        if connection := self._opened():
            try:
                row = connection.execute(query, (key,)).fetchone()
            except sqlite3.Error as error:
                self._given_up(error)
        return row

    def _save(self) -> None:
        unsaved, self._unsaved = self._unsaved, {}
        findings, self._findings = self._findings, {}
        connection = self._opened() if unsaved or findings else None
        if connection is None:
            return
        texts = [(path, " ".join(map(str, state)), digest) for path, (state, digest) in unsaved.items()]
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT OR REPLACE INTO digests_1 VALUES (?, ?, ?, ?)",
                [(os.fsencode(row[0]), *row[1:], _seal(*row)) for row in texts],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO findings_1 VALUES (?, ?, ?)",
                [(key, finding, _seal(key, finding)) for key, finding in findings.items()],
            )
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._given_up(error)

    def _opened(self) -> sqlite3.Connection | None:
        if self._connection is None and self._path is not None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._connection = sqlite3.connect(
                    self._path, timeout=_LOCK_WAIT_S, isolation_level=None, check_same_thread=False
                )
                # A power cut may damage it; the seal of each row tells, and the rest is computed anew.
                self._connection.execute("PRAGMA synchronous = OFF")
                for table in _TABLES:
                    self._connection.execute(table)
            except (sqlite3.Error, OSError) as error:
                self._given_up(error)
        return self._connection

    def _given_up(self, error: Exception) -> None:
        """Go on without the file; one that is no sound database is removed, so that the next run writes it anew."""
        if self._connection is not None:
            self._connection.close()
        if self._path is not None and isinstance(error, sqlite3.DatabaseError) and not _is_busy(error):
            for name in (f"{self._path}-journal", str(self._path)):
                with suppress(OSError):
                    Path(name).unlink()
        self._connection = self._path = None


def _is_busy(error: sqlite3.Error) -> bool:
    """Locked, read-only, out of space or out of reach: no reason to remove the file."""
    return isinstance(error, sqlite3.OperationalError) and "no such" not in str(error)


def _seal(*parts: str) -> str:
    return hashlib.sha256(os.fsencode("\0".join(parts))).hexdigest()[:16]


_current: ContextVar[Memory | None] = ContextVar("digests", default=None)
_process = Memory()


@contextmanager
def remembered(path: Path | None) -> Iterator[None]:
    """Keep digests in the file `path` for the length of a ``with`` block; None reads every file once per block.

    Threads started inside must run in a copy of the context (`contextvars.copy_context`).
    """
    memory = Memory(path)
    token = _current.set(memory)
    try:
        yield
    finally:
        _current.reset(token)
        memory.close()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, read now.

    Raises
    ------
    OSError
        Where it cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, from memory where the file is unchanged.

    Raises
    ------
    IntakeError
        ``FILE_CHANGING`` where it changes while it is read.
    OSError
        Where it cannot be read.
    """
    return _digest(os.fspath(path), _current.get() or _process)


def recalled(parts: Iterable[str], find: Callable[[], str]) -> str:
    """Return what `find` finds, from memory where it was found before under the same parts.

    Parameters
    ----------
    parts
        Everything the finding depends on: digests of files, numbers, the version of what finds.
    find
        Finds it anew; what it raises is not remembered.
    """
    memory = _current.get()
    if memory is None:
        return find()
    key = hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()
    known = memory.finding(key)
    if known is None:
        known = find()
        memory.add_finding(key, known)
    return known


def file_digests(paths: Sequence[Path]) -> list[str]:
    """Return the SHA-256 of each file; those that are not remembered are read by a thread per core.

    Raises
    ------
    IntakeError, OSError
        As `file_digest`, for the first file it happens to.
    """
    memory = _current.get() or _process
    texts = [os.fspath(path) for path in paths]
    threads = min(os.cpu_count() or 1, len(texts))
    if threads < 2 or all(memory.find(text, _State.of(text)) for text in texts):
        return [_digest(text, memory) for text in texts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(_digest, texts, [memory] * len(texts)))


def _digest(path: str, memory: Memory) -> str:
    before = _State.of(path)
    if (known := memory.find(path, before)) is not None:
        return known
    seen_ns = time.time_ns()
    digest = sha256_of(Path(path))
    if _State.of(path) != before:
        raise IntakeError("FILE_CHANGING", path, "it changed while it was read", "run again when it is written")
    settled = before.settled(seen_ns)
    if settled or memory is not _process:
        memory.add(path, before, digest, settled=settled)
    return digest
