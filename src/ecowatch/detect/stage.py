"""What all dates together say of one patch, and the stage it reaches by that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..codes import Stage
from .history import Earlier, beyond_own, historic_score, levelled, own_variation, persists

Array = np.ndarray[Any, Any]


class TimeFacts(NamedTuple):
    """What time says of one patch.

    Parameters
    ----------
    earlier_dates, later_dates
        Dates that tell of at least half of the patch.
    returning_share
        Share of its pixels that some earlier date resembles, 0–1; NaN without earlier dates.
    beyond_own
        Median over the patch of `beyond_own`; NaN where too few earlier dates tell.
    persisting
        Median of `persists` over the patch, of the later date that shows the change best; NaN without later dates.
    """

    earlier_dates: int
    later_dates: int
    returning_share: float
    beyond_own: float
    persisting: float


class TimeNumbers(NamedTuple):
    """Numbers of `time_of_patch`; see `historic_score`, `own_variation`, `levelled`.

    Parameters
    ----------
    second_from_dates, before_like, min_stable_px
        As there.
    returning_sigma
        A pixel within so many deviations of an earlier date has returned to it.
    min_own_dates, own_spread_floor
        `min_dates` and `spread_floor` of the own variation.
    """

    second_from_dates: int
    before_like: float
    min_stable_px: int
    returning_sigma: float
    min_own_dates: int
    own_spread_floor: float


def time_of_patch(
    before: Array,
    after: Array,
    valid: Array,
    inside: Array,
    *,
    earlier: Sequence[Earlier],
    same_season: Sequence[bool],
    later: Sequence[tuple[Array, Array]],
    numbers: TimeNumbers,
) -> TimeFacts:
    """Ask all dates about one patch.

    Parameters
    ----------
    before, after
        float32, ``(band, row, col)``, reflectance, over the patch and the ground around it.
    valid
        Bool, ``(row, col)``: usable in both.
    inside
        Bool, ``(row, col)``: the patch.
    earlier
        Dates before the before date, in any order.
    same_season
        For each of them, whether it is of the season of the after date.
    later
        Values and usable pixels of each date after the after date.
    numbers
        How it is asked.

    Returns
    -------
    TimeFacts
        Never fails for want of dates: what is not known is NaN, and the dates are counted.
    """
    n = numbers
    patch, known = inside & valid, max(1, 0.5 * int(inside.sum()))
    historic = historic_score(
        before,
        after,
        valid,
        inside,
        earlier,
        second_from_dates=n.second_from_dates,
        before_like=n.before_like,
        min_stable_px=n.min_stable_px,
    )
    score, dates = historic.deviations[patch], historic.dates[patch]
    told = ~np.isnan(score)
    enough = int(told.sum()) >= known
    share = float((score[told] <= n.returning_sigma).mean()) if enough else float("nan")
    own = _own_distance(after, valid, inside, earlier, same_season, n)[patch]
    shown = [persists(before, after, v, valid & seen, inside, min_stable_px=n.min_stable_px) for v, seen in later]
    medians = [float(np.nanmedian(s)) for s in shown if np.isfinite(s).sum() >= known]
    return TimeFacts(
        int(np.median(dates)) if enough else 0,
        len(medians),
        share,
        float(np.nanmedian(own)) if np.isfinite(own).sum() >= known else float("nan"),
        max(medians, default=float("nan")),
    )


def _own_distance(
    after: Array, valid: Array, inside: Array, earlier: Sequence[Earlier], same_season: Sequence[bool], n: TimeNumbers
) -> Array:
    if not earlier:
        return np.full(valid.shape, np.nan, np.float32)
    level = [levelled(e.values, after, valid & e.valid & ~inside, min_stable_px=n.min_stable_px) for e in earlier]
    own = own_variation(
        np.stack(level),
        np.stack([e.valid for e in earlier]),
        np.asarray(same_season, bool),
        min_dates=n.min_own_dates,
        spread_floor=n.own_spread_floor,
    )
    return beyond_own(after, own)


def stage_of(facts: TimeFacts, *, returning_share: float, own_sigma: float, persisting: float) -> Stage:
    """Return the stage of a patch.

    Parameters
    ----------
    facts
        What time says.
    returning_share
        From this share of returned pixels on, an earlier state came back.
    own_sigma
        Within so many of its own deviations a place does what it does by itself.
    persisting
        A change persists when a later date shows at least this part of it.

    Returns
    -------
    Stage
        ``RETURNING`` where an earlier state came back; ``ONE_DATE`` without earlier dates, or where the later dates show
        the change no more; ``EXCEEDS_HISTORY`` without later dates; else ``CONFIRMED``.
    """
    if facts.earlier_dates == 0:
        return Stage.ONE_DATE
    if facts.returning_share >= returning_share or facts.beyond_own <= own_sigma:
        return Stage.RETURNING
    if facts.later_dates == 0:
        return Stage.EXCEEDS_HISTORY
    return Stage.CONFIRMED if facts.persisting >= persisting else Stage.ONE_DATE
