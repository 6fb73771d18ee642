"""Decode-only against end to end, of the same bytes on the same number of workers, in one run.

``python benchmarks/speed.py --size 10980 --data bench_data`` measures, each once a round in turn: both dates and their
quality layers merely decoded through rasterio (`decoding.py`), and the whole review to the GeoPackage with each reader, on
two workers and on one; then a review whose area touches a share of the blocks. Workers are up and compiled code is loaded
on both sides; those of other cases are stopped meanwhile. The whole program, with its start, stands beside it. Ratios are
what counts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import shapely

import pairs
from decoding import decoder
from reviews import READERS, How, in_process, program, review_file, workers_up
from turns import Spent, cpu, in_turn, keep, median, processes, ratio, spent, stopped, table, wall

Case = Callable[[], Spent]
KINDS = ("processes", "threads")


class Figures(NamedTuple):
    """What a part of this benchmark found: rows of the table, and figures for ``bench.json``."""

    rows: list[list[str | float]]
    kept: dict[str, float | None]


def main() -> None:
    """Measure, print the table, keep the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--size", type=int, default=10980, help="side of the pair in pixels")
    parser.add_argument("--data", type=Path, default=Path("bench_data"), help="folder for the pair")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--kinds", nargs="+", choices=KINDS, default=KINDS, help="the first gives the figures of the issue"
    )
    options = parser.parse_args()
    folder = pairs.pair(options.data, options.size)
    size_mb = sum(path.stat().st_size for path in folder.glob("*.tif")) / 1e6
    with review_file(folder) as review:
        found = [whole_scene(folder, review, kind, options) for kind in options.kinds]
        found.append(whole_program(review, options))
    found.append(share_of_blocks(folder, options))
    for kind, figures in zip(options.kinds, found, strict=False):
        names = {f"{name}_{kind}": value for name, value in figures.kept.items()}
        keep(names | (figures.kept if kind == options.kinds[0] else {}))
    for figures in found[len(options.kinds) :]:
        keep(figures.kept)
    title = (
        f"Whole chain beside mere decoding: {options.size} x {options.size} px, 6 bands, 2 dates, {size_mb:.0f} MB on disk; "
        f"medians of {options.rounds} rounds in turn, ratios paired by round; seconds"
    )
    rows = [row for figures in found for row in figures.rows]
    table(title, rows, ("case", "wall", "CPU", "over decode, wall", "over decode, CPU"))


def whole_scene(folder: Path, review: Path, kind: str, options: argparse.Namespace) -> Figures:
    """Decode-only and the whole chain with each reader, on all workers and on one, of one kind."""
    rounds, counts = options.rounds, (options.workers, 1)
    with ExitStack() as stack:
        cases: dict[str, Case] = {}
        own: dict[str, set[int]] = {}

        def ready(name: str, case: Case) -> None:
            """Warm a case up, and remember which processes are its own."""
            others = set().union(*own.values())
            case()
            cases[name], own[name] = case, processes() - others

        for count in counts:
            pool = stack.enter_context(decoder(folder, kind, count))
            ready(f"decode x{count}", lambda pool=pool: spent(pool.run))  # type: ignore[misc]
            if "fast" in READERS and count == options.workers:
                pool = stack.enter_context(decoder(folder, kind, count, fast=True))
                ready(f"decode with fast x{count}", lambda pool=pool: spent(pool.run))  # type: ignore[misc]
            for reader in READERS:
                how = stack.enter_context(workers_up(How(reader, kind, count)))
                ready(f"{reader} x{count}", in_process(review, how))
        found = in_turn({name: _alone(case, own, name) for name, case in cases.items()}, rounds)
    rows: list[list[str | float]] = []
    for name, each in found.items():
        base = found["decode x" + name.rpartition("x")[2]]
        told = [median(wall(each)), median(cpu(each)), ratio(wall(each), wall(base)), ratio(cpu(each), cpu(base))]
        rows.append([f"{name} {kind}", *told])
    most = f"x{options.workers}"
    kept: dict[str, float | None] = {
        "decode_seconds": median(wall(found[f"decode {most}"])),
        "decode_mpx_s": options.size**2 / 1e6 / median(wall(found[f"decode {most}"])),
        # What this machine gives to work without any serial part: no chain scales better.
        "decode_one_over_two_workers": ratio(wall(found["decode x1"]), wall(found[f"decode {most}"])),
    }
    if "fast" in READERS:
        # What the fast reader leaves of the time of mere decoding: CPU seconds for all that is no decoding.
        alone = found[f"decode with fast {most}"]
        kept["fast_decode_over_decode"] = ratio(wall(alone), wall(found[f"decode {most}"]))
        kept["fast_decode_cpu_s"] = median(cpu(alone))
    for reader, ending in (("fast", ""), ("rasterio", "_rasterio")):
        if reader in READERS:
            both, one = found[f"{reader} {most}"], found[f"{reader} x1"]
            kept |= {
                f"end_to_end_over_decode{ending}": ratio(wall(both), wall(found[f"decode {most}"])),
                f"end_to_end_over_decode{ending}_one_worker": ratio(wall(one), wall(found["decode x1"])),
                f"end_to_end_seconds{ending}": median(wall(both)),
                f"one_over_two_workers{ending}": ratio(wall(one), wall(both)),
            }
    return Figures(rows, kept)


