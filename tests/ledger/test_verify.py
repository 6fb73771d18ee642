"""The check of a ledger: whatever is done to the file is found and named, or has changed nothing."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ecowatch.cli import app
from ecowatch.errors import EcowatchError, LedgerError
from ecowatch.ledger import Event, EventKind, Ledger
from ecowatch.ledger.event import chained, digest_of
from ecowatch.ledger.verify import Verified, rebuild, verify

from .story import batches

EVENTS = sum(map(len, batches()))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "ledger.db"
    with Ledger.writer(path) as ledger:
        for batch in batches():
            ledger.commit(batch)
    assert not path.with_name("ledger.db-wal").exists()
    return path


@pytest.fixture
def path(kept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(kept, tmp_path / "ledger.db"))


@contextmanager
def by_hand(path: Path) -> Iterator[sqlite3.Connection]:
    """Change the file as somebody with a database tool would: triggers dropped before, put back after."""
    with closing(sqlite3.connect(path)) as database, database:
        triggers = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            database.execute(f"DROP TRIGGER {name}")
        yield database
        for _, statement in triggers:
            database.execute(statement)


def content(path: Path) -> dict[str, Any]:
    """Every row of every table, read without an index: the oracle of what the file says."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        database.text_factory = bytes
        names = [r[0].decode() for r in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {n: sorted(database.execute(f"SELECT * FROM {n} NOT INDEXED").fetchall(), key=repr) for n in names}
        return {"": database.execute("SELECT * FROM sqlite_master").fetchall(), **rows}


def findings(path: Path) -> tuple[str, ...]:
    try:
        return verify(path).findings
    except EcowatchError as error:
        return (str(error),)


def test_a_whole_ledger_is_clean(kept: Path) -> None:
    before = kept.read_bytes()
    with Ledger.reader(kept) as ledger:
        assert verify(kept) == Verified(ledger.head, EVENTS, ledger.digest(), ())
    assert kept.read_bytes() == before
    kinds = {event.kind for batch in batches() for event in batch}
    assert kinds == set(EventKind), "the story leaves a kind of event out: its replay is not tested"


def test_an_open_writer_does_not_disturb_the_check(path: Path) -> None:
    with Ledger.writer(path) as ledger:
        ledger.commit([Event(EventKind.PERIOD_SIGNED, period="2024", payload={"head": ""}, at="2026-01-01")])
        assert verify(path).findings == () and verify(path).events == EVENTS + 1


def flipped(data: bytes, offset: int, rng: random.Random) -> bytes:
    damaged = bytearray(data)
    damaged[offset] ^= rng.choice([1 << bit for bit in range(8)] + [0xFF])
    return bytes(damaged)


def all_places(data: bytes, pattern: bytes) -> list[int]:
    starts, start = [], data.find(pattern)
    while start >= 0:
        starts.append(start)
        start = data.find(pattern, start + 1)
    return starts


def judged(kept: Path, path: Path, offsets: list[int], rng: random.Random) -> int:
    """Flip one byte at each offset; return how often it was found, having seen that it was harmless where not."""
    data, whole, found = kept.read_bytes(), content(kept), 0
    for offset in offsets:
        path.write_bytes(flipped(data, offset, rng))
        told = findings(path)
        found += bool(told)
        if not told:
            assert content(path) == whole, f"byte {offset} changed what the ledger says, and was not found"
    return found


def test_a_flipped_byte_anywhere_is_found_or_harmless(kept: Path, path: Path) -> None:
    rng = random.Random(1)
    found = judged(kept, path, [rng.randrange(kept.stat().st_size) for _ in range(200)], rng)
    assert found > 40, "too few flips hit anything: the test shows little"


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(b'"area_m2":10123.5', id="payload"),
        pytest.param(b'"geometry":"0103', id="payload_geometry"),
        pytest.param(struct.pack(">d", 10123.5), id="view_number"),
        pytest.param(b"screened", id="view_text"),
        pytest.param(b"+00:00#", id="bookkeeping"),
    ],
)
def test_a_flipped_byte_of_content_is_found(kept: Path, path: Path, pattern: bytes) -> None:
    rng = random.Random(2)
    places = [start + rng.randrange(len(pattern)) for start in all_places(kept.read_bytes(), pattern)]
    chosen = rng.sample(places, min(len(places), 20))
    # What is left of former rows in unused space may be hit too.
    assert judged(kept, path, chosen, rng) >= 0.8 * len(chosen) > 0


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_cut_short_or_overwritten_is_told_without_a_traceback(kept: Path, path: Path, share: float) -> None:
    data = kept.read_bytes()
    cut = int(len(data) * share) // 512 * 512
    path.write_bytes(data[:cut])
    assert findings(path)
    path.write_bytes(data[:cut] + random.Random(3).randbytes(len(data) - cut))
    assert findings(path)


