"""Write simulated scenes as agencies deliver them: Sentinel-2 L2A SAFE and Landsat Collection 2."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from affine import Affine

from ..errors import GridError
from ..grid import Grid
from ..raster import write_geotiff, write_jp2
from .fields import block_mean
from .sky import coarser_classes, hidden_by

Array = np.ndarray[Any, Any]

_S2_BANDS = {
    "blue": ("B02", 10),
    "green": ("B03", 10),
    "red": ("B04", 10),
    "nir": ("B08", 10),
    "swir1": ("B11", 20),
    "swir2": ("B12", 20),
}
_LANDSAT_BANDS = {"blue": 2, "green": 3, "red": 4, "nir": 5, "swir1": 6, "swir2": 7}
_LANDSAT_SCALE, _LANDSAT_OFFSET = 2.75e-5, -0.2
_S2_BAND_COUNT = 13


def write_safe(  # noqa: PLR0913 - what a product is named after
    folder: Path,
    bands: Mapping[str, Array],
    scl: Array,
    grid: Grid,
    acquired: datetime,
    *,
    tile: str = "50RNV",
    platform: str = "S2B",
    baseline: str = "05.11",
    offset_in_metadata: int | None = -1000,
    offset_in_pixels: int = 1000,
) -> Path:
    """Write a small but structurally right Sentinel-2 L2A product tree.

    Parameters
    ----------
    folder
        Where the ``.SAFE`` folder goes.
    bands
        uint16 by role, reflectance × 10000, 0 is fill; ``(row, col)`` of `grid`, 20 m bands also of half.
    scl
        uint8 scene classes, on `grid` or on half of it; 0 is fill.
    grid
        10 m grid with even numbers of rows and columns.
    acquired
        Sensing time, with a time zone.
    tile, platform, baseline
        Parts of the name.
    offset_in_metadata
        BOA_ADD_OFFSET of all bands; None leaves the list out, as products before baseline 04.00 do.
    offset_in_pixels
        What is added to the numbers. True products have ``offset_in_pixels == -offset_in_metadata``; others
        are for tests.

    Returns
    -------
    Path
        The ``.SAFE`` folder.
    """
    start = acquired.astimezone(UTC)
    stamp, made = f"{start:%Y%m%dT%H%M%S}", f"{start + timedelta(hours=4):%Y%m%dT%H%M%S}"
    number = baseline.replace(".", "")
    safe = folder / f"{platform}_MSIL2A_{stamp}_N{number}_R032_T{tile}_{made}.SAFE"
    granule = f"GRANULE/L2A_T{tile}_A042000_{stamp}"
    images = []
    half = _half_grid(grid)
    for role, values in bands.items():
        band, metres = _S2_BANDS[role]
        data = values if metres == 10 else _halved(values, grid)
        numbers = np.where(data > 0, np.clip(data.astype(np.int32) + offset_in_pixels, 1, 65534), 0).astype(np.uint16)
        images.append(f"{granule}/IMG_DATA/R{metres}m/T{tile}_{stamp}_{band}_{metres}m")
        write_jp2(safe / f"{images[-1]}.jp2", numbers, grid if metres == 10 else half)
    images.append(f"{granule}/IMG_DATA/R20m/T{tile}_{stamp}_SCL_20m")
    classes = coarser_classes(scl) if scl.shape == grid.shape else scl
    write_jp2(safe / f"{images[-1]}.jp2", classes, half)
    cloud = 100 * float(hidden_by(classes).mean())
    product = _product_xml(safe.name, start, baseline, images, offset_in_metadata, cloud)
    (safe / "MTD_MSIL2A.xml").write_text(product, "utf-8")
    (safe / granule / "MTD_TL.xml").write_text(_tile_xml(grid, start, tile), "utf-8")
    return safe


def _half_grid(grid: Grid) -> Grid:
    rows, cols = grid.shape
    if rows % 2 or cols % 2:
        raise GridError("ODD_SHAPE", "simulated scene", f"{rows} × {cols} pixels", "20 m bands want even numbers")
    return Grid.from_parts(grid.crs, grid.transform * Affine.scale(2), (rows // 2, cols // 2))


def _halved(values: Array, grid: Grid) -> Array:
    if values.shape != grid.shape:
        return values
    whole = block_mean((values > 0).astype(np.float32), 2) == 1
    return np.where(whole, np.rint(block_mean(values.astype(np.float32), 2)), 0).astype(np.uint16)


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _product_xml(
    name: str, start: datetime, baseline: str, images: list[str], offset: int | None, cloud_percent: float
) -> str:
    files = "\n          ".join(f"<IMAGE_FILE>{escape(image)}</IMAGE_FILE>" for image in images)
    platform = {"S2A": "Sentinel-2A", "S2B": "Sentinel-2B", "S2C": "Sentinel-2C"}[name[:3]]
    schema = "https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd"
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-2A_User_Product xmlns:n1="{schema}">
  <n1:General_Info>
    <Product_Info>
      <PRODUCT_START_TIME>{_iso(start)}</PRODUCT_START_TIME>
      <PRODUCT_STOP_TIME>{_iso(start)}</PRODUCT_STOP_TIME>
      <PRODUCT_URI>{escape(name)}</PRODUCT_URI>
      <PROCESSING_LEVEL>Level-2A</PROCESSING_LEVEL>
      <PRODUCT_TYPE>S2MSI2A</PRODUCT_TYPE>
      <PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
      <GENERATION_TIME>{_iso(start + timedelta(hours=4))}</GENERATION_TIME>
      <Datatake>
        <SPACECRAFT_NAME>{platform}</SPACECRAFT_NAME>
        <DATATAKE_SENSING_START>{_iso(start)}</DATATAKE_SENSING_START>
        <SENSING_ORBIT_NUMBER>32</SENSING_ORBIT_NUMBER>
      </Datatake>
      <Product_Organisation>
        <Granule_List><Granule imageFormat="JPEG2000">
          {files}
        </Granule></Granule_List>
      </Product_Organisation>
    </Product_Info>
    {_characteristics(offset)}
  </n1:General_Info>
  <n1:Quality_Indicators_Info>
    <Cloud_Coverage_Assessment>{cloud_percent:.4f}</Cloud_Coverage_Assessment>
  </n1:Quality_Indicators_Info>
</n1:Level-2A_User_Product>
"""


