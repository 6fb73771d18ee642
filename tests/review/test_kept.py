"""Sealed files: what rotted is dropped and named, what is sound stays, and a broken seal vouches for nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ecowatch.errors import StorageError
from ecowatch.review import make_plan, run_review, stages
from ecowatch.review.kept import KeptFits, drop_damaged, fit_path, seal
from ecowatch.review.tile import TileResult
from ecowatch.settings import Cluster

from ..walk.many_tiles import write_review, write_scenes


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


def test_a_fit_that_is_taken_away_meanwhile_is_told(tmp_path: Path) -> None:
    plan = make_plan(write_review(tmp_path, write_scenes(tmp_path / "scenes"))[0])
    path = fit_path(plan, plan.comparisons[0])
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    fits = KeptFits(plan)
    path.unlink()
    with pytest.raises(StorageError, match="KEPT_LOST") as refused:
        fits[plan.comparisons[0].key]
    assert path.name in str(refused.value)


def test_a_tile_that_is_taken_away_meanwhile_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"KEPT_LOST .*a\.npz"):
        TileResult.load(tmp_path / "a.npz")


def _nothing(*_arguments: object) -> None:
    pass


def test_tiles_that_are_taken_away_before_they_are_joined_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    review, _ = write_review(tmp_path, write_scenes(tmp_path / "scenes"))
    monkeypatch.setattr(stages, "_do_tile", _nothing)
    with pytest.raises(StorageError, match=r"KEPT_LOST .*\.npz"):
        run_review(review, Cluster(scheduler="threads"))
    assert not list(review.runs.rglob("flagged.gpkg"))


def test_looks_that_are_taken_away_meanwhile_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    review, _ = write_review(tmp_path, write_scenes(tmp_path / "scenes"))
    review = review.model_copy(update={"only": ("a",)})
    monkeypatch.setattr(stages, "_do_look", _nothing)
    # The change lies across an edge of such tiles.
    with pytest.raises(StorageError, match=r"KEPT_LOST .*look\."):
        run_review(review, Cluster(scheduler="threads", tile_px=64))
    assert not list(review.runs.rglob("flagged.gpkg"))
