"""A whole review of scenes in an S3-compatible store: the same patches as from files, few requests, no keys anywhere."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import shapely

from ecowatch import objects
from ecowatch.errors import UnavailableError
from ecowatch.grid import BLOCK_PX, Grid
from ecowatch.raster import write_geotiff
from ecowatch.review import run_review, standing
from ecowatch.scenes import find_scenes
from ecowatch.settings import Cluster, Review, SceneSource

from ..stores import KEY, SECRET, Store, store
from .conftest import Reviewer, Run, demo_review, run


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(objects, "FIRST_WAIT_S", 0.01)
    with store(monkeypatch) as made:
        yield made


def uav_review(sample: Path, runs: Path) -> Review:
    made = demo_review(sample, runs)
    return made.model_copy(update={"sources": made.sources[1:]})


@pytest.fixture(scope="module")
def near(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(uav_review(sample, tmp_path_factory.mktemp("near")))


def in_store(review: Review, prefix: str) -> Review:
    (source,) = review.sources
    moved = source.model_copy(update={"path": Path(f"s3://scenes/{prefix}")})
    return review.model_copy(update={"sources": (moved,), "roots": (*review.roots, Path(f"s3://scenes/{prefix}"))})


def test_a_review_from_a_store_equals_that_from_files(shop: Store, near: Run, sample: Path, tmp_path: Path) -> None:
    prefix = uuid.uuid4().hex
    shop.put("scenes", sample / "uav", f"{prefix}/")
    far = run(in_store(uav_review(sample, tmp_path / "runs"), prefix))
    assert far.result.failures == () and len(far.layer()) > 0
    for layer in ("patch", "suppressed", "not_observed"):
        a, b = near.layer(layer), far.layer(layer)
        assert [g.wkb for g in a.geometry] == [g.wkb for g in b.geometry]
        assert a.drop(columns="geometry").to_csv() == b.drop(columns="geometry").to_csv()
    names = sorted(f"/scenes/{prefix}/{path.name}" for path in (sample / "uav").iterdir())
    asked = {r[1].split("?")[0] for r in shop.requests}
    # The list of the prefix and the scenes themselves: no sidecar, no neighbour.
    assert asked in ({"/scenes", *names}, {"/scenes/", *names})
    written = b"".join(p.read_bytes() for p in (tmp_path / "runs").rglob("*") if p.is_file())
    assert SECRET.encode() not in written and KEY.encode() not in written
    # Known by ETag, size and version: another identity than the bytes' own.
    assert set(far.record["scenes"].values()).isdisjoint(near.record["scenes"].values())


def test_a_store_that_does_not_answer_stops_the_review_with_69(shop: Store, sample: Path, tmp_path: Path) -> None:
    prefix = uuid.uuid4().hex
    shop.put("scenes", sample / "uav", f"{prefix}/")
    shop.instead = lambda method, _: 503 if method == "HEAD" else None
    with pytest.raises(UnavailableError, match="STORE_UNAVAILABLE s3://scenes/") as caught:
        run(in_store(uav_review(sample, tmp_path / "runs"), prefix))
    assert caught.value.exit_code == 69


def tall_scenes(folder: Path) -> Path:
    """Two dates of a strip of six blocks: what one tile reads, the last tile does not."""
    folder.mkdir()
    grid = Grid.from_parts("EPSG:32650", (10, 0, 600_000, 0, -10, 3_400_000), (6 * BLOCK_PX, 200))
    rng = np.random.default_rng(3)
    ground = rng.normal(1500, 200, (3, *grid.shape))
    for day, built in (("20250420", 0), ("20260425", 2500)):
        values = ground + rng.normal(0, 15, ground.shape)
        values[:, 100::BLOCK_PX, 60:120] += built
        write_geotiff(folder / f"s_{day}.tif", np.clip(values, 1, 9999).astype(np.uint16), grid, nodata=0)
    return folder


@pytest.mark.parametrize("dead", [("HEAD", "GET"), ("GET",)], ids=["wholly", "but for HEAD"])
def test_a_store_that_dies_among_the_tiles_stops_the_review_with_69_and_it_is_taken_up(
    shop: Store, reviewer: Reviewer, tmp_path: Path, dead: tuple[str, ...]
) -> None:
    prefix = uuid.uuid4().hex
    scenes = tall_scenes(tmp_path / "scenes")
    shop.put("scenes", scenes, f"{prefix}/")
    outline = shapely.box(600_000, 3_400_000 - 60 * BLOCK_PX, 602_000, 3_400_000)
    bands = [{"role": r, "index": i, "scale": 1e-4} for i, r in enumerate(("red", "green", "blue"), 1)]
    source = {"product": "geotiff", "sensor": "plain", "bands": bands}
    review = in_store(reviewer(scenes, outline, "EPSG:32650", source), prefix)
    cluster = Cluster(scheduler="threads", workers=1, tile_px=BLOCK_PX)

    def stop(*_: object) -> None:
        # The fit reads every block, and its thread keeps them: the tiles shall be another thread's.
        raise SystemExit(75)

    with pytest.raises(SystemExit):
        run_review(review, cluster, progress=stop)
    told: list[str] = []

    def die(_: str, step: str, done: int, __: int) -> None:
        told.append(step)
        if done == 1:
            shop.instead = lambda method, _: 503 if method in dead else None

    with pytest.raises(UnavailableError, match=r"STORE_UNAVAILABLE s3://scenes/.*\.tif: HTTP 503") as caught:
        run_review(review, cluster, progress=die)
    assert caught.value.exit_code == 69 and 1 <= told.count("tile") == len(told) < 6
    stopped = standing(review.runs / review.name)
    assert (stopped["state"], stopped["exit_code"], stopped["failures"]) == ("stopped", 69, [])
    assert stopped["error"] == str(caught.value) and stopped["stages"]["tile"]["left"] == 6 - len(told)
    shop.instead = lambda *_: None
    resumed = Run(run_review(review, cluster))
    assert resumed.result.failures == () and resumed.result.tasks["tile"]["skipped"] == len(told)
    undisturbed = Run(run_review(review.model_copy(update={"runs": tmp_path / "other"}), cluster))
    assert resumed.digest == undisturbed.digest


def test_one_object_that_is_denied_is_quarantined_and_the_others_serve(
    shop: Store, sample: Path, tmp_path: Path
) -> None:
    prefix = uuid.uuid4().hex
    shutil.copytree(sample / "uav", tmp_path / "uav")
    shutil.copy(sample / "uav" / "uav_20260512.tif", tmp_path / "uav" / "late_20260601.tif")
    shop.put("scenes", tmp_path / "uav", f"{prefix}/")
    shop.instead = lambda _, path: 403 if "late" in path else None
    review = in_store(uav_review(sample, tmp_path / "runs"), prefix)
    catalog = find_scenes(review.sources[0], review.roots)
    assert [(q.code, q.where) for q in catalog.quarantined] == [
        ("OBJECT_DENIED", f"s3:/scenes/{prefix}/late_20260601.tif")
    ]
    assert len(catalog.scenes) == 2


def items(hrefs: dict[str, str], folder: Path) -> Path:
    folder.mkdir(parents=True)
    for day, href in hrefs.items():
        asset = {
            "href": href,
            "eo:bands": [{"name": n, "common_name": n} for n in ("red", "green", "blue")],
            "file:checksum": "1220" + "ab" * 32,
        }
        properties = {"datetime": f"{day}T04:00:00Z"}
        document = {"type": "Feature", "id": f"uav_{day}", "properties": properties, "assets": {"image": asset}}
        (folder / f"{day}.json").write_text(json.dumps(document))
    return folder


def test_stac_links_lead_into_a_store_under_a_root_only(shop: Store, sample: Path, tmp_path: Path) -> None:
    prefix = uuid.uuid4().hex
    shop.put("scenes", sample / "uav", f"{prefix}/images/")
    base = f"s3://scenes/{prefix}/images"
    hrefs = {"2025-05-10": f"{base}/uav_20250510.tif", "2026-05-12": f"{base}/uav_20260512.tif"}
    local = items(hrefs, tmp_path / "items")
    source = SceneSource(path=local, product="stac", sensor="uav_rgb")
    root = Path(f"s3://scenes/{prefix}")
    found = find_scenes(source, [tmp_path, root])
    assert [s.scene_id for s in found.scenes] == ["uav_2025-05-10", "uav_2026-05-12"], found.quarantined
    assert all(s.notes[0].startswith("CHECKSUM_NOT_READ") for s in found.scenes)
    shop.requests.clear()
    for roots in ([tmp_path], [tmp_path, Path("s3://scenes/other")]):
        assert {q.code for q in find_scenes(source, roots).quarantined} == {"HREF_NOT_ALLOWED"}
    assert shop.requests == []
    # The items may lie in the store too, with links relative to them or in full.
    inside = items({"2025-05-10": "../images/uav_20250510.tif", "2026-05-12": hrefs["2026-05-12"]}, tmp_path / "inside")
    shop.put("scenes", inside, f"{prefix}/items/")
    there = SceneSource(path=root / "items", product="stac", sensor="uav_rgb")
    assert [s.digest for s in find_scenes(there, [root]).scenes] == [s.digest for s in found.scenes]
    for name in ("../../other/a.tif", "/images/a.tif", "http://a/b.tif", "/vsis3/scenes/a.tif", "a%2e.tif", ""):
        bad = items({"2025-05-10": name}, tmp_path / uuid.uuid4().hex)
        where = uuid.uuid4().hex
        shop.put("scenes", bad, f"{prefix}/{where}/")
        (refused,) = find_scenes(there.model_copy(update={"path": root / where}), [root]).quarantined
        assert refused.code == "HREF_NOT_ALLOWED", name


def test_products_of_many_files_are_not_read_from_a_store() -> None:
    source = SceneSource(path=Path("s3://scenes/safe"), product="safe")
    with pytest.raises(ValueError, match="PRODUCT_LOCAL s3://scenes/safe"):
        find_scenes(source, [Path("s3://scenes")])
