"""An index of many scenes: STAC items in one GeoParquet file, filtered by place and date before any item is made of them.

A folder of 100 000 item files takes minutes to read; an area needs a few hundred of them.
"""

from __future__ import annotations

import json
import os
import posixpath
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import shapely

from ..atomic import replacing
from ..errors import ConfigError, EcowatchError, SceneError, UnavailableError
from ..intake import FileKind, admit
from ..objects import is_object, url_of
from .scene import SHANGHAI
from .stac_links import Document, items

Box = tuple[float, float, float, float]
"""West, south, east, north in degrees."""

_ROWS = 2048
# An item's outline is that of its data and may be rounded; about 5 km more cost nothing.
_MARGIN_DEG = 0.05
_ANEW = "make it anew with 'ecowatch index build'"


class IndexBuilt(NamedTuple):
    """How many items an index holds, and what was left out of it."""

    items: int
    left_out: tuple[str, ...]


def build_index(sources: Sequence[Path], out: Path) -> IndexBuilt:
    """Write the items of catalogs, collections or folders into one file, ordered by place and date.

    Relative links are made relative to the index. Memory does not grow with the size of the items.

    Parameters
    ----------
    sources
        Files or folders, as for a source of product ``stac``; each is its own root.
    out
        GeoParquet file; replaced as a whole.

    Raises
    ------
    ConfigError
        ``INDEX_EXTRA`` where the extra ``index`` is not installed, ``PATH_MISSING``.
    SceneError
        ``INDEX_ITEMS`` where the items have no common form, or there are none.
    UnavailableError
        ``STORE_UNAVAILABLE``.
    """
    arrow = _extra("stac_geoparquet.arrow")
    left_out: list[str] = []
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.stem}.", dir=out.parent) as folder, replacing(out) as beside:
        lines = Path(folder) / "items.ndjson"
        count = _write_sorted(_rows(sources, out.parent, left_out), Path(folder) / "raw", lines)
        if not count:
            told = f"no item can be indexed; {left_out[0]}" if left_out else "no item was found"
            raise SceneError("INDEX_ITEMS", ", ".join(map(str, sources)), told, "check the sources")
        try:
            arrow.parse_stac_ndjson_to_parquet(lines, beside, chunk_size=_ROWS, compression="zstd")
        except (ValueError, TypeError, KeyError, NotImplementedError) as error:
            finding = f"the items have no common form ({' '.join(str(error).split())[:200]})"
            raise SceneError("INDEX_ITEMS", out, finding, "index collections of one kind each") from error
    return IndexBuilt(count, tuple(left_out))


def _rows(sources: Sequence[Path], folder: Path, left_out: list[str]) -> Iterator[tuple[str, str]]:
    """Sort key and line of each item; what cannot be indexed goes to `left_out`."""
    for source in sources:
        if not is_object(source) and not source.exists():
            raise ConfigError("PATH_MISSING", source, "no such file or folder", "correct the path")
        root = source.parent if source.suffix else source
        for document in items(source, [root]):
            try:
                yield _row(document, folder)
            except UnavailableError:
                # Of this item nothing is known, and of the others as little: no index is better than one with a gap.
                raise
            except EcowatchError as error:
                left_out.append(str(error))


def _row(document: Document, folder: Path) -> tuple[str, str]:
    if document.error is not None:
        raise document.error
    item = document.item
    where = f"{document.path} {str(item.get('id'))[:60]}"
    try:
        outline = shapely.from_geojson(json.dumps(item["geometry"]))
        box = [float(v) for v in item.get("bbox") or outline.bounds]
        box = [box[i] for i in (0, 1, 3, 4)] if len(box) == 6 else box
        west, south, _, _ = box
        place = f"{int(west + 180):03d} {int(south + 90):03d}"
        properties, assets = dict(item["properties"]), dict(item["assets"])
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, shapely.errors.ShapelyError) as error:
        finding = f"its geometry, bbox, properties or assets are missing or odd ({type(error).__name__})"
        raise SceneError("STAC_INVALID", where, finding, "repair the item") from error
    placed = {key: _placed(asset, document.path, folder) for key, asset in assets.items()}
    row = {"type": "Feature", "stac_version": "1.0.0", "links": []} | item
    row |= {"bbox": box, "properties": properties, "assets": placed, "links": []}
    day = str(properties.get("datetime") or properties.get("start_datetime"))
    return f"{place} {day} {item.get('id')}", json.dumps(row)


def _placed(asset: Any, document: Path, folder: Path) -> Any:
    """An asset whose link counts from the index instead of its own document."""
    href = asset.get("href") if isinstance(asset, dict) else None
    if not isinstance(href, str) or ":" in href or href.startswith("/"):
        return asset
    if is_object(document):
        return asset | {"href": f"s3:/{posixpath.normpath(f'/{url_of(document.parent)[5:]}/{href}')}"}
    return asset | {"href": os.path.relpath(document.resolve().parent / href, folder.resolve())}


