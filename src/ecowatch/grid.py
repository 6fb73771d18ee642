"""The pixel grid of an area, its lattice of blocks and its tiles, and the one function for areas in square metres."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import ProjError
from shapely.geometry.base import BaseGeometry

from .errors import GridError

BLOCK_PX = 512
"""Side of a lattice block: the unit that is read and computed, whatever the tile size."""

CGCS2000 = CRS.from_epsg(4490)
"""China Geodetic Coordinate System 2000, longitude and latitude."""

# CGCS2000 uses this ellipsoid; it differs from WGS 84 by 0.1 mm in the semi-minor axis.
_GEOD = Geod(ellps="GRS80")
# Edges are cut to this length before they are taken as geodesics: parts then add up to their union within 1 m².
_DENSIFY_DEG, _DENSIFY_M = 0.001, 100.0
# Each of them is copied several times while areas are measured.
_CORNERS_AT_ONCE = 20_000
# PROJ searches its register for a way between WGS 84 and CGCS2000, an eighth of a second each time, and finds none.
_EQUAL = {"EPSG:4326", "EPSG:4490"}


class Window(NamedTuple):
    """A rectangle of pixels on a grid: rows ``row0 … row1-1`` and columns ``col0 … col1-1``."""

    row0: int
    col0: int
    row1: int
    col1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, in pixels."""
        return self.row1 - self.row0, self.col1 - self.col0

    def padded(self, px: int) -> Window:
        """Return the window grown by `px` pixels on each side (not clipped)."""
        return Window(self.row0 - px, self.col0 - px, self.row1 + px, self.col1 + px)

    def moved(self, rows: int, cols: int) -> Window:
        """Return the window so many rows further down and columns further right."""
        return Window(self.row0 + rows, self.col0 + cols, self.row1 + rows, self.col1 + cols)

    @property
    def lattice_block(self) -> Window:
        """The lattice block that holds the window's first pixel; windows that are computed lie in one block."""
        row, col = self.row0 // BLOCK_PX * BLOCK_PX, self.col0 // BLOCK_PX * BLOCK_PX
        return Window(row, col, row + BLOCK_PX, col + BLOCK_PX)

    def intersection(self, other: Window) -> Window | None:
        """Return the common pixels, or None where there are none."""
        row0, col0 = max(self.row0, other.row0), max(self.col0, other.col0)
        row1, col1 = min(self.row1, other.row1), min(self.col1, other.col1)
        return Window(row0, col0, row1, col1) if row0 < row1 and col0 < col1 else None

    def within(self, outer: Window) -> tuple[slice, slice]:
        """Return the slices that cut this window out of an array laid over `outer`."""
        return (
            slice(self.row0 - outer.row0, self.row1 - outer.row0),
            slice(self.col0 - outer.col0, self.col1 - outer.col0),
        )


