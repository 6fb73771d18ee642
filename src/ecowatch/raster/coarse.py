"""Decimated reads, for pictures and for estimates of cloud cover."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from affine import Affine
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.warp import reproject
from rasterio.windows import Window as RasterWindow

from ..errors import SceneError
from ..grid import Grid
from .read import Layer, Pixels, footprint_mask, gdal_env, open_checked, reason_of, window_over


def read_coarse(layers: Sequence[Layer], grid: Grid, *, categorical: bool = True) -> Pixels:
    """Read `layers` on a coarse grid from a decimated read, for pictures and for estimates of cloud cover.

    Parameters
    ----------
    layers
        Bands of one data type.
    grid
        Target grid, much coarser than the layers.
    categorical
        Nearest neighbour; otherwise averages of what GDAL decimates.

    Raises
    ------
    SceneError
        ``RASTER_UNREADABLE`` with the file.
    """
    fill = layers[0].fill or 0
    values = np.full((len(layers), *grid.shape), fill, layers[0].dtype)
    covered = np.zeros(grid.shape, bool)
    with gdal_env():
        for number, layer in enumerate(layers):
            window = window_over(layer.grid, grid)
            if window is None:
                continue
            step = max(1, int(grid.pixel_m / layer.grid.pixel_m))
            shape = tuple(max(1, s // step) for s in window.shape)
            try:
                with open_checked(layer.path, layer.driver) as dataset:
                    data = dataset.read(
                        layer.index,
                        window=RasterWindow(window.col0, window.row0, *window.shape[::-1]),
                        out_shape=shape,
                        resampling=Resampling.nearest if categorical else Resampling.average,
                    )
            except RasterioError as error:
                raise SceneError("RASTER_UNREADABLE", layer.path, reason_of(error), "fetch the file again") from error
            scale = Affine.scale(window.shape[1] / shape[1], window.shape[0] / shape[0])
            transform = layer.grid.cropped(window).transform * scale
            reproject(
                data,
                values[number],
                src_transform=transform,
                src_crs=layer.grid.crs.to_wkt(),
                src_nodata=layer.fill,
                dst_transform=grid.transform,
                dst_crs=grid.crs.to_wkt(),
                dst_nodata=fill,
                resampling=Resampling.nearest,
                num_threads=1,
            )
            covered |= footprint_mask(layer.grid, grid, grid.transform)
    return Pixels(values, covered)
