"""Where the work runs: workers, memory, tile size. Nothing here can change a result."""

from __future__ import annotations

from pydantic import Field, field_validator

from ..grid import BLOCK_PX
from .model import Settings


class Cluster(Settings):
    """One place to compute."""

    scheduler: str = Field(
        default="processes",
        description="processes or threads on this machine, or the address of a Dask scheduler: tcp://host:8786.",
    )
    workers: int = Field(default=2, ge=1, description="Workers on this machine; a tcp scheduler brings its own.")
    memory_limit: str = Field(default="2GiB", description="Memory at which a local worker process is restarted.")
    tile_px: int = Field(
        default=5632, ge=64, description="Side of a tile in pixels; a multiple of 512 reads each block once."
    )
    tasks_per_worker: int = Field(default=2, ge=1, description="Tiles under way per worker; the rest wait.")

    @field_validator("scheduler")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value not in ("processes", "threads") and not value.startswith(("tcp://", "tls://")):
            raise ValueError("is none of processes, threads, tcp://host:port")
        return value

    @field_validator("tile_px")
    @classmethod
    def _fits_blocks(cls, value: int) -> int:
        if value % BLOCK_PX and BLOCK_PX % value:
            raise ValueError(f"must divide {BLOCK_PX} or be a multiple of it")
        return value
