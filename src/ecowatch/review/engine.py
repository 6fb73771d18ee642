"""Who carries the jobs out: threads, processes or a cluster; the only importer of Dask.

A job is a function and its arguments; it returns None, or the error as text. What a job computes it writes itself, whole,
so that a worker that dies takes nothing with it, and a job that is done twice does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import dask.config
from distributed import Client, LocalCluster, as_completed

from ..errors import EcowatchError, UnavailableError
from ..settings import Cluster
from .tile import warm_up

# Dask's own setting gives every freed block back to the system at once: the pages of the next one are then faulted in
# anew, which made tiles 1.7 times slower. One thread in every library: parallelism is Dask's.
_WORKER_ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": str(512 * 2**20),
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}
# Dask's sampling profiler serves a dashboard that is not started, and takes some per cent of every tile.
_DASK_SETTINGS = {
    "distributed.nanny.pre-spawn-environ": _WORKER_ENVIRONMENT,
    "distributed.worker.profile.enabled": False,
}


class Job(NamedTuple):
    """One thing to do: the name it is told by, the function, and what it is called with."""

    name: Any
    function: Callable[..., str | None]
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Engine:
    """Workers that are up.

    Parameters
    ----------
    client
        Connection to them.
    cluster
        Where they are.
    """

    client: Client
    cluster: Cluster

    def each(self, jobs: Iterable[Job]) -> Iterator[tuple[Any, str | None]]:
        """Run jobs with a bounded number under way; yield each job's name and error as it ends."""
        waiting = iter(jobs)
        names: dict[str, Any] = {}
        flow = as_completed()
        workers = max(len(self.client.scheduler_info()["workers"]), 1)
        threads = self.cluster.workers if self.cluster.scheduler == "threads" else 1

        def submit() -> bool:
            job = next(waiting, None)
            if job is None:
                return False
            future = self.client.submit(job.function, *job.arguments, pure=False, retries=0)
            names[future.key] = job.name
            flow.add(future)
            return True

        for _ in range(workers * threads * self.cluster.tasks_per_worker):
            if not submit():
                break
        for future in flow:
            error = future.result() if future.status == "finished" else as_text(future.exception())
            yield names.pop(future.key), error
            submit()


def as_text(error: BaseException) -> str:
    """Return an error as one line for the record of a run."""
    return str(error) if isinstance(error, EcowatchError) else f"UNEXPECTED {type(error).__name__}: {error}"


@contextmanager
def started(cluster: Cluster) -> Iterator[Engine]:
    """Start workers, or connect to those that are there, for the length of a ``with`` block.

    Raises
    ------
    UnavailableError
        ``SCHEDULER_UNAVAILABLE`` where the address does not answer.
    """
    if cluster.scheduler.startswith(("tcp://", "tls://")):
        try:
            remote = Client(cluster.scheduler, timeout="30s")
        except (OSError, TimeoutError) as error:
            raise UnavailableError(
                "SCHEDULER_UNAVAILABLE", cluster.scheduler, str(error), "start it, or correct 'scheduler'"
            ) from error
        with remote as client:
            yield Engine(client, cluster)
        return
    # One thread per process: GDAL handles are never shared, and Python's lock is not in the way.
    processes = cluster.scheduler == "processes"
    with (
        dask.config.set(_DASK_SETTINGS),
        LocalCluster(
            n_workers=cluster.workers if processes else 1,
            threads_per_worker=1 if processes else cluster.workers,
            processes=processes,
            memory_limit=cluster.memory_limit if processes else 0,
            dashboard_address=None,
            silence_logs="ERROR",
        ) as local,
        Client(local) as client,
    ):
        # One worker fits first; the others load their compiled code meanwhile.
        addresses = client.scheduler_info()["workers"] if processes else ()
        warming = [client.submit(warm_up, workers=[address], pure=False) for address in addresses]
        yield Engine(client, cluster)
        del warming
