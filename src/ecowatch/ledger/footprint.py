"""What stands on the ground, as geometry: how two outlines differ when each may lie a little beside the truth.

All rests on what a shift by at most the tolerance t can do. A shape stays within itself grown by t, and its image, shrunk by t,
within itself. What two disjoint shapes share after the shift, or what a shape loses to its own image, holds no disk wider
than t: that disk and the one it was shifted from would have to be disjoint. So ground beyond an outline grown by t is new;
and ground is truly shared that holds a disk wider than t, or is met by one outline shrunk by t.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import shapely
from pyproj import CRS, Transformer
from shapely.geometry.base import BaseGeometry

from ..grid import coordinate_transformer, geodesic_area_m2
from .geometry import LEDGER_CRS
from .grouping import Groups, pairs_within

# Buffers are polygons inscribed in the true ones (by 0.5 %).
_SLACK = 1.01
_PIECE_VERTICES = 256
# A narrow site re-seen by its own width is still the same: this share of the smaller outline counts as truly shared.
_MOST = 0.5


@dataclass(frozen=True)
class Frame:
    """The way between the ledger's coordinates and metres.

    Parameters
    ----------
    crs
        Metric CRS; distances and buffers are taken in it, areas never.
    """

    crs: CRS

    def metric(self, geometries: Iterable[BaseGeometry]) -> np.ndarray:
        """Return an array of geometries in metres; all vertices in one call."""
        return _moved(geometries, self._there)

    def ledger(self, geometry: BaseGeometry) -> BaseGeometry:
        """Return a geometry in the ledger's coordinates."""
        return _moved([geometry], self._back)[0]

    # A transformer is looked up by the text of both systems, which takes longer than to move a patch.
    @cached_property
    def _there(self) -> Transformer:
        return coordinate_transformer(LEDGER_CRS, self.crs)

    @cached_property
    def _back(self) -> Transformer:
        return coordinate_transformer(self.crs, LEDGER_CRS)


def _moved(geometries: Iterable[BaseGeometry], transformer: Transformer) -> np.ndarray:
    def project(xy: np.ndarray) -> np.ndarray:
        return np.column_stack(transformer.transform(xy[:, 0], xy[:, 1]))

    moved: np.ndarray = shapely.transform(as_array(geometries), project)
    return moved


def as_array(geometries: Iterable[BaseGeometry]) -> np.ndarray:
    """Return geometries as a one-dimensional array of objects."""
    listed = list(geometries)
    array = np.empty(len(listed), dtype=object)
    array[:] = listed
    return array


def polygons(geometry: BaseGeometry) -> np.ndarray:
    """Return the polygons of any geometry; points and lines, which set operations leave behind, are dropped."""
    parts: np.ndarray = shapely.get_parts(shapely.get_parts(geometry))
    real: np.ndarray = parts[(shapely.get_type_id(parts) == 3) & ~shapely.is_empty(parts)]
    return real


def united(geometries: Sequence[BaseGeometry] | np.ndarray) -> BaseGeometry:
    """Return the union; a single geometry comes back as it is, with its own coordinates."""
    return geometries[0] if len(geometries) == 1 else shapely.union_all(as_array(geometries))


def surface(geometry: BaseGeometry) -> BaseGeometry:
    """Return the polygonal part of a geometry."""
    return geometry if geometry.geom_type in ("Polygon", "MultiPolygon") else united(polygons(geometry))


class Reached(NamedTuple):
    """Patches and footprints within reach of each other: indices pair by pair, and the footprint's ground near the patch."""

    patch: np.ndarray
    footprint: np.ndarray
    ground: np.ndarray


