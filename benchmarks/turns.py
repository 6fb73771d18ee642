"""How everything here is measured: cases in turn within one run, medians, paired ratios, and ``bench.json``.

The machine may be shared, so a figure of one minute says little beside one of the next. Cases are therefore measured round
by round, each once a round, and what counts is the median of the ratios of each round.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

import numba
import numpy as np
import psutil
import rasterio

from ecowatch import __version__
from ecowatch.atomic import write_text

T = TypeVar("T")

BENCH_JSON = Path("bench.json")
SAMPLE_S = 0.05


class Spent(NamedTuple):
    """What a case cost: seconds by the clock, CPU seconds of the whole tree, and its largest resident size in MB."""

    wall_s: float
    cpu_s: float
    tree_mb: float = 0.0


def tree_cpu_s() -> float:
    """CPU seconds so far of this process, its ended children and those that live."""
    own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    total = sum(usage.ru_utime + usage.ru_stime for usage in own)
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def spent(work: Callable[[], object]) -> Spent:
    """Measure a call in this process and in workers that stay up."""
    cpu, start = tree_cpu_s(), time.perf_counter()
    work()
    return Spent(time.perf_counter() - start, tree_cpu_s() - cpu)


def spent_apart(command: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[Spent, str]:
    """Measure a program as a whole, from its start to its end, with all its children; return also what it printed.

    Memory is the largest sum of resident sizes over its tree, looked at every 50 ms.
    """
    _adopt_orphans()
    tree: set[int] = set()
    start = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=told, stderr=errors, env={**os.environ, **(environment or {})})
        peak = 0
        while process.poll() is None:
            peak = max(peak, tree_bytes(process.pid, tree))
            time.sleep(SAMPLE_S)
        wall = time.perf_counter() - start
        for pid in tree - {process.pid}:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        errors.seek(0)
        if process.returncode:
            raise SystemExit(f"{command[0]} ended with {process.returncode}: {errors.read()[-2000:]}")
        told.seek(0)
        printed = told.read()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(wall, cpu, peak / 2**20), printed


def _adopt_orphans() -> None:
    """Make whatever a program leaves behind a child of this process: what workers took counts once they are waited for."""
    become_subreaper = 36
    if ctypes.CDLL(None, use_errno=True).prctl(become_subreaper, 1, 0, 0, 0):
        raise SystemExit(f"no subreaper: {os.strerror(ctypes.get_errno())}")


def tree_bytes(pid: int, seen: set[int]) -> int:
    """Resident bytes of a process and all its children, which are added to `seen`; shared pages count once for each."""
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    total = 0
    for process in processes:
        seen.add(process.pid)
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total


def processes() -> set[int]:
    """Return the processes that this one, and those it started, have started."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


@contextmanager
def stopped(pids: Iterable[int]) -> Iterator[None]:
    """Stop processes for the length of a ``with`` block: workers of other cases, which a user's machine would not have."""
    told = list(pids)
    _signal(told, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(told, signal.SIGCONT)


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def in_turn(cases: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Carry out every case once a round; the caller has warmed them up."""
    found: dict[str, list[T]] = {name: [] for name in cases}
    for number in range(rounds):
        # Every other round runs backwards: a slow drift of the machine then favours nobody.
        order = list(cases) if number % 2 == 0 else list(cases)[::-1]
        for name in order:
            found[name].append(cases[name]())
    return found


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Return the median of the ratios of each round."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def wall(rounds: Sequence[Spent]) -> list[float]:
    """Return the seconds of each round."""
    return [each.wall_s for each in rounds]


def cpu(rounds: Sequence[Spent]) -> list[float]:
    """Return the CPU seconds of each round."""
    return [each.cpu_s for each in rounds]


def keep(figures: Mapping[str, float | None], path: Path = BENCH_JSON) -> None:
    """Put figures into the one file of all benchmarks; what other scripts wrote stays."""
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    known |= {name: None if value is None else round(value, 4) for name, value in figures.items()}
    write_text(path.resolve(), json.dumps(dict(sorted(known.items())), indent=1) + "\n")


def table(title: str, rows: Sequence[Sequence[str | float]], header: Sequence[str]) -> None:
    """Print one table under a line of versions."""
    print(f"\n{title}\n{versions()}")
    told = [list(header), *([cell if isinstance(cell, str) else f"{cell:.3f}" for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in told) for i in range(len(header))]
    for row in told:
        first, *others = zip(row, widths, strict=True)
        print("  " + "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]))


def versions() -> str:
    """Return one line of versions and the machine's load."""
    return (
        f"ecowatch {__version__}, Python {platform.python_version()}, numpy {np.__version__}, numba {numba.__version__}, "
        f"rasterio {rasterio.__version__}, GDAL {rasterio.__gdal_version__}; "
        f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
    )
