"""Change between two radar dates: the log-ratio at a fine scale and the energy of its disorder over a region.

Speckle multiplies, so that decibels add: the difference of the two dates has one noise, whatever the ground. Two pieces of
evidence are joined. An even change (a pond, a flood, a quay) shows in the difference averaged over a few looks. A built
block shows as bright and dark points that cancel in such an average; there the mean *size* of the differences tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d, grey_erosion, maximum_filter
from scipy.special import chdtrc, ndtri

from ..errors import PairError
from .block import PairBlock

Array = np.ndarray[Any, Any]
Curve = tuple[float, ...]

# Gaussian windows end at three deviations: beyond lies 0.3 % of their weight.
_TRUNCATE = 3.0
# Half width of a normal law's central half, in deviations.
_QUARTILE = 0.6745
# Mean size of a normal deviate: what the regional energy shows where nothing changed.
_MEAN_SIZE = 0.8
# Sizes count up to here: one corner reflector is not a region.
_SIZE_CAP = 3.0
# Classes of backscatter, at most; each wants this many samples.
_LEVELS, _PER_LEVEL = 10, 200
# Pixels between two samples of the same ground whose difference shows noise but no change of level.
_LAG_PX = 6
# Noise of a class of backscatter over that of the pair, lowest and highest.
_NOISE_RANGE = (0.8, 1.5)
# Deviations of noise by which the level of a class may differ from that of the pair: more is taken for change of a whole
# class (dry ground after a flood), not for radiometry. Spread expected of a class about the pair, and of the pair.
_LEVEL_LIMIT_SIGMA, _LEVEL_PRIOR_DB, _PAIR_PRIOR_DB = 1.0, 3.0, 4.0
# Deviations from which a pixel tells how large this pair's changes are, how many of them, and the most they may count.
_CHANGED_SIGMA, _CHANGED_PX, _MAX_SCALE = 5.0, 50, 2.0
# Samples kept of the whole area, about.
_SAMPLES = 2_000_000


@dataclass(frozen=True)
class SarLogRatioFit:
    """What one pair's unchanged ground shows, one entry per band.

    Parameters
    ----------
    levels_db
        Backscatter of the before date (averaged) at the knots of the three curves.
    centre_db
        After − before of unchanged ground at each knot: gain, moisture, another incidence.
    fine_sigma_db, pixel_sigma_db
        Deviation of after − before at each knot, averaged over the fine scale, and of single pixels.
    scale_up, scale_down
        At least 1: by how much deviations of brighter and of darker ground are divided, since half of what this pair's own
        changes show is not more than their rim.
    """

    levels_db: tuple[Curve, ...]
    centre_db: tuple[Curve, ...]
    fine_sigma_db: tuple[Curve, ...]
    pixel_sigma_db: tuple[Curve, ...]
    scale_up: Curve
    scale_down: Curve


class _BandFit(NamedTuple):
    levels: Array
    centre: Array
    fine: Array
    pixel: Array
    up: float
    down: float


def reach_px(  # the numbers of a pipeline's section are handed over whole
    *,
    fine_px: float,
    region_px: float,
    coherent_share: float,  # noqa: ARG001
    region_unit: float,  # noqa: ARG001
    half_height_sigma: float,  # noqa: ARG001
    noise_floor_db: float,  # noqa: ARG001
) -> int:
    """Return how many pixels around a window the score needs; the numbers are those of `fit_sar_log_ratio`."""
    region = _radius(region_px) + _core_px(region_px)
    return _radius(2 * fine_px) + max(_radius(fine_px) + _rim_px(fine_px), region)


def fit_sar_log_ratio(
    blocks: Sequence[PairBlock],
    *,
    fine_px: float,
    region_px: float,  # noqa: ARG001
    coherent_share: float,  # noqa: ARG001
    region_unit: float,  # noqa: ARG001
    half_height_sigma: float,
    noise_floor_db: float,
) -> SarLogRatioFit:
    """Measure level, noise and size of change of a pair of radar dates.

    The level of unchanged ground is a *mode* for each class of backscatter, so that it holds though most of the ground
    changed, and the noise is taken from differences between neighbours, which a change of level does not widen.

    Parameters
    ----------
    blocks
        Both dates in decibel, ``(band, row, col)``, without margins.
    fine_px
        Deviation of the Gaussian window of the fine scale, in pixels.
    region_px
        The same of the regional scale.
    coherent_share
        0–1: share of an even change (all brighter or all darker) that is taken off the regional energy; it shows at the
        fine scale anyway, with a sharper rim.
    region_unit
        Excess of the regional energy that counts as one deviation.
    half_height_sigma
        Deviations at which half of this pair's typical change shall stand at most: the weak threshold.
    noise_floor_db
        Least noise of the averaged difference, in decibel.

    Returns
    -------
    SarLogRatioFit
        Plain numbers.

    Raises
    ------
    PairError
        ``FIT_FAILED`` where fewer than 200 pixels are valid in both dates.

    Source
    ------
    Rignot, E. J. M. & van Zyl, J. J. (1993): Change detection techniques for ERS-1 SAR data. IEEE Trans. Geosci. Remote
    Sens. 31, 896–906 (log-ratio, uniform noise); level by class of backscatter and noise by lagged differences are ours.
    """
    valid_px = sum(int(block.valid.sum()) for block in blocks)
    if valid_px < _PER_LEVEL:
        raise PairError("FIT_FAILED", "pair", f"only {valid_px} pixels are valid in both dates", "use a larger area")
    step = int(np.ceil(np.sqrt(max(1.0, valid_px / _SAMPLES))))
    bands = [
        _fit_band(blocks, band, fine_px, step, half_height_sigma, noise_floor_db)
        for band in range(blocks[0].before.shape[0])
    ]
    return SarLogRatioFit(
        levels_db=tuple(_curve(b.levels) for b in bands),
        centre_db=tuple(_curve(b.centre) for b in bands),
        fine_sigma_db=tuple(_curve(b.fine) for b in bands),
        pixel_sigma_db=tuple(_curve(b.pixel) for b in bands),
        scale_up=tuple(b.up for b in bands),
        scale_down=tuple(b.down for b in bands),
    )


def score_sar_log_ratio(
    block: PairBlock,
    fitted: SarLogRatioFit,
    *,
    fine_px: float,
    region_px: float,
    coherent_share: float,
    region_unit: float,
    half_height_sigma: float,  # noqa: ARG001
    noise_floor_db: float,  # noqa: ARG001
) -> Array:
    """Score a block: deviations above what the pair shows where nothing changed.

    Parameters
    ----------
    block
        Both dates in decibel with a margin of `reach_px`.
    fitted
        Of the same pair and the same numbers.
    fine_px, region_px, coherent_share, region_unit, half_height_sigma, noise_floor_db
        As for `fit_sar_log_ratio`.

    Returns
    -------
    ndarray
        float32, ``(row, col)``: the larger of the fine and the regional score; 0 where not valid.
    """
    weight = block.valid.astype(np.float32)
    bands = len(fitted.levels_db)
    square, energy = np.zeros(weight.shape, np.float32), np.zeros(weight.shape, np.float32)
    windows = _Windows(weight, fine_px, region_px)
    for band in range(bands):
        fit = _band_of(fitted, band)
        before, after = (np.where(block.valid, date[band], 0).astype(np.float32) for date in block[:2])
        level, difference = _centred(before, after, windows, fit)
        fine = windows.mean(difference, "fine") / np.interp(level, fit.levels, fit.fine).astype(np.float32)
        scale = np.where(fine > 0, fit.up, fit.down).astype(np.float32)
        square += (fine / scale) ** 2
        single = difference / np.interp(level, fit.levels, fit.pixel).astype(np.float32) / scale
        energy += _energy(single, windows, coherent_share)
    regional = _core(energy / bands, block.valid, _core_px(region_px)) / np.float32(region_unit)
    score = np.maximum(_without_rims(_one_variate(square, bands), _rim_px(fine_px)), regional)
    return np.where(block.valid, np.maximum(score, 0), 0).astype(np.float32)


class _Windows:
    """Averages over Gaussian windows that leave out what is not valid."""

    def __init__(self, weight: Array, fine_px: float, region_px: float) -> None:
        self.weight = weight
        self.scales = {"level": 2 * fine_px, "fine": fine_px, "region": region_px}
        self.norms = {name: np.maximum(_smooth(weight, px), 1e-6) for name, px in self.scales.items()}

    def mean(self, values: Array, scale: str) -> Array:
        """Average over the window ``level``, ``fine`` or ``region``."""
        result: Array = _smooth(values * self.weight, self.scales[scale]) / self.norms[scale]
        return result


def _radius(px: float) -> int:
    return int(_TRUNCATE * px + 0.5)


def _rim_px(fine_px: float) -> int:
    """Pixels by which a fine window carries a sharp rim outwards, at most."""
    return round(2 * fine_px)


def _core_px(region_px: float) -> int:
    """Pixels by which a regional window carries a sharp rim outwards."""
    return round(0.75 * region_px)


def _smooth(values: Array, px: float) -> Array:
    result: Array = gaussian_filter(values, px, mode="constant", truncate=_TRUNCATE)
    return result


def _curve(values: Array) -> Curve:
    return tuple(float(value) for value in values)


def _band_of(fitted: SarLogRatioFit, band: int) -> _BandFit:
    return _BandFit(
        np.asarray(fitted.levels_db[band]),
        np.asarray(fitted.centre_db[band]),
        np.asarray(fitted.fine_sigma_db[band]),
        np.asarray(fitted.pixel_sigma_db[band]),
        fitted.scale_up[band],
        fitted.scale_down[band],
    )


def _centred(before: Array, after: Array, windows: _Windows, fit: _BandFit) -> tuple[Array, Array]:
    """Level of the before date, and after − before less what unchanged ground of that level shows."""
    level = windows.mean(before, "level")
    return level, after - before - np.interp(level, fit.levels, fit.centre).astype(np.float32)


def _energy(single: Array, windows: _Windows, coherent_share: float) -> Array:
    """Mean size of the deviations around a pixel above that of noise, less the part that is one even change."""
    capped = np.clip(single, -_SIZE_CAP, _SIZE_CAP)
    even = np.abs(windows.mean(capped, "region"))
    result: Array = windows.mean(np.abs(capped), "region") - np.float32(coherent_share) * even - np.float32(_MEAN_SIZE)
    return result


def _disc(px: int) -> Array:
    row, col = np.mgrid[-px : px + 1, -px : px + 1]
    inside: Array = row**2 + col**2 <= px**2 + 0.5
    return inside


def _core(energy: Array, valid: Array, core_px: int) -> Array:
    """Take back the rim by which the regional window widened a region."""
    held = np.where(valid, energy, np.inf)
    result: Array = grey_erosion(held, footprint=_disc(core_px), mode="constant", cval=np.inf)
    return result


def _without_rims(fine: Array, rim_px: int) -> Array:
    """Lower what stays below half of a peak near by: the fine window carried it there."""
    peak = maximum_filter(fine, footprint=_disc(rim_px), mode="constant", cval=0.0)
    result: Array = fine * np.minimum(1.0, 2 * fine / np.maximum(peak, 1e-6)) ** 4
    return result


def _one_variate(square: Array, bands: int) -> Array:
    """Deviations of a single variate that are as rare as a sum of squares over all bands."""
    if bands == 1:
        return np.sqrt(square)
    tail = chdtrc(bands, np.minimum(square.astype(np.float64), 1000.0))
    result: Array = -ndtri(np.maximum(tail / 2, 1e-300))
    return result


def _fit_band(
    blocks: Sequence[PairBlock], band: int, fine_px: float, step: int, half_height_sigma: float, floor_db: float
) -> _BandFit:
    maps = [_difference_maps(block, band, fine_px) for block in blocks]
    level = _gathered([m[0] for m in maps], blocks, step)
    change = _gathered([m[2] for m in maps], blocks, step)
    noise = _pair_noise([(m[2], block.valid) for m, block in zip(maps, blocks, strict=True)], change, step)
    pair_centre = _mode(change, noise, 0.0, _PAIR_PRIOR_DB)
    knots, rank = _classes(level)
    centre = _class_centres(change, rank, len(knots), pair_centre, noise)
    own = [np.interp(m[0], knots, centre) for m in maps]
    # A level that varies slowly passes the fine window unchanged.
    pixel = [(m[1] - c, block.valid) for m, c, block in zip(maps, own, blocks, strict=True)]
    fine = [(m[2] - c, block.valid) for m, c, block in zip(maps, own, blocks, strict=True)]
    fine_sigma = _class_noise(fine, blocks, rank, len(knots), step, floor_db)
    pixel_sigma = _class_noise(pixel, blocks, rank, len(knots), step, floor_db)
    deviation = _gathered([f[0] for f in fine], blocks, step) / np.interp(level, knots, fine_sigma)
    up, down = (_scale(side, half_height_sigma, step) for side in (deviation, -deviation))
    return _BandFit(knots, centre, fine_sigma, pixel_sigma, up, down)


def _difference_maps(block: PairBlock, band: int, fine_px: float) -> tuple[Array, Array, Array]:
    """Level of the before date, after − before, and its average over the fine window."""
    windows = _Windows(block.valid.astype(np.float32), fine_px, fine_px)
    before, after = (np.where(block.valid, date[band], 0).astype(np.float32) for date in block[:2])
    return windows.mean(before, "level"), after - before, windows.mean(after - before, "fine")


def _gathered(maps: Sequence[Array], blocks: Sequence[PairBlock], step: int) -> Array:
    parts = [m[::step, ::step][b.valid[::step, ::step]] for m, b in zip(maps, blocks, strict=True)]
    return np.concatenate(parts).astype(np.float64)


def _mode(values: Array, noise_db: float, expected_db: float, prior_db: float) -> float:
    """Most frequent value; of two, the one nearer to what is expected."""
    step = 0.05
    bins = np.arange(-20.0, 20.0 + step / 2, step)
    counts, _ = np.histogram(values - expected_db, bins=bins)
    middle = bins[:-1] + step / 2
    density = gaussian_filter1d(counts.astype(np.float64), max(0.1, 0.5 * noise_db) / step)
    return float(expected_db + middle[np.argmax(density * np.exp(-0.5 * (middle / prior_db) ** 2))])


def _classes(level: Array) -> tuple[Array, Array]:
    """Knots (median level) of classes of equal size, and the class of each sample."""
    number = int(np.clip(len(level) // _PER_LEVEL, 1, _LEVELS))
    edges = np.unique(np.quantile(level, np.linspace(0, 1, number + 1)[1:-1]))
    rank = np.searchsorted(edges, level, side="right")
    used, rank = np.unique(rank, return_inverse=True)
    return np.array([np.median(level[rank == k]) for k in range(len(used))]), rank


def _class_centres(change: Array, rank: Array, number: int, pair_db: float, noise_db: float) -> Array:
    modes = [_mode(change[rank == k], noise_db, pair_db, _LEVEL_PRIOR_DB) for k in range(number)]
    limit_db = _LEVEL_LIMIT_SIGMA * noise_db
    limited = np.clip(modes, pair_db - limit_db, pair_db + limit_db)
    smooth: Array = gaussian_filter1d(limited, 0.7, mode="nearest")
    return smooth


def _pair_noise(maps: Sequence[tuple[Array, Array]], sample: Array, step: int) -> float:
    """Deviation of unchanged ground: the smaller of that about the median and that between neighbours."""
    spread = float(np.median(np.abs(sample - np.median(sample)))) / _QUARTILE
    lagged = np.concatenate([part for values, valid in maps for part in _lagged(values, valid, step)])
    return min(spread, float(np.median(lagged)) / _QUARTILE / np.sqrt(2.0)) if len(lagged) else spread


def _class_noise(
    maps: Sequence[tuple[Array, Array]],
    blocks: Sequence[PairBlock],
    rank: Array,
    number: int,
    step: int,
    floor_db: float,
) -> Array:
    """Deviation of each class, held near that of the pair: a class may have changed as a whole."""
    sample = _gathered([m[0] for m in maps], blocks, step)
    size, pair = np.abs(sample), max(_pair_noise(maps, sample, step), floor_db)
    own = np.array([np.median(size[rank == k]) / _QUARTILE for k in range(number)])
    result: Array = np.clip(own, _NOISE_RANGE[0] * pair, _NOISE_RANGE[1] * pair)
    return result


def _lagged(values: Array, valid: Array, step: int) -> tuple[Array, Array]:
    """Sizes of differences between pixels some way apart, down and across."""
    down = np.abs(values[_LAG_PX:] - values[:-_LAG_PX])[::step, ::step]
    across = np.abs(values[:, _LAG_PX:] - values[:, :-_LAG_PX])[::step, ::step]
    both_down = (valid[_LAG_PX:] & valid[:-_LAG_PX])[::step, ::step]
    both_across = (valid[:, _LAG_PX:] & valid[:, :-_LAG_PX])[::step, ::step]
    return down[both_down], across[both_across]


def _scale(deviation: Array, half_height_sigma: float, step: int) -> float:
    """Divisor that puts half of the typical change of this pair at the weak threshold.

    A window carries the rim of a change outwards down to nothing; half its height is where the rim lies. What counts as
    changed is what lies above that half itself, found by repetition: rims below it would make the typical change too small.
    """
    limit, half = 0.0, _CHANGED_SIGMA
    while half > limit and len(changed := deviation[deviation > half]) * step**2 >= _CHANGED_PX:
        limit, half = half, 0.5 * float(np.median(changed))
    if not limit:
        return 1.0
    return float(np.clip(half / half_height_sigma, 1.0, _MAX_SCALE))
