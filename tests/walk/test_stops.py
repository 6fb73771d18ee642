"""A signal that comes at the worst moment is not lost, and says nothing but its own line."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, time
from ecowatch.cli.teller import LogForm, Teller, errors_told

class Library:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})
        time.sleep(0.01)

with errors_told(Teller(LogForm.AUTO, "en")):
    Library()
    for _ in range(100):
        time.sleep(0.1)
print("lost")
"""


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [("SIGINT", 130, "interrupted; finished work is kept, run it again to go on\n"), ("SIGTERM", 75, "")],
)
def test_a_signal_while_something_is_deleted_is_not_lost(name: str, code: int, words: str) -> None:
    """Python prints and forgets what is raised there."""
    program = "import sys\ntry:\n" + "".join(f"    {line}\n" for line in PROGRAM.format(name=name).splitlines())
    program += "except BaseException as end:\n    sys.exit(getattr(end, 'exit_code', None) or end.code)\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", words)
