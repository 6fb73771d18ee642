"""Fixtures of the walk: small reviews of any scenes, runs in this process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import pytest
import shapely

from ecowatch.review import RunResult, run_review
from ecowatch.settings import AreaSource, Cluster, Review, SceneSource, load

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Run:
    """A finished run, read back from its files."""

    result: RunResult

    @property
    def package(self) -> Path:
        return self.result.folder / "flagged.gpkg"

    def layer(self, name: str = "patch") -> geopandas.GeoDataFrame:
        return geopandas.read_file(self.package, layer=name)

    @property
    def record(self) -> dict[str, Any]:
        return json.loads((self.result.folder / "run.json").read_text("utf-8"))

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.package.read_bytes()).hexdigest()


def demo_review(sample: Path, runs: Path, **changes: object) -> Review:
    """The shipped half-yearly review, over a sample that lies elsewhere."""
    review = load(Review, ROOT / "configs" / "half_yearly.toml")
    areas = tuple(a.model_copy(update={"path": sample / a.path.name}) for a in review.areas)
    sources = tuple(s.model_copy(update={"path": sample / s.path.name}) for s in review.sources)
    return review.model_copy(update={"roots": (sample,), "areas": areas, "sources": sources, "runs": runs} | changes)


def run(review: Review, **cluster: object) -> Run:
    """Carry a review out in this process."""
    settings = {"scheduler": "threads", "workers": 2} | cluster
    return Run(run_review(review, Cluster(**settings)))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def demo_run(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(demo_review(sample, tmp_path_factory.mktemp("runs")))


Reviewer = Callable[..., Review]


@pytest.fixture
def reviewer(tmp_path: Path) -> Reviewer:
    """Make a review of one folder of scenes and one rectangle or polygon, given with its CRS."""

    def make(scenes: Path, outline: shapely.Polygon, crs: str, source: dict[str, Any], **changes: object) -> Review:
        boundary = tmp_path / "area.gpkg"
        geopandas.GeoDataFrame({"id": ["a"], "name": ["区"]}, geometry=[outline], crs=crs).to_file(boundary)
        settings: dict[str, Any] = {
            "name": "test",
            "period": "2026H1",
            "roots": (tmp_path, scenes),
            "runs": tmp_path / "runs",
            "pipelines": ROOT / "pipelines",
            "areas": (AreaSource(path=boundary, id_field="id", name_field="name"),),
            "sources": (SceneSource(path=scenes, **source),),
        }
        return Review(**(settings | changes))

    return make
