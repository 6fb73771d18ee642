"""Fragments of one site are one group: a union-find over near pairs that can be undone, edge by edge.

Nothing is ever taken out of a union-find; a group that a reviewer undoes is built again from its edges, without those that
would bring together what is to be kept apart. So what comes out is what would have been without them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import shapely

Apart = Collection[frozenset[str]]
"""Pairs of identities that must never be in one group."""


class Edge(NamedTuple):
    """A reason to put two things into one group: they lie `distance_m` from each other."""

    distance_m: float
    first: str
    second: str


class Groups:
    """A union-find of the numbers 0 … size - 1 whose roots are the least numbers of their groups.

    The least number as root, not the larger tree, makes the root a property of the group and not of the order of joining;
    the depth is kept down by halving paths.

    Parameters
    ----------
    size
        How many numbers.
    marks
        Identities that a number stands for; only those of `apart` matter.
    apart
        Pairs of identities that must not come into one group, through a third one neither.
    """

    def __init__(self, size: int, marks: Mapping[int, Iterable[str]] | None = None, apart: Apart = ()) -> None:
        self._parent = list(range(size))
        self._foes: dict[str, set[str]] = {}
        for first, second in (sorted(pair) for pair in apart if len(pair) == 2):
            self._foes.setdefault(first, set()).add(second)
            self._foes.setdefault(second, set()).add(first)
        named = {number: self._foes.keys() & set(names) for number, names in (marks or {}).items()}
        self._marks = {number: set(names) for number, names in named.items() if names}

    def root(self, number: int) -> int:
        """Return the least number of the group of `number`."""
        parent = self._parent
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    def parted(self, first: int, second: int) -> bool:
        """Return whether joining two groups would bring together a pair that is to be kept apart."""
        a, b = (self._marks.get(self.root(number), set()) for number in (first, second))
        small, large = sorted((a, b), key=len)
        return any(not self._foes[name].isdisjoint(large) for name in small)

    def join(self, first: int, second: int) -> bool:
        """Join two groups and return True; return False, and leave both, where a pair is to be kept apart."""
        low, high = sorted((self.root(first), self.root(second)))
        if low == high:
            return True
        if self.parted(low, high):
            return False
        self._parent[high] = low
        marks = self._marks.pop(high, None)
        if marks:
            self._marks.setdefault(low, set()).update(marks)
        return True

    def components(self) -> list[list[int]]:
        """Return the groups, each ascending, in ascending order of their roots."""
        found: dict[int, list[int]] = {}
        for number in range(len(self._parent)):
            found.setdefault(self.root(number), []).append(number)
        return [found[root] for root in sorted(found)]


def pairs_within(geometries: np.ndarray, distance_m: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the pairs of geometries that lie within a distance of each other.

    Parameters
    ----------
    geometries
        Array of geometries in a CRS in metres.
    distance_m
        Largest distance, in m, itself included.

    Returns
    -------
    tuple of numpy.ndarray
        First index, second index (the larger one), and distance in m, one entry a pair; in no particular order.
    """
    if len(geometries) < 2:
        nothing = np.empty(0, np.intp)
        return nothing, nothing, np.empty(0)
    first, second = shapely.STRtree(geometries).query(geometries, predicate="dwithin", distance=distance_m)
    once = first < second
    first, second = first[once], second[once]
    return first, second, shapely.distance(geometries[first], geometries[second])


def near_edges(
    ids: Sequence[str], geometries: np.ndarray, days: np.ndarray, *, join_m: float, join_days: int
) -> list[Edge]:
    """Return the edges between patches that are fragments of one site: near in space and in time.

    Parameters
    ----------
    ids
        Identities of the patches.
    geometries
        Their polygons, in a CRS in metres.
    days
        Their later dates as whole days of any epoch; all equal where time does not matter.
    join_m, join_days
        Largest distance in m and largest difference in days, both included.

    Returns
    -------
    list of Edge
        Shortest first, then by identities: the order in which they are joined.
    """
    first, second, distance_m = pairs_within(geometries, join_m)
    near = np.abs(days[first] - days[second]) <= join_days
    found = zip(first[near].tolist(), second[near].tolist(), distance_m[near].tolist(), strict=True)
    return sorted(Edge(round(far, 3), *sorted((ids[a], ids[b]))) for a, b, far in found)


def regrouped(members: Sequence[str], edges: Iterable[Edge], apart: Apart = ()) -> list[tuple[str, ...]]:
    """Group identities by edges, keeping some pairs apart: how a grouping is made, and how it is undone.

    Edges are taken shortest first, equal ones by identity. One that would bring a pair of `apart` into one group, be it
    through others, is left out: what lies between the two goes with the nearer one. To undo a grouping, call this with the
    same edges and one pair more.

    Parameters
    ----------
    members
        Identities, oldest first: groups come in the order of their first members.
    edges
        Reasons to join; edges to identities outside `members` are ignored.
    apart
        Pairs that must not be in one group.

    Returns
    -------
    list of tuple of str
        The groups, each in the order of `members`; the first holds the oldest member. Every edge between two groups is one
        that `apart` forbids.
    """
    number = {member: at for at, member in enumerate(members)}
    groups = Groups(len(number), {at: (member,) for member, at in number.items()}, apart)
    directed = (Edge(edge.distance_m, *sorted((edge.first, edge.second))) for edge in edges)
    for edge in sorted(edge for edge in directed if edge.first in number and edge.second in number):
        groups.join(number[edge.first], number[edge.second])
    return [tuple(members[at] for at in component) for component in groups.components()]
