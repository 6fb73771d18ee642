"""Packages that one node's ledger sends to another's: events of some areas as files, signed, that may be sent twice or lost.

A package is a zip of three files: ``events.jsonl`` (one event per line, as the ledger has it), ``manifest.json`` (who sends
what to whom, and the digest of the events) and ``manifest.sig``. What a node says for itself alone (sign-offs, clues,
receipts) does not travel.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import IntakeError, LedgerError
from ..ledger import Event, EventKind, Ledger, canonical
from .archive import opened_zip, read_member, write_zip
from .signing import check_signature, signature

FORMAT = "ecowatch exchange 1"
PARTS = ("events.jsonl", "manifest.json", "manifest.sig")
MAX_EVENT_BYTES = 2**30
_MAX_MANIFEST_BYTES = 2**20
_PURPOSE = "exchange package"
_REMEDY = "ask the sender for the package again"

HOME = frozenset(
    {EventKind.PERIOD_SIGNED, EventKind.CLUE_HANDED_OVER, EventKind.CLUE_RECEIVED, EventKind.PACKAGE_RECEIVED}
)
"""Kinds of event that stay at home."""

_FIELDS = ("kind", "area_id", "period", "problem_id", "patch_id", "payload", "actor", "at")


class Node(NamedTuple):
    """A node of the exchange; of two that differ, the one of lower rank number has the last word: see `precedence`."""

    name: str
    rank: int


class Line(NamedTuple):
    """One event of a package: its number at the sender, its stated identity, the event or why it is none."""

    seq: int
    event_id: str
    event: Event | None


class Package(NamedTuple):
    """A package whose signature and digests hold."""

    package_id: str
    manifest: dict[str, Any]
    lines: tuple[Line, ...]

    @property
    def sender(self) -> Node:
        """Who sent it."""
        return Node(self.manifest["sender"], self.manifest["rank"])


class Selection(NamedTuple):
    """Which events go out: of these areas (all where none is named), after this number of the log."""

    areas: tuple[str, ...] = ()
    since: int = 0


def rank_of(node: str) -> int:
    """Return the rank of a node that states none: 0 for ``national``, 1 for any other."""
    return 0 if node == "national" else 1


def export_package(
    ledger: Ledger, out: Path, selection: Selection, *, sender: Node, receiver: str, key: bytes
) -> dict[str, Any]:
    """Write a package; the same ledger head gives the same bytes.

    Parameters
    ----------
    ledger
        Open for reading.
    out
        Target, replaced as a whole.
    selection
        Which events.
    sender, receiver
        From whom, to whom.
    key
        Shared key of the two.

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    LedgerError
        ``EXCHANGE_SELF``, ``EXCHANGE_SINCE`` or ``AREA_UNKNOWN``.
    StorageError
        ``CANNOT_WRITE``.
    """
    _check_selection(ledger, selection, sender, receiver)
    rows = list(_selected(ledger, selection))
    events = "".join(canonical(row) + "\n" for row in rows).encode()
    head = ledger.head
    manifest = {
        "format": FORMAT,
        "sender": sender.name,
        "rank": sender.rank,
        "receiver": receiver,
        "head": {"seq": head.seq, "hash": head.hash},
        "from_seq": selection.since + 1,
        "to_seq": head.seq,
        "areas": sorted(selection.areas),
        "count": len(rows),
        "as_of": max((row["at"] for row in rows), default=""),
        "parts": {PARTS[0]: {"sha256": hashlib.sha256(events).hexdigest(), "bytes": len(events)}},
    }
    told = manifest_bytes(manifest)
    signed = signature(key, _PURPOSE, told) + "\n"
    write_zip(out, {PARTS[0]: events, PARTS[1]: told, PARTS[2]: signed.encode()})
    return manifest


def manifest_bytes(manifest: dict[str, Any]) -> bytes:
    """Return the bytes of a manifest that are signed and whose SHA-256 is the package's identity."""
    return (json.dumps(manifest, ensure_ascii=False, sort_keys=True, indent=1) + "\n").encode()


def _check_selection(ledger: Ledger, selection: Selection, sender: Node, receiver: str) -> None:
    if sender.name == receiver:
        raise LedgerError("EXCHANGE_SELF", receiver, "it is this node itself", "name the node that is to receive it")
    last = ledger.head.seq
    if not 0 <= selection.since <= last:
        raise LedgerError("EXCHANGE_SINCE", selection.since, f"the last event is {last}", f"a number from 0 to {last}")
    for area in selection.areas:
        if not ledger.database.execute("SELECT 1 FROM event WHERE area_id = ? LIMIT 1", (area,)).fetchone():
            raise LedgerError("AREA_UNKNOWN", area, "the ledger says nothing of it", "correct --area")


