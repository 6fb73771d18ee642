"""Rasters: the only importer of rasterio."""

from .coarse import read_coarse, sample_numbers
from .files import RasterInfo, gdal_env, gdal_version, inspect
from .read import GridReader, Layer, Pixels, placement
from .vectorize import burn
from .write import write_cog, write_geotiff, write_jp2

__all__ = [
    "GridReader",
    "Layer",
    "Pixels",
    "RasterInfo",
    "burn",
    "gdal_env",
    "gdal_version",
    "inspect",
    "placement",
    "read_coarse",
    "sample_numbers",
    "write_cog",
    "write_geotiff",
    "write_jp2",
]
