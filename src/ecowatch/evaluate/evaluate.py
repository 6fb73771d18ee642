"""Judge the pipelines on a folder of labelled pairs, through the review's own code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from ..errors import EcowatchError
from ..raster import burn
from ..review import AreaResult, Comparison, Surroundings, joined, review_whole
from ..settings import Pipeline
from .baselines import OPTICAL, RADAR, flags_of
from .measures import Agreement, SizeRecall, agreement, recall_by_size
from .pairs import comparison_of, pixel_grid, read_image, read_label
from .registry import Dated, LabelledPair, SensorClass, places, read_registry

Array = np.ndarray[Any, Any]
_JOINED_SET, _JOINING = "s1s2", "rgb_sar"
_NOTHING = Agreement(None, None, None, None)


@dataclass(frozen=True)
class PairResult:
    """How one method did on one pair.

    Parameters
    ----------
    set_name, name, family
        The pair; a joined pair of optical and radar has the set ``s1s2``.
    method
        Name of the pipeline or of the baseline.
    agreement
        On labelled pixels; all None where the label cannot tell.
    object_recall
        Share of labelled objects found; None where there are none to find.
    flagged_share
        Share of the pixels that were flagged, 0–1.
    sizes
        Objects and found objects by size.
    natural_share, unnamed_share
        Of the flagged area: typed as natural, and typed as natural or undetermined; None where nothing is flagged.
    error
        Why the pair could not be judged.
    """

    set_name: str
    name: str
    family: str
    method: str
    agreement: Agreement = _NOTHING
    object_recall: float | None = None
    flagged_share: float | None = None
    sizes: tuple[SizeRecall, ...] = ()
    natural_share: float | None = None
    unnamed_share: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """Results of the pipelines and of the baselines, in the order of the registry; unreadable entries."""

    pipelines: tuple[PairResult, ...]
    baselines: tuple[PairResult, ...] = ()
    unreadable: tuple[str, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be judged, and why, one line each."""
        failed = tuple(f"{r.set_name}/{r.name}: {r.error}" for r in self.pipelines if r.error)
        return (*self.unreadable, *failed)


