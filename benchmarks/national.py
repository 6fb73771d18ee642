"""A national plan on paper, checked by simulation, and the rates it rests on.

``national.py plan [--share 1] [--data FOLDER]`` makes the areas and scenes of a nation (`national_data.py`), runs
`ecowatch plan` on them in a process of its own, and prints its wall time, peak memory, lines and the hours on n workers, each
beside the hours of a discrete simulation of the same tasks written here a second time, and beside work / n.
``national.py growth`` plans 250, 500, 1000 and 2000 small areas over one pair: time per area and memory must stay flat.
``national.py check`` carries out small reviews and prints expected CPU seconds beside those that were used.
``national.py rates`` measures the rates on this machine and prints the file that ``ecowatch plan --rates`` reads.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely
from pyproj import CRS
from shapely.geometry import mapping

from ecowatch.grid import transformed
from ecowatch.settings import Rates
from make_pair import DATES, ORIGIN, write_json
from national_data import GEOGRAPHIC, make_nation
from national_rates import measured_rates

HERE = Path(__file__).parent
WORKERS = (1, 2, 8, 32, 128)
GROWTH = (250, 500, 1000, 2000)
REVIEW = """
name = "national"
period = "2026H1"
roots = ["{data}"]
runs = "{runs}"
pipelines = "{pipelines}"
{layers}
[[sources]]
path = "{scenes}"
product = "stac"
trust_offset = true
[output]
quicklook = false
"""
LAYER = '[[areas]]\npath = "{path}"\nid_field = "area_id"\nkind = "{kind}"\n'
# In a process of its own, so that time, memory and processor are those of the command and nothing else.
CHILD = """
import json, resource, sys, time
from ecowatch.cli import app
start = time.perf_counter()
try:
    app(sys.argv[1:], standalone_mode=False)
finally:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps({"wall_s": time.perf_counter() - start, "peak_mb": usage[0].ru_maxrss / 1024,
        "cpu_s": sum(u.ru_utime + u.ru_stime for u in usage)}), file=sys.stderr)
"""


class Measured(NamedTuple):
    """What a command said and took."""

    told: dict[str, Any]
    wall_s: float
    cpu_s: float
    peak_mb: float


def main() -> None:
    """Read the arguments and do what they ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("plan", "growth", "check", "rates"))
    parser.add_argument("--share", type=float, default=1.0, help="share of the nation's areas")
    parser.add_argument("--data", type=Path, default=Path("bench_data/national"), help="folder to write")
    parser.add_argument("--size", type=int, default=3072, help="pixels a side of the pair of the other commands")
    arguments = parser.parse_args()
    folder = arguments.data.resolve()
    print(f"# python {platform.python_version()}, {platform.machine()}")
    if arguments.what == "plan":
        national(folder, arguments.share)
    elif arguments.what == "rates":
        print(measured_rates(pair(folder, arguments.size), HERE.parent / "pipelines"))
    else:
        {"growth": growth, "check": check}[arguments.what](folder, arguments.size)


def national(folder: Path, share: float) -> None:
    """Plan a nation and print what the plan took and what it says."""
    start = time.perf_counter()
    made = make_nation(folder, share)
    print(f"made {made['areas']} areas and {made['scenes']} scenes in {time.perf_counter() - start:.0f} s")
    layers = [(folder / f"{kind}.geojson", kind) for kind in ("protected_area", "red_line")]
    review = write_review(folder, layers, folder)
    found = command("plan", str(review), "--workers", ",".join(map(str, WORKERS)), "--json")
    tell(found)
    tasks = [json.loads(line) for line in Path(found.told["plan"]).read_text("utf-8").splitlines()]
    print("workers   plan h   simulated h   work/workers h   without barriers h   busy")
    for n in WORKERS:
        own, free = simulated_hours(tasks, n, barriers=True), simulated_hours(tasks, n, barriers=False)
        busy = found.told["busy_share"][str(n)]
        even = sum(map(work_seconds, tasks)) / 3600 / n
        print(f"{n:7d} {found.told['hours'][str(n)]:8.2f} {own:13.2f} {even:16.2f} {free:20.2f} {busy:6.0%}")


def tell(found: Measured) -> None:
    """Print what a plan took and counted."""
    told = found.told
    counted = ", ".join(f"{told[key]} {key}" for key in ("areas", "scenes", "comparisons", "fits", "tiles"))
    print(f"{counted}; {told['megabytes'] / 1e6:.2f} TB raw")
    per_area = found.cpu_s / told["areas"] * 1000
    took = f"{found.wall_s:.1f} s wall, {found.cpu_s:.1f} s CPU, {per_area:.1f} ms CPU per area"
    print(f"plan: {took}, {found.peak_mb:.0f} MB at most")


def work_seconds(task: dict[str, Any]) -> float:
    """Return all that one line of a plan says is to be done."""
    own = task["seconds"] if task["status"] != "skip" else 0.0
    return float(task["fit_seconds"] + own)


