"""The code of kernels on the disk: never another's, never that of former sources."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from numba.core.caching import IndexDataCacheFile

from ecowatch.compiled_kernels import _KernelFiles


def interleaved(kind: type[Any], folder: Path) -> Any:
    """Two processes keep a kernel for two types; both looked at the index before either wrote, the first ends last."""
    first, second = kind(str(folder), "f", "stamp"), kind(str(folder), "f", "stamp")
    save, waiting = first._save_data, []
    first._save_data = lambda *data: waiting.append(data)
    second._load_index = dict
    first.save("first", "code of the first")
    second.save("second", "code of the second")
    save(*waiting[0])
    return kind(str(folder), "f", "stamp")


def test_two_types_compiled_at_once_never_take_each_others_code(tmp_path: Path) -> None:
    later = interleaved(_KernelFiles, tmp_path)
    assert later.load("second") == "code of the second" and later.load("first") is None
    later.save("first", "code of the first")
    assert (later.load("first"), later.load("second")) == ("code of the first", "code of the second")


def test_numba_itself_still_needs_this(tmp_path: Path) -> None:
    assert interleaved(IndexDataCacheFile, tmp_path).load("second") == "code of the first"


def test_code_of_former_sources_is_not_met_while_the_new_is_written(tmp_path: Path) -> None:
    _KernelFiles(str(tmp_path), "f", "old").save("type", "old code")
    new, reader = _KernelFiles(str(tmp_path), "f", "new"), _KernelFiles(str(tmp_path), "f", "new")
    seen: list[Any] = []
    save = new._save_data

    def late(*data: Any) -> None:
        seen.append(reader.load("type"))
        save(*data)

    new._save_data = late
    new.save("type", "new code")
    assert seen == [None] and reader.load("type") == "new code"


KERNELS = """
import numpy as np
from ecowatch.compiled_kernels import kernel

@kernel
def doubled(values):
    out = np.empty_like(values)
    for i in range(len(values)):
        out[i] = 2 * values[i]
    return out

@kernel
def facts(values):
    twice = doubled(values)
    return twice.sum(), twice[values > 1].copy(), np.sqrt(twice)
"""
CALLS = """
import sys
import numpy as np
from my_kernels import facts
total, large, roots = facts(np.arange({type}(4)))
assert total == 12 and large.tolist() == [4, 6] and np.allclose(roots**2, [0, 2, 4, 6])
print(sum(facts.stats.cache_hits.values()), "numba.typed.typedlist" in sys.modules)
"""


def called(folder: Path, *types: str) -> list[str]:
    code = "".join(CALLS.format(type=kind) for kind in types)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.compiled
def test_kept_code_runs_without_the_compiler_and_beside_it(tmp_path: Path) -> None:
    (tmp_path / "my_kernels.py").write_text(KERNELS, "utf-8")
    assert called(tmp_path, "np.int64") == ["0 True"]
    assert called(tmp_path, "np.int64") == ["1 False"]
    # What is kept, then something to compile, then what is kept again.
    assert called(tmp_path, "np.int64", "np.float64", "np.int64") == ["1 False", "1 True", "1 True"]
    assert called(tmp_path, "np.float64", "np.int64") == ["1 False", "2 False"]