@pytest.mark.parametrize("seq", [1, EVENTS // 2, EVENTS])
def test_a_removed_event_is_named(path: Path, seq: int) -> None:
    with by_hand(path) as database:
        database.execute("DELETE FROM event WHERE seq = ?", (seq,))
        database.execute("DELETE FROM entered WHERE seq = ?", (seq,))
    told = findings(path)
    assert any(finding.startswith(f"event {seq}: missing") for finding in told), told
    if seq < EVENTS:
        assert any(finding.startswith(f"event {seq + 1}: it does not follow") for finding in told)
    else:
        assert any(finding.startswith(f"head: it names event {seq}") for finding in told)


def test_a_last_event_removed_with_its_head_leaves_its_view(path: Path) -> None:
    with by_hand(path) as database:
        database.execute("DELETE FROM event WHERE seq = ?", (EVENTS,))
        database.execute("DELETE FROM entered WHERE seq = ?", (EVENTS,))
        database.execute("UPDATE head SET (seq, hash) = (SELECT seq, hash FROM event ORDER BY seq DESC LIMIT 1)")
    assert findings(path) == ("package k1: the table has it, replay does not",)


def test_a_swapped_pair_is_named(path: Path) -> None:
    with by_hand(path) as database:
        for old, new in ((10, -1), (11, 10), (-1, 11)):
            database.execute("UPDATE event SET seq = ? WHERE seq = ?", (new, old))
    told = findings(path)
    for seq in (10, 11, 12):
        assert any(finding.startswith(f"event {seq}: it does not follow") for finding in told), told


def test_an_edited_payload_is_named_whether_or_not_its_identity_follows(path: Path) -> None:
    def edit(database: sqlite3.Connection, *, identity: bool) -> None:
        row = database.execute("SELECT * FROM event WHERE kind = 'patch_found' AND seq > 20").fetchone()
        seq, payload = row[0], json.loads(row[7]) | {"area_m2": 1.0}
        text = json.dumps(payload, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        database.execute("UPDATE event SET payload = ? WHERE seq = ?", (text, seq))
        if identity:
            own = digest_of([*row[2:7], text, *row[8:10]])
            database.execute("UPDATE event SET event_id = ? WHERE seq = ?", (own, seq))
        edited.append(seq)

    edited: list[int] = []
    with by_hand(path) as database:
        edit(database, identity=False)
    assert any(f.startswith(f"event {edited[-1]}: its content is not what event_id says") for f in findings(path))
    with by_hand(path) as database:
        edit(database, identity=True)
    told = findings(path)
    assert any(f.startswith(f"event {edited[-1]}: its hash is not that of prev and event_id") for f in told)
    assert not any("its content" in f for f in told)
    assert any("column area_m2 is 10123.5, replay says 1.0" in f for f in told)


def test_a_forged_event_at_the_end_is_named(path: Path) -> None:
    forged = Event(EventKind.PERIOD_SIGNED, period="2020", payload={"head": ""}, actor="x", at="2026-01-01")
    with by_hand(path) as database:
        (link,) = database.execute("SELECT hash FROM event WHERE seq = ?", (EVENTS,)).fetchone()
        values = (EVENTS + 1, forged.event_id, "period_signed", "", "2020", "", "", forged.payload_text, "x", forged.at)
        new = chained(link, forged.event_id)
        database.execute(f"INSERT INTO event VALUES ({','.join('?' * 12)})", (*values, link, new))
    told = findings(path)
    assert f"head: it names event {EVENTS} as the last, the log ends with event {EVENTS + 1}" in told
    assert f"event {EVENTS + 1}: entered has no row of it" in told
    assert "signed 2020: the table lacks it, replay has it" in told


Change = Callable[[sqlite3.Connection], object]


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        (
            "UPDATE problem SET area_m2 = 1 WHERE problem_id = 'p0'",
            "problem p0: column area_m2 is 1.0, replay says 10123.5",
        ),
        (
            "UPDATE problem SET state = 'closed' WHERE problem_id = 'p2'",
            "problem p2: column state is closed, replay says",
        ),
        ("DELETE FROM history WHERE problem_id = 'p9'", "history p9/2025H2: the table lacks it, replay has it"),
        (
            "DELETE FROM not_observed WHERE period = '2025H1'",
            "not_observed reserve/2025H1/bitemporal/masked: the table",
        ),
        ("INSERT INTO apart VALUES ('t1', 't2', 3)", "apart t1/t2: the table has it, replay does not"),
        ("DROP INDEX problem_of_area", "schema: index problem_of_area is missing"),
        ("DROP TABLE clue", "table clue: it cannot be read"),
        ("UPDATE patch SET facts = CAST(x'FFFE' AS TEXT) WHERE patch_id = 't3'", "patch t3: column facts is"),
    ],
)
def test_a_view_that_is_not_the_sum_of_its_events_is_named_and_mended(path: Path, statement: str, finding: str) -> None:
    whole = verify(path)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)
    assert any(told.startswith(finding) for told in findings(path)), findings(path)
    with Ledger.writer(path) as ledger:
        assert rebuild(ledger) == EVENTS
    assert verify(path) == whole


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("UPDATE event SET payload = '{' WHERE seq = 3", "event 3: it cannot be understood"),
        ("UPDATE event SET payload = '[1]' WHERE seq = 3", "event 3: it cannot be replayed"),
        ("UPDATE event SET payload = CAST(x'22FF22' AS TEXT) WHERE seq = 3", "event 3: it cannot be replayed"),
        ("UPDATE event SET kind = 'x' WHERE seq = 3", "event 3: it cannot be understood"),
        ("UPDATE event SET payload = replicate WHERE seq = 3", "event 3: it cannot be understood"),
        ("UPDATE event SET prev = '' WHERE seq = 3", "event 3: it does not follow event 2"),
        ("UPDATE entered SET host = 'other' WHERE seq = 3", "event 3: entered does not agree with its checksum"),
        ("DELETE FROM entered WHERE seq = 3", "event 3: entered has no row of it"),
        ("INSERT INTO entered VALUES (900, '', '', 1)", "event 900: entered has a row of it, the log has none"),
        ("UPDATE head SET hash = 'x'", "head: its hash is not that of event"),
        ("DELETE FROM head", "head: 0 rows, not one"),
        ("UPDATE lease SET token = 7", "lease: it does not agree with its checksum"),
    ],
)
def test_damage_of_the_log_is_named_and_refused_to_be_mended(path: Path, statement: str, finding: str) -> None:
    deep = f"'{'[' * 100_000}'"
    with by_hand(path) as database:
        database.execute(statement.replace("replicate", deep))
    assert any(told.startswith(finding) for told in findings(path)), findings(path)
    if statement.startswith("UPDATE lease"):
        return  # Any writer begins a new one.
    before = content(path)
    with pytest.raises(LedgerError, match=r"LOG_DAMAGED .*restore a copy"), Ledger.writer(path) as ledger:
        rebuild(ledger)
    assert {**content(path), "lease": 0} == {**before, "lease": 0}


