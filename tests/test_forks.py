"""Workers as forks: what they find in their environment, and when they are started as new programs instead."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ecowatch
from ecowatch.forks import WORKER_ENVIRONMENT, can_fork, environment_of_forks

BEGUN = WORKER_ENVIRONMENT | {"HOME": "/home/a", "PYTHONPATH": "/lib"}


@pytest.mark.parametrize(
    ("now", "forked"),
    [
        ({"HOME": "/home/a", "PYTHONPATH": "/lib"}, True),
        ({"HOME": "/home/b", "PYTHONPATH": "/lib", "AWS_REGION": "x"}, True),
        (BEGUN, True),
        ({"PYTHONPATH": "/lib"}, False),
        ({"HOME": "/home/a", "PYTHONPATH": "/other"}, False),
        ({"HOME": "/home/a", "PYTHONPATH": "/lib", "NUMBA_DISABLE_JIT": "1"}, False),
        ({"HOME": "/home/a", "PYTHONPATH": "/lib", "OMP_NUM_THREADS": "8"}, False),
    ],
)
def test_a_fork_only_takes_on_what_it_can_be_told(now: dict[str, str], forked: bool) -> None:
    assert can_fork(BEGUN, now) is forked


def test_a_worker_is_told_all_but_what_is_set_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "x")
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    told = environment_of_forks()
    assert told["AWS_REGION"] == "x" and not told.keys() & WORKER_ENVIRONMENT.keys()


def said(program: str, **environment: str) -> str:
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


METHOD = "from ecowatch.forks import start_method; print(start_method())"


def test_where_no_fork_can_be_had_workers_are_new_programs(tmp_path: Path) -> None:
    assert said(METHOD) == "forkserver"
    long = tmp_path / ("a" * 60) / ("b" * 60)
    long.mkdir(parents=True)
    assert said(METHOD, TMPDIR=str(long)) == "spawn", "no socket has so long a name"
    somebodys = "from multiprocessing import forkserver; forkserver.ensure_running()\n"
    assert said(somebodys + METHOD) == "spawn"
    begun = "from ecowatch.forks import prepare_forks; prepare_forks()\n"
    assert said(f"{begun}import sys; sys.path.insert(0, '/elsewhere')\n{METHOD}") == "spawn"
    forked = f"{begun}import os\nif pid := os.fork(): os.waitpid(pid, 0)\nelse:\n {METHOD}"
    assert said(forked) == "spawn"


IMPORTS = """
import multiprocessing, sys
from ecowatch.forks import prepare_forks

def told(place):
    import ecowatch.codes, os
    place.put((ecowatch.codes.__file__, os.environ.get("PYTHONPATH"), os.environ.get("PYTHONSAFEPATH")))

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    import ecowatch.codes
    prepare_forks()
    context = multiprocessing.get_context("forkserver")
    place = context.Queue()
    process = context.Process(target=told, args=(place,))
    process.start()
    print(*place.get())
    process.join()
"""


def test_forks_run_the_code_of_the_one_who_starts_them(tmp_path: Path) -> None:
    """The working directory may hold anything; a path that a program put first holds what it means."""
    (tmp_path / "cwd" / "ecowatch").mkdir(parents=True)
    (tmp_path / "cwd" / "ecowatch" / "__init__.py").write_text("raise RuntimeError")
    (tmp_path / "program.py").write_text(IMPORTS, "utf-8")
    copy = tmp_path / "copy"
    shutil.copytree(Path(ecowatch.__file__).parent, copy / "ecowatch", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, str(tmp_path / "program.py"), str(copy)]
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(command, cwd=tmp_path / "cwd", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(copy / "ecowatch" / "codes.py"), "None", "None"]


PROGRAM = """
import os, sys, threading, time
from pathlib import Path
from ecowatch.review.engine import started
from ecowatch.review.jobs import Job
from ecowatch.settings import Cluster

def tell(folder, name):
    modules = sum(module.startswith("ecowatch.") for module in sys.modules)
    (folder / name).write_text(f"{os.getpid()} {os.getppid()} {os.environ['FRUIT']} {os.environ['MALLOC_ARENA_MAX']} {modules}")

def told(folder, name):
    with started(Cluster(workers=1)) as engine:
        ended = list(engine.each([Job(name, tell, (folder, name))]))
    assert ended == [(name, None)], ended
    return (folder / name).read_text().split()

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    os.environ["FRUIT"] = "apple"
    first = told(folder, "first")
    os.environ["FRUIT"] = "pear"
    second = told(folder, "second")
    assert first[2:4] == ["apple", "1"] and second[2:4] == ["pear", "1"], (first, second)
    assert first[1] == second[1] != str(os.getpid()), "both are forked from one process"
    tasks = len(list(Path(f"/proc/{first[1]}/task").iterdir()))
    assert tasks == 1, "which has one thread"
    os.environ["NUMBA_OPT"] = "2"
    assert told(folder, "third")[1] == str(os.getpid()), "a new program"
    print("beside", first[1], flush=True)
    time.sleep(float(sys.argv[2]))
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize("killed", [False, True])
def test_workers_are_forks_and_nothing_of_them_stays(tmp_path: Path, killed: bool) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, "utf-8")
    command = [sys.executable, str(program), str(tmp_path), "60" if killed else "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline().split()
        assert line[:1] == ["beside"]
        if killed:
            process.kill()
    assert process.returncode == (-9 if killed else 0)
    until = time.monotonic() + 20
    while alive(int(line[1])) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(int(line[1]))
