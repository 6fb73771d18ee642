"""How a loop is compiled and kept on the disk: the one decorator of all kernels, safe for processes that begin at once."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from llvmlite import binding as llvm
from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.dispatcher import Dispatcher
from numba.core.runtime import _nrt_python


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called, without Python's lock, and keep the code from process to process.

    Parameters
    ----------
    function
        Of arrays and scalars. It is returned as it is where Numba is switched off (``NUMBA_DISABLE_JIT=1``).
    """
    compiled = njit(nogil=True, cache=True)(function)
    if isinstance(compiled, Dispatcher):
        compiled._cache = _KernelCache(function)  # type: ignore[attr-defined]
    return compiled


class _KernelFiles(IndexDataCacheFile):  # type: ignore[misc]
    """Numba's files of one kernel, no two pieces of code ever under one name.

    Numba counts the pieces without a lock: two processes that compile a kernel for two types at the same moment give both
    one name, and whoever comes later runs the code of the other type without a word. An entry of the index that is lost
    in this way costs no more than another compilation.
    """

    def _data_name(self, number: int) -> str:
        return str(super()._data_name(number)).removesuffix(".nbc") + f".{uuid.uuid4().hex}.nbc"


class _KernelCache(FunctionCache):  # type: ignore[misc]
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        # Numba looks at the file of the kernel alone; the code of kernels that it calls from other files is part of its own.
        stamp = (self._impl.locator.get_source_stamp(), _kernels_digest())
        self._cache_file = _KernelFiles(self.cache_path, self._impl.filename_base, stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Load what was compiled before; Numba would first load all of its compiler, which compiling loads by itself."""
        _name_runtime()
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)


@cache
def _name_runtime() -> None:
    """Tell LLVM where the C functions lie that kept code calls for its arrays; compiling prepares more, and by itself."""
    for name, address in _nrt_python.c_helpers.items():
        llvm.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)


@cache
def _kernels_digest() -> str:
    """SHA-256 of all files with kernels."""
    files = sorted(Path(__file__).parent.rglob("*_kernels.py"))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
