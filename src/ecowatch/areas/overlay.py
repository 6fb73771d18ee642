"""Shares, overlaps and partitions of polygons that lie in one CRS; every figure in m² is an area on the ellipsoid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from ..grid import geodesic_area_m2, geodesic_areas_m2
from .model import polygonal

_SHARE_DECIMALS = 4
_OVERLAP_M2 = 1.0
_MAJORITY = 0.5


@contextmanager
def prepared(geometries: BaseGeometry | NDArray[np.object_]) -> Iterator[None]:
    """Prepare polygons for many questions, for the length of a ``with`` block.

    What GEOS makes for that is several times as large as the polygon, 0.6 MB for a boundary of 5000 corners, and would stay as
    long as the polygon: all areas of a country do not fit in memory so.

    Parameters
    ----------
    geometries
        One or many; no other thread may ask anything of them meanwhile.
    """
    shapely.prepare(geometries)
    try:
        yield
    finally:
        shapely.destroy_prepared(geometries)


class Overlay:
    """Labelled polygons that many patches are laid over: their tree is built once, not anew for each area.

    Parameters
    ----------
    parts
        (label, polygon) pairs in one CRS; what several parts of one label cover counts once.
    """

    def __init__(self, parts: Iterable[tuple[str, BaseGeometry]]) -> None:
        kept = list(parts)
        self.labels = tuple(label for label, _ in kept)
        self.outlines = _array([geometry for _, geometry in kept])
        self._tree = shapely.STRtree(self.outlines)

    def touching(self, patches: NDArray[np.object_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return which patch (first array) touches which part (second array)."""
        patch_of, part_of = self._tree.query(patches, predicate="intersects")
        return patch_of, part_of


def overlap_shares(geometry: BaseGeometry, parts: Sequence[tuple[str, BaseGeometry]], crs: CRS) -> dict[str, float]:
    """Return which share of `geometry` lies in each part.

    Parameters
    ----------
    geometry
        Polygon or MultiPolygon.
    parts
        (label, polygon) pairs; what several parts of one label cover counts once.
    crs
        CRS of all of them.

    Returns
    -------
    dict
        Label to share of the area on the ellipsoid, 0–1 to four decimals, sorted by label; zero shares are left out.
    """
    return overlap_shares_of([geometry], parts, crs)[0]


def overlap_shares_of(
    geometries: Sequence[BaseGeometry], parts: Sequence[tuple[str, BaseGeometry]] | Overlay, crs: CRS
) -> list[dict[str, float]]:
    """Return `overlap_shares` of each of many polygons, such as the patches of an area.

    Parameters
    ----------
    geometries
        Polygons.
    parts
        What they are laid over; an `Overlay` where more patches will be laid over the same.
    crs
        CRS of all of them.
    """
    overlay = parts if isinstance(parts, Overlay) else Overlay(parts)
    outlines, labels, patches = overlay.outlines, overlay.labels, _array(geometries)
    patch_of, part_of = overlay.touching(patches)
    with prepared(outlines[np.unique(part_of)]):
        # Most patches lie wholly inside one zone: no need to cut, or to measure, those.
        inside = shapely.covers(outlines[part_of], patches[patch_of])
    pieces: list[defaultdict[str, list[BaseGeometry]]] = [defaultdict(list) for _ in geometries]
    for patch, part, whole in zip(patch_of, part_of, inside, strict=True):
        piece = patches[patch] if whole else polygonal(shapely.intersection(patches[patch], outlines[part]))
        pieces[patch][labels[part]].append(piece)
    return [_shares(patch, found, crs) for patch, found in zip(geometries, pieces, strict=True)]


def _shares(patch: BaseGeometry, pieces: Mapping[str, list[BaseGeometry]], crs: CRS) -> dict[str, float]:
    if patch.area <= 0:
        return {}
    cut = {label for label in pieces if not any(piece is patch for piece in pieces[label])}
    # Only a patch that is cut needs its area: one that lies wholly inside has a share of 1.
    total = geodesic_area_m2(patch, crs) if cut else 0.0
    shares = {}
    for label in sorted(pieces):
        share = 1.0
        if label in cut:
            share = round(min(union_area_m2(pieces[label], crs) / total, 1.0), _SHARE_DECIMALS)
        if share > 0:
            shares[label] = share
    return shares


def majority(shares: Mapping[str, float]) -> str | None:
    """Return the label with the largest share if it covers at least half; the first by name where two are equal."""
    best = min(shares, key=lambda label: (-shares[label], label), default=None)
    return best if best is not None and shares[best] >= _MAJORITY else None


def union_area_m2(geometries: Sequence[BaseGeometry], crs: CRS, known_m2: Sequence[float] | None = None) -> float:
    """Return what the polygons cover together, in m²; what several cover counts once.

    Parameters
    ----------
    geometries, crs
        As for `geodesic_areas_m2`.
    known_m2
        What that gave of each of them, where it was asked before.
    """
    outlines = _array(geometries)
    first, second = shapely.STRtree(outlines).query(outlines, predicate="intersects")
    meeting = np.unique(first[first != second])
    # Only what meets another has to be joined: joining thousands of lone patches would take most of a run's last minute.
    alone = np.setdiff1d(np.arange(len(outlines)), meeting)
    if known_m2 is None:
        total = sum(geodesic_areas_m2([polygonal(outline) for outline in outlines[alone]], crs))
    else:
        total = sum(known_m2[number] for number in alone)
    return total + geodesic_area_m2(polygonal(shapely.union_all(outlines[meeting])), crs)


def overlaps_between(areas: Mapping[str, BaseGeometry], crs: CRS) -> list[tuple[str, str, float]]:
    """Return the pairs of areas that share at least 1 m².

    Parameters
    ----------
    areas
        Polygons by identity.
    crs
        CRS of all of them.

    Returns
    -------
    list of (id, id, m²)
        Sorted; the smaller identity first.
    """
    names = sorted(areas)
    outlines = _array([areas[name] for name in names])
    first, second = shapely.STRtree(outlines).query(outlines, predicate="intersects")
    found = []
    for a, b in sorted((int(a), int(b)) for a, b in zip(first, second, strict=True) if a < b):
        common = geodesic_area_m2(polygonal(shapely.intersection(outlines[a], outlines[b])), crs)
        if common >= _OVERLAP_M2:
            found.append((names[a], names[b], common))
    return found


def _array(geometries: Sequence[BaseGeometry]) -> NDArray[np.object_]:
    result = np.empty(len(geometries), dtype=object)
    result[:] = list(geometries)
    return result
