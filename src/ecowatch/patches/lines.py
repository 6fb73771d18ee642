"""Lines through patches: the longest path of a skeleton, and the whole network where a patch is made of roads."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from shapely.geometry import LineString, MultiLineString

from ..grid import Grid
from ._shape_kernels import squared_depth, thin, walk_farthest, walk_from
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


def _skeleton(patch: PixelPatch) -> Array:
    """The patch thinned to lines of one pixel: uint8, an empty border of one pixel around it."""
    image = patch.image(border_px=1)
    thin(image)
    return image


def centre_line(patch: PixelPatch, grid: Grid) -> LineString | None:
    """Return the longest path of the patch's skeleton, in the CRS of `grid`; None where it is a point.

    Source
    ------
    Guo & Hall (1989), thinning; longest path by two breadth-first walks (exact on a tree).
    """
    skeleton = _skeleton(patch)
    path = _longest_path(skeleton)
    return None if path is None else _line(path, skeleton.shape[1], patch, grid)


def centre_network(patch: PixelPatch, grid: Grid) -> Network | None:
    """Return the lines through a patch, side branches included; None where its skeleton is a point.

    Branches are taken from the longest on. One no longer than the patch is wide where it leaves is a corner of the
    outline, no branch.

    Source
    ------
    Guo & Hall (1989), thinning; widths by the distance transform. The pruning is ours.
    """
    skeleton = _skeleton(patch)
    path = _longest_path(skeleton)
    if path is None:
        return None
    squared = np.empty(skeleton.shape, np.int32)
    squared_depth(patch.image(border_px=1).view(bool), squared)
    depth = np.sqrt(squared).ravel()
    # Branches cost a walk each; a heap, whose width changes along its longest path, is spared them.
    paths = [path, *_branches(skeleton, path, depth)] if _even(depth[path]) else [path]
    lines = [_line(p, skeleton.shape[1], patch, grid) for p in paths]
    return Network(lines[0], MultiLineString(lines), _even(depth[np.unique(np.concatenate(paths))]))


def _even(depth: Array) -> bool:
    return bool(depth.std() <= _EVEN * depth.mean())


def _branches(skeleton: Array, path: Array, depth: Array) -> list[Array]:
    """Flat indices of each side branch, its foot on what was taken before included."""
    count = int(np.count_nonzero(skeleton))
    if count > _MAX_NETWORK_PX:
        return []
    taken = np.zeros(skeleton.size, np.uint8)
    taken[path] = 1
    steps, came = np.empty(skeleton.size, np.int32), np.empty(skeleton.size, np.int64)
    queue = np.empty(count, np.int64)
    found: list[Array] = []
    for _ in range(_MAX_BRANCHES):
        tip = walk_from(skeleton, taken, steps, came, queue)
        if steps[tip] < 2:
            break
        branch = [tip]
        while not taken[branch[-1]]:
            branch.append(int(came[branch[-1]]))
        taken[branch] = 1
        # Depth at the foot is half the width there.
        if steps[tip] > 2 * depth[branch[-1]] + 1:
            found.append(np.array(branch, np.int64))
    return found


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
