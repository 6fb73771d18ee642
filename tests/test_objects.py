"""Objects of a store: admitted by their head, read by ranges, refused with a code, and never a key in a message."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ecowatch import objects
from ecowatch.errors import ConfigError, EcowatchError, IntakeError, SceneError, UnavailableError
from ecowatch.grid import Grid, Window
from ecowatch.intake import RASTER_KINDS, VECTOR_KINDS, FileKind, admit, read_json
from ecowatch.objects import ObjectStream, object_path, object_state, objects_under, read_object
from ecowatch.raster import GridReader, Layer, inspect, write_geotiff

from .stores import KEY, SECRET, Store, store

SIDE = 2048
GRID = Grid.from_parts("EPSG:32650", (10.0, 0.0, 4e5, 0.0, -10.0, 4.5e6), (SIDE, SIDE))


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(objects, "FIRST_WAIT_S", 0.01)
    with store(monkeypatch) as made:
        yield made


@pytest.fixture
def root() -> Path:
    """A prefix no other test has: moto's memory is one per process."""
    return Path("s3://scenes") / uuid.uuid4().hex


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    path = tmp_path / "scene.tif"
    values = np.random.default_rng(0).integers(1, 9999, (1, SIDE, SIDE)).astype(np.uint16)
    write_geotiff(path, values, GRID, nodata=0)
    return path


def put(shop: Store, path: Path, data: bytes) -> Path:
    shop.client.put_object(Bucket="scenes", Key="/".join(path.parts[2:]), Body=data)
    shop.requests.clear()
    return path


def layer_of(path: Path, root: Path) -> Layer:
    admitted = admit(path, roots=[root], kinds=RASTER_KINDS)
    info = inspect(admitted)
    assert info.grid is not None
    return Layer(path, admitted.kind.value, admitted.digest, 1, info.grid, info.dtype, info.nodata)


def refused(path: Path, root: Path, code: str) -> str:
    with pytest.raises(EcowatchError, match=code) as caught:
        admit(path, roots=[root], kinds=RASTER_KINDS)
    assert caught.value.code == code
    told = str(caught.value)
    assert SECRET not in told and KEY not in told and "Signature" not in told
    return told


def test_an_object_is_admitted_by_its_head_alone(shop: Store, root: Path, scene: Path) -> None:
    path = put(shop, root / "scene.tif", scene.read_bytes())
    admitted = admit(path, roots=[root], kinds=RASTER_KINDS)
    assert (admitted.kind, admitted.size_bytes) == (FileKind.TIFF, scene.stat().st_size)
    assert len(admitted.digest) == 64
    assert [r[0] for r in shop.requests] == ["HEAD", "GET"]
    assert shop.requests[1][2] == "bytes=0-65535"
    # The same bytes elsewhere are the same scene; other bytes are another.
    twin = put(shop, root / "twin.tif", scene.read_bytes())
    assert admit(twin, roots=[root], kinds=RASTER_KINDS).digest == admitted.digest
    other = put(shop, root / "scene.tif", scene.read_bytes() + b"\0")
    assert admit(other, roots=[root], kinds=RASTER_KINDS).digest != admitted.digest


def test_only_the_blocks_that_are_needed_are_fetched_and_no_sidecar(shop: Store, root: Path, scene: Path) -> None:
    path = put(shop, root / "scene.tif", scene.read_bytes())
    layer = layer_of(path, root)
    local = Layer(scene, "GTiff", layer.digest, 1, layer.grid, layer.dtype, layer.fill)
    shop.requests.clear()
    window = Window(600, 600, 900, 900)
    with GridReader(GRID) as far, GridReader(GRID) as near:
        np.testing.assert_array_equal(far.read([layer], window).values, near.read([local], window).values)
    assert {r[1] for r in shop.requests} == {f"/scenes/{root.name}/scene.tif"}
    spans = [tuple(map(int, r[2].removeprefix("bytes=").split("-"))) for r in shop.asked("GET")]
    fetched = sum(last - first + 1 for first, last in spans)
    # One block of sixteen, the head, and what GDAL rounds up to.
    assert fetched < 0.2 * scene.stat().st_size, spans


