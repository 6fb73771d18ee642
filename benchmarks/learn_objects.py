"""Learn the sum of `ecowatch.detect.objects` and measure it with each place left out; prints both, writes nothing.

Run as ``ECOWATCH_TEST_DATA=... python benchmarks/learn_objects.py``; with ``--page`` it prints only the section of
``docs/accuracy.md``. A place is the whole of LEVIR, the whole of WHU, and each tile of FOTBCD. Thresholds are the shipped
ones and are not learned here.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from scipy import ndimage

from ecowatch.detect.block import PairBlock
from ecowatch.detect.objects import ObjectModel, evidence, fit_objects, margin
from ecowatch.detect.segments import block_mean, gaussian, working_factor
from ecowatch.settings import shipped_pipelines

Array = np.ndarray[Any, Any]

FAMILIES = ("vhr_levir", "vhr_whu", "vhr_fotbcd")
UNCHANGED = ("_654", "_17870", "instances_", "whu_lgp_train2", "whu_lgp_test10")
WORKING_M, SMOOTH_M, LIMIT, RIDGE, PER_TILE, SEED = 0.5, 2.0, 4.0, 20.0, 600, 0
SHIPPED = shipped_pipelines()["buildings"]
WEAK, STRONG = SHIPPED.detect.weak_sigma, SHIPPED.detect.strong_sigma
LEAST_M2, LEAST_STRONG_M2 = SHIPPED.patches.min_area_m2.settlement, SHIPPED.detect.min_strong_m2
PAGE = """
## Learned: buildings, each place left out

The buildings pipeline holds a model of 32 numbers that was learned on these very places, so its rows above are no test. Here
it is learned anew without the place it is judged on (the whole of LEVIR, the whole of WHU, each tile of FOTBCD); objects of at
least 100 pixels, found where half of their pixels are flagged; unchanged: mean flagged share of the tiles without change. The
features were chosen on the same places, so even this is optimistic, and a camera that no place shares does worse: with all
of FOTBCD left out, 29 % of its unchanged ground was flagged.
"""
EIGHT = np.ones((3, 3), bool)


class Tile(NamedTuple):
    """A labelled pair: both directions' features on working pixels, and the label on both grids."""

    name: str
    place: str
    pixel_m: float
    label: Array
    built: Array
    features: tuple[Array, Array]
    unchanged: bool


class Samples(NamedTuple):
    """Features ``(n, 2, k)`` of both directions, with label, weight and place."""

    features: Array
    built: Array
    weight: Array
    place: Array


def read_tiles(root: Path) -> list[Tile]:
    """Read every pair of the three families and compute its features."""
    tiles = []
    for family in FAMILIES:
        for path in sorted((root / "bitemporal" / family).glob("*_label.tif")):
            name = path.name.removesuffix("_label.tif")
            pixel_m = float(json.loads(path.with_name(name + ".json").read_text())["resolution_m"])
            images = [_read(path.with_name(f"{name}_{date}.tif"))[:3] / np.float32(255) for date in ("t1", "t2")]
            label = _read(path)[0] == 1
            block = PairBlock(images[0], images[1], np.ones(label.shape, bool))
            fitted = fit_objects([block], pixel_m=pixel_m, working_m=WORKING_M, smooth_m=SMOOTH_M)
            came, went, _ = evidence(block, fitted, pixel_m=pixel_m, working_m=WORKING_M)
            built = block_mean(label.astype(np.float32), working_factor(pixel_m, WORKING_M)) >= 0.5
            place = name if family == "vhr_fotbcd" else family
            tiles.append(
                Tile(name, place, pixel_m, label, built, (came, went), any(word in name for word in UNCHANGED))
            )
    return tiles


def _read(path: Path) -> Array:
    with rasterio.open(path) as source:
        return np.asarray(source.read(), np.float32)


def draw_samples(tiles: list[Tile]) -> Samples:
    """Draw pixels: all alike from buildings; ground of changed tiles counts less, for what changed there is not labelled."""
    rng, parts = np.random.default_rng(SEED), []
    for tile in tiles:
        near = ndimage.binary_dilation(tile.built, iterations=4)
        weight = 0.3 if "test10" in tile.name else 1.0 if tile.unchanged else 0.4
        wanted = [(~near, PER_TILE if tile.unchanged else PER_TILE // 2, False, weight)]
        if not tile.unchanged:
            wanted.insert(0, (tile.built, PER_TILE, True, 1.0))
        for where, most, built, each in wanted:
            index = np.flatnonzero(where)
            index = rng.choice(index, min(most, len(index)), replace=False)
            both = np.stack([f.reshape(len(f), -1)[:, index].T for f in tile.features], axis=1)
            n = len(index)
            parts.append(Samples(both, np.full(n, built), np.full(n, each), np.full(n, tile.place)))
    return Samples(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def learn(samples: Samples, centre: Array, scale: Array) -> ObjectModel:
    """Fit the logistic sum; a building of WHU may also be one that went: there the better direction counts."""
    z = np.clip((samples.features - centre) / scale, -LIMIT, LIMIT)
    basis = np.concatenate([np.ones((*z.shape[:2], 1)), np.maximum(z, 0), np.minimum(z, 0)], axis=2)
    ground, built = basis[~samples.built], basis[samples.built]
    y = np.r_[np.ones(len(built)), np.zeros(2 * len(ground))]
    w = np.r_[samples.weight[samples.built], np.tile(samples.weight[~samples.built], 2)]
    beta, chosen = np.zeros(basis.shape[2]), built[:, 0]
    for rounds in (5, 3):
        beta = _logistic(np.concatenate([chosen, ground[:, 0], ground[:, 1]]), y, w, beta, rounds)
        went = (built[:, 1] @ beta > built[:, 0] @ beta) & (samples.place[samples.built] == "vhr_whu")
        chosen = np.where(went[:, None], built[:, 1], built[:, 0])
    k = len(centre)
    slopes = beta[1 : 1 + k], beta[1 + k :]
    c, s, above, below = (tuple(round(float(v), 4) for v in part) for part in (centre, scale, *slopes))
    return ObjectModel(c, s, above, below, round(float(beta[0]), 4), LIMIT, 0.0, 1.0)


def _logistic(x: Array, y: Array, w: Array, beta: Array, rounds: int) -> Array:
    ridge = np.eye(x.shape[1]) * RIDGE
    ridge[0, 0] = 1e-6
    for _ in range(rounds):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -15, 15)))
        curvature = (x * (w * p * (1 - p) + 1e-6)[:, None]).T @ x + ridge
        beta = beta + np.linalg.solve(curvature, x.T @ (w * (y - p)) - ridge @ beta)
    return beta


