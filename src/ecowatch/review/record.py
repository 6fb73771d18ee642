"""The record of a run: what went in, what came out, what was not seen, what failed."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import shapely

from .. import __version__
from ..areas import overlaps_between, union_area_m2
from ..atomic import replacing
from ..codes import Limit
from ..grid import geodesic_area_m2
from ..patches import limits_of
from ..raster import gdal_version
from .fit import Fit
from .plan import Plan
from .result import AreaResult

LIMITS = (
    "A patch of stage one_date rests on two dates only; see the columns stage and time_facts.",
    "What looked like a change and was set aside stands in the layer suppressed, with its reason.",
    "An activity is a rule's suggestion with its reasons, not a finding of fact.",
    "Not observed is never no change: see the layer not_observed.",
)


def software_versions() -> dict[str, str]:
    """Return the versions of everything that can change a result."""
    import pyogrio  # noqa: PLC0415 - brings pandas along, which workers never need

    return {
        "ecowatch": __version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "numpy": version("numpy"),
        "numba": version("numba"),
        "shapely": shapely.__version__,
        "geos": shapely.geos_version_string,
        "gdal_raster": gdal_version(),
        "gdal_vector": ".".join(map(str, pyogrio.__gdal_version__)),
    }


def provenance(plan: Plan) -> dict[str, Any]:
    """Return what both the GeoPackage and the record say of the making: inputs, pipelines, versions, limits."""
    groups = [g for c in plan.comparisons for g in (c.before, c.after, *c.earlier, *c.others)]
    scenes = {s.scene_id: s.digest for group in groups for s in group.scenes}
    pipelines = {c.pipeline.name: c.pipeline for c in plan.comparisons}
    return {
        "period": plan.review.period,
        "software": software_versions(),
        "pipelines": {n: {"version": p.version, "digest": p.digest()} for n, p in sorted(pipelines.items())},
        "scenes": dict(sorted(scenes.items())),
        "boundaries": {area.area_id: area.version for area in plan.areas},
        "limits": [*LIMITS, *_limits(plan)],
    }


def _limits(plan: Plan) -> list[str]:
    """What the images of this run cannot show, each sentence in both languages, once."""
    told = {limit for c in plan.comparisons for limit in limits_of(c.grid.pixel_m, c.roles)}
    return [f"{limit.en} {limit.zh}" for limit in Limit if limit in told]


def totals(results: Sequence[AreaResult]) -> dict[str, Any]:
    """Return the totals of a run in hectares; ground that lies in several areas is counted once."""
    crs = results[0].area.crs if results else None
    if crs is None:
        return {"patches": 0, "patch_ha": 0.0, "area_ha": 0.0, "overlaps": []}
    areas = {r.area.area_id: r.area for r in results}
    rows = [row for r in results for row in r.patches]
    patches, patches_m2 = [row["geometry"] for row in rows], [row["area_m2"] for row in rows]
    return {
        "patches": len(patches),
        "patch_ha": round(union_area_m2(patches, crs, patches_m2) / 1e4, 4),
        "area_ha": round(union_area_m2([a.geometry for a in areas.values()], crs) / 1e4, 4),
        "overlaps": [
            {"areas": [a, b], "ha": round(m2 / 1e4, 4)} for a, b, m2 in overlaps_between(list(areas.values()))
        ],
    }


def coverage_rows(results: Sequence[AreaResult], fits: Mapping[str, Fit]) -> Iterator[dict[str, Any]]:
    """Yield the pixel accounting by area and pipeline, and what each was judged on.

    Parameters
    ----------
    results
        In order.
    fits
        By key of the comparison.

    Raises
    ------
    AssertionError
        Where expected ≠ observed + not observed + failed: then the run must not be published.
    """
    for result in results:
        c, comparison = result.coverage, result.comparison
        if c.not_observed_px < 0 or c.expected_px != c.observed_px + c.not_observed_px + c.failed_px:
            raise AssertionError(f"{result.area.area_id}: coverage does not add up: {c}")
        yield {
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
            "fit": dataclasses.asdict(fits[comparison.key]) if comparison else None,
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
    """How a run was carried out: when it began (UTC), its tasks by stage and area, scheduler and workers."""

    started: datetime
    tasks: Mapping[str, Any]
    place: Mapping[str, Any]


def write_record(
    path: Path,
    plan: Plan,
    results: Sequence[AreaResult],
    failures: Sequence[Mapping[str, Any]],
    *,
    fits: Mapping[str, Fit],
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
    fits
        By key of the comparison.
    doing
        When, by how many tasks and where: allowed here, and only here.
    digests
        SHA-256 of each product.
    """
    record = provenance(plan) | {
        "run_id": plan.run_id,
        "review": plan.review.name,
        "settings": plan.review.model_dump(mode="json"),
        "complete": True,
        "exit_code": 3 if failures or plan.quarantined else 0,
        "scenes_found": plan.scenes_found,
        "quarantined": [q._asdict() for q in plan.quarantined],
        "failures": list(failures),
        "totals": totals(results),
        "products": dict(digests),
        "tasks": dict(doing.tasks),
        "place": dict(doing.place),
        "started": doing.started.isoformat(timespec="seconds"),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    text = json.dumps(record, ensure_ascii=False, indent=1, default=str)
    # Row by row: what ten thousand areas were judged on would take more memory than all the rest of the run.
    with replacing(path) as beside, beside.open("w", encoding="utf-8") as stream:
        stream.write(text.removesuffix("\n}") + ',\n "coverage": [')
        for number, row in enumerate(coverage_rows(results, fits)):
            stream.write(f"{',' if number else ''}\n  {json.dumps(row, ensure_ascii=False, default=str)}")
        stream.write("\n ]\n}\n")
