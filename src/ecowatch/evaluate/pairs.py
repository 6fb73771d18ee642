"""A labelled pair as the review sees an area: scenes on the pair's own pixel grid, and an area that is the whole image."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from affine import Affine
from pyproj import CRS

from ..areas import Area
from ..errors import SceneError
from ..grid import Grid, lattice_grid
from ..intake import RASTER_KINDS, admit
from ..raster import GridReader, Layer, inspect
from ..review import Comparison, DateGroup, witnesses_of
from ..scenes import Band, Quality, QualityKind, Scene, Unit, in_whole_numbers
from ..settings import Pipeline
from .registry import Dated, LabelledPair, SensorClass

Array = np.ndarray[Any, Any]

# A pair is compared pixel by pixel, wherever it lies: its grid is laid at the origin of a metric CRS.
_LOCAL = CRS.from_epsg(32631)
_ORIGIN = (500_000.0, 1_000_000.0)
_PLACE = (3.0, 9.0)
# Where nobody knows the pixel: what the class of sensor usually has, metres.
_USUAL_PIXEL_M = {
    SensorClass.MULTISPECTRAL: 10.0,
    SensorClass.DISPLAY_RGB: 10.0,
    SensorClass.VHR_RGB: 2.0,
    SensorClass.AERIAL_RGB: 0.5,
    SensorClass.SAR: 10.0,
}
_UNDATED = (date(1970, 1, 1), date(1970, 1, 2))


def comparison_of(pair: LabelledPair, before: Dated, after: Dated, pipeline: Pipeline, *, root: Path) -> Comparison:
    """Return a pair as a comparison of the review, on its own pixel grid.

    Parameters
    ----------
    pair, before, after
        The pair, and which two of its images.
    pipeline
        Of its class of sensor.
    root
        Folder under which its files must lie.

    Raises
    ------
    EcowatchError
        Where a file is missing, unreadable, or not of one shape with the other.
    """
    grid = pixel_grid(pair, inspect(admit(before.path, roots=[root], kinds=RASTER_KINDS)).shape)
    area = _whole(pair, grid)
    groups = [_group(pair, dated, grid, root, number) for number, dated in enumerate((before, after))]
    roles = tuple(role for role in pipeline.detect.bands if role in groups[0].scenes[0].roles)
    if not roles:
        raise SceneError(
            "BAND_MISSING", before.path, f"none of {', '.join(pipeline.detect.bands)}", "describe its bands"
        )
    earlier = [_group(pair, d, grid, root, 0) for d in pair.series if d.day and before.day and d.day < before.day]
    chosen = witnesses_of(area, earlier, groups[1], pipeline, _PLACE, frozenset(), pipeline.time.earlier)
    lattice = lattice_grid(grid, grid.bounds)
    before_group, after_group = groups
    return Comparison(area, "2000", pipeline, lattice, roles, before_group, after_group, "a labelled pair", (), chosen)


def pixel_grid(pair: LabelledPair, shape: tuple[int, int]) -> Grid:
    """Return the grid of a pair's own pixels, laid at a fixed place of a metric CRS."""
    pixel = pair.pixel_m or _USUAL_PIXEL_M[pair.sensor]
    return Grid.from_parts(_LOCAL, Affine(pixel, 0, _ORIGIN[0], 0, -pixel, _ORIGIN[1]), shape)


def read_label(pair: LabelledPair, *, root: Path) -> Array:
    """Return the labels, uint8 ``(row, col)``: 0 unchanged, 1 changed, 255 not labelled.

    Raises
    ------
    EcowatchError
        Where the file is missing or unreadable.
    """
    assert pair.label is not None
    label: Array = read_image(pair.label, pair, root=root)[0].astype(np.uint8)
    return label


def read_image(path: Path, pair: LabelledPair, *, root: Path) -> Array:
    """Return all bands of one image of a pair, ``(band, row, col)``, in the file's own numbers.

    Raises
    ------
    EcowatchError
        Where the file is missing or unreadable.
    """
    admitted = admit(path, roots=[root], kinds=RASTER_KINDS)
    info = inspect(admitted)
    grid = pixel_grid(pair, info.shape)
    layers = [
        Layer(admitted.path, admitted.kind.value, admitted.digest, i + 1, grid, info.dtype, None)
        for i in range(info.bands)
    ]
    with GridReader(grid) as reader:
        return reader.read(layers, grid.window).values


def _whole(pair: LabelledPair, grid: Grid) -> Area:
    name = f"{pair.set_name}/{pair.name}"
    return Area(name, name, "protected_area", shapely.box(*grid.bounds), grid.crs, (), "labelled pair", "registry.json")


def _group(pair: LabelledPair, dated: Dated, grid: Grid, root: Path, number: int) -> DateGroup:
    admitted = admit(dated.path, roots=[root], kinds=RASTER_KINDS)
    info = inspect(admitted)
    if info.shape != grid.shape:
        raise SceneError("SHAPE", dated.path, f"{info.shape} pixels, not {grid.shape}", "cut both dates alike")
    if info.bands < len(pair.roles):
        raise SceneError("SCENE_BANDS", dated.path, f"{info.bands} bands, not {len(pair.roles)}", "correct 'bands'")

    def layer(index: int) -> Layer:
        return Layer(admitted.path, admitted.kind.value, admitted.digest, index, grid, info.dtype, info.nodata)

    unit = _unit(pair, info.dtype)
    bands = tuple(
        Band(role, *in_whole_numbers(layer(i), unit, pair.scale), 0.0, unit)
        for i, role in enumerate(pair.roles, 1)
        if role and role not in ("scl", "valid")
    )
    quality = Quality(QualityKind.SCL, layer(pair.roles.index("scl") + 1)) if "scl" in pair.roles else None
    # Noon in UTC is the same civil date in Asia/Shanghai.
    day = dated.day or _UNDATED[number]
    acquired = datetime.combine(day, time(4), UTC)
    name = f"{pair.set_name}/{dated.path.stem}"
    scene = Scene(name, "plain", acquired, bands, quality)
    return DateGroup(day, pair.sensor.value, (scene,), dated=dated.day is not None)


def _unit(pair: LabelledPair, dtype: str) -> Unit:
    if pair.sensor is SensorClass.SAR:
        return Unit.AMPLITUDE if pair.amplitude else Unit.DECIBEL
    # Eight bits hold a stretched picture, not reflectance.
    return Unit.BRIGHTNESS if dtype == "uint8" else Unit.REFLECTANCE
