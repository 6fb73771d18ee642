"""What a review starts from, boundaries and scenes read once, and the pairs of dates that come of it, area by area."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import shapely

from ..areas import Area, Carriers, read_areas, read_carriers
from ..errors import BoundaryError, ConfigError, EcowatchError, SceneError, UnavailableError
from ..grid import CGCS2000
from ..objects import is_object
from ..scenes import INDEX_SUFFIX, Quarantined, Scene, find_scenes
from ..settings import Pipeline, Review, SceneSource, load
from .choice import footprint
from .pair import Comparison, code_digest, compare, joined
from .shelf import Shelf, View

_SAME_DATUM = "EPSG:4326=EPSG:4490"


@dataclass(frozen=True)
class Unpaired:
    """An area that cannot be compared under a pipeline, and why; it is reported as not observed."""

    area: Area
    pipeline: Pipeline | None
    code: str
    finding: str


class Source(NamedTuple):
    """What one pipeline has to choose from: its scenes, oldest first in each source, and a tree of their outlines."""

    pipeline: Pipeline
    scenes: Sequence[Scene]
    outlines: shapely.STRtree


@dataclass(frozen=True)
class Subject:
    """What a review is about, whatever becomes of its scenes: settings, boundaries, and scenes that do not count.

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
    quarantined
        Scenes that cannot be trusted.
    """

    review: Review
    areas: Sequence[Area]
    neighbours: Sequence[Area]
    carriers: Carriers | None
    quarantined: tuple[Quarantined, ...]


@dataclass(frozen=True)
class Inputs(Subject):
    """What a review starts from, read once: boundaries and scenes, nothing paired yet.

    Parameters
    ----------
    sources
        By name of the pipeline, in that order.
    joins
        Pipelines that join others.
    """

    sources: Mapping[str, Source]
    joins: tuple[Pipeline, ...]

    @property
    def scenes_found(self) -> int:
        """Number of scenes that can be trusted."""
        return sum(len(source.scenes) for source in self.sources.values())


def run_digest(subject: Subject, keys: Iterable[str], unpaired: Iterable[tuple[str, str]]) -> str:
    """Return sixteen digits that stand for the inputs, the boundaries and the pipelines of a run.

    Parameters
    ----------
    subject
        Settings, boundaries and quarantined scenes.
    keys
        Of the comparisons, in any order.
    unpaired
        Identity and code of the areas without a pair, in any order.
    """
    review = subject.review
    text = json.dumps(
        [
            code_digest(),
            review.period,
            review.output.model_dump(mode="json"),
            sorted(review.allow_datum),
            [area.version for area in subject.areas],
            sorted(area.version for area in subject.neighbours),
            subject.carriers.version if subject.carriers else None,
            sorted(keys),
            sorted(map(list, unpaired)),
            sorted([q.code, Path(q.where).name] for q in subject.quarantined),
        ]
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_inputs(review: Review) -> Inputs:
    """Read boundaries and scenes; what is refused is as in `make_plan`."""
    _check_roots(review)
    neighbours = Shelf(area for source in review.areas for area in read_areas(source, review.roots))
    areas = _selected(neighbours, review)
    carriers = read_carriers(review.carrier, review.roots) if review.carrier else None
    by_pipeline: dict[str, list[Scene]] = {}
    quarantined: list[Quarantined] = []
    for source in review.sources:
        catalog = find_scenes(source, review.roots, within=_boxes(areas, review, source))
        by_pipeline.setdefault(source.pipeline, []).extend(catalog.scenes)
        quarantined.extend(catalog.quarantined)
    if not quarantined and not any(by_pipeline.values()):
        folders = ", ".join(str(source.path) for source in review.sources)
        raise SceneError("NO_SCENES", folders, "no scene was found", "check path, product and date_pattern")
    sources = {name: _source(review, name, scenes) for name, scenes in sorted(by_pipeline.items())}
    joins = tuple(_joining(review, name) for name in review.joined)
    return Inputs(review, areas, neighbours, carriers, tuple(quarantined), sources, joins)


def _boxes(
    areas: Sequence[Area], review: Review, source: SceneSource
) -> list[tuple[float, float, float, float]] | None:
    """Boxes of the areas in degrees, for an index; None for other sources."""
    if source.path.suffix != INDEX_SUFFIX:
        return None
    allowed = frozenset({*review.allow_datum, _SAME_DATUM})
    return [area.in_crs(CGCS2000, allowed).geometry.bounds for area in areas]


def _source(review: Review, name: str, scenes: Sequence[Scene]) -> Source:
    allowed = frozenset({*review.allow_datum, _SAME_DATUM})
    outlines = shapely.STRtree([footprint(scene, CGCS2000, allowed) for scene in scenes])
    return Source(load(Pipeline, review.pipelines / f"{name}.toml"), scenes, outlines)


def _joining(review: Review, name: str) -> Pipeline:
    pipeline = load(Pipeline, review.pipelines / f"{name}.toml")
    if not pipeline.joins:
        raise ConfigError("NOTHING_JOINED", name, "its 'joins' is empty", "name the pipelines it joins")
    return pipeline


def _check_roots(review: Review) -> None:
    for root in review.roots:
        if not is_object(root) and not root.is_dir():
            raise ConfigError("PATH_MISSING", root, "no such folder", "correct 'roots'")


def _selected(areas: Sequence[Area], review: Review) -> View[Area]:
    ids = [area.area_id for area in areas]
    known = set(ids)
    if len(known) < len(ids):
        twice = sorted({i for i in ids if ids.count(i) > 1})
        raise BoundaryError("AREA_TWICE", twice[0], "two boundary layers hold this identity", "make identities unique")
    missing = sorted(set(review.only) - known)
    if missing:
        raise BoundaryError(
            "AREA_UNKNOWN", missing[0], "no boundary layer holds it", f"known: {', '.join(sorted(known))}"
        )
    chosen = [number for number, area_id in enumerate(ids) if not review.only or area_id in review.only]
    return View(areas, sorted(chosen, key=ids.__getitem__))


def pairs_of(inputs: Inputs) -> Iterator[Comparison | Unpaired]:
    """Yield what is compared, area by area in the order of their identities; what is left out of hand is not held.

    Parameters
    ----------
    inputs
        Boundaries and scenes.

    Raises
    ------
    BoundaryError
        ``NO_OVERLAP``, after the last area, where no scene touched any.
    """
    touched = False
    for area in inputs.areas:
        found = list(_pairs_of_area(inputs, area))
        touched |= any(pair.pipeline is not None for pair in found)
        yield from found
    if not touched and inputs.scenes_found:
        raise BoundaryError(
            "NO_OVERLAP",
            ", ".join(str(source.path) for source in inputs.review.areas),
            f"none of its {len(inputs.areas)} areas overlaps any of the {inputs.scenes_found} scenes",
            "check the CRS of both and the order of the axes",
        )


def _pairs_of_area(inputs: Inputs, area: Area) -> Iterator[Comparison | Unpaired]:
    """The comparisons of one area under every pipeline, then those that join them, or why there are none."""
    review, allowed = inputs.review, frozenset(inputs.review.allow_datum)
    outline = area.in_crs(CGCS2000, allowed).geometry
    touched = False
    made: dict[str, Comparison] = {}
    for name, (pipeline, scenes, outlines) in inputs.sources.items():
        over = [scenes[i] for i in sorted(outlines.query(outline, predicate="intersects"))]
        if not over:
            continue
        touched = True
        try:
            made[name] = compare(
                area,
                over,
                pipeline,
                period=review.period,
                before_range=review.before_range,
                after_range=review.after_range,
                allowed=allowed,
            )
        except UnavailableError:
            # A store that does not answer says nothing about the area.
            raise
        except EcowatchError as error:
            yield Unpaired(area, pipeline, error.code, f"{error.finding}; {error.remedy}")
        else:
            yield made[name]
    by_own_name = {comparison.pipeline.name: comparison for comparison in made.values()}
    for pipeline in inputs.joins:
        if all(part in by_own_name for part in pipeline.joins):
            yield joined([by_own_name[part] for part in pipeline.joins], pipeline, allowed)
    if not touched:
        yield Unpaired(area, None, "NO_PAIR", "no scene overlaps the area")
