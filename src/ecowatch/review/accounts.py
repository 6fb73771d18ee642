"""What a run was to do and what became of it, task by task: kept in one small file that can be read at any time.

Expected = produced + skipped + failed, for every stage; a run whose figures do not add up is not published. The file is
written at most every second or so, never once per task, and at the end; a killed run leaves the last one.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from operator import add
from pathlib import Path
from typing import Any, NamedTuple

from ..atomic import sweep, write_text
from ..codes import TaskStatus
from ..errors import EcowatchError, ExitCode, StorageError
from .lock import Held, holder_of

NAME = "accounts.json"
STAGES = ("ingest", "fit", "tile", "look")
WORKER_DIED = "WORKER_DIED"
"""Code of a task that ended its worker each time it was tried alone."""
_LISTED = 100
# Figures of so few tasks are those of many areas; a large area has others after each of its tiles.
_FEW = 8
_EVERY_S = 1.0
# Of ten thousand areas the file takes some hundredths of a second: it must not become a part of the run's time.
_SHARE = 0.02


class RunState(StrEnum):
    """How a run stands."""

    RUNNING = "running"
    DONE = "done"
    PARTIAL = "partial"
    STOPPED = "stopped"


class Counts(NamedTuple):
    """Tasks of one stage in one area; of the stage ``ingest``, which comes before all areas, in one scene.

    Parameters
    ----------
    expected
        All there are.
    produced
        Carried out by this run.
    skipped
        Done before, and kept.
    failed
        Neither; tiles of an area that could not be fitted are among them.
    quarantined
        Those of the failed that ended their worker.
    """

    expected: int = 0
    produced: int = 0
    skipped: int = 0
    failed: int = 0
    quarantined: int = 0

    @property
    def left(self) -> int:
        """Tasks that are neither produced, nor skipped, nor failed: not yet, or not any more."""
        return self.expected - self.produced - self.skipped - self.failed

    def plus(self, other: Counts) -> Counts:
        """Return the sums of these figures and another's."""
        return Counts(*map(add, self, other))


_NOTHING = Counts()


def status_of(error: str | None) -> TaskStatus:
    """Return what became of a task that was tried, by the error that it ended with."""
    if error is None:
        return TaskStatus.DONE
    return TaskStatus.QUARANTINED if error.startswith(WORKER_DIED) else TaskStatus.FAILED


