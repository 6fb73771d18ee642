"""Blocks that cannot be read: they cost what they hold and nothing beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from ecowatch.errors import ExitCode, SceneError
from ecowatch.raster import write_geotiff
from ecowatch.report import write_quicklooks
from ecowatch.review import RunResult, early_looks, look, make_plan, run_review
from ecowatch.review.fit import fit_comparison
from ecowatch.settings import Cluster
from ecowatch.tiff import read_tile_index

from ..walk.many_tiles import GRID, write_review, write_scenes

ONE = Cluster(scheduler="threads", workers=1, tile_px=512)


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Scenes of 2 x 2 blocks, of which the last of the after date does not decode: areas b and c do not touch it alone."""
    folder = write_scenes(tmp_path / "scenes")
    path = folder / "s_20260425.tif"
    index = read_tile_index(path)
    assert index is not None and index.offsets.shape == (1, 2, 2)
    first, size = int(index.offsets[0, 1, 1]), int(index.lengths[0, 1, 1])
    data = bytearray(path.read_bytes())
    data[first : first + size] = b"\xff" * size
    path.write_bytes(data)
    return folder


def test_a_picture_does_not_hold_back_what_the_other_areas_show(damaged: Path, tmp_path: Path) -> None:
    review, _ = write_review(tmp_path, damaged)
    plain = run_review(review, ONE)
    assert plain.exit_code == ExitCode.PARTIAL
    pictured = run_review(review.model_copy(update={"name": "pictured"}), ONE, products=[write_quicklooks])
    assert pictured.exit_code == ExitCode.PARTIAL
    assert [r.coverage for r in pictured.results] == [r.coverage for r in plain.results]
    assert (
        len(list(pictured.folder.glob("quicklook_*.png")))
        == sum(r.comparison is not None for r in pictured.results)
        == 3
    )


def test_the_blocks_around_a_damaged_one_are_fitted(damaged: Path, tmp_path: Path) -> None:
    """Area a touches all four blocks, and each of the others lies beside the damaged one."""
    plan = make_plan(write_review(tmp_path, damaged)[0])
    whole = make_plan(write_review(tmp_path / "whole", write_scenes(tmp_path / "sound"))[0])
    (sound,) = (fit_comparison(c) for c in whole.comparisons if c.area.area_id == "a")
    (fit,) = (fit_comparison(c) for c in plan.comparisons if c.area.area_id == "a")
    assert 0.5 * sound.sample_px < fit.sample_px < sound.sample_px


def _refusing(real: Callable[..., Any], row: int) -> Callable[..., Any]:
    """Looks of which one cannot be taken: that of the candidate which covers a row."""

    def through(reader: Any, comparison: Any, fit: Any, patches: Sequence[Any]) -> Any:
        if any(patch.window.row0 <= row < patch.window.row1 for patch in patches):
            raise SceneError("RASTER_UNREADABLE", "x", "a block that only this look needs", "fetch it again")
        return real(reader, comparison, fit, patches)

    return through


def test_who_else_is_looked_at_together_with_one_that_cannot_be_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_scenes(tmp_path / "scenes", {})
    path = folder / "s_20260425.tif"
    with rasterio.open(path) as dataset:
        values = dataset.read().astype(np.int32)
    for number, row in enumerate(range(60, 420, 45)):
        values[:, row : row + 14, 100 + number % 3 * 64 : 126 + number % 3 * 64] += 2500
    path.unlink()
    write_geotiff(path, np.clip(values, 1, 9999).astype(np.uint16), GRID, nodata=0)
    for module in (look, early_looks):
        monkeypatch.setattr(module, "look_through", _refusing(look.look_through, 150))

    def made(name: str, tile_px: int, *, turned: bool) -> RunResult:
        review, _ = write_review(tmp_path / name, folder)
        review = review.model_copy(update={"only": ("a",)})
        cluster = Cluster(scheduler="threads", workers=1, tile_px=tile_px)
        return run_review(review, cluster, shuffle=(lambda tasks: tasks[::-1]) if turned else None)

    runs = [made("forth", 64, turned=False), made("back", 64, turned=True), made("large", 512, turned=False)]
    assert [run.exit_code for run in runs] == [ExitCode.PARTIAL] * 3
    assert len({(run.folder / "flagged.gpkg").read_bytes() for run in runs}) == 1
    assert len(runs[0].results[0].patches) == 8