def _characteristics(offset: int | None) -> str:
    special = "".join(
        f"<Special_Values><SPECIAL_VALUE_TEXT>{text}</SPECIAL_VALUE_TEXT>"
        f"<SPECIAL_VALUE_INDEX>{index}</SPECIAL_VALUE_INDEX></Special_Values>\n      "
        for text, index in (("NODATA", 0), ("SATURATED", 65535))
    )
    each = "".join(f'<BOA_ADD_OFFSET band_id="{i}">{offset}</BOA_ADD_OFFSET>' for i in range(_S2_BAND_COUNT))
    offsets = "" if offset is None else f"<BOA_ADD_OFFSET_VALUES_LIST>{each}</BOA_ADD_OFFSET_VALUES_LIST>"
    return f"""<Product_Image_Characteristics>
      {special}<QUANTIFICATION_VALUES_LIST>
        <BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>
      </QUANTIFICATION_VALUES_LIST>
      {offsets}
    </Product_Image_Characteristics>"""


def _tile_xml(grid: Grid, start: datetime, tile: str) -> str:
    rows, cols = grid.shape
    left, top = grid.transform * (0, 0)
    sizes = "\n      ".join(
        f'<Size resolution="{m}"><NROWS>{rows * 10 // m}</NROWS><NCOLS>{cols * 10 // m}</NCOLS></Size>'
        for m in (10, 20)
    )
    positions = "\n      ".join(
        f'<Geoposition resolution="{m}"><ULX>{left:.0f}</ULX><ULY>{top:.0f}</ULY>'
        f"<XDIM>{m}</XDIM><YDIM>-{m}</YDIM></Geoposition>"
        for m in (10, 20)
    )
    schema = "https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-2A_Tile_Metadata.xsd"
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-2A_Tile_ID xmlns:n1="{schema}">
  <n1:General_Info>
    <TILE_ID>T{tile}</TILE_ID>
    <SENSING_TIME>{_iso(start)}</SENSING_TIME>
  </n1:General_Info>
  <n1:Geometric_Info>
    <Tile_Geocoding>
      <HORIZONTAL_CS_NAME>{escape(grid.crs.name)}</HORIZONTAL_CS_NAME>
      <HORIZONTAL_CS_CODE>EPSG:{grid.crs.to_epsg()}</HORIZONTAL_CS_CODE>
      {sizes}
      {positions}
    </Tile_Geocoding>
  </n1:Geometric_Info>
