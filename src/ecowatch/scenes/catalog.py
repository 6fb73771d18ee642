"""Find the scenes of a source; each candidate is tried by itself, and one bad scene never stops the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from ..errors import ConfigError, EcowatchError, UnavailableError
from ..intake import resolve_under
from ..objects import is_object, url_of
from ..settings import SceneSource
from . import geotiff, landsat, safe, stac
from .index import Box
from .reading import Candidate, Reading
from .scene import Catalog, Quarantined

_READERS: MappingProxyType[str, Callable[[SceneSource, Sequence[Path]], Iterator[Candidate]]] = MappingProxyType(
    {
        "safe": safe.candidates,
        "landsat_c2": landsat.candidates,
        "stac": stac.candidates,
        "geotiff": geotiff.candidates,
    }
)


_BATCH = 64
INDEX_SUFFIX = ".parquet"
_FROM_STORES = ("stac", "geotiff")


def find_scenes(source: SceneSource, roots: Sequence[Path], *, within: Sequence[Box] | None = None) -> Catalog:
    """Return the scenes of one source, oldest first, and what had to be left out.

    Parameters
    ----------
    source
        A table ``[[sources]]`` of the review.
    roots
        Folders under which every file must lie.
    within
        Boxes of the areas in degrees: from an index, only scenes that touch one are made; None: all.

    Returns
    -------
    Catalog
        Scenes sorted by time and identity; of duplicates one, of several processings the newest.

    Raises
    ------
    ConfigError
        ``PATH_MISSING``, or a sensor or band description that cannot serve.
    IntakeError
        ``OUTSIDE_ROOTS`` where the folder itself lies elsewhere.
    """
    if is_object(source.path):
        _check_objects(source)
    elif not source.path.exists():
        raise ConfigError("PATH_MISSING", source.path, "no such file or folder", "correct 'path' of this source")
    elif not source.path.is_dir() and source.product != "stac":
        raise ConfigError("PATH_MISSING", source.path, "it is a file, not a folder", "name the folder of the scenes")
    else:
        resolve_under(source.path, roots)
    readings: list[Reading] = []
    refused: list[Quarantined] = []
    if source.product == "stac" and source.path.suffix == INDEX_SUFFIX:
        candidates = stac.indexed_candidates(source, roots, within)
    else:
        candidates = _READERS[source.product](source, roots)
    for outcome in _outcomes(candidates):
        if isinstance(outcome, Reading):
            readings.append(outcome)
        else:
            refused.append(outcome)
    kept, dropped = _newest(readings)
    scenes = sorted((r.scene for r in kept), key=lambda scene: (scene.acquired, scene.scene_id))
    return Catalog(tuple(scenes), tuple(sorted([*refused, *dropped])))


def _check_objects(source: SceneSource) -> None:
    if source.product not in _FROM_STORES:
        finding, remedy = f"product {source.product!r} is not read from a store", f"use {' or '.join(_FROM_STORES)}"
        raise ConfigError("PRODUCT_LOCAL", url_of(source.path), finding, remedy)


def _outcomes(candidates: Iterator[Candidate]) -> Iterator[Reading | Quarantined]:
    """Try candidates by a thread per core, a bounded number at a time; outcomes in the order of the candidates."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        while batch := list(islice(candidates, _BATCH)):
            # Each runs in an own copy of the context, which holds the memory of digests.
            yield from [f.result() for f in [pool.submit(copy_context().run, _tried, c) for c in batch]]


def _tried(candidate: Candidate) -> Reading | Quarantined:
    try:
        return candidate.read()
    except (ConfigError, UnavailableError):
        # A store that does not answer says nothing about the scene: without it nothing can be told of the area.
        raise
    except EcowatchError as error:
        # Name the part only: the candidate itself stands before the finding.
        part = "" if error.where in candidate.where else error.where
        if part.startswith(candidate.where):
            part = part.removeprefix(candidate.where).lstrip("/ ")
        finding = f"{part}: {error.finding}" if part else error.finding
        return Quarantined(candidate.where, error.code, finding, error.remedy)
    except Exception as error:
        # What comes from outside can fail in ways nobody foresaw; the scene is left out, the review goes on.
        text = " ".join(str(error).split())[:200]
        return Quarantined(
            candidate.where,
            "SCENE_UNREADABLE",
            f"{type(error).__name__}: {text}" if text else type(error).__name__,
            "fetch the scene again",
        )


def _newest(readings: Iterable[Reading]) -> tuple[list[Reading], list[Quarantined]]:
    """Keep one of each content and the newest processing of each acquisition."""
    dropped: list[Quarantined] = []
    contents: dict[str, Reading] = {}
    by_name = sorted(readings, key=_place)
    for reading in sorted(by_name, key=lambda r: r.processed, reverse=True):
        first = contents.setdefault(reading.scene.digest, reading)
        if first is not reading:
            dropped.append(
                Quarantined(
                    _place(reading),
                    "DUPLICATE",
                    f"the same pixels and metadata as {_place(first)}",
                    "nothing is lost; remove one copy",
                )
            )
    kept: dict[tuple[str, ...], Reading] = {}
    for reading in contents.values():
        key = reading.acquisition or ("", reading.scene.digest)
        newest = kept.setdefault(key, reading)
        if newest is not reading:
            dropped.append(
                Quarantined(
                    _place(reading),
                    "SUPERSEDED",
                    f"{_place(newest)} is a newer processing of the same acquisition",
                    "nothing to do; remove the older one",
                )
            )
    return list(kept.values()), dropped


def _place(reading: Reading) -> str:
    return f"{reading.scene.scene_id} ({reading.scene.bands[0].layer.path})"