def _write_sorted(rows: Iterable[tuple[str, str]], raw: Path, out: Path) -> int:
    """Write lines in the order of their keys; only keys and offsets are held."""
    places: list[tuple[str, int, int]] = []
    with raw.open("wb") as stream:
        for key, line in rows:
            data = line.encode() + b"\n"
            places.append((key, stream.tell(), len(data)))
            stream.write(data)
    with raw.open("rb") as stream, out.open("wb") as target:
        for _, offset, size in sorted(places):
            stream.seek(offset)
            target.write(stream.read(size))
    return len(places)


def indexed_items(
    path: Path,
    roots: Sequence[Path],
    *,
    within: Sequence[Box] | None = None,
    since: date | None = None,
    until: date | None = None,
) -> Iterator[Document]:
    """Yield the items of an index that touch one of some boxes and fall between two dates.

    Parameters
    ----------
    path
        GeoParquet file of STAC items, by whoever made it.
    roots
        Folders under which it may lie.
    within
        Boxes of the areas; all items without.
    since, until
        First and last civil date; items that tell a range of time are kept, whatever it is.

    Raises
    ------
    IntakeError
        As `intake.admit`.
    SceneError
        ``INDEX_INVALID``.
    ConfigError
        ``INDEX_EXTRA``.
    """
    admitted = admit(path, roots=roots, kinds={FileKind.PARQUET})
    arrow, dataset, stac = (_extra(n) for n in ("pyarrow", "pyarrow.dataset", "stac_geoparquet.arrow"))
    tree = None if within is None else shapely.STRtree([shapely.box(*box).buffer(_MARGIN_DEG) for box in within])
    try:
        rows = dataset.dataset(admitted.path, format="parquet")
        scanner = rows.scanner(filter=_condition(dataset, within, since, until), batch_size=_ROWS)
        for batch in scanner.to_batches():
            kept = _touching(batch, tree)
            if kept:
                table = arrow.Table.from_batches([batch.take(arrow.array(kept))])
                yield from (Document(admitted.path, _bare(item)) for item in stac.stac_table_to_items(table))
    except (arrow.ArrowException, KeyError, TypeError, ValueError, OSError) as error:
        finding = f"it is no index of STAC items ({' '.join(str(error).split())[:200]})"
        raise SceneError("INDEX_INVALID", path, finding, _ANEW) from error


def _condition(dataset: Any, within: Sequence[Box] | None, since: date | None, until: date | None) -> Any:
    """What Arrow itself can leave out: whole groups of rows are then not even read."""
    parts = []
    west, south, east, north = (dataset.field("bbox", name) for name in ("xmin", "ymin", "xmax", "ymax"))
    if within is not None:
        boxes = list(within) or [(0.0, 0.0, 0.0, 0.0)]
        low = [min(box[i] for box in boxes) - _MARGIN_DEG for i in (0, 1)]
        high = [max(box[i] for box in boxes) + _MARGIN_DEG for i in (2, 3)]
        # A box whose west is east of its east crosses the antimeridian.
        parts.append(((west <= high[0]) & (east >= low[0])) | (west > east))
        parts.append((south <= high[1]) & (north >= low[1]))
    instant = dataset.field("datetime")
    if since is not None:
        parts.append(instant.is_null() | (instant >= datetime.combine(since, time(), SHANGHAI)))
    if until is not None:
        parts.append(instant.is_null() | (instant < datetime.combine(until + timedelta(1), time(), SHANGHAI)))
    condition = None
    for part in parts:
        condition = part if condition is None else condition & part
    return condition


def _touching(batch: Any, tree: shapely.STRtree | None) -> list[int]:
    """Numbers of the rows whose box touches one of the areas."""
    if tree is None or not batch.num_rows:
        return list(range(batch.num_rows))
    told = batch.column("bbox")
    west, south, east, north = (told.field(n).to_numpy(zero_copy_only=False) for n in ("xmin", "ymin", "xmax", "ymax"))
    across = west > east
    boxes = shapely.box(west.clip(max=180.0) * ~across - 180.0 * across, south, east * ~across + 180.0 * across, north)
    return sorted({int(row) for row in tree.query(boxes, predicate="intersects")[0]})


def _bare(value: Any) -> Any:
    """An item without the empty fields that a table fills in where another item has something."""
    if isinstance(value, dict):
        return {key: _bare(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_bare(inner) for inner in value]
    return value


def _extra(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        remedy = "install it: pip install 'ecowatch[index]'"
        raise ConfigError("INDEX_EXTRA", name, "it is needed for an index of scenes", remedy) from error