def reached(patches: np.ndarray, footprints: np.ndarray, reach_m: np.ndarray) -> Reached:
    """Find the footprints within reach of patches.

    Of a footprint with many corners only the ground that a patch reaches is returned, so that many patches on a large
    footprint do not each meet all of it.

    Parameters
    ----------
    patches, footprints
        Arrays of polygonal geometries in metres.
    reach_m
        For each patch the largest distance, in m, itself included.
    """
    pieces, owner = _in_pieces(footprints)
    if not len(patches) or not len(pieces):
        return Reached(owner[:0], owner[:0], pieces[:0])
    patch, piece = shapely.STRtree(pieces).query(patches, predicate="dwithin", distance=reach_m)
    order = np.lexsort((piece, owner[piece], patch))
    patch, piece = patch[order], piece[order]
    keys = np.stack([patch, owner[piece]])
    fresh = np.append(True, np.any(keys[:, 1:] != keys[:, :-1], axis=0))[: len(patch)]
    starts = np.flatnonzero(fresh)
    ends = np.append(starts[1:], len(patch))
    ground = pieces[piece[starts]]
    for at in np.flatnonzero(ends - starts > 1).tolist():
        ground[at] = united(pieces[piece[starts[at] : ends[at]]])
    return Reached(patch[starts], owner[piece[starts]], ground)


