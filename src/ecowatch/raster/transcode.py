"""JPEG 2000 once decoded, kept as a plain tiled GeoTIFF: the same numbers at a twentieth of the cost of each read.

A copy is named by the digest of its source, by how it is written and by the GDAL that decoded it: it need never be asked
whether it is still right, only whether it is whole. Beside it lies a seal with its own digest, written last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from ..atomic import replacing, storage_error, write_text
from ..digests import file_digest
from ..errors import EcowatchError, StorageError
from ..grid import BLOCK_PX
from .files import gdal_env, gdal_version, open_checked, unreadable
from .layer import Layer

Array = np.ndarray[Any, Any]

SLOW_DRIVERS = frozenset({"JP2OpenJPEG"})
"""Formats whose decoding costs so much that a copy pays."""

_OPTIONS = {
    "tiled": True,
    "blockxsize": BLOCK_PX,
    "blockysize": BLOCK_PX,
    "compress": "zstd",
    "zstd_level": 1,
    "predictor": 2,
    "interleave": "pixel",
    "bigtiff": "IF_SAFER",
}
_FORM = 1


def copy_path(folder: Path, digest: str) -> Path:
    """Return where the copy of a file lies in the cache `folder`.

    Parameters
    ----------
    folder
        The cache.
    digest
        SHA-256 of the source.
    """
    name = hashlib.sha256(f"{digest} {_form()}".encode()).hexdigest()[:40]
    return folder / name[:2] / f"{name}.tif"


@cache
def _form() -> str:
    return json.dumps([_FORM, gdal_version(), _OPTIONS], sort_keys=True)


def seal_of(copy: Path) -> Path:
    """Return where the seal of a copy lies."""
    return copy.with_suffix(".json")


def is_sound(copy: Path) -> bool:
    """Tell whether a copy is there, whole, and as it was written."""
    try:
        told = json.loads(seal_of(copy).read_text("utf-8"))
        return bool(copy.stat().st_size == told["bytes"] and file_digest(copy) == told["sha256"])
    except (OSError, EcowatchError, ValueError, TypeError, KeyError):
        return False


def transcode(layer: Layer, copy: Path) -> None:
    """Write the whole file of a layer anew as tiled GeoTIFF, zstd level 1, without loss.

    It is read a strip at a time, so that memory stays small, and the copy is read back and compared before it counts.

    Parameters
    ----------
    layer
        Any band of the source; its grid and fill become those of the copy.
    copy
        Target, from `copy_path`.

    Raises
    ------
    SceneError
        ``RASTER_UNREADABLE`` with the source.
    StorageError
        ``CANNOT_WRITE``, or ``COPY_DIFFERS`` where the disk does not give back what was written.
    """
    with replacing(copy) as beside:
        written = _written(layer, beside)
        if _digest_of_pixels(beside) != written:
            raise StorageError("COPY_DIFFERS", copy, "it does not hold the numbers of its source", "check the disk")
        told = {"bytes": beside.stat().st_size, "sha256": file_digest(beside), "source": layer.digest, "form": _form()}
    write_text(seal_of(copy), json.dumps(told, indent=1) + "\n")


def _written(layer: Layer, target: Path) -> str:
    """Write the copy; return the digest of its numbers, strip by strip."""
    total = hashlib.sha256()
    with gdal_env(), open_checked(layer.path, layer.driver) as source:
        profile = {
            "driver": "GTiff",
            "count": source.count,
            "height": source.height,
            "width": source.width,
            "dtype": source.dtypes[0],
            "crs": layer.grid.crs.to_wkt(),
            "transform": layer.grid.transform,
            "nodata": layer.fill,
        }
        try:
            made = rasterio.open(target, "w", **profile, **_OPTIONS)
        except RasterioError as error:
            raise storage_error(target, error) from error
        with made:
            for window in _strips(source):
                values = _strip(source, window, layer.path)
                total.update(_bytes(values))
                try:
                    made.write(values, window=window)
                except RasterioError as error:
                    raise storage_error(target, error) from error
    return total.hexdigest()


def _digest_of_pixels(path: Path) -> str:
    total = hashlib.sha256()
    with gdal_env(), open_checked(path, "GTiff") as dataset:
        for window in _strips(dataset):
            total.update(_bytes(_strip(dataset, window, path)))
    return total.hexdigest()


def _bytes(values: Array) -> memoryview:
    """The bytes of an array, without a copy of it."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def _strips(dataset: Any) -> Iterator[RasterWindow]:
    """Strips of whole block rows; 1024 rows are what the tiles of a Sentinel-2 product have."""
    step = 2 * BLOCK_PX
    for row in range(0, dataset.height, step):
        yield RasterWindow(0, row, dataset.width, min(step, dataset.height - row))


def _strip(dataset: Any, window: RasterWindow, path: Path) -> Array:
    try:
        values: Array = dataset.read(window=window)
    except RasterioError as error:
        raise unreadable(path, error) from error
    return values
