"""The settings files that the repository ships, as values; ``configs/`` and ``pipelines/`` are printed from these."""

from __future__ import annotations

from pathlib import Path

from ..codes import AreaGrade
from .cluster import Cluster, Kubernetes, Queue
from .example import commented_toml
from .ledger import Graded, LedgerSettings
from .pipeline import (
    Pipeline,
    bitemporal_pipeline,
    buildings_pipeline,
    joined_pipeline,
    rgb_pipeline,
    sar_pipeline,
    uav_pipeline,
    vhr_pipeline,
)
from .review import AreaSource, BandDescription, Review, SceneSource

_DEMO = Path("../sample_data/demo")


def _demo_review(name: str, period: str, only: tuple[str, ...] = ()) -> Review:
    return Review(
        name=name,
        period=period,
        roots=(_DEMO,),
        only=only,
        areas=(
            AreaSource(path=_DEMO / "reserve.geojson", id_field="area_id", name_field="name", zone_field="zone"),
            AreaSource(path=_DEMO / "redline.geojson", kind="red_line", id_field="area_id", name_field="name"),
        ),
        sources=(
            SceneSource(path=_DEMO / "sentinel2", product="safe"),
            SceneSource(path=_DEMO / "uav", product="geotiff", sensor="uav_rgb", pipeline="uav"),
        ),
    )


def shipped_pipelines() -> dict[str, Pipeline]:
    """Return the shipped pipelines by name: one per class of sensor."""
    made = (
        bitemporal_pipeline(),
        buildings_pipeline(),
        rgb_pipeline(),
        joined_pipeline(),
        sar_pipeline(),
        uav_pipeline(),
        vhr_pipeline(),
    )
    return {pipeline.name: pipeline for pipeline in made}


def _plain_review() -> Review:
    return Review(
        name="example",
        period="2026H1",
        roots=(Path("data"),),
        runs=Path("runs"),
        pipelines=Path("pipelines"),
        areas=(AreaSource(path=Path("data/areas.gpkg"), id_field="area_id"),),
        sources=(
            SceneSource(
                path=Path("data/scenes"),
                product="geotiff",
                sensor="plain",
                bands=(
                    BandDescription(role="red", index=1, scale=0.0001),
                    BandDescription(role="nir", index=2),
                ),
            ),
        ),
    )


def shipped_files() -> dict[str, str]:
    """Return the text of every shipped settings file by its path in the repository."""
    return {
        "pipelines/bitemporal.toml": commented_toml(
            bitemporal_pipeline(),
            title="Two dates of a multispectral satellite sensor: IR-MAD, hysteresis, patches.",
        ),
        "pipelines/buildings.toml": commented_toml(
            buildings_pipeline(), title="Two colour pictures of half a metre or finer: buildings that came or went."
        ),
        "pipelines/rgb.toml": commented_toml(
            rgb_pipeline(), title="Two colour pictures of about 10 m, stretched for display: colour and structure."
        ),
        "pipelines/rgb_sar.toml": commented_toml(
            joined_pipeline(), title="Colour pictures of about 10 m and radar of the same place, joined."
        ),
        "pipelines/vhr.toml": commented_toml(
            vhr_pipeline(), title="Two colour pictures of about 2 m: colour, structure and gain of texture."
        ),
        "pipelines/sar.toml": commented_toml(
            sar_pipeline(),
            title="Two dates of calibrated radar backscatter, one track: log-ratio, near and over a region.",
        ),
        "pipelines/uav.toml": commented_toml(
            uav_pipeline(), title="Two RGB orthomosaics of a UAV: colour and texture, hysteresis, patches."
        ),
        "configs/half_yearly.toml": commented_toml(
            _demo_review("half_yearly", "2026H1"),
            title="A half-yearly review; as shipped it reviews the demo's sample.",
        ),
        "configs/annual.toml": commented_toml(
            _demo_review("annual", "2026"), title="A yearly review; as shipped it reviews the demo's sample."
        ),
        "configs/single_area.toml": commented_toml(
            _demo_review("single_area", "2026H1", only=("demo-reserve",)),
            title="One area of a review, by its identity.",
        ),
        "configs/ledger.toml": commented_toml(
            LedgerSettings(graded=(Graded(grade=AreaGrade.NATIONAL_RESERVE, areas=("demo-reserve",)),)),
            title="The ledger of this node; as shipped it takes the demo's areas.",
        ),
        "configs/cluster_local.toml": commented_toml(
            Cluster(), title="This machine: worker processes, one thread each."
        ),
        "configs/cluster_slurm.toml": commented_toml(
            Cluster(scheduler="slurm", workers=20, queue=Queue(log_folder=Path("../runs/jobs"))),
            title="Jobs of SLURM: one worker each, replaced when lost; docs/cluster.md.",
        ),
        "configs/cluster_pbs.toml": commented_toml(
            Cluster(scheduler="pbs", workers=20, queue=Queue(log_folder=Path("../runs/jobs"))),
            title="Jobs of PBS: one worker each, replaced when lost; docs/cluster.md.",
        ),
        "configs/cluster_kubernetes.toml": commented_toml(
            Cluster(
                scheduler="kubernetes", workers=20, kubernetes=Kubernetes(image="ecowatch:0.1.0", claim="ecowatch-data")
            ),
            title="Pods of Kubernetes, started by the Dask operator; docs/cluster.md.",
        ),
        "example": commented_toml(_plain_review(), title="A review of one's own scenes and boundaries."),
    }
