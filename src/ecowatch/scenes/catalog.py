"""Find the scenes of a source; each candidate is tried by itself, and one bad scene never stops the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import MappingProxyType

from ..errors import ConfigError, EcowatchError
from ..intake import resolve_under
from ..settings import SceneSource
from . import geotiff, landsat, safe, stac
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


def find_scenes(source: SceneSource, roots: Sequence[Path]) -> Catalog:
    """Return the scenes of one source, oldest first, and what had to be left out.

    Parameters
    ----------
    source
        A table ``[[sources]]`` of the review.
    roots
        Folders under which every file must lie.

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
    if not source.path.exists():
        raise ConfigError("PATH_MISSING", source.path, "no such file or folder", "correct 'path' of this source")
    if not source.path.is_dir() and source.product != "stac":
        raise ConfigError("PATH_MISSING", source.path, "it is a file, not a folder", "name the folder of the scenes")
    resolve_under(source.path, roots)
    readings: list[Reading] = []
    refused: list[Quarantined] = []
    for candidate in _READERS[source.product](source, roots):
        outcome = _tried(candidate)
        if isinstance(outcome, Reading):
            readings.append(outcome)
        else:
            refused.append(outcome)
    kept, dropped = _newest(readings)
    scenes = sorted((r.scene for r in kept), key=lambda scene: (scene.acquired, scene.scene_id))
    return Catalog(tuple(scenes), tuple(sorted([*refused, *dropped])))


def _tried(candidate: Candidate) -> Reading | Quarantined:
    try:
        return candidate.read()
    except ConfigError:
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
