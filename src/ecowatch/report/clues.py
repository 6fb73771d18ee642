"""Clue packages 线索移交: what goes to the unit that must act, as files with digests, and the receipt that comes back.

The identity of a clue is the digest of its files, so that the package, the ledger and the receipt speak of the same thing.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import shapely

from ..atomic import replacing
from ..errors import IntakeError, LedgerError, StorageError
from ..intake import FileKind, admit, read_json
from ..ledger import Event, EventKind, Ledger, canonical, geometry_of
from ..ledger.casework import checked_instant, checked_name
from ..settings import Review
from .archive import write_zip
from .chips import Chips, Site, chips_of
from .clue_facts import problem_facts
from .clue_page import clue_page, clue_table

FORMAT = "ecowatch clue 1"
RECEIPT_FORMAT = "ecowatch clue receipt 1"
_RECEIPT = ("format", "clue_id", "digest", "received_by", "received_at", "case_no", "note")
_LONGEST = {"received_by": 100, "case_no": 200, "note": 4000}
_NO_REVIEW = "no review or run was named from whose scenes they could be cut (--review, --run)"


class HandOver(NamedTuple):
    """To whom a clue goes, by which date it is to be dealt with, when it was handed over and by whom."""

    to: str
    deadline: str
    at: str
    by: str


class Clue(NamedTuple):
    """A clue that is ready: identity, digest of its manifest, files, the event that tells of it, and why chips are missing."""

    clue_id: str
    digest: str
    files: dict[str, bytes]
    event: Event
    without_chips: dict[str, str]


def make_clue(ledger: Ledger, problem_ids: Sequence[str], handing: HandOver, reviews: Sequence[Review] = ()) -> Clue:
    """Put a clue together; the same ledger, terms and scenes give the same bytes.

    Parameters
    ----------
    ledger
        Open for reading.
    problem_ids
        One problem, or a list that is handed over together.
    handing
        Terms.
    reviews
        Reviews from whose scenes the chips are cut; the first that can, does.

    Raises
    ------
    LedgerError
        ``PROBLEM_UNKNOWN``, ``CLUE_GONE``, ``CLUE_EMPTY``, ``CLUE_TERMS``, ``NAME_MISSING`` or ``DATE_AMBIGUOUS``.
    """
    names = sorted(set(problem_ids))
    terms = _checked_terms(handing)
    if not names:
        raise LedgerError("CLUE_EMPTY", "clue", "no problem is named", "name at least one")
    facts = [problem_facts(ledger, name) for name in names]
    outlines = {name: _geometry(ledger, name) for name in names}
    files: dict[str, bytes] = {}
    chips = _found_chips(facts, outlines, reviews)
    for problem in facts:
        _add_chips(problem, chips[problem["problem_id"]], files)
    told = {"format": FORMAT, **terms, "problems": facts}
    files["clue.json"] = _json(told)
    files["clue.csv"] = clue_table(told).encode()
    files["clue.html"] = clue_page(told).encode()
    files["outline.geojson"] = _json(_collection(facts, outlines))
    return _sealed(files, names, terms, {p["problem_id"]: p["no_chips_because"] for p in facts if not p["chips"]})


def _checked_terms(handing: HandOver) -> dict[str, str]:
    deadline, at = checked_instant(handing.deadline), checked_instant(handing.at)
    if not handing.to.strip():
        raise LedgerError("CLUE_TERMS", "to", "no receiving unit is named", "--to UNIT")
    if date.fromisoformat(deadline[:10]) < date.fromisoformat(at[:10]):
        raise LedgerError("CLUE_TERMS", "deadline", f"{deadline} is before {at}", "a date after the handing over")
    terms = {"receiver": handing.to.strip(), "deadline": deadline, "handed_over_at": at}
    return terms | {"handed_over_by": checked_name(handing.by)}


def _geometry(ledger: Ledger, problem_id: str) -> Any:
    return geometry_of(ledger.rows("problem", "problem_id = ?", (problem_id,))[0]["geometry"])


def _found_chips(
    facts: Sequence[Mapping[str, Any]], outlines: Mapping[str, Any], reviews: Sequence[Review]
) -> dict[str, Chips]:
    found = {problem["problem_id"]: Chips((), _NO_REVIEW) for problem in facts}
    sites = {p["problem_id"]: Site(p["area_id"], outlines[p["problem_id"]], p["scenes"]) for p in facts}
    for review in reviews:
        missing = {name: site for name, site in sites.items() if not found[name].chips}
        if missing:
            found |= chips_of(review, missing)
    return found


def _add_chips(problem: dict[str, Any], chips: Chips, files: dict[str, bytes]) -> None:
    problem["chips"] = []
    problem["no_chips_because"] = "" if chips.chips else chips.why
    for chip in chips.chips:
        name = f"chips/{file_name(problem['problem_id'])}_{chip.when}.png"
        files[name] = chip.png
        told = {"file": name, "when": chip.when, "date": chip.date, "scenes": list(chip.scenes)}
        problem["chips"].append(told)


def file_name(problem_id: str) -> str:
    """Return a name that is safe in any folder, and unlike for unlike problems."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", problem_id)[:60]
    if plain == problem_id:
        return plain
    return f"{plain}-{hashlib.sha256(problem_id.encode()).hexdigest()[:8]}"


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def _collection(facts: Sequence[Mapping[str, Any]], outlines: Mapping[str, Any]) -> dict[str, Any]:
    features = [
        {
            "type": "Feature",
            "properties": {name: problem[name] for name in ("problem_id", "area_id", "area_ha")},
            "geometry": json.loads(shapely.to_geojson(outlines[problem["problem_id"]])),
        }
        for problem in facts
    ]
    # A file without this is WGS 84 by its norm; the two differ by less than a metre, but a form must say which.
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::4490"}}
    return {"type": "FeatureCollection", "name": "outline", "crs": crs, "features": features}


