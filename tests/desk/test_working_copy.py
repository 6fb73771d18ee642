"""Working copies go out, verdicts come back: nothing overwritten, nothing doubled, nothing of the file is run."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import geopandas
import pyogrio
import pytest

from ecowatch.codes import Activity, ProblemState, VerdictKind, VerdictReason
from ecowatch.desk import (
    CopyScope,
    Merged,
    Ruling,
    export_copy,
    import_copies,
    instant_of,
    open_conflicts,
    read_copy,
    resolve,
)
from ecowatch.errors import BoundaryError, EcowatchError, IntakeError, LedgerError, StorageError
from ecowatch.ledger import Event, EventKind, Ledger

from .ground import add, count, make_ledger, moved, seen, state_of, verdict


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return make_ledger(tmp_path / "ledger.db")


PERIOD = CopyScope("2026H1")


def copied(book: Path, name: str, scope: CopyScope = PERIOD) -> Path:
    with Ledger.reader(book) as ledger:
        export_copy(ledger, book.parent / name, scope, node="national")
    return book.parent / name


def say(copy: Path, problem: str, word: str, reviewer: str, **more: Any) -> None:
    values = {"problem_id": problem, "verdict": word, "reviewer": reviewer, "at": "2026-07-01T08:00:00Z"} | more
    with closing(sqlite3.connect(copy)) as base:
        base.execute("PRAGMA ignore_check_constraints = ON")
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        base.execute(f"INSERT INTO review_log ({names}) VALUES ({marks})", tuple(values.values()))
        base.commit()


def imported(book: Path, *copies: Path) -> Merged:
    with Ledger.writer(book) as ledger:
        return import_copies(ledger, [read_copy(copy, ledger) for copy in copies])


def test_a_copy_opens_in_geopandas_and_sqlite_with_the_same_counts(book: Path) -> None:
    copy = copied(book, "copy.gpkg")
    say(copy, "p2", "unsure", "li")
    say(copy, "p2", "problem", "li")
    problems = geopandas.read_file(copy, layer="problem")
    assert problems.crs.to_epsg() == 4490 and list(problems.problem_id) == ["p1", "p2", "p3", "p4"]
    assert problems.area_verified_m2.isna().all()
    view = geopandas.read_file(copy, layer="problem_verdict").set_index("problem_id")
    assert len(view) == 4 and view.verdict["p2"] == "problem" and view.verdict.isna().sum() == 3
    assert view.geometry["p2"].equals(problems.set_index("problem_id").geometry["p2"])
    assert len(geopandas.read_file(copy, layer="patch")) == 4
    with closing(sqlite3.connect(copy)) as base:
        assert base.execute("SELECT count(*) FROM problem").fetchone() == (4,)
        assert base.execute("SELECT zh FROM code_verdict WHERE code = 'no_problem'").fetchone() == ("非问题",)
        assert base.execute("SELECT count(*) FROM code_activity").fetchone() == (len(Activity),)


def test_the_same_head_gives_the_same_bytes_and_scope_is_kept(book: Path) -> None:
    one, two = copied(book, "one.gpkg"), copied(book, "two.gpkg")
    assert one.read_bytes() == two.read_bytes()
    add(book, moved("p1", "suspected", "confirmed"))
    scope = CopyScope("2026H1", areas=("a",), states=(ProblemState.SUSPECTED,))
    assert list(geopandas.read_file(copied(book, "three.gpkg", scope), layer="problem").problem_id) == ["p2", "p3"]
    with pytest.raises(LedgerError, match="NOTHING_TO_REVIEW 2027: no problem is in scope"):
        copied(book, "four.gpkg", CopyScope("2027"))
    with pytest.raises(StorageError, match=r"COPY_EXISTS .*perhaps with verdicts"):
        copied(book, "one.gpkg")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE review_log SET verdict = 'problem'",
        "DELETE FROM review_log",
        "UPDATE copy_info SET value = ''",
        "INSERT INTO code_verdict VALUES ('x', 'x', 'x')",
    ],
)
def test_the_log_is_append_only_and_the_rest_is_for_reference(book: Path, statement: str) -> None:
    copy = copied(book, "copy.gpkg")
    say(copy, "p1", "unsure", "li")
    with closing(sqlite3.connect(copy)) as base, pytest.raises(sqlite3.Error, match=r"append-only|for reference only"):
        base.execute(statement)


def test_gdal_cannot_add_to_what_is_for_reference(book: Path) -> None:
    copy = copied(book, "copy.gpkg")
    problems = geopandas.read_file(copy, layer="problem")
    with pytest.raises(pyogrio.errors.FeatureError, match="for reference only"):
        pyogrio.write_dataframe(problems, copy, layer="problem", append=True)
    assert len(geopandas.read_file(copy, layer="problem")) == 4


def test_a_wrong_code_is_refused_when_it_is_typed(book: Path) -> None:
    with closing(sqlite3.connect(copied(book, "copy.gpkg"))) as base:
        typed = "INSERT INTO review_log (problem_id, verdict, reviewer) VALUES ('p1', ?, 'li')"
        with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            base.execute(typed, ("perhaps",))
        base.execute(typed, ("problem",))
        uid, at = base.execute("SELECT log_uid, at FROM review_log").fetchone()
        assert len(uid) == 32 and instant_of(at) is not None


def test_agreement_moves_the_problem_and_the_second_import_adds_nothing(book: Path) -> None:
    copy = copied(book, "copy.gpkg")
    say(copy, "p1", "problem", "li", activity_code="04", area_m2=9000.5, note="开采面", patch_id="t-p1")
    done = imported(book, copy)
    assert (done.added, done.moved, done.refused, done.conflicts) == (2, ("p1",), (), ())
    with Ledger.reader(book) as ledger:
        row = ledger.rows("problem", "problem_id = 'p1'")[0]
        given, move = ledger.events("seq > 10")
    assert (row["state"], row["activity_code"], row["activity_found"]) == ("confirmed", "04", "03")
    assert (row["area_verified_m2"], row["area_found_m2"]) == (9000.5, 10124.0)
    assert (given.actor, given.at, given.period) == ("li", "2026-07-01T08:00:00Z", "2026H1")
    assert (move.payload["from"], move.payload["to"], move.actor) == ("suspected", "confirmed", "li")
    assert imported(book, copy).added == 0 and count(book) == 12


def test_two_copies_merge_in_any_order_to_one_ledger(book: Path, tmp_path: Path) -> None:
    copies = [copied(book, f"copy{n}.gpkg") for n in range(3)]
    for n, copy in enumerate(copies):
        say(copy, "p1", "problem", f"r{n}", at=f"2026-07-0{n + 1}")
        say(copy, f"p{n + 2}", "no_problem", f"r{n}", reason="seasonality")
    digests = set()
    for number, order in enumerate(itertools.permutations(copies)):
        own = tmp_path / f"{number}.db"
        shutil.copy(book, own)
        assert imported(own, *order).added == 6 + 4
        with Ledger.reader(own) as ledger:
            digests.add(ledger.digest())
    assert len(digests) == 1
    assert [state_of(own, f"p{n}") for n in range(1, 5)] == ["confirmed"] + 3 * ["no_problem"]


def test_a_conflict_is_shown_and_kept_until_an_arbiter_settles_it(book: Path) -> None:
    one, two = copied(book, "one.gpkg"), copied(book, "two.gpkg")
    say(one, "p1", "problem", "li")
    say(two, "p1", "no_problem", "wang", reason="permitted")
    done = imported(book, one, two)
    assert (done.added, done.moved) == (2, ())
    (conflict,) = done.conflicts
    assert conflict.code == "VERDICTS_DIFFER" and "li: problem" in conflict.finding and "wang" in conflict.finding
    assert state_of(book, "p1") == "suspected"
    assert imported(book, two, one).conflicts == (conflict,)
    ruling = Ruling(VerdictKind.NO_PROBLEM, VerdictReason.PERMITTED, "zhao", "2026-07-09")
    with Ledger.writer(book) as ledger:
        settled = resolve(ledger, "p1", ruling)
        assert (settled.added, settled.moved, settled.conflicts) == (2, ("p1",), ())
        assert resolve(ledger, "p1", ruling).added == 0
        assert [r["reviewer"] for r in ledger.rows("verdict", "problem_id = 'p1' ORDER BY seq")] == [
            "li",
            "wang",
            "zhao",
        ]
    assert state_of(book, "p1") == "no_problem"
    assert imported(book, one, two) == Merged(0, (), (), ())


def test_the_same_reviewer_may_change_his_mind(book: Path) -> None:
    copy = copied(book, "copy.gpkg")
    say(copy, "p1", "unsure", "li", at="2026-07-01")
    say(copy, "p1", "problem", "li", at="2026-07-02")
    assert imported(book, copy).conflicts == () and state_of(book, "p1") == "confirmed"
    say(copy, "p1", "no_problem", "li", at="2026-07-03", reason="permitted")
    assert imported(book, copy).moved == ("p1",) and state_of(book, "p1") == "no_problem"


def test_a_second_reader_who_agrees_moves_nothing_further(book: Path) -> None:
    add(book, moved("p1", "suspected", "no_problem"))
    one, two = copied(book, "one.gpkg"), copied(book, "two.gpkg")
    say(one, "p1", "problem", "li")
    say(two, "p1", "problem", "wang")
    imported(book, one)
    assert state_of(book, "p1") == "suspected"
    assert imported(book, two).moved == () and state_of(book, "p1") == "suspected"
    with Ledger.writer(book) as ledger:
        resolve(ledger, "p1", Ruling(VerdictKind.PROBLEM, VerdictReason.NONE, "zhao", "2026-07-09"))
    assert state_of(book, "p1") == "confirmed"


def test_a_verdict_on_an_earlier_state_is_a_conflict_and_moves_nothing(book: Path) -> None:
    old = copied(book, "old.gpkg")
    say(old, "p1", "problem", "li")
    say(old, "p2", "problem", "li")
    add(book, seen("p1"))
    done = imported(book, old)
    assert done.moved == ("p2",) and [(c.problem_id, c.code) for c in done.conflicts] == [("p1", "VERDICT_STALE")]
    assert state_of(book, "p1") == "suspected"
    fresh = copied(book, "fresh.gpkg", CopyScope("2026H2"))
    say(fresh, "p1", "no_problem", "li", reason="permitted", at="2026-12-01")
    assert imported(book, fresh).conflicts == () and state_of(book, "p1") == "no_problem"
    add(book, seen("p1", "2027H1"))
    with Ledger.reader(book) as ledger:
        assert open_conflicts(ledger) == ()


def test_a_merged_or_withdrawn_problem_is_not_moved(book: Path) -> None:
    copy = copied(book, "copy.gpkg")
    say(copy, "p2", "problem", "li")
    add(book, Event(EventKind.PROBLEM_WITHDRAWN, "a", "2026H1", "p2", payload={"why": "late scene"}, at="2026-05-20"))
    done = imported(book, copy)
    assert done.moved == () and done.conflicts[0].code == "VERDICT_STALE" and state_of(book, "p2") == "suspected"


def test_different_verified_values_are_shown(book: Path) -> None:
    one, two = copied(book, "one.gpkg"), copied(book, "two.gpkg")
    say(one, "p1", "problem", "li", activity_code="04")
    say(two, "p1", "problem", "wang", activity_code="05")
    done = imported(book, one, two)
    assert [c.code for c in done.conflicts] == ["VALUES_DIFFER"] and done.moved == ("p1",)


def test_a_verdict_from_elsewhere_counts_as_current(book: Path) -> None:
    """Verdicts given on a page carry no word of what was seen: their place in the log tells."""
    copy = copied(book, "copy.gpkg")
    add(book, verdict("p1", "no_problem", "wang"))
    say(copy, "p1", "problem", "li")
    assert [c.code for c in imported(book, copy).conflicts] == ["VERDICTS_DIFFER"]


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"verdict": "perhaps"}, "VERDICT_CODE"),
        ({"verdict": b"problem"}, "VERDICT_CODE"),
        ({"reason": "because"}, "REASON_CODE"),
        ({"activity_code": "99"}, "ACTIVITY_CODE"),
        ({"problem_id": "p9'; DROP TABLE event; --"}, "PROBLEM_UNKNOWN"),
        ({"patch_id": "t-p2"}, "PATCH_UNKNOWN"),
        ({"reviewer": "  "}, "REVIEWER_MISSING"),
        ({"reviewer": "EcoWatch"}, "REVIEWER_MISSING"),
        ({"reviewer": "li\0wang"}, "TEXT_INVALID"),
        ({"at": "yesterday"}, "TIME_INVALID"),
        ({"at": "2026-07-01T08:00:00"}, "TIME_INVALID"),
        ({"at": "2026-02-30"}, "TIME_INVALID"),
        ({"area_m2": -1.0}, "AREA_INVALID"),
        ({"area_m2": float("inf")}, "AREA_INVALID"),
        ({"area_m2": "large"}, "AREA_INVALID"),
        ({"note": "x" * 5000}, "TEXT_TOO_LONG"),
    ],
)
def test_a_bad_row_is_set_aside_and_the_rest_goes_on(book: Path, values: dict[str, Any], code: str) -> None:
    copy = copied(book, "copy.gpkg")
    row = {"problem": "p1", "word": "problem", "reviewer": "li"}
    names = {"problem_id": "problem", "verdict": "word"}
    say(copy, **(row | {names.get(k, k): v for k, v in values.items()}))
    say(copy, "p2", "problem", "li")
    done = imported(book, copy)
    (bad,) = done.refused
    assert (bad.where, bad.code) == (f"{copy}: review_log 1", code) and bad.finding and bad.remedy
    assert done.added == 2 and done.moved == ("p2",)


def test_one_identity_for_two_verdicts_is_set_aside(book: Path) -> None:
    one, two = copied(book, "one.gpkg"), copied(book, "two.gpkg")
    say(one, "p1", "problem", "li", log_uid="u1")
    say(two, "p1", "no_problem", "li", log_uid="u1", reason="permitted")
    done = imported(book, one, two)
    assert {r.code for r in done.refused} == {"LOG_UID_TWICE"} and done.added == 0


def test_copies_of_one_name_are_told_apart(book: Path) -> None:
    one = copied(book, "copy.gpkg")
    (book.parent / "other").mkdir()
    two = copied(book, "other/copy.gpkg")
    say(one, "p1", "perhaps", "li")
    say(two, "p1", "problem", "wang")
    done = imported(book, one, two)
    assert done.moved == ("p1",) and [r.where for r in done.refused] == [f"{one}: review_log 1"]


def altered(change: Callable[[sqlite3.Connection], Any]) -> Callable[[Path], None]:
    def apply(copy: Path) -> None:
        with closing(sqlite3.connect(copy)) as base:
            for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                base.execute(f'DROP TRIGGER "{name}"')
            base.execute("DROP VIEW problem_verdict")
            change(base)
            base.commit()

    return apply


def as_view(base: sqlite3.Connection) -> None:
    base.execute("ALTER TABLE review_log RENAME TO other")
    base.execute(
        "CREATE VIEW review_log AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT * FROM n"
    )


def as_virtual(base: sqlite3.Connection) -> None:
    base.execute("DROP TABLE review_log")
    base.execute("CREATE VIRTUAL TABLE review_log USING rtree(id, x0, x1)")


def computed(base: sqlite3.Connection) -> None:
    base.execute("ALTER TABLE review_log DROP COLUMN note")
    base.execute("ALTER TABLE review_log ADD COLUMN note TEXT AS (lower(verdict)) VIRTUAL")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (altered(as_view), "COPY_ACTIVE .*view or a virtual table"),
        (altered(as_virtual), "COPY_ACTIVE .*view or a virtual table"),
        (altered(computed), "COPY_COLUMNS .*columns of review_log differ"),
        (altered(lambda b: b.execute("ALTER TABLE review_log DROP COLUMN note")), "COPY_COLUMNS .*note"),
        (altered(lambda b: b.execute("DROP TABLE review_log")), "COPY_COLUMNS .*no table review_log"),
        (altered(lambda b: b.execute("DELETE FROM copy_info")), "COPY_COLUMNS .*where the copy comes from"),
        (altered(lambda b: b.execute("UPDATE copy_info SET value = '99' WHERE key = 'head_seq'")), "COPY_OF_OTHER"),
        (altered(lambda b: b.execute("UPDATE copy_info SET value = 'x' WHERE key = 'ledger'")), "COPY_OF_OTHER"),
        (lambda copy: copy.write_text("<html>"), "FILE_KIND"),
        (lambda copy: copy.write_bytes(copy.read_bytes()[:20000]), "VECTOR_UNREADABLE"),
        (lambda copy: copy.with_name("copy.gpkg-wal").write_bytes(b"x"), "GPKG_IN_USE"),
    ],
)
def test_what_is_no_working_copy_is_refused(book: Path, change: Callable[[Path], Any], expected: str) -> None:
    copy = copied(book, "copy.gpkg")
    change(copy)
    with pytest.raises((LedgerError, IntakeError, BoundaryError), match=expected):
        imported(book, copy)
    assert count(book) == 10


def test_a_copy_of_another_ledger_is_refused(book: Path, tmp_path: Path) -> None:
    other = make_ledger(tmp_path / "other.db", ("p1", "p2"))
    copy = copied(other, "copy.gpkg")
    say(copy, "p1", "problem", "li")
    with pytest.raises(LedgerError, match=r"COPY_OF_OTHER .*another ledger"):
        imported(book, copy)


def test_an_arbiter_has_a_name_a_time_and_a_problem(book: Path) -> None:
    with Ledger.writer(book) as ledger:
        for by, at, problem, code in [
            ("", "2026-07-09", "p1", "REVIEWER_MISSING"),
            ("zhao", "soon", "p1", "TIME_INVALID"),
            ("zhao", "2026-07-09", "p9", "PROBLEM_UNKNOWN"),
        ]:
            with pytest.raises(EcowatchError, match=code):
                resolve(ledger, problem, Ruling(VerdictKind.PROBLEM, VerdictReason.NONE, by, at))
    assert count(book) == 10
