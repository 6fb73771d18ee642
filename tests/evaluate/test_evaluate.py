"""A folder never seen before: simulated places in the registry's layout, judged by the command itself."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from typer.testing import CliRunner

from ecowatch.cli import app
from ecowatch.errors import EcowatchError
from ecowatch.evaluate import LabelledPair, SensorClass, evaluate, read_registry
from ecowatch.evaluate.registry import places, sensor_class
from ecowatch.settings import shipped_pipelines

SIX = ["blue", "green", "red", "nir", "swir1", "swir2"]
SIDE = 160
KEYS = ["set", "pair", "family", "f1", "iou", "kappa", "oa", "object_recall", "flagged_share"]
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def write(path: Path, values: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    bands, rows, cols = values.shape
    profile = {"driver": "GTiff", "dtype": values.dtype, "count": bands, "height": rows, "width": cols}
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(values)


def ground(seed: int, bands: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    fields = rng.uniform(0.1, 0.5, (bands, 10, 10)).repeat(SIDE // 10, axis=1).repeat(SIDE // 10, axis=2)
    result: np.ndarray[Any, Any] = fields + rng.normal(0, 0.01, fields.shape)
    return result


def entry(set_name: str, pair: str, **more: Any) -> dict[str, Any]:
    return {
        "set": set_name,
        "pair": pair,
        "family": set_name,
        "score": "pixels",
        "natural": False,
        "dtype": "uint8",
    } | more


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A changed six-band pair, an unchanged one, a list of date pairs of one place, and entries that cannot be read."""
    root = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(7)
    before = ground(1, 6)
    quiet = before * 1.1 + 0.02 + rng.normal(0, 0.01, before.shape)
    changed = quiet.copy()
    label = np.zeros((SIDE, SIDE), np.uint8)
    label[40:70, 50:90] = 1
    label[:5] = 255
    changed[:, label == 1] = np.array([0.5, 0.55, 0.6, 0.62, 0.7, 0.72])[:, None] + rng.normal(0, 0.01, (6, 1200))

    def eight(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)

    for set_name, pair, after, truth in (("ms", "new", changed, label), ("ms", "still", quiet, label * 0)):
        write(root / set_name / f"{pair}_t1.tif", eight(before))
        write(root / set_name / f"{pair}_t2.tif", eight(after))
        write(root / set_name / f"{pair}_label.tif", truth[None])
    scl = np.full((1, SIDE, SIDE), 4)
    for day in ("2020-05-01", "2021-05-04", "2022-05-02"):
        image = np.clip((before + rng.normal(0, 0.01, before.shape)) * 65535, 0, 65535)
        write(root / "series" / f"pit_{day}.tif", np.concatenate([image, scl]).astype(np.uint16))
    write(root / "ms" / "gone_t1.tif", eight(before))
    # Reflectance as floats, four bands, and a pair that nobody labelled because nothing changed.
    for pair, after in (("floats", changed), ("quiet_floats", quiet)):
        write(root / "gf" / f"{pair}_t1.tif", before[:4].astype(np.float32))
        write(root / "gf" / f"{pair}_t2.tif", after[:4].astype(np.float32))
        write(root / "gf" / f"{pair}_label.tif", label[None])
    registry = [
        entry("ms", "new", kind="multispectral", bands=SIX, resolution_m=30, date_t1="2020-05-01", date_t2="?"),
        entry("ms", "still", kind="multispectral", bands=SIX, resolution_m=None),
        entry("ms", "gone", kind="multispectral", bands=SIX, resolution_m=30),
        entry("ms", "odd", score="beauty"),
        entry("gf", "floats", bands=SIX[:4], dtype="float32", resolution_m=8),
        entry("gf", "quiet_floats", bands=SIX[:4], dtype="float32", score="flagged_share"),
        entry("mix", "lake", kind="heterogeneous", bands={"t1": ["gray"], "t2": ["b1", "b2", "b3"]}),
        entry(
            "series",
            "pit_same",
            score="flagged_share",
            bands=[*SIX, "scl"],
            files="series/pit_{date}.tif",
            scale=1 / 65535,
            date_pairs=[["2020-05-01", "2021-05-04"], ["2021-05-04", "2022-05-02"]],
        ),
    ]
    (root / "registry.json").write_text(json.dumps(registry))
    return root


