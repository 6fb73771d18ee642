"""Worker processes of this machine are forked from one that has imported what they need: sooner there, back and gone.

Dask starts each worker as a new program otherwise, which takes two seconds to import what the next one imports again. Forked
ones share what was imported, and are back at once after one of them died. The process they are forked from does nothing else
and has one thread: a fork of one that works could copy a lock that is never released.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import forkserver
from typing import NamedTuple

# Dask's own setting gives every freed block back to the system at once: the pages of the next one are then faulted in
# anew, which made tiles 1.7 times slower; with all beyond 1 MiB given back they were 1.3 times slower, with what is larger
# than any window of a tile as fast, and smaller. One heap for all threads: each of two kept what it had taken. One thread in
# every library: parallelism is Dask's.
WORKER_ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": str(512 * 2**20),
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**20),
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    # What Dask sets where nobody did: sets are walked through in the same order by all workers.
    "PYTHONHASHSEED": "6640",
}
"""What a worker finds in its environment; most of it is read when a process begins, and again by nobody."""

_PRELOADED = "ecowatch.review.forked"
_FORK, _PROGRAM = "forkserver", "spawn"
# Variables that libraries read while they are imported: of a fork it is too late to change them.
_READ_ON_IMPORT = ("DASK_", "LD_", "MALLOC_", "MKL_", "NUMBA_", "OMP_", "OPENBLAS_", "PYTHON")


class _Stem(NamedTuple):
    """The process that forks come from: who started it, and what it found; no process where it could not be started."""

    pid: int | None
    parent: int
    environment: Mapping[str, str]
    path: Sequence[str]


_BEGUN: list[_Stem] = []


def prepare_forks() -> None:
    """Start the process that workers are forked from, where there is none; it imports while this one goes on."""
    if not _BEGUN:
        _BEGUN.append(_Stem(_started(), os.getpid(), WORKER_ENVIRONMENT | os.environ, tuple(sys.path)))


def start_method() -> str:
    """Return how a worker process is started: as a fork, or as a new program where a fork would be another one."""
    prepare_forks()
    (stem,) = _BEGUN
    # In a fork of the process that started it, it is nobody's child.
    own = stem.pid is not None and stem.parent == os.getpid() and stem.path == tuple(sys.path)
    return _FORK if own and can_fork(stem.environment, os.environ) else _PROGRAM


def _started() -> int | None:
    """Start Python's own server of forks; None where there is none, or one of somebody else."""
    if _FORK not in multiprocessing.get_all_start_methods() or _server_pid() is not None:
        return None
    multiprocessing.set_forkserver_preload([_PRELOADED])
    # It imports what this process would: Python hands it no path, and would look into the working directory first.
    settings = WORKER_ENVIRONMENT | os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONSAFEPATH": "1"}
    former = {name: os.environ.get(name) for name in settings}
    # Until it is ready, whoever interrupts the program would read its stack too.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        os.environ.update(settings)
        forkserver.ensure_running()
    except OSError:
        # No room for a socket: a long TMPDIR is enough.
        return None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name, value in former.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    pid = _server_pid()
    if pid is not None:
        atexit.register(_end, pid, os.getpid())
    return pid


def _server_pid() -> int | None:
    pid: int | None = getattr(forkserver._forkserver, "_forkserver_pid", None)
    return pid


def _end(pid: int, parent: int) -> None:
    """End it with this process: by itself it would first import to the end, and hold the program's output open."""
    if parent == os.getpid() and pid == _server_pid():
        with suppress(OSError):
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)


def environment_of_forks() -> dict[str, str]:
    """Return the variables that a worker is told, whenever the process it is forked from began."""
    return {name: value for name, value in os.environ.items() if name not in WORKER_ENVIRONMENT}


def can_fork(begun: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Tell whether a process that began in one environment can take another one on: what is new or other is told to it.

    Parameters
    ----------
    begun, now
        Variables by name.
    """
    now = WORKER_ENVIRONMENT | dict(now)
    fixed = [name for name in begun.keys() | now.keys() if name.startswith(_READ_ON_IMPORT)]
    return begun.keys() <= now.keys() and all(begun.get(name) == now.get(name) for name in fixed)
