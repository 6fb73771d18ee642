"""Sealed files: what rotted is dropped and named, what is sound stays, and a broken seal vouches for nothing."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from ecowatch.errors import StorageError
from ecowatch.review import make_plan, pair, run_review, stages
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
        seal(kept / "_DONE.x.json", [victim])


def test_what_is_computed_anew_is_not_measured_by_the_old_seal(kept: Path) -> None:
    """A tile that holds other looks than before is as good: neither a shard nor a merge may take it away."""
    (kept / "a.npz").write_bytes(b"rotten")
    (kept / "b.npz").unlink()
    assert drop_damaged(kept / "_DONE.x.json") == ("a.npz",)
    for name in ("a.npz", "b.npz"):
        (kept / name).write_bytes(b"computed anew")
    assert drop_damaged(kept / "_DONE.x.json") == ()
    assert sorted(json.loads((kept / "_DONE.x.json").read_text())) == ["fit.json"]


def test_tiles_of_another_size_stay_sealed(kept: Path) -> None:
    (kept / "c.npz").write_bytes(b"of another size")
    seal(kept / "_DONE.x.json", [kept / "c.npz", kept / "fit.json"])
    (kept / "a.npz").write_bytes(b"rotten")
    assert drop_damaged(kept / "_DONE.x.json") == ("a.npz",)


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
        fits[0]
    assert path.name in str(refused.value)


def test_a_tile_that_is_taken_away_meanwhile_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"KEPT_LOST .*a\.npz"):
        TileResult.load(tmp_path / "a.npz")


def test_a_result_that_cannot_be_understood_is_told_once_and_computed_anew(tmp_path: Path) -> None:
    """Cut before it was sealed: a run that was stopped sealed nothing."""
    review, _ = write_review(tmp_path, write_scenes(tmp_path / "scenes"))
    cluster = Cluster(scheduler="threads", tile_px=256)
    sound = run_review(review, cluster)
    whole = (sound.folder / "flagged.gpkg").read_bytes()
    for pattern in ("*.npz", "fit.*", "look.*"):
        shutil.rmtree(sound.folder)
        for sealed in review.runs.rglob("_DONE*"):
            sealed.unlink()
        victim = max(review.runs.rglob(pattern))
        victim.write_bytes(victim.read_bytes()[:-9])
        with pytest.raises(StorageError, match=f"KEPT_DAMAGED .*{victim.name}"):
            run_review(review, cluster)
        assert not victim.exists()
        again = run_review(review, cluster)
        assert again.exit_code == 0 and (again.folder / "flagged.gpkg").read_bytes() == whole


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"failures": []}', '{"failures": [], "products": 1, "exit_code": 0}']
)
def test_a_run_whose_record_cannot_be_read_is_not_complete(tmp_path: Path, text: str) -> None:
    review, _ = write_review(tmp_path, write_scenes(tmp_path / "scenes"))
    cluster = Cluster(scheduler="threads")
    first = run_review(review, cluster)
    (first.folder / "run.json").write_text(text)
    again = run_review(review, cluster)
    assert not again.reused and again.exit_code == 0
    assert run_review(review, cluster).reused


def test_what_was_published_stays_until_all_of_the_new_is_there(tmp_path: Path) -> None:
    review, _ = write_review(tmp_path, write_scenes(tmp_path / "scenes"))
    cluster = Cluster(scheduler="threads")
    folder = run_review(review, cluster, products=[_note]).folder
    record = json.loads((folder / "run.json").read_text("utf-8"))
    # As of a run that was published with failures: it is taken up again.
    (folder / "run.json").write_text(json.dumps(record | {"failures": [{}]}))
    (folder / "notes").mkdir()
    (folder / "mine.txt").write_text("the user's")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    def refuse(*_: object) -> None:
        raise StorageError("DISK_FULL", "x", "full", "free space")

    with pytest.raises(StorageError, match="DISK_FULL"):
        run_review(review, cluster, products=[refuse])
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    again = run_review(review, cluster)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["flagged.gpkg", "mine.txt", "notes", "run.json"], "a product that is not made any more is gone"
    assert list(json.loads((again.folder / "run.json").read_text("utf-8"))["products"]) == ["flagged.gpkg"]


def test_the_folder_of_the_runs_may_have_any_name(tmp_path: Path) -> None:
    review, _ = write_review(tmp_path, write_scenes(tmp_path / "scenes"))
    review = review.model_copy(update={"runs": tmp_path / "H1 #2?mode=rwc&%41"})
    assert run_review(review, Cluster(scheduler="threads")).exit_code == 0


def test_results_of_other_libraries_are_computed_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    review, _ = write_review(tmp_path, write_scenes(tmp_path / "scenes"))
    before = make_plan(review)
    monkeypatch.setattr(pair, "library_versions", lambda: {"gdal_raster": "9.9.9"})
    pair.code_digest.cache_clear()
    try:
        after = make_plan(review)
        assert after.run_id != before.run_id
        assert {c.key for c in after.comparisons}.isdisjoint(c.key for c in before.comparisons)
    finally:
        pair.code_digest.cache_clear()


def _note(folder: Path, *_: object) -> None:
    (folder / "note.txt").write_text("a product")


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
