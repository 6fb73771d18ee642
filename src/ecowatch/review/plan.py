"""What a review will do: areas, scenes, comparisons, tiles, and what of it is already done."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import shapely
from pyproj import CRS

from ..areas import Area, Carriers, read_areas, read_carriers
from ..atomic import write_text
from ..errors import BoundaryError, ConfigError, EcowatchError, SceneError
from ..grid import BLOCK_PX
from ..scenes import Quarantined, Scene, find_scenes
from ..settings import Cluster, Pipeline, Review, load
from .choice import footprint
from .fit import area_blocks
from .pair import Comparison, code_digest, compare, joined
from .tile import Task

# Raw megabytes that one worker decodes and scores per second, as measured on DEFLATE-compressed GeoTIFF; JPEG 2000 is slower.
_MB_PER_SECOND = {"GTiff": 180.0, "JP2OpenJPEG": 10.0}
_FIT_SECONDS = 5.0


@dataclass(frozen=True)
class Unpaired:
    """An area that cannot be compared under a pipeline, and why; it is reported as not observed."""

    area: Area
    pipeline: Pipeline | None
    code: str
    finding: str


@dataclass(frozen=True)
class Plan:
    """Everything a review will do, before any tile is read.

    Parameters
    ----------
    review
        Its settings.
    areas
        Areas under review, in the order of their identities.
    neighbours
        All areas of the boundary layers: overlaps are listed against these.
    carriers
        What was there before, if given.
    comparisons
        Pairs of dates to compare.
    unpaired
        Areas without a pair, by pipeline.
    quarantined
        Scenes that cannot be trusted.
    scenes_found
        Number of scenes that can.
    """

    review: Review
    areas: tuple[Area, ...]
    neighbours: tuple[Area, ...]
    carriers: Carriers | None
    comparisons: tuple[Comparison, ...]
    unpaired: tuple[Unpaired, ...]
    quarantined: tuple[Quarantined, ...]
    scenes_found: int

    @cached_property
    def run_id(self) -> str:
        """Sixteen digits that stand for the inputs, the boundaries and the pipelines of the run."""
        carriers = self.carriers.version if self.carriers else None
        text = json.dumps(
            [
                code_digest(),
                self.review.period,
                self.review.output.model_dump(mode="json"),
                sorted(self.review.allow_datum),
                [area.version for area in self.areas],
                sorted(area.version for area in self.neighbours),
                carriers,
                sorted(c.key for c in self.comparisons),
                sorted([u.area.area_id, u.code] for u in self.unpaired),
                sorted([q.code, Path(q.where).name] for q in self.quarantined),
            ]
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def allowed(self) -> frozenset[str]:
        """Datums that may be taken as equal."""
        return frozenset(self.review.allow_datum)

    @property
    def run_folder(self) -> Path:
        """Where the products of this run lie."""
        return self.review.runs / self.review.name / self.run_id

    @property
    def work_folder(self) -> Path:
        """Where fits and tiles are kept from run to run."""
        return self.review.runs / self.review.name / "work"


class PlannedTask(NamedTuple):
    """A task with what is known of it before it runs."""

    task: Task
    path: Path
    status: str
    blocks: int
    megabytes: float
    seconds: float


def make_plan(review: Review) -> Plan:
    """Find areas and scenes, choose the pairs.

    Raises
    ------
    BoundaryError
        Where a boundary layer cannot be read, an area of `review.only` is unknown, or no scene overlaps any area.
    SceneError
        ``NO_SCENES`` where the folders hold none at all.
    ConfigError
        Where a path or a pipeline file is missing.
    """
    _check_roots(review)
    neighbours = tuple(area for source in review.areas for area in read_areas(source, review.roots))
    areas = _selected(neighbours, review)
    carriers = read_carriers(review.carrier, review.roots) if review.carrier else None
    by_pipeline: dict[str, list[Scene]] = {}
    quarantined: list[Quarantined] = []
    for source in review.sources:
        catalog = find_scenes(source, review.roots)
        by_pipeline.setdefault(source.pipeline, []).extend(catalog.scenes)
        quarantined.extend(catalog.quarantined)
    found = sum(len(scenes) for scenes in by_pipeline.values())
    if found == 0 and not quarantined:
        folders = ", ".join(str(source.path) for source in review.sources)
        raise SceneError("NO_SCENES", folders, "no scene was found", "check path, product and date_pattern")
    comparisons, unpaired = _compared(review, areas, by_pipeline)
    return Plan(review, areas, neighbours, carriers, comparisons, unpaired, tuple(quarantined), found)


def _check_roots(review: Review) -> None:
    for root in review.roots:
        if not root.is_dir():
            raise ConfigError("PATH_MISSING", root, "no such folder", "correct 'roots'")


def _selected(areas: Sequence[Area], review: Review) -> tuple[Area, ...]:
    known = {area.area_id for area in areas}
    if len(known) < len(areas):
        ids = [area.area_id for area in areas]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        raise BoundaryError("AREA_TWICE", twice[0], "two boundary layers hold this identity", "make identities unique")
    missing = sorted(set(review.only) - known)
    if missing:
        raise BoundaryError(
            "AREA_UNKNOWN", missing[0], "no boundary layer holds it", f"known: {', '.join(sorted(known))}"
        )
    chosen = [area for area in areas if not review.only or area.area_id in review.only]
    return tuple(sorted(chosen, key=lambda area: area.area_id))


def _compared(
    review: Review, areas: Sequence[Area], by_pipeline: dict[str, list[Scene]]
) -> tuple[tuple[Comparison, ...], tuple[Unpaired, ...]]:
    allowed = frozenset(review.allow_datum)
    geographic = CRS.from_epsg(4490)
    comparisons: list[Comparison] = []
    unpaired: list[Unpaired] = []
    touched = False
    outlines = [area.in_crs(geographic, allowed).geometry for area in areas]
    for name, scenes in sorted(by_pipeline.items()):
        pipeline = load(Pipeline, review.pipelines / f"{name}.toml")
        footprints = shapely.STRtree([footprint(s, geographic, allowed | {"EPSG:4326=EPSG:4490"}) for s in scenes])
        for area, outline in zip(areas, outlines, strict=True):
            over = [scenes[i] for i in sorted(footprints.query(outline, predicate="intersects"))]
            if not over:
                continue
            touched = True
            try:
                comparisons.append(
                    compare(
                        area,
                        over,
                        pipeline,
                        period=review.period,
                        before_range=review.before_range,
                        after_range=review.after_range,
                        allowed=allowed,
                    )
                )
            except EcowatchError as error:
                unpaired.append(Unpaired(area, pipeline, error.code, f"{error.finding}; {error.remedy}"))
    if not touched and any(by_pipeline.values()):
        raise BoundaryError(
            "NO_OVERLAP",
            ", ".join(str(source.path) for source in review.areas),
            f"none of its {len(areas)} areas overlaps any of the {sum(map(len, by_pipeline.values()))} scenes",
            "check the CRS of both and the order of the axes",
        )
    comparisons += _joined(review, comparisons, allowed)
    seen = {c.area.area_id for c in comparisons} | {u.area.area_id for u in unpaired}
    unpaired += [Unpaired(a, None, "NO_PAIR", "no scene overlaps the area") for a in areas if a.area_id not in seen]
    return tuple(comparisons), tuple(unpaired)


def _joined(review: Review, comparisons: Sequence[Comparison], allowed: frozenset[str]) -> list[Comparison]:
    """For every area that has all that a joining pipeline joins, one comparison more."""
    found = {(c.area.area_id, c.pipeline.name): c for c in comparisons}
    made = []
    for name in review.joined:
        pipeline = load(Pipeline, review.pipelines / f"{name}.toml")
        if not pipeline.joins:
            raise ConfigError("NOTHING_JOINED", name, "its 'joins' is empty", "name the pipelines it joins")
        for area_id in sorted({area for area, _ in found}):
            parts = [found.get((area_id, part)) for part in pipeline.joins]
            if all(parts):
                made.append(joined([part for part in parts if part is not None], pipeline, allowed))
    return made


def planned_tasks(plan: Plan, cluster: Cluster) -> list[PlannedTask]:
    """Cut every comparison into tiles and say of each whether it is new, done already, or to be done anew.

    Only tiles that touch their area are listed.
    """
    tasks = []
    for comparison in plan.comparisons:
        for tile in comparison.grid.tiles(cluster.tile_px):
            blocks = len(area_blocks(comparison, tile))
            if blocks:
                task = Task(comparison, tile, plan.review.output.rasters)
                tasks.append(_planned(plan, task, blocks))
    return tasks


def slug(text: str) -> str:
    """Return a file name for an identity from outside: its plain characters and eight digits of its hash."""
    plain = re.sub(r"[^A-Za-z0-9-]+", "_", text)[:40]
    return f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _planned(plan: Plan, task: Task, blocks: int) -> PlannedTask:
    comparison = task.comparison
    folder = plan.work_folder / slug(comparison.area.area_id) / comparison.pipeline.name
    place = "_".join(map(str, task.tile))
    path = folder / f"{place}.{task.key[:20]}.npz"
    redone = any(folder.glob(f"{place}.*.npz"))
    status = "skip" if path.exists() else "recompute" if redone else "new"
    layers = [g.scenes[0].band(r).layer for g in (comparison.before, comparison.after) for r in comparison.roles]
    item_bytes = {"uint8": 1, "int8": 1}
    megabytes = {"GTiff": 0.0, "JP2OpenJPEG": 0.0}
    for layer in layers:
        coarser = (comparison.grid.pixel_m / layer.grid.pixel_m) ** 2
        size = blocks * BLOCK_PX**2 * min(coarser, 16) * item_bytes.get(layer.dtype, 2) / 1e6
        megabytes[layer.driver] = megabytes.get(layer.driver, 0.0) + size
    seconds = sum(size / _MB_PER_SECOND.get(driver, 100.0) for driver, size in megabytes.items())
    return PlannedTask(task, path, status, blocks, sum(megabytes.values()), seconds)


def write_plan(plan: Plan, tasks: Sequence[PlannedTask], path: Path) -> None:
    """Write one JSON line per tile: area, pipeline, tile, dates, scenes, status, cost."""
    lines = []
    for item in tasks:
        c = item.task.comparison
        lines.append(
            json.dumps(
                {
                    "run_id": plan.run_id,
                    "area_id": c.area.area_id,
                    "pipeline": c.pipeline.name,
                    "tile": list(item.task.tile),
                    "key": item.task.key,
                    "status": item.status,
                    "before_date": c.before.day.isoformat(),
                    "after_date": c.after.day.isoformat(),
                    "before_scenes": c.before.scene_ids,
                    "after_scenes": c.after.scene_ids,
                    "why": c.why,
                    "blocks": item.blocks,
                    "megabytes": round(item.megabytes, 1),
                    "seconds": round(item.seconds, 2),
                },
                ensure_ascii=False,
            )
        )
    write_text(path, "".join(line + "\n" for line in lines))


def expected_minutes(tasks: Sequence[PlannedTask], workers: int) -> float:
    """Return the expected minutes of the tiles that are not done yet, and of their fits, on `workers` workers."""
    todo = [item for item in tasks if item.status != "skip"]
    fits = len({item.task.comparison.key for item in todo})
    return (sum(item.seconds for item in todo) + fits * _FIT_SECONDS) / max(workers, 1) / 60