def simulated_hours(tasks: Sequence[dict[str, Any]], workers: int, *, barriers: bool) -> float:
    """Let `workers` workers do the tasks of a plan, event by event, and return the hours.

    With the barrier every tile waits for the last fit, as in a run. Without it a tile waits for its own fit: what a run
    could gain.
    """
    rates = Rates()
    areas = len({task["comparison"] for task in tasks})
    clock = 0.0
    stages: list[list[tuple[float, Any, Any]]] = [
        [(t["fit_seconds"], None, t["comparison"]) for t in tasks if t["fit_seconds"]],
        [(t["seconds"], t["comparison"], t["key"]) for t in tasks if t["status"] != "skip"],
    ]
    ended: dict[Any, float] = {}
    free = np.zeros(workers)
    for stage in stages:
        for seconds, needs, gives in stage:
            who = int(np.argmin(free))
            ready = max(float(free[who]), clock if barriers else ended.get(needs, 0.0))
            free[who] = ready + seconds
            ended[gives] = float(free[who])
        clock = float(free.max())
    return (clock + rates.start_s + rates.area_s * areas) / 3600


def growth(folder: Path, size: int) -> None:
    """Plan ever more areas over one pair; what grows must be their number alone."""
    data = pair(folder, size)
    count_before, cpu_before = 0, 0.0
    for count in GROWTH:
        path = small_areas(data, size, count, (150, 450))
        found = command("plan", str(write_review(folder, [(path, "red_line")], data / "items.json")), "--json")
        further = (found.cpu_s - cpu_before) / (count - count_before) * 1000
        print(
            f"{count:6d} areas: {found.cpu_s:6.1f} s CPU, {further:5.1f} ms per further area, {found.peak_mb:.0f} MB at most"
        )
        count_before, cpu_before = count, found.cpu_s


def check(folder: Path, size: int) -> None:
    """Run small reviews of unlike areas from nothing, with one worker, and print expected beside used CPU seconds."""
    data = pair(folder, size)
    print("areas of radius        expected s   CPU s   expected / used")
    for count, radii in ((30, (150, 450)), (8, (2000, 4000)), (2, (9000, size * 4.5))):
        path = small_areas(data, size, count, radii)
        with tempfile.TemporaryDirectory(dir=folder) as runs:
            review = write_review(folder, [(path, "red_line")], data / "items.json", Path(runs))
            plan = command("plan", str(review), "--workers", "1", "--json")
            used = command("run", str(review), "--cluster", str(one_worker(folder)))
        expected = plan.told["hours"]["1"] * 3600
        print(
            f"{count:3d} of {radii[0]:.0f}-{radii[1]:.0f} m {expected:16.1f} {used.cpu_s:8.1f} {expected / used.cpu_s:12.2f}"
        )


def one_worker(folder: Path) -> Path:
    """Write a cluster file of one thread, whose processor time is that of the process."""
    path = folder / "one.toml"
    path.write_text('scheduler = "threads"\nworkers = 1\n', "utf-8")
    return path


def pair(folder: Path, size: int) -> Path:
    """Make the simulated pair of the other benchmarks, once."""
    data = folder / f"pair_{size}"
    if not (data / f"pair_{DATES[1][0]}.tif").exists():
        subprocess.run([sys.executable, str(HERE / "make_pair.py"), str(size), str(data)], check=True)
    return data


def small_areas(data: Path, size: int, count: int, radii: tuple[float, float]) -> Path:
    """Write circles of radii (metres) within bounds over the pair."""
    rng = np.random.default_rng(count)
    features = []
    for number in range(count):
        radius = float(rng.uniform(*radii))
        x, y = (float(rng.uniform(radius, size * 10 - radius)) for _ in range(2))
        circle = shapely.Point(ORIGIN[0] + x, ORIGIN[1] - y).buffer(radius, quad_segs=8)
        outline = transformed(circle, CRS.from_epsg(32650), GEOGRAPHIC, frozenset({"EPSG:4326=EPSG:4490"}))
        row = {"area_id": f"a{number:06d}", "name": f"a{number}"}
        features.append({"type": "Feature", "properties": row, "geometry": mapping(outline)})
    path = data / f"circles_{count}.geojson"
    name = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::4490"}}
    write_json(path, {"type": "FeatureCollection", "crs": name, "features": features})
    return path


def write_review(folder: Path, layers: Sequence[tuple[Path, str]], scenes: Path, runs: Path | None = None) -> Path:
    """Write a review file over some layers of areas and one source of scenes."""
    text = REVIEW.format(
        data=folder,
        runs=runs or folder / "runs",
        pipelines=HERE.parent / "pipelines",
        layers="".join(LAYER.format(path=path, kind=kind) for path, kind in layers),
        scenes=scenes,
    )
    path = folder / "review.toml"
    path.write_text(text, "utf-8")
    return path


def command(*arguments: str) -> Measured:
    """Run an ecowatch command in a process of its own and return what it said and took."""
    done = subprocess.run([sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3) or not done.stderr:
        raise SystemExit(done.stderr)
    took = json.loads(done.stderr.splitlines()[-1])
    told: dict[str, Any] = next((json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")), {})
    return Measured(told, **took)


if __name__ == "__main__":
    main()
