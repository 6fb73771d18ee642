"""A fit reads what it needs: each block once, and of a block no more than the area and what lies around it."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from ecowatch.grid import Window
from ecowatch.raster import GridReader, write_geotiff
from ecowatch.review import fit, make_plan

from ..walk.many_tiles import GRID, write_review, write_scenes

CLEAR = 4


def test_a_fit_decodes_the_bands_of_a_block_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = write_scenes(tmp_path / "scenes")
    for path in scenes.glob("*.tif"):
        with rasterio.open(path) as picture:
            values = picture.read()
        write_geotiff(path, np.concatenate([values, np.full_like(values[:1], CLEAR)]), GRID)
    review, _ = write_review(tmp_path, scenes)
    classes = {"role": "scl", "index": 4}
    bands = [*(b.model_dump() for b in review.sources[0].bands), classes]
    source = type(review.sources[0])(**review.sources[0].model_dump() | {"bands": bands})
    comparison = make_plan(review.model_copy(update={"sources": (source,)})).comparisons[0]
    # As if the area were large: the blocks of the whole of a small one are kept.
    monkeypatch.setattr(fit, "_KEPT_BLOCKS", 0)
    decoded: Counter[Any] = Counter()
    plain = GridReader._decode

    def counted(self: GridReader, layers: Any, block: Any, *more: Any) -> Any:
        decoded[layers[0].path, len(layers), block] += 1
        return plain(self, layers, block, *more)

    monkeypatch.setattr(GridReader, "_decode", counted)
    made = fit.fit_comparison(comparison)
    assert made.measured is not None, "no displacement was measured: that is what reads a block first"
    times = [count for (_, layers, _), count in decoded.items() if layers == 3]
    assert times == [1] * 2 * len(fit.area_blocks(comparison))


def test_the_rest_of_a_block_does_not_change_a_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small area lies in a corner of its block; the rest of it only took time."""
    review, _ = write_review(tmp_path, write_scenes(tmp_path / "scenes"))
    comparisons = make_plan(review).comparisons
    seen: list[Window] = []
    plain = fit.read_pair

    def noted(reader: Any, comparison: Any, window: Window, **more: Any) -> Any:
        seen.append(window)
        return plain(reader, comparison, window, **more)

    monkeypatch.setattr(fit, "read_pair", noted)
    cut = [fit.fit_comparison(one) for one in comparisons]
    fewer = sum(math.prod(window.shape) for window in seen)
    seen.clear()
    monkeypatch.setattr(fit, "around", lambda window, inside: (window, inside))
    assert [fit.fit_comparison(one) for one in comparisons] == cut
    assert 2 * fewer < sum(math.prod(window.shape) for window in seen)
    assert all(one.score is not None for one in cut)