def _selected(ledger: Ledger, selection: Selection) -> Iterator[dict[str, Any]]:
    query = f"SELECT seq, event_id, {', '.join(_FIELDS)} FROM event WHERE seq > ? AND area_id <> '' ORDER BY seq"
    for row in ledger.database.execute(query, (selection.since,)):
        if row["kind"] in HOME or (selection.areas and row["area_id"] not in selection.areas):
            continue
        yield {**dict(row), "payload": json.loads(row["payload"])}


def read_package(path: Path, *, key: bytes, receiver: str, max_event_bytes: int = MAX_EVENT_BYTES) -> Package:
    """Read a package: its signature first, then its digests, then its events.

    Parameters
    ----------
    path
        The zip.
    key
        Shared with its sender.
    receiver
        Name of this node.
    max_event_bytes
        Larger packages are refused.

    Raises
    ------
    IntakeError
        ``ZIP_*``, ``FILE_TOO_LARGE``, ``SIGNATURE``, ``EXCHANGE_MANIFEST``, ``EXCHANGE_RECEIVER``, ``EXCHANGE_DIGEST`` or
        ``EXCHANGE_EVENTS``.
    """
    with opened_zip(path, PARTS) as archive:
        told = read_member(archive, PARTS[1], _MAX_MANIFEST_BYTES)
        signed = read_member(archive, PARTS[2], 256).decode("ascii", "replace").strip()
        check_signature(key, _PURPOSE, told, signed, path)
        manifest = checked_manifest(told, path)
        if manifest["receiver"] != receiver or manifest["sender"] == receiver:
            finding = f"it goes from {manifest['sender']!r} to {manifest['receiver']!r}"
            raise IntakeError("EXCHANGE_RECEIVER", path, finding, f"this node is {receiver!r}")
        part = manifest["parts"][PARTS[0]]
        events = read_member(archive, PARTS[0], min(part["bytes"], max_event_bytes))
    if len(events) != part["bytes"] or hashlib.sha256(events).hexdigest() != part["sha256"]:
        raise IntakeError("EXCHANGE_DIGEST", path, "the events are not those that were signed", _REMEDY)
    return Package(hashlib.sha256(told).hexdigest(), manifest, _lines(events, manifest, path))


def checked_manifest(told: bytes, path: Path) -> dict[str, Any]:
    """Return the manifest of a package if it has the form that this program writes.

    Raises
    ------
    IntakeError
        ``EXCHANGE_MANIFEST``.
    """
    try:
        manifest: Any = json.loads(told)
        plain = manifest_bytes(manifest) == told and manifest["format"] == FORMAT
        names = all(isinstance(manifest[k], str) and manifest[k] for k in ("sender", "receiver"))
        head, part = manifest["head"], manifest["parts"][PARTS[0]]
        numbers = [manifest[k] for k in ("rank", "from_seq", "to_seq", "count")] + [head["seq"], part["bytes"]]
        whole = all(type(n) is int and n >= 0 for n in numbers)
        texts = all(isinstance(t, str) for t in (manifest["as_of"], head["hash"], part["sha256"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise IntakeError("EXCHANGE_MANIFEST", path, f"the manifest has no {error}", _REMEDY) from error
    if not (plain and names and whole and texts and list(manifest["parts"]) == [PARTS[0]]):
        raise IntakeError("EXCHANGE_MANIFEST", path, "the manifest is of another form", f"{FORMAT}; {_REMEDY}")
    return dict(manifest)


def _lines(events: bytes, manifest: dict[str, Any], path: Path) -> tuple[Line, ...]:
    lines = events.splitlines()
    if len(lines) != manifest["count"]:
        raise IntakeError("EXCHANGE_EVENTS", path, f"{len(lines)} events, {manifest['count']} are stated", _REMEDY)
    return tuple(_line(raw, f"{path}: events.jsonl {number}") for number, raw in enumerate(lines, start=1))


def _line(raw: bytes, where: str) -> Line:
    try:
        row: Any = json.loads(raw)
        seq, event_id = row["seq"], row["event_id"]
        if type(seq) is not int or not isinstance(event_id, str):
            raise ValueError("seq or event_id")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise IntakeError("EXCHANGE_EVENTS", where, f"it is no event ({error})", _REMEDY) from error
    return Line(seq, event_id, _event(row))


def _event(row: Any) -> Event | None:
    """The event of a line, or None where it is of no known form or not what its identity says."""
    try:
        payload = row["payload"]
        kind, *texts = (row[name] for name in _FIELDS if name != "payload")
        if not isinstance(payload, dict) or not all(isinstance(text, str) for text in texts):
            return None
        area_id, period, problem_id, patch_id, actor, at = texts
        event = Event(EventKind(kind), area_id, period, problem_id, patch_id, payload, actor, at)
        return event if event.event_id == row["event_id"] else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
