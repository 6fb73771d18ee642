"""Who is told of the end of a run, and how. Nothing here can change a result."""

from __future__ import annotations

from pydantic import Field

from .model import FilePath, Settings


class Notify(Settings):
    """What is written and sent at the end of a run, well or not."""

    metrics: FilePath | None = Field(
        default=None,
        description="Text file for Prometheus' node exporter, one per review: …/ecowatch_half_yearly.prom.",
    )
    targets_file: FilePath | None = Field(
        default=None,
        description="File with one apprise address per line; they hold secrets: readable by its owner only.",
    )
    targets_env: str | None = Field(
        default=None, description="Environment variable with such addresses, one per line, instead of a file."
    )
