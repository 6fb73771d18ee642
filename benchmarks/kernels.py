"""Each compiled kernel against its NumPy or SciPy form, in turn in one run; a kernel stays only while it wins.

``python benchmarks/kernels.py`` prints medians in milliseconds for one block of 512 × 512 pixels and the ratio.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numba
import numpy as np
import scipy
from scipy import ndimage

from ecowatch.detect import detect_block, fit_ir_mad, sample_score
from ecowatch.patches import connected
from ecowatch.prepare import edges_off, shifted

SIDE, BANDS, ROUNDS = 512, 6, 15
RNG = np.random.default_rng(1)


def pair() -> tuple[np.ndarray, np.ndarray]:
    """Two dates of uint16 numbers with noise and one changed corner."""
    before = ndimage.gaussian_filter(RNG.normal(2000, 800, (BANDS, SIDE, SIDE)), (0, 2, 2)).astype(np.uint16)
    after = (before + RNG.integers(0, 60, before.shape)).astype(np.uint16)
    after[:, :60, :60] += 900
    return before, after


def score_forms() -> tuple[Callable[[], object], Callable[[], object]]:
    """The fused pass (numbers to run-lengths) and the same arithmetic in NumPy, without the runs."""
    before, after = pair()
    flat = [image.reshape(BANDS, -1) * 1e-4 for image in (before, after)]
    fitted = fit_ir_mad(*(f[:, ::7] for f in flat), max_iterations=10, tolerance=1e-3)
    weights = fitted.for_numbers(((1e-4, 0.0),) * BANDS, ((1e-4, 0.0),) * BANDS)
    limits = {"weak": 20.0, "strong": 40.0, "fills": (0.0, 0.0), "reach_px": 1, "row0": 0, "col0": 0}

    def compiled() -> object:
        return detect_block(before, after, np.ones((SIDE, SIDE), np.uint8), weights=weights, **limits)

    def plain() -> object:
        x, y = (image.reshape(BANDS, -1) * np.float32(1e-4) for image in (before, after))
        valid = (before != 0).all(axis=0) & (after != 0).all(axis=0)
        return (sample_score(fitted, x, y).reshape(SIDE, SIDE) > 20) & valid

    return compiled, plain


def edge_forms() -> tuple[Callable[[], object], Callable[[], object]]:
    """Edges off, and SciPy's erosion of the same mask."""
    state = np.where(RNG.random((SIDE + 4, SIDE + 4)) < 0.001, 2, 1).astype(np.uint8)
    return lambda: edges_off(state, radius_px=2), lambda: ndimage.binary_erosion(state == 1, np.ones((5, 5)))


def shift_forms() -> tuple[Callable[[], object], Callable[[], object]]:
    """Cubic convolution of six bands, and SciPy's cubic spline shift."""
    values = RNG.integers(1, 4000, (BANDS, SIDE + 6, SIDE + 6)).astype(np.uint16)
    return (
        lambda: shifted(values, None, shift_px=(0.35, -0.25), pad_px=3, fill=0),
        lambda: [ndimage.shift(band.astype(np.float32), (-0.35, 0.25), order=3) for band in values],
    )


def label_forms() -> tuple[Callable[[], object], Callable[[], object]]:
    """Connected runs, and SciPy's labelling of the raster they stand for."""
    image = ndimage.gaussian_filter(RNG.standard_normal((SIDE, SIDE)), 2) > 0.35
    edges = np.diff(np.pad(image.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    first, last = np.argwhere(edges == 1), np.argwhere(edges == -1)
    runs = np.column_stack([first, last[:, 1]]).astype(np.int32)
    return lambda: connected(runs), lambda: ndimage.label(image, np.ones((3, 3)))


def main() -> None:
    """Measure in turn and print one table."""
    cases = {
        "score, flags, runs": score_forms(),
        "edges off": edge_forms(),
        "cubic shift": shift_forms(),
        "connected runs": label_forms(),
    }
    print(
        f"numpy {np.__version__}, scipy {scipy.__version__}, numba {numba.__version__}; medians of {ROUNDS}, ms a block"
    )
    print(f"{'kernel':22s}{'compiled':>10s}{'plain':>10s}{'ratio':>8s}")
    for name, forms in cases.items():
        times: tuple[list[float], list[float]] = ([], [])
        for number in range(ROUNDS + 1):
            for form, kept in zip(forms, times, strict=True):
                start = time.perf_counter()
                form()
                if number:
                    kept.append((time.perf_counter() - start) * 1e3)
        ours, plain = map(statistics.median, times)
        print(f"{name:22s}{ours:10.2f}{plain:10.2f}{plain / ours:8.1f}")


if __name__ == "__main__":
    main()
