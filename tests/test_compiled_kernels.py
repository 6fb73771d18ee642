"""The code of kernels on the disk: never another's, never that of former sources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
