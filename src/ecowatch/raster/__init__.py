"""Rasters: the only importer of rasterio."""

from .coarse import read_coarse, sample_numbers
from .files import RasterInfo, gdal_env, gdal_version, inspect
from .layer import Layer, Pixels, Reading, placement
from .read import GridReader, by_block
from .tiles import require_fast
from .transcode import SLOW_DRIVERS, copy_path, is_sound, seal_of, transcode
from .vectorize import burn
from .write import write_cog, write_geotiff, write_jp2

__all__ = [
    "SLOW_DRIVERS",
    "GridReader",
    "Layer",
    "Pixels",
    "RasterInfo",
    "Reading",
    "burn",
    "by_block",
    "copy_path",
    "gdal_env",
    "gdal_version",
    "inspect",
    "is_sound",
    "placement",
    "read_coarse",
    "require_fast",
    "sample_numbers",
    "seal_of",
    "transcode",
    "write_cog",
    "write_geotiff",
    "write_jp2",
]
