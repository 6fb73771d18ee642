"""Changes injected into real scenes: are they found, are they named, and is the confidence what it says it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.features import shapes
from scipy import ndimage
from shapely import affinity
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from ecowatch.codes import Activity, State
from ecowatch.detect import METHODS, detect_block, fit_thresholds, sample_score
from ecowatch.grid import Grid
from ecowatch.patches import (
    Evidence,
    NamedActivity,
    PixelPatch,
    mean_spectrum,
    name_activity,
    patches_from_runs,
    polygon_of,
    shapes_of,
)
from ecowatch.patches.context import context_of, dark_levels
from ecowatch.settings import bitemporal_pipeline
from ecowatch.simulate import coverage, second_date_from

Array = np.ndarray[Any, Any]

SIX = ("blue", "green", "red", "nir", "swir1", "swir2")
HA = 1e4

# Surface reflectance (blue, green, red, nir, swir1, swir2) of what people build with; several materials per kind.
MATERIALS: dict[str, tuple[tuple[float, ...], ...]] = {
    "mine": (
        (0.11, 0.15, 0.19, 0.25, 0.33, 0.30),
        (0.16, 0.20, 0.24, 0.29, 0.33, 0.30),
        (0.08, 0.13, 0.20, 0.27, 0.32, 0.26),
    ),
    "building": (
        (0.26, 0.28, 0.29, 0.31, 0.30, 0.27),
        (0.19, 0.21, 0.22, 0.24, 0.25, 0.23),
        (0.25, 0.23, 0.20, 0.27, 0.26, 0.22),
    ),
    "road": (
        (0.10, 0.115, 0.13, 0.15, 0.18, 0.17),
        (0.18, 0.20, 0.22, 0.25, 0.28, 0.25),
        (0.13, 0.165, 0.20, 0.25, 0.31, 0.28),
    ),
    "pond": ((0.055, 0.06, 0.045, 0.03, 0.015, 0.01), (0.07, 0.09, 0.075, 0.045, 0.02, 0.014)),
}
ROUGH = {"mine": 0.12, "building": 0.06, "road": 0.06, "pond": 0.04}
RIGHT = {
    "mine": {Activity.MINING, Activity.QUARRY},
    # A hall of half a hectare may be a dwelling block or a works: 02, or 10 where it is larger than any block. Never 03.
    "building": {Activity.SETTLEMENT, Activity.OTHER},
    "road": {Activity.ROAD},
    "pond": {Activity.AQUACULTURE},
}


class Scene(NamedTuple):
    """Two real dates, or one and a second made from it; no change of ours in them."""

    name: str
    before: Array
    after: Array
    roles: tuple[str, ...]
    per_unit: tuple[float, ...]
    scale: float
    display: bool
    usable: Array | None = None

    @property
    def valid(self) -> Array:
        """Bool ``(row, col)``: seen in both dates."""
        return np.ones(self.before.shape[1:], bool) if self.usable is None else self.usable

    @property
    def grid(self) -> Grid:
        """Pixels taken as 10 m, whatever the sensor's: the same number of pixels per hectare everywhere."""
        return Grid.from_parts("EPSG:32650", (10, 0, 400_000, 0, -10, 4_000_000), self.before.shape[1:])


class Planted(NamedTuple):
    kind: str
    geometry: BaseGeometry


class Outcome(NamedTuple):
    kind: str
    scene: str
    found: bool
    named: NamedActivity | None


def read(path: Path) -> Array:
    with rasterio.open(path) as dataset:
        return np.asarray(dataset.read())


def later(values: Array, roles: Sequence[str], seed: int) -> Array:
    """A second date without any change: other season, light, haze and a small displacement."""
    grid = Grid.from_parts("EPSG:32650", (10, 0, 400_000, 0, -10, 4_000_000), values.shape[1:])
    made = second_date_from(
        values, roles, grid, seed=seed, shift_px=(0.15, -0.1), changes=0, nodata=None, scale=1 / 255, season=-0.05
    )
    return made.values


