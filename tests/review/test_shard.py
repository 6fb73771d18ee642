"""Parts of a plan: balanced, whole, few fits twice; plan files that are refused; what a merge is told of shards."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecowatch.errors import EcowatchError, ExitCode
from ecowatch.review.shard import PlanFile, PlanLine, Shard, ShardBook, absent_because, read_plan

FIT_S = 5.0


def plan_of(comparisons: list[list[float]]) -> PlanFile:
    """A plan from the seconds of the tiles of each comparison; as in a real one, a fit stands at the first of them."""
    lines = [
        PlanLine(f"{c}-{t}", f"c{c}", s, 0.0 if t else FIT_S)
        for c, tiles in enumerate(comparisons)
        for t, s in enumerate(tiles)
    ]
    return PlanFile(Path("plan.jsonl"), "r", tuple(lines))


def load_s(share: list[PlanLine]) -> float:
    """Seconds of a shard: its tiles, and one fit per comparison among them that has something to do."""
    return sum(line.seconds for line in share) + FIT_S * len({line.comparison for line in share if line.seconds})


PLANS = st.lists(st.lists(st.floats(0.001, 60), min_size=1, max_size=40), min_size=1, max_size=12)


@given(PLANS, st.integers(1, 20))
def test_every_tile_is_in_one_shard_and_fits_are_seldom_repeated(comparisons: list[list[float]], shards: int) -> None:
    plan = plan_of(comparisons)
    shares = plan.shares(shards)
    assert len(shares) == shards
    assert Counter(line.key for share in shares for line in share) == Counter(line.key for line in plan.lines)
    fits = sum(len({line.comparison for line in share}) for share in shares)
    assert fits <= len(comparisons) + shards


@given(PLANS, st.integers(1, 20))
def test_no_shard_is_much_above_its_part(comparisons: list[list[float]], shards: int) -> None:
    """The longest-first rule: at most its part and the largest piece that could not be cut further."""
    plan = plan_of(comparisons)
    whole_s = sum(map(sum, comparisons)) + FIT_S * len(comparisons)
    largest_s = max(line.seconds for line in plan.lines)
    part_s = whole_s / shards
    assert max(map(load_s, plan.shares(shards))) <= 2 * (part_s + largest_s + FIT_S)


def test_one_large_area_and_many_small_ones_are_balanced() -> None:
    plan = plan_of([[1.0] * 400, *([2.0] * 3 for _ in range(40))])
    loads = [load_s(share) for share in plan.shares(8)]
    assert max(loads) <= 1.25 * sum(loads) / 8


def test_dear_fits_are_shared_out_though_they_stand_at_cheap_tiles() -> None:
    tiles = [(1.0, 100.0 if c % 2 else 0.0, 1.1) for c in range(40)]
    lines = [
        line
        for c, (first, fit, second) in enumerate(tiles)
        for line in (PlanLine(f"{c:02}a", f"c{c}", first, fit), PlanLine(f"{c:02}b", f"c{c}", second, 0.0))
    ]
    fits = {line.comparison: line.fit_seconds for line in lines if line.fit_seconds}
    shares = PlanFile(Path("plan.jsonl"), "r", tuple(lines)).shares(2)
    loads = [sum(line.seconds for line in s) + sum(fits.get(c, 0) for c in {x.comparison for x in s}) for s in shares]
    assert max(loads) < 1.1 * min(loads)


def test_shares_do_not_depend_on_the_order_of_the_file() -> None:
    plan = plan_of([[1.0, 2.0, 3.0] * 5, [4.0] * 3, [0.5]])
    turned = PlanFile(plan.path, plan.run_id, tuple(reversed(plan.lines)))
    assert [{line.key for line in s} for s in plan.shares(4)] == [{line.key for line in s} for s in turned.shares(4)]
    assert plan.digest == turned.digest


def test_what_is_done_already_costs_nothing() -> None:
    plan = plan_of([[0.0] * 100, [1.0] * 20])
    loads = [load_s(share) for share in plan.shares(2)]
    assert loads[0] == pytest.approx(loads[1], abs=1.0)


def test_more_shards_than_tiles_leaves_some_empty() -> None:
    shares = plan_of([[1.0, 1.0]]).shares(5)
    assert sorted(len(s) for s in shares) == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("text", ["", "3", "0/0", "8/8", "-1/8", "1/0", "a/b", "1/2/3", "١/٢", "1.0/2"])
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(ValueError, match="is no shard"):
        Shard.parse(text)


def test_shards_count_from_nought() -> None:
    assert (Shard.parse("0/8"), str(Shard.parse("7/8"))) == (Shard(0, 8), "7/8")
    with pytest.raises(ValueError, match="0/8 to 7/8"):
        Shard.parse("8/8")


def line(**changes: object) -> str:
    told = {"run_id": "r", "key": "k", "comparison": "c", "status": "new", "seconds": 1.0, "fit_seconds": 5.0}
    return json.dumps(told | changes) + "\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "PLAN_EMPTY"),
        (line() + line(run_id="other"), "mixes 2 runs"),
        (line() + "not json\n", r"PLAN_INVALID .*plan.jsonl:2"),
        (line() + line()[:40], r"PLAN_INVALID .*plan.jsonl:2"),
        (line(seconds=math.nan), "PLAN_INVALID"),
        (line(fit_seconds=-1), "PLAN_INVALID"),
        (line(seconds="long"), "PLAN_INVALID"),
        ("[]\n", "PLAN_INVALID"),
        (line().replace('"key"', '"kye"'), r"PLAN_INVALID .*KeyError 'key'"),
    ],
)
def test_a_plan_that_is_refused(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "plan.jsonl").write_text(content, "utf-8")
    with pytest.raises(EcowatchError, match=words) as caught:
        read_plan(tmp_path / "plan.jsonl")
    assert caught.value.exit_code == ExitCode.BAD_INPUT


def test_no_plan(tmp_path: Path) -> None:
    with pytest.raises(EcowatchError, match="PLAN_MISSING"):
        read_plan(tmp_path / "plan.jsonl")


def test_absent_tiles_are_explained(tmp_path: Path) -> None:
    plan = plan_of([[1.0] * 8])
    book = ShardBook(tmp_path)
    owners = {line.key: number for number, share in enumerate(plan.shares(4)) for line in share}
    keys = sorted(owners)
    assert set(absent_because(plan, book, keys).values()) == {
        "SHARD_MISSING shards: none has been run; run them, then merge again"
    }
    failed = next(key for key in keys if owners[key] == 0)
    book.write(Shard(0, 4), {failed: "RASTER_TRUNCATED a.tif: cut; fetch it again"})
    book.write(Shard(1, 4), None)
    book.write(Shard(2, 4), {})
    (tmp_path / "9_of_4.json").write_text("{", "utf-8")
    why = absent_because(plan, book, keys)
    assert why[failed].startswith("RASTER_TRUNCATED")
    for key in set(keys) - {failed}:
        told = {0: "its result is gone", 1: "not come to its end", 2: "its result is gone", 3: "not been run"}
        assert f"SHARD_MISSING shard {owners[key]}/4" in why[key] and told[owners[key]] in why[key]