def test_command_gives_one_object_per_pair(folder: Path) -> None:
    made = CliRunner().invoke(app, ["evaluate", str(folder), "--json"])
    assert made.exit_code == 3, made.output
    rows = {row["pair"]: row for row in json.loads(made.stdout)}
    assert set(rows) == {"new", "still", "gone", "lake", "pit_same", "floats", "quiet_floats"}
    assert all(list(row) == KEYS for row in rows.values())
    assert rows["new"]["f1"] > 0.95 and rows["new"]["kappa"] > 0.9 and rows["new"]["object_recall"] is None
    assert rows["still"]["f1"] is None and rows["still"]["flagged_share"] < 0.002
    assert rows["floats"]["f1"] > 0.95 and rows["quiet_floats"]["flagged_share"] < 0.002
    assert rows["pit_same"]["flagged_share"] < 0.002 and rows["pit_same"]["oa"] is None
    assert rows["gone"]["f1"] is None and rows["lake"]["f1"] is None
    for told in ("gone_t2.tif", "beauty", "NO_METHOD"):
        assert told in made.stderr


def test_page_holds_baselines_versions_and_digests(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "accuracy.md"
    made = CliRunner().invoke(app, ["evaluate", str(folder), "--out", str(page)])
    assert made.exit_code == 3
    text = page.read_text("utf-8")
    assert "CVA + Otsu" in text and "| ms | new | **bitemporal** |" in text
    assert shipped_pipelines()["bitemporal"].digest()[:16] in text and "numba" in text
    assert date.today().year == int(text.split("Measured on ")[1][:4])


@pytest.mark.slow
def test_twice_the_same(folder: Path) -> None:
    first, second = (evaluate(folder, shipped_pipelines(), baselines=True) for _ in range(2))
    assert first == second


def test_a_folder_without_registry_is_refused(tmp_path: Path) -> None:
    made = CliRunner().invoke(app, ["evaluate", str(tmp_path)])
    assert made.exit_code == 65
    assert "registry.json" in made.stderr


def test_a_date_pair_that_has_no_file_is_named(folder: Path) -> None:
    registry = json.loads((folder / "registry.json").read_text())
    registry[-1]["date_pairs"] = [["2020-05-01", "2030-01-01"]]
    other = folder / "sub"
    other.mkdir(exist_ok=True)
    (other / "registry.json").write_text(json.dumps(registry[-1:]))
    (other / "series").mkdir(exist_ok=True)
    found = read_registry(other)
    assert isinstance(found[0], EcowatchError) and "pit_same" in str(found[0])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"bands": SIX, "kind": "multispectral"}, SensorClass.MULTISPECTRAL),
        ({"bands": ["red", "green", "blue"], "resolution_m": 10}, SensorClass.DISPLAY_RGB),
        ({"bands": ["red", "green", "blue"], "resolution_m": None}, SensorClass.VHR_RGB),
        ({"bands": ["red", "green", "blue"], "resolution_m": 0.2}, SensorClass.AERIAL_RGB),
        (
            {"bands": ["red", "green", "blue"], "crs": "EPSG:4326", "transform": [9e-5, 0, 0, 0, -9e-5, 0]},
            SensorClass.DISPLAY_RGB,
        ),
        ({"bands": ["VV_dB_x100"], "kind": "sar"}, SensorClass.SAR),
        ({"bands": ["amplitude"], "kind": "sar"}, SensorClass.SAR),
        ({"bands": {"t1": ["gray"], "t2": ["b1"]}}, SensorClass.HETEROGENEOUS),
    ],
)
def test_sensor_class(fields: dict[str, Any], expected: SensorClass) -> None:
    assert sensor_class(fields)[0] is expected


def test_optical_and_radar_of_one_place_are_joined(shared_data: Path) -> None:
    pairs = [p for p in read_registry(shared_data / "bitemporal") if isinstance(p, LabelledPair)]
    assert len(pairs) == 46
    joined = {(o.set_name, o.name): [r.name for r in radar] for o, radar in places(pairs)}
    assert joined["s2rgb_oscd", "dubai"] == ["dubai_orbit130", "dubai_orbit166"]
    assert joined["s2rgb_oscd", "abudhabi"] == ["abudhabi_orbit130"]
