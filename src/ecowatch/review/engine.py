"""Who carries the jobs out: threads, processes or a cluster; the only importer of Dask.

A job is a function and its arguments; it returns nothing, or raises. What a job computes it writes itself, whole, so that
a worker that dies takes nothing with it, and a job that is done twice does no harm. Its error is caught here, once.
"""

from __future__ import annotations

import asyncio
import queue
import shutil
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.config
from distributed import Client, Future, KilledWorker, LocalCluster, Status, utils
from distributed.protocol import pickle
from distributed.utils import silence_logging_cmgr

from ..errors import EcowatchError, UnavailableError
from ..forks import environment_of_forks, start_method
from ..raster import Reading, require_fast
from ..settings import Cluster
from .jobs import Job, together
from .places import (
    DASK_SETTINGS,
    extra,
    hands_of,
    job_options,
    no_pods,
    no_worker,
    pods_manifest,
    scheduler_lost,
)
from .tile import warm_up

_STARTS = 3
_METHOD = "distributed.worker.multiprocessing-method"
_COUNT_EVERY_S = 1.0  # where nothing has ended for so long, workers are counted


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

    @property
    def reading(self) -> Reading:
        """How workers read files."""
        return Reading(self.cluster.reader == "fast", self.cluster.cache_bytes)

    @property
    def slots(self) -> int:
        """Jobs that can be done at the same time, also by workers that are still to come."""
        if self.cluster.scheduler == "threads" or self.cluster.elastic:
            return self.cluster.workers
        self._check_connected()
        return max(len(_workers(self.client)), 1)

    def hands(self, jobs: int) -> int:
        """Return how many threads each of so many jobs may use."""
        return hands_of(_workers(self.client), jobs)

    def each(self, jobs: Iterable[Job], *, count: int = 1) -> Iterator[tuple[Any, str | None]]:
        """Run jobs with a bounded number under way; yield each job's name and error as it ends.

        Of many (`count`), small ones are sent together: a round trip takes longer than some areas. So are those of a chain,
        as long as every worker gets some. What is to be done right after a job is told for itself too, after it.

        A job whose workers died is only a suspect: Dask blames whatever lay on a worker that died. Suspects are run once
        more at the end, one at a time with nothing beside them; what ends its worker then is to blame itself.

        Raises
        ------
        UnavailableError
            ``SCHEDULER_LOST``; ``NO_WORKER`` where for `worker_wait_s` there has been none; what a job raised of this kind:
            the other jobs would meet with the same.
        """
        suspects: list[Job] = []
        for job, error, died in self._ended(together(jobs, count, self.slots)):
            if died:
                suspects.append(job)
            else:
                yield job.name, error
        for job in suspects:
            yield from ((job.name, error) for _, error, _ in self._ended([[job]]))

    def _ended(self, bundles: Iterable[Sequence[Job]]) -> Iterator[tuple[Job, str | None, bool]]:
        """Yield each job as its bundle ends, its error, and whether its workers died."""
        waiting = iter(bundles)
        # A future that nobody holds is a task that nobody wants.
        under_way: dict[Future, Sequence[Job]] = {}
        ended: queue.SimpleQueue[Future] = queue.SimpleQueue()

        def submit() -> bool:
            bundle = next(waiting, None)
            if bundle is None:
                return False
            # As bytes: the scheduler would unpack what it is given, and pack it again for the worker.
            calls = pickle.dumps([(job.function, job.arguments) for job in bundle])
            self._check_connected()
            future = self.client.submit(_carried_out, calls, pure=False, retries=0)
            # Cancelled at once is what was there when the connection broke, not what was submitted just after.
            self._check_connected()
            under_way[future] = bundle
            future.add_done_callback(ended.put)
            return True

        for _ in range(self.slots * self.cluster.tasks_per_worker):
            if not submit():
                break
        while under_way:
            future = self._next(ended)
            bundle = under_way.pop(future)
            errors, died = self._outcome(future, len(bundle))
            submit()
            yield from ((job, error, died) for job, error in zip(bundle, errors, strict=True))

    def _next(self, ended: queue.SimpleQueue[Future]) -> Future:
        """Return the next future that ends, as long as there are workers, or some may still come."""
        absent_since: float | None = None
        while True:
            with suppress(queue.Empty):
                return ended.get(timeout=_COUNT_EVERY_S)
            self._check_connected()
            absent_since = None if _workers(self.client) else absent_since or time.monotonic()
            if absent_since and time.monotonic() - absent_since > self.cluster.worker_wait_s:
                raise no_worker(self.cluster)

    def _check_connected(self) -> None:
        """End the run where the scheduler is gone: Dask would try for half a minute to meet it again, and then fail anyhow."""
        if self.client.status != "running":
            raise scheduler_lost(self.cluster)

    def _outcome(self, future: Future, count: int) -> tuple[Sequence[str | None], bool]:
        """Return the errors of a bundle of so many jobs, and whether its workers died."""
        # Nothing is fetched: a result that lay on a worker that died meanwhile would be waited for, perhaps for ever.
        if future.status == "cancelled":
            raise scheduler_lost(self.cluster)
        if future.status != "error":
            return [None] * count, False
        error = future.exception()
        if isinstance(error, _UnavailableInTask):
            raise UnavailableError(*error.args)
        if isinstance(error, KilledWorker):
            finding = f"it ended its worker {error.allowed_failures + 1} times, with nothing beside it"
            remedy = "repair its scenes, or give workers more memory; then run again"
            return [f"WORKER_DIED task: {finding}; {remedy}"] * count, True
        return error.args if isinstance(error, _TaskErrors) else [_as_text(error)] * count, False


