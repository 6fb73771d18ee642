"""Boundary files drawn by hand, written in the formats that come from outside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import pyogrio
import pytest
from shapely.geometry.base import BaseGeometry

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write polygons with their fields and return the file."""

    def _write(
        name: str, shapes: Sequence[BaseGeometry | None], /, crs: str | None = "EPSG:32647", **fields: Any
    ) -> Path:
        options = {k: fields.pop(k) for k in ("layer", "encoding", "append") if k in fields}
        if name.endswith(".gdb"):
            options["driver"] = "OpenFileGDB"
        table = gpd.GeoDataFrame(fields or {"id": list("abcdefgh")[: len(shapes)]}, geometry=list(shapes), crs=crs)
        pyogrio.write_dataframe(table, tmp_path / name, **options)
        return tmp_path / name

    return _write