# Digital numbers per unit of reflectance above the dark level: published gains and solar irradiances, sun at 45-55 degrees.
ETM = (480.0, 440.0, 470.0, 290.0, 360.0, 380.0)
TM = (560.0, 270.0, 320.0, 260.0, 400.0, 280.0)


def landsat_scenes(shared: Path) -> list[Scene]:
    folder = shared / "bitemporal" / "ms_landsat_taizhou"
    t1, t2 = read(folder / "taizhou_t1.tif"), read(folder / "taizhou_t2.tif")
    tm_folder = shared / "series" / "rstoolbox" / "landsat"
    tm = np.concatenate([read(tm_folder / f"LT52240631988227CUB02_B{b}.TIF") for b in (1, 2, 3, 4, 5, 7)])
    november = read(shared / "series" / "landsat_r_2002" / "landsat7_2002_nov.tif")[[0, 1, 2, 3, 4, 7]]
    return [
        Scene("taizhou, two dates", t1, t2, SIX, ETM, 1 / 255, True),
        Scene("taizhou 2000", t1, later(t1, SIX, 1), SIX, ETM, 1 / 255, True),
        Scene("taizhou 2003", t2, later(t2, SIX, 2), SIX, ETM, 1 / 255, True),
        Scene("amazon 1988", tm, later(tm, SIX, 3), SIX, TM, 1 / 255, True),
        Scene("carolina 2002", november, later(november, SIX, 4), SIX, ETM, 1 / 255, True),
    ]


def sentinel_scenes(shared: Path) -> Iterator[Scene]:
    """Pairs of clear dates of one mine, a year apart: real Sentinel-2 at 10 m, 44 x 39 pixels."""
    roles = ("blue", "red", "nir", "swir1", "swir2")
    pairs = [
        ("2022-05-13", "2023-05-13"), ("2022-05-28", "2023-06-02"), ("2022-06-07", "2023-06-17"),
        ("2022-05-28", "2023-05-13"), ("2022-06-07", "2023-06-02"), ("2022-07-07", "2022-07-17"),
        ("2020-05-18", "2020-06-07"), ("2020-05-18", "2020-06-02"), ("2020-06-02", "2020-06-07"),
        ("2022-05-13", "2022-05-28"), ("2022-07-17", "2023-08-31"), ("2022-05-13", "2022-06-07"),
    ]  # fmt: skip
    folder = shared / "bitemporal" / "control_aurora_mines"
    for first, second in pairs:
        before, after = (read(folder / f"mine_0_{day}.tif") for day in (first, second))
        valid = (before[6] > 0) & (after[6] > 0)
        assert (np.isin(before[5], (4, 5)) & np.isin(after[5], (4, 5)))[valid].all()
        yield Scene(f"aurora {first}", before[:5], after[:5], roles, (65535.0,) * 5, 1 / 65535, False, valid)


def real_outlines(paths: Sequence[Path], *, smallest_px: int) -> list[BaseGeometry]:
    """Outlines of labelled things, centred, one unit per pixel."""
    found = []
    for path in paths:
        values = read(path)[0]
        marked = ((values > 0) & (values != 255)).astype(np.uint8)
        for geometry, value in shapes(marked, mask=marked == 1):
            outline = shapely.Polygon(shape(geometry).exterior)
            if value == 1 and outline.area >= smallest_px:
                centre = outline.centroid
                found.append(affinity.translate(shapely.simplify(outline, 1.0), -centre.x, -centre.y))
    return found


