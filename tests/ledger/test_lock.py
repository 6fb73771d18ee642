"""One writer at a time: who else comes is told who holds the ledger; who was taken over is refused."""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import geopandas
import pyogrio
import pytest
import shapely

from ecowatch.errors import EcowatchError, ExitCode, LockedError, StorageError
from ecowatch.ledger import Event, EventKind, Ledger, store
from ecowatch.ledger.lock import check_local
from ecowatch.ledger.verify import verify

FORK = multiprocessing.get_context("fork")
HELD = (
    rf"LEDGER_LOCKED .*ledger\.db\.lock: {re.escape(socket.gethostname())}, process {{pid}}, has held it since 20\d\d-"
)


def event(number: int) -> Event:
    return Event(EventKind.PERIOD_SIGNED, period=f"{2000 + number}", payload={"head": ""}, actor="a", at="2026-01-01")


@contextmanager
def process(work: Callable[..., None], *arguments: Any) -> Iterator[tuple[Any, Connection]]:
    """Another process that does `work`, and the line to it."""
    ours, theirs = FORK.Pipe()
    child = FORK.Process(target=work, args=(*arguments, theirs))
    child.start()
    theirs.close()
    try:
        yield child, ours
    finally:
        child.kill()
        child.join()


def hold(path: Path, line: Connection) -> None:
    """Hold the ledger; commit an event for each number that is sent, and say how it went."""
    with Ledger.writer(path) as ledger:
        line.send("ready")
        while True:
            line.send(outcome(lambda: ledger.commit([event(line.recv())])))


def outcome(action: Callable[[], object]) -> tuple[object, int]:
    try:
        return action(), 0
    except EcowatchError as error:
        return error.code, int(error.exit_code)


def ledger_command(name: str, path: Path) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "ecowatch", "ledger", name, str(path)]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


def test_a_second_writer_is_told_who_holds_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with process(hold, path) as (holder, line):
        assert line.recv() == "ready"
        held = HELD.format(pid=holder.pid)
        with pytest.raises(LockedError, match=held) as caught, Ledger.writer(path):
            pass
        assert caught.value.exit_code == ExitCode.TRY_AGAIN == 75
        started = time.monotonic()
        with pytest.raises(LockedError, match=held), Ledger.writer(path, wait_s=0.3):
            pass
        assert time.monotonic() - started >= 0.3
        for name in ("rebuild", "migrate"):
            told = ledger_command(name, path)
            assert told.returncode == 75 and re.search(held, told.stderr), told
        with Ledger.reader(path) as reader:
            assert reader.head.seq == 0
    with Ledger.writer(path, wait_s=5.0) as ledger:
        assert ledger.commit([event(1)]) == 1


def race(path: Path, start: Any, end: Any, line: Connection) -> None:
    start.wait()
    try:
        with Ledger.writer(path) as ledger:
            added = ledger.commit([event(1), event(2)])
            end.wait()
            line.send(added)
    except LockedError as error:
        end.wait()
        line.send(error.code)


def test_of_four_that_start_at_once_one_writes(tmp_path: Path) -> None:
    """Twenty races, half of them for a ledger that does not exist yet."""
    for number in range(20):
        path = tmp_path / f"{number // 2}.db"
        start, end = FORK.Barrier(4), FORK.Barrier(4)
        lines = [FORK.Pipe() for _ in range(4)]
        starters = [FORK.Process(target=race, args=(path, start, end, theirs)) for _, theirs in lines]
        for starter in starters:
            starter.start()
        told = sorted(str(ours.recv()) for ours, _ in lines)
        for starter in starters:
            starter.join()
        assert told == ["0" if number % 2 else "2", *["LEDGER_LOCKED"] * 3]
        assert verify(path).findings == () and verify(path).events == 2


def test_a_stopped_writer_that_wakes_up_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with process(hold, path) as (holder, line):
        assert line.recv() == "ready"
        line.send(1)
        assert line.recv() == (1, 0)
        os.kill(holder.pid, signal.SIGSTOP)
        with pytest.raises(LockedError, match=HELD.format(pid=holder.pid)), Ledger.writer(path):
            pass
        with Ledger.writer(path, take_over=True) as ledger:
            assert ledger.commit([event(2)]) == 1
            os.kill(holder.pid, signal.SIGCONT)
            line.send(3)
            assert line.recv() == ("LEASE_LOST", 75)
            assert ledger.commit([event(4)]) == 1
        line.send(5)
        assert line.recv() == ("LEASE_LOST", 75), "it stays refused when the other has gone"
    with Ledger.reader(path) as reader:
        assert [e.period for e in reader.events()] == ["2001", "2002", "2004"]
    assert verify(path).findings == ()