def gathered(tile: Tile, model: ObjectModel) -> Array:
    """Return the smoothed margin of a tile on working pixels."""
    step = tile.pixel_m * working_factor(tile.pixel_m, WORKING_M)
    return gaussian(np.maximum(*(margin(f, model) for f in tile.features)), SMOOTH_M / step)


def calibrated(model: ObjectModel, tiles: list[Tile]) -> ObjectModel:
    """Take zero and unit from the tiles without change."""
    kept = [t for t in tiles if t.unchanged and "test10" not in t.name]
    values = [np.quantile(gathered(t, model), np.linspace(0, 1, 1001)) for t in kept]
    low, middle = np.quantile(np.concatenate(values), (0.1587, 0.5))
    return model._replace(null_median=round(float(middle), 4), null_spread=round(float(middle - low), 4))


def flagged(tile: Tile, model: ObjectModel, weak: float, strong: float) -> Array:
    """Return flagged pixels of the tile's own grid after hysteresis."""
    score = (gathered(tile, model) - model.null_median) / model.null_spread
    factor = working_factor(tile.pixel_m, WORKING_M)
    groups, count = ndimage.label(score > weak, EIGHT)
    area = (tile.pixel_m * factor) ** 2
    size = np.bincount(groups.ravel(), minlength=count + 1) * area
    sure = np.bincount(groups.ravel(), (score > strong).ravel(), minlength=count + 1) * area
    kept = (size >= LEAST_M2) & (sure >= LEAST_STRONG_M2)
    kept[0] = False
    rows, cols = tile.label.shape
    return np.repeat(np.repeat(kept[groups], factor, 0), factor, 1)[:rows, :cols]


def measure(tiles: list[Tile], models: dict[str, ObjectModel], weak: float, strong: float, *, each: bool) -> str:
    """Return recall of labelled objects and the flagged share of unchanged tiles, one line (or one per tile)."""
    covered: list[float] = []
    large: list[float] = []
    recall, quiet, lines = [], [], []
    for tile in tiles:
        found = flagged(tile, models[tile.place], weak, strong)
        groups, count = ndimage.label(tile.label, EIGHT)
        size = np.bincount(groups.ravel(), minlength=count + 1)[1:]
        share = np.bincount(groups.ravel(), found.ravel(), minlength=count + 1)[1:] / np.maximum(size, 1)
        share, area_m2 = share[size >= 100], size[size >= 100] * tile.pixel_m**2
        if tile.unchanged:
            quiet.append(found.mean())
        else:
            covered, large = [*covered, *share], [*large, *share[area_m2 >= 10]]
            recall.append((share >= 0.5).mean())
        counts = "" if tile.unchanged else f"{(share >= 0.5).sum()}/{len(share)} (25%: {(share >= 0.25).sum()})"
        lines.append(f"  {tile.name:28s} flagged {found.mean():.3f} {counts}\n" if each else "")
    c, big = np.array(covered), np.array(large)
    figures = f"tiles {np.mean(recall):.3f} objects {(c >= 0.5).mean():.3f} (25 %: {(c >= 0.25).mean():.3f}, "
    figures += f">= 10 m2: {(big >= 0.5).mean():.3f}) unchanged {np.mean(quiet):.4f}"
    return f"weak {weak:.2f} strong {strong:.2f}: {figures}\n" + "".join(lines)


def main() -> None:
    """Print the model and its figures."""
    tiles = read_tiles(Path(os.environ["ECOWATCH_TEST_DATA"]))
    samples = draw_samples(tiles)
    every = samples.features.reshape(-1, samples.features.shape[2])
    centre = np.median(every, axis=0)
    scale = np.maximum(1.4826 * np.median(np.abs(every - centre), axis=0) + 1e-4, 0.5 * every.std(axis=0))
    model = calibrated(learn(samples, centre, scale), tiles)
    page = "--page" in sys.argv
    print(PAGE if page else model)
    places = sorted({tile.place for tile in tiles})
    left_out = {}
    for place in places:
        others = Samples(*(column[samples.place != place] for column in samples))
        left_out[place] = calibrated(learn(others, centre, scale), [t for t in tiles if t.place != place])
    if page:
        for name, models in (("all in", dict.fromkeys(places, model)), ("place left out", left_out)):
            print(f"- {name}: {measure(tiles, models, WEAK, STRONG, each=False)}", end="")
        return
    for name, models in (("all in", dict.fromkeys(places, model)), ("place left out", left_out)):
        for weak in (WEAK - 0.2, WEAK, WEAK + 0.2):
            for strong in (STRONG - 0.2, STRONG, STRONG + 0.2):
                print(name, measure(tiles, models, weak, strong, each=(weak, strong) == (WEAK, STRONG)), end="")


if __name__ == "__main__":
    main()
