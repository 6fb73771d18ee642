"""Further dates, other sensors and a learned model, through the review itself."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from scipy import ndimage as ndi

from ecowatch.grid import Grid
from ecowatch.raster import write_geotiff
from ecowatch.settings import BandDescription, SceneSource, shipped_files

from .conftest import ROOT, Reviewer, Run, run

SIDE = 400
GRID = Grid.from_parts("EPSG:32650", (10, 0, 600_000, 0, -10, 3_400_000), (SIDE, SIDE))
OUTLINE = shapely.box(*GRID.bounds).buffer(-100, join_style="mitre")
FIVE = ("blue", "green", "red", "nir", "swir1")
GREEN = np.array([0.04, 0.07, 0.05, 0.35, 0.18])[:, None, None]
BARE = np.array([0.14, 0.18, 0.24, 0.30, 0.38])[:, None, None]
MINE, FIELD, FLASH = (
    (slice(60, 90), slice(60, 100)),
    (slice(200, 230), slice(60, 100)),
    (slice(60, 90), slice(250, 290)),
)
EARLIER = ("20210424", "20220420", "20230424", "20240422")


def described(roles: tuple[str, ...], **more: Any) -> tuple[BandDescription, ...]:
    return tuple(BandDescription(role=role, index=i, **more) for i, role in enumerate(roles, 1))


def place(where: tuple[slice, slice]) -> shapely.Polygon:
    left, top = GRID.transform @ (where[1].start, where[0].start)
    right, bottom = GRID.transform @ (where[1].stop, where[0].stop)
    return shapely.box(left, bottom, right, top)


def scene(folder: Path, day: str, seed: int, bare: tuple[tuple[slice, slice], ...]) -> None:
    """Green ground with structure, a light of its own, noise, and some places laid bare."""
    rng = np.random.default_rng(0)
    ground = GREEN * (1 + 0.5 * ndi.gaussian_filter(rng.standard_normal((1, SIDE, SIDE)), (0, 4, 4)) * 8)
    ground = ground + 0.3 * ndi.gaussian_filter(rng.standard_normal((5, SIDE, SIDE)), (0, 3, 3))
    soil = BARE + 0.2 * ndi.gaussian_filter(rng.standard_normal((5, SIDE, SIDE)), (0, 2, 2))
    for where in bare:
        ground[:, *where] = soil[:, *where]
    own = np.random.default_rng(seed)
    values = ground * own.uniform(0.95, 1.08) + own.uniform(0, 0.01) + own.normal(0, 0.004, ground.shape)
    write_geotiff(folder / f"s_{day}.tif", np.clip(values * 1e4, 1, 9999).astype(np.uint16), GRID, nodata=0)


@pytest.fixture(scope="module")
def years(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mine that stays, a field that lies bare every other year, and something seen on the last date only."""
    folder = tmp_path_factory.mktemp("years")
    for number, day in enumerate(EARLIER):
        scene(folder, day, number, (FIELD,) if number % 2 else ())
    scene(folder, "20250420", 10, ())
    scene(folder, "20260415", 11, (MINE, FIELD))
    scene(folder, "20260430", 12, (MINE, FIELD, FLASH))
    return folder


def touching(made: Run, layer: str, where: tuple[slice, slice]) -> Any:
    rows = made.layer(layer).to_crs(32650)
    return rows[rows.intersects(place(where))]


PLAIN = {"product": "geotiff", "sensor": "plain", "bands": described(FIVE, scale=1e-4)}


def test_witnesses_confirm_set_aside_and_doubt(years: Path, reviewer: Reviewer) -> None:
    made = run(reviewer(years, OUTLINE, "EPSG:32650", PLAIN))
    (mine,) = touching(made, "patch", MINE).itertuples()
    assert mine.stage == "confirmed" and mine.activity_code == "03" and "persisting=" in mine.time_facts
    assert touching(made, "patch", FIELD).empty
    (field,) = touching(made, "suppressed", FIELD).itertuples()
    assert field.reason in ("returning", "crop_cycle") and "earlier_dates=" in field.facts
    (flash,) = touching(made, "patch", FLASH).itertuples()
    # The date before it does not show it, but it may have come since: that is no word against it.
    assert flash.stage == "exceeds_history"
    assert len(made.layer()) == 2 and len(made.layer("suppressed")) == 1
    summary = made.layer("area_summary").iloc[0]
    assert (summary.patches, summary.suppressed) == (2, 1)
    assert summary.suppressed_ha == pytest.approx(made.layer("suppressed").area_ha.sum())
    (why,) = (row["why"] for row in made.record["coverage"])
    for told in ("after 2026-04-30", "before 2025-04-20", "2024-04-22", "2026-04-15", "sun"):
        assert told in why, why
    assert {s.split("_")[1] for s in made.record["scenes"]} >= {*EARLIER, "20260415"}


def test_the_same_places_by_two_dates_only(years: Path, reviewer: Reviewer, tmp_path: Path) -> None:
    """Without witnesses all three are found, and all say so."""
    for day in ("20250420", "20260430"):
        (tmp_path / f"s_{day}.tif").write_bytes((years / f"s_{day}.tif").read_bytes())
    made = run(reviewer(tmp_path, OUTLINE, "EPSG:32650", PLAIN))
    assert len(made.layer()) == 3 and set(made.layer().stage) == {"one_date"}


