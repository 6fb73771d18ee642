"""The baseline 本底: the stock of activity that stood in an area on a day, frozen once and signed by its digest.

What is found later on this ground is stock, what is found beside it is increment. The stock is what the ledger's events add up
to on the day, however much was entered since; or an inventory from elsewhere.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import date, datetime, timedelta, timezone
from typing import Any, NamedTuple

import numpy as np
import shapely
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from ..codes import Activity, ChangeKind
from ..errors import LedgerError
from ..grid import geodesic_area_m2, transformed
from ..outlines import polygon_parts
from . import schema
from .casework import checked_name
from .event import Event, EventKind, digest_of
from .geometry import LEDGER_CRS, geometry_of, geometry_text
from .lifecycle import SETTLED
from .store import Ledger
from .views import project

SAME_DATUM = frozenset({"EPSG:4326=EPSG:4490"})
STOCK_SHARE = 0.5
"""A patch is stock if at least this share of it lies on frozen ground; a project default."""

_SHANGHAI = timezone(timedelta(hours=8))
_AREA_TOLERANCE_M2 = 1.0


class StockItem(NamedTuple):
    """One piece of the stock; `geometry` as hexadecimal WKB in CGCS2000, `area_m2` on the ellipsoid."""

    problem_id: str
    activity_code: str
    area_m2: float
    geometry: str


def stock_item(problem_id: str, activity_code: str, geometry: BaseGeometry) -> StockItem:
    """Return the item of a footprint in `LEDGER_CRS`; its area is measured on what is stored."""
    stored = geometry_text(geometry)
    area_m2 = round(geodesic_area_m2(polygon_parts(geometry_of(stored)), LEDGER_CRS), 2)
    return StockItem(problem_id, activity_code, area_m2, stored)


def inventory_items(area_id: str, rows: Iterable[tuple[str, BaseGeometry]]) -> list[StockItem]:
    """Return the items of an inventory from elsewhere, with identities made from their content.

    Parameters
    ----------
    area_id
        The area they lie in.
    rows
        (activity, polygon in `LEDGER_CRS`); the activity by code or by Chinese or English name, undetermined where empty.

    Returns
    -------
    list of StockItem
        By identity; rows that say the same twice are one item.

    Raises
    ------
    LedgerError
        ``ACTIVITY_UNKNOWN`` with the row.
    """
    items = {}
    for number, (word, geometry) in enumerate(rows, start=1):
        code = activity_code(word, f"{area_id} row {number}")
        made = digest_of([area_id, code, geometry_text(geometry)])
        items[made] = stock_item(f"stock-{made[:16]}", code, geometry)
    return sorted(items.values())


def rows_within(ledger: Ledger, area_id: str, rows: Sequence[tuple[str, BaseGeometry]], as_of: date) -> list[int]:
    """Return the positions of those rows of an inventory that share ground with an area.

    Parameters
    ----------
    ledger
        Open.
    area_id
        The area; its boundary is the one that holds on the day, or the first one where none did yet.
    rows
        As for `inventory_items`.
    as_of
        Day of the stock.

    Raises
    ------
    LedgerError
        ``BOUNDARY_MISSING`` where the ledger has no boundary of the area: what lies in it would be guesswork.
    """
    history = ledger.rows("area_version", "area_id = ? ORDER BY valid_from, seq", (area_id,))
    if not history:
        finding = "the ledger has no boundary of it"
        raise LedgerError("BOUNDARY_MISSING", area_id, finding, "enter it first: 'ecowatch boundary'")
    holding = [row for row in history if row["valid_from"] <= as_of.isoformat()][-1:] or history[:1]
    outline = polygon_parts(geometry_of(holding[0]["geometry"]))
    shapely.prepare(outline)
    shared = [shapely.intersection(shape, outline) if outline.intersects(shape) else None for _, shape in rows]
    return [n for n, part in enumerate(shared) if part is not None and _area_m2(part) >= _AREA_TOLERANCE_M2]


def activity_code(word: str, where: str) -> str:
    """Return the code of an activity named by code ('3' is '03') or name.

    Raises
    ------
    LedgerError
        ``ACTIVITY_UNKNOWN``.
    """
    plain = word.strip()
    if not plain:
        return str(Activity.UNDETERMINED)
    code = plain.zfill(2) if plain.isdecimal() else plain.casefold()
    for activity in Activity:
        if code in (str(activity), activity.zh, activity.en):
            return str(activity)
    known = ", ".join(f"{a} {a.zh}" for a in Activity)
    raise LedgerError("ACTIVITY_UNKNOWN", where, f"'{plain}' is no activity", f"known are: {known}")


def standing_items(ledger: Ledger, area_id: str, as_of: date) -> list[StockItem]:
    """Return the problems that stood in an area at the end of a day, with their footprint and activity of that day.

    Not standing: what had ended, was withdrawn, merged into another, judged to be no problem, or closed after
    rectification: there the activity is gone, and works that come back must not pass as stock.

    Parameters
    ----------
    ledger
        Open.
    area_id
        The area.
    as_of
        Civil date in Asia/Shanghai; statements of later days are left out, whenever they were entered.
    """
    said = [event for event in ledger.events("area_id = ?", (area_id,)) if _civil_date(event.at) <= as_of.isoformat()]
    with closing(sqlite3.connect(":memory:")) as database:
        database.row_factory = sqlite3.Row
        database.executescript(schema.VIEWS)
        for seq, event in enumerate(said, start=1):
            project(database, seq, event)
        query = "SELECT * FROM problem WHERE withdrawn = 0 AND merged_into = '' ORDER BY problem_id"
        rows = database.execute(query).fetchall()
    live = [row for row in rows if row["state"] not in SETTLED and row["last_change"] != ChangeKind.ENDED]
    return [stock_item(row["problem_id"], row["activity_code"], geometry_of(row["geometry"])) for row in live]


def _civil_date(at: str) -> str:
    try:
        instant = datetime.fromisoformat(at)
    except ValueError:
        return at[:10]
    return instant.astimezone(_SHANGHAI).date().isoformat() if instant.tzinfo else at[:10]


def baseline_digest(area_id: str, as_of: str, items: Sequence[StockItem]) -> str:
    """Return the SHA-256 that signs a baseline: area, day and items, whatever their order."""
    return digest_of([area_id, as_of, [item._asdict() for item in sorted(items)]])


def freeze(ledger: Ledger, area_id: str, items: Sequence[StockItem], *, as_of: date, by: str) -> Event | None:
    """Return the event that freezes the stock of an area, or None where the same was frozen before.

    Parameters
    ----------
    ledger
        Open.
    area_id
        The area.
    items
        From `standing_items` or `inventory_items`; an empty stock can be frozen too: all that comes is increment.
    as_of
        Day of the stock; also the date of the event.
    by
        Name of the person who signs.

    Raises
    ------
    LedgerError
        ``NAME_MISSING``; ``BASELINE_FROZEN`` where another stock was frozen for this area: it is never replaced.
    """
    name = checked_name(by)
    day, digest = as_of.isoformat(), baseline_digest(area_id, as_of.isoformat(), items)
    for row in ledger.rows("baseline", "area_id = ?", (area_id,)):
        if row["digest"] == digest:
            return None
        raise LedgerError(
            "BASELINE_FROZEN",
            area_id,
            f"frozen as of {row['as_of']} by {row['signed_by']} with digest {row['digest']}; this one would be {digest}",
            "a baseline is frozen once; what differs is increment",
        )
    union = _union_of(items)
    payload: dict[str, Any] = {"as_of": day, "items": [item._asdict() for item in sorted(items)], "digest": digest}
    payload |= {"area_m2": _area_m2(union), "geometry": geometry_text(union), "signed_by": name}
    return Event(EventKind.BASELINE_FROZEN, area_id, payload=payload, actor=name, at=day)


def verify_baseline(ledger: Ledger, area_id: str) -> str:
    """Compute the digest of an area's baseline anew from its event, and the areas from the geometries.

    Returns
    -------
    str
        The digest.

    Raises
    ------
    LedgerError
        ``BASELINE_MISSING``; ``BASELINE_CHANGED`` where digest, view, union or an area does not agree with the items.
    """
    frozen = ledger.events("kind = ? AND area_id = ?", (str(EventKind.BASELINE_FROZEN), area_id))
    if not frozen:
        raise LedgerError("BASELINE_MISSING", area_id, "none was frozen", "'ecowatch baseline'")
    payload = frozen[-1].payload
    items = [StockItem(**item) for item in payload["items"]]
    digest = baseline_digest(area_id, payload["as_of"], items)
    viewed = [row["digest"] for row in ledger.rows("baseline", "area_id = ?", (area_id,))]
    wrong = [
        name
        for name, agrees in (
            ("digest", digest == payload["digest"]),
            ("view", viewed == [payload["digest"]]),
            ("union", _area_agrees(payload["area_m2"], _union_of(items))),
            *((item.problem_id, _area_agrees(item.area_m2, geometry_of(item.geometry))) for item in items),
        )
        if not agrees
    ]
    if wrong:
        raise LedgerError(
            "BASELINE_CHANGED",
            area_id,
            f"does not agree with its items: {', '.join(wrong)}",
            "'ecowatch ledger verify'",
        )
    return digest


def _union_of(items: Sequence[StockItem]) -> BaseGeometry:
    shapes = [polygon_parts(geometry_of(item.geometry)) for item in sorted(items)]
    return polygon_parts(shapely.union_all(shapes)) if shapes else shapely.MultiPolygon()


def _area_m2(geometry: BaseGeometry) -> float:
    return round(geodesic_area_m2(polygon_parts(geometry), LEDGER_CRS), 2)


def _area_agrees(stored_m2: float, geometry: BaseGeometry) -> bool:
    return abs(stored_m2 - _area_m2(geometry)) <= _AREA_TOLERANCE_M2


def stock_shares(
    geometries: Sequence[BaseGeometry], baseline_geometry: BaseGeometry, *, tolerance_m: float, crs: CRS
) -> list[float]:
    """Return which share of each of many polygons lies on frozen ground; see `stock_share`."""
    parts = shapely.get_parts(transformed(polygon_parts(baseline_geometry), LEDGER_CRS, crs, SAME_DATUM))
    tree = shapely.STRtree(parts)
    return [
        _share(transformed(polygon_parts(g), LEDGER_CRS, crs, SAME_DATUM), tree, tolerance_m, crs) for g in geometries
    ]


def _share(outline: BaseGeometry, tree: shapely.STRtree, tolerance_m: float, crs: CRS) -> float:
    total = geodesic_area_m2(outline, crs)
    near = tree.query(outline, predicate="dwithin", distance=tolerance_m) if total > 0 else np.array([], dtype=int)
    if not len(near):
        return 0.0
    ground = shapely.union_all(shapely.buffer(tree.geometries[np.sort(near)], tolerance_m))
    return min(geodesic_area_m2(polygon_parts(shapely.intersection(outline, ground)), crs) / total, 1.0)


def stock_share(geometry: BaseGeometry, baseline_geometry: BaseGeometry, *, tolerance_m: float, crs: CRS) -> float:
    """Return which share of a patch is stock: inside the frozen ground, widened by what registration cannot tell.

    Parameters
    ----------
    geometry
        Polygons in `LEDGER_CRS`.
    baseline_geometry
        Frozen ground in `LEDGER_CRS`; may be empty.
    tolerance_m
        How far outlines of unchanged ground may differ, in m.
    crs
        CRS in metres in which that distance is taken, such as `metric_crs` of the area.

    Returns
    -------
    float
        0–1; 0 for an empty patch.
    """
    return stock_shares([geometry], baseline_geometry, tolerance_m=tolerance_m, crs=crs)[0]


def is_stock(
    geometry: BaseGeometry,
    baseline_geometry: BaseGeometry,
    *,
    tolerance_m: float,
    crs: CRS,
    min_share: float = STOCK_SHARE,
) -> bool:
    """Return whether at least `min_share` of a patch is stock; see `stock_share`."""
    return stock_share(geometry, baseline_geometry, tolerance_m=tolerance_m, crs=crs) >= min_share


def increment_m2(geometry: BaseGeometry, baseline_geometry: BaseGeometry, *, tolerance_m: float, crs: CRS) -> float:
    """Return the part of a patch that is not stock, in m² on the ellipsoid; see `stock_share`."""
    share = stock_share(geometry, baseline_geometry, tolerance_m=tolerance_m, crs=crs)
    return (1.0 - share) * geodesic_area_m2(polygon_parts(geometry), LEDGER_CRS)
