"""Lines through patches: the longest path of a skeleton, and the whole network where a patch is made of roads."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from shapely.geometry import LineString, MultiLineString

from ..grid import Grid
from ._kernels import walk_farthest
from .label import PixelPatch

Array = np.ndarray[Any, Any]

_MAX_BRANCHES = 60
_MAX_NETWORK_PX = 50_000
_EVEN = 0.35


class Network(NamedTuple):
    """Lines through a patch, in the CRS of its grid.

    ``main`` is the longest path, ``lines`` the network with its branches; ``even`` says whether the patch is of one width all
    along, as roads are and heaps and pits are not.
    """

    main: LineString
    lines: MultiLineString
    even: bool


def _skeleton(image: Array) -> Array:
    # The package brings much along, and few patches are thin: it is fetched when the first one is met.
    from skimage.morphology import skeletonize  # noqa: PLC0415

    skeleton: Array = skeletonize(image.astype(bool))
    return skeleton


def centre_line(patch: PixelPatch, grid: Grid) -> LineString | None:
    """Return the longest path of the patch's skeleton, in the CRS of `grid`; None where it is a point.

    Source
    ------
    Zhang & Suen (1984), thinning; longest path by two breadth-first walks (exact on a tree).
    """
    skeleton = _skeleton(patch.image(border_px=1))
    path = _longest_path(skeleton.astype(np.uint8))
    return None if path is None else _line(path, skeleton.shape[1], patch, grid)


def centre_network(patch: PixelPatch, grid: Grid) -> Network | None:
    """Return the lines through a patch, side branches included; None where its skeleton is a point.

    Branches are taken from the longest on. One no longer than the patch is wide where it leaves is a corner of the
    outline, no branch.

    Source
    ------
    Zhang & Suen (1984), thinning; widths by the distance transform. The pruning is ours.
    """
    image = patch.image(border_px=1).astype(bool)
    skeleton = _skeleton(image)
    path = _longest_path(skeleton.astype(np.uint8))
    if path is None:
        return None
    depth = ndimage.distance_transform_edt(image).ravel()
    # Branches cost a walk each; a heap, whose width changes along its longest path, is spared them.
    paths = [path, *_branches(skeleton, path, depth)] if _even(depth[path]) else [path]
    lines = [_line(p, skeleton.shape[1], patch, grid) for p in paths]
    return Network(lines[0], MultiLineString(lines), _even(depth[np.unique(np.concatenate(paths))]))


def _even(depth: Array) -> bool:
    return bool(depth.std() <= _EVEN * depth.mean())


def _branches(skeleton: Array, path: Array, depth: Array) -> list[Array]:
    """Flat indices of each side branch, its foot on what was taken before included."""
    cells = np.flatnonzero(skeleton)
    if len(cells) > _MAX_NETWORK_PX:
        return []
    graph = _neighbours(skeleton, cells)
    number = np.full(skeleton.size, -1, np.int64)
    number[cells] = np.arange(len(cells))
    taken = np.zeros(len(cells), bool)
    taken[number[path]] = True
    found: list[Array] = []
    for _ in range(_MAX_BRANCHES):
        far, came, _sources = dijkstra(
            graph, indices=np.flatnonzero(taken), unweighted=True, min_only=True, return_predecessors=True
        )
        far[~np.isfinite(far)] = 0
        tip = int(far.argmax())
        if far[tip] < 2:
            break
        branch = [tip]
        while not taken[branch[-1]]:
            branch.append(int(came[branch[-1]]))
        taken[branch] = True
        # Depth at the foot is half the width there.
        if far[tip] > 2 * depth[cells[branch[-1]]] + 1:
            found.append(cells[branch])
    return found


def _neighbours(skeleton: Array, cells: Array) -> csr_array:
    """Which skeleton cells touch, 8-connected, by their number among `cells`."""
    number = np.full(skeleton.size, -1, np.int64)
    number[cells] = np.arange(len(cells))
    width = skeleton.shape[1]
    pairs = []
    for step in (1, width, width + 1, width - 1):
        # The border of the image is empty, so no step leaves it.
        near = number[np.minimum(cells + step, skeleton.size - 1)]
        pairs.append(np.column_stack([np.arange(len(cells)), near])[near >= 0])
    first, second = np.concatenate(pairs).T
    ones = np.ones(2 * len(first), np.int8)
    both = (np.concatenate([first, second]), np.concatenate([second, first]))
    return csr_array((ones, both), shape=(len(cells), len(cells)))


def _line(path: Array, width: int, patch: PixelPatch, grid: Grid) -> LineString:
    window, t = patch.window.padded(1), grid.transform
    row, col = np.divmod(path, width)
    points = np.column_stack([t.c + t.a * (col + 0.5 + window.col0), t.f + t.e * (row + 0.5 + window.row0)])
    return LineString(points).simplify(max(grid.pixel_size))


def _longest_path(cells: Array) -> Array | None:
    """Flat indices, int64 ``(n,)``, of the longest path over a skeleton; None where it is a point."""
    flat = np.flatnonzero(cells)
    if len(flat) < 2:
        return None
    came, queue = np.empty(cells.size, np.int64), np.empty(len(flat), np.int64)
    first = walk_farthest(cells, int(flat[0]), came, queue)
    cell = walk_farthest(cells, first, came, queue)
    path = [cell]
    while came[cell] != cell:
        cell = int(came[cell])
        path.append(cell)
    return np.array(path, np.int64) if len(path) > 1 else None