@dataclass
class Accounts:
    """The books of one run.

    Parameters
    ----------
    folder
        ``<runs>/<review>``; nothing is written where it is None.
    review, period, only
        Which review, and which of its areas where not all.
    """

    folder: Path | None = None
    review: str = ""
    period: str = ""
    only: tuple[str, ...] = ()
    run_id: str = ""
    state: RunState = RunState.RUNNING
    attempt: int = 1
    error: str = ""
    exit_code: int | None = None
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    counts: dict[str, dict[str, Counts]] = field(default_factory=lambda: {stage: {} for stage in STAGES})
    failures: list[Mapping[str, str]] = field(default_factory=list)
    failures_in_all: int = 0
    _alike: dict[Counts, Counts] = field(default_factory=dict)
    _uncopied: list[Mapping[str, str]] = field(default_factory=list)
    _next_s: float = 0.0

    def begin(self) -> None:
        """Open the books; where the last run of this review was the same one and did not end well, count on.

        Raises
        ------
        StorageError
            ``CANNOT_WRITE`` or ``DISK_FULL``.
        """
        if self.folder is None:
            return
        # Whoever writes this file holds the lock of the review: what lies beside it is nobody's.
        sweep(self.folder / NAME, older_s=0.0)
        former = self._former()
        if former is not None and former["run_id"] == self.run_id and former["state"] != RunState.DONE:
            self.attempt = int(former["attempt"]) + 1
        self.write()

    def expect(self, stage: str, area_id: str, *, kept: bool) -> None:
        """Enter one task, and whether its result is there already."""
        self._enter(stage, area_id, Counts(expected=1, skipped=int(kept)))

    def ended(self, stage: str, area_id: str, what: str, error: str | None) -> TaskStatus:
        """Enter the end of one task that was tried; return what became of it."""
        status = status_of(error)
        if error is None:
            self._enter(stage, area_id, Counts(produced=1))
        else:
            self._enter(stage, area_id, Counts(failed=1, quarantined=int(status is TaskStatus.QUARANTINED)))
            self._fail(stage, area_id, what, error)
        if time.monotonic() >= self._next_s:
            # What cannot be told must not stop what can still be done; the end is told for certain.
            with suppress(StorageError):
                self.write()
        return status

    def settle(self, stage: str) -> None:
        """Enter as failed what was not tried: tiles of an area without a fit, or of a shard that is missing."""
        for area_id, counts in self.counts[stage].items():
            if counts.left:
                self._enter(stage, area_id, Counts(failed=counts.left))

    def join(self, others: Iterable[Mapping[str, Any]]) -> None:
        """Enter what shards of this run say: what they produced is here, and was taken for kept from before.

        A fit that two shards computed counts once; a band that two shards had to copy counts for each, as it does for
        two runs.

        Parameters
        ----------
        others
            Their accounts, from `read_accounts`.
        """
        for told in others:
            for stage, areas in told["areas"].items():
                for area_id, own in areas.items():
                    if stage == "ingest":
                        self._enter(stage, area_id, Counts(**own))
                    else:
                        produced = min(own.get("produced", 0), self.counts[stage].get(area_id, _NOTHING).skipped)
                        self._enter(stage, area_id, Counts(produced=produced, skipped=-produced))

    def totals(self) -> dict[str, dict[str, int]]:
        """Return the figures by stage."""
        return {stage: total(areas.values())._asdict() for stage, areas in self.counts.items()}

    def by_area(self) -> Iterator[str]:
        """Yield the figures by stage and area as pieces of one JSON object; what is zero is left out."""
        for number, (stage, areas) in enumerate(self.counts.items()):
            yield f"{', ' if number else '{'}{json.dumps(stage)}: {{"
            for place, (area_id, counts) in enumerate(areas.items()):
                name = json.dumps(area_id, ensure_ascii=False)
                yield f"{', ' if place else ''}{name}: {json.dumps(_short(counts))}"
            yield "}"
        yield "}"

    def found_complete(self, record: Mapping[str, Any]) -> bool:
        """Enter a run that is complete already; tell whether the last accounts say otherwise: it was killed at its very end.

        Parameters
        ----------
        record
            Its ``run.json``.
        """
        told = record.get("tasks", {}).get("areas", {})
        self.counts = {stage: {area: Counts(**n) for area, n in told.get(stage, {}).items()} for stage in STAGES}
        self.state, self.exit_code = RunState.DONE, int(record["exit_code"])
        former = self._former()
        return former is None or (former["run_id"], former["state"]) != (self.run_id, RunState.DONE)

    def _former(self) -> dict[str, Any] | None:
        try:
            return read_accounts(self.folder) if self.folder else None
        except StorageError:
            return None

    def close(self, failures: Sequence[Mapping[str, Any]], exit_code: int) -> None:
        """Enter the end of the run.

        Parameters
        ----------
        failures
            All that failed, as ``run.json`` has it.
        exit_code
            What the run tells.

        Raises
        ------
        AssertionError
            Where expected ≠ produced + skipped + failed: then the run must not be published.
        StorageError
            ``CANNOT_WRITE`` or ``DISK_FULL``.
        """
        self.check()
        # A copy that failed costs time, nothing else: the run is not partial for it, yet it is told.
        told = [*self._uncopied, *({key: str(f[key]) for key in ("area_id", "what", "error")} for f in failures)]
        self.failures, self.failures_in_all = told[:_LISTED], len(told)
        self.exit_code = exit_code
        self.state = RunState.PARTIAL if failures else RunState.DONE
        self.write()

    def check(self) -> None:
        """See that every task is accounted for.

        Raises
        ------
        AssertionError
            Where expected ≠ produced + skipped + failed in any stage or area.
        """
        for stage, areas in self.counts.items():
            for area_id, counts in areas.items():
                if counts.left:
                    raise AssertionError(f"{area_id}: tasks of stage {stage} do not add up: {counts}")

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Note how a run ended that did not come to its end, for the length of a ``with`` block."""
        try:
            yield
        except BaseException as error:
            self.state, self.error = RunState.STOPPED, _told(error)
            self.exit_code = _exit_code(error)
            with suppress(StorageError):
                self.write()
            raise

    def as_dict(self) -> dict[str, Any]:
        """Return everything as it stands in the file, but for the figures by area."""
        return {
            "review": self.review,
            "period": self.period,
            "run_id": self.run_id,
            "only": list(self.only),
            "state": str(self.state),
            "attempt": self.attempt,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": self.started.isoformat(timespec="seconds"),
            "updated": datetime.now(UTC).isoformat(timespec="seconds"),
            "exit_code": self.exit_code,
            "error": self.error,
            "stages": self.totals(),
            "failures": self.failures,
            "failures_in_all": self.failures_in_all,
        }

    def _enter(self, stage: str, area_id: str, more: Counts) -> None:
        areas = self.counts[stage]
        counts = areas.get(area_id, _NOTHING).plus(more)
        # Most areas have the same few figures: they are held once, as the texts are that name an area in every stage.
        if counts.expected <= _FEW:
            counts = self._alike.setdefault(counts, counts)
        areas[sys.intern(area_id)] = counts

    def _fail(self, stage: str, area_id: str, what: str, error: str) -> None:
        told = {"area_id": area_id, "what": what, "error": error}
        self.failures_in_all += 1
        if len(self.failures) < _LISTED:
            self.failures.append(told)
        if stage == "ingest":
            self._uncopied.append(told)

    def write(self) -> None:
        """Write the file as a whole."""
        if self.folder is None:
            return
        began = time.monotonic()
        try:
            text = json.dumps(self.as_dict(), ensure_ascii=False).removesuffix("}")
            write_text(self.folder / NAME, "".join([text, ', "areas": ', *self.by_area(), "}\n"]))
        finally:
            ended = time.monotonic()
            self._next_s = ended + max(_EVERY_S, (ended - began) / _SHARE)


def read_accounts(folder: Path) -> dict[str, Any] | None:
    """Return the accounts of the last or current run of a review, or None where there was none.

    Parameters
    ----------
    folder
        ``<runs>/<review>``.

    Raises
    ------
    StorageError
        ``ACCOUNTS_UNREADABLE``: the file is no accounts; a run writes it anew.
    """
    path = folder / NAME
    try:
        told = json.loads(path.read_text("utf-8"))
        return {key: told[key] for key in _KEYS} if told else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = "delete it; finished work is kept elsewhere"
        raise StorageError("ACCOUNTS_UNREADABLE", path, f"{type(error).__name__} {error}", remedy) from error


def standing(folder: Path) -> dict[str, Any]:
    """Return how the last or current run of a review stands, from the files that are there: the accounts, and their age.

    The state of a run that says it is running, while nobody holds the lock of the review, is ``killed``; where no run was
    begun it is ``none``. Each stage also has ``left``: what was not tried, or not yet.

    Parameters
    ----------
    folder
        ``<runs>/<review>``.

    Raises
    ------
    StorageError
        ``ACCOUNTS_UNREADABLE``.
    """
    holder = holder_of(folder)
    told = read_accounts(folder) or {"state": "none", "stages": {}, "areas": {}, "failures": []}
    if told["state"] == RunState.RUNNING and holder is not Held.RUN:
        told["state"] = "killed"
    stages = {stage: counts | {"left": Counts(**counts).left} for stage, counts in told["stages"].items()}
    return told | {"stages": stages, "lock": str(holder)}


def total(counts: Iterable[Counts]) -> Counts:
    """Return the sum of counts."""
    summed = _NOTHING
    for one in counts:
        summed = summed.plus(one)
    return summed


_KEYS = (*Accounts().as_dict(), "areas")


def _short(counts: Counts) -> dict[str, int]:
    return {name: number for name, number in counts._asdict().items() if number}


def _told(error: BaseException) -> str:
    if isinstance(error, EcowatchError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "SIGINT: it was interrupted"
    if isinstance(error, SystemExit):
        return "SIGTERM: it was told to stop" if error.code == ExitCode.TRY_AGAIN else f"it left with {error.code}"
    return f"{type(error).__name__}: {error}"


def _exit_code(error: BaseException) -> int:
    if isinstance(error, EcowatchError):
        return int(error.exit_code)
    if isinstance(error, KeyboardInterrupt):
        return int(ExitCode.INTERRUPTED)
    return error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1
