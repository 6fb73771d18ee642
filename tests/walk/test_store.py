"""A whole review of scenes in an S3-compatible store: the same patches as from files, few requests, no keys anywhere."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecowatch import objects
from ecowatch.errors import UnavailableError
from ecowatch.scenes import find_scenes
from ecowatch.settings import Review, SceneSource

from ..stores import KEY, SECRET, Store, store
from .conftest import Run, demo_review, run


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
