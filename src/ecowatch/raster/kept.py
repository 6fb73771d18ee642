"""What a thread keeps from task to task: open files, and the blocks it decoded last.

Small areas lie close together: without this each of them would open the same files and decode the same blocks again. GDAL's
handles must not cross threads or a fork, so that each thread of each process has its own.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from .layer import Pixels

_MOST_FILES = 48


class Kept:
    """Open files and decoded blocks, the least recently used given up first."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._files: OrderedDict[Hashable, Any] = OrderedDict()
        self._blocks: OrderedDict[Hashable, Pixels] = OrderedDict()
        self._bytes = 0

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

    def block(self, key: Hashable, decoded: Callable[[], Pixels], *, most_bytes: int) -> Pixels:
        """Return the decoded block of a key, decoded by `decoded` where it is not there; nobody may write into it.

        Parameters
        ----------
        key
            Everything its numbers depend on.
        decoded
            Decodes it.
        most_bytes
            Blocks of more than so many bytes in all are given up, but for the last.
        """
        if key in self._blocks:
            self._blocks.move_to_end(key)
            return self._blocks[key]
        pixels = self._blocks[key] = decoded()
        self._bytes += pixels.values.nbytes
        while self._bytes > most_bytes and len(self._blocks) > 1:
            self._bytes -= self._blocks.popitem(last=False)[1].values.nbytes
        return pixels


_OWN = threading.local()


def own() -> Kept:
    """Return what this thread of this process keeps."""
    kept: Kept | None = getattr(_OWN, "kept", None)
    if kept is None or kept.pid != os.getpid():
        kept = _OWN.kept = Kept()
    return kept