class Drawer:
    """Draws outlines in metres around the origin: mines and buildings from real ones, roads and ponds by hand."""

    def __init__(self, shared: Path, rng: np.random.Generator) -> None:
        folder = shared / "bitemporal"
        self._rng = rng
        self._mines = real_outlines(sorted((folder / "footprints_openmine").glob("*_count.tif")), smallest_px=50)
        labels = [p for s in ("levir", "whu", "fotbcd") for p in sorted((folder / f"vhr_{s}").glob("*_label.tif"))]
        self._buildings = real_outlines(labels, smallest_px=400)

    def outline(self, kind: str, *, small: bool) -> BaseGeometry:
        rng = self._rng
        if kind in ("mine", "building"):
            pool = self._mines if kind == "mine" else self._buildings
            chosen = pool[int(rng.integers(len(pool)))]
            largest = {"mine": 6.0, "building": 2.5}[kind]
            factor = np.sqrt(rng.uniform(0.5, 1.2 if small else largest) * HA / chosen.area)
            drawn = affinity.scale(chosen, factor, factor, origin=(0, 0))
        elif kind == "pond":
            width, height = rng.uniform(75, 110 if small else 180, size=2) / 2
            drawn = shapely.box(-width, -height, width, height)
        else:
            length = rng.uniform(260, 300) if small else rng.uniform(500, 1500)
            along = np.linspace(-0.5, 0.5, 60)
            bend = rng.uniform(-0.12, 0.12) * (1 - 4 * along**2) + 0.03 * np.sin(9 * along + rng.uniform(0, 6))
            drawn = shapely.LineString(np.column_stack([along, bend]) * length).buffer(
                max(rng.uniform(5, 12), 0.51 * HA / length / 2), cap_style="flat"
            )
        return affinity.rotate(drawn, float(rng.uniform(0, 360)), origin=(0, 0))


def flagged_runs(scene: Scene, after: Array) -> tuple[list[PixelPatch], Array]:
    """Patches by the shipped pipeline's numbers, and their pixels."""
    detect = bitemporal_pipeline().detect
    before = scene.before
    flat_b, flat_a = (v[:, scene.valid].astype(np.float64) * scene.scale for v in (before, after))
    fitted = METHODS["ir_mad"](
        flat_b, flat_a, max_iterations=detect.max_iterations, tolerance=detect.tolerance, noise_floor=detect.noise_floor
    )
    score = sample_score(fitted, flat_b, flat_a)
    limits = fit_thresholds(score, variates=len(before), weak_sigma=detect.weak_sigma, strong_sigma=detect.strong_sigma)
    radiometry = ((scene.scale, 0.0),) * len(before)
    state = np.where(scene.valid, np.uint8(State.USABLE), np.uint8(State.MASKED))
    result, _ = detect_block(
        before, after, state, weights=fitted.for_numbers(radiometry, radiometry), weak=limits.weak, strong=limits.strong,
        fills=(None, None), reach_px=detect.reach_px, row0=0, col0=0,
    )  # fmt: skip
    patches = patches_from_runs(result.runs, result.sums, min_strong_px=detect.min_strong_px, min_px=4)
    return patches, state >= State.WEAK


def place(scene: Scene, drawer: Drawer, kinds: Sequence[str], rng: np.random.Generator) -> list[Planted]:
    """Put outlines on open ground that the pair itself leaves unflagged, apart from one another."""
    _, flagged = flagged_runs(scene, scene.after)
    grid, size = scene.grid, np.ones((9, 9), bool)
    band = {role: scene.before[i].astype(float) for i, role in enumerate(scene.roles)}
    grey, nir = ndimage.uniform_filter(band["red"], 3), ndimage.uniform_filter(band["nir"], 3)
    free = (nir > np.quantile(nir, 0.25)) & (grey < np.quantile(grey, 0.8))
    free &= ndimage.binary_erosion(scene.valid, np.ones((5, 5)), border_value=1)
    free &= ~ndimage.binary_dilation(ndimage.binary_opening(flagged, np.ones((2, 2))), np.ones((5, 5)))
    planted, small = [], min(grid.shape) < 100
    for kind in kinds:
        for _ in range(600):
            row, col = rng.uniform(4, grid.shape[0] - 4), rng.uniform(4, grid.shape[1] - 4)
            geometry = affinity.translate(drawer.outline(kind, small=small), *(grid.transform * (col, row)))
            if not shapely.box(*grid.bounds).buffer(-30).contains(geometry):
                continue
            part = coverage(geometry, grid)
            assert part is not None
            target, inside = part[0].within(grid.window), part[1] > 0
            if free[target][inside].mean() < 0.9:
                continue
            whole = np.zeros(grid.shape, bool)
            whole[target] = inside
            free &= ~ndimage.binary_dilation(whole, size)
            planted.append(Planted(kind, geometry))
            break
    return planted


