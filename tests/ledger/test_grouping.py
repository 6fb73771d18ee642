"""Groups of fragments: against slow oracles, and undone edge by edge."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from ecowatch.ledger.grouping import Edge, Groups, near_edges, pairs_within, regrouped

NAMES = "abcdefgh"
Partition = list[tuple[str, ...]]


def flood(members: Sequence[str], edges: Iterable[Edge]) -> Partition:
    """Connected components by flooding from each member in turn."""
    links = {frozenset((edge.first, edge.second)) for edge in edges}
    left, found = list(members), []
    while left:
        reached = {left[0]}
        while True:
            more = {m for m in members if any(frozenset((m, r)) in links for r in reached)} | reached
            if more == reached:
                break
            reached = more
        found.append(tuple(m for m in members if m in reached))
        left = [m for m in left if m not in reached]
    return found


def slow(members: Sequence[str], edges: Iterable[Edge], apart: Iterable[frozenset[str]]) -> Partition:
    """The rule in plain words: sets of names, edges from short to long, none that brings a parted pair together."""
    sets = [{member} for member in members]
    for edge in sorted(Edge(e.distance_m, *sorted((e.first, e.second))) for e in edges):
        one = next(s for s in sets if edge.first in s)
        two = next(s for s in sets if edge.second in s)
        if one is not two and not any(pair <= one | two for pair in apart):
            sets.remove(two)
            one |= two
    groups = [tuple(m for m in members if m in s) for s in sets]
    return sorted(groups, key=lambda group: members.index(group[0]))


pair = st.lists(st.sampled_from(NAMES), min_size=2, max_size=2, unique=True)
an_edge = st.builds(lambda far, two: Edge(float(far), *two), st.integers(0, 4), pair)
some_edges = st.lists(an_edge, max_size=16)
some_apart = st.lists(pair.map(frozenset), max_size=5)
an_order = st.permutations(NAMES)


@given(an_order, some_edges)
def test_without_parted_pairs_groups_are_connected_components(members: list[str], edges: list[Edge]) -> None:
    assert regrouped(members, edges) == flood(members, edges)


@settings(max_examples=200)
@given(an_order, some_edges, some_apart)
def test_groups_equal_the_slow_rule(members: list[str], edges: list[Edge], apart: list[frozenset[str]]) -> None:
    assert regrouped(members, edges, apart) == slow(members, edges, apart)


@given(some_edges, st.randoms(use_true_random=False), some_apart)
def test_order_and_direction_of_edges_do_not_matter(edges: list[Edge], random, apart: list[frozenset[str]]) -> None:
    turned = [Edge(e.distance_m, e.second, e.first) for e in edges]
    random.shuffle(turned)
    assert regrouped(NAMES, turned, apart) == regrouped(NAMES, edges, apart)


@given(some_edges.filter(bool), st.data())
def test_an_edge_undone_leaves_what_had_been_without_it(edges: list[Edge], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(edges))
    rest = [e for e in edges if {e.first, e.second} != {gone.first, gone.second}]
    undone = regrouped(NAMES, edges, [frozenset((gone.first, gone.second))])
    connected = flood(NAMES, rest)
    if not any({gone.first, gone.second} <= set(group) for group in connected):
        assert undone == connected
    assert not any({gone.first, gone.second} <= set(group) for group in undone)


@given(some_edges, some_apart)
def test_parted_pairs_are_apart_and_nothing_else_is(edges: list[Edge], apart: list[frozenset[str]]) -> None:
    groups = [set(group) for group in regrouped(NAMES, edges, apart)]
    assert sorted(itertools.chain(*groups)) == list(NAMES)
    assert not any(two <= group for two in apart for group in groups)
    for edge in edges:
        one, two = (next(g for g in groups if name in g) for name in (edge.first, edge.second))
        assert one is two or any(forbidden <= one | two for forbidden in apart)


def test_what_lies_between_a_parted_pair_goes_with_the_nearer() -> None:
    edges = [Edge(30.0, "a", "c"), Edge(20.0, "b", "c")]
    assert regrouped("abc", edges) == [("a", "b", "c")]
    assert regrouped("abc", edges, [frozenset("ab")]) == [("a",), ("b", "c")]


def test_the_first_group_holds_the_oldest() -> None:
    edges = [Edge(1.0, "a", "b"), Edge(1.0, "x", "y")]
    assert regrouped(["x", "a", "b", "y"], edges) == [("x", "y"), ("a", "b")]


def test_edges_to_others_are_ignored() -> None:
    assert regrouped("ab", [Edge(1.0, "a", "z"), Edge(1.0, "z", "b")]) == [("a",), ("b",)]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40))
def test_a_root_is_the_least_of_its_group(joins: list[tuple[int, int]]) -> None:
    groups = Groups(31)
    for a, b in joins:
        assert groups.join(a, b)
    for component in groups.components():
        assert {groups.root(number) for number in component} == {min(component)}


def test_marks_follow_their_group() -> None:
    groups = Groups(4, {0: ["a", "b"], 3: ["c"]}, [frozenset("bc")])
    assert groups.join(3, 2)
    assert groups.parted(0, 2)
    assert not groups.join(2, 0)
    assert groups.join(0, 1)
    assert not groups.join(1, 3)
    assert groups.components() == [[0, 1], [2, 3]]


def test_pairs_equal_all_pairs_measured() -> None:
    rng = np.random.default_rng(7)
    x, y = rng.uniform(0, 120, (2, 80))
    boxes = shapely.box(x, y, x + 5, y + 5)
    first, second, distance = pairs_within(boxes, 10.0)
    found = dict(zip(zip(first.tolist(), second.tolist(), strict=True), distance.tolist(), strict=True))
    expected = {}
    for a, b in itertools.combinations(range(80), 2):
        if (far := boxes[a].distance(boxes[b])) <= 10:
            expected[a, b] = far
    assert len(expected) > 50
    assert found == expected


def test_edges_need_nearness_in_space_and_time() -> None:
    places = shapely.box(np.array([0, 15, 40, 42]), 0, np.array([10, 25, 41, 43]), 10)
    days = np.array([0, 30, 30, 500])
    edges = near_edges(["d", "c", "b", "a"], places, days, join_m=15, join_days=365)
    assert edges == [Edge(5.0, "c", "d"), Edge(15.0, "b", "c")]
    timeless = near_edges(["d", "c", "b", "a"], places, days * 0, join_m=15, join_days=0)
    assert timeless == [Edge(1.0, "a", "b"), *edges]


def test_nothing_has_no_edges() -> None:
    assert near_edges([], np.empty(0, object), np.empty(0, int), join_m=1, join_days=1) == []
    assert regrouped([], []) == []