def evaluate(
    folder: Path,
    pipelines: Mapping[str, Pipeline],
    *,
    baselines: bool,
    progress: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Judge every pair of a folder.

    Parameters
    ----------
    folder
        Holds ``registry.json`` and the pairs.
    pipelines
        By name; one per class of sensor.
    baselines
        Judge the untuned baselines too.
    progress
        Told the name of each pair before it is judged.

    Raises
    ------
    IntakeError
        Where the registry itself cannot be read.
    """
    entries = read_registry(folder)
    pairs = [entry for entry in entries if isinstance(entry, LabelledPair)]
    unreadable = tuple(str(entry) for entry in entries if not isinstance(entry, LabelledPair))
    results: list[PairResult] = []
    simple: list[PairResult] = []
    for pair in pairs:
        progress(f"{pair.set_name}/{pair.name}")
        results.append(_judged(pair, pipelines, folder))
        if baselines and pair.score != "flagged_share":
            simple.extend(_baselines(pair, folder))
    for optical, radar in places(pairs):
        progress(f"{_JOINED_SET}/{optical.name}")
        results.extend(_judged_together(optical, radar, pipelines, folder))
    used = {result.method for result in results} & set(pipelines)
    return Evaluation(
        tuple(results), tuple(simple), unreadable, {name: pipelines[name].digest() for name in sorted(used)}
    )


def _judged(pair: LabelledPair, pipelines: Mapping[str, Pipeline], root: Path) -> PairResult:
    pipeline = pipelines.get(pair.sensor.value)
    if pipeline is None:
        return _result(pair, "none", error=f"NO_METHOD: no pipeline serves the sensor class of {pair.name}")
    try:
        shares, flagged, result = [], None, None
        for before, after in pair.comparisons:
            flagged, result = _flags(pair, before, after, pipeline, root)
            seen = result.coverage.observed_px or 1
            shares.append(float(flagged.sum()) / seen)
        if flagged is None or result is None:
            return _result(pair, pipeline.name, error="NO_PAIRS: its list of date pairs is empty")
        share = float(np.mean(shares))
        if pair.score == "flagged_share":
            return _result(pair, pipeline.name, flagged_share=share)
        return _scored(pair, pipeline.name, flagged, share, read_label(pair, root=root), pipeline, _typed(result))
    except EcowatchError as error:
        return _result(pair, pipeline.name, error=str(error))


def _judged_together(
    optical: LabelledPair, radar: tuple[LabelledPair, ...], pipelines: Mapping[str, Pipeline], root: Path
) -> Iterator[PairResult]:
    """Judge an optical pair joined with the radar pairs of its place, each radar pair a track of its own."""
    pipeline = pipelines.get(_JOINING)
    if pipeline is None:
        return
    pairs = (optical, *(replace(pair, pixel_m=optical.pixel_m) for pair in radar))
    place = replace(optical, set_name=_JOINED_SET)
    try:
        parts = [comparison_of(p, *p.comparisons[0], pipelines[p.sensor.value], root=root) for p in pairs]
        comparison = joined([replace(part, area=parts[0].area) for part in parts], pipeline, frozenset())
        flagged, result = _flags_of(comparison, place)
        share = float(flagged.sum()) / (result.coverage.observed_px or 1)
        yield _scored(place, pipeline.name, flagged, share, read_label(optical, root=root), pipeline, _typed(result))
    except EcowatchError as error:
        yield _result(place, pipeline.name, error=str(error))


def _flags(pair: LabelledPair, before: Dated, after: Dated, pipeline: Pipeline, root: Path) -> tuple[Array, AreaResult]:
    return _flags_of(comparison_of(pair, before, after, pipeline, root=root), pair)


def _flags_of(comparison: Comparison, pair: LabelledPair) -> tuple[Array, AreaResult]:
    """Pixels under the published patches, bool ``(row, col)``, and the area's result."""
    area = comparison.area
    result = review_whole(comparison, Surroundings(area.crs, frozenset(), (area,)))
    left, bottom, right, top = area.geometry.bounds
    height, width = comparison.grid.pixel_size
    own = pixel_grid(pair, (round((top - bottom) / height), round((right - left) / width)))
    outlines = [patch["geometry"] for patch in result.patches]
    flagged = burn(shapely.union_all(outlines), own) if outlines else np.zeros(own.shape, bool)
    return flagged, result


def _typed(result: AreaResult) -> tuple[float | None, float | None]:
    total = sum(p["area_ha"] for p in result.patches)
    if not total:
        return None, None
    natural = sum(p["area_ha"] for p in result.patches if p.get("natural"))
    unnamed = sum(p["area_ha"] for p in result.patches if p.get("natural") or p["activity_code"] == "00")
    return natural / total, unnamed / total


def _scored(
    pair: LabelledPair,
    method: str,
    flagged: Array,
    share: float,
    label: Array,
    pipeline: Pipeline,
    typed: tuple[float | None, float | None] = (None, None),
) -> PairResult:
    if pair.score == "pixels":
        sizes = _sizes(pair, flagged, label, 0.0)
        return _result(
            pair,
            method,
            agreement=agreement(flagged, label),
            flagged_share=share,
            sizes=sizes,
            natural_share=typed[0],
            unnamed_share=typed[1],
        )
    sizes = _sizes(pair, flagged, label, pipeline.patches.min_area_m2.settlement)
    objects = sum(s.objects for s in sizes)
    recall = sum(s.found for s in sizes) / objects if objects else None
    return _result(pair, method, object_recall=recall, flagged_share=share, sizes=sizes)


def _sizes(pair: LabelledPair, flagged: Array, label: Array, smallest_m2: float) -> tuple[SizeRecall, ...]:
    pixel_m2 = pixel_grid(pair, (1, 1)).pixel_m ** 2
    return recall_by_size(flagged, label, pixel_m2=pixel_m2, smallest_m2=smallest_m2)


def _result(pair: LabelledPair, method: str, **values: Any) -> PairResult:
    return PairResult(pair.set_name, pair.name, pair.family, method, **values)


def _baselines(pair: LabelledPair, root: Path) -> Iterator[PairResult]:
    if pair.sensor is SensorClass.HETEROGENEOUS:
        return
    try:
        before, after = (read_image(d.path, pair, root=root) for d in pair.comparisons[0])
        label = read_label(pair, root=root)
    except EcowatchError:
        # The pipeline's own row says why.
        return
    used = [i for i, role in enumerate(pair.roles) if role and role not in ("scl", "valid")]
    first, second = (_physical(pair, image[used]) for image in (before, after))
    valid = np.ones(label.shape, bool)
    table = RADAR if pair.sensor is SensorClass.SAR else OPTICAL
    for name, flagged in flags_of(table, first, second, valid).items():
        yield _scored(pair, name, flagged, float(flagged.mean()), label, Pipeline())


def _physical(pair: LabelledPair, numbers: Array) -> Array:
    values = numbers.astype(np.float64) * pair.scale
    if pair.amplitude:
        result: Array = 20 * np.log10(np.maximum(values, 1.0))
        return result
    return values
