"""A review in parts, by workers that never hear of one another: the same plan file, i of n, and one merge at the end.

Every shard works the parts out of the plan file alone, so that nobody has to hand them out. What a shard computes is kept
where a run keeps it, under names that hold digests of everything it depends on: a shard that is run twice, or beside
another, does no harm.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ..atomic import write_text
from ..errors import ConfigError, IntakeError, StorageError
from ..settings import Review
from .accounts import NAME, read_accounts, standing
from .plan import Plan, PlannedTask, work_folder

_ANEW = "make the plan anew with 'ecowatch plan', and run all shards of it"


class PlanLine(NamedTuple):
    """What a shard needs to know of one tile: its key, that of its comparison, and the seconds that it will take.

    The seconds of the comparison's fit stand at its first tile in the plan only.
    """

    key: str
    comparison: str
    seconds: float
    fit_seconds: float


@dataclass(frozen=True)
class PlanFile:
    """A plan as it was written: the tiles of one run.

    Parameters
    ----------
    path
        Where it was read.
    run_id
        The run it was made for.
    lines
        Its tiles, in the order of the file.
    """

    path: Path
    run_id: str
    lines: tuple[PlanLine, ...]

    @cached_property
    def digest(self) -> str:
        """Sixteen digits that stand for the run and its tiles, whatever their order and cost."""
        text = json.dumps([self.run_id, sorted(line.key for line in self.lines)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def check_run(self, plan: Plan) -> None:
        """See that the settings still give the run that this plan was made for.

        Raises
        ------
        ConfigError
            ``PLAN_STALE``: scenes, boundaries, pipelines, settings or ecowatch are others than then.
        """
        if plan.run_id != self.run_id:
            finding = f"it was made for run {self.run_id}; scenes, boundaries and settings now give {plan.run_id}"
            raise ConfigError("PLAN_STALE", self.path, finding, _ANEW)

    def check_tiles(self, tasks: Sequence[PlannedTask]) -> None:
        """See that the run is cut into the tiles of this plan.

        Raises
        ------
        ConfigError
            ``PLAN_STALE``: the tile size is another, or the plan is not whole.
        """
        now, then = {item.task.key for item in tasks}, {line.key for line in self.lines}
        if now != then:
            finding = f"{len(then - now)} of its {len(then)} tiles are none of this run, {len(now - then)} are missing"
            raise ConfigError("PLAN_STALE", self.path, f"{finding}: another tile_px?", _ANEW)

    def shares(self, shards: int) -> list[list[PlanLine]]:
        """Return the tiles of each shard: of like cost, and with as few fits computed twice as that allows.

        A comparison that costs no more than a shard's part is kept whole; a larger one is dealt out, tile by tile in the
        order of cost, to as many shards as it has parts. Then the largest piece always goes to the shard with the least.

        Parameters
        ----------
        shards
            Number of shards, at least 1.
        """
        groups: dict[str, list[PlanLine]] = defaultdict(list)
        for line in self.lines:
            groups[line.comparison].append(line)
        fits = {name: max(line.fit_seconds for line in lines) for name, lines in groups.items()}
        part = sum(_cost(lines, fits[name]) for name, lines in groups.items()) / shards or 1.0
        pieces: list[tuple[float, list[PlanLine]]] = []
        for name, lines in groups.items():
            by_cost = sorted(lines, key=lambda line: (-line.seconds, line.key))
            count = min(len(lines), max(1, math.ceil(_cost(lines, fits[name]) / part)))
            pieces += [(_cost(by_cost[i::count], fits[name]), by_cost[i::count]) for i in range(count)]
        pieces.sort(key=lambda piece: (-piece[0], piece[1][0].key))
        loads = [(0.0, number) for number in range(shards)]
        given: list[list[PlanLine]] = [[] for _ in range(shards)]
        for cost, piece in pieces:
            load, number = heapq.heappop(loads)
            given[number] += piece
            heapq.heappush(loads, (load + cost, number))
        return given


def _cost(lines: Sequence[PlanLine], fit_seconds: float) -> float:
    """Seconds of some tiles of one comparison, and of the fit that they need wherever they are."""
    seconds = sum(line.seconds for line in lines)
    return seconds + fit_seconds if seconds else 0.0


def read_plan(path: Path) -> PlanFile:
    """Read a plan that `plan_to_file` wrote, line by line: a national one is larger than memory would like.

    Raises
    ------
    IntakeError
        ``PLAN_MISSING``, ``PLAN_INVALID`` with the line, or ``PLAN_EMPTY``.
    """
    lines: list[PlanLine] = []
    run_ids = set()
    try:
        with path.open(encoding="utf-8") as stream:
            for text in stream:
                told = json.loads(text)
                run_ids.add(str(told["run_id"]))
                lines.append(_line(told))
    except (ValueError, KeyError, TypeError) as error:
        remedy = "make it anew with 'ecowatch plan'"
        raise IntakeError(
            "PLAN_INVALID", f"{path}:{len(lines) + 1}", f"{type(error).__name__} {error}", remedy
        ) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise IntakeError("PLAN_MISSING", path, reason, "make it with 'ecowatch plan --out'") from error
    if not lines:
        raise IntakeError("PLAN_EMPTY", path, "it holds no tile", "there is nothing to shard; use 'ecowatch run'")
    if len(run_ids) > 1:
        raise IntakeError("PLAN_INVALID", path, f"it mixes {len(run_ids)} runs", "make it anew with 'ecowatch plan'")
    return PlanFile(path, run_ids.pop(), tuple(lines))


def _line(told: dict[str, Any]) -> PlanLine:
    seconds, fit_seconds = float(told["seconds"]), float(told["fit_seconds"])
    if not (0 <= seconds < math.inf and 0 <= fit_seconds < math.inf):
        raise ValueError(f"seconds {seconds}, {fit_seconds}")
    # A tile that rounds to nothing must be dealt out all the same; one that is done costs nothing.
    cost = 0.0 if told["status"] == "skip" else max(seconds, 1e-3)
    return PlanLine(str(told["key"]), str(told["comparison"]), cost, fit_seconds)


class Shard(NamedTuple):
    """One part of a review: ``number`` of ``of``, counted from 0 as array jobs and indexed jobs count."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``3/8``.

        Raises
        ------
        ValueError
            Where it is no such thing.
        """
        number, stroke, of = text.partition("/")
        if not (stroke and number.isascii() and number.isdigit() and of.isascii() and of.isdigit()):
            raise ValueError(f"{text!r} is no shard; the first of eight is 0/8")
        if int(of) < 1:
            raise ValueError(f"{text!r} is no shard; there must be at least one: 0/1")
        if int(number) >= int(of):
            raise ValueError(f"{text!r} is no shard; they count from 0: 0/{of} to {int(of) - 1}/{of}")
        return cls(int(number), int(of))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


class ShardBook(NamedTuple):
    """What the shards of one plan have told: a small file and a folder with accounts for each; none writes another's."""

    folder: Path

    @classmethod
    def of_plan(cls, review: Review, file: PlanFile) -> ShardBook:
        """Return the book of a plan file."""
        return cls(work_folder(review).parent / "shards" / file.digest)

    def place(self, shard: Shard) -> Path:
        """Return the folder of a shard's own lock and accounts."""
        return self.folder / f"{shard.number}_of_{shard.of}"

    def accounts(self) -> list[dict[str, Any]]:
        """Return the accounts of all shards that can be read, in the order of their folders."""
        found = []
        for folder in sorted(self.folder.glob("*_of_*/")):
            with suppress(StorageError):
                found.append(read_accounts(folder))
        return [told for told in found if told is not None]

    def write(self, shard: Shard, failures: dict[str, str] | None) -> None:
        """Enter a shard: begun, where `failures` is None, or ended, with the error of each key that failed."""
        told = {"shard": str(shard), "ended": failures is not None, "failures": failures or {}}
        write_text(self.place(shard).with_suffix(".json"), json.dumps(told, ensure_ascii=False) + "\n")

    def read(self) -> dict[Shard, dict[str, str] | None]:
        """Return the failures of each shard by key, None where it began and did not end; unreadable ones are left out."""
        found: dict[Shard, dict[str, str] | None] = {}
        for path in sorted(self.folder.glob("*_of_*.json")):
            try:
                told = json.loads(path.read_text("utf-8"))
                found[Shard.parse(told["shard"])] = dict(told["failures"]) if told["ended"] else None
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return found