class _TaskErrors(Exception):  # noqa: N818 - of several tasks
    """The errors of a bundle as texts, None where there is none: exceptions stay with the scheduler, results with a worker."""


class _UnavailableInTask(Exception):  # noqa: N818 - no error of the task
    """The four parts of an `UnavailableError`, which as an OSError would lose some of them on the way."""


def _carried_out(calls: bytes) -> None:
    errors: list[str | None] = []
    lost: Exception | None = None
    for function, arguments in pickle.loads(calls):
        try:
            function(*arguments)
            errors.append(None)
        except UnavailableError as error:
            lost = _UnavailableInTask(error.code, error.where, error.finding, error.remedy)
            break
        except Exception as error:
            errors.append(_as_text(error))
    # Not raised above: as its context the job's own error would keep all frames of the job, with their arrays.
    if lost is not None:
        raise lost
    if any(errors):
        raise _TaskErrors(*errors)


def _workers(client: Client) -> Mapping[str, int]:
    """Threads by address of the workers that are up; `scheduler_info` leaves some out where its own polling comes between."""
    threads: Mapping[str, int] = {}
    # Where the scheduler is gone, the client cancels what is under way and, in the end, has none to ask.
    with suppress(OSError, AttributeError):
        threads = client.nthreads()
    return threads


def _as_text(error: BaseException) -> str:
    """Return an error as one line for the record of a run."""
    return str(error) if isinstance(error, EcowatchError) else f"UNEXPECTED {type(error).__name__}: {error}"


@contextmanager
def started(cluster: Cluster) -> Iterator[Engine]:
    """Start workers, or connect to those that are there, for the length of a ``with`` block.

    Raises
    ------
    UnavailableError
        ``SCHEDULER_UNAVAILABLE`` where the address does not answer, ``BATCH_MISSING`` or ``JOB_REFUSED`` where a batch
        system takes no job, ``KUBERNETES_UNAVAILABLE`` where Kubernetes gives no pod, ``NO_WORKER`` where none comes.
    ConfigError
        ``EXTRA_MISSING`` where the package for a batch system or Kubernetes is not installed.
    """
    if cluster.reader == "fast":
        require_fast()
    places = {"processes": _local, "threads": _local, "slurm": _jobs, "pbs": _jobs, "kubernetes": _pods}
    place = places.get(cluster.scheduler, _remote)
    # What goes wrong is told once, with a code: not in Dask's words too.
    with silence_logging_cmgr("CRITICAL"), dask.config.set(DASK_SETTINGS), place(cluster) as client:
        yield Engine(client, cluster)


@contextmanager
def _remote(cluster: Cluster) -> Iterator[Client]:
    try:
        remote = Client(cluster.scheduler, timeout="30s")
    except (OSError, TimeoutError) as error:
        raise UnavailableError(
            "SCHEDULER_UNAVAILABLE", cluster.scheduler, str(error), "start it, or correct 'scheduler'"
        ) from error
    with remote as client:
        _await_worker(client, cluster)
        yield client


@contextmanager
def _local(cluster: Cluster) -> Iterator[Client]:
    # One task per process at a time: Python's lock is not in the way.
    processes = cluster.scheduler == "processes"
    with (
        # A process that died is started anew by its own nanny; a busy machine takes long over it, and must not be given up.
        dask.config.set({"distributed.deploy.lost-worker-timeout": "600s", _METHOD: "spawn"}),
        _local_cluster(cluster, processes) as local,
        Client(local) as client,
    ):
        # One worker fits first; the others load their compiled code meanwhile, where it did not come with the fork.
        addresses = _workers(client) if processes else ()
        warming = [client.submit(warm_up, workers=[address], pure=False) for address in addresses]
        yield client
        del warming


