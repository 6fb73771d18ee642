"""Bad input: a coded line that names file, finding and remedy; the right exit code; the rest goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from click.testing import Result
from typer.testing import CliRunner

import ecowatch.review
from ecowatch.cli import app
from ecowatch.errors import ExitCode
from ecowatch.grid import Grid
from ecowatch.raster import write_geotiff
from ecowatch.settings import Cluster, Review

from .conftest import ROOT, Reviewer, demo_review, run


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own: seconds for imports alone, so only where streams and exit code are the matter."""
    return subprocess.run(
        [sys.executable, "-m", "ecowatch", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"LANG": "C.UTF-8"},
        check=False,
    )


def command(*arguments: str) -> Result:
    """The command in this process; an error that is not told in a line is raised."""
    return CliRunner(env={"LANG": "C.UTF-8"}).invoke(app, list(arguments), catch_exceptions=False)


@pytest.fixture
def review_file(sample: Path, tmp_path: Path) -> Path:
    """The shipped review of the UAV area alone, over a copy of the sample: a few seconds a run."""
    copy = tmp_path / "demo"
    shutil.copytree(sample, copy)
    shutil.copytree(ROOT / "pipelines", tmp_path / "pipelines")
    text = (ROOT / "configs" / "half_yearly.toml").read_text("utf-8")
    text = text.replace("../sample_data/demo", "demo").replace('"../runs"', '"runs"')
    text = text.replace('"../pipelines"', '"pipelines"').replace("only = []", 'only = ["demo-redline"]')
    path = tmp_path / "review.toml"
    path.write_text(text, "utf-8")
    (tmp_path / "cluster.toml").write_text('scheduler = "threads"\nworkers = 1\n')
    return path


def arguments_of(path: Path) -> list[str]:
    return ["run", str(path), "--cluster", str(path.parent / "cluster.toml")]


def run_file(path: Path) -> Result:
    return command(*arguments_of(path))


def test_help_answers_without_numpy() -> None:
    code = (
        "import sys; sys.argv = ['ecowatch', '--help']\n"
        "from ecowatch.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'numpy', 'rasterio', 'geopandas', 'distributed', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "run" in done.stdout and "plan" in done.stdout


LEAN = """
import sys
from ecowatch.cli import main
from ecowatch.cli.lean import lean_imports
unasked = ["boto3", "jinja2", "geopandas", "pandas", "pyarrow"]
def told():
    with lean_imports():
        import ecowatch.report, ecowatch.review
    print(*[name for name in unasked if name in sys.modules])
sys.argv = ["ecowatch", "version"]
{first}
told()
import boto3, geopandas, pyarrow
"""


def test_a_review_begins_without_what_nobody_asked_for() -> None:
    """In the program; whoever calls its commands has their own packages whole."""

    def said(first: str) -> list[str]:
        code = LEAN.format(first=first)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1].split()

    assert said("try: main()\nexcept SystemExit: pass") == []
    assert "geopandas" in said("")


def test_an_unknown_key_is_bad_configuration(review_file: Path) -> None:
    review_file.write_text(review_file.read_text("utf-8").replace("quicklook", "quiklook"), "utf-8")
    done = process(*arguments_of(review_file))
    assert done.returncode == ExitCode.BAD_CONFIG and done.stdout == ""
    assert "review.toml" in done.stderr and "output.quiklook" in done.stderr
    assert "did you mean 'quicklook'?" in done.stderr


@pytest.mark.parametrize(
    "old", ["demo/sentinel2", "demo/redline.geojson", 'roots = ["demo"', 'pipelines = "pipelines"']
)
def test_a_missing_path_is_bad_configuration(review_file: Path, old: str) -> None:
    text = review_file.read_text("utf-8")
    assert old in text
    review_file.write_text(text.replace(old, old.rstrip('"') + "x" + ('"' if old.endswith('"') else "")), "utf-8")
    done = run_file(review_file)
    assert done.exit_code == ExitCode.BAD_CONFIG, done.stderr
    assert "MISSING" in done.stderr and "Traceback" not in done.stderr


def test_no_overlap_is_bad_input(review_file: Path) -> None:
    path = review_file.parent / "demo" / "redline.geojson"
    areas = geopandas.read_file(path)
    areas["geometry"] = areas.geometry.translate(xoff=5)
    areas.to_file(path, driver="GeoJSON")
    done = run_file(review_file)
    assert done.exit_code == ExitCode.BAD_INPUT
    assert "NO_OVERLAP" in done.stderr and "redline.geojson" in done.stderr and "CRS" in done.stderr


@pytest.mark.parametrize("content", [b"", b"{", b"<html></html>", b"SQLite format 3\0broken"])
def test_an_unreadable_boundary_is_bad_input(review_file: Path, content: bytes) -> None:
    (review_file.parent / "demo" / "redline.geojson").write_bytes(content)
    done = run_file(review_file)
    assert done.exit_code == ExitCode.BAD_INPUT, done.stderr
    assert "redline.geojson" in done.stderr and "Traceback" not in done.stderr


