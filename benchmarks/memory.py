"""Peak memory of a worker, over what its imports take alone: tiles of several sizes, a huge orthomosaic, many areas.

``python benchmarks/memory.py --size 10980 --uav 40000 --data bench_data`` carries out each review in a process of its own
with two worker processes and reads the kernel's high-water mark of the largest worker and of the coordinator. Imports are
those of a process that has imported the review and done nothing. Nothing here is a matter of speed, so once is enough.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import pairs
from reviews import HERE, PAIR, READERS, How, Told, apart, review_file
from turns import keep, table

TILES_PX = (1024, 5632, 11264)
AREAS = 2000
UAV = 'path = "{data}"\nproduct = "geotiff"\nsensor = "uav_rgb"\npipeline = "uav"'


def orthomosaics(folder: Path, side: int) -> Path:
    """Return the folder of the UAV pair of the wanted side, made where it is not there yet."""
    target = folder / f"uav_{side}"
    if not (target / "areas.geojson").exists():
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run([sys.executable, str(HERE / "make_uav.py"), str(side), str(target)], check=True)
    return target


def peaks(folder: Path, tile_px: int | None, workers: int, areas: Path | None = None, source: str = PAIR) -> Told:
    """Carry out a review apart and return what it told of its memory."""
    with review_file(folder, areas=areas, source=source) as review:
        return apart(review, How(READERS[-1], "processes", workers, tile_px))[1]


def main() -> None:
    """Measure one after another, print the table, keep the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--size", type=int, default=10980, help="side of the pair in pixels")
    parser.add_argument("--uav", type=int, default=40_000, help="side of the orthomosaics in pixels; 0 leaves them out")
    parser.add_argument("--areas", type=int, default=AREAS, help="how many areas are many; 0 leaves them out")
    parser.add_argument("--data", type=Path, default=Path("bench_data"), help="folder for the inputs")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    folder = pairs.pair(options.data, options.size)
    found = {f"tile_{px}": peaks(folder, px, options.workers) for px in TILES_PX}
    if options.areas:
        layer = pairs.write_areas(folder / "many.geojson", pairs.small_areas(options.size)[: options.areas])
        found[f"{options.areas}_areas"] = peaks(folder, None, options.workers, layer)
    if options.uav:
        found[f"uav_{options.uav}"] = peaks(orthomosaics(options.data, options.uav), None, options.workers, source=UAV)
    rows: list[list[str | float]] = [
        [name, *(f"{mb:.0f}" for mb in (t.worker_mb, t.worker_mb - t.imports_mb, t.coordinator_mb, t.imports_mb))]
        for name, t in found.items()
    ]
    title = (
        f"Peak resident size in MB; pair of {options.size} px a side, {options.workers} processes, reader {READERS[-1]}"
    )
    table(title, rows, ("review", "worker", "over imports", "coordinator", "imports alone"))
    kept: dict[str, float | None] = {f"peak_worker_mb_{name}": told.worker_mb for name, told in found.items()}
    kept |= {
        "peak_worker_mb": max(told.worker_mb for told in found.values()),
        "peak_over_imports_mb": max(told.worker_mb - told.imports_mb for told in found.values()),
        "peak_coordinator_mb": max(told.coordinator_mb for told in found.values()),
        "imports_mb": max(told.imports_mb for told in found.values()),
    }
    keep(kept)


if __name__ == "__main__":
    main()
