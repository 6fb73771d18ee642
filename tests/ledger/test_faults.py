"""A disk that fills up at every single write: a clear error each time, and a whole ledger."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from ecowatch.errors import EcowatchError, StorageError
from ecowatch.ledger import Ledger
from ecowatch.ledger.verify import verify
from ecowatch.report.published import publish

from .story import PERIODS, batches

HERE = Path(__file__)
TWO = batches()[:2]


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preloaded library, built anew."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler: writes cannot be made to fail one by one")
    library = tmp_path_factory.mktemp("shim") / "failing_writes.so"
    source = HERE.with_name("failing_writes.c")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        pytest.skip(f"the shim cannot be built here: {built.stderr[:300]}")
    return library


def in_child(function: str, shim: Path, folder: Path) -> dict[str, Any]:
    """Run a function of this module in a process of its own with the shim before the system's library."""
    code = f"from tests.ledger.test_faults import {function}, tell; tell({function}, {str(shim)!r}, {str(folder)!r})"
    environment = os.environ | {"LD_PRELOAD": str(shim)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE.parents[2], env=environment)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def tell(function: Callable[..., dict[str, Any]], shim: str, folder: str) -> None:
    print(json.dumps(function(ctypes.CDLL(shim), Path(folder))))


def keep(path: Path, acknowledged: list[str]) -> str:
    """The whole operation: make or open a ledger, commit two batches, close; name each batch once it is acknowledged."""
    with Ledger.writer(path) as ledger:
        for number, batch in enumerate(TWO):
            ledger.commit(batch)
            acknowledged.append(str(number))
        return ledger.digest()


def failing(
    library: Any, action: Callable[[], object], writes: Iterable[int]
) -> Iterator[tuple[int, EcowatchError | None]]:
    """Do `action` with each of the `writes` and all after it failing, until none fails any more; yield each time."""
    for k in writes:
        error = None
        library.arm(ctypes.c_long(k))
        try:
            action()
        except EcowatchError as raised:
            error = raised
        finally:
            fired = library.fired()
            library.arm(ctypes.c_long(0))
        if not fired:
            return
        yield k, error


def every_write(library: Any, folder: Path) -> dict[str, Any]:
    """Fail the operation at each write in turn; anything but a coded error ends the process with a traceback."""
    right = keep(folder / "right.db", [])
    codes: dict[str, int] = {}
    acknowledged: list[str] = []
    path = folder / "ledger.db"

    def attempt() -> None:
        acknowledged.clear()
        for name in folder.glob("ledger.db*"):
            name.unlink()
        keep(path, acknowledged)

    k = 0
    for k, error in failing(library, attempt, count(1)):
        code = error.code if error else "while closing"
        codes[code] = codes.get(code, 0) + 1
        if error is not None:
            assert isinstance(error, StorageError) and "ledger.db" in error.where, f"write {k}: {error!r}"
        else:
            assert len(acknowledged) == 2, f"write {k} failed, and nobody was told"
        stored = stored_periods(path)
        assert len(stored) >= len(acknowledged), f"write {k}: an acknowledged batch is gone"
        assert keep(path, []) == right, f"write {k}: the ledger is not what it would have been"
        found = verify(path)
        assert found.findings == () and found.digest == right, f"write {k}: {found.findings}"
    return {"writes": k, "codes": codes}


def stored_periods(path: Path) -> list[str]:
    """The kinds of first events of the batches that the ledger holds, as its next reader sees it."""
    firsts = [batch[0].event_id for batch in TWO]
    try:
        with Ledger.reader(path) as reader:
            held = {event.event_id for event in reader.events()}
    except EcowatchError:
        return []
    return [first for first in firsts if first in held]


def test_a_disk_full_at_every_write_leaves_a_whole_ledger(shim: Path, tmp_path: Path) -> None:
    told = in_child("every_write", shim, tmp_path)
    assert told["writes"] > 60 and set(told["codes"]) <= {"DISK_FULL", "CANNOT_WRITE", "while closing"}, told
    assert told["codes"]["DISK_FULL"] > told["writes"] / 2, told