def _sealed(
    files: dict[str, bytes], names: Sequence[str], terms: Mapping[str, str], without_chips: dict[str, str]
) -> Clue:
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    clue_id = hashlib.sha256(canonical(digests).encode()).hexdigest()
    manifest = _json({"format": FORMAT, "clue_id": clue_id, "files": digests})
    digest = hashlib.sha256(manifest).hexdigest()
    blank = dict.fromkeys(_RECEIPT, "") | {"format": RECEIPT_FORMAT, "clue_id": clue_id, "digest": digest}
    sealed = files | {"manifest.json": manifest, "receipt.json": _json(blank)}
    payload = {"clue_id": clue_id, "problems": list(names), "digest": digest}
    payload |= {"receiver": terms["receiver"], "deadline": terms["deadline"]}
    told = {"actor": terms["handed_over_by"], "at": terms["handed_over_at"]}
    return Clue(clue_id, digest, sealed, Event(EventKind.CLUE_HANDED_OVER, payload=payload, **told), without_chips)


def write_clue(clue: Clue, folder: Path, *, as_zip: bool = False) -> Path:
    """Write a clue below `folder`, as a folder or zip named after its identity; one that is there with other content stays.

    Raises
    ------
    StorageError
        ``CANNOT_WRITE``, or ``CLUE_EXISTS`` where the folder holds something else.
    """
    place = folder / f"clue_{clue.clue_id[:16]}"
    if as_zip:
        path = place.with_name(place.name + ".zip")
        write_zip(path, clue.files)
        return path
    for name, content in sorted(clue.files.items()):
        path = place / name
        if path.exists() and path.read_bytes() != content:
            raise StorageError("CLUE_EXISTS", path, "it differs from what would be written", "name another folder")
        with replacing(path) as beside:
            beside.write_bytes(content)
    return place


def receive_clue(ledger: Ledger, path: Path) -> int:
    """Enter the receipt of a clue that came back filled in.

    Returns
    -------
    int
        Number of events added: 1, or 0 for the same receipt again.

    Raises
    ------
    IntakeError
        Where it is no JSON file.
    LedgerError
        ``RECEIPT_INVALID``, ``CLUE_UNKNOWN``, ``CLUE_DIGEST``, ``NAME_MISSING``, ``DATE_AMBIGUOUS`` or ``CLUE_RECEIVED``
        where another receipt of it was entered before.
    """
    receipt = _checked_receipt(path)
    rows = ledger.rows("clue", "clue_id = ?", (receipt["clue_id"],))
    if not rows:
        raise LedgerError(
            "CLUE_UNKNOWN", path, f"no clue {receipt['clue_id'][:16]!r} was handed over", "send it whence it came"
        )
    if rows[0]["digest"] != receipt["digest"]:
        raise LedgerError(
            "CLUE_DIGEST", path, "it is of another package than the one handed over", "check manifest.json"
        )
    name, at = checked_name(receipt["received_by"]), checked_instant(receipt["received_at"])
    if date.fromisoformat(at[:10]) < date.fromisoformat(rows[0]["handed_over_at"][:10]):
        raise LedgerError("RECEIPT_INVALID", path, f"received {at}, before it was handed over", "correct received_at")
    event = Event(
        EventKind.CLUE_RECEIVED, payload={"clue_id": receipt["clue_id"], "receipt": receipt}, actor=name, at=at
    )
    if rows[0]["received_at"] and json.loads(rows[0]["receipt"]) != receipt:
        finding = f"a receipt of {rows[0]['received_at']} was entered before and differs"
        raise LedgerError("CLUE_RECEIVED", path, finding, "a receipt is given once")
    return ledger.commit([event])


def _checked_receipt(path: Path) -> dict[str, str]:
    receipt = read_json(admit(path, roots=(path.parent,), kinds={FileKind.GEOJSON}, max_bytes=2**20))
    if not isinstance(receipt, dict) or set(receipt) != set(_RECEIPT) or receipt["format"] != RECEIPT_FORMAT:
        raise LedgerError("RECEIPT_INVALID", path, "it is no receipt of a clue", "fill in receipt.json of the package")
    for key in _RECEIPT:
        value = receipt[key]
        if not isinstance(value, str) or len(value) > _LONGEST.get(key, 64) or any(map(_control, value)):
            raise LedgerError("RECEIPT_INVALID", path, f"{key} is no plain text of fitting length", "correct it")
    return dict(receipt)


def _control(character: str) -> bool:
    return character not in "\n\r\t" and unicodedata.category(character) in ("Cc", "Cs")


def review_of_run(folder: Path) -> Review:
    """Return the review that a run was made from, out of its record.

    Raises
    ------
    IntakeError
        ``RUN_UNREADABLE``, or what `intake` says of ``run.json``.
    """
    record = read_json(admit(folder / "run.json", roots=(folder,), kinds={FileKind.GEOJSON}))
    try:
        return Review.model_validate(record["settings"])
    except (KeyError, TypeError, ValueError) as error:
        finding = "run.json holds no settings of a review"
        raise IntakeError("RUN_UNREADABLE", folder, finding, "name the review file: --review") from error
