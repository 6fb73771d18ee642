"""Where the work runs: workers, memory, tile size, batch system. Nothing here can change a result."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from ..grid import BLOCK_PX
from .model import FilePath, Settings
from .notify import Notify

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_PLACES = ("processes", "threads", "slurm", "pbs", "kubernetes")


def bytes_of(size: str) -> int:
    """Return a size such as ``2GiB`` or ``1500 MB`` in bytes.

    Raises
    ------
    ValueError
        Where it is no number with a unit.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?i?B)", size.strip(), re.IGNORECASE)
    if found is None or found[2].upper() not in _UNITS:
        raise ValueError("is no size such as 2GiB or 1500MB")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def seconds_of(walltime: str) -> int:
    """Return a time limit, ``HH:MM:SS`` or ``D-HH:MM:SS``, in seconds.

    Raises
    ------
    ValueError
        Where it is neither.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)", walltime)
    if found is None:
        raise ValueError("is no time limit such as 04:00:00 or 2-00:00:00")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _plain(value: str | None) -> str | None:
    # These go into the head of a job script or a manifest, where a blank would begin another option.
    if value is not None and not re.fullmatch(r"[\w.@:/+-]+", value):
        raise ValueError("holds a blank or a sign that has no place in a name")
    return value


def _size(value: str) -> str:
    bytes_of(value)
    return value


class Queue(Settings):
    """What a job of a batch system asks for; one job is one worker process with one thread."""

    partition: str | None = Field(default=None, description="SLURM partition or PBS queue; the site's own without it.")
    account: str | None = Field(default=None, description="Account or project that pays; the site's own without it.")
    walltime: str = Field(default="04:00:00", description="Time limit of a job, HH:MM:SS.")
    lifetime_margin_s: int = Field(
        default=300, ge=30, description="Seconds before that limit at which a worker hands over and leaves."
    )
    cores: int = Field(default=1, ge=1, description="Cores reserved per job, where a site asks for more than one.")
    memory: str = Field(default="3GiB", description="Memory reserved per job; more than memory_limit.")
    interface: str | None = Field(
        default=None, description="Network interface that jobs and this machine share, such as ib0; chosen without it."
    )
    log_folder: FilePath = Field(default=Path("runs/jobs"), description="Where the jobs' own words go.")
    directives: tuple[str, ...] = Field(
        default=(), description="Further options of a job, each one string: '--constraint=haswell', '-l place=free'."
    )
    python: str | None = Field(
        default=None, description="Python that has ecowatch on the nodes; the one that runs this without it."
    )

    _names = field_validator("partition", "account", "interface", "python")(_plain)

    @field_validator("walltime")
    @classmethod
    def _is_time(cls, value: str) -> str:
        seconds_of(value)
        return value

    @field_validator("lifetime_margin_s")
    @classmethod
    def _leaves_time(cls, value: int, info: ValidationInfo) -> int:
        walltime = info.data.get("walltime")
        if walltime is not None and value * 2 > seconds_of(walltime):
            raise ValueError(f"is more than half of walltime {walltime}")
        return value

    _sizes = field_validator("memory")(_size)

    @field_validator("directives")
    @classmethod
    def _are_options(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for line in value:
            if not line.startswith("-") or not line.isprintable():
                raise ValueError("each must be one line that begins with '-'")
        return value

    @field_validator("log_folder")
    @classmethod
    def _is_one_word(cls, value: Path) -> Path:
        if not re.fullmatch(r"[^\s'\"\\$`%]+", value.as_posix()):
            raise ValueError("a path in the head of a job script may hold no blank and no quote")
        return value

    @property
    def lifetime_s(self) -> int:
        """Seconds after which a worker leaves, give or take half the margin: workers must not all leave at once."""
        return seconds_of(self.walltime) - self.lifetime_margin_s


class Kubernetes(Settings):
    """Worker pods, started by the Dask operator."""

    image: str = Field(description="Container image that has ecowatch with its extra 'cluster'.")
    namespace: str = Field(default="default", description="Namespace of the pods.")
    claim: str = Field(description="PersistentVolumeClaim (ReadWriteMany) that holds inputs, pipelines and runs.")
    mount: str = Field(default="/data", description="Where it is mounted; the same path here and in every pod.")
    cpu: float = Field(default=1.0, gt=0, description="Cores requested per pod; a worker has one thread.")
    memory: str = Field(default="3GiB", description="Memory requested per pod; more than memory_limit.")

    _names = field_validator("image", "namespace", "claim", "mount")(_plain)

    @field_validator("mount")
    @classmethod
    def _is_absolute(cls, value: str) -> str:
        if not value.startswith("/"):
            raise ValueError("must be an absolute path")
        return value

    _sizes = field_validator("memory")(_size)


class Cluster(Settings):
    """One place to compute."""

    scheduler: str = Field(
        default="processes",
        description="processes or threads on this machine; slurm or pbs with [queue]; kubernetes with [kubernetes]; "
        "or the address of a Dask scheduler: tcp://host:8786.",
    )
    workers: int = Field(
        default=2, ge=1, description="Workers here, or jobs or pods to keep up; a tcp scheduler brings its own."
    )
    memory_limit: str = Field(default="2GiB", description="Memory at which a worker process is restarted.")
    memory_budget: str = Field(
        default="150MiB",
        description="What a worker may take beyond its imports; how many decoded blocks it keeps, and how wide tiles are, "
        "follows from it.",
    )
    reader: Literal["rasterio", "fast"] = Field(
        default="rasterio",
        description="Who decodes: rasterio, or fast for plainly tiled GeoTIFF (the extra fast); the same numbers.",
    )
    tile_px: int = Field(
        default=5632,
        ge=64,
        description="Largest side of a tile in pixels; a multiple of 512 reads each block once. The budget may make tiles "
        "narrower.",
    )
    tasks_per_worker: int = Field(default=2, ge=1, description="Tiles under way per worker; the rest wait.")
    worker_wait_s: int = Field(
        default=600,
        ge=1,
        description="Seconds without any worker, at the start or later, after which a run gives up; then resume.",
    )
    queue: Queue | None = Field(
        default=None, validate_default=True, description="Jobs of SLURM or PBS; see configs/cluster_slurm.toml."
    )
    kubernetes: Kubernetes | None = Field(
        default=None, validate_default=True, description="Pods of Kubernetes; see configs/cluster_kubernetes.toml."
    )
    notify: Notify | None = Field(
        default=None, description="Who is told of the end of a run: metrics, targets_file, targets_env."
    )

    @field_validator("scheduler")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value not in _PLACES and not value.startswith(("tcp://", "tls://")):
            raise ValueError(f"is none of {', '.join(_PLACES)}, tcp://host:port")
        return value

    _sizes = field_validator("memory_limit", "memory_budget")(_size)

    @field_validator("tile_px")
    @classmethod
    def _fits_blocks(cls, value: int) -> int:
        if value % BLOCK_PX and BLOCK_PX % value:
            raise ValueError(f"must divide {BLOCK_PX} or be a multiple of it")
        return value

    @field_validator("queue", "kubernetes")
    @classmethod
    def _belongs(cls, value: Queue | Kubernetes | None, info: ValidationInfo) -> Queue | Kubernetes | None:
        scheduler = info.data.get("scheduler")
        if scheduler is None:
            return value
        name = str(info.field_name)
        users = ("slurm", "pbs") if name == "queue" else ("kubernetes",)
        if value is None and scheduler in users:
            shipped = f"configs/cluster_{scheduler}.toml"
            raise ValueError(f"scheduler {scheduler!r} needs the table [{name}]; {shipped} shows one")
        if value is not None and scheduler not in users:
            raise ValueError(f"the table [{name}] is for {' and '.join(users)}, and scheduler is {scheduler!r}")
        limit = info.data.get("memory_limit")
        if value is not None and limit is not None and bytes_of(value.memory) <= bytes_of(limit):
            raise ValueError(f"its memory {value.memory} is not more than memory_limit {limit}")
        return value

    @property
    def cache_bytes(self) -> int:
        """Bytes of decoded blocks that a worker keeps: the rest of its budget is for what it computes from them."""
        return int(0.4 * bytes_of(self.memory_budget))

    @property
    def elastic(self) -> bool:
        """Whether workers come and go while a review runs: jobs and pods start when the site lets them."""
        return self.scheduler in ("slurm", "pbs", "kubernetes")
