"""What a thread keeps from task to task: open files, the blocks it decoded last, and parts of some it gave up.

Small areas lie close together: without this each of them would open the same files and decode the same blocks again. GDAL's
handles must not cross threads or a fork, so that each thread of each process has its own.
"""

from __future__ import annotations

import math
import os
import sys
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..grid import Window
from .layer import Pixels

Array = np.ndarray[Any, Any]

_MOST_FILES = 48
_MOST_FREE_BYTES = 4 * 2**20
_MOST_SOON_BYTES = 4 * 2**20
_MOST_LATE_BYTES = 16 * 2**20


class Kept:
    """Open files, decoded blocks and held parts of blocks; of each the least recently used is given up first."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._files: OrderedDict[Hashable, Any] = OrderedDict()
        self._blocks: OrderedDict[Hashable, Pixels] = OrderedDict()
        self._bytes = 0
        self._free: defaultdict[int, list[Array]] = defaultdict(list)
        self._soon, self._late = _Parts(_MOST_SOON_BYTES), _Parts(_MOST_LATE_BYTES)

    def file(self, key: Hashable, opened: Callable[[], Any]) -> Any:
        """Return the open file of a key, opened by `opened` where it is not there; anything with ``close``, or None.

        Parameters
        ----------
        key
            Path, digest and kind of the reader: another content is another file.
        opened
            Opens it.
        """
        if key not in self._files:
            self._files[key] = opened()
            if len(self._files) > _MOST_FILES:
                _, oldest = self._files.popitem(last=False)
                if oldest is not None:
                    oldest.close()
        self._files.move_to_end(key)
        return self._files[key]

    def part(self, key: Hashable, part: Window, decoded: Callable[[], Pixels], *, most_bytes: int) -> Pixels:
        """Return a part of the block of a key; nobody may write into it.

        Parameters
        ----------
        key
            Everything the numbers of the block depend on.
        part
            Rows and columns, counted from the first pixel of the block.
        decoded
            Decodes the block, where neither it nor a held part that is large enough is there.
        most_bytes
            Blocks of more than so many bytes in all are given up, but for the last.
        """
        pixels = self._blocks.get(key)
        if pixels is not None:
            self._blocks.move_to_end(key)
            return _cut(pixels, part)
        for parts in (self._soon, self._late):
            if (found := parts.find(key, part)) is not None:
                return found
        pixels = decoded()
        self._keep(key, pixels, most_bytes)
        return _cut(pixels, part)

    def _keep(self, key: Hashable, pixels: Pixels, most_bytes: int) -> None:
        self._blocks[key] = pixels
        self._bytes += pixels.values.nbytes
        while self._bytes > most_bytes and len(self._blocks) > 1:
            given_up = self._blocks.popitem(last=False)[1].values
            self._bytes -= given_up.nbytes
            self._take_back(given_up)

    def turn(self) -> None:
        """Give up what was held for later before the last turn and not since: whoever wanted it has been here."""
        self._late.turn()

    def close(self) -> None:
        """Close the files."""
        while self._files:
            opened = self._files.popitem()[1]
            if opened is not None:
                opened.close()

    def take_over(self, other: Kept, *, most_bytes: int) -> None:
        """Keep the decoded blocks that another thread gave up, as if this one had decoded them last."""
        while other._blocks:
            key, pixels = other._blocks.popitem(last=False)
            if key not in self._blocks:
                self._keep(key, pixels, most_bytes)
        other._bytes = 0

    def buffer(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an array for the pixels of a block, with any content: of one that was given up, where its size fits.

        Blocks come and go all the time and live longer than what is computed from them: from the heap they would leave
        holes that nothing else fits into.
        """
        free = self._free[math.prod(shape) * np.dtype(dtype).itemsize]
        memory = free.pop() if free else np.empty(math.prod(shape) * np.dtype(dtype).itemsize, np.uint8)
        values: Array = memory.view(dtype).reshape(shape)
        return values

    def _take_back(self, values: Array) -> None:
        # Every view of a block refers to its memory. Where there are others than `values`, somebody still reads it.
        if _references(values) != _NOBODY_ELSE or values.base is None:
            return
        if sum(size * len(free) for size, free in self._free.items()) > _MOST_FREE_BYTES:
            # Of blocks of another kind, for which nobody asks any more.
            self._free.clear()
        self._free[values.nbytes].append(values.base)

    def hold(self, key: Hashable, part: Window, *, soon: bool) -> None:
        """Keep a part of a decoded block beyond the block itself; of one that is not decoded, nothing.

        Parameters
        ----------
        key, part
            As for `part`.
        soon
            It will be asked for soon, or only when much else was read.
        """
        pixels = self._blocks.get(key)
        if pixels is not None:
            (self._soon if soon else self._late).add(key, part, pixels)


def _references(values: Array) -> int:
    """How many references there are to the memory that `values` is a view of."""
    memory = values.base
    count: int = sys.getrefcount(memory)
    return count


_NOBODY_ELSE = _references(np.empty(1, np.uint8).view(np.int8))


@dataclass
class _Held:
    """A part of a block, counted from the first pixel of the block, its pixels, and the turn at which it was last held."""

    part: Window
    pixels: Pixels
    turn: int


class _Parts:
    """Parts of blocks, up to so many bytes; the blocks that were least recently asked for are given up first."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._bytes, self._turn = most_bytes, 0, 0
        self._held: OrderedDict[Hashable, list[_Held]] = OrderedDict()

    def find(self, key: Hashable, part: Window) -> Pixels | None:
        held = self._over(key, part)
        return None if held is None else _cut(held.pixels, part.moved(-held.part.row0, -held.part.col0))

    def _over(self, key: Hashable, part: Window) -> _Held | None:
        for held in self._held.get(key, ()):
            if held.part.intersection(part) == part:
                self._held.move_to_end(key)
                return held
        return None

    def add(self, key: Hashable, part: Window, block: Pixels) -> None:
        if (held := self._over(key, part)) is not None:
            held.turn = self._turn
            return
        cut = _cut(block, part)
        own = Pixels(cut.values.copy(), None if cut.covered is None else cut.covered.copy())
        self._held.setdefault(key, []).append(_Held(part, own, self._turn))
        self._held.move_to_end(key)
        self._bytes += own.values.nbytes
        while self._bytes > self._most_bytes:
            self._bytes -= sum(held.pixels.values.nbytes for held in self._held.popitem(last=False)[1])

    def turn(self) -> None:
        for key, parts in list(self._held.items()):
            fresh = [held for held in parts if held.turn == self._turn]
            self._bytes -= sum(held.pixels.values.nbytes for held in parts if held.turn != self._turn)
            if fresh:
                self._held[key] = fresh
            else:
                del self._held[key]
        self._turn += 1


def _cut(pixels: Pixels, part: Window) -> Pixels:
    place = slice(part.row0, part.row1), slice(part.col0, part.col1)
    return Pixels(pixels.values[:, *place], None if pixels.covered is None else pixels.covered[place])


_OWN = threading.local()


def own() -> Kept:
    """Return what this thread of this process keeps."""
    kept: Kept | None = getattr(_OWN, "kept", None)
    if kept is None or kept.pid != os.getpid():
        kept = _OWN.kept = Kept()
    return kept


def given_up() -> Kept:
    """Return what this thread kept, its files closed; the thread keeps nothing of it."""
    kept = own()
    del _OWN.kept
    kept.close()
    return kept