def path_radiance(scene: Scene) -> Array:
    """Numbers that the air adds: the darkest ground is water or shade, which sends back a little itself."""
    darkest = np.quantile(scene.after.reshape(len(scene.after), -1), 0.005, axis=1)
    ground = np.array([0.02 if role in ("blue", "green", "red") else 0.005 for role in scene.roles])
    return np.asarray(np.maximum(darkest - ground * scene.per_unit, 0.0))


def inject(scene: Scene, planted: Sequence[Planted], rng: np.random.Generator) -> Array:
    """Paint the changes into the after date: mixed edges, texture, noise, the scene's own path radiance."""
    after = scene.after.astype(np.float64)
    air = path_radiance(scene) if scene.display else np.zeros(len(after))
    for change in planted:
        part = coverage(change.geometry, scene.grid)
        assert part is not None
        target, share = part[0].within(scene.grid.window), part[1]
        pool = MATERIALS[change.kind]
        spectrum = np.array(pool[int(rng.integers(len(pool)))]) * rng.uniform(0.85, 1.15)
        texture = ndimage.gaussian_filter(rng.standard_normal(share.shape), 0.8)
        tone = 1 + ROUGH[change.kind] * texture / max(texture.std(), 1e-6)
        for index, role in enumerate(scene.roles):
            level = spectrum[SIX.index(role)] * rng.normal(1, 0.03)
            painted = air[index] + scene.per_unit[index] * level * tone * rng.normal(1, 0.01, share.shape)
            view = after[index][target]
            view += share * (painted - view)
    return np.clip(np.rint(after), 0, np.iinfo(scene.after.dtype).max).astype(scene.after.dtype)


def evidence_of(scene: Scene, after: Array, patch: PixelPatch, *, pixels: bool) -> Evidence:
    """What the review knows of a patch; `pixels`: with straightness, context and dark levels."""
    grid, roles = scene.grid, scene.roles
    outline = polygon_of(patch, grid, max_hole_m2=2000.0)
    shape = shapes_of([patch], [outline], grid)[0]
    radiometry = ((scene.scale, 0.0),) * len(roles)
    before_mean = mean_spectrum(patch, roles, radiometry, after=False)
    after_mean = mean_spectrum(patch, roles, radiometry, after=True)
    extra: dict[str, Any] = {"reflectance": not scene.display}
    if pixels:
        whole = np.zeros(grid.shape, bool)
        whole[patch.window.within(grid.window)] = patch.image() > 0
        part = patch.window.padded(6).intersection(grid.window)
        assert part is not None
        w = part.within(grid.window)
        dark_b, dark_a = np.zeros(len(roles)), np.zeros(len(roles))
        if scene.display:
            dark_b, dark_a = (
                np.array(dark_levels(v, scene.valid, quantile=0.005)) * scene.scale for v in (scene.before, after)
            )
            extra |= {f"dark_{d}": dict(zip(roles, v, strict=True)) for d, v in (("before", dark_b), ("after", dark_a))}
        one, two = (
            np.maximum(v[:, w[0], w[1]] * scene.scale - dark[:, None, None], 0)
            for v, dark in ((scene.before, dark_b), (after, dark_a))
        )
        extra["context"] = context_of(one, two, scene.valid[w], whole[w], roles, ring_px=3)
        extra["straightness"] = shape.straightness
    return Evidence(before_mean, after_mean, outline.area, *shape[:3], grid.pixel_m, **extra)


