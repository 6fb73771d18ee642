"""What lies in a file is what was put there."""

from __future__ import annotations

import gc
import resource
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import shapely

from ecowatch.areas import Area
from ecowatch.errors import StorageError
from ecowatch.review import make_plan, planned_tasks, run_review, shelf
from ecowatch.review.pair import Comparison
from ecowatch.review.plan import PlannedTask, by_place
from ecowatch.review.shelf import Shelf, View
from ecowatch.settings import Cluster

from ..walk.many_tiles import write_review, write_scenes

MANY = 300


class Heavy:
    """Of a kind that many values share."""


def test_a_shelf_is_the_list_of_what_was_put_there() -> None:
    values = [{"n": n, "outline": shapely.Point(n, -n).buffer(1.0), "text": "é" * n} for n in range(MANY)]
    held = Shelf(values[:200])
    for value in values[200:]:
        held.append(value)
    assert len(held) == MANY and list(held) == values
    order = list(range(-MANY, MANY))
    Random(7).shuffle(order)
    assert [held[n] for n in order] == [values[n] for n in order]
    assert list(held[250:10:-7]) == values[250:10:-7] and list(held[-3:]) == values[-3:]
    for beyond in (MANY, -MANY - 1):
        with pytest.raises(IndexError):
            held[beyond]
    assert not list(Shelf())


def test_what_many_share_is_held_once_and_comes_back_itself() -> None:
    one, other = Heavy(), Heavy()
    held = Shelf(([n, one if n % 2 else other, Path("a") / str(n % 3)] for n in range(MANY)), common=(Heavy,))
    assert all(value[1] is (one if value[0] % 2 else other) for value in held)
    assert {str(value[2]) for value in held} == {"a/0", "a/1", "a/2"}
    # Without it a value is pickled with all it holds.
    assert not any(value[1] is one for value in list(Shelf([n, one] for n in range(MANY)))[100:])


def test_values_lie_in_the_file_not_in_memory() -> None:
    tracemalloc.start()
    values = Shelf(b"x" * 10**6 + bytes([n % 256]) for n in range(MANY))
    assert values[299][-1] == 43 and values[99][-1] == 99
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert 64e6 < held < 70e6


def test_a_plan_holds_few_of_its_comparisons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "_FEW", 1)
    review = write_review(tmp_path, write_scenes(tmp_path / "scenes"))[0]
    kinds = (Comparison, Area, PlannedTask)
    # Held themselves, so that none of them can leave its identity to a new one.
    former = [one for one in gc.get_objects() if isinstance(one, kinds)]
    before = set(map(id, former))
    plan = make_plan(review)
    tasks = by_place(planned_tasks(plan, Cluster(tile_px=512)))
    assert len(plan.comparisons) == len(plan.areas) == 4 and len(tasks) > 6
    held = [one for one in gc.get_objects() if isinstance(one, kinds) and id(one) not in before]
    # The first, and the one that was asked for last; each comparison has its area.
    comparisons, areas, listed = (sum(isinstance(one, kind) for one in held) for kind in kinds)
    assert comparisons <= 2 and areas <= 4 and listed <= 2
    assert len({task.task.key for task in tasks}) == len(tasks)
    assert all(task.comparisons is plan.comparisons for task in tasks)


def test_a_file_that_finds_no_room_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "_MEMORY_BYTES", 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StorageError, match=r"CANNOT_WRITE /.*File too large"):
            Shelf([n] * 500 for n in range(MANY))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_threads_read_a_shelf_together() -> None:
    held = Shelf([n] * 50 for n in range(MANY))
    numbers = [Random(seed).randrange(MANY) for seed in range(4000)]
    with ThreadPoolExecutor(4) as pool:
        assert [value[0] for value in pool.map(held.__getitem__, numbers)] == numbers


def test_a_view_takes_some_in_an_order_through_a_function() -> None:
    seen: list[int] = []

    def doubled(value: int) -> int:
        seen.append(value)
        return 2 * value

    view = View(list(range(10)), [7, 2, 2, 9], doubled)
    assert not seen and len(view) == 4
    assert view[1] == 4 and view[-1] == 18 and seen == [2, 9]
    assert list(view) == [14, 4, 4, 18] and list(view[1:3]) == [4, 4]
    assert list(View("abc")) == list("abc")


def test_a_comparison_comes_back_equal_with_its_key_and_its_scenes(tmp_path: Path) -> None:
    plan = make_plan(write_review(tmp_path, write_scenes(tmp_path / "scenes"))[0])
    first = plan.comparisons[0]
    copies = Shelf(replace(first, why=f"{n}") for n in range(MANY))
    for n in (0, 63, 64, 299):
        assert copies[n] == replace(first, why=f"{n}") and copies[n].key == first.key
        assert copies[n].before.scenes[0] is first.before.scenes[0]
        assert copies[n].grid.crs is first.grid.crs
    task = planned_tasks(plan, Cluster())[0]
    far = task._replace(comparisons=copies, number=299)
    assert far.task == replace(task.task, comparison=copies[299]) and far.path == task.path


def test_looks_from_a_file_are_those_from_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenes, cluster = write_scenes(tmp_path / "scenes"), Cluster(scheduler="threads", workers=2, tile_px=128)
    digests, looks = [], []
    for few in (0, 64):
        monkeypatch.setattr(shelf, "_FEW", few)
        result = run_review(write_review(tmp_path / str(few), scenes)[0], cluster)
        digests.append((result.folder / "flagged.gpkg").read_bytes())
        looks.append(result.tasks["look"]["produced"])
    assert digests[0] == digests[1] and looks[0] == looks[1] > 0