def test_most_of_the_ground_changed(reviewer: Reviewer, tmp_path: Path) -> None:
    """Sixty per cent laid bare: found, and the rest left alone."""
    scene(tmp_path, "20250420", 1, ())
    scene(tmp_path, "20260430", 2, ((slice(0, SIDE), slice(0, 240)),))
    made = run(reviewer(tmp_path, OUTLINE, "EPSG:32650", PLAIN))
    flagged = made.layer().to_crs(32650).union_all()
    bare = shapely.intersection(place((slice(0, SIDE), slice(0, 240))), OUTLINE)
    assert shapely.intersection(flagged, bare).area > 0.95 * bare.area
    assert shapely.difference(flagged, bare.buffer(20)).area < 0.002 * OUTLINE.area


def picture_and_radar(folder: Path) -> None:
    """The mine in eight-bit colour and in radar; the optical after date hides a second change under no data."""
    rng = np.random.default_rng(5)
    texture = ndi.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 2) * 6
    for name, day, changed in (("a", "20250420", False), ("b", "20260430", True)):
        (folder / "rgb").mkdir(exist_ok=True)
        (folder / "s1").mkdir(exist_ok=True)
        colour = 90 + 12 * texture + rng.normal(0, 2, (3, SIDE, SIDE))
        backscatter = -12 + 1.0 * texture + 10 * np.log10(rng.gamma(20, 1 / 20, (SIDE, SIDE)))
        if changed:
            colour[:, *MINE] = np.array([200, 180, 150])[:, None, None] + rng.normal(0, 25, (3, 30, 40))
            backscatter[MINE] += 8
            backscatter[FLASH] += 9
            colour[:, 40:120, 230:310] = 0
        values = np.clip(np.rint(colour), 1 if not changed else 0, 255).astype(np.uint8)
        write_geotiff(folder / "rgb" / f"{name}_{day}.tif", values, GRID, nodata=0)
        write_geotiff(folder / "s1" / f"{name}_{day}_asc.tif", backscatter[None].astype(np.float32), GRID, nodata=-999)


def test_optical_and_radar_joined(reviewer: Reviewer, tmp_path: Path) -> None:
    picture_and_radar(tmp_path)
    base = reviewer(tmp_path, OUTLINE, "EPSG:32650", PLAIN)
    colour = described(("red", "green", "blue"), scale=1 / 255, unit="brightness")
    rgb = SceneSource(path=tmp_path / "rgb", product="geotiff", sensor="plain", pipeline="rgb", bands=colour)
    radar = SceneSource(
        path=tmp_path / "s1",
        product="geotiff",
        sensor="plain",
        pipeline="sar",
        bands=described(("vv",), unit="decibel"),
        track="ascending 40",
    )
    made = run(
        base.model_copy(update={"sources": (rgb, radar), "joined": ("rgb_sar",), "pipelines": ROOT / "pipelines"})
    )
    assert not made.result.failures
    assert set(made.layer("area_summary").pipeline) == {"rgb", "sar", "rgb_sar"}
    both = touching(made, "patch", MINE)
    assert set(both.pipeline) == {"rgb", "sar", "rgb_sar"}
    # Where the picture holds no data, radar decides alone.
    assert set(touching(made, "patch", FLASH).pipeline) == {"sar", "rgb_sar"}
    joined = made.layer("area_summary").set_index("pipeline").observed_share
    assert joined["rgb_sar"] > joined["rgb"]


def tiny_model(path: Path) -> str:
    """Sum of absolute differences of five bands, averaged over 3 × 3 pixels, as a score."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kinds = onnx.helper, onnx.TensorProto
    shape = [1, 5, None, None]
    inputs = [helper.make_tensor_value_info(name, kinds.FLOAT, shape) for name in ("before", "after")]
    output = helper.make_tensor_value_info("score", kinds.FLOAT, [1, 1, None, None])
    weight = helper.make_tensor("w", kinds.FLOAT, [1, 5, 3, 3], np.full(45, 1 / 9, np.float32))
    nodes = [
        helper.make_node("Sub", ["before", "after"], ["d"]),
        helper.make_node("Abs", ["d"], ["a"]),
        helper.make_node("Conv", ["a", "w"], ["score"], pads=[1, 1, 1, 1]),
    ]
    graph = helper.make_graph(nodes, "tiny", inputs, [output], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    facts = {"output": "score", "reach_px": "1", "stride_px": "1", "fill": "0", "bands": ",".join(FIVE)}
    for name, value in facts.items():
        model.metadata_props.add(key=f"ecowatch.{name}", value=value)
    path.write_bytes(model.SerializeToString())
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
def test_a_model_as_detector(years: Path, reviewer: Reviewer, tmp_path: Path) -> None:
    digest = tiny_model(tmp_path / "tiny.onnx")
    text = shipped_files()["pipelines/bitemporal.toml"].replace('method = "ir_mad"', 'method = "onnx"')
    # Relative: beside the pipeline file.
    text = text.replace("[detect.onnx]", '[detect.onnx]\nmodel = "../tiny.onnx"')
    pipelines = tmp_path / "pipelines"
    pipelines.mkdir()
    (pipelines / "bitemporal.toml").write_text(text.replace('model_sha256 = ""', f'model_sha256 = "{digest}"'), "utf-8")
    review = reviewer(years, OUTLINE, "EPSG:32650", PLAIN, pipelines=pipelines)
    made = run(review)
    assert not made.result.failures
    assert len(touching(made, "patch", MINE)) == 1 and len(touching(made, "patch", FLASH)) == 1
    (pipelines / "bitemporal.toml").write_text(
        text.replace('model_sha256 = ""', f'model_sha256 = "{"0" * 64}"'), "utf-8"
    )
    refused = run(review)
    assert refused.result.exit_code == 3
    assert "MODEL_DIGEST" in str(refused.result.failures[0].error)
    assert refused.layer("area_summary").iloc[0].observed_share == 0
