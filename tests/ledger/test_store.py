"""The store: events entered once, in order, in whole transactions; views that follow; what is refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import shapely

from ecowatch.codes import ProblemState
from ecowatch.errors import LedgerError
from ecowatch.ledger import Event, EventKind, Ledger, geometry_of, geometry_text

SQUARE = geometry_text(shapely.box(110.0, 35.0, 110.001, 35.001))


def opened(problem: str, **changes: object) -> Event:
    payload = {
        "patches": ["t1"],
        "geometry": SQUARE,
        "area_m2": 10124.0,
        "activity_code": "03",
        "state": str(ProblemState.SCREENED),
        "stock": 0,
        "parents": [],
    }
    return Event(EventKind.PROBLEM_OPENED, "a", "2026H1", problem, payload=payload | changes, at="2026-05-01")


def test_the_same_event_twice_is_one_row(tmp_path: Path) -> None:
    with Ledger.writer(tmp_path / "l.db") as ledger:
        assert ledger.commit([opened("p1"), opened("p2")]) == 2
        before = ledger.digest()
        assert ledger.commit([opened("p2"), opened("p1")]) == 0
        assert ledger.digest() == before and ledger.head.seq == 2


def test_views_follow_the_events(tmp_path: Path) -> None:
    with Ledger.writer(tmp_path / "l.db") as ledger:
        ledger.commit([opened("p1")])
        moved = Event(
            EventKind.STATE_MOVED,
            "a",
            problem_id="p1",
            payload={
                "from": "screened",
                "to": "confirmed",
                "reason": "",
                "responsible": "某县",
                "deadline": "2026-12-31",
            },
            actor="li",
            at="2026-07-01",
        )
        ledger.commit([moved])
    with Ledger.reader(tmp_path / "l.db") as ledger:
        (row,) = ledger.rows("problem", "area_id = ?", ("a",))
        assert (row["state"], row["responsible"], row["deadline"]) == ("confirmed", "某县", "2026-12-31")
        assert geometry_of(row["geometry"]).equals(shapely.box(110.0, 35.0, 110.001, 35.001))
        assert [e.kind for e in ledger.events()] == ["problem_opened", "state_moved"]


def test_a_transaction_is_whole_or_absent(tmp_path: Path) -> None:
    """The second event cannot be projected: the first must not stay either."""
    broken = Event(EventKind.PROBLEM_OPENED, "a", "2026H1", "p2", payload={"patches": []})
    with Ledger.writer(tmp_path / "l.db") as ledger:
        with pytest.raises(KeyError):
            ledger.commit([opened("p1"), broken])
        assert ledger.head.seq == 0 and ledger.rows("problem") == []
        assert ledger.commit([opened("p1")]) == 1


def test_the_log_cannot_be_changed_by_sql(tmp_path: Path) -> None:
    with Ledger.writer(tmp_path / "l.db") as ledger:
        ledger.commit([opened("p1")])
        for statement in ("UPDATE event SET actor = 'x'", "DELETE FROM event", "DELETE FROM entered"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                ledger.database.execute(statement)


def test_a_reader_sees_one_snapshot_and_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    with Ledger.writer(path) as ledger:
        ledger.commit([opened("p1")])
        with Ledger.reader(path) as reader:
            assert len(reader.rows("problem")) == 1
            ledger.commit([opened("p2")])
            assert len(reader.rows("problem")) == 1
            with pytest.raises(LedgerError, match="READ_ONLY"):
                reader.commit([opened("p3")])


def test_what_is_no_ledger_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="LEDGER_MISSING"), Ledger.reader(tmp_path / "none.db"):
        pass
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE t (x)")
    database.close()
    with pytest.raises(LedgerError, match="NOT_A_LEDGER"), Ledger.writer(other):
        pass
    text = tmp_path / "text.db"
    text.write_text("this is no database at all" * 100)
    with pytest.raises(LedgerError, match="LEDGER_UNREADABLE"), Ledger.writer(text):
        pass
