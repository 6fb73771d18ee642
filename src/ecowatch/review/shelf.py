"""Values that lie in a file while nobody asks for them: ten thousand areas take little more memory than a hundred."""

from __future__ import annotations

import copyreg
import io
import pickle
import tempfile
from array import array
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar, overload

import odc.geo
from pyproj import CRS

from ..atomic import storage_error
from ..scenes import Scene
from ..settings import Pipeline

Held = TypeVar("Held")

# Few values are left as they are: a run over one area has nothing to gain from a file.
_FEW = 64
_MEMORY_BYTES = 2**20
_COMMON = (Scene, Pipeline, CRS, odc.geo.CRS, type(Path()))


class Shelf(Sequence[Held]):
    """A sequence that grows at its end; all but its first values are pickled into a file without a name.

    A value that is read is a new one, equal to what was put there. Only the last is remembered.

    Parameters
    ----------
    values
        The first ones.
    common
        Types whose values many others share, besides scenes, pipelines, reference systems, shelves and views of them: each of
        these is held once, as it is.
    """

    def __init__(self, values: Iterable[Held] = (), *, common: tuple[type, ...] = ()) -> None:
        self._few: list[Held] = []
        self._file = tempfile.SpooledTemporaryFile(_MEMORY_BYTES)  # noqa: SIM115 - open as long as the shelf
        self._ends = array("q", [0])
        self._common: list[Any] = []
        self._numbers: dict[int, int] = {}
        # Asked by type in compiled code: a function that is asked of every part of a value takes twice the time of all else.
        self._ways = copyreg.dispatch_table | dict.fromkeys((*_COMMON, Shelf, View, *common), self._as_common)
        self._last: tuple[int, Held] | None = None
        self._lock = Lock()
        for value in values:
            self.append(value)

    def append(self, value: Held) -> None:
        """Put a value at the end.

        Raises
        ------
        StorageError
            ``DISK_FULL`` or ``CANNOT_WRITE``, with the folder for temporary files.
        """
        if len(self._few) < _FEW:
            self._few.append(value)
            return
        stream = io.BytesIO()
        pickler = pickle.Pickler(stream, protocol=pickle.HIGHEST_PROTOCOL)
        pickler.dispatch_table = self._ways
        pickler.dump(value)
        try:
            with self._lock:
                self._file.seek(self._ends[-1])
                self._file.write(stream.getbuffer())
                self._file.flush()
        except OSError as error:
            raise storage_error(Path(tempfile.gettempdir()), error) from error
        self._ends.append(self._ends[-1] + stream.tell())

    def __len__(self) -> int:
        return len(self._few) + len(self._ends) - 1

    @overload
    def __getitem__(self, number: int) -> Held: ...
    @overload
    def __getitem__(self, number: slice) -> View[Held]: ...
    def __getitem__(self, number: int | slice) -> Held | View[Held]:
        place = range(len(self))[number]
        if isinstance(place, range):
            return View(self, place)
        filed = place - len(self._few)
        if filed < 0:
            return self._few[place]
        with self._lock:
            if self._last is None or self._last[0] != filed:
                begin, end = self._ends[filed : filed + 2]
                self._file.seek(begin)
                stream = io.BytesIO(self._file.read(end - begin))
                self._last = filed, _Unpickler(stream, self._common).load()
            return self._last[1]

    def _as_common(self, value: Any) -> tuple[Callable[[int], Any], tuple[int]]:
        """What stands in the file for a value that many share: its number among those that are held."""
        if id(value) not in self._numbers:
            # It is held here, so that no other value can take its identity.
            self._common.append(value)
            self._numbers[id(value)] = len(self._common) - 1
        return _common_value, (self._numbers[id(value)],)


def _common_value(number: int) -> Any:
    """Stand in a shelf's file for what gives back a value that many share; only a shelf knows them."""
    raise pickle.UnpicklingError(f"value {number} is held by the shelf that wrote this")


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, common: Sequence[Any]) -> None:
        super().__init__(stream)
        self._common = common

    def find_class(self, module: str, name: str) -> Any:
        return self._common.__getitem__ if name == _common_value.__name__ else super().find_class(module, name)


class View(Sequence[Held]):
    """Values of another sequence, which stay there: some or all of them, in an order, each through a function.

    Parameters
    ----------
    values
        The other sequence.
    numbers
        Places in it; all of them without.
    through
        What is done with a value whenever it is asked for.
    """

    def __init__(
        self,
        values: Sequence[Any],
        numbers: Sequence[int] | None = None,
        through: Callable[[Any], Held] | None = None,
    ) -> None:
        self._values, self._through = values, through
        self._numbers = range(len(values)) if numbers is None else numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, number: int) -> Held: ...
    @overload
    def __getitem__(self, number: slice) -> View[Held]: ...
    def __getitem__(self, number: int | slice) -> Held | View[Held]:
        if isinstance(number, slice):
            return View(self._values, self._numbers[number], self._through)
        value: Held = self._values[self._numbers[number]]
        return value if self._through is None else self._through(value)
