"""Rules that name an activity: what each needs, what it must not say, and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from scipy import ndimage

from ecowatch.codes import Act, Activity, EnergyKind, Limit, Natural
from ecowatch.grid import Grid
from ecowatch.patches import Evidence, NamedActivity, PixelPatch, mean_spectrum, name_activity, polygon_of, shapes_of
from ecowatch.patches.context import Context, context_of, cover_shares, dark_levels, regularity
from ecowatch.patches.facts import burn_ratio, redness_of_gain, spectral_facts, wetness
from ecowatch.patches.limits import limits_of
from ecowatch.settings import ActivityRules

FOREST = {"blue": 0.03, "green": 0.05, "red": 0.03, "nir": 0.33, "swir1": 0.15, "swir2": 0.07}
BARE = {"blue": 0.10, "green": 0.14, "red": 0.19, "nir": 0.25, "swir1": 0.34, "swir2": 0.29}
ROOF = {"blue": 0.24, "green": 0.25, "red": 0.26, "nir": 0.28, "swir1": 0.27, "swir2": 0.24}
WATER = {"blue": 0.05, "green": 0.06, "red": 0.05, "nir": 0.03, "swir1": 0.01, "swir2": 0.01}
MUD = {"blue": 0.09, "green": 0.12, "red": 0.12, "nir": 0.08, "swir1": 0.02, "swir2": 0.01}
ASH = {"blue": 0.03, "green": 0.04, "red": 0.05, "nir": 0.08, "swir1": 0.16, "swir2": 0.17}
PANELS = {"blue": 0.06, "green": 0.06, "red": 0.06, "nir": 0.09, "swir1": 0.11, "swir2": 0.10}
FIELD_BARE = {"blue": 0.035, "green": 0.05, "red": 0.07, "nir": 0.13, "swir1": 0.20, "swir2": 0.17}

COMPACT = {"rectangularity": 0.9}
RAGGED = {"rectangularity": 0.35}
LINE = {"length_m": 900.0, "width_m": 25.0, "rectangularity": 0.3}


def named(before: dict[str, float], after: dict[str, float], **more: Any) -> NamedActivity:
    facts = {"area_m2": 20_000.0, "length_m": 200.0, "width_m": 100.0, "rectangularity": 0.7, "pixel_m": 10.0} | more
    return name_activity(Evidence(before, after, **facts), ActivityRules())


@pytest.mark.parametrize(
    ("before", "after", "shape", "activity", "natural"),
    [
        (FOREST, BARE, RAGGED, Activity.MINING, None),
        (FOREST, BARE, LINE, Activity.ROAD, None),
        (FOREST, ROOF, COMPACT, Activity.SETTLEMENT, None),
        (FOREST, ROOF, COMPACT | {"area_m2": 90_000.0}, Activity.OTHER, None),
        (FOREST, WATER, COMPACT, Activity.AQUACULTURE, None),
        (FOREST, MUD, COMPACT, Activity.AQUACULTURE, None),
        (FOREST, WATER, RAGGED, Activity.UNDETERMINED, Natural.FLOOD),
        (FOREST, MUD, RAGGED, Activity.UNDETERMINED, Natural.FLOOD),
        (FOREST, WATER, COMPACT | {"area_m2": 5e6}, Activity.UNDETERMINED, None),
        (FOREST, WATER, COMPACT | {"area_m2": 900.0}, Activity.UNDETERMINED, None),
        (FOREST, WATER, RAGGED | {"near": frozenset({"coast"})}, Activity.UNDETERMINED, Natural.TIDE),
        (
            FOREST,
            WATER,
            {"rectangularity": 0.4, "length_m": 900.0, "width_m": 150.0, "near": frozenset({"river"})},
            Activity.UNDETERMINED,
            Natural.MEANDER,
        ),
        (WATER, BARE, RAGGED, Activity.UNDETERMINED, Natural.FLOOD),
        (FOREST, ASH, RAGGED, Activity.UNDETERMINED, Natural.FIRE),
        (FOREST, BARE, RAGGED | {"slope_deg": 35.0, "length_m": 400.0}, Activity.UNDETERMINED, Natural.LANDSLIDE),
        (FOREST, BARE, RAGGED | {"slope_deg": 5.0, "length_m": 400.0}, Activity.MINING, None),
        (FOREST, PANELS, COMPACT, Activity.ENERGY, None),
        (FOREST, FIELD_BARE, COMPACT, Activity.AGRICULTURE, None),
        (FOREST, {**FOREST, "nir": 0.30}, COMPACT, Activity.UNDETERMINED, None),
        (BARE, FOREST, LINE, Activity.UNDETERMINED, None),
    ],
)
def test_what_plain_cases_are_called(
    before: dict[str, float],
    after: dict[str, float],
    shape: dict[str, Any],
    activity: Activity,
    natural: Natural | None,
) -> None:
    result = named(before, after, **shape)
    assert (result.activity, result.natural) == (activity, natural)
    assert 0 < result.confidence < 1


def test_acts_and_sub_classes_go_with_the_activity() -> None:
    assert named(FOREST, BARE, **RAGGED).act is Act.MINING
    assert named(FOREST, BARE, **LINE).act is Act.ROAD
    assert named(FOREST, ROOF, **COMPACT).act is Act.BUILDING
    assert named(FOREST, PANELS, **COMPACT).energy is EnergyKind.PHOTOVOLTAIC
    assert named(WATER, ROOF, **COMPACT, carrier="nearshore").act is Act.RECLAMATION
    assert named(WATER, ROOF, **COMPACT).act is Act.BUILDING
    assert named(FOREST, WATER, **RAGGED).act is None


def test_radar_alone_never_names_a_human_activity() -> None:
    for change in (-12.0, -4.0, 0.5, 12.0):
        for shape in (COMPACT, RAGGED, LINE):
            result = named({"vv": -9.0}, {"vv": -9.0 + change}, **shape)
            assert result.activity is Activity.UNDETERMINED and result.confidence <= 0.5
    assert named({"vv": -9.0, "vh": -15.0}, {"vv": -18.0, "vh": -24.0}, **RAGGED).natural is Natural.FLOOD
    assert named({"vv": -9.0}, {"vv": -3.0}, **RAGGED).natural is None


@pytest.mark.parametrize("roles", [(), ("b1", "b2"), ("red",), ("nir",), ("red", "green", "blue"), ("green", "nir")])
def test_missing_bands_are_missing_facts_never_an_error(roles: tuple[str, ...]) -> None:
    before = {role: FOREST.get(role, 0.1) for role in roles}
    after = {role: BARE.get(role, 0.3) for role in roles}
    for shape in (COMPACT, RAGGED, LINE):
        assert named(before, after, **shape).confidence <= named(FOREST, BARE, **shape).confidence


def test_unknown_bands_name_nothing() -> None:
    assert named({"b1": 0.1}, {"b1": 0.3}, **LINE).activity is Activity.UNDETERMINED


def test_black_spectra_are_no_error() -> None:
    nothing = dict.fromkeys(FOREST, 0.0)
    assert named(nothing, nothing).activity is Activity.UNDETERMINED
    assert named(FOREST, nothing, **COMPACT).confidence < 1


def test_without_infrared_water_is_never_named() -> None:
    rgb = ({r: FOREST[r] for r in ("red", "green", "blue")}, {r: WATER[r] for r in ("red", "green", "blue")})
    for shape in (COMPACT, RAGGED):
        result = named(*rgb, **shape)
        assert result.natural is None and result.activity is not Activity.AQUACULTURE


def test_pixel_shares_show_a_pond_that_mixed_rims_hide_in_the_mean() -> None:
    mixed = {role: 0.55 * WATER[role] + 0.45 * FOREST[role] for role in FOREST}
    assert named(FOREST, mixed, **COMPACT).activity is not Activity.AQUACULTURE
    context = Context(before={"water": 0.0}, after={"water": 0.6})
    assert named(FOREST, mixed, **COMPACT, context=context).activity is Activity.AQUACULTURE


def test_water_mixed_with_plants_is_told_from_panels() -> None:
    """Both are dark and plantless in the mean; only water takes all infrared bands away alike."""
    mixed = {role: 0.75 * WATER[role] + 0.25 * FOREST[role] for role in FOREST}
    assert named(FOREST, mixed, **COMPACT).activity is Activity.AQUACULTURE
    assert named(FOREST, PANELS, **COMPACT).activity is Activity.ENERGY
    wetter = {**PANELS, "swir1": 0.05, "swir2": 0.05}
    assert named(BARE, wetter, **COMPACT).activity is not Activity.ENERGY


def test_a_sharp_image_shows_a_roof_by_its_corners() -> None:
    yard, roof = {"red": 0.5, "green": 0.48, "blue": 0.45}, {"red": 0.36, "green": 0.36, "blue": 0.35}
    dark = {"red": 0.2, "green": 0.22, "blue": 0.22}
    house = {"area_m2": 200.0, "length_m": 20.0, "width_m": 10.0, "rectangularity": 0.9}
    assert named(yard, roof, **house, pixel_m=0.5).activity is Activity.SETTLEMENT
    assert named(yard, roof, **house, pixel_m=0.5).confidence <= 0.4
    assert named(yard, dark, **house, pixel_m=0.5).activity is Activity.UNDETERMINED
    assert named(yard, roof, **house, pixel_m=10.0).activity is Activity.UNDETERMINED


def test_a_short_strip_is_a_less_certain_road() -> None:
    long, short = named(FOREST, BARE, **LINE), named(FOREST, BARE, length_m=400.0, width_m=40.0, rectangularity=0.3)
    assert long.activity is short.activity is Activity.ROAD
    assert short.confidence < long.confidence


def test_a_darker_line_is_a_road_only_where_nothing_grows() -> None:
    tar = dict.fromkeys(FOREST, 0.09)
    shaded = {role: 0.7 * value for role, value in FOREST.items()}
    assert named(BARE, tar, **LINE).activity is Activity.ROAD
    assert named(FOREST, shaded, **LINE).activity is Activity.UNDETERMINED


def test_a_pond_without_straight_sides_is_left_open() -> None:
    assert named(FOREST, WATER, rectangularity=0.65, straightness=0.1).activity is Activity.UNDETERMINED
    assert named(FOREST, WATER, rectangularity=0.65, straightness=0.8).activity is Activity.AQUACULTURE


def test_dark_levels_are_taken_off_before_anything_is_judged() -> None:
    air = {"blue": 0.35, "green": 0.25, "red": 0.2, "nir": 0.1, "swir1": 0.08, "swir2": 0.05}
    hazy = [{role: value + air[role] for role, value in spectrum.items()} for spectrum in (FOREST, BARE)]
    plain, cleared = named(FOREST, BARE, **RAGGED), named(*hazy, **RAGGED, dark_before=air, dark_after=air)
    assert cleared == plain


def test_colour_of_images_that_are_no_reflectance_needs_the_shape() -> None:
    """Soil seen with a red band of half the blue one's gain looks grey."""
    gain = {"red": 0.55}
    dim = [{role: value * gain.get(role, 1.0) for role, value in spectrum.items()} for spectrum in (FOREST, BARE)]
    assert named(*dim, **RAGGED, reflectance=False).activity is Activity.MINING
    assert named(*dim, **RAGGED).activity is Activity.SETTLEMENT


