"""Digests remembered from run to run: what is taken for unchanged, and that no memory can make one wrong."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ecowatch import digests
from ecowatch.digests import MEMORY_NAME, file_digest, file_digests, remembered
from ecowatch.errors import IntakeError
from ecowatch.intake import FileKind, admit, admit_all


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def aged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, bytes], Path]:
    """Write a file that counts as settled: the age from which a change shows is set to what the test can wait for."""
    monkeypatch.setattr(digests, "RACY_NS", 20_000_000)

    def write(name: str, data: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        time.sleep(0.03)
        return path

    return write


def kept(memory: Path) -> dict[str, str]:
    """What the file of a memory holds, read without the module under test."""
    with sqlite3.connect(memory) as connection:
        return {os.fsdecode(path): digest for path, digest in connection.execute("SELECT path, digest FROM digests_1")}


def test_a_settled_file_is_read_once_and_then_remembered(aged: Callable[[str, bytes], Path], tmp_path: Path) -> None:
    path, memory = aged("a.bin", b"first"), tmp_path / "runs" / MEMORY_NAME
    with remembered(memory):
        assert file_digest(path) == sha(b"first")
    assert kept(memory) == {str(path): sha(b"first")}
    # Another digest with a right seal is believed: proof that the second look reads no bytes.
    state = " ".join(map(str, digests._State.of(str(path))))
    with sqlite3.connect(memory) as connection:
        row = ("0" * 64, digests._seal(str(path), state, "0" * 64))
        connection.execute("UPDATE digests_1 SET digest = ?, seal = ?", row)
    connection.close()
    with remembered(memory):
        assert file_digest(path) == "0" * 64
    with remembered(None):
        assert file_digest(path) == sha(b"first")


def test_changed_bytes_with_size_and_mtime_put_back_are_noticed(
    aged: Callable[[str, bytes], Path], tmp_path: Path
) -> None:
    path, memory = aged("a.bin", b"first"), tmp_path / MEMORY_NAME
    with remembered(memory):
        file_digest(path)
    before = path.stat()
    with path.open("r+b") as stream:
        stream.write(b"other")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
    with remembered(memory):
        assert file_digest(path) == sha(b"other")


def test_another_file_under_the_same_name_is_noticed(aged: Callable[[str, bytes], Path], tmp_path: Path) -> None:
    path, memory = aged("a.bin", b"first"), tmp_path / MEMORY_NAME
    with remembered(memory):
        file_digest(path)
    other = aged("b.bin", b"other")
    os.utime(other, ns=(0, path.stat().st_mtime_ns))
    other.replace(path)
    with remembered(memory):
        assert file_digest(path) == sha(b"other")


def test_a_file_changed_just_now_is_not_kept(tmp_path: Path) -> None:
    path, memory = tmp_path / "a.bin", tmp_path / MEMORY_NAME
    path.write_bytes(b"new")
    with remembered(memory):
        assert file_digest(path) == sha(b"new")
    assert not memory.exists() or kept(memory) == {}
    # Nor is one whose time stamps lie in the future.
    os.utime(path, (time.time() + 3600, time.time() + 3600))
    with remembered(memory):
        assert file_digest(path) == sha(b"new")
    assert not memory.exists() or kept(memory) == {}


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"no database at all" * 100),
        lambda path: path.write_bytes(path.read_bytes()[:4096]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:2000] + os.urandom(4000) + path.read_bytes()[6000:]),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: path.unlink(),
    ],
    ids=["other content", "cut off", "empty", "spoiled", "a folder", "gone"],
)
def test_a_damaged_memory_costs_time_and_never_a_wrong_digest(
    aged: Callable[[str, bytes], Path], tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    paths = [aged(f"{i}.bin", bytes([i]) * 9) for i in range(8)]
    memory = tmp_path / "runs" / MEMORY_NAME
    with remembered(memory):
        file_digests(paths)
    damage(memory)
    for _ in range(2):
        with remembered(memory):
            assert file_digests(paths) == [sha(path.read_bytes()) for path in paths]
    assert memory.is_dir() or len(kept(memory)) == 8


def test_any_spoiled_byte_is_computed_anew_or_does_not_matter(
    aged: Callable[[str, bytes], Path], tmp_path: Path
) -> None:
    path, memory = aged("a.bin", b"first"), tmp_path / MEMORY_NAME
    with remembered(memory):
        file_digest(path)
    sound = memory.read_bytes()
    for place in range(0, len(sound), 7):
        memory.write_bytes(sound[:place] + bytes([sound[place] ^ 0x11]) + sound[place + 1 :])
        with remembered(memory):
            assert file_digest(path) == sha(b"first")


def test_a_memory_of_another_form_is_written_anew(aged: Callable[[str, bytes], Path], tmp_path: Path) -> None:
    path, memory = aged("a.bin", b"first"), tmp_path / MEMORY_NAME
    with sqlite3.connect(memory) as connection:
        connection.execute("CREATE TABLE digests_1 (name TEXT)")
    connection.close()
    for _ in range(2):
        with remembered(memory):
            assert file_digest(path) == sha(b"first")
    assert kept(memory) == {str(path): sha(b"first")}


def test_a_memory_that_cannot_be_written_is_done_without(aged: Callable[[str, bytes], Path]) -> None:
    path = aged("a.bin", b"first")
    with remembered(Path("/proc/no/such/folder") / MEMORY_NAME):
        assert file_digest(path) == sha(b"first")


def test_a_memory_that_another_process_holds_is_waited_for_and_then_done_without(
    aged: Callable[[str, bytes], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_LOCK_WAIT_S", 0.05)
    path, memory = aged("a.bin", b"first"), tmp_path / MEMORY_NAME
    with remembered(memory):
        file_digest(path)
    holder = sqlite3.connect(memory, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with remembered(memory):
        assert file_digest(path) == sha(b"first")
    holder.execute("ROLLBACK")
    holder.close()
    assert kept(memory) == {str(path): sha(b"first")}


def test_two_processes_at_once_keep_all_they_learnt(tmp_path: Path) -> None:
    """Each hashes files of its own and files of both; afterwards all are remembered, none wrongly."""
    memory = tmp_path / "runs" / MEMORY_NAME
    for i in range(300):
        (tmp_path / f"{i:03d}.bin").write_bytes(str(i).encode())
    script = (
        "import sys; from pathlib import Path; from ecowatch import digests\n"
        "digests.RACY_NS = 0\n"
        "folder, low, high = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])\n"
        "with digests.remembered(folder / 'runs' / digests.MEMORY_NAME):\n"
        "    digests.file_digests([folder / f'{i:03d}.bin' for i in range(low, high)])\n"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), *map(str, span)])
        for span in ((0, 200), (100, 300))
    ]
    assert [process.wait(60) for process in both] == [0, 0]
    assert kept(memory) == {str(tmp_path / f"{i:03d}.bin"): sha(str(i).encode()) for i in range(300)}


def test_a_name_that_is_no_text_is_remembered_too(aged: Callable[[str, bytes], Path], tmp_path: Path) -> None:
    path, memory = aged(os.fsdecode(b"\xff\xe4.bin"), b"first"), tmp_path / MEMORY_NAME
    with remembered(memory):
        file_digest(path)
    assert kept(memory) == {str(path): sha(b"first")}


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(1000))
    stop = threading.Event()

    def grow() -> None:
        while not stop.is_set():
            with path.open("ab") as stream:
                stream.write(b"more")

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        with pytest.raises(IntakeError, match=r"FILE_CHANGING .*a\.bin: it changed while it was read; run again"):
            for _ in range(1000):
                file_digest(path)
    finally:
        stop.set()
        writer.join()


def test_all_files_are_checked_before_the_first_is_read_whole(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text("text")
    bad.write_bytes(b"")
    with remembered(None):
        with pytest.raises(IntakeError, match="FILE_EMPTY"):
            admit_all([good, bad], roots=[tmp_path], kinds={FileKind.TEXT})
        memory = digests._current.get()
        assert memory is not None and memory.find(str(good), digests._State.of(str(good))) is None
    alone = admit(good, roots=[tmp_path], kinds={FileKind.TEXT})
    assert admit_all([good, good], roots=[tmp_path], kinds={FileKind.TEXT}) == [alone, alone]
