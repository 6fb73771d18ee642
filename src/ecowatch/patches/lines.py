"""Lines through patches: the longest path of a skeleton, with its branches where a patch is made of roads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely

from ..grid import Grid
from ._shape_kernels import longest_path, squared_depth_at, thin, walk_from
from .label import PixelPatch

Array = np.ndarray[Any, Any]

_MAX_BRANCHES = 60
_MAX_NETWORK_PX = 50_000
_EVEN = 0.35


def centre_lines(patches: Sequence[PixelPatch], grid: Grid) -> Array:
    """Return the lines through patches, in the CRS of `grid`; many at a time cost little more than one.

    The longest path of a patch's skeleton; with its side branches where the patch is of one width all along, as roads are and
    heaps and pits are not. Branches are taken from the longest on. One no longer than the patch is wide where it leaves is a
    corner of the outline, no branch.

    Returns
    -------
    ndarray
        object ``(n,)``: LineString, MultiLineString with the longest path first, or None where the skeleton is a point.

    Source
    ------
    Guo & Hall (1989), thinning; longest path by two breadth-first walks (exact on a tree); widths by the distance
    transform. The pruning is ours.
    """
    lines = np.full(len(patches), None, object)
    found = [_paths(patch) for patch in patches]
    paths = [path for own in found for path in own]
    if not paths:
        return lines
    row, col = np.concatenate(paths, axis=1)
    t = grid.transform
    points = np.column_stack([t.c + t.a * (col + 0.5), t.f + t.e * (row + 0.5)])
    number = np.repeat(np.arange(len(paths)), [path.shape[1] for path in paths])
    every = shapely.simplify(shapely.linestrings(points, indices=number), max(grid.pixel_size))
    counts = np.array([len(own) for own in found])
    owner = np.repeat(np.arange(len(patches)), counts)
    single = counts[owner] == 1
    lines[owner[single]] = every[single]
    shapely.multilinestrings(every[~single], indices=owner[~single], out=lines)
    return lines


def _paths(patch: PixelPatch) -> list[Array]:
    """Rows and columns ``(2, n)`` of the lines through a patch, on the area's grid; none where its skeleton is a point."""
    skeleton = patch.image(border_px=1)
    inside = skeleton.astype(bool)
    thin(skeleton)
    cells = np.flatnonzero(skeleton)
    if len(cells) < 2:
        return []
    path = np.empty(len(cells), np.int64)
    path = path[: longest_path(skeleton, path)]
    squared = np.empty(len(cells), np.int64)
    squared_depth_at(inside, cells, squared)
    depth = np.empty(skeleton.size)
    depth[cells] = np.sqrt(squared)
    paths = [path]
    # Branches cost a walk each; a heap, whose width changes along its longest path, is spared them.
    if _even(depth[path]):
        paths += _branches(skeleton, path, depth)
    if len(paths) > 1 and not _even(depth[np.unique(np.concatenate(paths))]):
        paths = [path]
    corner = np.array(patch.window.padded(1)[:2])[:, None]
    return [np.array(np.divmod(p, skeleton.shape[1])) + corner for p in paths]


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