def test_json_is_read_from_a_store(shop: Store, root: Path) -> None:
    path = put(shop, root / "item.json", b'{"id": "a"}')
    assert read_json(admit(path, roots=[root], kinds={FileKind.GEOJSON})) == {"id": "a"}


def test_what_lies_under_a_prefix_is_listed_in_order(shop: Store, root: Path) -> None:
    for name in ("b/2.tif", "a.tif", "b/1.tif"):
        put(shop, root / name, b"x")
    put(shop, root.with_name(root.name + "x") / "no.tif", b"x")
    assert list(objects_under(root)) == [root / "a.tif", root / "b/1.tif", root / "b/2.tif"]


def test_a_list_of_many_pages_is_whole(shop: Store, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "PAGE", 3)
    for i in range(10):
        shop.client.put_object(Bucket="scenes", Key=f"{root.name}/{i:04d}", Body=b"")
    assert [p.name for p in objects_under(root)] == [f"{i:04d}" for i in range(10)]
    assert len(shop.asked("GET")) == 4


def test_names_in_chinese_are_signed_and_found(shop: Store, root: Path) -> None:
    path = put(shop, root / "影像 2026+a.json", b"{}")
    assert object_state(path).size_bytes == 2
    assert list(objects_under(root)) == [path]


@pytest.mark.parametrize("keep", [0.3, 0.99])
def test_a_truncated_object_is_told_before_any_pixel_is_read(shop: Store, root: Path, scene: Path, keep: float) -> None:
    data = scene.read_bytes()
    path = put(shop, root / "scene.tif", data[: int(len(data) * keep)])
    assert "s3://scenes/" in refused(path, root, "RASTER_TRUNCATED")


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"", "FILE_EMPTY"), (b"<!DOCTYPE html>", "FILE_KIND"), (b"II*\0", "RASTER_STRUCTURE"), (b"text", "FILE_KIND")],
)
def test_what_only_pretends_is_refused(shop: Store, root: Path, data: bytes, code: str) -> None:
    assert "scene.tif" in refused(put(shop, root / "scene.tif", data), root, code)


def test_polygons_are_not_read_from_a_store(shop: Store, root: Path) -> None:
    path = put(shop, root / "areas.geojson", b'{"type": "FeatureCollection"}')
    with pytest.raises(IntakeError, match=r"FILE_KIND s3://.*: polygons are not read from a store"):
        admit(path, roots=[root], kinds=VECTOR_KINDS)


def test_a_missing_object_is_told(shop: Store, root: Path) -> None:
    assert "no such object" in refused(root / "none.tif", root, "FILE_MISSING")


def test_outside_the_roots_nothing_is_asked(shop: Store, root: Path, tmp_path: Path) -> None:
    refused(Path("s3://scenes/other/scene.tif"), root, "OUTSIDE_ROOTS")
    refused(root.with_name(root.name + "x") / "scene.tif", root, "OUTSIDE_ROOTS")
    refused(root / "scene.tif", tmp_path, "OUTSIDE_ROOTS")
    refused(root / "scene.tif", Path("/"), "OUTSIDE_ROOTS")
    assert shop.requests == []


@pytest.mark.parametrize(
    ("status", "code"),
    [(403, "OBJECT_DENIED"), (401, "OBJECT_DENIED"), (400, "OBJECT_REFUSED"), (301, "OBJECT_REFUSED")],
)
def test_a_refusal_is_not_asked_again(shop: Store, root: Path, status: int, code: str) -> None:
    shop.instead = lambda *_: status
    refused(root / "scene.tif", root, code)
    assert len(shop.requests) == 1


def test_a_busy_store_is_asked_again_a_bounded_number_of_times(shop: Store, root: Path, scene: Path) -> None:
    path = put(shop, root / "scene.tif", scene.read_bytes())
    left = [503, 500]
    shop.instead = lambda *_: left.pop() if left else None
    assert admit(path, roots=[root], kinds=RASTER_KINDS).kind is FileKind.TIFF
    shop.requests.clear()
    shop.instead = lambda *_: 503
    with pytest.raises(UnavailableError, match=r"STORE_UNAVAILABLE s3://.*: HTTP 503, 4 times; .* run again") as caught:
        object_state(path)
    assert caught.value.exit_code == 69 and len(shop.requests) == 4


