"""Sealed files: what rotted is dropped and named, what is sound stays, and a broken seal vouches for nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ecowatch.review.kept import drop_damaged, seal


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    for name in ("a.npz", "b.npz", "fit.json"):
        (tmp_path / name).write_bytes(random.Random(name).randbytes(400))
    seal(tmp_path / "_DONE.x.json", sorted(tmp_path.glob("[abf]*")))
    return tmp_path


def test_sound_files_stay(kept: Path) -> None:
    assert drop_damaged(kept / "_DONE.x.json") == ()
    assert len(list(kept.iterdir())) == 4


def test_any_changed_byte_is_found(kept: Path) -> None:
    rng = random.Random(1)
    for _ in range(200):
        victim = kept / rng.choice(("a.npz", "b.npz", "fit.json"))
        sound = victim.read_bytes()
        changed = bytearray(sound)
        changed[rng.randrange(len(sound))] ^= 1 << rng.randrange(8)
        victim.write_bytes(changed)
        assert drop_damaged(kept / "_DONE.x.json") == (victim.name,)
        assert not victim.exists()
        victim.write_bytes(sound)


def test_a_cut_file_is_found_and_a_missing_one_is_merely_absent(kept: Path) -> None:
    (kept / "a.npz").write_bytes((kept / "a.npz").read_bytes()[:-1])
    (kept / "b.npz").unlink()
    assert drop_damaged(kept / "_DONE.x.json") == ("a.npz",)


def test_a_seal_leads_nowhere_else(kept: Path) -> None:
    outside = kept.parent / "outside.txt"
    outside.write_text("stays")
    (kept / "_DONE.x.json").write_text('{"../outside.txt": [1, "0"]}')
    drop_damaged(kept / "_DONE.x.json")
    assert outside.read_text() == "stays"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a.npz": 3}'])
def test_a_broken_seal_is_dropped(kept: Path, text: str) -> None:
    (kept / "_DONE.x.json").write_text(text)
    assert drop_damaged(kept / "_DONE.x.json") == ("_DONE.x.json",)
    assert (kept / "a.npz").exists() and not (kept / "_DONE.x.json").exists()
