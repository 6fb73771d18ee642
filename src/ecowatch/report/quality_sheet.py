"""A layer as the quality rules see it: its rows, what is expected of them, and how a breach is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import geopandas
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from ..areas.repair import hollow
from ..grid import geodesic_area_m2

ERROR, WARNING = "error", "warning"


class Finding(NamedTuple):
    """One breach: rule, layer, identity of the feature (empty: the layer itself), what was found, ``error`` or ``warning``."""

    rule: str
    layer: str
    feature: str
    found: str
    severity: str


class Expected(NamedTuple):
    """What is asked of a layer.

    Parameters
    ----------
    key
        Column with the identity; must be unique.
    required
        Columns that must be there and filled.
    sized
        Severity of what is too small; empty where size does not matter.
    apart
        Columns that make two rows neighbours of one class, which share no ground; none where they may.
    during
        Whether `after_date` lies in the period; else only before its end.
    open_codes
        Columns with a code list elsewhere that here have none.
    """

    key: str
    required: tuple[str, ...]
    sized: str = ""
    apart: tuple[str, ...] = ()
    during: bool = False
    open_codes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Sheet:
    """A layer as read: its name, rows, CRS, and what is expected of it.

    Parameters
    ----------
    layer
        Name.
    frame
        Rows; with a geometry column where the layer has one.
    expected
        What is asked of it.
    """

    layer: str
    frame: pd.DataFrame
    expected: Expected

    @cached_property
    def crs(self) -> CRS:
        """CRS of the geometries."""
        crs: CRS = self.frame.crs
        return crs

    @cached_property
    def shapes(self) -> NDArray[np.object_]:
        """Geometries, None where a row has none; empty where the layer has none at all."""
        if not isinstance(self.frame, geopandas.GeoDataFrame):
            return np.empty(0, dtype=object)
        return np.asarray(self.frame.geometry.array, dtype=object)

    @cached_property
    def hollow(self) -> NDArray[np.bool_]:
        """Rows whose geometry lists a part or a ring that it does not draw."""
        return hollow(self.shapes)

    @cached_property
    def sound(self) -> NDArray[np.bool_]:
        """Rows whose geometry can be worked with: there, not empty, valid, drawn in all its parts."""
        there = ~shapely.is_empty(self.shapes) & ~shapely.is_missing(self.shapes)
        sound: NDArray[np.bool_] = shapely.is_valid(self.shapes) & there & ~self.hollow
        return sound

    @cached_property
    def _texts(self) -> dict[str, list[str]]:
        return {}

    @cached_property
    def surfaces(self) -> NDArray[np.int64]:
        """Row numbers of sound polygons."""
        return np.flatnonzero(self.sound & (shapely.get_dimensions(self.shapes) == 2))

    @cached_property
    def areas_m2(self) -> NDArray[np.float64]:
        """Area of each sound polygon on the ellipsoid, NaN elsewhere."""
        result = np.full(len(self.shapes), np.nan)
        rows = self.surfaces
        result[rows] = [geodesic_area_m2(shape, self.crs) for shape in self.shapes[rows]]
        return result

    def texts(self, column: str) -> list[str]:
        """Values of a column as text; empty where there is none."""
        if column not in self._texts:
            values = self.frame[column].to_numpy(dtype=object)
            self._texts[column] = [str(v) if there else "" for v, there in zip(values, pd.notna(values), strict=True)]
        return self._texts[column]

    def numbers(self, column: str) -> NDArray[np.float64]:
        """Values of a column as numbers; NaN where there is none."""
        numbers: NDArray[np.float64] = pd.to_numeric(self.frame[column], errors="coerce").to_numpy(
            float, na_value=np.nan
        )
        return numbers

    def has(self, *columns: str) -> bool:
        """Whether the layer has all these columns."""
        return all(column in self.frame for column in columns)

    def found(self, rule: str, rows: Any, finding: Any, severity: str = ERROR) -> Iterator[Finding]:
        """Yield a finding for each of `rows`; `finding` is a text or makes one of a row number."""
        if not len(rows):
            return
        named = self.texts(self.expected.key) if self.expected.key in self.frame else []
        for row in np.asarray(rows, dtype=int):
            feature = named[row] if named and named[row] else f"row {row + 1}"
            yield Finding(rule, self.layer, feature, finding if isinstance(finding, str) else finding(row), severity)
