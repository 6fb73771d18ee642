"""Simulated scenes hold what they promise: the truth is in the pixels, and the same seed gives the same bytes."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from skimage.registration import phase_cross_correlation

from ecowatch.errors import GridError
from ecowatch.grid import Grid, geodesic_area_m2
from ecowatch.simulate import (
    BEFORE,
    KINDS,
    ROLES,
    Conditions,
    clouds,
    coarser_classes,
    coverage,
    footprint,
    fractal,
    hidden_by,
    landscape,
    plant,
    qa_pixel,
    reflectance,
    sampled,
    scene_classes,
    second_date_from,
    shape_of,
    simulated_pair,
    simulated_uav_pair,
    sizes_for,
    write_landsat,
    write_safe,
)

REPOSITORY = Path(__file__).parents[1]
GRID = Grid.from_parts("EPSG:32650", Affine(10, 0, 512_000, 0, -10, 3_456_000), (240, 260))
UAV_GRID = Grid.from_parts("EPSG:4548", Affine(0.25, 0, 521_000, 0, -0.25, 3_446_500), (320, 360))
CLEAR = Conditions()
FEW = {"mine": 1, "pond": 1, "building": 1}
ACQUIRED = datetime(2026, 4, 27, 2, 55, 49, 123_000, tzinfo=UTC)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def shift_between(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    shift, _, _ = phase_cross_correlation(after, before, upsample_factor=50)
    return shift


@pytest.fixture(scope="module")
def pair():
    return simulated_pair(
        GRID, seed=4, before=CLEAR, after=Conditions(shift_px=(0.35, -0.25)), counts=FEW, under_cloud=0
    )


# --- the ground and the sensor --------------------------------------------------------------------------------------


def test_fractal_is_standardised_and_rougher_with_a_smaller_exponent() -> None:
    smooth, rough = (fractal((200, 180), beta=b, rng=np.random.default_rng(1)) for b in (3.5, 1.0))
    assert smooth.shape == (200, 180)
    assert abs(float(rough.mean())) < 1e-3 and float(rough.std()) == pytest.approx(1, abs=1e-3)
    assert np.abs(np.diff(rough)).mean() > 3 * np.abs(np.diff(smooth)).mean()


def test_landscape_has_every_cover_its_lake_and_its_quarry() -> None:
    ground = landscape(GRID, seed=1)
    cover = ground.cover_px()
    assert cover.shape == GRID.shape
    assert set(np.unique(cover)) >= {0, 1, 2, 3, 4}
    assert cover[round(0.30 * 240), round(0.72 * 260)] == 0
    assert cover[round(0.70 * 240), round(0.25 * 260)] == 4


def test_season_changes_leaves_but_not_water() -> None:
    ground = landscape(GRID, seed=1, oversample=1)
    early, late = (reflectance(ground, "nir", season=s) for s in (0.0, -0.1))
    water, forest = ground.cover == 0, ground.cover == 1
    assert (late[forest] < early[forest]).all()
    assert np.array_equal(late[water], early[water])


def test_sampled_keeps_a_flat_field_and_moves_a_point_by_the_shift() -> None:
    flat = np.full((60, 60), 0.3, np.float32)
    assert sampled(flat, oversample=3, margin_px=4, shift_px=(0.4, 0.2)) == pytest.approx(
        np.full((12, 12), 0.3), abs=1e-6
    )
    point = np.zeros((63, 63), np.float32)
    point[31, 31] = 1
    seen = sampled(point, oversample=3, margin_px=3, shift_px=(1.25, -0.5), psf_px=0.8)
    rows, cols = np.indices(seen.shape)
    assert (rows * seen).sum() / seen.sum() == pytest.approx(7 + 1.25, abs=0.01)
    assert (cols * seen).sum() / seen.sum() == pytest.approx(7 - 0.5, abs=0.01)


# --- planted changes ------------------------------------------------------------------------------------------------


def test_coverage_of_a_hand_drawn_square() -> None:
    grid = Grid.from_parts("EPSG:32650", Affine(10, 0, 0, 0, -10, 40), (4, 4))
    window, share = coverage(shapely.box(5, 10, 20, 30), grid)
    assert window == (1, 0, 3, 2)
    assert share.tolist() == [[0.5, 1.0], [0.5, 1.0]]
    assert coverage(shapely.box(900, 900, 910, 910), grid) is None


@pytest.mark.parametrize(("pixel_m", "least"), [(10.0, {"mine": 1e4, "building": 400}), (0.25, {"building": 50})])
def test_shapes_have_realistic_sizes(pixel_m, least) -> None:
    rng = np.random.default_rng(2)
    for kind in KINDS:
        for _ in range(20):
            shape = shape_of(kind, sizes=sizes_for(pixel_m), rng=rng)
            assert shape.is_valid and shape.geom_type == "Polygon"
            assert shape.area >= least.get(kind, 0)


def test_changes_keep_apart_and_away_from_clouds() -> None:
    masked = np.zeros(GRID.shape, bool)
    masked[:, :60] = True
    changes = plant(["mine", "road", "pond", "building"], GRID, ground=~masked, masked=masked, seed=3)
    assert [c.kind for c in changes] == ["mine", "road", "pond", "building"]
    assert not any(c.under_cloud for c in changes)
    for i, one in enumerate(changes):
        assert one.area_m2 == pytest.approx(geodesic_area_m2(one.geometry, GRID.crs))
        assert one.geometry.bounds[0] > 512_000 + 60 * 10
        assert all(one.geometry.distance(other.geometry) >= 11 * 10 for other in changes[:i])


def test_a_change_can_be_put_under_a_cloud() -> None:
    masked = np.zeros(GRID.shape, bool)
    masked[80:160, 80:160] = True
    changes = plant(["pond", "building"], GRID, ground=np.ones(GRID.shape, bool), masked=masked, seed=3, under_cloud=1)
    assert [c.under_cloud for c in changes] == [False, True]


def test_no_room_is_refused() -> None:
    nothing = np.zeros(GRID.shape, bool)
    with pytest.raises(GridError, match=r"NO_ROOM .* no place for a pond; ask for fewer changes"):
        plant(["pond"], GRID, ground=nothing, masked=nothing, seed=1)


# --- a simulated pair -----------------------------------------------------------------------------------------------


def test_same_seed_same_numbers_other_seed_others(pair) -> None:
    again = simulated_pair(
        GRID, seed=4, before=CLEAR, after=Conditions(shift_px=(0.35, -0.25)), counts=FEW, under_cloud=0
    )
    other = simulated_pair(GRID, seed=5, before=CLEAR, after=CLEAR, counts={}, under_cloud=0)
    for role in ROLES:
        assert np.array_equal(pair.after.bands[role], again.after.bands[role])
        assert not np.array_equal(pair.before.bands[role], other.before.bands[role])
    assert pair.changes == again.changes


def test_bands_have_their_own_pixel_size(pair) -> None:
    assert {role: b.shape for role, b in pair.before.bands.items()} == {
        **dict.fromkeys(ROLES[:4], (240, 260)),
        **dict.fromkeys(ROLES[4:], (120, 130)),
    }
    assert all(b.dtype == np.uint16 and b.min() >= 1 for b in pair.before.bands.values())
    assert pair.before.scl.shape == (120, 130)


@pytest.mark.parametrize("role", ["red", "nir"])
def test_the_shift_of_the_after_date_is_found_again(pair, role) -> None:
    # A window without planted changes would do; the changes are small enough not to matter.
    before, after = (date.bands[role].astype(float) for date in (pair.before, pair.after))
    assert shift_between(before, after) == pytest.approx([0.35, -0.25], abs=0.1)


def test_pixels_change_where_changes_are_planted_and_nowhere_else() -> None:
    still = simulated_pair(GRID, seed=4, before=CLEAR, after=CLEAR, counts=FEW, under_cloud=0)
    planted = np.zeros(GRID.shape, bool)
    around = np.zeros(GRID.shape, bool)
    for change in still.changes:
        planted |= footprint(change.geometry.buffer(-10), GRID)
        around |= footprint(change.geometry.buffer(25), GRID)
    after, before = (np.stack([d.bands[r] for r in ROLES[:4]]).astype(float) for d in (still.after, still.before))
    change = np.abs(after - before).max(axis=0)
    assert (change[planted] > 600).all()
    assert np.quantile(change[~around], 0.999) < 200


def test_clouds_hide_and_say_so() -> None:
    cloudy = simulated_pair(GRID, seed=9, before=CLEAR, after=Conditions(cloud_share=0.08), counts=FEW, under_cloud=1)
    hidden = hidden_by(cloudy.after.scl).repeat(2, 0).repeat(2, 1)
    assert 0.08 <= hidden.mean() < 0.3
    assert [c.under_cloud for c in cloudy.changes] == [False, False, True]
    for change in cloudy.changes:
        assert hidden[footprint(change.geometry, GRID)].any() == change.under_cloud
    blue = cloudy.after.bands["blue"].astype(float)
    assert blue[hidden].mean() > 3 * blue[~hidden].mean()


def test_the_worst_of_four_classes_wins_and_qa_pixel_follows() -> None:
    fine = np.array([[4, 4, 4, 6], [4, 9, 4, 4], [4, 0, 3, 4], [4, 4, 4, 4]], np.uint8)
    assert coarser_classes(fine).tolist() == [[9, 6], [0, 3]]
    assert qa_pixel(np.array([0, 9, 8, 3, 4, 6], np.uint8)).tolist() == [1, 22280, 21826, 23888, 21824, 21952]


def test_a_clear_sky_masks_nothing() -> None:
    sky = clouds((50, 40), share=0.0, pixel_m=10, seed=1)
    assert not sky.masked.any()
    ground = np.zeros((50, 40), bool)
    assert set(np.unique(scene_classes(sky, water=ground, vegetated=ground))) == {5}


# --- orthomosaics ---------------------------------------------------------------------------------------------------


def test_orthomosaics_are_black_outside_the_flight_and_shifted_inside() -> None:
    pair = simulated_uav_pair(UAV_GRID, seed=1, after=Conditions(shift_px=(1.6, -1.2)), kinds=("building",))
    for image in (pair.before, pair.after):
        assert image.shape == (4, 320, 360) and image.dtype == np.uint8
        outside = image[3] == 0
        assert 0.03 < outside.mean() < 0.5
        assert (image[:3, outside] == 0).all() and (image[:3, ~outside] > 0).all()
    inner = slice(90, 230)
    before, after = (i[1, inner, inner].astype(float) for i in (pair.before, pair.after))
    assert shift_between(before, after) == pytest.approx([1.6, -1.2], abs=0.15)
    where = footprint(pair.changes[0].geometry.buffer(-0.75), UAV_GRID)
    assert (pair.after[:3, where].mean(axis=0) > 150).mean() > 0.95


# --- a second date of a given image ---------------------------------------------------------------------------------


def given_image() -> np.ndarray:
    date = simulated_pair(GRID, seed=4, before=CLEAR, after=CLEAR, counts={}, under_cloud=0).before
    full = [date.bands[r] if r in ROLES[:4] else date.bands[r].repeat(2, 0).repeat(2, 1) for r in ROLES]
    values = np.stack(full)
    values[:, :40, :50] = 0
    return values


def test_second_date_keeps_fill_and_input() -> None:
    values = given_image()
    kept = values.copy()
    second = second_date_from(values, ROLES, GRID, seed=1)
    fill = (values == 0).all(axis=0)
    assert np.array_equal(values, kept)
    assert second.values.dtype == np.uint16 and second.values.shape == values.shape
    assert (second.values[:, fill] == 0).all() and not second.valid[fill].any()
    assert (second.values[:, second.valid] > 0).all()
    # The displacement brings in at most one row and one column of fill on each side.
    assert (~second.valid & ~fill).sum() <= 2 * (240 + 260)
    assert (second.scl == 0).sum() == (~second.valid).sum()


def test_second_date_is_displaced_as_asked_and_changed_where_it_says() -> None:
    values = given_image()
    second = second_date_from(values, ROLES, GRID, seed=1, shift_px=(0.3, -0.4), gain=1.0, haze=0.0, season=0.0)
    red = ROLES.index("red")
    moved = shift_between(values[red, 50:, 60:].astype(float), second.values[red, 50:, 60:].astype(float))
    assert moved == pytest.approx([0.3, -0.4], abs=0.1)
    still = second_date_from(values, ROLES, GRID, seed=1, shift_px=(0.0, 0.0), gain=1.0, haze=0.0, season=0.0)
    assert [c.kind for c in still.changes] == list(KINDS)
    change = np.abs(still.values.astype(float) - values).max(axis=0)
    for planted in still.changes:
        assert np.median(change[footprint(planted.geometry, GRID)]) > 500
    far = ~np.logical_or.reduce([footprint(c.geometry.buffer(20), GRID) for c in still.changes])
    assert np.quantile(change[far & still.valid], 0.99) < 120


def test_second_date_of_a_photograph_keeps_its_alpha() -> None:
    image = simulated_uav_pair(UAV_GRID, seed=2, kinds=()).before
    roles = ("red", "green", "blue", "alpha")
    second = second_date_from(image, roles, UAV_GRID, seed=1, shift_px=(1.5, 0.5), changes={"building": 1}, nodata=None)
    outside = image[3] == 0
    assert (second.values[3, outside] == 0).all()
    assert set(np.unique(second.values[3])) == {0, 255}
    assert np.array_equal(second.valid, second.values[3] > 0)
    assert [c.kind for c in second.changes] == ["building"]


def test_second_date_under_clouds() -> None:
    second = second_date_from(given_image(), ROLES, GRID, seed=3, cloud_share=0.1, changes=2, under_cloud=1)
    assert [c.under_cloud for c in second.changes] == [False, True]
    assert set(np.unique(second.scl)) >= {0, 3, 8, 9}


# --- product trees --------------------------------------------------------------------------------------------------


def read(folder: Path, pattern: str) -> tuple[np.ndarray, Affine]:
    (path,) = folder.rglob(pattern)
    with rasterio.open(path) as dataset:
        assert dataset.crs.to_epsg() == 32650
        return dataset.read(1), dataset.transform


def small_date() -> tuple[dict[str, np.ndarray], np.ndarray, Grid]:
    grid = Grid.from_parts("EPSG:32650", Affine(10, 0, 512_000, 0, -10, 3_456_000), (80, 60))
    rng = np.random.default_rng(1)
    bands = {role: rng.integers(200, 4000, (80, 60)).astype(np.uint16) for role in ROLES}
    bands["red"][:10] = 0
    return bands, np.full((80, 60), 4, np.uint8), grid


def test_safe_tree_is_where_it_says_and_lossless(tmp_path) -> None:
    bands, scl, grid = small_date()
    safe = write_safe(tmp_path, bands, scl, grid, ACQUIRED)
    assert safe.name == "S2B_MSIL2A_20260427T025549_N0511_R032_T50RNV_20260427T065549.SAFE"
    red, transform = read(safe, "*_B04_10m.jp2")
    assert transform == grid.transform
    assert np.array_equal(red, np.where(bands["red"] > 0, bands["red"] + 1000, 0))
    swir, transform = read(safe, "*_B11_20m.jp2")
    assert transform == grid.transform * Affine.scale(2) and swir.shape == (40, 30)
    assert read(safe, "*_SCL_20m.jp2")[0].tolist() == np.full((40, 30), 4).tolist()
    root = ElementTree.parse(safe / "MTD_MSIL2A.xml").getroot()
    assert root.tag.endswith("}Level-2A_User_Product")
    assert root.findtext(".//PRODUCT_START_TIME") == "2026-04-27T02:55:49.123Z"
    assert [e.text for e in root.iter("BOA_ADD_OFFSET")] == ["-1000"] * 13
    assert all((safe / f"{e.text}.jp2").is_file() for e in root.iter("IMAGE_FILE"))
    tile = ElementTree.parse(next(safe.rglob("MTD_TL.xml"))).getroot()
    assert tile.findtext(".//HORIZONTAL_CS_CODE") == "EPSG:32650"
    assert [e.findtext("NROWS") for e in tile.iter("Size")] == ["80", "40"]


@pytest.mark.parametrize(
    ("metadata", "pixels", "low"), [(-1000, 1000, 1200), (-1000, 0, 200), (0, 1000, 1200), (None, 0, 200)]
)
def test_safe_tree_can_contradict_itself(tmp_path, metadata, pixels, low) -> None:
    bands, scl, grid = small_date()
    safe = write_safe(tmp_path, bands, scl, grid, ACQUIRED, offset_in_metadata=metadata, offset_in_pixels=pixels)
    blue, _ = read(safe, "*_B02_10m.jp2")
    assert low <= np.percentile(blue, 1) < low + 100
    assert (read(safe, "*_B04_10m.jp2")[0][:10] == 0).all()
    listed = {e.text for e in ElementTree.parse(safe / "MTD_MSIL2A.xml").getroot().iter("BOA_ADD_OFFSET")}
    assert listed == (set() if metadata is None else {str(metadata)})


def test_safe_tree_wants_even_shapes(tmp_path) -> None:
    bands, scl, grid = small_date()
    odd = Grid.from_parts(grid.crs, grid.transform, (79, 60))
    with pytest.raises(GridError, match="ODD_SHAPE"):
        write_safe(tmp_path, bands, scl, odd, ACQUIRED)


def test_landsat_delivery(tmp_path) -> None:
    bands, scl, _ = small_date()
    grid = Grid.from_parts("EPSG:32650", Affine(30, 0, 512_000, 0, -30, 3_456_000), (80, 60))
    folder = write_landsat(tmp_path, bands, qa_pixel(scl), grid, ACQUIRED)
    assert folder.name == "LC08_L2SP_121038_20260427_20260509_02_T1"
    red, transform = read(folder, "*_SR_B4.TIF")
    assert transform == grid.transform
    expected = bands["red"] / 10_000
    assert (red[:10] == 0).all()
    assert red[10:] * 2.75e-5 - 0.2 == pytest.approx(expected[10:], abs=2e-5)
    assert (read(folder, "*_QA_PIXEL.TIF")[0] == 21824).all()
    text = (folder / f"{folder.name}_MTL.txt").read_text("ascii")
    assert "REFLECTANCE_MULT_BAND_4 = 2.75e-05" in text and "DATE_ACQUIRED = 2026-04-27" in text
    assert text.count("GROUP = ") == 2 * text.count("END_GROUP = ") and text.endswith("END\n")


# --- the sample and the benchmark's pair ----------------------------------------------------------------------------


@pytest.mark.slow
def test_sample_is_small_and_the_same_every_time(tmp_path) -> None:
    script = REPOSITORY / "sample_data" / "make_sample.py"
    for name in ("one", "two"):
        subprocess.run([sys.executable, script, "--out", tmp_path / name], check=True)
    first = digests(tmp_path / "one")
    assert first == digests(tmp_path / "two")
    assert sum(p.stat().st_size for p in (tmp_path / "one").rglob("*") if p.is_file()) < 12 * 2**20
    truth = json.loads((tmp_path / "one" / "truth.geojson").read_text("utf-8"))["features"]
    assert {f["properties"]["scene"] for f in truth} == {"s2", "uav"}
    assert any(f["properties"]["under_cloud"] for f in truth)
    assert all(
        f["properties"]["area_m2"] > 10_000
        for f in truth
        if f["properties"]["kind"] == "mine" and f["properties"]["scene"] == "s2"
    )
    reserve = json.loads((tmp_path / "one" / "reserve.geojson").read_text("utf-8"))
    redline = json.loads((tmp_path / "one" / "redline.geojson").read_text("utf-8"))
    assert reserve["crs"] == redline["crs"]
    assert reserve["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::4490"
    zones = [(f["properties"]["area_id"], f["properties"]["zone"]) for f in reserve["features"]]
    assert zones == [
        ("demo-reserve", "核心区"),
        ("demo-reserve", "缓冲区"),
        ("demo-reserve", "实验区"),
    ]
    assert [f["properties"]["area_id"] for f in redline["features"]] == ["demo-redline"]
    shapes = {"demo-reserve": [], "demo-redline": []}
    for feature in reserve["features"] + redline["features"]:
        shapes[feature["properties"]["area_id"]].append(shapely.geometry.shape(feature["geometry"]))
    for feature in truth:
        area = "demo-reserve" if feature["properties"]["scene"] == "s2" else "demo-redline"
        assert shapely.union_all(shapes[area]).buffer(1e-7).contains(shapely.geometry.shape(feature["geometry"]))


def test_the_shipped_conditions_are_usable() -> None:
    assert 0 < BEFORE.cloud_share < 0.2


def load_make_pair():
    spec = importlib.util.spec_from_file_location("make_pair", REPOSITORY / "benchmarks" / "make_pair.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_pair"] = module
    spec.loader.exec_module(module)
    return module


def test_benchmark_pair_does_not_depend_on_its_strips(tmp_path, monkeypatch) -> None:
    make_pair = load_make_pair()
    noise = make_pair.Noise.seeded(600, 1, spacings=(64, 16, 4), fall=0.5)
    whole = noise.strip(0, 600, 600)
    parts = [noise.strip(row, row + 200, 600) for row in range(0, 600, 200)]
    assert np.array_equal(whole, np.concatenate(parts))
    assert whole.std() == pytest.approx(1, abs=0.35)
    monkeypatch.setattr(sys, "argv", ["make_pair.py", "600", str(tmp_path)])
    make_pair.main()
    items = json.loads((tmp_path / "items.json").read_text())["features"]
    assert [i["id"] for i in items] == ["pair_20250420", "pair_20260425"]
    for item in items:
        with rasterio.open(tmp_path / item["assets"]["image"]["href"]) as image:
            assert (image.count, image.nodata, image.shape) == (6, 0, (600, 600))
            assert len(item["assets"]["image"]["raster:bands"]) == 6
            assert image.read().min() > 0
        with rasterio.open(tmp_path / item["assets"]["scl"]["href"]) as classes:
            cloudy = hidden_by(classes.read(1)).mean()
            assert 0.02 < cloudy < 0.5
