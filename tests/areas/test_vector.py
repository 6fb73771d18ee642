"""What the rim makes of good and bad files."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from shapely.geometry import Polygon, box

from ecowatch.areas import Area, read_areas
from ecowatch.errors import BoundaryError, ConfigError, EcowatchError, ExitCode, IntakeError
from ecowatch.settings.review import AreaSource

X, Y = 500_000.0, 4_200_000.0
RESERVE = "祁连山国家级自然保护区"


def squares(count: int) -> list[Polygon]:
    return [box(X + i * 2000, Y, X + i * 2000 + 1000, Y + 1000) for i in range(count)]


def read(path: Path, roots: list[Path] | None = None, **fields: object) -> tuple[Area, ...]:
    source = AreaSource.model_validate({"path": path, "id_field": "id", **fields})
    return read_areas(source, roots or [path.parent])


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as base:
        for statement in statements:
            base.execute(statement)
        base.commit()


@pytest.mark.parametrize("encoding", ["GBK", "UTF-8"])
@pytest.mark.parametrize("with_cpg", [True, False])
def test_chinese_shapefile(write, encoding, with_cpg):
    path = write("a.shp", squares(2), id=["1", "2"], 名称=[RESERVE, "白水江"], encoding=encoding)
    if not with_cpg:
        path.with_suffix(".cpg").unlink()
    assert [area.name for area in read(path, name_field="名称")] == [RESERVE, "白水江"]


def test_text_cut_within_a_character(write):
    # 254 bytes hold 84 characters of three bytes and two bytes of the next.
    path = write("a.shp", squares(1), id=["1"], n=[RESERVE * 10], encoding="UTF-8")
    path.with_suffix(".cpg").unlink()
    (area,) = read(path, name_field="n")
    assert area.name.startswith(RESERVE * 7)


def test_encoding_can_be_named_and_unknown_text_is_refused(write):
    path = write("a.shp", squares(1), id=["1"], n=["Málaga ÿ"], encoding="ISO-8859-1")
    path.with_suffix(".cpg").unlink()
    with pytest.raises(BoundaryError, match=r"TEXT_ENCODING .*encoding = "):
        read(path, name_field="n")
    assert read(path, name_field="n", encoding="ISO-8859-1")[0].name == "Málaga ÿ"


def test_file_geodatabase_in_three_degree_zone(write):
    x = 35_500_000.0
    shapes = [box(x, Y, x + 1000, Y + 1000)]
    path = write("保护地.gdb", shapes, crs="EPSG:4523", layer="图斑", id=["1"], n=[RESERVE])
    (area,) = read(path, layer="图斑", name_field="n")
    assert (area.name, area.crs.to_epsg(), area.source) == (RESERVE, 4523, "保护地.gdb")
    assert area.geometry.area == 1_000_000


@pytest.mark.parametrize("stored", [0, 1, 400, 2000, None])
def test_stored_number_of_rows_is_not_believed(write, stored):
    path = write("a.gpkg", [box(X, Y, X + 1, Y + 1)] * 1000, id=[str(i) for i in range(1000)])
    execute(path, f"UPDATE gpkg_ogr_contents SET feature_count = {'NULL' if stored is None else stored}")
    assert len(read(path)) == 1000


def test_layers_are_named_or_refused(write):
    path = write("a.gpkg", squares(1), layer="reserves")
    assert len(read(path)) == 1
    write("a.gpkg", squares(2), layer="lines", append=True)
    with pytest.raises(BoundaryError, match=r"LAYER_UNKNOWN .*2 layers.*reserves, lines"):
        read(path)
    with pytest.raises(BoundaryError, match=r"LAYER_UNKNOWN .*did you mean 'reserves'"):
        read(path, layer="reserve")
    assert len(read(path, layer="lines")) == 2


def test_unknown_field_is_refused(write):
    with pytest.raises(BoundaryError, match=r"FIELD_UNKNOWN .*no field 'id'; did you mean 'ID'"):
        read(write("a.gpkg", squares(1), ID=["1"], other=["x"]))


@pytest.mark.parametrize("layer", ['x"; DROP TABLE ledger;--', "图斑 1", "a:b'c"])
def test_layer_names_are_names(write, layer):
    assert len(read(write("a.gpkg", squares(1), layer=layer))) == 1


def test_missing_file_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError, match="PATH_MISSING") as caught:
        read(tmp_path / "nowhere.gpkg")
    assert caught.value.exit_code is ExitCode.BAD_CONFIG


def test_file_outside_the_roots_is_refused(write, tmp_path):
    path = write("a.gpkg", squares(1))
    inner = tmp_path / "inner"
    inner.mkdir()
    with pytest.raises(IntakeError, match="OUTSIDE_ROOTS"):
        read(inner / ".." / "a.gpkg", roots=[inner])
    (inner / "link.gpkg").symlink_to(path)
    with pytest.raises(IntakeError, match="OUTSIDE_ROOTS"):
        read(inner / "link.gpkg", roots=[inner])


VRT = "<OGRVRTDataSource><OGRVRTLayer name='a'><SrcDataSource>{}</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>"


def test_ogr_vrt_under_another_name_is_refused(write, tmp_path):
    secret = write("a.gpkg", squares(1))
    disguised = tmp_path / "b.geojson"
    disguised.write_text(VRT.format(secret))
    with pytest.raises(IntakeError, match="FILE_KIND"):
        read(disguised)


def test_json_that_carries_an_ogr_vrt_stays_json(write, tmp_path):
    secret = write("a.gpkg", squares(1))
    disguised = tmp_path / "b.geojson"
    disguised.write_text(json.dumps({"type": "FeatureCollection", "features": [], "x": VRT.format(secret)}))
    with pytest.raises(EcowatchError, match=r"b\.geojson"):
        read(disguised)
    disguised.write_text('{"x": "' + VRT.format(secret))
    with pytest.raises(BoundaryError, match="VECTOR_UNREADABLE"):
        read(disguised)


@pytest.mark.parametrize("part", [".dbf", ".shx"])
def test_shapefile_without_a_part_is_refused(write, part):
    path = write("a.shp", squares(1))
    path.with_suffix(part).unlink()
    with pytest.raises(IntakeError, match=f"SHAPEFILE_INCOMPLETE .*a{part}"):
        read(path)


def test_shapefile_whose_parts_disagree_is_refused(write, tmp_path):
    path, other = write("a.shp", squares(3)), write("b.shp", squares(2))
    shutil.copy(other.with_suffix(".dbf"), path.with_suffix(".dbf"))
    with pytest.raises(BoundaryError, match=r"VECTOR_UNREADABLE .*3 shapes.* 2 rows"):
        read(path)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", ["a.gpkg", "a.geojson", "a.shp", "a.gdb"])
def test_cut_files_give_a_named_error(write, name, share):
    path = write(name, squares(3000), id=[str(i) for i in range(3000)])
    victim = max(path.iterdir(), key=lambda p: p.stat().st_size) if path.is_dir() else path
    os.truncate(victim, int(victim.stat().st_size * share))
    with pytest.raises(EcowatchError, match=name.replace(".", r"\.")):
        read(path)


def test_flipped_pages_give_a_named_error(write):
    path = write("a.gpkg", squares(3000), id=[str(i) for i in range(3000)])
    content = bytearray(path.read_bytes())
    content[8192 : len(content) : 4096] = bytes(byte ^ 0xFF for byte in content[8192 : len(content) : 4096])
    path.write_bytes(content)
    with pytest.raises(BoundaryError, match=r"VECTOR_UNREADABLE .*a\.gpkg.*(damaged|malformed)"):
        read(path)


def test_view_as_layer_is_refused_and_not_run(write):
    path = write("a.gpkg", squares(1), layer="a")
    bomb = "SELECT t.*, (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n) AS k FROM t"
    execute(path, "ALTER TABLE a RENAME TO t", f"CREATE VIEW a AS {bomb}")
    with pytest.raises(BoundaryError, match="ACTIVE_CONTENT"):
        read(path)


def test_register_as_view_is_refused(write):
    path = write("a.gpkg", squares(1))
    execute(path, "ALTER TABLE gpkg_extensions RENAME TO e", "CREATE VIEW gpkg_extensions AS SELECT * FROM e")
    with pytest.raises(BoundaryError, match="ACTIVE_CONTENT"):
        read(path)


def test_other_sqlite_databases_are_refused(tmp_path):
    path = tmp_path / "a.gpkg"
    execute(path, "CREATE TABLE a (id)")
    with pytest.raises(BoundaryError, match="no GeoPackage"):
        read(path)


def test_geopackage_in_use_is_refused(write):
    path = write("a.gpkg", squares(1))
    path.with_name("a.gpkg-wal").write_bytes(b"changes")
    with pytest.raises(BoundaryError, match="GPKG_IN_USE"):
        read(path)


def test_empty_layer_is_refused(write):
    path = write("a.gpkg", squares(1))
    with closing(sqlite3.connect(path)) as base:
        base.execute("DROP TRIGGER rtree_a_geom_delete")
        base.execute("DELETE FROM a")
        base.commit()
    with pytest.raises(BoundaryError, match="NO_ROWS"):
        read(path)


def test_a_geojson_without_features_is_an_empty_layer(tmp_path):
    """It has no fields either, and none is to blame."""
    path = tmp_path / "a.geojson"
    path.write_text('{"type": "FeatureCollection", "features": []}')
    with pytest.raises(BoundaryError, match="NO_ROWS"):
        read(path)


def test_nan_in_geojson_is_refused(tmp_path):
    path = tmp_path / "a.geojson"
    ring = "[[103,36],[104,36],[NaN,37],[103,36]]"
    path.write_text(
        '{"type":"FeatureCollection","features":[{"type":"Feature","properties":{"id":"1"},'
        f'"geometry":{{"type":"Polygon","coordinates":[{ring}]}}}}]}}'
    )
    with pytest.raises(BoundaryError, match=r"COORDINATES_NAN .*row 1"):
        read(path)


def test_deep_json_is_refused(tmp_path):
    path = tmp_path / "a.geojson"
    deep = "[" * 100_000 + "]" * 100_000
    path.write_text(f'{{"type":"Feature","properties":{{}},"geometry":{{"type":"Polygon","coordinates":{deep}}}}}')
    with pytest.raises(BoundaryError, match="VECTOR_UNREADABLE"):
        read(path)


def test_damaged_text_is_told_as_damage(write):
    path = write("a.gpkg", squares(1), id=["1"], n=["reserve"])
    path.write_bytes(path.read_bytes().replace(b"reserve", b"res\xffrve"))
    with pytest.raises(BoundaryError, match=r"VECTOR_UNREADABLE .*a\.gpkg"):
        read(path, name_field="n")


def test_wrong_cpg_is_told(write):
    path = write("a.shp", squares(1), id=["1"], n=[RESERVE], encoding="GBK")
    path.with_suffix(".cpg").write_text("UTF-8")
    with pytest.raises(BoundaryError, match=r"TEXT_ENCODING .*encoding = "):
        read(path, name_field="n")
    assert read(path, name_field="n", encoding="GB18030")[0].name == RESERVE
