"""What computes: the program, Python, and every library whose version can change a result."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import shapely
from pyproj import proj_version_str

from .. import __version__
from ..raster import gdal_version

# Not imagecodecs: what the fast reader gives is what rasterio gives.
_PACKAGES = ("numpy", "numba", "scipy", "shapely")
_IF_INSTALLED = ("onnxruntime",)


@lru_cache(maxsize=1)
def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that tiles, fits and looks are computed with: kept results are those of these."""
    versions = {name: version(name) for name in _PACKAGES}
    versions |= {name: _version(name) for name in _IF_INSTALLED if find_spec(name)}
    return versions | {"geos": shapely.geos_version_string, "proj": proj_version_str, "gdal_raster": gdal_version()}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        # It is there under another name, such as that of its form for graphics cards.
        return "unknown"


def software_versions() -> dict[str, str]:
    """Return the versions of everything that can change a result."""
    import pyogrio  # noqa: PLC0415 - brings pandas along, which workers never need

    python, vector = (".".join(map(str, numbers[:3])) for numbers in (sys.version_info, pyogrio.__gdal_version__))
    return {"ecowatch": __version__, "python": python, **library_versions(), "gdal_vector": vector}