def _in_pieces(geometries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Geometries, those with many corners cut into pieces of few, with the index of the geometry that each is of."""
    pieces: list[BaseGeometry] = []
    owner: list[int] = []
    for at, many in enumerate((shapely.get_num_coordinates(geometries) > _PIECE_VERTICES).tolist()):
        found = [piece for part in polygons(geometries[at]) for piece in _cut(part)] if many else [geometries[at]]
        pieces += found
        owner += [at] * len(found)
    return as_array(pieces), np.array(owner, np.intp)


def shared_ground(
    first: np.ndarray, second: np.ndarray, *, smaller_m2: np.ndarray, tolerance_m: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Measure what pairs of outlines share, and say whether they share it beyond the tolerance.

    Parameters
    ----------
    first, second
        Arrays of polygons in metres, pair by pair; of a large one its ground near the other will do.
    smaller_m2
        Area of the smaller of the two, in the same plane.
    tolerance_m
        How far the outlines of a pair may lie beside the truth, in m.

    Returns
    -------
    tuple of numpy.ndarray
        Shared area in the CRS of the polygons (for ranking), float64; and bool: True where the shared ground is wider than
        the tolerance, where one outline reaches across the other by more than it, or where half of the smaller is shared.
    """
    shared = shapely.intersection(first, second)
    area = shapely.area(shared)
    most = (area > 0) & (area >= _MOST * smaller_m2)
    beyond = most.copy()
    unsure = np.flatnonzero(~most & (area > 0))
    core = shapely.buffer(shared[unsure], -tolerance_m[unsure] / 2 * _SLACK)
    beyond[unsure] = shapely.area(core) > 0
    for one, other in ((first, second), (second, first)):
        unsure = np.flatnonzero(~beyond & (area > 0))
        core = shapely.buffer(one[unsure], -tolerance_m[unsure] * _SLACK)
        beyond[unsure] = shapely.area(shapely.intersection(core, other[unsure])) > 0
    return area, beyond


def new_ground(patches: np.ndarray, footprint: BaseGeometry, tolerance_m: np.ndarray) -> BaseGeometry:
    """Return what of patches lies beyond a footprint grown by the tolerance, in metres' coordinates."""
    found = []
    for tolerance in np.unique(tolerance_m):
        grown = shapely.buffer(footprint, tolerance * _SLACK)
        found.append(shapely.difference(united(patches[tolerance_m == tolerance]), grown))
    return united(found)


def opened(geometry: BaseGeometry, width_m: float) -> BaseGeometry:
    """Return a geometry without what is thinner than a width; a geometry that is thin all over comes back whole.

    The corners of what stays are restored; of a thin arm a stub of a quarter of the width may stay.
    """
    radius = width_m / 2 * _SLACK
    core = shapely.buffer(geometry, -radius) if radius > 0 else geometry
    if radius == 0 or core.is_empty:
        return geometry
    return surface(shapely.intersection(geometry, shapely.buffer(core, 1.5 * radius, join_style="mitre")))


def without_slivers(left: BaseGeometry, frame: Frame, width_m: float) -> BaseGeometry:
    """Drop from remaining ground what is thinner than a width, keeping all other coordinates.

    Parameters
    ----------
    left
        Polygonal geometry in the ledger's coordinates.
    frame
        The way to metres.
    width_m
        Strips thinner than this, in m, are no ground but the doubt about an outline.

    Returns
    -------
    shapely geometry
        In the ledger's coordinates; `left` itself where nothing was to be dropped, empty where nothing is left.
    """
    radius = width_m / 2 * _SLACK
    if left.is_empty or radius == 0:
        return left
    core = shapely.buffer(frame.metric([left])[0], -radius)
    if core.is_empty:
        return core
    kept = surface(shapely.intersection(left, frame.ledger(shapely.buffer(core, 1.5 * radius, join_style="mitre"))))
    return left if kept.area >= left.area * (1 - 1e-9) else kept


def is_thin(footprint_m: BaseGeometry, width_m: float) -> bool:
    """Return whether a footprint, in metres, is nowhere wider than a width."""
    return bool(shapely.buffer(footprint_m, -width_m / 2 * _SLACK).is_empty)


def sites(footprint: BaseGeometry, frame: Frame, join_m: float) -> list[BaseGeometry]:
    """Return the groups of parts of a footprint that lie farther than a distance from each other, largest first.

    Parameters
    ----------
    footprint
        Polygonal geometry in the ledger's coordinates.
    frame
        The way to metres.
    join_m
        Parts within this distance, in m, are one site.
    """
    parts = polygons(footprint)
    metric = frame.metric(parts)
    groups = Groups(len(parts))
    first, second, _ = pairs_within(metric, join_m)
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        groups.join(a, b)
    found = sorted(groups.components(), key=lambda at: (-round(float(shapely.area(metric[at]).sum()), 2), at))
    return [_assembled(parts[at]) for at in found]


def assembled(geometries: Sequence[BaseGeometry]) -> BaseGeometry:
    """Return one geometry of disjoint ones, with their own coordinates."""
    return _assembled(np.concatenate([polygons(geometry) for geometry in geometries]))


def _assembled(parts: np.ndarray) -> BaseGeometry:
    return parts[0] if len(parts) == 1 else shapely.multipolygons(parts)


def seen_shares(footprints: np.ndarray, unseen: BaseGeometry | None) -> np.ndarray:
    """Return which share of each footprint was observed.

    Shares are ratios of areas within one footprint, so degrees serve as well as metres.

    Parameters
    ----------
    footprints
        Array of polygonal geometries in the ledger's coordinates.
    unseen
        What was not observed, in the same coordinates, or None. It may be as large as one likes: it is cut into small pieces
        first, so that no footprint meets all of it.

    Returns
    -------
    numpy.ndarray
        float64 from 0 to 1.
    """
    if unseen is None or unseen.is_empty or not len(footprints):
        return np.ones(len(footprints))
    clouds, _ = _in_pieces(as_array([unseen]))
    grounds, owner = _in_pieces(footprints)
    ground, cloud = shapely.STRtree(clouds).query(grounds, predicate="intersects")
    hidden = shapely.area(shapely.intersection(grounds[ground], clouds[cloud]))
    total = np.maximum(shapely.area(footprints), np.finfo(float).tiny)
    shares: np.ndarray = np.clip(1 - np.bincount(owner[ground], hidden, len(footprints)) / total, 0, 1)
    return shares


def _cut(polygon: BaseGeometry, depth: int = 24) -> Iterator[BaseGeometry]:
    """Halve a polygon across its longer side until its pieces are small."""
    if depth == 0 or shapely.get_num_coordinates(polygon) <= _PIECE_VERTICES:
        yield polygon
        return
    left, bottom, right, top = polygon.bounds
    x, y = (left + right) / 2, (bottom + top) / 2
    wide = right - left > top - bottom
    halves = (
        ((left, bottom, x, top), (x, bottom, right, top)) if wide else ((left, bottom, right, y), (left, y, right, top))
    )
    for half in halves:
        for part in polygons(shapely.intersection(polygon, shapely.box(*half))):
            yield from _cut(part, depth - 1)


def area_m2(geometry: BaseGeometry, crs: CRS = LEDGER_CRS) -> float:
    """Return the geodesic area of a polygonal geometry, by default in the ledger's coordinates."""
    return geodesic_area_m2(geometry, crs)
