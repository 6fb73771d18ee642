"""A finished run, read back from its own files: what it says of each area, ready to be entered."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal, NamedTuple

import geopandas
import pandas as pd
import shapely
from shapely.geometry.base import BaseGeometry

from ..codes import PseudoChange
from ..errors import LedgerError
from ..grid import geodesic_area_m2, transformed
from ..settings import Matching
from .event import digest_of
from .geometry import LEDGER_CRS, geometry_bytes, geometry_text

# WGS 84 and CGCS2000 agree within decimetres; any other datum was refused when the run was made.
_SAME_DATUM = frozenset({"EPSG:4326=EPSG:4490"})
_GREEN_NDVI = 0.3
_LAYERS = ("patch", "patch_road", "suppressed", "area_summary", "not_observed")
# Of two reasons that both say "it was so before", the second look names the first that fits.
_RETURNING = (PseudoChange.RETURNING, PseudoChange.CROP_CYCLE)


@dataclass(frozen=True)
class FoundPatch:
    """One patch of a run.

    Parameters
    ----------
    patch_id, pipeline, activity_code, before_date, after_date
        As in the layer `patch`.
    geometry, line
        In `LEDGER_CRS`; the centre line of a road, else None.
    area_m2
        Geodesic.
    direction
        ``gain`` for works, ``loss`` where plants came back.
    natural
        Whether the change was told to be natural: then it is kept, but is no problem.
    returning
        Whether the run set it aside because an earlier state came back. On the ground of a known problem that is no pseudo
        change: there it is a rectification, or a relapse.
    tolerance_m
        How far its outline may be off: residual shift and uncertainty of the outline.
    facts
        All other columns of the run's row.
    """

    patch_id: str
    pipeline: str
    activity_code: str
    before_date: str
    after_date: str
    geometry: BaseGeometry
    line: BaseGeometry | None
    area_m2: float
    direction: Literal["gain", "loss"]
    natural: bool
    returning: bool
    tolerance_m: float
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Unseen:
    """A part of an area that one pipeline did not see, and why."""

    pipeline: str
    reason: str
    area_m2: float
    geometry: BaseGeometry


@dataclass(frozen=True)
class RunUnit:
    """What a run says of one area in one period.

    Parameters
    ----------
    area_id, area_name, kind, period
        Which.
    geometry
        Boundary that was used, in `LEDGER_CRS`.
    inputs
        Scenes, pipelines, boundary, software, by name and digest.
    run_id
        Of the run.
    as_of
        Last date compared, ISO; the last day of the period where nothing was.
    observed_share
        Part of the area that at least one pipeline saw, 0–1.
    patches, unseen
        In the order of their identities.
    """

    area_id: str
    area_name: str
    kind: str
    period: str
    geometry: BaseGeometry
    inputs: Mapping[str, Any]
    run_id: str
    as_of: str
    observed_share: float
    patches: tuple[FoundPatch, ...]
    unseen: tuple[Unseen, ...]

    @property
    def unseen_by_all(self) -> BaseGeometry:
        """What no pipeline saw."""
        parts: dict[str, list[BaseGeometry]] = {}
        for row in self.unseen:
            parts.setdefault(row.pipeline, []).append(row.geometry)
        seen_whole = set(self.inputs["pipelines"]) - set(parts)
        if seen_whole or not parts:
            return shapely.MultiPolygon()
        return shapely.intersection_all([shapely.union_all(p) for p in parts.values()])


def period_end(period: str) -> date:
    """Return the last day of ``2026H1``, ``2026H2``, ``2026`` or of a span ``2021-2025``.

    Raises
    ------
    ValueError
        For any other text.
    """
    found = re.fullmatch(r"(?:\d{4}-)?(\d{4})(H[12])?", period)
    if found is None:
        raise ValueError(f"{period!r} is no period")
    year = int(found[1])
    return date(year, 6, 30) if found[2] == "H1" else date(year, 12, 31)


def read_run(folder: Path, rules: Matching) -> tuple[RunUnit, ...]:
    """Read a finished run.

    Parameters
    ----------
    folder
        Run folder with ``run.json`` and ``flagged.gpkg``.
    rules
        Uncertainty of outlines and the threshold of greening.

    Returns
    -------
    tuple of RunUnit
        By identity of the area. An area that failed in part is left out: a later run of the same inputs completes it.

    Raises
    ------
    LedgerError
        ``RUN_INCOMPLETE`` where there is no record, ``RUN_CHANGED`` where a product is not as it was written.
    """
    record = _record(folder)
    failed = {row["area_id"] for row in record["failures"]}
    tables = {name: _ByArea.of(_layer(folder, name)) for name in _LAYERS}
    coverage: dict[str, list[Mapping[str, Any]]] = {}
    for row in record["coverage"]:
        coverage.setdefault(row["area_id"], []).append(row)
    areas = sorted(set(tables["area_summary"].rows) - failed)
    own = ({name: table.get(area) for name, table in tables.items()} for area in areas)
    return tuple(_unit(area, record, coverage[area], layers, rules) for area, layers in zip(areas, own, strict=True))


class _ByArea(NamedTuple):
    """A layer cut up by area once: asking it anew for each area would cost the square of their number."""

    empty: geopandas.GeoDataFrame
    rows: Mapping[str, geopandas.GeoDataFrame]

    @classmethod
    def of(cls, table: geopandas.GeoDataFrame) -> _ByArea:
        return cls(table.iloc[:0], {str(area): rows for area, rows in table.groupby("area_id")})

    def get(self, area_id: str) -> geopandas.GeoDataFrame:
        return self.rows.get(area_id, self.empty)


def failed_areas(folder: Path) -> tuple[str, ...]:
    """Return the areas of a run that failed in part, which `read_run` leaves out."""
    return tuple(sorted({row["area_id"] for row in _record(folder)["failures"]}))


def _record(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    if not path.is_file():
        raise LedgerError("RUN_INCOMPLETE", folder, "it holds no run.json", "carry the run out to its end first")
    record: dict[str, Any] = json.loads(path.read_text("utf-8"))
    told = record["products"]["flagged.gpkg"]
    found = hashlib.sha256((folder / "flagged.gpkg").read_bytes()).hexdigest()
    if found != told:
        raise LedgerError(
            "RUN_CHANGED", folder / "flagged.gpkg", "it is not as the run wrote it", "run the review again"
        )
    return record


def _layer(folder: Path, name: str) -> geopandas.GeoDataFrame:
    frame = geopandas.read_file(folder / "flagged.gpkg", layer=name)
    collection = shapely.geometrycollections(list(frame.geometry))
    moved = shapely.get_parts(transformed(collection, frame.crs, LEDGER_CRS, _SAME_DATUM))
    return frame.set_geometry(geopandas.GeoSeries(list(moved), index=frame.index, crs=LEDGER_CRS))


def _unit(
    area_id: str,
    record: Mapping[str, Any],
    coverage: Sequence[Mapping[str, Any]],
    own: Mapping[str, geopandas.GeoDataFrame],
    rules: Matching,
) -> RunUnit:
    summary = own["area_summary"].iloc[0]
    dates = [d for d in own["area_summary"].after_date if isinstance(d, str)]
    pixels = {row["pipeline"]: row["inputs"]["pixel_m"] for row in coverage}
    unseen = _unseen(own["not_observed"])
    unit = RunUnit(
        area_id=area_id,
        area_name=str(summary.area_name),
        kind=str(summary.kind),
        period=str(record["period"]),
        geometry=summary.geometry,
        inputs=_inputs(record, coverage, area_id),
        run_id=str(record["run_id"]),
        as_of=max(dates, default=period_end(record["period"]).isoformat()),
        observed_share=0.0,
        patches=tuple(sorted(_patches(own, pixels, rules), key=lambda p: p.patch_id)),
        unseen=unseen,
    )
    return _with_share(unit, coverage)


def _with_share(unit: RunUnit, coverage: Sequence[Mapping[str, Any]]) -> RunUnit:
    shares = [row["observed_share"] for row in coverage]
    if len(shares) > 1:
        # Of several sensors each saw a part: seen is what any of them saw.
        total = geodesic_area_m2(unit.geometry, LEDGER_CRS)
        shares = [max(*shares, round(1 - geodesic_area_m2(_polygons(unit.unseen_by_all), LEDGER_CRS) / total, 4))]
    return RunUnit(**{**vars(unit), "observed_share": max(shares, default=0.0)})


def _polygons(geometry: BaseGeometry) -> BaseGeometry:
    parts = [p for p in shapely.get_parts(geometry) if p.geom_type == "Polygon"]
    return shapely.MultiPolygon(parts)


def _inputs(record: Mapping[str, Any], coverage: Sequence[Mapping[str, Any]], area_id: str) -> dict[str, Any]:
    scenes: dict[str, str] = {}
    for row in coverage:
        scenes |= row["inputs"]["scenes"]
    return {
        "scenes": dict(sorted(scenes.items())),
        "pipelines": {row["pipeline"]: row["inputs"]["pipeline"] for row in coverage if row["inputs"].get("pipeline")},
        "boundary": record["boundaries"][area_id],
        "software": record["software"],
        "not_compared": sorted(row["note"] for row in coverage if row["note"]),
    }


def _unseen(table: geopandas.GeoDataFrame) -> tuple[Unseen, ...]:
    rows = [
        Unseen(_text(r.pipeline), r.reason, round(float(r.area_ha) * 1e4, 1), r.geometry) for r in table.itertuples()
    ]
    return tuple(sorted(rows, key=lambda r: (r.pipeline, r.reason, geometry_bytes(r.geometry))))


def _patches(
    own: Mapping[str, geopandas.GeoDataFrame], pixels: Mapping[str, float], rules: Matching
) -> list[FoundPatch]:
    lines = dict(zip(own["patch_road"].patch_id, own["patch_road"].geometry, strict=True))
    found = [_patch(row, lines.get(row["patch_id"]), pixels, rules) for row in _dicts(own["patch"])]
    aside = own["suppressed"][own["suppressed"].reason.isin(_RETURNING)]
    shifts = dict(zip(own["area_summary"].pipeline, own["area_summary"].shift_px, strict=True))
    back = [row | {"activity_code": "00", "shift_px": shifts[row["pipeline"]]} for row in _dicts(aside)]
    return found + [_patch(row, None, pixels, rules) for row in back]


def _patch(
    row: Mapping[str, Any], line: BaseGeometry | None, pixels: Mapping[str, float], rules: Matching
) -> FoundPatch:
    pixel_m = float(pixels[row["pipeline"]])
    shift_px = row.get("shift_px") or 0.0
    names = ("patch_id", "pipeline", "activity_code", "before_date", "after_date")
    left_out = {*names, "geometry", "area_id", "area_name", "period", "change_code"}
    return FoundPatch(
        **{name: str(row[name]) for name in names},
        geometry=row["geometry"],
        line=line,
        area_m2=round(geodesic_area_m2(row["geometry"], LEDGER_CRS), 2),
        direction=direction_of(row.get("spectrum_before"), row.get("spectrum_after"), greening=rules.greening),
        natural=bool(row.get("natural")),
        returning="reason" in row,
        tolerance_m=round((shift_px + rules.outline_px) * pixel_m, 3),
        facts={name: value for name, value in row.items() if name not in left_out and value is not None},
    )


def direction_of(before: str | None, after: str | None, *, greening: float) -> Literal["gain", "loss"]:
    """Return ``loss`` where plants came back between two spectra, else ``gain``.

    Parameters
    ----------
    before, after
        JSON objects of values by band role, or None.
    greening
        Rise of NDVI (without near infrared: of the green-red index) that is taken for plants, 0–2.
    """
    if not before or not after:
        return "gain"
    first, last = _greenness(json.loads(before)), _greenness(json.loads(after))
    if first is None or last is None:
        return "gain"
    # Ground that rises out of water gains in NDVI too, but is not green.
    return "loss" if last - first >= greening and last >= _GREEN_NDVI else "gain"


def _greenness(spectrum: Mapping[str, float]) -> float | None:
    for high, low in (("nir", "red"), ("green", "red")):
        if high in spectrum and low in spectrum:
            total = spectrum[high] + spectrum[low]
            return (spectrum[high] - spectrum[low]) / total if total > 0 else None
    return None


def _dicts(table: geopandas.GeoDataFrame) -> list[dict[str, Any]]:
    rows = table.to_dict("records")
    return [{k: v if isinstance(v, BaseGeometry) else _value(v) for k, v in row.items()} for row in rows]


def _value(value: Any) -> Any:
    if value is None or pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def inputs_digest(unit: RunUnit, rules: Matching) -> str:
    """Return the digest by which a unit entered twice is known: its inputs, its content and the rules of matching.

    The versions of the software are left out: a newer one that says the same of the same inputs is no new issue. One that says
    something else is, and the difference then names it.
    """
    inputs = {name: value for name, value in unit.inputs.items() if name != "software"}
    patches = [[p.patch_id, geometry_text(p.geometry), p.activity_code, p.direction] for p in unit.patches]
    return digest_of([inputs, unit.observed_share, patches, rules.digest()])
