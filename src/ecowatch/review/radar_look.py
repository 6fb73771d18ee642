"""The second look at a radar candidate: its series of dates of one track, each in power, before it becomes a patch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..codes import PseudoChange, Stage
from ..detect.omnibus import SeriesFacts, series_of_patch, stage_of_series
from ..errors import SceneError
from ..grid import Window
from ..prepare import ShiftField
from ..raster import GridReader
from .choice import DateGroup
from .pair import Comparison
from .pixels import physical_block, read_pair

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class RadarVerdict:
    """What the dates of a track say of a candidate.

    Parameters
    ----------
    reason
        ``RETURNING`` where an earlier date was already at the after level; None where it stays.
    stage
        How far time supports it.
    facts
        What spoke, each ``fact=value``.
    """

    reason: PseudoChange | None
    stage: Stage
    facts: tuple[str, ...]


UNASKED = RadarVerdict(None, Stage.ONE_DATE, ())
"""Of a candidate that no further date shows."""


def radar_verdict(
    reader: GridReader, comparison: Comparison, shift: ShiftField | None, window: Window, inside: Array
) -> RadarVerdict:
    """Ask the further dates of the track about one candidate.

    Parameters
    ----------
    reader
        Open on the comparison's grid.
    comparison
        Of radar, with its witnesses; all are of the track of the pair.
    shift
        Displacement of the after date, taken out while reading. Geocoded radar dates lie on one another: the witnesses
        are read as they are.
    window
        Over the candidate and the ground around it.
    inside
        Bool ``(row, col)``: the candidate.

    Raises
    ------
    SceneError
        Where a block of the pair itself cannot be read; a witness that cannot be read bears none.
    """
    witnesses = [group for group in (*comparison.earlier, *comparison.others) if group.day != comparison.after.day]
    pair = _power(reader, comparison, shift, window) if witnesses else None
    if pair is None:
        return UNASKED
    dates: list[tuple[DateGroup, Array]] = [(comparison.before, pair[0]), (comparison.after, pair[1])]
    for group in witnesses:
        try:
            shown = _power(reader, replace(comparison, after=group), None, window)
        except SceneError:
            continue
        if shown is not None:
            dates.append((group, shown[1]))
    dates.sort(key=lambda date: date[0].day)
    days = [group.day for group, _ in dates]
    numbers = comparison.pipeline.time
    facts = series_of_patch(
        np.stack([values for _, values in dates]),
        inside,
        before_at=days.index(comparison.before.day),
        after_at=days.index(comparison.after.day),
        average_px=numbers.radar_average_px,
        significance=numbers.radar_significance,
        second_from_dates=numbers.second_from_dates,
        min_stable_px=numbers.min_stable_px,
    )
    rules = comparison.pipeline.suppress
    return _verdict(facts, returning_share=rules.returning_share, persisting=rules.persisting)


def _power(
    reader: GridReader, comparison: Comparison, shift: ShiftField | None, window: Window
) -> tuple[Array, Array] | None:
    """Both dates in power, NaN where a pixel is not usable in both; None where none is."""
    pair = read_pair(reader, comparison, window, shift=shift, inside=None)
    block = physical_block(comparison, pair)
    if block is None or not block.valid.any():
        return None
    before, after = (np.where(block.valid, 10 ** (date.astype(np.float64) / 10), np.nan) for date in block[:2])
    return before, after


def _verdict(facts: SeriesFacts, *, returning_share: float, persisting: float) -> RadarVerdict:
    if facts.earlier_dates == facts.later_dates == 0:
        return UNASKED
    stage = stage_of_series(facts, returning_share=returning_share, persisting=persisting)
    reason = PseudoChange.RETURNING if stage is Stage.RETURNING else None
    return RadarVerdict(reason, stage, _told(facts))


def _told(facts: SeriesFacts) -> tuple[str, ...]:
    known = {name: value for name, value in facts._asdict().items() if not np.isnan(value)}
    return tuple(
        f"{name}={value}" if isinstance(value, int) else f"{name}={value:.2f}" for name, value in known.items()
    )
