"""The one door in: what is refused, and how the refusal reads."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from ecowatch.errors import IntakeError
from ecowatch.grid import Grid
from ecowatch.intake import RASTER_KINDS, VECTOR_KINDS, FileKind, admit, read_json, read_xml
from ecowatch.raster import inspect, write_geotiff


@pytest.fixture
def tif(tmp_path: Path) -> Path:
    path = tmp_path / "scene.tif"
    values = np.random.default_rng(0).integers(1, 9999, (2, 700, 600)).astype(np.uint16)
    write_geotiff(path, values, Grid.from_parts("EPSG:32650", (10, 0, 3e5, 0, -10, 4e6), (700, 600)), nodata=0)
    return path


def refused(path: Path, root: Path, code: str, kinds: frozenset[FileKind] = RASTER_KINDS) -> str:
    with pytest.raises(IntakeError, match=code) as caught:
        admit(path, roots=[root], kinds=kinds)
    told = caught.value
    assert told.code == code and told.where and told.finding and told.remedy
    return str(told)


def test_a_sound_file_is_admitted_with_its_digest(tif: Path) -> None:
    admitted = admit(tif, roots=[tif.parent], kinds=RASTER_KINDS)
    assert (admitted.kind, admitted.size_bytes) == (FileKind.TIFF, tif.stat().st_size)
    assert len(admitted.digest) == 64


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "FILE_EMPTY"),
        (b"<!DOCTYPE html><html>log in</html>", "FILE_KIND"),
        (b"<VRTDataset rasterXSize='1' rasterYSize='1'/>", "FILE_KIND"),
        (b"<GDAL_WMS></GDAL_WMS>", "FILE_KIND"),
        (b"SQLite format 3\0" + bytes(100), "FILE_KIND"),
        (b"not an image", "FILE_KIND"),
        (b"II*\0", "RASTER_STRUCTURE"),
        (b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 60000), "RASTER_STRUCTURE"),
        (b"MM\0+" + bytes(12), "RASTER_STRUCTURE"),
    ],
)
def test_what_only_pretends_is_refused(tmp_path: Path, content: bytes, code: str) -> None:
    path = tmp_path / "scene.tif"
    path.write_bytes(content)
    assert "scene.tif" in refused(path, tmp_path, code)


def test_a_login_page_is_called_one(tmp_path: Path) -> None:
    path = tmp_path / "scene.tif"
    path.write_bytes(b"  <!DOCTYPE html><html></html>")
    assert "HTML page" in refused(path, tmp_path, "FILE_KIND")


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.99])
def test_a_cut_off_download_is_told_before_any_pixel_is_read(tif: Path, keep: float) -> None:
    data = tif.read_bytes()
    tif.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(IntakeError, match=r"RASTER_(TRUNCATED|STRUCTURE)"):
        admit(tif, roots=[tif.parent], kinds=RASTER_KINDS)


def test_every_byte_of_the_directory_may_lie(tif: Path) -> None:
    """Any damage of the directory ends in an IntakeError or in a file that is still read: never in another exception."""
    data = bytearray(tif.read_bytes())
    start = struct.unpack("<I", data[4:8])[0]
    rng = np.random.default_rng(5)
    for _ in range(300):
        spoiled = bytearray(data)
        spoiled[start + int(rng.integers(0, 200))] = int(rng.integers(0, 256))
        tif.write_bytes(spoiled)
        try:
            admit(tif, roots=[tif.parent], kinds=RASTER_KINDS)
        except IntakeError as error:
            assert error.code.startswith("RASTER_")


def test_a_million_pixels_a_side_is_a_bomb(tmp_path: Path) -> None:
    entries = [(256, 4, 1, 1_000_000), (257, 4, 1, 1_000_000), (273, 4, 1, 8), (279, 4, 1, 8)]
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries)
    path = tmp_path / "bomb.tif"
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + body)
    assert "200000 a side" in refused(path, tmp_path, "RASTER_TOO_LARGE")


def test_links_out_of_the_roots_are_followed_and_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    secret = tmp_path / "secret.tif"
    secret.write_bytes(b"II*\0")
    link = tmp_path / "in" / "scene.tif"
    link.symlink_to(secret)
    # The message names the file that the link leads to.
    assert str(secret) in refused(link, tmp_path / "in", "OUTSIDE_ROOTS")
    assert "secret.tif" in refused(tmp_path / "in" / ".." / "secret.tif", tmp_path / "in", "OUTSIDE_ROOTS")
    assert "none.tif" in refused(tmp_path / "none.tif", tmp_path, "FILE_MISSING")
    assert "NUL byte" in refused(Path("a\0b"), tmp_path, "FILE_MISSING")


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tif")
    assert "pipe.tif" in refused(tmp_path / "pipe.tif", tmp_path, "NOT_A_FILE")


def test_a_shapefile_needs_its_parts(tmp_path: Path) -> None:
    path = tmp_path / "areas.shp"
    path.write_bytes(b"\0\0\x27\x0a" + bytes(96))
    assert "areas.shx, areas.dbf" in refused(path, tmp_path, "SHAPEFILE_INCOMPLETE", VECTOR_KINDS)


def test_sidecars_change_nothing(tif: Path) -> None:
    before = inspect(admit(tif, roots=[tif.parent], kinds=RASTER_KINDS))
    tif.with_suffix(".tif.aux.xml").write_text(
        "<PAMDataset><SRS>EPSG:3857</SRS><PAMRasterBand band='1'><NoDataValue>777</NoDataValue></PAMRasterBand></PAMDataset>"
    )
    tif.with_suffix(".tfw").write_text("1\n0\n0\n-1\n0\n0\n")
    assert inspect(admit(tif, roots=[tif.parent], kinds=RASTER_KINDS)) == before


@pytest.mark.parametrize(
    "text",
    ['{"a": 1, "a": 2}', '{"a": NaN}', "[" * 100 + "]" * 100, "{", "[" * 100_000],
    ids=["twice", "nan", "deep", "open", "very deep"],
)
def test_hostile_json_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "item.json"
    path.write_text(text)
    admitted = admit(path, roots=[tmp_path], kinds={FileKind.GEOJSON})
    with pytest.raises(IntakeError, match="JSON_INVALID"):
        read_json(admitted)


@pytest.mark.parametrize(
    "text",
    [
        "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
        "<a><b></a>",
    ],
)
def test_hostile_xml_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "MTD.xml"
    path.write_text(text)
    admitted = admit(path, roots=[tmp_path], kinds={FileKind.XML})
    with pytest.raises(IntakeError, match="XML_INVALID"):
        read_xml(admitted)


def test_real_broken_tiffs_end_in_a_coded_error_or_are_read(shared_data: Path) -> None:
    files = sorted((shared_data / "hostile").rglob("*.tif*"))
    assert files
    outcomes = set()
    for path in files:
        try:
            admit(path, roots=[shared_data], kinds=RASTER_KINDS)
            outcomes.add("admitted")
        except IntakeError as error:
            assert str(path.name) in str(error)
            outcomes.add(error.code)
    assert {"admitted", "RASTER_STRUCTURE"} <= outcomes
