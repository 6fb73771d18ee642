"""What a method's score costs per pixel, as a ratio to the spine's path (IR-MAD, six bands), in turn in one run.

``python benchmarks/scoring.py`` prints medians over blocks of 512 × 512 pixels.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
from scipy import ndimage

from ecowatch.detect import WINDOWED, PairBlock, detect_block, fit_ir_mad, fit_water_turn, flag_water_turns
from ecowatch.prepare import texture_features
from ecowatch.settings import Pipeline, shipped_pipelines

SIDE, ROUNDS = 512, 9
SIX = ("blue", "green", "red", "nir", "swir1", "swir2")
RNG = np.random.default_rng(1)
UNIT = ((1e-4, 0.0),) * len(SIX)


def ground(bands: int, side: int) -> np.ndarray:
    """Smooth reflectance-like ground."""
    rough = RNG.normal(0, 1, (bands, side, side))
    return (0.2 + 0.5 * ndimage.gaussian_filter(rough, (0, 3, 3))).clip(0.01, 0.9).astype(np.float32)


def linear(with_water: bool) -> Callable[[], object]:
    """The fused pass on uint16 numbers, with or without the look at water."""
    before = (ground(len(SIX), SIDE) * 1e4).astype(np.uint16)
    after = (before + RNG.integers(0, 60, before.shape)).astype(np.uint16)
    after[:, :60, :60] += 900
    flat = [image.reshape(len(SIX), -1)[:, ::7] * 1e-4 for image in (before, after)]
    fitted = fit_ir_mad(*flat, max_iterations=10, tolerance=1e-3)
    weights = fitted.for_numbers(UNIT, UNIT)
    water = fit_water_turn(*flat, SIX, wet_share=0.1, dry_share=0.35, least_range=0.0)
    assert water is not None

    def further(b: np.ndarray, a: np.ndarray, state: np.ndarray) -> None:
        flag_water_turns(b, a, state, water, before_radiometry=UNIT, after_radiometry=UNIT)

    limits = {"weak": 20.0, "strong": 40.0, "fills": (0.0, 0.0), "reach_px": 1, "row0": 0, "col0": 0}
    more = further if with_water else None
    return lambda: detect_block(before, after, np.ones((SIDE, SIDE), np.uint8), weights=weights, further=more, **limits)


def texture() -> Callable[[], object]:
    """The features of the spine's UAV path, both dates."""
    values = RNG.integers(0, 255, (3, SIDE + 4, SIDE + 4)).astype(np.uint8)
    return lambda: (texture_features(values, side_px=5), texture_features(values, side_px=5))


def windowed(pipeline: Pipeline, bands: int, pixel_m: float) -> Callable[[], object]:
    """A windowed method on one block with its margin; the time is told per pixel of the block itself."""
    method = WINDOWED[pipeline.detect.method]
    numbers = pipeline.detect.numbers() | ({"pixel_m": pixel_m} if method.in_metres else {})
    side = SIDE + 2 * method.reach_px(**numbers)
    before = ground(bands, side)
    after = before + RNG.normal(0, 0.01, before.shape).astype(np.float32)
    if pipeline.name == "sar":
        before, after = 20 * np.log10(before), 20 * np.log10(after.clip(0.005))
    block = PairBlock(before, after, np.ones((side, side), bool))
    fitted = method.fit([block], **numbers)
    return lambda: method.score(block, fitted, **numbers)


def main() -> None:
    """Measure in turn and print one table."""
    shipped = shipped_pipelines()
    cases = {
        "spine: IR-MAD, six bands": linear(with_water=False),
        "the same, with water turns": linear(with_water=True),
        "spine: rgb_texture features": texture(),
        "rgb (10 m)": windowed(shipped["rgb"], 3, 10.0),
        "vhr (2 m)": windowed(shipped["vhr"], 3, 2.0),
        "buildings (0.5 m)": windowed(shipped["buildings"], 3, 0.5),
        "sar (one band)": windowed(shipped["sar"], 1, 10.0),
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, run in cases.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    spine = statistics.median(times["spine: IR-MAD, six bands"])
    print(f"{'method':30s} {'ns/px':>8s} {'x spine':>8s}")
    for name, measured in times.items():
        middle = statistics.median(measured)
        print(f"{name:30s} {middle / SIDE**2 * 1e9:8.1f} {middle / spine:8.2f}")


if __name__ == "__main__":
    main()
