"""Small true products, written where a test wants them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecowatch.grid import Grid
from ecowatch.raster import write_geotiff

TILE = "50TMK"
LEFT, TOP = 400_000.0, 4_500_000.0
S2_FILES = {"R10m": ("B02", "B03", "B04", "B08"), "R20m": ("B11", "B12", "SCL")}

PRODUCT_XML = """<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd">
 <n1:General_Info><Product_Info>
  <PRODUCT_START_TIME>{sensed}</PRODUCT_START_TIME>
  <PRODUCT_URI>{name}.SAFE</PRODUCT_URI>
  <PROCESSING_LEVEL>{level}</PROCESSING_LEVEL>
  <PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
  <GENERATION_TIME>2024-05-02T00:00:00Z</GENERATION_TIME>
  <Datatake><DATATAKE_SENSING_START>{sensed}</DATATAKE_SENSING_START></Datatake>
 </Product_Info>
 <QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>
 </QUANTIFICATION_VALUES_LIST>{offsets}
 </n1:General_Info>
</n1:Level-2A_User_Product>
"""
GRANULE_XML = """<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-2A_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-2A_Tile_Metadata.xsd">
 <n1:Geometric_Info><Tile_Geocoding>
  <HORIZONTAL_CS_CODE>EPSG:32650</HORIZONTAL_CS_CODE>
  <Size resolution="10"><NROWS>40</NROWS><NCOLS>40</NCOLS></Size>
  <Geoposition resolution="10"><ULX>{left}</ULX><ULY>{top}</ULY><XDIM>10</XDIM><YDIM>-10</YDIM></Geoposition>
 </Tile_Geocoding></n1:Geometric_Info>
</n1:Level-2A_Tile_ID>
"""


def grid_of(side: int, pixel_m: float = 10.0, left: float = LEFT, crs: str = "EPSG:32650") -> Grid:
    """A square grid at the corner all products here share."""
    return Grid.from_parts(crs, (pixel_m, 0.0, left, 0.0, -pixel_m, TOP), (side, side))


@pytest.fixture
def write_tif() -> Callable[..., Path]:
    def write(path: Path, values: Any, *, nodata: float | None = 0, left: float = LEFT, **keywords: Any) -> Path:
        array = np.asarray(values)
        array = array if array.ndim == 3 else array[None]
        path.parent.mkdir(parents=True, exist_ok=True)
        pixel = keywords.pop("pixel_m", 10.0)
        write_geotiff(path, array, grid_of(array.shape[-1], pixel, left), nodata=nodata, **keywords)
        return path

    return write


@pytest.fixture
def write_safe(write_tif: Callable[..., Path]) -> Callable[..., Path]:
    """Write a SAFE folder of 40 x 40 pixels; `numbers` is what every band holds, plus its pixel's number."""

    def write(
        root: Path,
        *,
        baseline: str = "05.09",
        listed: bool = True,
        numbers: int = 1200,
        level: str = "Level-2A",
        sensed: str = "2024-05-01T03:05:31.024Z",
        without: tuple[str, ...] = (),
        file_left: float = LEFT,
    ) -> Path:
        name = f"S2A_MSIL2A_20240501T030531_N{baseline.replace('.', '')}_R075_T{TILE}_20240502T000000"
        granule = root / f"{name}.SAFE" / "GRANULE" / f"L2A_T{TILE}_A000001_20240501T030531"
        offsets = "".join(f'<BOA_ADD_OFFSET band_id="{i}">-1000</BOA_ADD_OFFSET>' for i in range(13))
        xml = PRODUCT_XML.format(
            sensed=sensed, name=name, level=level, baseline=baseline, offsets=offsets if listed else ""
        )
        for folder, bands in S2_FILES.items():
            metres, side = (10, 40) if folder == "R10m" else (20, 20)
            for number, band in enumerate(b for b in bands if b not in without):
                values = np.arange(side * side).reshape(side, side) % 300 + numbers + number
                values = np.full((side, side), 4, np.uint8) if band == "SCL" else values.astype(np.uint16)
                target = granule / "IMG_DATA" / folder / f"T{TILE}_20240501T030531_{band}_{metres}m.jp2"
                write_tif(target, values, nodata=None, pixel_m=float(metres), left=file_left)
        granule.mkdir(parents=True, exist_ok=True)
        (granule / "MTD_TL.xml").write_text(GRANULE_XML.format(left=LEFT, top=TOP), "utf-8")
        (root / f"{name}.SAFE" / "MTD_MSIL2A.xml").write_text(xml, "utf-8")
        return root / f"{name}.SAFE"

    return write
