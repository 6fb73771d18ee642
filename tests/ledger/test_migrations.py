"""Ledgers live for years: an old one is copied, migrated in one step and never half; a newer one is refused."""

from __future__ import annotations

import multiprocessing
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ecowatch.cli import app
from ecowatch.errors import LedgerError, StorageError
from ecowatch.ledger import Event, EventKind, Ledger, schema
from ecowatch.ledger.verify import verify

FIXTURES = Path(__file__).parent / "fixtures"
# Digest of the frozen ledger of schema 1 once brought to each schema; one line more with each migration.
DIGESTS = {1: "c51a610f606cb2120cb38979a85fb35660a68e31073e8c93c04b1f13cfb324d9"}
FORK = multiprocessing.get_context("fork")
STEP = """
ALTER TABLE problem ADD COLUMN remark TEXT NOT NULL DEFAULT '';
CREATE TABLE many (n INTEGER PRIMARY KEY, t TEXT NOT NULL) STRICT;
INSERT INTO many WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 20000) SELECT n, hex(n) FROM c;
CREATE INDEX many_t ON many (t);
DELETE FROM many;
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The ledger of schema 1, as it was frozen."""
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript((FIXTURES / "ledger_v1.sql").read_text("utf-8"))
    return path


@pytest.fixture
def later() -> Iterator[Any]:
    """The program one schema further on, within a ``with`` block."""

    @contextmanager
    def program(step: str = STEP) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(schema, "MIGRATIONS", (schema.LOG + schema.VIEWS, step))
            patch.setattr(schema, "VERSION", 2)
            yield

    return program


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


def bring_up(path: Path) -> None:
    with Ledger.writer(path):
        pass


def names(path: Path) -> set[str]:
    # SQLite's own two files stay after a reader that may not write.
    return {p.name for p in path.parent.iterdir()} - {"ledger.db-shm", "ledger.db-wal"}


def late() -> Event:
    return Event(EventKind.PERIOD_SIGNED, period="2030H1", payload={"head": ""}, actor="a", at="2030-08-01")


def test_the_first_schema_opens_for_ever(path: Path) -> None:
    bring_up(path)
    found = verify(path)
    assert found.findings == () and found.events == 56
    assert found.digest == DIGESTS[schema.VERSION]
    assert found.head.hash == "c19ef3e19375c6897c7f5db72bec1664d95238a094e1e7f94ad04fc24c12e3f7"
    with Ledger.writer(path) as ledger:
        assert ledger.commit([late()]) == 1
    assert verify(path).findings == ()


def test_a_migration_copies_first_and_keeps_every_event(path: Path, later: Any) -> None:
    old = verify(path)
    with later():
        bring_up(path)
        new = verify(path)
        assert version(path) == 2 and new.findings == () and new.head == old.head
        with Ledger.writer(path) as ledger:
            assert ledger.commit([late()]) == 1
        assert verify(path).findings == ()
    copy = path.with_name("ledger.db.schema1")
    assert version(copy) == 1 and verify(copy) == old
    assert names(path) == {"ledger.db", "ledger.db.lock", "ledger.db.schema1"}


def test_older_and_newer_refuse_each_other(path: Path, later: Any) -> None:
    ask = CliRunner().invoke
    with later():
        older = r"LEDGER_OLDER .*schema 1 of 2; 'ecowatch ledger migrate'"
        with pytest.raises(LedgerError, match=older), Ledger.reader(path):
            pass
        with pytest.raises(LedgerError, match="LEDGER_OLDER"):
            verify(path)
        assert ask(app, ["ledger", "migrate", str(path)]).exit_code == 0
    before = path.read_bytes()
    for opened in (Ledger.reader, Ledger.writer):
        newer = r"LEDGER_NEWER .*schema 2, this program knows 1; update ecowatch"
        with pytest.raises(LedgerError, match=newer), opened(path):
            pass
    refused = ask(app, ["ledger", "verify", str(path)])
    assert refused.exit_code == 65 and "LEDGER_NEWER" in refused.stderr
    assert path.read_bytes() == before


def test_a_migration_that_fails_leaves_the_old_ledger(path: Path, later: Any) -> None:
    old = verify(path)
    step = "CREATE TABLE many (n INTEGER);\nINSERT INTO nowhere VALUES (1);\n"
    with later(step), pytest.raises(StorageError, match=r"ledger\.db: no such table: nowhere"):
        bring_up(path)
    assert version(path) == 1 and verify(path) == old


def test_a_migration_killed_anywhere_leaves_one_schema_or_the_other(path: Path, later: Any, tmp_path: Path) -> None:
    kept, old, rng = path.read_bytes(), verify(path), random.Random(5)
    left = []
    with later():
        span_s = killed(path, 60.0)
        new = verify(path)
    for number in range(20):
        fresh = tmp_path / f"{number}" / "ledger.db"
        fresh.parent.mkdir()
        fresh.write_bytes(kept)
        with later():
            killed(fresh, span_s * rng.uniform(0.0, 1.1))
            left.append(version(fresh))
            assert left[-1] in (1, 2)
            if left[-1] == 2:
                assert verify(fresh) == new
        if left[-1] == 1:
            assert verify(fresh) == old
        with later():
            bring_up(fresh)
            assert verify(fresh) == new
        assert verify(fresh.with_name("ledger.db.schema1")) == old
        assert names(fresh) == {"ledger.db", "ledger.db.lock", "ledger.db.schema1"}
    assert {1, 2} == set(left), f"all kills fell on one side: {left}"


def killed(path: Path, after_s: float) -> float:
    """Open as a writer in another process and kill it after a time; return how long it ran."""
    child = FORK.Process(target=bring_up, args=(path,))
    started = time.monotonic()
    child.start()
    child.join(after_s)
    child.kill()
    child.join()
    return time.monotonic() - started
