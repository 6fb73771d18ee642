"""The peer: a change vector and an NDVI difference with xarray on Dask, as one would write them in a notebook.

No fit, no registration, no patches: less than a review does. Bands come lazily, block by block, through rasterio.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import rasterio
import xarray as xr
from rasterio.windows import Window

os.environ.setdefault("GDAL_CACHEMAX", "64")
CHUNK_PX = 1024
CLEAR = (4, 5, 6, 7, 11)


def lazy(path: Path) -> xr.DataArray:
    """Return a raster as a lazy array of chunks of 1024 pixels."""
    with rasterio.open(path) as dataset:
        bands, height, width, dtype = dataset.count, dataset.height, dataset.width, dataset.dtypes[0]

    def block(block_info: Any = None) -> np.ndarray:
        (_, _), (row0, row1), (col0, col1) = block_info[None]["array-location"]
        with rasterio.open(path, sharing=False) as dataset:
            return np.asarray(dataset.read(window=Window(col0, row0, col1 - col0, row1 - row0)))

    chunks = ((bands,), *(da.core.normalize_chunks(CHUNK_PX, (side,))[0] for side in (height, width)))
    values = da.map_blocks(block, chunks=chunks, dtype=dtype, meta=np.empty((0, 0, 0), dtype))
    return xr.DataArray(values, dims=("band", "y", "x"))


def flagged_pixels(folder: Path) -> int:
    """Return how many clear pixels changed by more than a fixed amount."""
    images = [path for path in sorted(folder.glob("pair_*.tif")) if not path.stem.endswith("SCL")]
    before, after = (lazy(path).astype("float32") * np.float32(1e-4) for path in images)
    clear = [lazy(path.with_name(f"{path.stem}_SCL.tif"))[0].isin(CLEAR) for path in images]
    length = np.sqrt(((after - before) ** 2).sum("band"))
    ndvi = [(image[3] - image[2]) / (image[3] + image[2] + np.float32(1e-6)) for image in (before, after)]
    found = (length > 0.08) & (abs(ndvi[1] - ndvi[0]) > 0.1) & clear[0] & clear[1]
    return int(found.sum().compute())


def main() -> None:
    """Run on two threads of Dask."""
    with dask.config.set(scheduler="threads", num_workers=int(sys.argv[2])):
        print(flagged_pixels(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