def test_reasons_tell_the_facts_that_spoke() -> None:
    told = "; ".join(named(FOREST, BARE, **RAGGED, slope_deg=3.0, near=frozenset({"river"}), carrier="forest").reasons)
    for fact in ("ndvi=-", "bare_soil=+", "elongation=", "slope_deg=3.00", "near=river", "carrier=forest"):
        assert fact in told


def test_indices_by_hand() -> None:
    assert wetness({"green": 0.06, "nir": 0.02, "swir1": 0.01}) == pytest.approx(0.5)
    assert wetness({"blue": 0.03, "nir": 0.02, "swir2": 0.03}) == pytest.approx(0.0)
    assert wetness({"green": 0.06}) is None
    assert burn_ratio({"nir": 0.3, "swir2": 0.1}) == pytest.approx(0.5)
    assert redness_of_gain({"red": 0.1, "blue": 0.1}, {"red": 0.3, "blue": 0.2}) == pytest.approx(1 / 3)
    assert redness_of_gain({"red": 0.1, "blue": 0.1}, {"red": 0.1, "blue": 0.1}) is None
    facts = spectral_facts(FOREST, WATER)
    assert facts.infrared_ratio == pytest.approx(0.03 / 0.33)
    assert facts.by_ndvi and not facts.radar_only


