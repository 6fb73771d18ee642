"""What a batch system or Kubernetes is asked for, as plain values: no Dask here, so that it can be read and tested alone."""

from __future__ import annotations

import atexit
import importlib
import shlex
import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigError, UnavailableError
from ..forks import WORKER_ENVIRONMENT
from ..settings import Cluster, Kubernetes, Queue, bytes_of, seconds_of

# How often Dask looks after itself, and what it remembers of it. As it comes, a scheduler and two workers that wait for work
# take a sixth of a core: they count the turns of their loops 50 times a second, and profile tasks for a dashboard that is not
# started. Of the last thousand messages to each worker it keeps the jobs with all their arguments: 50 kB each.
_QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.worker.memory.monitor-interval": "500ms",
    "distributed.admin.low-level-log-length": 16,
}
DASK_SETTINGS = _QUIET | {
    "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
    # Else fifteen seconds pass before a lost job is replaced.
    "distributed.deploy.lost-worker-timeout": "5s",
    # A worker may die of something else than its task: each task gets a second try at once, and then one alone.
    "distributed.scheduler.allowed-failures": 1,
}
# Jobs and pods are programs of their own, which read settings from their environment.
REMOTE_ENVIRONMENT = WORKER_ENVIRONMENT | {
    f"DASK_{key.upper().replace('.', '__').replace('-', '_')}": str(value) for key, value in _QUIET.items()
}
# Each thread of a job holds blocks of its own.
_MOST_HANDS = 4
# A worker whose scheduler is gone must not hold its cores until the time limit.
_ORPHAN_S = 60


