"""Which areas to look at first, from overviews: an order of work, no result; nothing is cleared by it, nothing published.

Screening on overviews loses small patches, so that no review may rest on it. What it is good for is a first evening with
many areas: those with most change are seen in seconds, and reviewed first.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from affine import Affine

from ..codes import State
from ..detect import METHODS, LinearScore, fit_change_vector, fit_thresholds, sample_score
from ..errors import EcowatchError, UnavailableError
from ..grid import Grid, Window, geodesic_area_m2
from ..prepare import fill_state, pair_state
from ..raster import burn, read_coarse
from .choice import DateGroup
from .pair import Comparison
from .pixels import is_radar, quality_state
from .plan import Plan

Array = np.ndarray[Any, Any]

COARSER = 4
"""How many times coarser than the area's grid pixels are: where most patches can still be seen, and seldom a single pixel."""
_LEAST_PX = 200
_SAMPLE_PX = 100_000
# Blocks of a small area, which are asked for twice.
_KEPT_BLOCKS = 4


class Triaged(NamedTuple):
    """What overviews show of one area; shares are None, and `note` says why, where they show nothing.

    `usable_share` is the share of its coarse pixels that can be compared, `changed_share` that of those which changed
    strongly, 0–1; `changed_ha` is what that would be of the whole area, for the order alone.
    """

    area_id: str
    area_name: str
    pipeline: str
    before: str
    after: str
    usable_share: float | None
    changed_share: float | None
    changed_ha: float | None
    note: str = ""


def triage(plan: Plan, *, workers: int, progress: Callable[[str, int, int], None] | None = None) -> list[Triaged]:
    """Look at all areas of a plan on overviews.

    Parameters
    ----------
    plan
        Areas, scenes and pipelines as for a run.
    workers
        Areas that are looked at together, by threads.
    progress
        Told of each area: its identity, how many are done, of how many.

    Returns
    -------
    list of Triaged
        Most change first; last those of which overviews tell nothing, each with the reason.

    Raises
    ------
    UnavailableError
        Where a store does not answer. A scene that cannot be read only leaves its areas without shares.
    """
    found: list[Triaged] = []
    with ThreadPoolExecutor(workers) as pool:
        try:
            for number, one in enumerate(pool.map(_looked_over, plan.comparisons), 1):
                found.append(one)
                if progress is not None:
                    progress(one.area_id, number, len(plan.comparisons))
        finally:
            # Whoever stops it does not wait for the areas that are still to come.
            pool.shutdown(wait=False, cancel_futures=True)
    for left in plan.unpaired:
        name = left.pipeline.name if left.pipeline else ""
        note = f"{left.code} {left.finding}"
        found.append(Triaged(left.area.area_id, left.area.name, name, "", "", None, None, None, note))
    return sorted(found, key=lambda t: (t.changed_ha is None, -(t.changed_ha or 0.0), t.area_id, t.pipeline))


def _looked_over(comparison: Comparison) -> Triaged:
    # Of several sensors the first is the optical one.
    part = comparison.parts[0] if comparison.parts else comparison
    days = part.before.day_text or "", part.after.day_text or ""
    head = part.area.area_id, part.area.name, part.pipeline.name, *days
    if is_radar(part):
        return Triaged(*head, None, None, None, "RADAR speckle passes for change on overviews; review it")
    try:
        usable, changed = _shares(part)
    except UnavailableError:
        raise
    except EcowatchError as error:
        return Triaged(*head, None, None, None, str(error))
    if changed is None:
        note = f"TOO_FEW_PIXELS fewer than {_LEAST_PX} coarse pixels can be compared; review it"
        return Triaged(*head, usable, None, None, note)
    area_ha = geodesic_area_m2(part.area.geometry, part.grid.crs) / 1e4
    return Triaged(*head, usable, changed, area_ha * usable * changed)