@pytest.mark.parametrize("table", ["head", "lease"])
def test_a_ledger_without_its_head_or_lease_takes_no_events(path: Path, table: str) -> None:
    with by_hand(path) as database:
        database.execute(f"DELETE FROM {table}")
    late = Event(EventKind.PERIOD_SIGNED, period="2020", payload={"head": ""}, actor="x", at="2026-01-01")
    with pytest.raises(LedgerError, match="LEDGER_UNREADABLE"), Ledger.writer(path) as ledger:
        ledger.commit([late])


def test_a_trigger_that_is_gone_is_named(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DROP TRIGGER event_no_delete")
    assert findings(path) == ("schema: trigger event_no_delete is missing",)


def test_the_commands(path: Path, tmp_path: Path) -> None:
    ask = CliRunner().invoke
    whole = ask(app, ["ledger", "verify", str(path), "--json"])
    told = json.loads(whole.stdout)
    assert whole.exit_code == 0 and told["events"] == EVENTS == told["head"]["seq"] and told["findings"] == []
    assert told["digest"] in ask(app, ["ledger", "verify", str(path)]).stdout
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM baseline")
    damaged = ask(app, ["ledger", "verify", str(path), "--lang", "en"])
    assert damaged.exit_code == 65 and "baseline reserve: the table lacks it" in damaged.stdout
    assert ask(app, ["ledger", "rebuild", str(path)]).exit_code == 0
    settings = tmp_path / "ledger.toml"
    settings.write_text('path = "ledger.db"\n')
    assert ask(app, ["ledger", "verify", "--ledger", str(settings)]).exit_code == 0
    assert ask(app, ["ledger", "migrate", "--ledger", str(settings)]).exit_code == 0
    missing = ask(app, ["ledger", "rebuild", str(tmp_path / "none.db")])
    assert missing.exit_code == 65 and "LEDGER_MISSING" in missing.stderr and not (tmp_path / "none.db").exists()
    assert ask(app, ["ledger", "verify"]).exit_code == 2
