"""The stage before the fit: bands in JPEG 2000 are decoded once and kept as plain tiled GeoTIFF, where that pays.

A copy holds the same numbers under the same digest of its source, so nothing that is computed can tell which of the two
was read. What cannot be copied (no room, no rights) is read as it is: slower, with the same result.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..atomic import sweep
from ..digests import MEMORY_NAME, remembered
from ..grid import BLOCK_PX
from ..raster import SLOW_DRIVERS, Layer, copy_path, is_sound, transcode
from ..scenes import Scene
from ..settings import Cluster, Review
from .accounts import Accounts
from .choice import DateGroup
from .engine import Engine, started
from .jobs import Job
from .pair import Comparison
from .plan import Plan, PlannedTask, make_plan
from .shelf import View

# Fit, tiles and second looks read a block about three times; below this share of a scene, decoding all of it costs more.
_WORTH_SHARE = 0.3

Report = Callable[[str, str, int, int], None]
"""As `stages.Progress`."""

Copies = Mapping[str, Path]
"""Where the copy of a file lies, by the digest of the file."""


@dataclass(frozen=True)
class Ingested:
    """What became of the bands in JPEG 2000: copied now, copied before, left for want of room, and what failed."""

    made: int
    kept: int
    left_out: int
    failures: tuple[str, ...]


class _Band(NamedTuple):
    """A band in a slow format, the scene it belongs to, and the place of its copy."""

    scene_id: str
    layer: Layer
    copy: Path


class _Wanted(NamedTuple):
    """The bands to copy: those whose copy is not there yet, and those whose copy is."""

    missing: list[_Band]
    sound: list[_Band]

    @property
    def copies(self) -> dict[str, Path]:
        """The copies that are there."""
        return {band.layer.digest: band.copy for band in self.sound}


def ingest(
    engine: Engine,
    plan: Plan,
    tasks: Sequence[PlannedTask],
    report: Report,
    accounts: Accounts,
    *,
    whole: bool = False,
) -> tuple[Copies, Ingested]:
    """Copy the slow bands that `tasks` will read often enough, a job per band.

    Parameters
    ----------
    engine
        Workers.
    plan, tasks
        What will be read; tasks that are done already need nothing.
    report
        Told of every band, of those that found no room and of those that failed.
    accounts
        Every band that is to be copied stands there, under its scene; what found no room was not to be.
    whole
        Copy all slow bands of the plan, whatever will be read of them.

    Returns
    -------
    tuple
        The copies that are there and whole now, and the figures.
    """
    review = plan.review
    if review.cache.jpeg2000 == "never" and not whole:
        return {}, Ingested(0, 0, 0, ())
    bands = _slow_bands(plan.comparisons, review)
    if not whole and review.cache.jpeg2000 == "auto":
        worth = _worth(tasks)
        bands = {digest: band for digest, band in bands.items() if digest in worth}
    wanted = _wanted(bands, review)
    todo, left_out = _within(wanted.missing, review)
    if left_out:
        report(str(review.cache_folder), "cache_full", len(left_out), len(wanted.missing))
    for kept, of in ((True, wanted.sound), (False, todo)):
        for band in of:
            accounts.expect("ingest", band.scene_id, kept=kept)
    made, failures = wanted.copies, []
    jobs = [Job(band, transcode, (band.layer, band.copy)) for band in todo]
    for done, (band, error) in enumerate(engine.each(jobs), 1):
        name = band.layer.path.name
        accounts.ended("ingest", band.scene_id, f"copy {name}", error)
        if error is None:
            made[band.layer.digest] = band.copy
            report(name, "ingest", done, len(jobs))
        else:
            failures.append(f"{name}: {error}")
            report(failures[-1], "not_ingested", done, len(jobs))
    counts = len(made) - len(wanted.sound), len(wanted.sound), len(left_out)
    return made, Ingested(*counts, tuple(sorted(failures)))


def ingest_review(review: Review, cluster: Cluster, *, progress: Report | None = None) -> tuple[Plan, Ingested]:
    """Copy all slow bands of the scenes that a review would read, and do nothing else.

    Parameters
    ----------
    review, cluster
        As for `run_review`.
    progress
        Told of every band.

    Raises
    ------
    EcowatchError
        Where the review cannot begin.
    """
    plan = make_plan(review)
    with started(cluster) as engine:
        _, told = ingest(engine, plan, (), progress or (lambda *_: None), Accounts(), whole=True)
    return plan, told


def sound_copies(plan: Plan, comparisons: Iterable[Comparison]) -> Copies:
    """Return the copies of the slow bands of some comparisons that are there and whole."""
    if plan.review.cache.jpeg2000 == "never" or not (bands := _slow_bands(comparisons, plan.review)):
        return {}
    return _wanted(bands, plan.review).copies


def with_copies(comparison: Comparison, copies: Copies) -> Comparison:
    """Return a comparison that reads the copies; its key and all it says of itself stay those of the sources."""
    if not copies:
        return comparison

    def groups(of: tuple[DateGroup, ...]) -> tuple[DateGroup, ...]:
        return tuple(replace(g, scenes=tuple(_scene(s, copies) for s in g.scenes)) for g in of)

    before, after = groups((comparison.before, comparison.after))
    parts = tuple(with_copies(part, copies) for part in comparison.parts)
    witnesses = groups(comparison.earlier), groups(comparison.others)
    return replace(comparison, before=before, after=after, parts=parts, earlier=witnesses[0], others=witnesses[1])


def reading_copies(plan: Plan, tasks: Sequence[PlannedTask], copies: Copies) -> tuple[Plan, Sequence[PlannedTask]]:
    """Return a plan and its tasks that read the copies; results lie where they would lie without."""
    if not copies:
        return plan, tasks
    views: dict[int, View[Comparison]] = {}

    def copied(of: Sequence[Comparison]) -> View[Comparison]:
        # One for all tasks of a plan.
        return views.setdefault(id(of), View(of, through=partial(with_copies, copies=copies)))

    def changed(task: PlannedTask) -> PlannedTask:
        return task._replace(comparisons=copied(task.comparisons))

    return replace(plan, comparisons=copied(plan.comparisons)), View(tasks, through=changed)


def _scene(scene: Scene, copies: Copies) -> Scene:
    bands = tuple(replace(band, layer=_layer(band.layer, copies)) for band in scene.bands)
    quality = scene.quality and replace(scene.quality, layer=_layer(scene.quality.layer, copies))
    return replace(scene, bands=bands, quality=quality)


def _layer(layer: Layer, copies: Copies) -> Layer:
    copy = copies.get(layer.digest) if layer.driver in SLOW_DRIVERS else None
    return replace(layer, path=copy, driver="GTiff") if copy else layer


def _layers_of(scene: Scene) -> Iterator[Layer]:
    yield from (band.layer for band in scene.bands)
    if scene.quality is not None:
        yield scene.quality.layer


def _scenes_of(comparison: Comparison) -> Iterator[Scene]:
    for group in (comparison.before, comparison.after, *comparison.earlier, *comparison.others):
        yield from group.scenes
    for part in comparison.parts:
        yield from _scenes_of(part)


def _slow_bands(comparisons: Iterable[Comparison], review: Review) -> dict[str, _Band]:
    """One band of each slow file, by the digest of the file."""
    return {
        layer.digest: _Band(scene.scene_id, layer, copy_path(review.cache_folder, layer.digest))
        for comparison in comparisons
        for scene in _scenes_of(comparison)
        for layer in _layers_of(scene)
        if layer.driver in SLOW_DRIVERS
    }


def _worth(tasks: Sequence[PlannedTask]) -> set[str]:
    """Digests of the files of which enough will be read."""
    read_m2: defaultdict[str, float] = defaultdict(float)
    whole_m2: dict[str, float] = {}
    for item in (task for task in tasks if not task.path.exists()):
        comparison = item.comparisons[item.number]
        task_m2 = item.blocks * (BLOCK_PX * comparison.grid.pixel_m) ** 2
        for scene in _scenes_of(comparison):
            for layer in _layers_of(scene):
                read_m2[layer.digest] += task_m2
                whole_m2[layer.digest] = float(np.prod(layer.grid.shape)) * layer.grid.pixel_m**2
    return {digest for digest, area_m2 in read_m2.items() if area_m2 >= _WORTH_SHARE * whole_m2[digest]}


def _wanted(bands: Mapping[str, _Band], review: Review) -> _Wanted:
    wanted = _Wanted([], [])
    with remembered(review.runs / MEMORY_NAME if bands and review.trust_mtime else None):
        for _, band in sorted(bands.items()):
            if is_sound(band.copy):
                wanted.sound.append(band)
            else:
                sweep(band.copy)
                wanted.missing.append(band)
    return wanted


def _within(missing: Sequence[_Band], review: Review) -> tuple[list[_Band], list[_Band]]:
    """What fits under the cap of the cache, each band reckoned without compression; nothing is ever removed for it."""
    room = review.cache.max_gb * 1e9
    if missing and review.cache_folder.is_dir():
        room -= sum(path.stat().st_size for path in review.cache_folder.glob("??/*") if path.is_file())
    fits: list[_Band] = []
    left_out: list[_Band] = []
    for band in missing:
        size = float(np.prod(band.layer.grid.shape)) * np.dtype(band.layer.dtype).itemsize
        (fits if size <= room else left_out).append(band)
        room -= size if size <= room else 0.0
    return fits, left_out
