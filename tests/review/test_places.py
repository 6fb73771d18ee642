"""What batch systems and Kubernetes are asked for: job scripts as they are submitted, manifests against the schemas."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from ecowatch.errors import ConfigError, ExitCode, UnavailableError
from ecowatch.review.engine import started
from ecowatch.review.jobs import Job
from ecowatch.review.places import (
    DASK_SETTINGS,
    REMOTE_ENVIRONMENT,
    hands_of,
    job_options,
    pod_resources,
    pods_manifest,
)
from ecowatch.settings import Cluster, Kubernetes, Queue

kubernetes_validate = pytest.importorskip("kubernetes_validate")
dask_jobqueue = pytest.importorskip("dask_jobqueue")
pytest.importorskip("dask_kubernetes")

ROOT = Path(__file__).parents[2]
MANIFESTS = sorted((ROOT / "configs/kubernetes").glob("*.yaml"))
VERSION = "1.31"
OLDEST = {"shard-job": "1.31", "merge-job": "1.31", "cronjob": "1.31"}


def batch(scheduler: str, **queue: Any) -> Cluster:
    wanted = {"walltime": "1-02:00:00", "memory": "3GiB", "log_folder": Path("jobs"), "interface": "lo"} | queue
    return Cluster(scheduler=scheduler, workers=4, queue=Queue(**wanted))


def script(cluster: Cluster, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The job script as the library prints it: no job is submitted."""
    monkeypatch.chdir(folder)
    kind = dask_jobqueue.SLURMCluster if cluster.scheduler == "slurm" else dask_jobqueue.PBSCluster
    with kind(**job_options(cluster, folder)) as jobs:
        return str(jobs.job_script()).splitlines()


