"""The cluster file: what each scheduler needs, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecowatch.errors import ConfigError, ExitCode
from ecowatch.settings import Cluster, Kubernetes, Queue, bytes_of, load, seconds_of

ROOT = Path(__file__).parents[2]
QUEUE = '[queue]\npartition = "main"\n'
PODS = '[kubernetes]\nimage = "ecowatch:1"\nclaim = "data"\n'


@pytest.mark.parametrize("name", ["local", "slurm", "pbs", "kubernetes"])
def test_shipped_cluster_files_load(name: str) -> None:
    cluster = load(Cluster, ROOT / f"configs/cluster_{name}.toml")
    assert cluster.scheduler == ("processes" if name == "local" else name)
    assert cluster.elastic == (name != "local")
    assert (cluster.queue is not None) == (name in ("slurm", "pbs"))
    assert (cluster.kubernetes is not None) == (name == "kubernetes")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('scheduler = "slurm"', "needs the table [queue]; configs/cluster_slurm.toml shows one"),
        ('scheduler = "pbs"', "needs the table [queue]; configs/cluster_pbs.toml shows one"),
        ('scheduler = "kubernetes"', "needs the table [kubernetes]; configs/cluster_kubernetes.toml shows one"),
        (QUEUE, "the table [queue] is for slurm and pbs, and scheduler is 'processes'"),
        ('scheduler = "slurm"\n' + QUEUE + PODS, "the table [kubernetes] is for kubernetes, and scheduler is 'slurm'"),
        ('scheduler = "sge"', "none of processes, threads, slurm, pbs, kubernetes, tcp://host:port"),
        ('scheduler = "slurm"\n[queue]\nwaltime = "1:00:00"', "did you mean 'walltime'?"),
        ('scheduler = "slurm"\n[queue]\nwalltime = "90"', "no time limit such as 04:00:00"),
        ('scheduler = "slurm"\n[queue]\nwalltime = "00:08:00"\nlifetime_margin_s = 300', "more than half of walltime"),
        ('scheduler = "slurm"\n[queue]\nmemory = "2GiB"', "not more than memory_limit 2GiB"),
        ('scheduler = "slurm"\n[queue]\nmemory = "lots"', "no size such as 2GiB"),
        ('scheduler = "slurm"\n[queue]\npartition = "a b"', "a blank"),
        ('scheduler = "slurm"\n[queue]\ndirectives = ["x"]', "begins with '-'"),
        ('scheduler = "slurm"\n[queue]\ndirectives = ["-a\\n#SBATCH -b"]', "one line"),
        ('scheduler = "slurm"\n[queue]\nlog_folder = "my logs"', "no blank"),
        ('scheduler = "kubernetes"\n[kubernetes]\nimage = "a"', "'kubernetes.claim' is missing"),
        ('scheduler = "kubernetes"\n' + PODS + 'mount = "data"', "absolute path"),
        ('memory_limit = "2"', "no size such as 2GiB"),
    ],
)
def test_what_is_refused_names_key_and_remedy(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load(Cluster, path)
    assert caught.value.exit_code == ExitCode.BAD_CONFIG
    assert words in str(caught.value)


def test_sizes_and_times() -> None:
    assert [bytes_of(s) for s in ("2GiB", "1.5 MB", "10kb", "7B")] == [2 * 2**30, 1_500_000, 10_000, 7]
    assert [seconds_of(s) for s in ("00:10:00", "04:00:30", "1-00:00:00", "36:00:00")] == [600, 14_430, 86_400, 129_600]


def test_a_worker_leaves_before_its_job_ends() -> None:
    queue = Queue(walltime="01:00:00", lifetime_margin_s=600)
    latest_s = queue.lifetime_s + queue.lifetime_margin_s / 2
    assert latest_s < seconds_of(queue.walltime)


def test_log_folder_counts_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('scheduler = "slurm"\n[queue]\nlog_folder = "logs"', "utf-8")
    cluster = load(Cluster, tmp_path / "c.toml")
    assert cluster.queue is not None and cluster.queue.log_folder == tmp_path / "logs"


def test_models_are_values() -> None:
    pods = Kubernetes(image="a", claim="b")
    assert (
        Cluster(scheduler="kubernetes", kubernetes=pods).digest()
        == Cluster(scheduler="kubernetes", kubernetes=pods).digest()
    )
