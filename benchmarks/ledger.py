"""The ledger at size: matching, entering, opening and publishing, as ratios of one run.

``python benchmarks/ledger.py --problems 100000 --periods 10`` builds one ledger of that many problems over that many
periods, by the same functions that enter a run, and prints one table. What must hold: double the patches, at most 2.2 times
the time of matching.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from ecowatch.codes import ProblemState
from ecowatch.ledger import Ledger, enter_unit
from ecowatch.ledger.geometry import metric_crs
from ecowatch.ledger.match import Sighting, Standing, match_period
from ecowatch.ledger.run_folder import FoundPatch, RunUnit
from ecowatch.report.published import publish
from ecowatch.review import software_versions
from ecowatch.settings import LedgerSettings

RULES = LedgerSettings()
PER_AREA = 500
_STEP_DEG = 0.004
_SIDE_DEG = 0.0008


def squares(count: int, *, grown: float = 1.0, shift: float = 0.0) -> list[shapely.Polygon]:
    """Sites on a lattice 400 m apart, about 70 m wide."""
    side = int(np.ceil(np.sqrt(count)))
    row, col = np.divmod(np.arange(count), side)
    x, y = 110 + col * _STEP_DEG + shift, 35 + row * _STEP_DEG + shift
    return list(shapely.box(x, y, x + _SIDE_DEG * grown, y + _SIDE_DEG))


def timed(work: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    """Median seconds of a piece of work, and its last result."""
    seconds, result = [], None
    for _ in range(rounds):
        started = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), result


def matching_ratio(count: int, rounds: int) -> tuple[float, float, float]:
    """CPU seconds of matching half of `count` patches and all of them, in turn, and the median of their ratios.

    CPU, not wall: the work has one thread, and on a shared machine the wall tells of the neighbours.
    """
    pairs = [(matching(count // 2), matching(count)) for _ in range(rounds)]
    once, twice = (statistics.median(seconds) for seconds in zip(*pairs, strict=True))
    return once, twice, statistics.median(b / a for a, b in pairs)


def matching(count: int) -> float:
    """CPU seconds in which `count` patches are matched to as many problems: a third each grows, is seen again, is new."""
    old, new = squares(count), squares(count, grown=1.6)
    third = count // 3
    moved = squares(count, shift=_STEP_DEG / 2)
    standing = [
        Standing(
            problem_id=f"P{i:07d}",
            geometry=old[i],
            area_m2=6480.0,
            activity_code="03",
            last_date="2025-05-01",
            state=ProblemState.SCREENED,
            ended=False,
            opened_now=False,
            opened_period="2025H1",
        )
        for i in range(count)
    ]
    shapes = [*new[:third], *old[third : 2 * third], *moved[2 * third :]]
    sightings = [
        Sighting(
            patch_id=f"T{i:07d}",
            geometry=shape,
            area_m2=6480.0,
            direction="gain",
            activity_code="03",
            before_date="2025-05-01",
            after_date="2026-05-01",
            tolerance_m=6.0,
        )
        for i, shape in enumerate(shapes)
    ]
    crs = metric_crs(shapely.box(110, 35, 110.5, 35.5))
    keep = {"unseen": None, "apart": frozenset(), "members": {}, "rules": RULES.match, "crs": crs}
    started = time.process_time()
    outcomes = match_period(standing, sightings, **keep)
    seconds = time.process_time() - started
    assert len(outcomes) == count + (count - 2 * third)
    return seconds


def unit(area: int, period: str, shapes: list[shapely.Polygon]) -> RunUnit:
    """What a run would say of one area."""
    date = f"{period[:4]}-0{'5' if period.endswith('H1') else '9'}-01"
    patches = tuple(
        FoundPatch(
            patch_id=f"{period}-{area:05d}-{i:04d}",
            pipeline="bitemporal",
            activity_code="03",
            before_date="2020-05-01",
            after_date=date,
            geometry=shape,
            line=None,
            area_m2=6480.0,
            direction="gain",
            natural=False,
            returning=False,
            tolerance_m=6.0,
            facts={"stage": "one_date", "confidence": 0.8},
        )
        for i, shape in enumerate(shapes)
    )
    inputs = {"scenes": {}, "pipelines": {}, "boundary": "b", "software": {}, "not_compared": []}
    whole = shapely.box(*shapely.total_bounds(np.array([*shapes, shapely.box(110, 35, 110.1, 35.1)], dtype=object)))
    return RunUnit(f"area{area:05d}", f"area {area}", "red_line", period, whole, inputs, "run", date, 1.0, patches, ())


def build(path: Path, problems: int, periods: int) -> list[float]:
    """Build the ledger; return the seconds of each period."""
    names = [f"{2020 + n // 2}H{n % 2 + 1}" for n in range(periods)]
    areas = problems // PER_AREA
    seconds = []
    with Ledger.writer(path) as ledger:
        for number, period in enumerate(names):
            started = time.perf_counter()
            for area in range(areas):
                # All sites in the first period; then a tenth grows in each.
                shapes = squares(PER_AREA, grown=1.0 + 0.15 * number)
                some = shapes if number == 0 else shapes[number * 50 % PER_AREA :][:50]
                enter_unit(ledger, unit(area, period, some), RULES)
            seconds.append(time.perf_counter() - started)
            print(f"  {period}: {seconds[-1]:.1f} s", file=sys.stderr)
    return seconds


def peak_mb() -> float:
    """Largest resident size of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def opened(path: Path) -> int:
    """Open the ledger and read its head."""
    with Ledger.reader(path) as ledger:
        return ledger.head.seq


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=100_000)
    parser.add_argument("--periods", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    imported = peak_mb()
    once, twice, ratio = matching_ratio(arguments.problems, arguments.rounds)
    matched_mb = peak_mb()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        seconds = build(path, arguments.problems, arguments.periods)
        built_mb = peak_mb()
        open_s, seq = timed(lambda: opened(path), arguments.rounds)
        last = f"{2020 + (arguments.periods - 1) // 2}H{(arguments.periods - 1) % 2 + 1}"
        with Ledger.reader(path) as ledger:
            publish_s, made = timed(lambda: publish(ledger, last, Path(folder) / "published"), 1)
        size_mb, package_mb = path.stat().st_size / 1e6, made.path.stat().st_size / 1e6
    versions = software_versions()
    print(
        f"ecowatch {versions['ecowatch']}, shapely {versions['shapely']}, GEOS {versions['geos']}, Python {versions['python']}"
    )
    print(
        f"{arguments.problems} problems, {arguments.periods} periods, {seq} events, {size_mb:.0f} MB; imports {imported:.0f} MB"
    )
    print(
        f"matching {arguments.problems // 2} / {arguments.problems} patches: {once:.2f} / {twice:.2f} CPU s,"
        f" ratio {ratio:.2f}"
    )
    print(f"  peak {matched_mb:.0f} MB")
    print(f"entering a period: first {seconds[0]:.1f} s, then median {statistics.median(seconds[1:] or seconds):.1f} s")
    print(f"  peak {built_mb:.0f} MB")
    print(f"opening: {open_s * 1e3:.1f} ms")
    print(f"publishing {last}: {publish_s:.1f} s, {package_mb:.0f} MB, peak {peak_mb():.0f} MB, rows {made.counts}")


if __name__ == "__main__":
    main()