def commit_on(path: Path, line: Connection) -> None:
    """Commit event after event, and say so each time; at the end say why it ended."""
    with Ledger.writer(path) as ledger:
        for number in range(1, 100_000):
            told = outcome(lambda number=number: ledger.commit([event(number)]))
            line.send((number, *told))
            if told[1]:
                return
            time.sleep(0.005)


def test_a_writer_stopped_anywhere_loses_nothing_it_was_told_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it was stopped within a transaction it cannot be taken over: SQLite's own lock is its own until it ends."""
    monkeypatch.setattr(store, "_BUSY_S", 0.2)
    rng, refused = random.Random(4), 0
    for number in range(8):
        path = tmp_path / f"{number}.db"
        with process(commit_on, path) as (writer, line):
            line.recv()
            time.sleep(rng.uniform(0.0, 0.05))
            os.kill(writer.pid, signal.SIGSTOP)
            own = Event(EventKind.PERIOD_SIGNED, period="taken", payload={"head": ""})
            taken = outcome(lambda path=path, own=own: take(path, own))
            os.kill(writer.pid, signal.SIGCONT)
            assert taken in ((1, 0), ("LEDGER_LOCKED", 75))
            told = [line.recv()]
            while taken == (1, 0) and told[-1][2] == 0:
                told.append(line.recv())
            refused += told[-1][1:] == ("LEASE_LOST", 75)
        periods = stored_periods(path)
        assert {f"{2000 + n}" for n, _, code in told if code == 0} <= periods
        assert ("taken" in periods) == (taken == (1, 0))
        assert verify(path).findings == ()
    assert refused > 0, "no writer was ever taken over: the test shows little"


def take(path: Path, own: Event) -> int:
    with Ledger.writer(path, take_over=True) as ledger:
        return ledger.commit([own])


def stored_periods(path: Path) -> set[str]:
    with Ledger.reader(path) as reader:
        return {e.period for e in reader.events()}


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    for number in range(5):
        with process(hold, path) as (holder, line):
            assert line.recv() == "ready"
            line.send(number)
            assert line.recv() == (1, 0)
            os.kill(holder.pid, signal.SIGKILL)
            holder.join()
            with Ledger.writer(path) as ledger:
                assert ledger.head.seq == number + 1
    assert verify(path).findings == ()


def attempt(path: Path, line: Connection) -> None:
    line.send(outcome(lambda: take_plainly(path)))
    with closing(sqlite3.connect(path, timeout=0.0, isolation_level=None)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
            line.send("began")
        except sqlite3.OperationalError as error:
            line.send(str(error))


def take_plainly(path: Path) -> int:
    with Ledger.writer(path):
        return 0


def test_gdal_in_the_same_process_does_not_drop_the_lock(tmp_path: Path) -> None:
    """GDAL brings a SQLite of its own; closing any file there must leave the ledger's locks as they are."""
    path, package = tmp_path / "ledger.db", tmp_path / "published.gpkg"
    frame = geopandas.GeoDataFrame({"n": [1]}, geometry=[shapely.box(110, 35, 111, 36)], crs="EPSG:4490")
    with Ledger.writer(path) as ledger, ledger.transaction():
        frame.to_file(package)
        assert len(geopandas.read_file(package)) == 1
        assert pyogrio.read_info(package)["features"] == 1
        assert package.read_bytes()[:6] == b"SQLite"
        with process(attempt, path) as (_, line):
            assert line.recv() == ("LEDGER_LOCKED", 75)
            assert "locked" in line.recv()


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "lustre", "fuse.sshfs"])
def test_a_network_disk_is_refused(tmp_path: Path, kind: str) -> None:
    share = tmp_path / "a share"
    (share / "inner").mkdir(parents=True)
    mounts = tmp_path / "mounts"
    point = str(share).replace(" ", "\\040")
    mounts.write_text(f"/dev/x / ext4 rw 0 0\nhost:/x {point} {kind} rw 0 0\n")
    with pytest.raises(StorageError, match=f"NETWORK_DISK .*inner: it lies on {re.escape(kind)}") as caught:
        check_local(share / "inner", mounts)
    assert caught.value.exit_code == ExitCode.CANNOT_WRITE
    check_local(tmp_path, mounts)
    check_local(share, tmp_path / "no such file")
    mounts.write_text(f"/dev/x / ext4 rw 0 0\nhost:/x {point} {kind} rw 0 0\n/dev/y {point}/inner xfs rw 0 0\n")
    check_local(share / "inner", mounts)
