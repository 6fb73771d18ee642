"""Walk a STAC catalog, an item collection or single items on disk; every document passes the one door."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import EcowatchError, SceneError
from ..intake import FileKind, admit, read_json
from ..objects import is_object, objects_under
from .reading import local_path

MAX_DOCUMENTS = 100_000
_FOLLOWED = {"child", "item", "items"}
_ENTRANCES = ("catalog.json", "collection.json")


class Document(NamedTuple):
    """An item with the file it stands in, or why there is none."""

    path: Path
    item: dict[str, Any]
    error: EcowatchError | None = None


def items(start: Path, roots: Sequence[Path]) -> Iterator[Document]:
    """Yield every item reachable from `start`: a file, or a folder with a catalog or with item files.

    A document that cannot be used is yielded with its error, and the others go on. A link back to a document already
    read is refused, for it would never end.
    """
    entrances = _entrances(start)
    waiting = [(path, start) for path in reversed(entrances)]
    seen: set[Path] = set()
    while waiting:
        path, parent = waiting.pop()
        if path in seen and path in entrances[1:] + entrances[:-1]:
            continue  # met through a link and again in the folder's list
        try:
            if path in seen:
                raise SceneError(
                    "STAC_LOOP", parent, f"it links to {path.name}, which was read already", "remove the link"
                )
            if len(seen) >= MAX_DOCUMENTS:
                raise SceneError("STAC_TOO_LARGE", start, f"more than {MAX_DOCUMENTS} documents", "split the catalog")
            seen.add(path)
            value = read_json(admit(path, roots=roots, kinds={FileKind.GEOJSON}))
            found = list(_features(value, path))
        except EcowatchError as error:
            yield Document(path, {}, error)
            if error.code == "STAC_TOO_LARGE":
                return
            continue
        yield from (Document(path, item) for item in found)
        for link, refused in _links(value, path, roots):
            if refused is None:
                waiting.append((link, path))
            else:
                yield Document(link, {}, refused)


def _entrances(start: Path) -> list[Path]:
    if is_object(start):
        if start.suffix:
            return [start]
        found = sorted(path for path in objects_under(start) if path.suffix == ".json")
        return next(([start / name] for name in _ENTRANCES if start / name in found), found)
    if not start.is_dir():
        return [start.resolve()]
    for name in _ENTRANCES:
        if (start / name).is_file():
            return [(start / name).resolve()]
    return sorted(path.resolve() for path in start.rglob("*.json"))


def _features(value: Any, path: Path) -> Iterator[dict[str, Any]]:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "Feature":
        yield value
    elif kind == "FeatureCollection":
        features = value.get("features")
        if not isinstance(features, list) or not all(isinstance(f, dict) for f in features):
            raise SceneError("STAC_INVALID", path, "'features' is no list of items", "repair the file")
        yield from features
    elif kind not in ("Catalog", "Collection"):
        raise SceneError(
            "STAC_INVALID", path, f"type {str(kind)[:40]!r}", "give a Catalog, Collection, FeatureCollection or Feature"
        )


def _links(value: Any, path: Path, roots: Sequence[Path]) -> Iterator[tuple[Path, EcowatchError | None]]:
    if value.get("type") not in ("Catalog", "Collection"):
        return
    links = value.get("links")
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("rel") in _FOLLOWED:
            try:
                yield local_path(link.get("href"), path.parent, roots, path), None
            except EcowatchError as error:
                yield path, error
