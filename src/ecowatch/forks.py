"""Worker processes of this machine are forked from one that has imported what they need: sooner there, back and gone.

Dask starts each worker as a new program otherwise, which takes two seconds to import what the next one imports again. Forked
ones share what was imported, and are back at once after one of them died. The process they are forked from does nothing else
and has one thread: a fork of one that works could copy a lock that is never released.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from multiprocessing import forkserver

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
_FORK = "forkserver"
# Variables that libraries read while they are imported: of a fork it is too late to change them.
_READ_ON_IMPORT = ("DASK_", "LD_", "MALLOC_", "MKL_", "NUMBA_", "OMP_", "OPENBLAS_", "PYTHON")

_BEGUN_IN: dict[str, str] = {}


def prepare_forks() -> None:
    """Start the process that workers are forked from, where there is none; it imports while this one goes on."""
    if _FORK not in multiprocessing.get_all_start_methods() or _BEGUN_IN:
        return
    multiprocessing.set_forkserver_preload([_PRELOADED])
    added = WORKER_ENVIRONMENT.keys() - os.environ.keys()
    os.environ.update({name: WORKER_ENVIRONMENT[name] for name in added})
    _BEGUN_IN.update(os.environ)
    try:
        forkserver.ensure_running()
    finally:
        for name in added:
            del os.environ[name]


def start_method() -> str:
    """Return how a worker process is started: as a fork, or as a new program where a fork would be another one."""
    prepare_forks()
    return _FORK if _BEGUN_IN and can_fork(_BEGUN_IN, os.environ) else "spawn"


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
