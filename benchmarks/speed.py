"""Decode-only against end to end, of the same bytes on the same workers, in one run.

``python benchmarks/speed.py --size 10980 --data bench_data`` makes the pair once (`make_pair.py`) and then, round by round
in turn, decodes both dates through rasterio in aligned windows of 1024 pixels and carries out the whole review to the
GeoPackage. Figures are medians over the rounds; the ratio is what counts, since the machine may be shared. Peak memory is
that of the largest single process, read from the kernel's own high-water mark.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import rasterio
from rasterio.windows import Window

HERE = Path(__file__).parent
WINDOW_PX = 1024


def decode(job: tuple[str, list[tuple[int, int, int, int]]]) -> int:
    """Read every window of one file, all bands, as a user of rasterio would; return the pixels read."""
    path, windows = job
    pixels = 0
    with rasterio.Env(GDAL_CACHEMAX=64), rasterio.open(path) as dataset:
        for col, row, width, height in windows:
            pixels += dataset.read(window=Window(col, row, width, height)).size
    return pixels


def decode_only(folder: Path, workers: int) -> float:
    """Seconds to decode all rasters of the pair with `workers` processes (pool start included, as in a run)."""
    jobs = []
    for path in sorted(folder.glob("*.tif")):
        with rasterio.open(path) as dataset:
            width, height = dataset.width, dataset.height
        grid = [
            (c, r, min(WINDOW_PX, width - c), min(WINDOW_PX, height - r))
            for r in range(0, height, WINDOW_PX)
            for c in range(0, width, WINDOW_PX)
        ]
        half = len(grid) // 2
        jobs += [(str(path), grid[:half]), (str(path), grid[half:])]
    start = time.perf_counter()
    if workers == 1:
        for job in jobs:
            decode(job)
    else:
        with ProcessPoolExecutor(workers) as pool:
            list(pool.map(decode, jobs))
    return time.perf_counter() - start


REVIEW = """
name = "speed"
period = "2026H1"
roots = ["{data}"]
runs = "{runs}"
pipelines = "{pipelines}"
[[areas]]
path = "{data}/areas.geojson"
id_field = "area_id"
[[sources]]
path = "{data}/items.json"
product = "stac"
[output]
quicklook = false
"""

# Runs in a process of its own, so that imports and memory are those of a run and nothing else.
END_TO_END = """
import json, resource, sys, time
start = time.perf_counter()
from pathlib import Path
from ecowatch.review import run_review
from ecowatch.settings import Cluster, Review, load
imported = time.perf_counter()
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
steps = {}
def progress(area, step, done, total):
    steps[step] = time.perf_counter() - imported
if __name__ == "__main__":
    cluster = Cluster(scheduler=sys.argv[3], workers=int(sys.argv[2]), memory_limit="4GiB")
    result = run_review(load(Review, Path(sys.argv[1])), cluster, progress=progress)
    assert not result.failures, result.failures
    assert all(r.comparison for r in result.results), [r.note for r in result.results]
    done = time.perf_counter()
    usage = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps({"run": done - imported, "imports": imported - start, "imports_mb": base, "steps": steps,
        "self_mb": usage[0], "worker_mb": usage[1], "patches": sum(len(r.patches) for r in result.results)}))
"""


def end_to_end(folder: Path, workers: int, scheduler: str) -> dict[str, Any]:
    """One whole review from nothing kept; seconds, megabytes and the number of patches."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        review, script = Path(scratch) / "review.toml", Path(scratch) / "run.py"
        pipelines = HERE.parent / "pipelines"
        review.write_text(REVIEW.format(data=folder.resolve(), runs=Path(scratch) / "runs", pipelines=pipelines))
        script.write_text(END_TO_END)
        done = subprocess.run(
            [sys.executable, str(script), str(review), str(workers), scheduler],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise SystemExit(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def prepared(folder: Path, size: int) -> Path:
    """The pair of the wanted size, made where it is not there yet."""
    target = folder / f"pair_{size}"
    if not (target / "items.json").exists():
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run([sys.executable, str(HERE / "make_pair.py"), str(size), str(target)], check=True)
    return target


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=10980, help="side of the pair in pixels")
    parser.add_argument("--data", type=Path, default=Path("bench_data"), help="folder for the pair")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scheduler", choices=("processes", "threads"), default="processes")
    options = parser.parse_args()
    folder = prepared(options.data, options.size)
    end_to_end(folder, options.workers, options.scheduler)  # warms the page cache and the compiled kernels
    decodes, runs = [], []
    for _ in range(options.rounds):
        decodes.append(decode_only(folder, options.workers))
        runs.append(end_to_end(folder, options.workers, options.scheduler))
    report(options, folder, decodes, runs)


def report(options: argparse.Namespace, folder: Path, decodes: list[float], runs: list[dict[str, Any]]) -> None:
    """Print the table and the versions, and keep the figures in ``bench.json``."""
    ratios = [run["run"] / decode for run, decode in zip(runs, decodes, strict=True)]
    size_mb = sum(p.stat().st_size for p in folder.glob("*.tif")) / 1e6
    worker_mb = max(run["worker_mb"] if options.scheduler == "processes" else run["self_mb"] for run in runs)
    figures = {
        "decode_only_s": round(statistics.median(decodes), 2),
        "end_to_end_s": round(statistics.median(run["run"] for run in runs), 2),
        "end_to_end_over_decode_rasterio": round(statistics.median(ratios), 3),
        "peak_worker_mb": round(worker_mb),
        "peak_coordinator_mb": round(max(run["self_mb"] for run in runs)),
        "imports_s": round(statistics.median(run["imports"] for run in runs), 2),
        "fit_done_s": round(statistics.median(run["steps"].get("fit", 0) for run in runs), 2),
        "tiles_done_s": round(statistics.median(run["steps"].get("tile", 0) for run in runs), 2),
        "patches": runs[0]["patches"],
    }
    print(f"\n{options.size} x {options.size} px, 6 bands, 2 dates, {size_mb:.0f} MB on disk;", end=" ")
    print(f"{options.workers} {options.scheduler}, {options.rounds} rounds in turn, medians")
    for name, value in figures.items():
        print(f"  {name:34s} {value}")
    print(f"  python {platform.python_version()}, rasterio {rasterio.__version__}, GDAL {rasterio.__gdal_version__}")
    print(f"  own high-water mark of this script {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    Path("bench.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