def test_a_store_that_is_not_there_is_unavailable(shop: Store, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_S3_ENDPOINT", f"127.0.0.1:{free.getsockname()[1]}")
        assert "refused" in refused(root / "scene.tif", root, "STORE_UNAVAILABLE").lower()


def test_an_object_that_is_replaced_while_it_is_read_is_told(shop: Store, root: Path, scene: Path) -> None:
    path = put(shop, root / "scene.tif", scene.read_bytes())
    layer, state = layer_of(path, root), object_state(path)
    put(shop, path, scene.read_bytes()[::-1])
    with pytest.raises(IntakeError, match="FILE_CHANGING"):
        read_object(path, state, 0, 10)
    with pytest.raises((IntakeError, SceneError), match="FILE_CHANGING"), GridReader(GRID) as reader:
        reader.read([layer], Window(0, 0, 10, 10))


def test_a_replaced_object_is_read_anew_by_the_same_process(shop: Store, root: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        write_geotiff(
            tmp_path / "a.tif", np.full((1, 600, 600), number, np.uint16), GRID.cropped(Window(0, 0, 600, 600))
        )
        layer = layer_of(put(shop, root / "a.tif", (tmp_path / "a.tif").read_bytes()), root)
        with GridReader(GRID) as reader:
            assert (reader.read([layer], Window(0, 0, 500, 500)).values == number).all()


def test_keys_come_from_the_environment_alone(
    shop: Store, root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text("[default]\naws_access_key_id=a\naws_secret_access_key=b\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ConfigError, match="STORE_SETTINGS AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY") as caught:
        object_state(root / "a.tif")
    assert caught.value.exit_code == 78 and shop.requests == []
    monkeypatch.setenv("AWS_S3_ENDPOINT", "user:pass@host")
    with pytest.raises(ConfigError, match="STORE_SETTINGS AWS_S3_ENDPOINT") as caught:
        object_state(root / "a.tif")
    assert "pass" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "s3://",
        "s3://b/../c",
        "s3://b/a?x=1",
        "s3://b//a",
        "s3://b/a%2e",
        "http://b/a",
        "/vsis3/b/a",
        "s3://b/a\n",
        "S3://b/a",
    ],
)
def test_only_plain_names_name_objects(text: str) -> None:
    with pytest.raises(IntakeError, match="OBJECT_NAME"):
        object_path(text)


def test_a_stream_reads_what_the_object_holds(shop: Store, root: Path) -> None:
    data = np.random.default_rng(0).bytes(200_000)
    path = put(shop, root / "a.bin", data)
    stream = ObjectStream(path, object_state(path))
    for first, count in ((0, 10), (65_530, 20), (150_000, 9), (199_990, 100), (200_000, 5), (7, 0)):
        assert stream.seek(first) == first
        assert stream.read(count) == data[first : first + count]


def test_a_signature_is_that_of_the_standard() -> None:
    """The example "GET Object" of AWS's description of Signature Version 4, without its range header, by another way."""
    from botocore.auth import S3SigV4Auth  # noqa: PLC0415
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415
    from botocore.credentials import Credentials  # noqa: PLC0415

    made = objects._Store("https", "s3.example.org", "cn-north-1", True, KEY, SECRET, "token")
    ours = objects._signed(made, "GET", "s3.example.org", "/b/k%20y", "list-type=2&prefix=a%2F")
    request = AWSRequest("GET", "https://s3.example.org/b/k%20y?list-type=2&prefix=a%2F", headers={})
    request.context["timestamp"] = ours["x-amz-date"]
    request.headers["X-Amz-Date"] = ours["x-amz-date"]
    request.headers["X-Amz-Content-SHA256"] = ours["x-amz-content-sha256"]
    request.headers["X-Amz-Security-Token"] = "token"
    theirs = S3SigV4Auth(Credentials(KEY, SECRET, "token"), "s3", "cn-north-1")
    text = theirs.canonical_request(request)
    signature = theirs.signature(theirs.string_to_sign(request, text), request)
    assert ours["authorization"].endswith(f"Signature={signature}")
