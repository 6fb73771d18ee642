"""Trees as plain numbers: read from JSON, checked, and asked with NumPy alone. Nothing of a model file is ever executed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..errors import LedgerError

Array = np.ndarray[Any, Any]

_LEAF = -1
_MAX_NODES = 4096


class Tree(NamedTuple):
    """One tree; arrays of one entry per node, the root first.

    A row goes left where its feature is at most the threshold. ``left`` and ``right`` are −1 at a leaf; ``value`` is
    ``(node, class)``, shares of the classes.
    """

    left: Array
    right: Array
    feature: Array
    threshold: Array
    value: Array


@dataclass(frozen=True)
class Forest:
    """Trees that vote; `classes` names the columns of what they say."""

    classes: tuple[str, ...]
    trees: tuple[Tree, ...]


def votes(forest: Forest, table: Array) -> Array:
    """Return the mean share of each class over all trees.

    Parameters
    ----------
    forest
        Checked.
    table
        float32, ``(row, feature)``.

    Returns
    -------
    ndarray
        float64, ``(row, class)``; sums to 1 per row.
    """
    total = np.zeros((len(table), len(forest.classes)))
    for tree in forest.trees:
        total += tree.value[_leaves(tree, table)]
    return total / max(len(forest.trees), 1)


def _leaves(tree: Tree, table: Array) -> Array:
    node = np.zeros(len(table), np.int64)
    rows = np.arange(len(table))
    while rows.size:
        rows = rows[tree.left[node[rows]] != _LEAF]
        at = node[rows]
        goes_left = table[rows, tree.feature[at]] <= tree.threshold[at]
        node[rows] = np.where(goes_left, tree.left[at], tree.right[at])
    return node


def forest_json(forest: Forest) -> dict[str, Any]:
    """Return a forest as plain JSON values; numbers keep all their digits."""
    trees = [{name: array.tolist() for name, array in tree._asdict().items()} for tree in forest.trees]
    return {"classes": list(forest.classes), "trees": trees}


def forest_of(told: Any, *, features: int, where: str) -> Forest:
    """Return the forest of JSON values from outside.

    Parameters
    ----------
    told
        What `forest_json` gave, or anything else.
    features
        Number of features it may ask for.
    where
        File, for messages.

    Raises
    ------
    LedgerError
        ``MODEL_INVALID`` where it is no forest, or one that would never end.
    """
    try:
        classes = tuple(told["classes"])
        if not classes or not all(isinstance(name, str) for name in classes):
            raise ValueError("its classes are no names")
        trees = tuple(_tree(one, features, len(classes)) for one in told["trees"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise LedgerError("MODEL_INVALID", where, f"no forest: {error}", "'ecowatch learn fit' writes one") from error
    if not trees:
        raise LedgerError("MODEL_INVALID", where, "a forest without trees", "'ecowatch learn fit' writes one")
    return Forest(classes, trees)


def _tree(told: Mapping[str, Sequence[Any]], features: int, classes: int) -> Tree:
    left, right, feature = (_whole(told[name]) for name in ("left", "right", "feature"))
    threshold, value = (np.asarray(told[name], np.float64) for name in ("threshold", "value"))
    nodes = len(left)
    if not 0 < nodes <= _MAX_NODES or {len(right), len(feature)} != {nodes}:
        raise ValueError(f"a tree of {nodes} nodes whose lists differ in length, or of more than {_MAX_NODES}")
    if threshold.shape != (nodes,) or value.shape != (nodes, classes):
        raise ValueError("thresholds or values of another shape than the nodes")
    if not (np.isfinite(threshold).all() and np.isfinite(value).all()):
        raise ValueError("numbers that are not finite")
    inner = left != _LEAF
    if not (inner == (right != _LEAF)).all():
        raise ValueError("a node with one branch")
    # Branches lead to later nodes only: whatever else a file says, every row comes to a leaf.
    here = np.arange(nodes)[inner]
    for branch in (left[inner], right[inner]):
        if (branch <= here).any() or (branch >= nodes).any():
            raise ValueError("a branch that leads back, or nowhere")
    if ((feature[inner] < 0) | (feature[inner] >= features)).any():
        raise ValueError("a feature that is not there")
    return Tree(left, right, feature, threshold, value)


def _whole(told: Sequence[Any]) -> Array:
    if not all(isinstance(number, int) and not isinstance(number, bool) for number in told):
        raise ValueError("node numbers that are not whole")
    return np.asarray(told, np.int64).reshape(-1)
