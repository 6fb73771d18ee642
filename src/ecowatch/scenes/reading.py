"""What every product reader shares: a candidate to be tried, a checked raster file and its layers."""

from __future__ import annotations

import math
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from ..errors import GridError, IntakeError, SceneError
from ..grid import Grid
from ..intake import RASTER_KINDS, Admitted, admit_all
from ..objects import is_object, object_path, url_of
from ..raster import Layer, RasterInfo, inspect
from .scene import Band, Scene, Unit

# A scheme ("http:", "file:", "MEM:::", "C:"), GDAL's virtual file systems, a network share, inline XML or JSON, an
# encoded dot or slash: none of these names a local file in so many words.
_NOT_A_LOCAL_NAME = re.compile(
    r"[^/]*:|//|.*\\|\s*[<{]|(?:.*/)?vsi[a-z0-9_]+[/?]|.*[?\x00-\x1f\x7f]|.*%(?:2e|2f|5c|00)",
    re.IGNORECASE | re.DOTALL,
)
_MAX_HREF = 4096
_NO_NUMBER = float(-(2**31))


class Reading(NamedTuple):
    """A scene with what tells two processings of one acquisition apart.

    `acquisition` is None where the product does not say; `processed` is baseline and time of processing, larger = newer.
    """

    scene: Scene
    acquisition: tuple[str, ...] | None
    processed: tuple[float, str]


@dataclass(frozen=True)
class Candidate:
    """Something that may be a scene: where it lies, and how to find out."""

    where: str
    read: Callable[[], Reading]


class RasterFile(NamedTuple):
    """A checked raster file and what it says of itself."""

    admitted: Admitted
    info: RasterInfo


def open_raster(path: Path, roots: Sequence[Path]) -> RasterFile:
    """Check and inspect one raster file.

    Raises
    ------
    IntakeError, SceneError
        Each names the file.
    """
    return open_rasters([path], roots)[path]


def open_rasters(paths: Iterable[Path], roots: Sequence[Path]) -> dict[Path, RasterFile]:
    """Check and inspect the raster files of a scene; their digests are computed side by side.

    Raises
    ------
    IntakeError, SceneError
        Each names the file.
    """
    distinct = list(dict.fromkeys(paths))
    admitted = admit_all(distinct, roots=roots, kinds=RASTER_KINDS)
    return {path: _inspected(path, one) for path, one in zip(distinct, admitted, strict=True)}


def _inspected(path: Path, admitted: Admitted) -> RasterFile:
    try:
        info = inspect(admitted)
    except GridError as error:
        raise SceneError(error.code, path, error.finding, error.remedy) from error
    if info.dtype.startswith("complex"):
        raise SceneError("SCENE_BANDS", path, f"its numbers are {info.dtype}", "give reflectance")
    return RasterFile(admitted, info)


# What a float file's numbers are rounded to: well below any noise, and few enough digits for 32 bits.
_RESOLUTION = {
    Unit.REFLECTANCE: 1e-4,
    Unit.BRIGHTNESS: 1e-4,
    Unit.DECIBEL: 0.01,
    Unit.AMPLITUDE: 1e-3,
    Unit.POWER: 1e-6,
}


def band_of(
    role: str,
    file: RasterFile,
    *,
    fill: float | None,
    index: int,
    scale: float,
    offset: float,
    unit: Unit = Unit.REFLECTANCE,
) -> Band:
    """Return one band of a checked file; floats are read as whole multiples of a small quantum.

    Parameters
    ----------
    role, scale, offset, unit
        What the band's numbers mean.
    file, fill, index
        As for `layer_of`.

    Raises
    ------
    SceneError
        As `layer_of`.
    """
    layer, scale = in_whole_numbers(layer_of(file, fill=fill, index=index), unit, scale)
    return Band(role, layer, scale, offset, unit)


def in_whole_numbers(layer: Layer, unit: Unit, scale: float) -> tuple[Layer, float]:
    """Return a layer that is read as integers, and the scale of those; integer layers as they are.

    Parameters
    ----------
    layer
        As the file holds it.
    unit, scale
        What its numbers mean.
    """
    if not layer.dtype.startswith("float"):
        return layer, scale
    quantum = _RESOLUTION[unit] / scale
    return replace(layer, dtype="int32", fill=_NO_NUMBER, quantum=quantum, file_fill=layer.fill), scale * quantum


