"""The receipt of a package: signed by its receiver, recorded by its sender."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..atomic import write_text
from ..errors import IntakeError, LedgerError
from ..intake import FileKind, admit, read_json
from ..ledger import Event, EventKind, Ledger, canonical
from .exchange import Package, checked_manifest, manifest_bytes
from .exchange_in import Taken
from .signing import check_signature, signature

FORMAT = "ecowatch exchange receipt 1"
_PURPOSE = "exchange receipt"
_REMEDY = "ask the receiver for the receipt again"


def write_receipt(path: Path, ledger: Ledger, package: Package, taken: Taken, *, key: bytes) -> None:
    """Write what was taken of a package, signed.

    Parameters
    ----------
    path
        Target.
    ledger
        Of the receiver, after the import.
    package, taken
        What came, and what was taken.
    key
        Shared with the sender.
    """
    head = ledger.head
    receipt: dict[str, Any] = {
        "format": FORMAT,
        "package_id": package.package_id,
        "package": package.manifest,
        "accepted": taken.accepted,
        "duplicates": taken.duplicates,
        "refused": [r._asdict() for r in taken.refused],
        "differences": [d._asdict() for d in taken.differences],
        "head": {"seq": head.seq, "hash": head.hash},
    }
    receipt["signature"] = signature(key, _PURPOSE, canonical(receipt).encode())
    write_text(path, json.dumps(receipt, ensure_ascii=False, sort_keys=True, indent=1) + "\n")


def record_receipt(ledger: Ledger, path: Path, *, key: bytes, node: str) -> int:
    """Enter the receipt of a package that this node sent.

    Returns
    -------
    int
        Number of events added: 1, or 0 where it was recorded already.

    Raises
    ------
    IntakeError
        ``RECEIPT_INVALID`` or ``SIGNATURE``.
    LedgerError
        ``RECEIPT_OF_OTHER`` where this ledger never sent such a package.
    """
    receipt = _checked(path, key)
    manifest = receipt["package"]
    head = manifest["head"]
    link = ledger.database.execute("SELECT hash FROM event WHERE seq = ?", (head["seq"],)).fetchone()
    if manifest["sender"] != node or link is None or link[0] != head["hash"]:
        finding = f"its package came from {manifest['sender']!r} at event {head['seq']}, not from this ledger"
        raise LedgerError("RECEIPT_OF_OTHER", path, finding, "record it where the package was made")
    known = ledger.rows("package", "package_id = ?", (receipt["package_id"],))
    if known and not receipt["accepted"]:
        return 0
    payload = {"package_id": receipt["package_id"], "events": receipt["accepted"], "receipt": receipt}
    return ledger.commit([Event(EventKind.PACKAGE_RECEIVED, payload=payload, actor=node, at=manifest["as_of"])])


def _checked(path: Path, key: bytes) -> dict[str, Any]:
    receipt = read_json(admit(path, roots=(path.parent,), kinds={FileKind.GEOJSON}))
    if not isinstance(receipt, dict) or not isinstance(receipt.get("signature"), str):
        raise IntakeError("RECEIPT_INVALID", path, "it bears no signature", _REMEDY)
    given = receipt.pop("signature")
    check_signature(key, _PURPOSE, canonical(receipt).encode("utf-8", "replace"), given, path)
    if receipt.get("format") != FORMAT or not isinstance(receipt.get("package"), dict):
        raise IntakeError("RECEIPT_INVALID", path, "it is no receipt of a package", _REMEDY)
    told = manifest_bytes(receipt["package"])
    checked_manifest(told, path)
    if hashlib.sha256(told).hexdigest() != receipt.get("package_id") or type(receipt.get("accepted")) is not int:
        raise IntakeError("RECEIPT_INVALID", path, "package and identity differ", _REMEDY)
    return receipt
