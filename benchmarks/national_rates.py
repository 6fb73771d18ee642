"""What work costs on this machine: fits, tiles, second looks, one by one; CPU seconds spread over what drives them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
import shapely
from pyproj import CRS
from rasterio.windows import Window
from scipy.optimize import nnls

from ecowatch.areas import Area
from ecowatch.grid import BLOCK_PX
from ecowatch.review.candidates import pixel_patches
from ecowatch.review.fit import area_blocks, fit_comparison
from ecowatch.review.look import look_at, look_order
from ecowatch.review.pair import Comparison, compare
from ecowatch.review.tile import Task, process, warm_up
from ecowatch.scenes import Scene, find_scenes
from ecowatch.settings import DateRange, Pipeline, Rates, SceneSource, load
from make_pair import ORIGIN

RADII_M = (200, 200, 200, 200, 1500, 1500, 1500, 4000, 4000, 4000, 9000, 9000, 13_000)


class Sample(NamedTuple):
    """What one area took, CPU seconds, and what drives it."""

    fit_s: float
    tile_s: float
    look_s: float
    windows: int
    sample_px: float
    blocks: int
    candidates: int


def measured_rates(data: Path, pipelines: Path) -> str:
    """Measure on the simulated pair in `data` and return a rates file, TOML."""
    pipeline = load(Pipeline, pipelines / "bitemporal.toml")
    scenes = find_scenes(SceneSource(path=data / "items.json", product="stac", trust_offset=True), (data,)).scenes
    warm_up()
    decode_mb_s = decoded_mb_s(data)
    samples = [sample(comparison(scenes, pipeline, number, radius)) for number, radius in enumerate((200, *RADII_M))][
        1:
    ]
    parts = [(1.0, s.windows, s.sample_px / 1000) for s in samples]
    fit, window, px = (float(v) for v in nnls(np.array(parts), np.array([s.fit_s for s in samples]))[0])
    tile, block = (
        float(v) for v in nnls(np.array([(1.0, s.blocks) for s in samples]), np.array([s.tile_s for s in samples]))[0]
    )
    candidates, blocks = sum(s.candidates for s in samples), sum(s.blocks for s in samples)
    found = {
        "decode_mb_s": decode_mb_s,
        "fit_s": fit,
        "window_s": window,
        "sample_s": px,
        "tile_s": tile,
        "block_s": max(block - block_mb() / decode_mb_s, 0.0),
        "look_s": sum(s.look_s for s in samples) / max(candidates, 1),
        "looks_per_block": candidates / blocks,
    }
    Rates(**found)
    return "".join(f"{name} = {value:.4g}\n" for name, value in found.items())


def block_mb() -> float:
    """Raw megabytes of a block of both dates, six bands of uint16."""
    return BLOCK_PX**2 * 6 * 2 * 2 / 1e6


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result and the CPU seconds it took."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def decoded_mb_s(data: Path) -> float:
    """Return the raw megabytes that rasterio decodes per CPU second, of one file in windows of whole blocks."""
    path = next(p for p in sorted(data.glob("pair_*.tif")) if "SCL" not in p.name)
    with rasterio.Env(GDAL_CACHEMAX=64), rasterio.open(path) as source:
        windows = [
            Window(c, r, BLOCK_PX, BLOCK_PX)
            for r in range(0, source.height - BLOCK_PX + 1, BLOCK_PX)
            for c in range(0, source.width - BLOCK_PX + 1, BLOCK_PX)
        ]
        read, seconds = timed(lambda: sum(source.read(window=w).nbytes for w in windows))
    return float(read / 1e6 / seconds)


def comparison(scenes: tuple[Scene, ...], pipeline: Pipeline, number: int, radius: float) -> Comparison:
    """Return a circle over the pair as a comparison."""
    side = scenes[0].grid.shape[0] * 10
    rng = np.random.default_rng([5, number])
    x, y = (float(rng.uniform(radius, side - radius)) for _ in range(2))
    outline = shapely.Point(ORIGIN[0] + x, ORIGIN[1] - y).buffer(radius)
    area = Area(f"c{number}", "c", "red_line", outline, CRS.from_epsg(32650), (), f"v{number}", "made")
    years = [DateRange(first=date(year, 1, 1), last=date(year, 12, 31)) for year in (2025, 2026)]
    return compare(
        area, scenes, pipeline, period="2026", before_range=years[0], after_range=years[1], allowed=frozenset()
    )


def sample(c: Comparison) -> Sample:
    """Fit, process and look again at one area."""
    blocks = len(area_blocks(c))
    align, detect = c.pipeline.align, c.pipeline.detect
    windows = min(align.max_windows, min(blocks, detect.max_blocks) * (BLOCK_PX // align.window_px) ** 2)
    sample_px = min(detect.sample_px, c.area.geometry.area / math.prod(c.grid.pixel_size))
    fit, fit_s = timed(lambda: fit_comparison(c))
    tile, tile_s = timed(lambda: process(Task(c, c.grid.window), fit))
    patches = pixel_patches(c, [tile.blocks])
    _, look_s = timed(lambda: look_at(c, fit, [patches[i] for i in look_order(patches)]))
    return Sample(fit_s, tile_s, look_s, windows, sample_px, blocks, len(patches))