def shards_standing(folder: Path) -> dict[str, dict[str, Any]]:
    """Return how the shards of the plan that was worked on last stand, from the files that are there.

    Parameters
    ----------
    folder
        ``<runs>/<review>``.

    Returns
    -------
    dict
        `standing` of each shard that was begun, by its name such as ``3/8``; empty where a run has ended since.

    Raises
    ------
    StorageError
        ``ACCOUNTS_UNREADABLE``.
    """
    paths = list(folder.glob(f"shards/*/*_of_*/{NAME}"))
    if not paths:
        return {}
    newest = max(paths, key=lambda path: path.stat().st_mtime)
    shards = sorted(Shard(*map(int, p.parent.name.split("_of_"))) for p in newest.parents[1].glob(f"*_of_*/{NAME}"))
    book = ShardBook(newest.parents[1])
    found = {str(shard): standing(book.place(shard)) for shard in shards}
    run = read_accounts(folder)
    last = max(told["updated"] for told in found.values())
    over = run is not None and run["updated"] > last and run["run_id"] not in {t["run_id"] for t in found.values()}
    return {} if over else found


def absent_because(file: PlanFile, book: ShardBook, absent: Iterable[str]) -> dict[str, str]:
    """Say of each key whose result is not there why it is not: its shard failed it, or did not come to its end.

    Parameters
    ----------
    file
        The plan.
    book
        What its shards have told.
    absent
        Keys of tiles.

    Returns
    -------
    dict of str to str
        An error by key. Shards are named; where none has told anything, how many there were is not known.
    """
    told = book.read()
    counts = sorted({shard.of for shard in told}, key=lambda of: (-sum(s.of == of for s in told), -of))
    errors = {key: error for failures in told.values() for key, error in (failures or {}).items()}
    if not counts:
        reason = "SHARD_MISSING shards: none has been run; run them, then merge again"
        return {key: errors.get(key, reason) for key in absent}
    of = counts[0]
    owners = {line.key: Shard(number, of) for number, lines in enumerate(file.shares(of)) for line in lines}
    return {key: errors.get(key) or _missing(owners[key], told) for key in absent}


def _missing(shard: Shard, told: dict[Shard, dict[str, str] | None]) -> str:
    if shard not in told:
        finding = "it has not been run"
    elif told[shard] is None:
        finding = "it has not come to its end"
    else:
        finding = "its result is gone"
    return f"SHARD_MISSING shard {shard}: {finding}; run it, then merge again"