def test_context_counts_covers_inside_and_around() -> None:
    roles = ("green", "red", "nir")
    before = np.zeros((3, 12, 12), np.float32)
    before[:] = np.array([0.05, 0.03, 0.3], np.float32)[:, None, None]
    before[:, :4] = np.array([0.06, 0.05, 0.02], np.float32)[:, None, None]
    after = before.copy()
    inside = np.zeros((12, 12), bool)
    inside[4:8, 2:10] = True
    after[:, 4:8, 2:6] = np.array([0.06, 0.05, 0.02], np.float32)[:, None, None]
    found = context_of(before, after, np.ones((12, 12), bool), inside, roles, ring_px=1)
    assert (found.before["water"], found.after["water"]) == (0.0, 0.5)
    assert (found.before["vegetation"], found.after["vegetation"]) == (1.0, 0.5)
    # A ring of one pixel, without its corners: 8 of 24 lie on the water above.
    assert found.around_before == found.around_after == pytest.approx(8 / 24, abs=1e-3)
    with pytest.raises(ValueError, match="do not belong together"):
        context_of(before, after[:, 1:], np.ones((12, 12), bool), inside, roles, ring_px=1)


def test_context_of_unknown_bands_is_empty() -> None:
    values = np.zeros((1, 6, 6), np.float32)
    found = context_of(values, values, np.ones((6, 6), bool), np.ones((6, 6), bool), ("vv",), ring_px=1)
    assert (found.before, found.around_before, found.regularity) == ({}, None, 0.0)
    none = cover_shares(values, np.ones((6, 6), np.uint8), ("vv",), dark=np.zeros(1, np.float32))
    assert none == [{}, {}]


