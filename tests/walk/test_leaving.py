"""The process ends as soon as its work is done: with its exit code, all it had to say, and what is left to the end done."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import atexit, sys, threading, time
from contextlib import suppress
from ecowatch.cli.ending import left_at_once

class Library:
    def __del__(self):
        print("taken apart")

library = Library()
with suppress(*{caught}), left_at_once():
    atexit.register(print, "left to the end")
    threading.Thread(target=lambda: (time.sleep(0.2), print("waited for"))).start()
    print("worked", end=" ")
    {end}
{after}
"""


def ended(end: str, *, caught: str = "()", after: str = "") -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(end=end, caught=caught, after=after)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(("end", "code"), [("sys.exit(3)", 3), ("sys.exit()", 0), ("raise SystemExit(75)", 75)])
def test_it_leaves_with_its_code_and_takes_nothing_apart(end: str, code: int) -> None:
    done = ended(end)
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout == "worked waited for\nleft to the end\n"


def test_an_error_ends_it_as_ever() -> None:
    done = ended("1 / 0")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert done.stdout.endswith("taken apart\n")


def test_an_exit_that_was_caught_does_not_hide_a_later_error() -> None:
    done = ended("sys.exit(0)", caught="[SystemExit]", after="assert False")
    assert done.returncode == 1
    assert "AssertionError" in done.stderr