@dataclass(frozen=True)
class Grid:
    """A north-up raster grid in one CRS; it never changes, cropping returns another one.

    Parameters
    ----------
    geobox
        odc-geo's georeferenced box: CRS, affine transform and shape ``(rows, cols)``.

    Raises
    ------
    GridError
        Without CRS, with a rotated or south-up transform, or with no pixels.
    """

    geobox: GeoBox

    def __post_init__(self) -> None:
        t = self.geobox.affine
        if self.geobox.crs is None:
            raise GridError("NO_CRS", "grid", "the raster has no CRS", "name it in the review file: crs = 'EPSG:…'")
        if t.b or t.d or t.a <= 0 or t.e >= 0:
            raise GridError("ROTATED", "grid", f"transform {tuple(t)[:6]} is not north-up", "rectify the image first")
        if min(self.shape) < 1:
            raise GridError("EMPTY_GRID", "grid", f"shape {self.shape} has no pixels", "check the raster")

    @classmethod
    def from_parts(cls, crs: object, transform: Affine | tuple[float, ...], shape: tuple[int, int]) -> Grid:
        """Build a grid from a CRS (anything pyproj takes), an affine transform and ``(rows, cols)``."""
        return cls(GeoBox(shape, Affine(*tuple(transform)[:6]), CRS.from_user_input(crs).to_wkt()))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, in pixels."""
        rows, cols = self.geobox.shape
        return int(rows), int(cols)

    @property
    def transform(self) -> Affine:
        """Affine transform from (col, row) to CRS coordinates."""
        return self.geobox.affine

    @property
    def crs(self) -> CRS:
        """The coordinate reference system."""
        crs: CRS = self.geobox.crs.proj
        return crs

    @cached_property
    def pixel_size(self) -> tuple[float, float]:
        """Pixel height and width, positive, in CRS units."""
        return -self.transform.e, self.transform.a

    @cached_property
    def pixel_m(self) -> float:
        """Side of a pixel in metres: geometric mean of height and width (degrees are converted at the centre)."""
        height, width = self.pixel_size
        if self.crs.is_geographic:
            latitude = self.transform.f + self.transform.e * self.shape[0] / 2
            metre = math.pi / 180 * 6_371_007.2
            return math.sqrt(height * width * math.cos(math.radians(latitude))) * metre
        return math.sqrt(height * width) * float(self.crs.axis_info[0].unit_conversion_factor or 1.0)

    @property
    def window(self) -> Window:
        """The whole grid as a window."""
        return Window(0, 0, *self.shape)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top in CRS units."""
        return self.window_bounds(self.window)

    def window_bounds(self, window: Window) -> tuple[float, float, float, float]:
        """Return left, bottom, right, top of `window` in CRS units."""
        left, top = self.transform * (window.col0, window.row0)
        right, bottom = self.transform * (window.col1, window.row1)
        return left, bottom, right, top

    def cropped(self, window: Window) -> Grid:
        """Return the grid of `window`, which may reach beyond this grid."""
        return Grid(
            GeoBox(window.shape, self.transform * Affine.translation(window.col0, window.row0), self.geobox.crs)
        )

    def padded(self, px: int) -> Grid:
        """Return the grid grown by `px` pixels on each side."""
        return self.cropped(self.window.padded(px))

    def blocks(self, over: Window | None = None) -> Iterator[Window]:
        """Yield the lattice blocks, row by row; of those only the ones that `over` touches, without a look at the others."""
        (rows, cols), common = self.shape, self.window.intersection(over or self.window)
        if common is None:
            return
        for row in range(common.row0 // BLOCK_PX * BLOCK_PX, common.row1, BLOCK_PX):
            for col in range(common.col0 // BLOCK_PX * BLOCK_PX, common.col1, BLOCK_PX):
                yield Window(row, col, min(row + BLOCK_PX, rows), min(col + BLOCK_PX, cols))


def lattice_grid(reference: Grid, bounds: tuple[float, float, float, float]) -> Grid:
    """Return the grid of `reference` extended or cut to the whole blocks that hold `bounds`.

    The origin stays a whole number of blocks away from the origin of `reference`, so that the blocks of an area's grid
    are the blocks of the scene's file and none is decoded twice.

    Parameters
    ----------
    reference
        Grid of the scene that most others share.
    bounds
        Left, bottom, right, top in the CRS of `reference`.
    """
    col0, row0 = ~reference.transform * (bounds[0], bounds[3])
    col1, row1 = ~reference.transform * (bounds[2], bounds[1])
    # A bound that lies on a block edge must not pull in the next block through rounding.
    tiny = 1e-6
    first_col, first_row = (math.floor(v / BLOCK_PX + tiny) * BLOCK_PX for v in (col0, row0))
    last_col, last_row = (math.ceil(v / BLOCK_PX - tiny) * BLOCK_PX for v in (col1, row1))
    last_col, last_row = max(last_col, first_col + BLOCK_PX), max(last_row, first_row + BLOCK_PX)
    return reference.cropped(Window(first_row, first_col, last_row, last_col))


def utm_crs(longitude: float, latitude: float) -> CRS:
    """Return the WGS 84 / UTM zone of a point; used where all scenes of an area are geographic."""
    zone = min(int((longitude + 180) // 6) + 1, 60)
    return _of_epsg((32600 if latitude >= 0 else 32700) + zone)


@lru_cache(maxsize=120)
def _of_epsg(code: int) -> CRS:
    return CRS.from_epsg(code)


# Kept by the text that a CRS was made from: its own hash is that of its WKT, which PROJ writes anew each time.
@lru_cache(maxsize=256)
def _wkt(crs: str) -> str:
    return str(CRS.from_user_input(crs).to_wkt())


def wkt_of(crs: CRS) -> str:
    """Return the WKT of a CRS, kept: for ten thousand areas on one grid it is asked some fifty thousand times."""
    return _wkt(crs.srs)


@lru_cache(maxsize=256)
def _epsg(crs: str) -> int | None:
    code: int | None = CRS.from_user_input(crs).to_epsg()
    return code


def epsg_of(crs: CRS) -> int | None:
    """Return the number that a CRS has in the register of EPSG, None where PROJ is not sure of any; kept, too."""
    return _epsg(crs.srs)


@lru_cache(maxsize=256)
def _same(crs: str, other: str) -> bool:
    return bool(CRS.from_user_input(crs) == CRS.from_user_input(other))


def same_crs(crs: CRS, other: CRS) -> bool:
    """Tell whether two CRS are one; kept, too."""
    return crs is other or _same(crs.srs, other.srs)


@lru_cache(maxsize=256)
def _transformer(source: str, target: str, allow_ballpark: bool) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True, allow_ballpark=allow_ballpark, only_best=True)


@lru_cache(maxsize=256)
def _geodetic(crs: str) -> CRS:
    whole = CRS.from_user_input(crs)
    return whole.geodetic_crs or whole


def _geodetic_of(crs: CRS) -> CRS:
    """The geographic CRS under a projected one, kept: PROJ builds it anew each time it is asked."""
    return _geodetic(crs.srs)


@lru_cache(maxsize=256)
def _geodetic_name(crs: str) -> str:
    geodetic = _geodetic(crs)
    code = geodetic.to_epsg()
    return f"EPSG:{code}" if code else str(geodetic.name)


def coordinate_transformer(source: CRS, target: CRS, allowed: frozenset[str] = frozenset()) -> Transformer:
    """Return a transformer that never moves coordinates between datums by guesswork.

    PROJ shifts Beijing 1954 or Xian 1980 to CGCS2000 by 0.0 m, silently, where it has no parameters (a "ballpark"
    transformation); the true shift is tens of metres. Such a pair is refused unless it is allowed by name.

    Parameters
    ----------
    source, target
        Coordinate reference systems; axis order is always longitude/easting first.
    allowed
        Pairs of geodetic systems that may be taken as equal, each ``"EPSG:4326=EPSG:4490"`` in either order.

    Raises
    ------
    GridError
        ``DATUM_AMBIGUOUS`` where only a ballpark transformation exists and the pair is not allowed.
    """
    a, b = _geodetic_name(source.srs), _geodetic_name(target.srs)
    named = a == b or f"{a}={b}" in allowed or f"{b}={a}" in allowed
    if named and {a, b} == _EQUAL:
        # One of them in place of the other: the same numbers, and no search.
        if target.is_geographic:
            target = _geodetic_of(source)
        elif source.is_geographic:
            source = _geodetic_of(target)
    try:
        return _transformer(source.srs, target.srs, named)
    except ProjError as error:
        raise GridError(
            "DATUM_AMBIGUOUS",
            f"{source.name} → {target.name}",
            "no transformation with known parameters; a ballpark one would move the boundary by tens of metres unseen",
            f"transform the file with official parameters, or add '{a}={b}' to allow_datum if they are truly the same",
        ) from error


def transformed(
    geometry: BaseGeometry, source: CRS, target: CRS, allowed: frozenset[str] = frozenset()
) -> BaseGeometry:
    """Return `geometry` in `target` coordinates; see `coordinate_transformer` for what is refused."""
    if same_crs(source, target):
        return geometry
    transformer = coordinate_transformer(source, target, allowed)

    def project(xy: np.ndarray) -> np.ndarray:
        return np.column_stack(transformer.transform(xy[:, 0], xy[:, 1]))

    return shapely.transform(geometry, project)


def geodesic_area_m2(geometry: BaseGeometry, crs: CRS) -> float:
    """Return the area of a polygon on the GRS 80 ellipsoid, in square metres; see `geodesic_areas_m2`."""
    return geodesic_areas_m2([geometry], crs)[0]


def geodesic_areas_m2(geometries: Sequence[BaseGeometry], crs: CRS) -> list[float]:
    """Return the areas of polygons on the GRS 80 ellipsoid, in square metres; the only area function of ecowatch.

    Edges are straight in the polygon's own CRS, so long ones are densified before they are taken as geodesics.
    Holes count negative, parts add up, an empty geometry has area 0. Many at a time take a third of the time.

    Parameters
    ----------
    geometries
        Valid Polygons or MultiPolygons; other types have no area.
    crs
        CRS of their coordinates.

    Returns
    -------
    list of float
        Area in m² of each, never negative.

    Source
    ------
    Karney, C. F. F. (2013): Algorithms for geodesics. J. Geodesy 87, 43–55, section 6; as implemented by PROJ.
    """
    corners = np.cumsum([0, *shapely.get_num_coordinates(list(geometries)).tolist()])[:-1] // _CORNERS_AT_ONCE
    bounds = [0, *(np.flatnonzero(np.diff(corners)) + 1).tolist(), len(geometries)]
    return [area for first, last in pairwise(bounds) for area in _areas_m2(geometries[first:last], crs)]


def _areas_m2(geometries: Sequence[BaseGeometry], crs: CRS) -> list[float]:
    geodetic = None if crs.is_geographic else _geodetic_of(crs)
    parts, owner = shapely.get_parts(list(geometries), return_index=True)
    solid = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    rings, part_of = shapely.get_rings(parts[solid], return_index=True)
    rings = _densified(rings, _DENSIFY_DEG if geodetic is None else _DENSIFY_M)
    if geodetic is not None:
        rings = transformed(rings, crs, geodetic)
    longitude, latitude = shapely.get_coordinates(rings).T
    shells, holes = [0.0] * len(parts), [0.0] * len(parts)
    begin, former = 0, -1
    for points, part in zip(shapely.get_num_coordinates(rings).tolist(), part_of.tolist(), strict=True):
        end = begin + points
        area = abs(_GEOD.polygon_area_perimeter(longitude[begin:end], latitude[begin:end])[0])
        # The first ring of a polygon is its shell; the others are holes.
        (holes if part == former else shells)[part] += area
        begin, former = end, part
    totals = [0.0] * len(geometries)
    for whole, shell_m2, holes_m2 in zip(owner[solid].tolist(), shells, holes, strict=False):
        totals[whole] += shell_m2 - holes_m2
    return [max(total, 0.0) for total in totals]


def _densified(lines: np.ndarray, longest: float) -> np.ndarray:
    """Divide the edges of lines that are longer than so much; hardly any patch has such an edge, and to ask is cheap."""
    points, line = shapely.get_coordinates(lines, return_index=True)
    edges = np.hypot(*np.diff(points, axis=0).T)
    long = np.unique(line[1:][(edges > 0.999 * longest) & (line[1:] == line[:-1])])
    dense: np.ndarray = lines.copy()
    dense[long] = shapely.segmentize(lines[long], longest)
    return dense


def geodesic_length_m(line: BaseGeometry, crs: CRS) -> float:
    """Return the length of a line on the GRS 80 ellipsoid, in metres."""
    if line.is_empty:
        return 0.0
    return float(_GEOD.geometry_length(transformed(line, crs, _geodetic_of(crs))))
