"""How a review grows: many small areas, what a task costs us, and Dask beside a bare pool on the same tiles.

``python benchmarks/scale.py --size 10980 --data bench_data`` reviews 10, 100, 1000 and 10 000 areas of 300–700 m, each count
in a process of its own on workers that are up, and tells time per area and the memory of the coordinator. Then it sends the
same tiles of one scene through a bare pool of threads and through the engine on threads and on processes, and tasks that do
nothing through the engine and through bare futures. One worker beside two is told by `speed.py`.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

from shapely.geometry.base import BaseGeometry

import pairs
from ecowatch.review.engine import Engine, started
from ecowatch.review.jobs import Job
from jobs import TileJob, nothing, tile, tile_jobs
from reviews import READERS, How, Told, apart, review_file
from turns import in_turn, keep, median, ratio, table

COUNTS = (10, 100, 1000, 10_000)
TILE_PX = 2048
WARM = 4

Row = list[str | float]


def main() -> None:
    """Measure each part and keep its figures as soon as they are there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--size", type=int, default=10980, help="side of the pair in pixels")
    parser.add_argument("--data", type=Path, default=Path("bench_data"), help="folder for the pair")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tasks", type=int, default=500, help="tasks that do nothing, a round")
    parser.add_argument("--most", type=int, default=COUNTS[-1], help="leave larger counts of areas out")
    options = parser.parse_args()
    folder = pairs.pair(options.data, options.size)
    engines(folder, options)
    areas(folder, options)


def areas(folder: Path, options: argparse.Namespace) -> None:
    """Time per area and memory of the coordinator as the number of areas grows."""
    every = pairs.small_areas(options.size)
    counts = [count for count in COUNTS if count <= min(options.most, len(every))]
    found: dict[int, list[Told]] = {count: [] for count in counts}
    for number in range(options.rounds):
        for count in counts:
            # Large counts are their own average; they come in the middle round, smaller ones around them.
            wanted = max(1, min(options.rounds, 3000 // count))
            if abs(number - options.rounds // 2) <= wanted // 2 and len(found[count]) < wanted:
                found[count].append(reviewed(folder, every, count, number, options.workers))
    per_area = {count: median([told.run_s for told in each]) / count * 1e3 for count, each in found.items()}
    memory = {count: max(told.coordinator_mb for told in each) for count, each in found.items()}
    rows: list[Row] = [
        [f"{count} areas", str(len(each)), per_area[count], f"{memory[count]:.0f}", f"{each[-1].warm_mb:.0f}"]
        for count, each in found.items()
    ]
    title = f"Areas of 300-700 m on one pair, {options.workers} processes that are up, reader {READERS[-1]}"
    table(title, rows, ("review of", "rounds", "ms an area", "coordinator MB", "of it warm-up MB"))
    kept: dict[str, float | None] = {f"ms_per_area_{count}": value for count, value in per_area.items()}
    kept |= {f"coordinator_mb_{count}_areas": value for count, value in memory.items()}
    if 10_000 in per_area:
        few = per_area[100] * 100 - per_area[10] * 10
        many = per_area[10_000] * 10_000 - per_area[1000] * 1000
        kept["time_per_area_10000_over_100"] = per_area[10_000] / per_area[100]
        # Without what a run costs once: each further area of many beside each further one of few.
        kept["further_area_10000_over_100"] = (many / 9000) / (few / 90)
    keep(kept)


def reviewed(folder: Path, every: Sequence[BaseGeometry], count: int, number: int, workers: int) -> Told:
    """Review `count` areas, other ones each round, in a process of its own."""
    start = number * count % max(len(every) - count, 1)
    layer = pairs.write_areas(folder / f"areas_{count}.geojson", every[start : start + count])
    warm = [f"a{i:05d}" for i in range(WARM)]
    with review_file(folder, areas=layer) as review:
        return apart(review, How(READERS[-1], "processes", workers), warm=warm)[1]


def engines(folder: Path, options: argparse.Namespace) -> None:
    """Dask beside a bare pool on the same tiles, and what a task costs that does nothing."""
    how = How(READERS[-1], "threads", options.workers, TILE_PX)
    with review_file(folder) as review, ExitStack() as stack:
        tiles = tile_jobs(review, how)
        up = {
            kind: stack.enter_context(started(how._replace(scheduler=kind).cluster()))
            for kind in ("threads", "processes")
        }
        threads = stack.enter_context(ThreadPoolExecutor(options.workers))
        processes = stack.enter_context(ProcessPoolExecutor(options.workers, get_context("spawn")))
        cases = {
            "bare thread pool": seconds(lambda: list(threads.map(tile, tiles))),
            "bare process pool": seconds(lambda: list(processes.map(tile, tiles))),
            "engine on threads": seconds(lambda: through(up["threads"], tile, tiles, math.inf)),
            "engine on processes": seconds(lambda: through(up["processes"], tile, tiles, math.inf)),
        }
        in_turn(cases, 1)
        found = in_turn(cases, options.rounds)
        idle = [tiles[i % len(tiles)] for i in range(options.tasks)]
        light = {
            "bare thread pool": seconds(lambda: list(threads.map(nothing, idle))),
            "bare process pool": seconds(
                lambda: [f.result() for f in [processes.submit(nothing, job) for job in idle]]
            ),
            "engine on threads": seconds(lambda: through(up["threads"], nothing, idle, 0.0)),
            "engine on processes": seconds(lambda: through(up["processes"], nothing, idle, 0.0)),
        }
        in_turn(light, 1)
        empty = in_turn(light, options.rounds)
    pool = found["bare thread pool"]
    each_ms = {name: median(values) / options.tasks * 1e3 for name, values in empty.items()}
    rows: list[Row] = [[name, median(v), ratio(v, pool), each_ms[name]] for name, v in found.items()]
    title = (
        f"{len(tiles)} tiles of {TILE_PX} px of one scene, {options.workers} workers that are up, reader {READERS[-1]}; "
        f"and {options.tasks} tasks that do nothing; medians of {options.rounds} rounds in turn"
    )
    table(title, rows, ("sent through", "seconds", "over bare threads", "ms an empty task"))
    keep(
        {
            "dask_threads_over_pool": ratio(found["engine on threads"], pool),
            "dask_distributed_over_pool": ratio(found["engine on processes"], pool),
            "dask_distributed_over_process_pool": ratio(found["engine on processes"], found["bare process pool"]),
            "overhead_ms_per_task": each_ms["engine on processes"] - each_ms["bare process pool"],
            "overhead_ms_per_task_threads": each_ms["engine on threads"] - each_ms["bare thread pool"],
        }
    )


def through(engine: Engine, function: Callable[[TileJob], None], jobs: Sequence[TileJob], each_s: float) -> None:
    """Send jobs that are expected to take `each_s` through the engine, as a review does, and wait for all."""
    for _, error in engine.each((Job(None, function, (job,), each_s) for job in jobs), count=len(jobs)):
        if error is not None:
            raise SystemExit(error)


def seconds(work: Callable[[], object]) -> Callable[[], float]:
    """Return a case that carries out `work` and returns its seconds."""

    def case() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return case


if __name__ == "__main__":
    main()
