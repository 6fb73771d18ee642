"""The record of a run: what went in, what came out, what was not seen, what failed."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from ..areas import overlaps_between, union_area_m2
from ..atomic import replacing, storage_error
from ..codes import Limit
from ..grid import geodesic_area_m2
from ..patches import limits_of
from ..settings import Pipeline
from .plan import Plan
from .result import AreaResult
from .versions import software_versions

RECORD_NAME = "run.json"
LIMITS = (
    "A patch of stage one_date rests on two dates only; see the columns stage and time_facts.",
    "What looked like a change and was set aside stands in the layer suppressed, with its reason.",
    "An activity is a rule's suggestion with its reasons, not a finding of fact.",
    "Not observed is never no change: see the layer not_observed.",
)


def provenance(plan: Plan) -> dict[str, Any]:
    """Return what both the GeoPackage and the record say of the making: inputs, pipelines, versions, limits."""
    scenes: dict[str, str] = {}
    pipelines: dict[str, Pipeline] = {}
    told: set[Limit] = set()
    for c in plan.comparisons:
        pipelines[c.pipeline.name] = c.pipeline
        scenes |= {s.scene_id: s.digest for g in (c.before, c.after, *c.earlier, *c.others) for s in g.scenes}
        told |= set(limits_of(c.grid.pixel_m, c.roles))
    # What the images of this run cannot show, each sentence in both languages, once.
    limits = [f"{limit.en} {limit.zh}" for limit in Limit if limit in told]
    return {
        "period": plan.review.period,
        "software": software_versions(),
        "pipelines": {n: {"version": p.version, "digest": p.digest()} for n, p in sorted(pipelines.items())},
        "scenes": dict(sorted(scenes.items())),
        "boundaries": {area.area_id: area.version for area in plan.areas},
        "limits": [*LIMITS, *limits],
    }


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return the record of a run folder, None where there is none or it cannot be read: then the run is not complete."""
    try:
        told = json.loads((folder / RECORD_NAME).read_text("utf-8"))
        known: dict[str, Any] = told | {"failures": list(told["failures"]), "products": dict(told["products"])}
        return known if "exit_code" in known else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def products_beside(folder: Path) -> Iterator[Path]:
    """Give a folder for the products of a run; when all are written, they go into the run's folder, the record last.

    Until then an attempt that was published with failures stays as it is; of what else lies there nothing is touched.

    Parameters
    ----------
    folder
        The run's own.

    Raises
    ------
    StorageError
        ``CANNOT_WRITE`` or ``DISK_FULL``.
    """
    beside = folder / ".new"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
    except OSError as error:
        raise storage_error(beside, error) from error
    try:
        yield beside
        _put_in_place(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _put_in_place(beside: Path, folder: Path) -> None:
    former = (read_record(folder) or {"products": {}})["products"]
    names = [path.name for path in beside.iterdir() if path.name != RECORD_NAME]
    try:
        # Without its record a run is not complete: nobody takes old and new products for one.
        (folder / RECORD_NAME).unlink(missing_ok=True)
        for name in {Path(name).name for name in former} - set(names):
            (folder / name).unlink(missing_ok=True)
        for name in (*names, RECORD_NAME):
            (beside / name).replace(folder / name)
    except OSError as error:
        raise storage_error(folder, error) from error


class Totals:
    """The totals of a run in hectares, area by area; ground that lies in several areas is counted once."""

    def __init__(self) -> None:
        self._crs: CRS | None = None
        self._areas: dict[str, BaseGeometry] = {}
        self._patches: list[BaseGeometry] = []
        self._patches_m2: list[float] = []

    def add(self, result: AreaResult) -> None:
        """Enter what was found of an area."""
        self._crs = result.area.crs
        self._areas[result.area.area_id] = result.area.geometry
        self._patches += [row["geometry"] for row in result.patches]
        self._patches_m2 += [row["area_m2"] for row in result.patches]

    def told(self) -> dict[str, Any]:
        """Return them."""
        if self._crs is None:
            return {"patches": 0, "patch_ha": 0.0, "area_ha": 0.0, "overlaps": []}
        overlaps = overlaps_between(self._areas, self._crs)
        return {
            "patches": len(self._patches),
            "patch_ha": round(union_area_m2(self._patches, self._crs, self._patches_m2) / 1e4, 4),
            "area_ha": round(union_area_m2(list(self._areas.values()), self._crs) / 1e4, 4),
            "overlaps": [{"areas": [a, b], "ha": round(m2 / 1e4, 4)} for a, b, m2 in overlaps],
        }


def coverage_row(result: AreaResult) -> dict[str, Any]:
    """Return the pixel accounting of an area under a pipeline, and what it was judged on.

    Parameters
    ----------
    result
        What was found of it.

    Raises
    ------
    AssertionError
        Where expected ≠ observed + not observed + failed: then the run must not be published.
    """
    c, comparison = result.coverage, result.comparison
    if c.not_observed_px < 0 or c.expected_px != c.observed_px + c.not_observed_px + c.failed_px:
        raise AssertionError(f"{result.area.area_id}: coverage does not add up: {c}")
    return {
        "area_id": result.area.area_id,
        "pipeline": result.pipeline.name if result.pipeline else None,
        "area_m2": round(geodesic_area_m2(result.area.geometry, result.area.crs), 1),
        "expected_px": c.expected_px,
        "observed_px": c.observed_px,
        "not_observed_px": c.not_observed_px,
        "failed_px": c.failed_px,
        "observed_share": c.observed_share,
        "inputs": _inputs(result),
        "why": comparison.why if comparison else None,
        "fit": dataclasses.asdict(result.fit) if result.fit else None,
        "note": result.note,
    }


def _inputs(result: AreaResult) -> dict[str, Any]:
    """What one area was judged on: the ledger enters an area anew only where any of this differs."""
    if result.comparison is None or result.pipeline is None:
        return {"scenes": {}, "pixel_m": None}
    c, groups = result.comparison, (result.comparison.before, result.comparison.after)
    scenes = {s.scene_id: s.digest for g in (*groups, *c.earlier, *c.others) for s in g.scenes}
    pipeline = {"version": result.pipeline.version, "digest": result.pipeline.digest()}
    return {"scenes": dict(sorted(scenes.items())), "pixel_m": round(c.grid.pixel_m, 6), "pipeline": pipeline}


class Doing(NamedTuple):
    """How a run was carried out: when it began (UTC), its tasks by stage and, as pieces of JSON, by area, scheduler and
    workers."""

    started: datetime
    stages: Mapping[str, Any]
    areas: Iterable[str]
    place: Mapping[str, Any]


def write_record(
    path: Path,
    plan: Plan,
    results: Sequence[AreaResult],
    failures: Sequence[Mapping[str, Any]],
    *,
    made: Mapping[str, Any],
    doing: Doing,
    digests: Mapping[str, str],
) -> None:
    """Write ``run.json``, the last file of a run: where it stands, the run is complete.

    Parameters
    ----------
    path
        Target.
    plan, results, failures
        What was to be done, what was done, what was not.
    made
        What `provenance` says.
    doing
        When, by how many tasks and where: allowed here, and only here.
    digests
        SHA-256 of each product.
    """
    record = dict(made) | {
        "run_id": plan.run_id,
        "review": plan.review.name,
        "settings": plan.review.model_dump(mode="json"),
        "complete": True,
        "exit_code": 3 if failures or plan.quarantined else 0,
        "scenes_found": plan.scenes_found,
        "quarantined": [q._asdict() for q in plan.quarantined],
        "failures": list(failures),
        "products": dict(digests),
        "place": dict(doing.place),
        "started": doing.started.isoformat(timespec="seconds"),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    sums = Totals()
    # Piece by piece: what ten thousand areas were judged on would take more memory than all the rest of the run.
    with replacing(path) as beside, beside.open("w", encoding="utf-8") as stream:
        pieces = json.JSONEncoder(ensure_ascii=False, indent=1, default=str).iterencode(record)
        # All but the end of the object, to which more is added.
        last = deque(islice(pieces, 2))
        for piece in pieces:
            last.append(piece)
            stream.write(last.popleft())
        stream.write(f',\n "tasks": {{\n  "stages": {json.dumps(doing.stages)},\n  "areas": ')
        stream.writelines(doing.areas)
        stream.write('\n },\n "coverage": [')
        for number, result in enumerate(results):
            sums.add(result)
            row = json.dumps(coverage_row(result), ensure_ascii=False, default=str)
            stream.write(f"{',' if number else ''}\n  {row}")
        stream.write(f'\n ],\n "totals": {json.dumps(sums.told(), ensure_ascii=False)}\n}}\n')
