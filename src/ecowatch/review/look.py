"""The second look: each candidate's own window on all dates that show it, before it becomes a patch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import Any

import numpy as np
import shapely

from ..codes import PseudoChange, Stage, State
from ..detect import Earlier, TimeFacts, TimeNumbers, time_of_patch
from ..errors import SceneError
from ..grid import BLOCK_PX, Window
from ..patches import Candidate, Context, Look, PixelPatch, context_of, judge
from ..prepare import ShiftField
from ..raster import GridReader, Reading, burn
from .choice import DateGroup
from .fit import Fit
from .form import Form, form_from, forms_of
from .pair import Comparison
from .pixels import is_calibrated, is_radar, physical_block, read_pair
from .radar_look import radar_verdict

Array = np.ndarray[Any, Any]

_REASONS = {str(reason): reason for reason in PseudoChange}
_STAGES = {str(stage): stage for stage in Stage}
BORDER_PX = 12
"""Surroundings that a look sees on each side of its candidate."""
_RING_PX = 3
_LARGEST_PX = 1024
CHUNK = 4
"""Candidates that one task looks at: those that cross the edges of tiles are few, and every worker shall have some."""


@dataclass(frozen=True)
class Looked:
    """What the second look says of a candidate.

    Parameters
    ----------
    reason
        Why it is set aside; None where it stays.
    stage
        How far time supports it.
    facts
        What spoke, each ``fact=value``.
    context
        What its pixels and its surroundings show, for the activity.
    form
        Its outline and what that tells; None where nobody measured it yet.
    """

    reason: PseudoChange | None
    stage: Stage
    facts: tuple[str, ...]
    context: Context
    form: Form | None = None


NOT_LOOKED = Looked(None, Stage.ONE_DATE, (), Context())
"""Of a candidate that cannot be looked at again: it stays, at the lowest stage."""


def look_order(patches: Sequence[PixelPatch]) -> list[int]:
    """Return the numbers of the patches in an order in which neighbours come together: by lattice block."""
    corners = [patch.window for patch in patches]
    return sorted(range(len(patches)), key=lambda i: (corners[i].row0 // BLOCK_PX, corners[i].col0 // BLOCK_PX, i))


def look_at(
    comparison: Comparison,
    fit: Fit,
    patches: Sequence[PixelPatch],
    reading: Reading = Reading(),  # noqa: B008 - a frozen value
) -> list[Looked]:
    """Look at candidates again, on both dates and on every witness.

    Parameters
    ----------
    comparison, fit
        What was compared, and how it was fitted.
    patches
        Candidates of the area, best in `look_order`: blocks are decoded once.
    reading
        How files are read.

    Raises
    ------
    SceneError
        Where a block of the pair itself cannot be read; a witness that cannot be read bears none.
    """
    if comparison.parts:
        # The rules speak of reflectance: where several sensors are joined, the optical one is looked at.
        comparison, fit = comparison.parts[0], fit.parts[0]
    with GridReader(comparison.grid, reading) as reader:
        return look_through(reader, comparison, fit, patches)


def look_through(reader: GridReader, comparison: Comparison, fit: Fit, patches: Sequence[PixelPatch]) -> list[Looked]:
    """Look at candidates again through a reader that is open on the comparison's grid.

    Raises
    ------
    SceneError
        As `look_at`.
    """
    forms = forms_of(comparison, patches)
    if is_radar(comparison):
        looks = [_looked_by_radar(reader, comparison, fit, patch) for patch in patches]
    else:
        told = zip(patches, forms, _surely_within(comparison, patches), strict=True)
        looks = [_looked(reader, comparison, fit, patch, form, within) for patch, form, within in told]
    return [replace(look, form=form) for look, form in zip(looks, forms, strict=True)]


def looks_text(looks: Sequence[Looked]) -> str:
    """Return looks as canonical JSON; `looks_of` gives back equal values."""
    return json.dumps([_plain(look) for look in looks], sort_keys=True)


def _plain(look: Looked) -> dict[str, Any]:
    return {
        "reason": look.reason and str(look.reason),
        "stage": str(look.stage),
        "facts": look.facts,
        "context": dataclasses.asdict(look.context),
        "form": look.form and look.form.plain(),
    }


def looks_of(text: str) -> list[Looked]:
    """Return the looks that `looks_text` wrote."""
    return [
        Looked(
            _REASONS[d["reason"]] if d["reason"] else None,
            _STAGES[d["stage"]],
            tuple(d["facts"]),
            Context(**d["context"]),
            d["form"] and form_from(d["form"]),
        )
        for d in json.loads(text)
    ]


def _looked_by_radar(reader: GridReader, comparison: Comparison, fit: Fit, patch: PixelPatch) -> Looked:
    window = look_window(patch)
    verdict = radar_verdict(reader, comparison, fit.applied, window, _inside(patch, window))
    return Looked(verdict.reason, verdict.stage, verdict.facts, Context())


def _surely_within(comparison: Comparison, patches: Sequence[PixelPatch]) -> list[bool]:
    """Tell whose windows lie in the area as a whole, all at once: there is no boundary to burn into these."""
    row0, col0, row1, col1 = np.array([look_window(patch) for patch in patches]).reshape(-1, 4).T
    t, area = comparison.grid.transform, comparison.area.geometry
    shapely.prepare(area)
    frames = shapely.box(t.c + t.a * col0, t.f + t.e * row1, t.c + t.a * col1, t.f + t.e * row0)
    within: list[bool] = shapely.contains(area, frames).tolist()
    return within


def _looked(
    reader: GridReader, comparison: Comparison, fit: Fit, patch: PixelPatch, form: Form, within: bool
) -> Looked:
    window = look_window(patch)
    inside = _inside(patch, window)
    pair = read_pair(reader, comparison, window, shift=fit.applied, inside=None, features=False)
    block = physical_block(comparison, pair, features=False)
    if block is None or not (inside & block.valid).any():
        return NOT_LOOKED
    state = np.where((pair.state == State.USABLE) & ~block.valid, np.uint8(State.NO_DATA), pair.state)
    # Beyond the boundary nothing is ever flagged: ground that changed there must not pass for ground that stayed.
    own = np.ones(window.shape, bool) if within else burn(comparison.area.geometry, comparison.grid.cropped(window))
    state[~own] = State.OUTSIDE
    looks = Look(block.before, state), Look(block.after, state)
    earlier = [_witness(reader, comparison, w.day, w.applied, window) for w in fit.earlier]
    others = [_witness(reader, comparison, w.day, w.applied, window) for w in fit.others]
    time = _time(comparison, fit, block.before, block.after, block.valid & own, inside, earlier, others)
    candidate = Candidate(
        roles=comparison.roles,
        inside=inside,
        pixel_m=comparison.grid.pixel_m,
        before=looks[0],
        after=looks[1],
        earlier=tuple(look for look in earlier if look is not None),
        later=tuple(look for look in others if look is not None),
        rectangularity=form.fill,
        elongation=form.elongation,
        shift_px=fit.shift_px,
        sun_apart_deg=comparison.sun_apart_deg,
        time=time,
        calibrated=is_calibrated(comparison),
    )
    verdict = judge(candidate, comparison.pipeline.suppress)
    context = context_of(
        block.before,
        block.after,
        block.valid,
        inside,
        comparison.roles,
        ring_px=_RING_PX,
        dark=(fit.dark_before, fit.dark_after),
    )
    return Looked(verdict.reason, verdict.stage, verdict.facts, context)


def look_window(patch: PixelPatch) -> Window:
    """Return a patch's window and a border; of a huge one, the lattice block that holds most of it, and its surroundings."""
    window = patch.window
    if max(window.shape) > _LARGEST_PX:
        runs = patch.runs.astype(np.int64)
        blocks, which = np.unique(runs[:, :2] // BLOCK_PX, axis=0, return_inverse=True)
        pixels = np.bincount(which.reshape(-1), weights=runs[:, 2] - runs[:, 1])
        row, col = (int(v) * BLOCK_PX for v in blocks[int(np.argmax(pixels))])
        window = Window(row, col, row + BLOCK_PX, col + BLOCK_PX)
    return window.padded(BORDER_PX)


def _inside(patch: PixelPatch, window: Window) -> Array:
    whole = patch.window.padded(BORDER_PX)
    image = patch.image(BORDER_PX).view(bool)
    if window == whole:
        return image
    inside = np.zeros(window.shape, bool)
    common = whole.intersection(window)
    assert common is not None
    inside[common.within(window)] = image[common.within(whole)]
    return inside


def _witness(
    reader: GridReader, comparison: Comparison, day: str, shift: ShiftField | None, window: Window
) -> Look | None:
    group = _group_of(comparison, day)
    against = replace(comparison, after=group)
    try:
        pair = read_pair(reader, against, window, shift=shift, inside=None, features=False)
    except SceneError:
        return None
    block = physical_block(against, pair, features=False)
    if block is None:
        return None
    state = np.where((pair.state == State.USABLE) & ~block.valid, np.uint8(State.NO_DATA), pair.state)
    return Look(block.after, state)


def _group_of(comparison: Comparison, day: str) -> DateGroup:
    return next(g for g in (*comparison.earlier, *comparison.others) if g.day.isoformat() == day)


def _time(
    comparison: Comparison,
    fit: Fit,
    before: Array,
    after: Array,
    valid: Array,
    inside: Array,
    earlier: Sequence[Look | None],
    others: Sequence[Look | None],
) -> TimeFacts | None:
    told = [
        (witness, look)
        for witness, look in zip(fit.earlier, earlier, strict=True)
        if look is not None and witness.score
    ]
    seen = [
        (witness.day > comparison.after.day.isoformat(), (look.values, look.state == State.USABLE))
        for witness, look in zip(fit.others, others, strict=True)
        if look is not None
    ]
    if not told and not seen:
        return None
    numbers = comparison.pipeline.time
    ask = partial(
        time_of_patch,
        before,
        after,
        valid,
        inside,
        earlier=[
            Earlier(look.values, look.state == State.USABLE, witness.score, witness.thresholds)
            for witness, look in told
            if witness.score is not None and witness.thresholds is not None
        ],
        same_season=[
            _same_season(date.fromisoformat(w.day), comparison.after.day, numbers.season_days) for w, _ in told
        ],
        numbers=TimeNumbers(
            second_from_dates=numbers.second_from_dates,
            before_like=numbers.before_like,
            min_stable_px=numbers.min_stable_px,
            returning_sigma=numbers.returning_sigma,
            min_own_dates=numbers.min_own_dates,
            own_spread_floor=numbers.own_spread_floor,
        ),
    )
    late = ask(later=[dated for after_it, dated in seen if after_it])
    between = [dated for after_it, dated in seen if not after_it]
    if late.later_dates or not between:
        return late
    # A date between the two may have come before the change: it can confirm, but it denies nothing.
    every = ask(later=between)
    return every if every.later_dates and every.persisting >= comparison.pipeline.suppress.persisting else late


def _same_season(day: date, other: date, within_days: int) -> bool:
    gap = abs(day.timetuple().tm_yday - other.timetuple().tm_yday)
    return min(gap, 365 - gap) <= within_days