def _alone(case: Case, own: Mapping[str, set[int]], name: str) -> Case:
    """Return a case that stops the workers of all others meanwhile."""
    others = set().union(*(pids for other, pids in own.items() if other != name))

    def alone() -> Spent:
        with stopped(others):
            return case()

    return alone


def whole_program(review: Path, options: argparse.Namespace) -> Figures:
    """The program as a user starts it: imports, workers and their compiled code included."""
    cases: dict[str, Case] = {}
    for kind in options.kinds:
        how = How(READERS[-1], kind, options.workers)
        cases[f"whole program, {READERS[-1]} x{options.workers} {kind}"] = lambda how=how: program(review, how)  # type: ignore[misc]
    found = in_turn(cases, options.rounds)
    rows: list[list[str | float]] = [[name, median(wall(e)), median(cpu(e)), "", ""] for name, e in found.items()]
    first = found[f"whole program, {READERS[-1]} x{options.workers} {options.kinds[0]}"]
    return Figures(rows, {"whole_program_seconds": median(wall(first)), "whole_program_cpu_s": median(cpu(first))})


def share_of_blocks(folder: Path, options: argparse.Namespace) -> Figures:
    """One reserve of twelve parts, and the same parts as twelve areas, beside the whole scene."""
    parts = pairs.zones(options.size)
    together = shapely.union_all(parts)
    share = pairs.touched_share(options.size, together)
    one = pairs.write_areas(folder / "one_of_parts.geojson", [together])
    twelve = pairs.write_areas(folder / "twelve.geojson", parts)
    with ExitStack() as stack:
        up = stack.enter_context(workers_up(How(READERS[-1], options.kinds[0], options.workers)))
        layers = {"whole scene": None, "one area of 12 parts": one, "12 areas": twelve}
        cases = {
            name: in_process(stack.enter_context(review_file(folder, areas=layer)), up)
            for name, layer in layers.items()
        }
        for case in cases.values():
            case()
        found = in_turn(cases, options.rounds)
    whole = found["whole scene"]
    rows: list[list[str | float]] = []
    over = {}
    for name, each in found.items():
        over[name] = ratio(wall(each), wall(whole)) / share
        told = f"{over[name]:.2f} x its share {share:.2f}" if each is not whole else ""
        rows.append([f"{name}, {READERS[-1]}", median(wall(each)), median(cpu(each)), told, ""])
    kept: dict[str, float | None] = {
        "masked_share": share,
        "masked_cost_over_share": over["one area of 12 parts"],
        "masked_12_areas_cost_over_share": over["12 areas"],
    }
    return Figures(rows, kept)


if __name__ == "__main__":
    main()