def _local_cluster(cluster: Cluster, processes: bool) -> LocalCluster:
    """Start workers on this machine; one that dies while it starts makes Dask give all of them up, so it is tried again."""
    for last in (*[False] * (_STARTS - 1), True):
        forks = processes and not last and start_method() == "forkserver"
        # Dask would load pandas here, so that forks have it.
        utils._forkserver_preload_set |= forks
        # For as long as there are workers; who called this puts back what was.
        dask.config.set({_METHOD: "forkserver" if forks else "spawn"})
        with suppress(RuntimeError):
            return LocalCluster(
                n_workers=cluster.workers if processes else 1,
                threads_per_worker=1 if processes else cluster.workers,
                processes=processes,
                memory_limit=cluster.memory_limit if processes else 0,
                dashboard_address=None,
                # Any free port: several shards may run on one machine.
                scheduler_kwargs={"dashboard_address": ":0"},
                silence_logs="CRITICAL",
                **({"env": environment_of_forks()} if processes else {}),
            )
    finding = f"its workers died while they started, {_STARTS} times"
    raise UnavailableError("NO_WORKER", cluster.scheduler, finding, "give them more memory, or look who ends them")


class _Submission:
    """What the batch system said of jobs; a refused one is offered again until the review ends."""

    def __init__(self) -> None:
        self.refusal = ""
        self.over = threading.Event()

    def patient(self, kind: Any) -> Any:
        """Return a class of clusters whose jobs record a refusal here and try again."""
        submission = self

        class PatientJob(kind.job_cls):  # type: ignore[misc]
            async def start(self) -> None:
                while not submission.over.is_set():
                    try:
                        await super().start()
                        return
                    except (RuntimeError, OSError) as error:
                        submission.refusal = " ".join(str(error).split("stderr:")[-1].split())
                        for _ in range(60):
                            if not submission.over.is_set():
                                await asyncio.sleep(0.25)
                self.status = Status.running

            async def close(self) -> None:
                await super().close()
                self.status = Status.closed

        return type(kind.__name__, (kind,), {"job_cls": PatientJob})


@contextmanager
def _jobs(cluster: Cluster) -> Iterator[Client]:
    command, name = {"slurm": ("sbatch", "SLURMCluster"), "pbs": ("qsub", "PBSCluster")}[cluster.scheduler]
    kind = getattr(extra("dask_jobqueue", cluster), name)
    if shutil.which(command) is None:
        raise UnavailableError(
            "BATCH_MISSING", command, "is not on this machine", "start the review where jobs can be submitted"
        )
    submission = _Submission()
    with submission.patient(kind)(**job_options(cluster, Path.cwd())) as jobs, Client(jobs) as client:
        try:
            # Equal bounds: a job that is lost, cancelled or at its time limit is replaced by a new one.
            jobs.adapt(minimum=cluster.workers, maximum=cluster.workers)
            _await_worker(client, cluster, submission)
            yield client
        finally:
            submission.over.set()


def _await_worker(client: Client, cluster: Cluster, submission: _Submission | None = None) -> None:
    until = time.monotonic() + cluster.worker_wait_s
    while not _workers(client):
        if submission is not None and submission.refusal:
            raise UnavailableError(
                "JOB_REFUSED", cluster.scheduler, submission.refusal, "correct [queue], or try again"
            )
        if time.monotonic() > until:
            raise no_worker(cluster)
        time.sleep(0.1)


@contextmanager
def _pods(cluster: Cluster) -> Iterator[Client]:
    wanted = cluster.kubernetes
    assert wanted is not None
    operator, name = extra("dask_kubernetes.operator", cluster), f"ecowatch-{uuid.uuid4().hex[:8]}"
    manifest = pods_manifest(cluster, name)
    pods = client = None
    try:
        try:
            # The operator itself puts a new pod in the place of a lost one.
            pods = operator.KubeCluster(
                namespace=wanted.namespace,
                custom_cluster_spec=manifest,
                resource_timeout=cluster.worker_wait_s,
                quiet=True,
            )
            client = Client(pods)
            client.wait_for_workers(1, timeout=cluster.worker_wait_s)
        except Exception as error:
            # Credentials, connection, operator and image each fail with an exception of another library.
            raise no_pods(wanted, error) from error
        yield client
    finally:
        for opened in (client, pods):
            if opened is not None:
                opened.close()
