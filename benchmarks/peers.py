"""Whole programs beside ours on the same pair: Orfeo Toolbox, a NumPy IR-MAD, a change vector with xarray on Dask.

``python benchmarks/peers.py --size 10980 --data bench_data`` takes each in turn, whole process from start to end with two
threads: seconds, CPU seconds, largest memory of the process tree. Orfeo does the transform and writes its variates, no more;
the NumPy form works in memory on a smaller pair and is scaled by pixels; ours goes to patches and the GeoPackage.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pairs
from reviews import READERS, How, program, review_file
from turns import Spent, cpu, in_turn, keep, median, ratio, spent_apart, table, wall

HERE = Path(__file__).resolve().parent
NUMPY_SIDE = 2745
OURS, ORFEO, XARRAY, NUMPY = "ecowatch, whole chain", "Orfeo Toolbox MAD", "xarray + dask change vector", "NumPy IR-MAD"


def images(folder: Path) -> list[Path]:
    """Return the two images of a pair, without their quality layers."""
    return [path for path in sorted(folder.glob("pair_*.tif")) if not path.stem.endswith("SCL")]


def orfeo(folder: Path, threads: int, ram_mb: int) -> Callable[[], Spent] | None:
    """Return a case that runs Orfeo's MAD, or None where it is not installed."""
    found = shutil.which("otbcli_MultivariateAlterationDetector")
    if found is None:
        return None
    before, after = images(folder)
    environment = {
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(threads),
        "OMP_NUM_THREADS": str(threads),
        "GDAL_NUM_THREADS": "1",
        "OTB_LOGGER_LEVEL": "WARNING",
    }

    def case() -> Spent:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            out = Path(scratch) / "mad.tif"
            command = [found, "-in1", str(before), "-in2", str(after), "-out", str(out), "float"]
            cost, _ = spent_apart([*command, "-ram", str(ram_mb), "-progress", "false"], environment)
            # It ends with 0 even where it could not do its work.
            if not out.exists():
                raise SystemExit("Orfeo Toolbox wrote nothing")
        return cost

    return case


def numpy_case(folder: Path, iterations: int) -> Callable[[], Spent]:
    """Return a case that measures the NumPy IR-MAD alone: reading is not counted, threads of its algebra are held to one."""
    program_text = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from irmad_numpy import ir_mad\nimport rasterio\n"
        "a, b = (rasterio.open(p).read().reshape(6, -1) for p in sys.argv[2:4])\n"
        "w, c = time.perf_counter(), time.process_time()\nir_mad(a, b, int(sys.argv[4]))\n"
        "print(time.perf_counter() - w, time.process_time() - c)"
    )
    command = [sys.executable, "-c", program_text, str(HERE), *map(str, images(folder)), str(iterations)]

    def case() -> Spent:
        cost, printed = spent_apart(command, {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
        seconds = [float(word) for word in printed.split()]
        return Spent(seconds[0], seconds[1], cost.tree_mb)

    return case


def iterations_of(review: Path) -> int:
    """Return how many reweighting rounds our own fit took: the peer gets as many."""
    fits = sorted((review.parent / "runs").glob("*/work/*/*/fit.*.json"))
    if not fits:
        raise SystemExit("the review has left no fit behind")
    found = json.loads(fits[0].read_text("utf-8"))["score"]["iterations"]
    return int(found)


def measured(options: argparse.Namespace) -> tuple[dict[str, list[Spent]], int]:
    """Return the rounds of every program that is here, and the iterations of ours."""
    folder, small = pairs.pair(options.data, options.size), pairs.pair(options.data, min(NUMPY_SIDE, options.size))
    how = How(READERS[-1], options.scheduler, options.threads)
    with review_file(folder) as review:
        program(review, how)
        iterations = iterations_of(review)
        peers = {
            ORFEO: orfeo(folder, options.threads, options.ram_mb),
            XARRAY: lambda: change_vector(folder, options.threads),
            NUMPY: numpy_case(small, iterations),
        }
        wanted = {name: case for name, case in peers.items() if case is not None}
        return in_turn({OURS: lambda: program(review, how)} | wanted, options.rounds), iterations


def change_vector(folder: Path, threads: int) -> Spent:
    """Run the change vector as a program."""
    return spent_apart([sys.executable, str(HERE / "change_vector.py"), str(folder), str(threads)])[0]


def figures(found: dict[str, list[Spent]], scale: float) -> dict[str, float | None]:
    """Return the ratios of the issue; None where a peer is not installed."""
    ours = found[OURS]
    kept: dict[str, float | None] = {
        "orfeo_over_ours": None,
        "orfeo_cpu_over_ours": None,
        "orfeo_memory_over_ours": None,
    }
    if ORFEO in found:
        theirs = found[ORFEO]
        kept["orfeo_over_ours"] = ratio(wall(theirs), wall(ours))
        kept["orfeo_cpu_over_ours"] = ratio(cpu(theirs), cpu(ours))
        kept["orfeo_memory_over_ours"] = ratio([t.tree_mb for t in theirs], [o.tree_mb for o in ours])
    kept["numpy_irmad_over_ours"] = scale * ratio(cpu(found[NUMPY]), cpu(ours))
    kept["xarray_cpu_over_ours"] = ratio(cpu(found[XARRAY]), cpu(ours))
    kept["xarray_over_ours"] = ratio(wall(found[XARRAY]), wall(ours))
    return kept


def main() -> None:
    """Measure in turn, print the table, keep the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--size", type=int, default=10980, help="side of the pair in pixels")
    parser.add_argument("--data", type=Path, default=Path("bench_data"), help="folder for the pairs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ram-mb", type=int, default=1024, help="what Orfeo may use for its tiles")
    parser.add_argument("--scheduler", choices=("threads", "processes"), default="threads", help="ours")
    options = parser.parse_args()
    found, iterations = measured(options)
    scale = (options.size / min(NUMPY_SIDE, options.size)) ** 2
    kept = figures(found, scale)
    rows: list[list[str | float]] = []
    for name, each in found.items():
        by = scale if name == NUMPY else 1.0
        seconds, work = by * median(wall(each)), by * median(cpu(each))
        peak = f"{median([e.tree_mb for e in each]):.0f}"
        rows.append(
            [
                name,
                seconds,
                work,
                peak,
                ratio(wall(each), wall(found[OURS])) * by,
                ratio(cpu(each), cpu(found[OURS])) * by,
            ]
        )
    title = (
        f"Programs on one pair of {options.size} x {options.size} px, {options.threads} threads, whole process; medians of "
        f"{options.rounds} rounds in turn. {NUMPY}: {iterations} iterations as ours, in memory, without reading, measured on "
        f"{min(NUMPY_SIDE, options.size)} px a side and scaled by pixels (its memory is not scaled); ours: {how_told(options)}"
    )
    table(title, rows, ("program", "wall s", "CPU s", "peak MB", "wall over ours", "CPU over ours"))
    keep(kept)


def how_told(options: argparse.Namespace) -> str:
    """Say how ours was run."""
    return f"{options.scheduler}, reader {READERS[-1]}"


if __name__ == "__main__":
    main()