def test_an_unknown_area_is_named_with_the_known_ones(review_file: Path) -> None:
    done = command("rerun", str(review_file), "--area", "nowhere")
    assert done.exit_code == ExitCode.BAD_INPUT
    assert "nowhere" in done.stderr and "demo-reserve" in done.stderr


@pytest.mark.parametrize(
    ("words", "scheduler"),
    [
        (("--area", "demo-reserve"), "threads"),
        (("--area", "demo-reserve", "--area", "demo-redline"), "processes"),
        (("--area", "demo-reserve", "--cluster", "place.toml"), "processes"),
    ],
)
def test_one_area_alone_needs_no_processes(
    review_file: Path, words: tuple[str, ...], scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[Cluster] = []

    def begun(_: Review, place: Cluster, **_more: object) -> None:
        places.append(place)
        raise SystemExit(0)

    monkeypatch.setattr(ecowatch.review, "run_review", begun)
    monkeypatch.chdir(review_file.parent)
    Path("place.toml").write_text("workers = 3\n", "utf-8")
    assert command("rerun", str(review_file), *words).exit_code == 0
    assert [place.scheduler for place in places] == [scheduler]
    assert places[0].workers == (3 if "--cluster" in words else Cluster().workers)


def test_an_unreadable_scene_is_quarantined_and_the_review_goes_on(review_file: Path) -> None:
    """A third, cut-off scene: the pair of sound ones is still compared, and the exit code says what happened."""
    uav = review_file.parent / "demo" / "uav"
    sound = sorted(uav.glob("*.tif"))
    broken = uav / "uav_20260601.tif"
    broken.write_bytes(sound[-1].read_bytes()[:300_000])
    done = run_file(review_file)
    assert done.exit_code == ExitCode.PARTIAL, done.stderr
    assert "RASTER_TRUNCATED" in done.stderr and broken.name in done.stderr and "fetch it again" in done.stderr
    (package,) = review_file.parent.glob("runs/half_yearly/*/flagged.gpkg")
    assert len(geopandas.read_file(package, layer="patch")) >= 4
    record = json.loads((package.parent / "run.json").read_text("utf-8"))
    assert [q["code"] for q in record["quarantined"]] == ["RASTER_TRUNCATED"]
    assert record["exit_code"] == 3


def test_all_scenes_of_a_date_unreadable_leaves_the_area_not_observed(review_file: Path) -> None:
    for path in (review_file.parent / "demo" / "uav").glob("uav_2026*.tif"):
        path.write_bytes(b"<!DOCTYPE html>")
    done = run_file(review_file)
    assert done.exit_code == ExitCode.PARTIAL
    assert "HTML page" in done.stderr
    (package,) = review_file.parent.glob("runs/half_yearly/*/flagged.gpkg")
    summary = geopandas.read_file(package, layer="area_summary").iloc[0]
    assert summary.observed_share == 0 and summary.not_observed_ha == summary.area_ha
    assert geopandas.read_file(package, layer="not_observed").iloc[0].reason == "no_pair"


def test_logs_as_json(review_file: Path) -> None:
    done = process(*arguments_of(review_file), "--log", "json")
    assert done.returncode == ExitCode.DONE, done.stderr
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert {"progress", "row", "result"} <= {e["event"] for e in events}


def test_a_stopped_run_says_try_again_and_then_completes(review_file: Path) -> None:
    """SIGTERM in the middle, as SLURM sends it: exit 75, no half-made product, and the same command completes."""
    arguments = [*arguments_of(review_file), "--log", "json"]
    with subprocess.Popen(
        [sys.executable, "-m", "ecowatch", *arguments], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as stopped:
        assert stopped.stderr is not None
        assert '"fit"' in next(line for line in stopped.stderr if '"progress"' in line)
        stopped.terminate()
        stopped.stderr.read()
    assert stopped.returncode == ExitCode.TRY_AGAIN
    assert list(review_file.parent.glob("runs/half_yearly/*/flagged.gpkg")) == []
    assert run_file(review_file).exit_code == ExitCode.DONE


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_an_interrupted_run_says_so_in_one_line(review_file: Path, tmp_path: Path, kind: str) -> None:
    """A terminal sends SIGINT to all processes of the group: workers too, which the program ends in good order."""
    cluster = tmp_path / "cluster.toml"
    cluster.write_text(f'scheduler = "{kind}"\ntile_px = 64\n')
    arguments = ["run", str(review_file), "--cluster", str(cluster), "--lang", "en"]
    with subprocess.Popen(
        [sys.executable, "-m", "ecowatch", *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as stopped:
        assert stopped.stderr is not None
        assert any("(1/" in line for line in stopped.stderr)
        os.killpg(stopped.pid, signal.SIGINT)
        told = [line for line in stopped.stderr if "demo-redline: " not in line]
    assert stopped.returncode == ExitCode.INTERRUPTED
    assert told == ["interrupted; finished work is kept, run it again to go on\n"]
    (accounts,) = review_file.parent.glob("runs/half_yearly/accounts.json")
    assert json.loads(accounts.read_text("utf-8"))["error"] == "SIGINT: it was interrupted"
    assert run_file(review_file).exit_code == ExitCode.DONE


def test_plan_is_printed_and_written(review_file: Path) -> None:
    done = command("plan", str(review_file), "--lang", "zh")
    assert done.exit_code == ExitCode.DONE, done.stderr
    assert "1 新 / 0 跳过 / 0 重算" in done.stdout
    (line,) = (review_file.parent / "runs" / "half_yearly" / "plan.jsonl").read_text("utf-8").splitlines()
    row = json.loads(line)
    assert (row["area_id"], row["status"]) == ("demo-redline", "new") and row["megabytes"] > 0


def test_text_from_outside_stays_text(review_file: Path) -> None:
    path = review_file.parent / "demo" / "redline.geojson"
    areas = geopandas.read_file(path)
    hostile = "../../=cmd|'/C calc'!A0 <script>\"; DROP TABLE patch;--"
    areas.loc[areas.area_id == "demo-redline", ["area_id", "name"]] = [hostile, hostile]
    areas.to_file(path, driver="GeoJSON")
    review_file.write_text(review_file.read_text("utf-8").replace('only = ["demo-redline"]', "only = []"), "utf-8")
    shutil.rmtree(review_file.parent / "demo" / "sentinel2")
    (review_file.parent / "demo" / "sentinel2").mkdir()
    done = run_file(review_file)
    assert done.exit_code == ExitCode.DONE, done.stderr
    (package,) = review_file.parent.glob("runs/half_yearly/*/flagged.gpkg")
    assert (geopandas.read_file(package, layer="patch").area_id == hostile).all()
    outside = [p for p in review_file.parent.parent.rglob("*cmd*") if not p.is_relative_to(review_file.parent / "runs")]
    assert outside == []


def write_pair(folder: Path, *, block: int = 512, blocks: int = 3, shift: int = 0) -> Grid:
    """Two dates of three bands, several blocks wide, with a bright square that is new."""
    rng = np.random.default_rng(1)
    side = block * blocks
    grid = Grid.from_parts("EPSG:32650", (10, 0, 600_000, 0, -10, 3_400_000), (side, side))
    coarse = rng.normal(0, 400, (3, side // 4 + 8, side // 4 + 8)).repeat(4, 1).repeat(4, 2)
    for number, day in enumerate(("20250420", "20260425")):
        moved = coarse[:, number * shift : side + number * shift, :side]
        values = 1500 + moved + rng.normal(0, 20, (3, side, side))
        if number:
            values[:, 700:740, 200:240] += 3000
        write_geotiff(folder / f"scene_{day}.tif", np.clip(values, 1, 9999).astype(np.uint16), grid, nodata=0)
    return grid


PLAIN = {
    "product": "geotiff",
    "sensor": "plain",
    "bands": [{"role": r, "index": i, "scale": 1e-4} for i, r in enumerate(("red", "green", "blue"), 1)],
}


def test_a_failed_tile_is_a_row_and_not_a_crash(tmp_path: Path, reviewer: Reviewer) -> None:
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    grid = write_pair(scenes)
    path = scenes / "scene_20260425.tif"
    data = bytearray(path.read_bytes())
    # The last blocks of the file are those of the last tile: spoil their compressed bytes.
    data[-60_000:-100] = bytes(b ^ 0x5A for b in data[-60_000:-100])
    path.write_bytes(data)
    review = reviewer(scenes, shapely.box(*grid.bounds).buffer(-100), "EPSG:32650", PLAIN)
    made = run(review, tile_px=512)
    # Tiles above and left of the spoiled block end before they would need its rim.
    assert len(made.result.failures) == 1
    for failure in made.result.failures:
        assert "RASTER_UNREADABLE" in str(failure.error) and path.name in str(failure.error)
    assert made.result.exit_code == ExitCode.PARTIAL
    row = made.layer("area_summary").iloc[0]
    assert row.failed_ha == pytest.approx((1024 - 496 - 10) ** 2 / 100, rel=0.001)
    assert row.observed_ha + row.not_observed_ha + row.failed_ha == pytest.approx(row.area_ha, abs=1e-3)
    assert "failed" in set(made.layer("not_observed").reason)
    assert len(made.layer()) == 1, "the other tiles are complete"


def test_a_pair_too_far_apart_is_refused(tmp_path: Path, reviewer: Reviewer) -> None:
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    grid = write_pair(scenes, blocks=1, shift=14)
    made = run(reviewer(scenes, shapely.box(*grid.bounds).buffer(-200), "EPSG:32650", PLAIN))
    row = made.layer("area_summary").iloc[0]
    assert "SHIFT_TOO_LARGE" in row.note and "at most 10.0 px" in row.note
    assert row.observed_share == 0 and made.result.exit_code == ExitCode.PARTIAL


def test_a_run_with_failures_is_taken_up_again(sample: Path, tmp_path: Path) -> None:
    review = demo_review(sample, tmp_path, only=("demo-redline",))
    first = run(review)
    record = first.result.folder / "run.json"
    told = json.loads(record.read_text("utf-8")) | {"failures": [{"what": "tile"}]}
    record.write_text(json.dumps(told), "utf-8")
    again = run(review)
    assert not again.result.reused and again.digest == first.digest
