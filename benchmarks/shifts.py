"""How well the shift between two dates is measured: root mean square error over synthetic displacements of 0–10 pixels.

``python benchmarks/shifts.py [FOLDER]`` prints one line per texture. Each displacement has a random direction, sub-pixel on
both axes; the later date has another gain and offset, both have noise, and a fifth of the window is cloud. Textures are
drawn by a fixed seed; with FOLDER (laid out like the labelled pairs, or ``ECOWATCH_TEST_DATA/bitemporal``), bands of real
images are used too. "mask" says how many pixels of the clouds' rims the mask has missed.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
from scipy import ndimage as ndi

from ecowatch.prepare import WindowShift, window_shift

WINDOW_PX, MARGIN_PX, LARGEST_PX = 256, 14, 10.0
CLOUD_SHARE, NOISE = 0.2, 0.1
BANDS = (
    ("ms_landsat_taizhou/taizhou", 3),
    ("ms_landsat_taizhou/taizhou", 4),
    ("s2rgb_oscd/dubai", 1),
    ("s2rgb_oscd/abudhabi", 1),
    ("vhr_beijing/beijing_A", 1),
)


def fields_and_roads(seed: int, side: int = 420) -> np.ndarray:
    """Ground of fields, roads and relief: sharp edges over broad shades."""
    rng = np.random.default_rng(seed)
    seeds = rng.uniform(0, side, (260, 2))
    rows, cols = np.mgrid[:side, :side]
    nearest = np.argmin((rows[..., None] - seeds[:, 0]) ** 2 + (cols[..., None] - seeds[:, 1]) ** 2, axis=-1)
    ground = rng.normal(1500, 350, len(seeds))[nearest] + 200 * ndi.gaussian_filter(
        rng.standard_normal((side, side)), 20
    )
    # The sensor's own blur, without which no image can be moved by part of a pixel.
    return ndi.gaussian_filter(ground + rng.normal(0, 60, ground.shape), 0.7)


def clouds(rng: np.random.Generator, share: float) -> np.ndarray:
    """Cloud over `share` of a window."""
    field = ndi.gaussian_filter(rng.standard_normal((WINDOW_PX, WINDOW_PX)), WINDOW_PX / 12, mode="wrap")
    return field > np.quantile(field, 1 - share)


def one(image: np.ndarray, rng: np.random.Generator, missed_px: int) -> tuple[WindowShift, tuple[float, float]]:
    """Displace `image`, spoil both dates and measure; return what was found and what is true."""
    length, angle = rng.uniform(0, LARGEST_PX), rng.uniform(0, 2 * np.pi)
    truth = length * math.sin(angle), length * math.cos(angle)
    later = ndi.shift(image, truth, order=5, mode="reflect")
    row, col = (int(rng.integers(MARGIN_PX, side - WINDOW_PX - MARGIN_PX + 1)) for side in image.shape)
    part = (slice(row, row + WINDOW_PX), slice(col, col + WINDOW_PX))
    before, after = image[part], later[part]
    spread = before.std()
    after = after.mean() + rng.uniform(0.6, 1.5) * (after - after.mean()) + rng.uniform(-1, 1) * spread
    before, after = (values + rng.normal(0, NOISE * spread, values.shape) for values in (before, after))
    cloud = clouds(rng, CLOUD_SHARE)
    veil = 4 * spread + 8 * spread * ndi.gaussian_filter(rng.standard_normal(cloud.shape), 4)
    after = np.where(cloud, after.mean() + veil, after)
    masked = ndi.binary_erosion(cloud, iterations=missed_px) if missed_px else cloud
    return window_shift(before, after, ~masked), truth


def error_px(image: np.ndarray, count: int, missed_px: int, seed: int = 0) -> tuple[float, float, float]:
    """Return root mean square and largest length of the error in pixels, and the lowest peak."""
    rng = np.random.default_rng(seed)
    found = [one(image, rng, missed_px) for _ in range(count)]
    errors = [math.hypot(s.row_px - truth[0], s.col_px - truth[1]) for s, truth in found]
    return math.sqrt(sum(e * e for e in errors) / count), max(errors), min(s.peak for s, _ in found)


def textures(folder: Path | None) -> Iterator[tuple[str, np.ndarray]]:
    """Yield names and images: drawn ones, then bands of real scenes where `folder` has them."""
    for seed in (1, 2):
        yield f"fields and roads {seed}", fields_and_roads(seed)
    for name, band in BANDS:
        path = folder / f"{name}_t1.tif" if folder else None
        if path is not None and path.is_file():
            with rasterio.open(path) as source:
                yield f"{Path(name).name} band {band}", source.read(band).astype(np.float64)


def main() -> None:
    """Measure each texture and print one line for each and one for all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    data = os.environ.get("ECOWATCH_TEST_DATA")
    parser.add_argument("folder", type=Path, nargs="?", default=Path(data) / "bitemporal" if data else None)
    parser.add_argument("--count", type=int, default=200, help="displacements per texture")
    arguments = parser.parse_args()
    squares = []
    print(f"{'texture':24s}{'mask':>6s}{'RMSE px':>9s}{'largest':>9s}{'peak >':>8s}{'ms':>6s}")
    for name, image in textures(arguments.folder):
        for missed_px in (0, 2):
            start = time.perf_counter()
            rmse, largest, peak = error_px(image, arguments.count, missed_px)
            took = (time.perf_counter() - start) * 1e3 / arguments.count
            squares.append(rmse**2)
            print(f"{name:24s}{missed_px:6d}{rmse:9.3f}{largest:9.2f}{peak:8.2f}{took:6.0f}", flush=True)
    print(f"{'all':24s}{'':6s}{math.sqrt(sum(squares) / len(squares)):9.3f}")


if __name__ == "__main__":
    main()