def hands_of(workers: Mapping[str, int], jobs: int) -> int:
    """Return how many threads each of so many jobs may use: more than one where workers of the same machine have none.

    Parameters
    ----------
    workers
        Threads by address of each worker that is up.
    jobs
        There are no others.
    """
    by_machine: Counter[str] = Counter()
    for address, threads in workers.items():
        by_machine[urlsplit(address).hostname or ""] += threads
    return max(1, min(_MOST_HANDS, min(by_machine.values(), default=1) // max(jobs, 1)))


def job_options(cluster: Cluster, folder: Path) -> dict[str, Any]:
    """Return what dask-jobqueue is called with.

    One process with one thread per job, said outright: the library's own split of 8 cores is 4 processes of 2 threads,
    and GDAL handles are never shared between threads. A worker leaves before its job's time limit, so that its task goes
    to another one instead of dying with the job.

    Parameters
    ----------
    cluster
        Its scheduler is ``slurm`` or ``pbs``.
    folder
        Where jobs work: paths of the settings count from there. PBS would begin in the home folder.

    Returns
    -------
    dict
        Keyword arguments of ``SLURMCluster`` or ``PBSCluster``.
    """
    queue = cluster.queue or Queue()
    limit_s = seconds_of(queue.walltime)
    words = {
        "cores": 1,
        "processes": 1,
        "memory": f"{bytes_of(cluster.memory_limit)} B",
        "queue": queue.partition,
        "account": queue.account,
        "walltime": f"{limit_s // 3600:02d}:{limit_s // 60 % 60:02d}:{limit_s % 60:02d}",
        "interface": queue.interface,
        "log_directory": queue.log_folder.absolute().as_posix(),
        "python": queue.python,
        "job_name": "ecowatch",
        "death_timeout": _ORPHAN_S,
        "job_script_prologue": [
            f"cd {shlex.quote(folder.as_posix())}",
            *(f"export {name}={value}" for name, value in REMOTE_ENVIRONMENT.items()),
        ],
        "worker_extra_args": [
            "--lifetime",
            f"{queue.lifetime_s}s",
            "--lifetime-stagger",
            f"{queue.lifetime_margin_s // 2}s",
            "--no-dashboard",
        ],
        "scheduler_options": {"dashboard": False, "dashboard_address": ":0"},
        "silence_logs": "ERROR",
    }
    megabytes = -(-bytes_of(queue.memory) // 2**20)
    if cluster.scheduler == "slurm":
        own: dict[str, Any] = {"job_cpu": queue.cores, "job_mem": f"{megabytes}M"}
        again = "--requeue"
    else:
        own = {"resource_spec": f"select=1:ncpus={queue.cores}:mem={megabytes}mb"}
        again = "-r y"
    return words | own | {"job_extra_directives": [again, *queue.directives]}


def worker_command(cluster: Cluster) -> list[str]:
    """Return how a pod starts its worker: one thread, memory as the cluster file says."""
    return [
        *("python", "-m", "distributed.cli.dask_worker"),
        *("--nthreads", "1", "--memory-limit", str(bytes_of(cluster.memory_limit))),
        *("--death-timeout", str(_ORPHAN_S)),
    ]


def pod_resources(wanted: Kubernetes) -> dict[str, dict[str, str]]:
    """Return what a pod requests, and the memory beyond which it is killed."""
    memory = f"{-(-bytes_of(wanted.memory) // 2**20)}Mi"
    return {"requests": {"cpu": f"{round(wanted.cpu * 1000)}m", "memory": memory}, "limits": {"memory": memory}}


def with_data(spec: Mapping[str, Any], wanted: Kubernetes) -> dict[str, Any]:
    """Return a cluster's manifest whose pods see the shared files.

    The library gives the commands as arguments of whatever the image starts; they are made the command itself, so that an
    image that starts ecowatch serves too.

    Parameters
    ----------
    spec
        A ``DaskCluster`` as the library makes it.
    wanted
        Claim and where it is mounted.
    """
    parts = {name: _mounted(spec["spec"][name], wanted) for name in ("worker", "scheduler")}
    return dict(spec) | {"spec": dict(spec["spec"]) | parts}


def _mounted(part: Mapping[str, Any], wanted: Kubernetes) -> dict[str, Any]:
    (container,) = part["spec"]["containers"]
    plain = {key: value for key, value in container.items() if key != "args"}
    mounts = [{"name": "data", "mountPath": wanted.mount}]
    pod = dict(part["spec"]) | {
        "containers": [
            plain | {"command": container["args"], "workingDir": wanted.mount, "volumeMounts": mounts},
        ],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": wanted.claim}}],
    }
    return dict(part) | {"spec": pod}


def pods_manifest(cluster: Cluster, name: str) -> dict[str, Any]:
    """Return the ``DaskCluster`` that the operator is asked for.

    Parameters
    ----------
    cluster
        Its scheduler is ``kubernetes``.
    name
        Name of the cluster.

    Raises
    ------
    ConfigError
        ``EXTRA_MISSING``.
    """
    wanted = cluster.kubernetes
    assert wanted is not None
    spec = extra("dask_kubernetes.operator", cluster).make_cluster_spec(
        name,
        image=wanted.image,
        n_workers=cluster.workers,
        resources=pod_resources(wanted),
        env=REMOTE_ENVIRONMENT,
        worker_command=worker_command(cluster),
    )
    return with_data(spec, wanted)


def scheduler_lost(cluster: Cluster) -> UnavailableError:
    """Return what is told where the scheduler does not answer any more."""
    finding, remedy = "the scheduler went away", "start it, then resume; finished work is kept"
    return UnavailableError("SCHEDULER_LOST", cluster.scheduler, finding, remedy)


def no_worker(cluster: Cluster) -> UnavailableError:
    """Return what is told where no worker came, or none came back."""
    finding = f"no worker for {cluster.worker_wait_s:g} s"
    where = "look at the queue and at queue.log_folder" if cluster.queue else "start workers"
    remedy = f"{where}, or raise 'worker_wait_s'; then resume: finished work is kept"
    return UnavailableError("NO_WORKER", cluster.scheduler, finding, remedy)


def no_pods(wanted: Kubernetes, error: Exception) -> UnavailableError:
    """Return what is told where Kubernetes gives no pod."""
    told = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    remedy = "check kubectl, the Dask operator, image and claim; docs/cluster.md"
    return UnavailableError("KUBERNETES_UNAVAILABLE", f"namespace {wanted.namespace}", told, remedy)


def extra(module: str, cluster: Cluster) -> ModuleType:
    """Import a package of the extra ``cluster``: nobody else needs it, and it must not slow every start."""
    interrupted = signal.getsignal(signal.SIGINT)
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0].replace("_", "-")
        raise ConfigError(
            "EXTRA_MISSING",
            f"scheduler = {cluster.scheduler!r}",
            f"{package} is not installed",
            "pip install 'ecowatch[cluster]'",
        ) from error
    finally:
        # dask_jobqueue takes the interruption for itself as it is imported, and would end an interrupted review with 0.
        if threading.current_thread() is threading.main_thread() and interrupted is not None:
            signal.signal(signal.SIGINT, interrupted)
    if module == "dask_kubernetes.operator":
        # Clusters that did not come up are taken away at the end of the program; if that fails too, it was told already.
        reap = found.kubecluster.kubecluster.reap_clusters
        atexit.unregister(reap)
        atexit.register(_tried, reap)
    return found


def _tried(function: Callable[[], None]) -> None:
    with suppress(Exception):
        function()