def test_rows_are_regular_and_rough_ground_is_not() -> None:
    rng = np.random.default_rng(5)
    inside = np.zeros((70, 70), bool)
    inside[5:65, 5:65] = True
    rough = ndimage.gaussian_filter(rng.standard_normal((1, 70, 70)), (0, 1, 1)) * 0.02 + 0.1
    rows = rough + 0.05 * (np.arange(70) % 6 < 3)[None, :, None]
    assert regularity(rows, inside) > 0.6
    assert regularity(np.swapaxes(rows, 1, 2), inside) == pytest.approx(regularity(rows, inside), abs=0.15)
    assert regularity(np.full((1, 70, 70), 0.2), inside) == 0.0
    assert regularity(rows[:, :10, :10], inside[:10, :10]) == 0.0


def test_dark_levels_leave_out_what_is_not_valid() -> None:
    values = np.linspace(0.2, 0.6, 400).reshape(1, 20, 20)
    valid = np.ones((20, 20), bool)
    values[0, 0], valid[0] = 0.0, False
    assert dark_levels(values, valid, quantile=0.0)[0] == pytest.approx(values[0, 1, 0])


def test_limits_say_what_cannot_be_seen() -> None:
    coarse = limits_of(10.0, ("blue", "green", "red", "nir", "swir1", "swir2"), slope=True)
    assert Limit.BLASTING in coarse and Limit.SMALL_WEIRS in coarse and Limit.NO_SLOPE not in coarse
    uav = limits_of(0.1, ("red", "green", "blue"))
    assert Limit.SMALL_WEIRS not in uav and {Limit.NO_INFRARED, Limit.NO_SWIR, Limit.NO_SLOPE} <= set(uav)
    radar = limits_of(10.0, ("vv", "vh"))
    assert Limit.RADAR_ONLY in radar and Limit.NO_INFRARED not in radar
    assert all(limit.zh and limit.en.endswith(".") for limit in Limit)
    assert limits_of(10.0, ("vh", "vv")) == radar


