"""Write rasters: beside, checked, renamed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError

from ..atomic import replacing, storage_error
from ..grid import BLOCK_PX, Grid
from .files import gdal_env

Array = np.ndarray[Any, Any]


def write_geotiff(
    path: Path,
    values: Array,
    grid: Grid,
    *,
    nodata: float | None = None,
    compress: str = "deflate",
    alpha: bool = False,
    color: bool = False,
) -> None:
    """Write bands as a tiled GeoTIFF.

    Parameters
    ----------
    path
        Target; replaced as a whole.
    values
        ``(band, row, col)``.
    grid
        Where the pixels lie.
    nodata
        Fill value to declare.
    compress
        GDAL's name of the compression.
    alpha
        The last band is opacity.
    color
        The first three bands are red, green, blue.

    Raises
    ------
    StorageError
        ``CANNOT_WRITE``.
    """
    count, height, width = values.shape
    integer = np.issubdtype(values.dtype, np.integer)
    profile = {
        "driver": "GTiff",
        "count": count,
        "height": height,
        "width": width,
        "dtype": values.dtype.name,
        "crs": grid.crs.to_wkt(),
        "transform": grid.transform,
        "nodata": nodata,
        "tiled": True,
        "blockxsize": BLOCK_PX,
        "blockysize": BLOCK_PX,
        "compress": compress,
        "predictor": 2 if integer else 3,
        "interleave": "pixel",
        "bigtiff": "IF_SAFER",
    }
    if color:
        profile["photometric"] = "RGB"
    with (
        replacing(path) as beside,
        _named(path),
        gdal_env(),
        rasterio.open(beside, "w", **profile) as dataset,
    ):
        if alpha:
            # Before the pixels: afterwards GDAL keeps it in a sidecar, which is not written.
            colours = [ColorInterp.red, ColorInterp.green, ColorInterp.blue] if color else [ColorInterp.gray]
            dataset.colorinterp = [*(colours + [ColorInterp.undefined] * count)[: count - 1], ColorInterp.alpha]
        dataset.write(values)


def write_cog(path: Path, values: Array, grid: Grid, *, nodata: float | None = None) -> None:
    """Write bands ``(band, row, col)`` as a cloud-optimised GeoTIFF, zstd level 1.

    Raises
    ------
    StorageError
        ``CANNOT_WRITE``.
    """
    count, height, width = values.shape
    profile = {
        "count": count,
        "height": height,
        "width": width,
        "dtype": values.dtype.name,
        "crs": grid.crs.to_wkt(),
        "transform": grid.transform,
        "nodata": nodata,
    }
    options = {
        "compress": "ZSTD",
        "level": 1,
        "blocksize": BLOCK_PX,
        "overviews": "AUTO",
        "bigtiff": "IF_SAFER",
    }
    with (
        replacing(path) as beside,
        _named(path),
        gdal_env(),
        rasterio.open(beside, "w", driver="COG", **profile, **options) as dataset,
    ):
        dataset.write(values)


def write_jp2(path: Path, values: Array, grid: Grid) -> None:
    """Write one band ``(row, col)``, uint8 or uint16, as lossless JPEG 2000 with its georeference.

    Raises
    ------
    StorageError
        ``CANNOT_WRITE``.
    """
    profile = {
        "driver": "GTiff",
        "count": 1,
        "height": values.shape[0],
        "width": values.shape[1],
        "dtype": values.dtype.name,
        "crs": grid.crs.to_wkt(),
        "transform": grid.transform,
    }
    with replacing(path) as beside, _named(path), gdal_env(), rasterio.MemoryFile() as memory:
        # The JPEG 2000 driver only copies from a finished dataset.
        with memory.open(**profile) as dataset:
            dataset.write(values, 1)
        with memory.open() as dataset:
            rasterio.shutil.copy(
                dataset,
                beside,
                driver="JP2OpenJPEG",
                QUALITY="100",
                REVERSIBLE="YES",
                GMLJP2="NO",
                GEOJP2="YES",
            )


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except RasterioError as error:
        raise storage_error(path, error) from error
