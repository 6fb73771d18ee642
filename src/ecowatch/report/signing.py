"""Signatures on packages between two nodes: HMAC-SHA256 with a key that both hold.

The key is symmetric: it proves to each of the two that a package comes from a holder of the key and was not changed, and
proves nothing to a third party, for either of them could have made it. One key per pair of nodes, handed over by another way
than the packages.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from pathlib import Path

from ..errors import IntakeError

MIN_KEY_BYTES, MAX_KEY_BYTES = 32, 4096
_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_key(path: Path) -> bytes:
    """Return the shared key of a file, byte for byte.

    Raises
    ------
    IntakeError
        ``KEY_MISSING``, ``KEY_OPEN`` (others may read it), ``KEY_SHORT`` or ``KEY_WEAK``.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        remedy = "a regular file, not a link: head -c 48 /dev/urandom > key; chmod 600 key"
        raise IntakeError("KEY_MISSING", path, error.strerror or str(error), remedy) from error
    try:
        # The open file is asked, not the name: it cannot be exchanged between the question and the reading.
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise IntakeError("KEY_MISSING", path, "it is no regular file", "give a key file")
        if mode & _OPEN_TO_OTHERS:
            raise IntakeError("KEY_OPEN", path, f"its mode is {stat.S_IMODE(mode):o}", "chmod 600, and make a new key")
        key = os.read(handle, MAX_KEY_BYTES + 1)
    finally:
        os.close(handle)
    if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        finding = f"it holds {len(key)} bytes" if len(key) <= MAX_KEY_BYTES else f"it holds over {MAX_KEY_BYTES} bytes"
        raise IntakeError("KEY_SHORT", path, finding, f"{MIN_KEY_BYTES} to {MAX_KEY_BYTES} random bytes")
    if len(set(key)) < 10:
        raise IntakeError("KEY_WEAK", path, "it repeats a few values", "make it from /dev/urandom")
    return key


def signature(key: bytes, purpose: str, content: bytes) -> str:
    """Return the HMAC-SHA256 of `content`, in hexadecimal; what is signed for one purpose does not serve another."""
    return hmac.new(key, b"ecowatch " + purpose.encode() + b"\n" + content, hashlib.sha256).hexdigest()


def check_signature(key: bytes, purpose: str, content: bytes, given: str, where: object) -> None:
    """Refuse what was not signed with this key for this purpose.

    Raises
    ------
    IntakeError
        ``SIGNATURE``.
    """
    expected = signature(key, purpose, content)
    if not hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace")):
        raise IntakeError("SIGNATURE", where, "it was not signed with this key, or was changed since", "fetch it again")
