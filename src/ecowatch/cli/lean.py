"""Imports of the commands that carry reviews out: without what only costs time at each start."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Packages that others import where they find them, for features that no review uses: rasterio for sessions of its own (here
# addresses and keys go to GDAL as options), Dask for pictures of itself in notebooks, pyogrio for data frames. They take
# more than a second together. Once this is over, whoever needs them imports them.
_UNASKED = ("boto3", "jinja2")
_FRAMES = ("geopandas", "pandas", "pyarrow")

_PROGRAM = False


def begin_program() -> None:
    """Tell that this process is the program, which knows what it will do, and not somebody's who calls a command."""
    # Two hundred thousand things are made by importing, and stay: to look for rubbish among them takes a tenth of the start.
    gc.set_threshold(10_000)
    global _PROGRAM  # noqa: PLW0603 - of the process, as what it imports is
    _PROGRAM = True


@contextmanager
def lean_imports(*, frames: bool = False) -> Iterator[None]:
    """Import without a search for rubbish, of which there is none; the program also without what nobody asked for.

    Parameters
    ----------
    frames
        Data frames are asked for: without them, pyogrio has none for the rest of this process. The ledger reads a run so.
    """
    gc.disable()
    unasked = _UNASKED if frames else (*_UNASKED, *_FRAMES)
    absent = [name for name in unasked if _PROGRAM and name not in sys.modules]
    sys.modules |= dict.fromkeys(absent)  # type: ignore[arg-type]
    try:
        yield
        import pyogrio.raw  # noqa: F401, PLC0415 - the door to vector files, which all of them open
    finally:
        for name in absent:
            del sys.modules[name]
        gc.freeze()
        gc.enable()