def _shares(comparison: Comparison) -> tuple[float, float | None]:
    """Shares of the area that can be compared, and of that which changed; None for the latter where that cannot be told."""
    view = _View(comparison)
    if not view.blocks:
        # Narrower than a coarse pixel anywhere.
        return 0.0, None
    every = max(1, len(view.blocks) // comparison.pipeline.detect.max_blocks)
    sample = [np.concatenate(date, axis=1) for date in zip(*map(view.read, view.blocks[::every]), strict=True)]
    usable = sample[0].shape[1]
    if usable < _LEAST_PX:
        return usable / view.inside_px, None
    fitted, limit = _fit(
        comparison, *(np.ascontiguousarray(d[:, :: -(-usable // _SAMPLE_PX)], np.float64) for d in sample)
    )
    del sample
    usable = changed = 0
    for block in view.blocks:
        before, after = view.read(block)
        usable += before.shape[1]
        changed += int(np.count_nonzero(sample_score(fitted, before, after) > limit))
    return usable / view.inside_px, changed / usable


def _fit(comparison: Comparison, before: Array, after: Array) -> tuple[LinearScore, float]:
    """Fit a sample (float64, band × n); return the fit and the score above which a pixel changed strongly."""
    detect = comparison.pipeline.detect
    fitted = METHODS.get(detect.method, fit_change_vector)(
        before, after, max_iterations=detect.max_iterations, tolerance=detect.tolerance, noise_floor=detect.noise_floor
    )
    limits = fit_thresholds(
        sample_score(fitted, before, after),
        variates=len(fitted.constant),
        weak_sigma=detect.weak_sigma,
        strong_sigma=detect.strong_sigma,
    )
    return fitted, limits.strong


class _View:
    """A comparison on coarse pixels, block by block."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        grid = comparison.grid
        shape = -(-grid.shape[0] // COARSER), -(-grid.shape[1] // COARSER)
        self._grid = Grid.from_parts(grid.crs, grid.transform * Affine.scale(COARSER), shape)
        burnt = {block: burn(comparison.area.geometry, self._grid.cropped(block)) for block in self._grid.blocks()}
        self._inside = {block: inside for block, inside in burnt.items() if inside.any()}
        self.blocks = list(self._inside)
        self.inside_px = sum(int(inside.sum()) for inside in self._inside.values())
        self._kept: dict[Window, tuple[Array, Array]] = {}

    def read(self, block: Window) -> tuple[Array, Array]:
        """Return physical values (float32, band × n) of both dates at the usable pixels of a block within the area."""
        if block in self._kept:
            return self._kept[block]
        groups = self._comparison.before, self._comparison.after
        (before, state_b), (after, state_a) = (self._date(group, self._grid.cropped(block)) for group in groups)
        usable = pair_state(state_b, state_a, self._inside[block]) == State.USABLE
        found = before[:, usable], after[:, usable]
        if len(self._kept) < _KEPT_BLOCKS:
            self._kept[block] = found
        return found

    def _date(self, group: DateGroup, grid: Grid) -> tuple[Array, Array]:
        """Values and state of one date; its scenes fill one another's gaps."""
        roles, clear = self._comparison.roles, self._comparison.pipeline.prepare.clear_scl
        values = np.zeros((len(roles), *grid.shape), np.float32)
        state = np.full(grid.shape, State.NO_DATA, np.uint8)
        scale, offset = (np.array(each, np.float32)[:, None] for each in zip(*group.radiometry(roles), strict=True))
        for scene in group.scenes:
            layers = [scene.band(role).layer for role in roles]
            pixels = read_coarse(layers, grid)
            own = fill_state(pixels.values, pixels.covered, fill=layers[0].fill)
            if scene.quality is not None:
                own = np.maximum(own, quality_state(scene, read_coarse([scene.quality.layer], grid), clear_scl=clear))
            gap = (state == State.NO_DATA) & (own != State.NO_DATA)
            state[gap] = own[gap]
            values[:, gap] = pixels.values[:, gap] * scale + offset
        return values, state