def named_shares(
    values: tuple[np.ndarray, np.ndarray], flagged: np.ndarray, roles: tuple[str, ...]
) -> dict[str, float]:
    """Share of the flagged pixels typed natural, undetermined and human."""
    before, after = values
    grid = Grid.from_parts("EPSG:32650", (10, 0, 300_000, 0, -10, 4_000_000), flagged.shape)
    labels, count = ndimage.label(flagged, np.ones((3, 3)))
    pixels = {"natural": 0, "undetermined": 0, "human": 0}
    radiometry = ((1 / 255, 0.0),) * len(roles)
    for number in range(1, count + 1):
        part = labels == number
        edges = [
            (row, np.flatnonzero(np.diff(np.r_[0, line, 0])).reshape(-1, 2))
            for row, line in enumerate(part.astype(int))
        ]
        runs = np.array([(row, first, last) for row, pairs in edges for first, last in pairs], np.int32)
        sums = np.concatenate([[0, 0, 0], before[:, part].sum(axis=1), after[:, part].sum(axis=1)]).astype(np.int64)
        patch = PixelPatch(runs, sums)
        outline = polygon_of(patch, grid, max_hole_m2=2000.0)
        spectra = [mean_spectrum(patch, roles, radiometry, after=after_date) for after_date in (False, True)]
        evidence = Evidence(
            *spectra, outline.area, *shapes_of([patch], [outline], grid)[0][:3], 10.0, reflectance=False
        )
        found = name_activity(evidence, ActivityRules())
        human = found.activity is not Activity.UNDETERMINED
        pixels["human" if human else "natural" if found.natural else "undetermined"] += int(part.sum())
    return {name: n / sum(pixels.values()) for name, n in pixels.items()}


def test_a_real_flood_is_natural_where_infrared_shows_it(shared_data: Path) -> None:
    """False colour of short-wave infrared, near infrared, visible; the labelled flood."""
    folder = shared_data / "bitemporal" / "flood_ombria_s2"
    seen = 0
    for path in sorted(folder.glob("*_label.tif")):
        before, after, label = (
            rasterio.open(path.with_name(path.name.replace("label", part))).read() for part in ("t1", "t2", "label")
        )
        shares = named_shares((before, after), label[0] == 1, ("swir1", "nir", "red"))
        assert shares["natural"] >= 0.5 and shares["human"] <= 0.2, shares
        assert named_shares((before, after), label[0] == 1, ("b1", "b2", "b3"))["human"] == 0
        seen += 1
    assert seen > 0


def test_real_floods_by_radar_are_never_called_human(shared_data: Path) -> None:
    for path in sorted((shared_data / "bitemporal" / "flood_ombria_s1").glob("*_label.tif")):
        before, after, label = (
            rasterio.open(path.with_name(path.name.replace("label", part))).read() for part in ("t1", "t2", "label")
        )
        assert named_shares((before, after), label[0] == 1, ("vv",))["human"] == 0
