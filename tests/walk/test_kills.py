"""Twenty kills of a run, as `make kills` does them by hundreds: everything is as if nothing had happened."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

N = 20


@pytest.fixture(scope="module")
def told() -> str:
    script = Path(__file__).with_name("kills.py")
    done = subprocess.run(
        [sys.executable, str(script), "--n", str(N), "--seed", "1"], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_twenty_kills_leave_the_ledger_of_an_undisturbed_run(told: str) -> None:
    assert told.strip().endswith(f"kills: {N}/{N} identical"), told
    (line,) = re.findall(r"^killed (.*)$", told, re.MULTILINE)
    hits = {place: int(count) for place, _, count in (part.rpartition(": ") for part in line.split(", "))}
    at_ledger = sum(count for place, count in hits.items() if "ledger" in place)
    assert hits["in the run"] >= 2 and at_ledger >= 2, f"the kills fell in one place: {told}"


def test_no_temporary_file_stays(told: str) -> None:
    assert "temporary files that stay: 0" in told, told