def outcomes(scene: Scene, planted: Sequence[Planted], rng: np.random.Generator, *, pixels: bool) -> Iterator[Outcome]:
    after = inject(scene, planted, rng)
    patches, _ = flagged_runs(scene, after)
    labels = np.zeros(scene.grid.shape, np.int64)
    for number, patch in enumerate(patches, 1):
        view = labels[patch.window.within(scene.grid.window)]
        view[patch.image() > 0] = number
    rules = bitemporal_pipeline().activity
    for change in planted:
        part = coverage(change.geometry, scene.grid)
        assert part is not None
        target, inside = part[0].within(scene.grid.window), part[1] > 0.5
        hit = labels[target][inside]
        if (hit > 0).mean() < 0.5:
            yield Outcome(change.kind, scene.name, False, None)
            continue
        patch = patches[int(np.bincount(hit[hit > 0]).argmax()) - 1]
        evidence = evidence_of(scene, after, patch, pixels=pixels)
        yield Outcome(change.kind, scene.name, True, name_activity(evidence, rules))


def all_outcomes(shared: Path, seed: int, *, pixels: bool) -> list[Outcome]:
    found: list[Outcome] = []
    rng = np.random.default_rng(seed)
    drawer = Drawer(shared, rng)
    for scene in landsat_scenes(shared):
        planted = place(scene, drawer, ["road"] * 4 + ["mine", "building", "pond"] * 6, rng)
        found += outcomes(scene, planted, rng, pixels=pixels)
    for number, scene in enumerate(sentinel_scenes(shared)):
        planted = place(scene, drawer, [list(MATERIALS)[number % 4]], rng)
        found += outcomes(scene, planted, rng, pixels=pixels)
    return found


def is_right(outcome: Outcome) -> bool:
    return outcome.named is not None and outcome.named.activity in RIGHT[outcome.kind]


def by_confidence(found: Sequence[Outcome]) -> list[tuple[float, list[bool]]]:
    """Whether each was named right, by the confidence that was told."""
    bands: dict[float, list[bool]] = defaultdict(list)
    for outcome in found:
        if outcome.named is not None:
            bands[outcome.named.confidence].append(is_right(outcome))
    return sorted(bands.items())


def table(found: Sequence[Outcome]) -> str:
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in found:
        groups[f"kind {outcome.kind}"].append(outcome)
        groups[f"scene {outcome.scene.split()[0]}"].append(outcome)
    lines = []
    for group, members in sorted(groups.items()):
        seen = [o for o in members if o.found]
        wrong = sorted(o.named.activity.value for o in seen if o.named and not is_right(o))
        share = sum(map(is_right, seen)) / max(len(seen), 1)
        lines.append(f"{group:16s} found {len(seen)}/{len(members)} right {share:.3f} wrong as {' '.join(wrong)}")
    lines += [f"confidence {c:.2f}: right {np.mean(r):.2f} of {len(r)}" for c, r in by_confidence(found)]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def injected(shared_data: Path) -> list[Outcome]:
    return all_outcomes(shared_data, 7, pixels=True)


@pytest.mark.slow
def test_injected_changes_are_found_and_named(injected: list[Outcome], capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{table(injected)}")
    seen = [o for o in injected if o.found]
    assert len(seen) >= max(80, 0.95 * len(injected))
    assert sum(map(is_right, seen)) / len(seen) >= 0.85
    for kind in MATERIALS:
        assert np.mean([is_right(o) for o in seen if o.kind == kind]) >= 0.75, kind


@pytest.mark.slow
def test_confidence_is_no_more_than_the_share_named_right(injected: list[Outcome]) -> None:
    large = [(confidence, right) for confidence, right in by_confidence(injected) if len(right) >= 20]
    assert len(large) >= 2
    for confidence, right in large:
        assert np.mean(right) >= confidence - 0.05, (confidence, np.mean(right), len(right))


@pytest.mark.slow
def test_means_alone_name_most_as_well(shared_data: Path) -> None:
    """Where no pixels, no straightness and no dark levels are given: lower, and never an exception."""
    seen = [o for o in all_outcomes(shared_data, 7, pixels=False) if o.found]
    assert sum(map(is_right, seen)) / len(seen) >= 0.8