def layer_of(file: RasterFile, *, fill: float | None, index: int = 1, grid: Grid | None = None) -> Layer:
    """Return one band of a checked file.

    Parameters
    ----------
    file
        From `open_raster`.
    fill
        Fill value where the file names none.
    index
        Band number, from 1.
    grid
        Where its pixels lie, for a file without georeference.

    Raises
    ------
    SceneError
        ``SCENE_BANDS`` (no such band) or ``NO_CRS``.
    """
    path, info = file.admitted.path, file.info
    if index > info.bands:
        raise SceneError("SCENE_BANDS", path, f"band {index} of {info.bands}", "check the description of the bands")
    grid = info.grid or grid
    if grid is None:
        raise SceneError("NO_CRS", path, "the file has no georeference", "deliver it with CRS and transform")
    own = info.nodata if info.nodata is not None else fill
    fill = None if own is None else float(own)
    return Layer(path, file.admitted.kind.value, file.admitted.digest, index, grid, info.dtype, fill)


def same_grid(a: Grid, b: Grid) -> bool:
    """Whether two grids cover the same rectangle, within half a pixel of the coarser."""
    half = 0.5 * max(*a.pixel_size, *b.pixel_size)
    return a.crs == b.crs and all(
        math.isclose(x, y, rel_tol=0, abs_tol=half) for x, y in zip(a.bounds, b.bounds, strict=True)
    )


def local_path(text: object, folder: Path, roots: Sequence[Path], where: object) -> Path:
    """Return the file a metadata text names, if it is a plain local name under one of `roots`.

    Text from outside may be anything GDAL understands: an address, a virtual file system, a whole VRT. Only a relative
    path or an absolute local one is taken, links are followed, and it must end under a root. ``s3://bucket/key`` is taken
    under a root of that kind; a relative path beside an object names an object.

    Raises
    ------
    IntakeError
        ``HREF_NOT_ALLOWED``.
    """
    remedy = "download the asset and name it by a path relative to its metadata file"
    shown = repr(text)[:80]
    if isinstance(text, str) and (text.startswith("s3://") or is_object(folder)):
        return _object_of(text, folder, roots, where)
    if not isinstance(text, str) or not text.strip() or len(text) > _MAX_HREF or _NOT_A_LOCAL_NAME.match(text):
        raise IntakeError("HREF_NOT_ALLOWED", where, f"{shown} is no local file name", remedy)
    try:
        real = Path(os.path.realpath(folder / text))
        inside = any(real.is_relative_to(os.path.realpath(root)) for root in roots if not is_object(root))
    except (OSError, ValueError) as error:
        raise IntakeError("HREF_NOT_ALLOWED", where, f"{shown} cannot be resolved ({error})", remedy) from error
    if not inside:
        raise IntakeError("HREF_NOT_ALLOWED", where, f"{shown} leads out of the input roots", remedy)
    return real


def _object_of(text: str, folder: Path, roots: Sequence[Path], where: object) -> Path:
    """The object a text names, in full or beside another object."""
    remedy = "name an object under a root that begins with s3://"
    try:
        if not text.startswith("s3://") and (_NOT_A_LOCAL_NAME.match(text) or text.startswith("/") or not text.strip()):
            raise IntakeError("HREF_NOT_ALLOWED", where, f"{repr(text)[:80]} is no name beside an object", remedy)
        full = text if text.startswith("s3://") else f"s3:/{posixpath.normpath(f'/{url_of(folder)[5:]}/{text}')}"
        path = object_path(full)
    except IntakeError as error:
        raise IntakeError("HREF_NOT_ALLOWED", where, error.finding, remedy) from error
    if not any(is_object(root) and path.is_relative_to(root) for root in roots):
        raise IntakeError("HREF_NOT_ALLOWED", where, f"{repr(text)[:80]} leads out of the input roots", remedy)
    return path


def require_red_and_nir(roles: Iterable[str], missing: Iterable[str], where: object) -> None:
    """Refuse a satellite scene in which vegetation cannot be told from bare ground.

    Raises
    ------
    SceneError
        ``SCENE_INCOMPLETE`` with what is missing.
    """
    if {"red", "nir"} <= set(roles):
        return
    names = ", ".join(missing) or "red or near infrared"
    raise SceneError("SCENE_INCOMPLETE", where, f"missing: {names}", "fetch the product again, with all its bands")