def test_a_slurm_job_is_one_worker_with_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = batch("slurm", partition="main", account="eco", cores=4, directives=("--constraint=haswell",))
    lines = script(cluster, tmp_path, monkeypatch)
    head = {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")}
    assert {"-p main", "-A eco", "-n 1", "--cpus-per-task=4", "--mem=3072M", "-t 26:00:00"} <= head
    assert {"--requeue", "--constraint=haswell"} <= head
    (worker,) = (line for line in lines if "dask_worker" in line)
    assert "--nthreads 1" in worker and "--nworkers" not in worker and "--memory-limit 2.00GiB" in worker
    # 26 hours less 300 s, give or take 150 s: before the limit in any case.
    assert "--lifetime 93300s --lifetime-stagger 150s" in worker
    assert worker.startswith(sys.executable)
    assert f"cd {tmp_path}" in lines and "export OMP_NUM_THREADS=1" in lines


def test_a_pbs_job_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = batch("pbs", partition="workq", account="eco", directives=("-l place=free",), python="/opt/py/bin/python")
    lines = script(cluster, tmp_path, monkeypatch)
    head = [line.removeprefix("#PBS ") for line in lines if line.startswith("#PBS")]
    assert "-q workq" in head and "-A eco" in head and "-r y" in head and "-l place=free" in head
    assert "-l select=1:ncpus=1:mem=3072mb" in head and "-l walltime=26:00:00" in head
    assert any(line.startswith("-o ") and str(tmp_path / "jobs") in line for line in head)
    (worker,) = (line for line in lines if "dask_worker" in line)
    assert worker.startswith("/opt/py/bin/python") and "--nthreads 1" in worker
    # PBS begins in the home folder: paths of the settings count from elsewhere.
    assert f"cd {tmp_path}" in lines
    assert subprocess.run(["bash", "-n"], input="\n".join(lines), text=True, check=False).returncode == 0


@pytest.mark.skipif(shutil.which("qsub") is not None, reason="PBS is here")
def test_without_the_batch_system_the_review_says_so_at_once() -> None:
    with pytest.raises(UnavailableError, match="BATCH_MISSING qsub") as caught, started(batch("pbs")):
        pass
    assert caught.value.exit_code == ExitCode.UNAVAILABLE


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(ConfigError, match=r"EXTRA_MISSING .*dask-jobqueue.*ecowatch\[cluster\]"), started(batch("pbs")):
        pass


def test_an_interruption_stays_one_when_the_package_is_imported() -> None:
    """It takes SIGINT for itself as it is imported: an interrupted review would end with 0."""
    program = """
import signal
from ecowatch.review.places import extra
from ecowatch.settings import Cluster
extra("dask_jobqueue", Cluster())
signal.raise_signal(signal.SIGINT)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGINT and "KeyboardInterrupt" in done.stderr


def pods(**changes: Any) -> Cluster:
    wanted = {"image": "ecowatch:1", "claim": "eco-data", "namespace": "eco", "cpu": 1.5} | changes
    return Cluster(scheduler="kubernetes", workers=7, worker_wait_s=1, kubernetes=Kubernetes(**wanted))


def as_pod(part: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": part["spec"]}


def test_the_operator_is_asked_for_pods_that_fit_the_schema() -> None:
    spec = pods_manifest(pods(), "eco-1")["spec"]
    assert spec["worker"]["replicas"] == 7
    for part in ("worker", "scheduler"):
        kubernetes_validate.validate(as_pod(spec[part]), VERSION, strict=True)
        (container,) = spec[part]["spec"]["containers"]
        assert container["image"] == "ecowatch:1"
        assert container["volumeMounts"] == [{"name": "data", "mountPath": "/data"}]
        assert container["resources"] == pod_resources(Kubernetes(image="a", claim="b", cpu=1.5))
    worker = spec["worker"]["spec"]["containers"][0]
    assert "--nthreads 1 --memory-limit 2147483648" in " ".join(worker["command"])
    assert {"name": "OMP_NUM_THREADS", "value": "1"} in worker["env"]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": spec["scheduler"]["service"]}
    kubernetes_validate.validate(service, VERSION, strict=True)
    wrong = as_pod(spec["worker"])
    wrong["spec"] = wrong["spec"] | {"volume": []}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSION, strict=True)


def test_kubernetes_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
        "users": [{"name": "u", "user": {"token": "x"}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    with pytest.raises(UnavailableError, match="KUBERNETES_UNAVAILABLE namespace eco") as caught, started(pods()):
        pass
    assert caught.value.exit_code == ExitCode.UNAVAILABLE


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda p: p.stem)
def test_manifests_fit_the_schema_and_a_typing_slip_does_not(path: Path) -> None:
    (manifest,) = yaml.safe_load_all(path.read_text("utf-8"))
    for version in (OLDEST[path.stem], kubernetes_validate.latest_version()):
        kubernetes_validate.validate(manifest, version, strict=True)
    job = manifest["spec"]["jobTemplate"]["spec"] if manifest["kind"] == "CronJob" else manifest["spec"]
    for where, key in ((manifest["spec"], next(iter(manifest["spec"]))), (job, "podFailurePolicy")):
        value = where.pop(key)
        where[f"{key}x"] = value
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(manifest, VERSION, strict=True)
        del where[f"{key}x"]
        where[key] = value
    kubernetes_validate.validate(manifest, VERSION, strict=True)


def rules(manifest: dict[str, Any]) -> dict[int, str]:
    """What becomes of a pod by its exit code."""
    job = manifest["spec"]["jobTemplate"]["spec"] if manifest["kind"] == "CronJob" else manifest["spec"]
    names = {container["name"] for container in job["template"]["spec"]["containers"]}
    found = {}
    for rule in job["podFailurePolicy"]["rules"]:
        if "onExitCodes" in rule:
            assert rule["onExitCodes"]["containerName"] in names and rule["onExitCodes"]["operator"] == "In"
            found |= dict.fromkeys(rule["onExitCodes"]["values"], rule["action"])
    return found


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda p: p.stem)
def test_manifests_act_on_our_exit_codes(path: Path) -> None:
    manifest = yaml.safe_load(path.read_text("utf-8"))
    told = rules(manifest)
    ends = "FailIndex" if path.stem == "shard-job" else "FailJob"
    assert {told[code] for code in (ExitCode.BAD_INPUT, ExitCode.BAD_CONFIG, ExitCode.USAGE)} == {ends}
    assert {told[code] for code in (ExitCode.TRY_AGAIN, ExitCode.UNAVAILABLE, ExitCode.CANNOT_WRITE)} == {"Count"}
    assert told[ExitCode.PARTIAL] == ("Count" if path.stem == "shard-job" else "FailJob")


def test_an_indexed_job_covers_every_shard() -> None:
    manifest = yaml.safe_load((ROOT / "configs/kubernetes/shard-job.yaml").read_text("utf-8"))
    job = manifest["spec"]
    (container,) = job["template"]["spec"]["containers"]
    assert job["completionMode"] == "Indexed" and job["backoffLimitPerIndex"] >= 1
    assert f"--shard=$(SHARD)/{job['completions']}" in container["args"]
    assert (
        yaml.safe_load((ROOT / "configs/kubernetes/cronjob.yaml").read_text())["spec"]["concurrencyPolicy"] == "Forbid"
    )


@pytest.mark.parametrize(
    ("workers", "jobs", "hands"),
    [
        ({"tcp://10.0.0.1:1": 1, "tcp://10.0.0.1:2": 1}, 1, 2),
        ({"tcp://10.0.0.1:1": 1, "tcp://10.0.0.1:2": 1}, 2, 1),
        ({"tcp://10.0.0.1:1": 1, "tcp://10.0.0.2:1": 1}, 1, 1),
        ({"inproc://127.0.0.1/7/1": 3}, 1, 3),
        ({f"tcp://127.0.0.1:{port}": 1 for port in range(9)}, 2, 4),
        ({}, 1, 1),
        ({"tcp://10.0.0.1:1": 1}, 0, 1),
    ],
)
def test_a_job_has_the_hands_of_workers_beside_it_that_wait(workers: dict[str, int], jobs: int, hands: int) -> None:
    assert hands_of(workers, jobs) == hands


def turn_ms(dask_worker: Any = None, dask_scheduler: Any = None) -> float:
    told: float = (dask_worker or dask_scheduler).periodic_callbacks["tick"].callback_time
    return told


def test_workers_that_wait_leave_the_cores_to_others() -> None:
    with started(Cluster(workers=1)) as engine:
        assert set(engine.client.run(turn_ms).values()) == {1000}
        assert engine.client.run_on_scheduler(turn_ms) == 1000


def test_jobs_that_are_done_are_not_remembered_with_their_arguments() -> None:
    jobs = [Job(None, repr, (SimpleNamespace(asked_by_this_test=number),)) for number in range(150)]
    with started(Cluster(workers=1)) as engine:
        assert [error for _, error in engine.each(jobs)] == [None] * 150
        del jobs
        gc.collect()
        left = [o for o in gc.get_objects() if isinstance(o, SimpleNamespace) and "asked_by_this_test" in vars(o)]
    # Dask itself would keep the last thousand.
    assert len(left) < 50


def test_jobs_and_pods_read_the_same_settings_from_their_environment() -> None:
    keys = [key for key in DASK_SETTINGS if key.startswith(("distributed.worker.", "distributed.admin."))]
    program = "import json, sys, dask, distributed; print(json.dumps([dask.config.get(key) for key in sys.argv[1:]]))"
    told = subprocess.run(
        [sys.executable, "-c", program, *keys], env=os.environ | REMOTE_ENVIRONMENT, check=True, capture_output=True
    )
    assert json.loads(told.stdout) == [DASK_SETTINGS[key] for key in keys] and len(keys) == 5
