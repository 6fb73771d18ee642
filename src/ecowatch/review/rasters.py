"""Score and validity as cloud-optimised GeoTIFF, on request."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..codes import State
from ..raster import write_cog
from .plan import TasksOf, slug
from .tile import TileResult

OUTSIDE = 255


def write_rasters(folder: Path, tasks: TasksOf) -> None:
    """Write ``score_<area>_<pipeline>.tif`` and ``valid_<area>_<pipeline>.tif`` for every comparison.

    The score is float32, NaN where nothing was decided; valid is uint8: 1 seen in both dates, 0 not, 255 outside the area
    or in a tile that failed.

    Parameters
    ----------
    folder
        The run's folder.
    tasks
        All tasks of the run by comparison, whose results were kept with their rasters.
    """
    for own in filter(len, tasks):
        comparison = own[0].task.comparison
        score = np.full(comparison.grid.shape, np.nan, np.float32)
        valid = np.full(comparison.grid.shape, OUTSIDE, np.uint8)
        for item in own:
            if not item.path.exists():
                continue
            result, place = TileResult.load(item.path), item.tile.within(comparison.grid.window)
            if result.score is None or result.state is None:
                continue
            seen = (result.state == State.USABLE) | (result.state >= State.WEAK)
            score[place] = np.where(seen, result.score, np.nan)
            valid[place] = np.where(result.state == State.OUTSIDE, OUTSIDE, seen)
        name = f"{slug(comparison.area.area_id)}_{comparison.pipeline.name}.tif"
        write_cog(folder / f"score_{name}", score[None], comparison.grid, nodata=float("nan"))
        write_cog(folder / f"valid_{name}", valid[None], comparison.grid, nodata=OUTSIDE)
