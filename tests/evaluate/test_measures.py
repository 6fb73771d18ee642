"""Agreement and recall on drawn arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecowatch.evaluate.baselines import OPTICAL, RADAR, flags_of
from ecowatch.evaluate.measures import agreement, recall_by_size


def test_agreement_of_a_drawn_pair() -> None:
    label = np.array([[1, 1, 0, 0], [1, 0, 0, 255]], np.uint8)
    flagged = np.array([[1, 0, 1, 0], [1, 0, 0, 1]], bool)
    # 7 known pixels: 2 found, 1 missed, 1 false, 3 rightly left; the unlabelled one is not counted.
    made = agreement(flagged, label)
    assert made.f1 == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert made.iou == pytest.approx(2 / 4)
    assert made.oa == pytest.approx(5 / 7)
    by_chance = (3 * 3 + 4 * 4) / 49
    assert made.kappa == pytest.approx((5 / 7 - by_chance) / (1 - by_chance))


def test_agreement_where_nothing_changed_or_is_known() -> None:
    nothing = np.zeros((3, 3), np.uint8)
    assert agreement(nothing.astype(bool), nothing) == (None, None, None, 1.0)
    assert agreement(nothing.astype(bool), nothing + 255) == (None, None, None, None)


@given(st.integers(0, 2**16 - 1), st.integers(0, 2**16 - 1))
def test_agreement_is_symmetric_and_bounded(a: int, b: int) -> None:
    one, other = (np.array([n >> i & 1 for i in range(16)], np.uint8).reshape(4, 4) for n in (a, b))
    made, turned = agreement(one.astype(bool), other), agreement(other.astype(bool), one)
    assert made == turned
    assert made.oa is not None and 0 <= made.oa <= 1
    if made.f1 is not None and made.iou is not None:
        assert made.f1 == pytest.approx(2 * made.iou / (1 + made.iou))


def test_an_object_is_found_by_half_of_it_and_slivers_do_not_count() -> None:
    label = np.zeros((10, 12), np.uint8)
    label[1:5, 1:5] = 1
    label[6:10, 6:10] = 1
    label[0, 11] = 1
    flagged = np.zeros(label.shape, bool)
    flagged[1:3, 1:5] = True
    flagged[6, 6:10] = True
    made = recall_by_size(flagged, label, pixel_m2=100.0, smallest_m2=400.0)
    assert [(s.from_m2, s.objects, s.found) for s in made if s.objects] == [(1000.0, 2, 1)]


@pytest.mark.parametrize("table", [OPTICAL, RADAR])
def test_baselines_find_a_plain_change(table: object) -> None:
    """A strong square in a noisy scene: whatever else they flag, each finds it."""
    rng = np.random.default_rng(4)
    ground = rng.normal(0, 1, (3, 64, 64)).cumsum(axis=1) * 0.05
    before = ground + rng.normal(0, 0.02, ground.shape)
    after = 1.1 * ground + rng.normal(0, 0.02, ground.shape)
    after[:, 20:40, 20:40] += rng.choice([-3.0, 3.0], (3, 1, 1))
    found = flags_of(table, before, after, np.ones((64, 64), bool))  # type: ignore[arg-type]
    assert len(found) == 3
    for name, flagged in found.items():
        assert flagged[22:38, 22:38].mean() > 0.9, name
        assert flagged.mean() < 0.6, name