</n1:Level-2A_Tile_ID>
"""


def write_landsat(
    folder: Path,
    bands: Mapping[str, Array],
    quality: Array,
    grid: Grid,
    acquired: datetime,
    *,
    path_row: str = "121038",
) -> Path:
    """Write a small Landsat 8 Collection 2 level-2 delivery: SR bands, QA_PIXEL and the MTL text.

    Parameters
    ----------
    folder
        Where the delivery's folder goes.
    bands
        uint16, reflectance × 10000, 0 is fill, ``(row, col)``, by role.
    quality
        uint16, QA_PIXEL, ``(row, col)``; see `qa_pixel`.
    grid
        30 m grid.
    acquired
        Sensing time, with a time zone.
    path_row
        WRS-2 path and row, three digits each.

    Returns
    -------
    Path
        The folder of the delivery.
    """
    start = acquired.astimezone(UTC)
    made = f"{start + timedelta(days=12):%Y%m%d}"
    name = f"LC08_L2SP_{path_row}_{start:%Y%m%d}_{made}_02_T1"
    target = folder / name
    for role, values in bands.items():
        numbers = np.rint((values / 10_000 - _LANDSAT_OFFSET) / _LANDSAT_SCALE)
        data = np.where(values > 0, np.clip(numbers, 1, 65535), 0).astype(np.uint16)
        write_geotiff(target / f"{name}_SR_B{_LANDSAT_BANDS[role]}.TIF", data[None], grid, nodata=0)
    write_geotiff(target / f"{name}_QA_PIXEL.TIF", quality[None].astype(np.uint16), grid, nodata=1)
    (target / f"{name}_MTL.txt").write_text(_mtl(name, start, grid, [_LANDSAT_BANDS[r] for r in bands]), "ascii")
    return target


def _mtl(name: str, start: datetime, grid: Grid, numbers: list[int]) -> str:
    lines = ["GROUP = LANDSAT_METADATA_FILE"]
    for group, entries in _mtl_groups(name, start, grid, numbers).items():
        lines += [f"  GROUP = {group}", *(f"    {k} = {v}" for k, v in entries.items()), f"  END_GROUP = {group}"]
    return "\n".join([*lines, "END_GROUP = LANDSAT_METADATA_FILE", "END", ""])


def _mtl_groups(name: str, start: datetime, grid: Grid, numbers: list[int]) -> dict[str, dict[str, str]]:
    clock = f"{start:%H:%M:%S}.{start.microsecond:06d}0Z"
    reflectance = {f"REFLECTANCE_MULT_BAND_{n}": "2.75e-05" for n in numbers} | {
        f"REFLECTANCE_ADD_BAND_{n}": "-0.2" for n in numbers
    }
    return {
        "PRODUCT_CONTENTS": {
            "LANDSAT_PRODUCT_ID": f'"{name}"',
            "PROCESSING_LEVEL": '"L2SP"',
            "COLLECTION_NUMBER": "02",
            "COLLECTION_CATEGORY": '"T1"',
            "OUTPUT_FORMAT": '"GEOTIFF"',
            **{f"FILE_NAME_BAND_{n}": f'"{name}_SR_B{n}.TIF"' for n in numbers},
            "FILE_NAME_QUALITY_L1_PIXEL": f'"{name}_QA_PIXEL.TIF"',
        },
        "IMAGE_ATTRIBUTES": {
            "SPACECRAFT_ID": '"LANDSAT_8"',
            "SENSOR_ID": '"OLI_TIRS"',
            "WRS_PATH": name[10:13],
            "WRS_ROW": name[13:16],
            "DATE_ACQUIRED": f"{start:%Y-%m-%d}",
            "SCENE_CENTER_TIME": f'"{clock}"',
        },
        "PROJECTION_ATTRIBUTES": {
            "MAP_PROJECTION": '"UTM"',
            "DATUM": '"WGS84"',
            "GRID_CELL_SIZE_REFLECTIVE": f"{grid.pixel_size[0]:.2f}",
            "REFLECTIVE_LINES": str(grid.shape[0]),
            "REFLECTIVE_SAMPLES": str(grid.shape[1]),
        },
        "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS": reflectance,
    }
