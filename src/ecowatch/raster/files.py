"""Open checked raster files: their driver named, sidecars and network shut out."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import rasterio
from affine import Affine
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from ..errors import EcowatchError, SceneError, UnavailableError
from ..grid import Grid
from ..intake import Admitted, check_unchanged
from ..objects import gdal_name, gdal_options, is_object, object_state, read_object, url_of

# PAM and directory listings are off so that no sidecar can change what a file says; the network stays shut.
_GDAL_OPTIONS = {
    "GDAL_CACHEMAX": 32,
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_NUM_THREADS": 1,
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
    "PROJ_NETWORK": "OFF",
}

# Some products state the position in their metadata only; `Layer.grid` holds it. Said once for the process: a filter around
# each opening is taken away by another thread's.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)


class RasterInfo(NamedTuple):
    """What a raster file says of itself: grid (None without georeference), bands, type, fill value, alpha band."""

    grid: Grid | None
    shape: tuple[int, int]
    bands: int
    dtype: str
    nodata: float | None
    alpha_index: int | None


def gdal_env() -> rasterio.Env:
    """Return the GDAL settings under which everything here reads and writes."""
    return rasterio.Env(**_GDAL_OPTIONS)


def gdal_version() -> str:
    """Return the version of the GDAL that reads rasters (vectors have one of their own)."""
    return str(rasterio.__gdal_version__)


def open_checked(path: Path, driver: str, digest: str = "") -> Any:
    """Open a checked file with its named driver; an own handle, never shared.

    An object of a store is opened under settings that let GDAL ask for this one object and no other, if it is still the
    one of that `digest`.
    """
    if is_object(path):
        return _open_object(path, driver, digest)
    try:
        return rasterio.open(path, driver=driver, sharing=False)
    except (RasterioError, UnicodeDecodeError, ValueError) as error:
        raise unreadable(path, error) from error


def _open_object(path: Path, driver: str, digest: str) -> Any:
    if digest:
        check_unchanged(path, digest)
    try:
        with rasterio.Env(**_GDAL_OPTIONS | gdal_options(path)):
            return rasterio.open(gdal_name(path), driver=driver, sharing=False)
    except (RasterioError, UnicodeDecodeError, ValueError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: BaseException) -> EcowatchError:
    """Return the coded error of a read that failed: an object is not damaged because its store does not answer.

    Parameters
    ----------
    path
        File or object.
    error
        What GDAL raised.

    Returns
    -------
    EcowatchError
        ``RASTER_UNREADABLE`` (`SceneError`); ``STORE_UNAVAILABLE`` (`UnavailableError`) where the store is gone.
    """
    if is_object(path):
        try:
            # Some answer what an object is, and do not give it.
            read_object(path, object_state(path), 0, 1)
        except UnavailableError as gone:
            return gone
        except EcowatchError:
            # It answers, if only to refuse: then the object is to blame.
            pass
    where = url_of(path) if is_object(path) else path
    return SceneError("RASTER_UNREADABLE", where, _reason_of(error), "fetch the file again")


def _reason_of(error: BaseException) -> str:
    """What GDAL had to say, on one line."""
    cause = error.__cause__ or error
    return " ".join(str(cause).split()) or type(cause).__name__


def inspect(admitted: Admitted) -> RasterInfo:
    """Return what a checked raster file says of itself.

    Raises
    ------
    SceneError
        ``RASTER_UNREADABLE`` where the driver cannot open it.
    GridError
        Where it is georeferenced in a way that cannot serve (rotated, south-up).
    """
    with gdal_env(), open_checked(admitted.path, admitted.kind.value) as dataset:
        georeferenced = dataset.crs is not None and dataset.transform != Affine.identity()
        grid = Grid.from_parts(dataset.crs.to_wkt(), dataset.transform, dataset.shape) if georeferenced else None
        alpha = [i for i, c in enumerate(dataset.colorinterp, 1) if c == ColorInterp.alpha]
        return RasterInfo(
            grid, dataset.shape, dataset.count, dataset.dtypes[0], dataset.nodata, alpha[0] if alpha else None
        )
