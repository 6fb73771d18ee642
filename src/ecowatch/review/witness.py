"""Earlier and other dates of a place as witnesses: their shift against the before date, and their score against the after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..detect import METHODS, LinearScore, Thresholds, fit_change_vector, fit_thresholds, sample_score
from ..errors import EcowatchError, UnavailableError
from ..grid import Window
from ..prepare import ShiftField
from ..raster import GridReader
from .choice import DateGroup
from .pair import Comparison
from .pixels import physical_block, read_pair
from .shift import measure_shift, shift_to_apply

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Witness:
    """What is known of one further date before it is asked.

    Parameters
    ----------
    day
        ISO date.
    applied
        Its displacement against the before date, taken out while reading; None for none.
    score, thresholds
        Of (this date, after date); None for a date from after the before date, which is not scored.
    """

    day: str
    applied: ShiftField | None
    score: LinearScore | None = None
    thresholds: Thresholds | None = None


def fit_witnesses(
    reader: GridReader,
    comparison: Comparison,
    blocks: list[Window],
    after_shift: ShiftField | None,
    *,
    sample_px: int,
) -> tuple[tuple[Witness, ...], tuple[Witness, ...]]:
    """Measure the earlier and the other witnesses of a comparison.

    A date that cannot be read, does not lie on the before date or cannot be fitted bears no witness: it is left out, and
    the patches say how many dates were asked.

    Parameters
    ----------
    reader
        Open on the comparison's grid.
    comparison
        With its witnesses.
    blocks
        Of the lattice, as the fit reads them.
    after_shift
        Displacement of the after date that is taken out.
    sample_px
        Stride of the pixels that are fitted, in rows and columns.
    """
    earlier = []
    for group, shift in _aligned(reader, comparison, comparison.earlier, blocks):
        fitted = _fitted(reader, comparison, group, blocks, shift, after_shift, sample_px)
        if fitted:
            earlier.append(Witness(group.day.isoformat(), shift, *fitted))
    others = _aligned(reader, comparison, comparison.others, blocks)
    return tuple(earlier), tuple(Witness(group.day.isoformat(), shift) for group, shift in others)


def _aligned(
    reader: GridReader, comparison: Comparison, groups: Sequence[DateGroup], blocks: list[Window]
) -> Iterator[tuple[DateGroup, ShiftField | None]]:
    """The dates that lie on the before date, each with what is taken out."""
    for group in groups:
        against = replace(comparison, after=group)
        try:
            shift = shift_to_apply(against, measure_shift(reader, against, blocks, None))
        except UnavailableError:
            # A store that does not answer says nothing about the date.
            raise
        except EcowatchError:
            continue
        yield group, shift


def _fitted(
    reader: GridReader,
    comparison: Comparison,
    group: DateGroup,
    blocks: list[Window],
    shift: ShiftField | None,
    after_shift: ShiftField | None,
    stride: int,
) -> tuple[LinearScore, Thresholds] | None:
    against = replace(comparison, before=group)
    columns: tuple[list[Array], list[Array]] = ([], [])
    for block in blocks:
        try:
            pair = read_pair(
                reader,
                against,
                block,
                shift=after_shift,
                before_shift=shift,
                inside=None,
                features=False,
            )
        except UnavailableError:
            raise
        except EcowatchError:
            continue
        physical = physical_block(against, pair, features=False)
        if physical is None:
            continue
        lattice = np.zeros(physical.valid.shape, bool)
        lattice[-block.row0 % stride :: stride, -block.col0 % stride :: stride] = True
        usable = lattice & physical.valid
        for column, values in zip(columns, (physical.before, physical.after), strict=True):
            column.append(values[:, usable].astype(np.float64))
    if sum(part.shape[1] for part in columns[0]) < comparison.pipeline.prepare.min_valid_px:
        return None
    before, after = (np.concatenate(column, axis=1) for column in columns)
    detect = comparison.pipeline.detect
    try:
        fitted = METHODS.get(detect.method, fit_change_vector)(
            before,
            after,
            max_iterations=detect.max_iterations,
            tolerance=detect.tolerance,
            noise_floor=detect.noise_floor,
        )
    except EcowatchError:
        return None
    limits = fit_thresholds(
        sample_score(fitted, before, after),
        variates=len(fitted.constant),
        weak_sigma=detect.weak_sigma,
        strong_sigma=detect.strong_sigma,
    )
    return fitted, limits
