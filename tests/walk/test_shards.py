"""A review in shards: the same bytes as in one go, whatever is missing is named, and stale plans are refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ecowatch.cli import app
from ecowatch.errors import ConfigError, ExitCode, LockedError
from ecowatch.review import (
    Shard,
    merge_review,
    plan_to_file,
    run_review,
    run_shard,
    shards_standing,
)
from ecowatch.review.lock import review_lock
from ecowatch.settings import Cluster, Review
from ecowatch.settings.example import commented_toml

from .conftest import Run
from .many_tiles import write_review, write_scenes

CLUSTER = Cluster(scheduler="threads", workers=2, tile_px=256)
OF = 3


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("many") / "scenes")


@pytest.fixture(scope="module")
def undivided(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    review, _ = write_review(tmp_path_factory.mktemp("undivided"), scenes)
    return Run(run_review(review, CLUSTER))


def planned(folder: Path, scenes: Path) -> tuple[Review, Path]:
    review, _ = write_review(folder, scenes)
    plan_to_file(review, CLUSTER, folder / "plan.jsonl")
    return review, folder / "plan.jsonl"


def test_shards_in_any_order_give_the_same_bytes(undivided: Run, scenes: Path, tmp_path: Path) -> None:
    review, path = planned(tmp_path, scenes)
    lines = len(path.read_text().splitlines())
    done = [run_shard(review, CLUSTER, path, Shard(i, OF)) for i in (2, 0, 1)]
    assert sum(shard.tiles for shard in done) == lines
    assert all(shard.exit_code == ExitCode.DONE and shard.tiles for shard in done)
    again = run_shard(review, CLUSTER, path, Shard(1, OF))
    assert again.skipped == again.tiles
    merged = Run(merge_review(review, CLUSTER, path))
    assert merged.result.exit_code == ExitCode.DONE
    # The shard that was run again found all of its tiles kept, and says so.
    tiles = merged.result.tasks["tile"]
    assert (tiles["skipped"], tiles["produced"]) == (again.tiles, lines - again.tiles)
    assert merged.result.folder.name == undivided.result.folder.name
    assert merged.digest == undivided.digest
    assert merge_review(review, CLUSTER, path).reused


def test_a_missing_shard_is_named_and_its_tiles_are_not_observed(undivided: Run, scenes: Path, tmp_path: Path) -> None:
    review, path = planned(tmp_path, scenes)
    of = [run_shard(review, CLUSTER, path, Shard(i, OF)) for i in (0, 2)]
    missing = len(path.read_text().splitlines()) - sum(shard.tiles for shard in of)
    part = Run(merge_review(review, CLUSTER, path))
    assert part.result.exit_code == ExitCode.PARTIAL
    assert part.digest != undivided.digest
    tiles = [f for f in part.result.failures if f.what.startswith("tile")]
    fits = [f for f in part.result.failures if f.what.startswith("fit")]
    assert tiles or fits
    assert {str(f.error) for f in part.result.failures} == {
        f"SHARD_MISSING shard 1/{OF}: it has not been run; run it, then merge again"
    }
    counted = part.result.tasks["tile"]
    assert counted["failed"] == missing and counted["skipped"] == 0
    assert counted["expected"] == counted["failed"] + counted["produced"]
    assert counted["produced"] == sum(shard.tasks["tile"]["produced"] for shard in of)
    # Not observed is never no change: the areas that lost tiles say so.
    short = {f.area_id for f in part.result.failures}
    shares = part.layer("area_summary").set_index("area_id").observed_share
    whole = undivided.layer("area_summary").set_index("area_id").observed_share
    assert short and (shares[list(short)] < whole[list(short)] - 0.05).all()
    # It comes in with the next merge.
    run_shard(review, CLUSTER, path, Shard(1, OF))
    assert Run(merge_review(review, CLUSTER, path)).digest == undivided.digest


def test_what_failed_in_a_shard_is_told_by_the_merge_as_an_undivided_run_tells_it(scenes: Path, tmp_path: Path) -> None:
    spoiled = shutil.copytree(scenes, tmp_path / "spoiled")
    later = spoiled / "s_20260425.tif"
    data = bytearray(later.read_bytes())
    # The last block of the file: compressed bytes of the lower right quarter of the scene.
    data[-40_000:-100] = bytes(b ^ 0x5A for b in data[-40_000:-100])
    later.write_bytes(data)
    review, path = planned(tmp_path / "parts", spoiled)
    shards = [run_shard(review, CLUSTER, path, Shard(i, OF)) for i in range(OF)]
    assert ExitCode.PARTIAL in {shard.exit_code for shard in shards}
    merged = Run(merge_review(review, CLUSTER, path))
    whole, _ = write_review(tmp_path / "whole", spoiled)
    undivided = Run(run_review(whole, CLUSTER))
    assert merged.result.exit_code == undivided.result.exit_code == ExitCode.PARTIAL
    assert merged.result.failures == undivided.result.failures and merged.result.failures
    assert all("RASTER_UNREADABLE" in str(f.error) for f in merged.result.failures)
    assert merged.digest == undivided.digest
    # Their accounts, joined, are those of the run in one go.
    assert merged.result.tasks == undivided.result.tasks and merged.result.tasks["tile"]["failed"]
    record = json.loads((merged.result.folder / "run.json").read_text("utf-8"))
    assert record["tasks"]["stages"] == merged.result.tasks


def test_a_plan_of_other_settings_is_refused_before_anything_is_done(scenes: Path, tmp_path: Path) -> None:
    review, path = planned(tmp_path, scenes)
    other = review.model_copy(update={"only": ("a",)})
    for act in (lambda: run_shard(other, CLUSTER, path, Shard(0, OF)), lambda: merge_review(other, CLUSTER, path)):
        with pytest.raises(ConfigError, match=r"PLAN_STALE .*it was made for run") as caught:
            act()
        assert caught.value.exit_code == ExitCode.BAD_CONFIG
    finer = CLUSTER.model_copy(update={"tile_px": 128})
    for act in (lambda: run_shard(review, finer, path, Shard(0, OF)), lambda: merge_review(review, finer, path)):
        with pytest.raises(ConfigError, match=r"PLAN_STALE .*another tile_px"):
            act()
    half = tmp_path / "half.jsonl"
    half.write_text("".join(path.read_text("utf-8").splitlines(keepends=True)[::2]), "utf-8")
    with pytest.raises(ConfigError, match=r"PLAN_STALE .*missing"):
        run_shard(review, CLUSTER, half, Shard(0, OF))
    assert not list((tmp_path / "runs").rglob("*.npz"))


def test_shards_run_beside_one_another_but_not_beside_a_run(scenes: Path, tmp_path: Path) -> None:
    review, path = planned(tmp_path, scenes)
    folder = review.runs / review.name
    with review_lock(folder, shared=True):
        assert run_shard(review, CLUSTER, path, Shard(0, OF)).exit_code == ExitCode.DONE
        with pytest.raises(LockedError, match="REVIEW_LOCKED"):
            merge_review(review, CLUSTER, path)
    with review_lock(folder), pytest.raises(LockedError, match="REVIEW_LOCKED"):
        run_shard(review, CLUSTER, path, Shard(1, OF))


def test_status_tells_of_every_shard_that_was_begun(scenes: Path, tmp_path: Path) -> None:
    review, path = planned(tmp_path, scenes)
    toml, folder = str(tmp_path / "review.toml"), review.runs / review.name
    done = run_shard(review, CLUSTER, path, Shard(0, OF))

    def stop(_: str, step: str, *__: int) -> None:
        if step == "tile":
            raise SystemExit(75)

    with pytest.raises(SystemExit):
        run_shard(review, CLUSTER, path, Shard(2, OF), progress=stop)
    shards = json.loads(CliRunner().invoke(app, ["status", toml, "--json"]).stdout)["review"]["shards"]
    assert {name: told["state"] for name, told in shards.items()} == {f"0/{OF}": "done", f"2/{OF}": "stopped"}
    tiles = shards[f"0/{OF}"]["stages"]["tile"]
    assert (tiles["expected"], tiles["produced"], tiles["left"]) == (done.tiles, done.tiles, 0)
    assert shards[f"2/{OF}"]["exit_code"] == 75 and shards[f"2/{OF}"]["stages"]["tile"]["left"] > 0
    words = CliRunner().invoke(app, ["status", toml, "--lang", "en"]).stdout
    assert f"shards: 2 of {OF} begun" in words and "no run yet" in words
    (book,) = folder.glob("shards/*")
    with review_lock(book / f"1_of_{OF}"), pytest.raises(LockedError, match="REVIEW_LOCKED"):
        run_shard(review, CLUSTER, path, Shard(1, OF))
    # Once the whole is done otherwise, and as another run, they are of no interest.
    run_review(review.model_copy(update={"only": ("a",)}), CLUSTER)
    assert shards_standing(folder) == {}


def test_a_shard_whose_fit_is_gone_makes_it_anew(scenes: Path, tmp_path: Path) -> None:
    review, path = planned(tmp_path, scenes)
    first = run_shard(review, CLUSTER, path, Shard(0, 1))
    (tmp_path / "runs").glob("many/work/*/*/fit.*").__next__().unlink()
    again = run_shard(review, CLUSTER, path, Shard(0, 1))
    assert again.skipped == again.tiles == first.tiles
    assert again.tasks["fit"]["produced"] == 1 and again.tasks["fit"]["skipped"] == first.tasks["fit"]["produced"] - 1


def test_a_kept_tile_that_rotted_is_told_by_the_merge(undivided: Run, scenes: Path, tmp_path: Path) -> None:
    review, path = planned(tmp_path, scenes)
    for i in range(OF):
        run_shard(review, CLUSTER, path, Shard(i, OF))
    merge_review(review, CLUSTER, path)
    rotten = sorted((tmp_path / "runs").rglob("*.npz"))[0]
    digest = hashlib.sha256(rotten.read_bytes()).digest()
    rotten.write_bytes(rotten.read_bytes()[:-1] + b"x")
    for product in (tmp_path / "runs" / review.name).glob("*/run.json"):
        product.unlink()
    part = merge_review(review, CLUSTER, path)
    assert part.exit_code == ExitCode.PARTIAL and "its result is gone" in str(part.failures[0].error)
    for i in range(OF):
        run_shard(review, CLUSTER, path, Shard(i, OF))
    assert hashlib.sha256(rotten.read_bytes()).digest() == digest
    assert Run(merge_review(review, CLUSTER, path)).digest == undivided.digest


def test_wrong_usage_of_shards(tmp_path: Path) -> None:
    review = tmp_path / "none.toml"
    for words, told in (
        (["--shard", "0/3"], "one without the other"),
        (["--plan", "p.jsonl"], "one without the other"),
        (["--plan", "p.jsonl", "--shard", "3/3"], "they count from 0"),
        (["--plan", "p.jsonl", "--shard", "0/3", "--ledger", "l.toml"], "ecowatch merge"),
    ):
        done = CliRunner().invoke(app, ["run", str(review), *words], env={"COLUMNS": "200"})
        assert done.exit_code == ExitCode.USAGE and told in " ".join(done.output.split())


def test_the_commands_end_as_a_run_does(undivided: Run, scenes: Path, tmp_path: Path) -> None:
    review, plan = planned(tmp_path, scenes)
    metrics = tmp_path / "m.prom"
    notify = f'[notify]\nmetrics = "{metrics}"\n'
    (tmp_path / "cluster.toml").write_text(commented_toml(CLUSTER, title="threads") + notify, "utf-8")
    common = [str(tmp_path / "review.toml"), "--cluster", str(tmp_path / "cluster.toml"), "--plan", str(plan)]
    tiles = len(plan.read_text("utf-8").splitlines())
    run = CliRunner().invoke(app, ["run", *common, "--shard", "0/1", "--lang", "en"])
    assert (
        run.exit_code == ExitCode.DONE and f"shard 0/1: {tiles} tiles, 0 of them done before, 0 failures" in run.output
    )
    merged = CliRunner().invoke(app, ["merge", *common, "--lang", "zh"])
    assert merged.exit_code == ExitCode.DONE and "flagged.gpkg" in merged.output
    # A shard is a part: the merge is the end of the review, and told.
    assert (
        f'ecowatch_tasks{{period="2026H1",review="many",stage="tile",state="produced"}} {tiles}.0'
        in metrics.read_text()
    )
    package = next((review.runs / review.name).glob("*/flagged.gpkg"))
    assert hashlib.sha256(package.read_bytes()).hexdigest() == undivided.digest
    plan.write_text("", "utf-8")
    refused = CliRunner().invoke(app, ["merge", *common])
    assert refused.exit_code == ExitCode.BAD_INPUT and "PLAN_EMPTY" in refused.output
    told = metrics.read_text()
    assert 'ecowatch_exit_code{period="2026H1",review="many"} 65.0' in told
    assert "ecowatch_last_success_timestamp_seconds{" in told


def test_a_review_file_that_cannot_be_read_is_told_to_whom_the_cluster_file_names(tmp_path: Path) -> None:
    metrics = tmp_path / "m.prom"
    (tmp_path / "cluster.toml").write_text(f'[notify]\nmetrics = "{metrics}"\n')
    (tmp_path / "nightly.toml").write_text("runz = 1\n")
    command = ["run", str(tmp_path / "nightly.toml"), "--cluster", str(tmp_path / "cluster.toml")]
    assert CliRunner().invoke(app, command).exit_code == ExitCode.BAD_CONFIG
    assert 'ecowatch_exit_code{period="",review="nightly"} 78.0' in metrics.read_text()
