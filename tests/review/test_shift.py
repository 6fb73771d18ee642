"""The shift between two dates of an area: which windows are measured, what is taken out, what is refused."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from ecowatch.errors import PairError
from ecowatch.grid import Window
from ecowatch.prepare import ShiftField
from ecowatch.review.fit import Fit
from ecowatch.review.pair import Comparison
from ecowatch.review.shift import far_apart, refuse_residual, shift_to_apply
from ecowatch.review.witness import Witness
from ecowatch.settings.pipeline import bitemporal_pipeline

PAIR = cast(
    Comparison,
    SimpleNamespace(
        pipeline=bitemporal_pipeline(),
        area=SimpleNamespace(area_id="a"),
        before=SimpleNamespace(scene_ids="x"),
        after=SimpleNamespace(scene_ids="y"),
    ),
)


def field(row_px: float, slope_px: float = 0.0) -> ShiftField:
    """A displacement down, which grows by `slope_px` from the middle of 3000 px to their right rim."""
    box = (0.0, 0.0, 3000.0, 3000.0)
    if not slope_px:
        return ShiftField((row_px,), (0.0,), (1500.0, 1500.0), 1500.0, box, 0.02, 8, 9)
    return ShiftField((row_px, 0.0, slope_px), (0.0, 0.0, 0.0), (1500.0, 1500.0), 1500.0, box, 0.02, 12, 14)


def windows(rows: int, cols: int) -> list[Window]:
    return [Window(256 * r, 256 * c, 256 * r + 256, 256 * c + 256) for r in range(rows) for c in range(cols)]


def test_all_windows_of_a_small_area_are_measured() -> None:
    assert far_apart(windows(2, 3), 24) == windows(2, 3)
    assert far_apart([], 24) == []


@pytest.mark.parametrize(("rows", "cols"), [(12, 12), (6, 24), (2, 40)])
def test_measured_windows_reach_every_corner(rows: int, cols: int) -> None:
    everything = windows(rows, cols)
    chosen = far_apart(everything, 24)
    assert len(set(chosen)) == 24 and chosen == sorted(chosen, key=everything.index)
    places = np.array([(w.row0, w.col0) for w in everything]) / 256
    taken = np.array([(w.row0, w.col0) for w in chosen]) / 256
    for corner in ((r, c) for r in (0, rows - 1) for c in (0, cols - 1)):
        assert np.hypot(*(taken - corner).T).min() <= 1, "there, or the one beside it"
    nearest = np.hypot(*(places[:, None] - taken[None]).transpose(2, 0, 1)).min(axis=1)
    assert nearest.max() <= 1.5 * np.sqrt(rows * cols / 24)


@pytest.mark.parametrize("measured", [None, field(0.1), field(0.05, 0.1)])
def test_little_is_not_worth_a_resampling(measured: ShiftField | None) -> None:
    assert shift_to_apply(PAIR, measured) is None


def test_a_slope_is_taken_out_even_where_it_is_nothing_on_average() -> None:
    applied = shift_to_apply(PAIR, field(0.0, 1.0))
    assert applied is not None and applied.mean_px == (0.0, 0.0) and applied.length_px == pytest.approx(1.0)
    assert applied.cell_px < 32 and applied.step_px(applied.cell_px) <= PAIR.pipeline.align.max_step_px
    constant = shift_to_apply(PAIR, field(3.0))
    assert constant == field(3.0)


@pytest.mark.parametrize("measured", [field(10.5), field(9.5, 1.0)])
def test_dates_too_far_apart_are_refused(measured: ShiftField) -> None:
    with pytest.raises(PairError, match=r"SHIFT_TOO_LARGE a: the dates lie 10\.50 px apart .*at most 10\.0 px"):
        shift_to_apply(PAIR, measured)


def test_what_is_left_is_refused_where_it_is_too_much() -> None:
    refuse_residual(PAIR, None)
    refuse_residual(PAIR, field(0.45))
    with pytest.raises(PairError, match=r"RESIDUAL_TOO_LARGE a: 0\.70 px are left"):
        refuse_residual(PAIR, field(0.2, 0.5))


def test_a_fit_keeps_its_fields() -> None:
    fit = Fit(field(1.0, 2.0), field(1.0, 2.0), field(0.01), None, None, 7)
    fit = dataclasses.replace(fit, earlier=(Witness("2024-01-02", field(0.4)),), others=(Witness("2025-01-02", None),))
    assert Fit.from_json(fit.to_json()) == fit
    assert fit.shift_px == 0.01
    assert dataclasses.replace(fit, residual=None).shift_px == 3.0
