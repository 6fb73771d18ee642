"""Files written beside and renamed, and what killed writers leave."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ecowatch.atomic import replacing, sweep, write_text
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


def test_only_old_leftovers_of_the_same_file_are_swept(tmp_path: Path) -> None:
    names = (".a.k1.gpkg", ".a.k2.gpkg-journal", ".b.k3.gpkg", ".a.young.gpkg", "a.gpkg")
    day = time.time() - 90_000
    for name in names:
        (tmp_path / name).write_text("")
        if "young" not in name:
            os.utime(tmp_path / name, (day, day))
    sweep(tmp_path / "a.gpkg")
    assert {p.name for p in tmp_path.iterdir()} == {".b.k3.gpkg", ".a.young.gpkg", "a.gpkg"}
