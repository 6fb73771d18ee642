"""Files written beside and renamed, and what killed writers leave."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ecowatch.atomic import replacing, storage_error, sweep, write_text
from ecowatch.errors import StorageError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="CANNOT_WRITE"):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_a_full_disk_is_told_apart_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    with (
        pytest.raises(StorageError, match=r"DISK_FULL .*a\.gpkg: No space left.*free space") as caught,
        replacing(path) as beside,
    ):
        for suffix in ("-journal", "-wal", "-shm"):
            Path(f"{beside}{suffix}").write_text("left by SQLite")
        with Path("/dev/full").open("w") as full:
            full.write("x")
    assert caught.value.exit_code == 73 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(28, "No space left on device"), "DISK_FULL"),
        (OSError(122, "Disk quota exceeded"), "DISK_FULL"),
        (OSError(13, "Permission denied"), "CANNOT_WRITE"),
        (RuntimeError("sqlite3_exec failed: database or disk is full"), "DISK_FULL"),
        (RuntimeError("TIFFAppendToStrip: Write error: No space left on device"), "DISK_FULL"),
        (RuntimeError("layer fullness"), "CANNOT_WRITE"),
    ],
)
def test_which_errors_mean_a_full_disk(error: Exception, code: str) -> None:
    assert storage_error(Path("x"), error).code == code


def test_what_the_family_says_is_not_said_anew(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="GPKG_INCOMPLETE"), replacing(tmp_path / "a.gpkg"):
        raise StorageError("GPKG_INCOMPLETE", "a.gpkg", "3 rows of 4", "run again")


def test_only_old_leftovers_of_the_same_file_are_swept(tmp_path: Path) -> None:
    names = (".a.k1.gpkg", ".a.k2.gpkg-journal", ".b.k3.gpkg", ".a.young.gpkg", "a.gpkg")
    day = time.time() - 90_000
    for name in names:
        (tmp_path / name).write_text("")
        if "young" not in name:
            os.utime(tmp_path / name, (day, day))
    sweep(tmp_path / "a.gpkg")
    assert {p.name for p in tmp_path.iterdir()} == {".b.k3.gpkg", ".a.young.gpkg", "a.gpkg"}