def every_kill(library: Any, folder: Path) -> dict[str, Any]:
    """Kill the operation before each of its writes in turn, each time in a process of its own."""
    right, path = keep(folder / "right.db", []), folder / "ledger.db"
    left = Counter[str]()
    for k in count(1):
        for name in folder.glob("ledger.db*"):
            name.unlink()
        acknowledged, code = killed_at(library, path, k)
        if code == 0:
            return {"writes": k - 1, "left": left}
        assert code == -signal.SIGKILL
        stored = len(stored_periods(path))
        assert acknowledged <= stored <= acknowledged + 1, f"write {k}: {stored} batches of {acknowledged}"
        left[f"{stored} of {len(TWO)} batches"] += 1
        assert keep(path, []) == right, f"write {k}: the ledger is not what it would have been"
        found = verify(path)
        assert found.findings == () and found.digest == right, f"write {k}: {found.findings}"
    raise AssertionError


def killed_at(library: Any, path: Path, k: int) -> tuple[int, int]:
    """Return how many batches a process acknowledged that is killed before its k-th write, and how it ended."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        library.kill_at(ctypes.c_long(k))
        keep(path, Acknowledged(writing))
        os._exit(0)
    os.close(writing)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with os.fdopen(reading) as told:
        return len(told.read()), code


class Acknowledged(list[str]):
    """A list that another process can read: a pipe outlives whoever wrote into it."""

    def __init__(self, writing: int) -> None:
        super().__init__()
        self._writing = writing

    def append(self, name: str) -> None:
        os.write(self._writing, name.encode())


@pytest.mark.slow
def test_a_kill_before_every_write_loses_nothing(shim: Path, tmp_path: Path) -> None:
    told = in_child("every_kill", shim, tmp_path)
    assert told["writes"] > 60 and set(told["left"]) == {f"{n} of 2 batches" for n in range(3)}, told


def publishing(library: Any, folder: Path) -> dict[str, Any]:
    """Fail the publishing of a period at some of its hundreds of writes: the former file stays as it was."""
    with Ledger.writer(folder / "ledger.db") as ledger:
        for batch in TWO:
            ledger.commit(batch)
    codes: dict[str, int] = {}
    with Ledger.reader(folder / "ledger.db") as ledger:
        former = publish(ledger, PERIODS[0], folder)
        whole = former.path.read_bytes()
        for k, error in failing(library, lambda: publish(ledger, PERIODS[0], folder), (3**n for n in range(12))):
            assert isinstance(error, StorageError) and former.path.name in error.where, f"write {k}: {error!r}"
            assert former.path.read_bytes() == whole, f"write {k} touched what was published"
            codes[error.code] = codes.get(error.code, 0) + 1
        assert publish(ledger, PERIODS[0], folder).sha256 == former.sha256
    return {"codes": codes}


def test_a_disk_full_while_publishing_leaves_the_former_file(shim: Path, tmp_path: Path) -> None:
    told = in_child("publishing", shim, tmp_path)
    assert sum(told["codes"].values()) >= 6 and set(told["codes"]) <= {"DISK_FULL", "CANNOT_WRITE"}, told


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 kB."""
    point = tmp_path / "small"
    point.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount a small disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(point)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    yield point
    subprocess.run(["umount", str(point)], check=True)


def test_a_full_disk_is_named_and_what_was_entered_stays(small_disk: Path) -> None:
    path, acknowledged = small_disk / "ledger.db", 0
    with pytest.raises(StorageError, match=r"DISK_FULL .*ledger\.db"), Ledger.writer(path) as ledger:
        for batch in batches():
            ledger.commit(batch)
            acknowledged += len(batch)
    subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
    found = verify(path)
    assert found.findings == () and found.events == acknowledged < sum(map(len, batches()))
    with Ledger.writer(small_disk / "right.db") as right, Ledger.writer(path) as ledger:
        for batch in batches():
            right.commit(batch)
            ledger.commit(batch)
        assert ledger.digest() == right.digest()
    assert verify(path).findings == ()
