"""One area of 100 km² at 10 m, again: ``ecowatch rerun --area``, whole program, from its start to the GeoPackage.

``python benchmarks/rerun.py --size 10980 --data bench_data``: the page cache and the compiled code are warm, and nothing of
the area is kept from before but the digests of its scenes, which every review remembers. The area lies in a layer with twenty
others; pictures are written as by default. Beside it, how long the program takes until its review begins.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import shapely

import pairs
from reviews import HERE, READERS, How, program, review_file
from turns import Spent, cpu, in_turn, keep, median, spent_apart, table, wall

AREA, SIDE_M = "a00000", 10_000.0


def layer(folder: Path, size: int) -> Path:
    """Write the area of 100 km² in the middle of the pair (less where the pair is smaller), and twenty small ones."""
    middle = pairs.ORIGIN[0] + size * pairs.PIXEL_M / 2, pairs.ORIGIN[1] - size * pairs.PIXEL_M / 2
    half = min(SIDE_M, size * pairs.PIXEL_M - 2000) / 2
    square = shapely.box(middle[0] - half, middle[1] - half, middle[0] + half, middle[1] + half)
    return pairs.write_areas(folder / "rerun.geojson", [square, *pairs.small_areas(size)[:20]])


def until_review(review: Path) -> float:
    """Return the seconds from the start of the program until its review begins."""
    command = ["rerun", str(review), "--cluster", str(review.with_name("cluster.toml")), "--area", AREA]
    _, printed = spent_apart([sys.executable, str(HERE / "startup.py"), str(time.time()), *command])
    return float(printed)


def main() -> None:
    """Measure in turn, print the table, keep the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--size", type=int, default=10980, help="side of the pair in pixels")
    parser.add_argument("--data", type=Path, default=Path("bench_data"), help="folder for the pair")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    folder = pairs.pair(options.data, options.size)
    hows = {kind: How(READERS[-1], kind, options.workers) for kind in ("processes", "threads")}
    with review_file(folder, areas=layer(folder, options.size), quicklook=True) as review:
        cases = {kind: lambda how=how: program(review, how, (AREA,)) for kind, how in hows.items()}  # type: ignore[misc]
        cases["no cluster file"] = lambda: program(review, None, (AREA,))
        # The program's own version is the least that any command takes.
        cases["ecowatch version"] = lambda: spent_apart([sys.executable, "-m", "ecowatch", "version"])[0]
        starts: list[float] = []

        def start() -> Spent:
            starts.append(until_review(review))
            return Spent(starts[-1], 0.0)

        cases["start to review"] = start
        in_turn(cases, 1)
        starts.clear()
        found = in_turn(cases, options.rounds)
    rows: list[list[str | float]] = [[name, median(wall(each)), median(cpu(each))] for name, each in found.items()]
    title = (
        f"ecowatch rerun --area of 100 km2 at 10 m; reader {READERS[-1]}, without a cluster file {READERS[0]}; "
        f"medians of {options.rounds} rounds in turn"
    )
    table(title, rows, ("whole program", "wall s", "CPU s"))
    keep(
        {
            "rerun_seconds": median(wall(found["no cluster file"])),
            "rerun_seconds_processes": median(wall(found["processes"])),
            "rerun_seconds_threads": median(wall(found["threads"])),
            "rerun_cpu_s": median(cpu(found["processes"])),
            "startup_seconds": median(starts),
            "version_seconds": median(wall(found["ecowatch version"])),
        }
    )


if __name__ == "__main__":
    main()
