"""A few kills of a run, as `make kills` does them by hundreds: everything is as if nothing had happened."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

N = 3
SCRIPT = Path(__file__).with_name("kills.py")


def killed(n: int, who: str) -> str:
    command = [sys.executable, str(SCRIPT), "--n", str(n), "--seed", "1", "--who", who]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def told() -> str:
    return killed(N, "coordinator")


def test_kills_leave_the_ledger_of_an_undisturbed_run(told: str) -> None:
    assert told.strip().endswith(f"kills: {N}/{N} identical"), told


def staying(told: str) -> list[str]:
    (line,) = re.findall(r"^temporary files that stay: \d+(.*)$", told, re.MULTILINE)
    return line.split()


def test_no_temporary_file_stays(told: str) -> None:
    assert staying(told) == [], told


# The short form for workers and schedulers is tests/review/test_poison.py.
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("who", ["coordinator", "worker", "scheduler"])
def test_twenty_kills_leave_what_an_undisturbed_run_leaves(who: str) -> None:
    told = killed(20, who)
    assert "kills: 20/20 identical" in told, told
    if who == "coordinator":
        (line,) = re.findall(r"^killed (.*)$", told, re.MULTILINE)
        hits = {place: int(count) for place, _, count in (part.rpartition(": ") for part in line.split(", "))}
        at_ledger = sum(count for place, count in hits.items() if "ledger" in place)
        assert hits.get("in the run", 0) >= 2 and at_ledger >= 2, f"the kills fell in one place: {told}"
        assert staying(told) == [], told
