"""Two nodes, two ledgers: packages there and back, twice, damaged, forged, and where both moved one problem."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shapely import Polygon, box, multipolygons

from ecowatch.errors import EcowatchError, IntakeError, LedgerError
from ecowatch.ledger import Event, EventKind, Ledger, canonical
from ecowatch.ledger.schema import VIEW_TABLES
from ecowatch.report.archive import opened_zip, read_member, write_zip
from ecowatch.report.exchange import PARTS, Node, Selection, export_package, manifest_bytes, read_package
from ecowatch.report.exchange_in import Taken, precedence, take_package
from ecowatch.report.exchange_receipt import record_receipt, write_receipt
from ecowatch.report.signing import check_signature, read_key, signature

from ..desk.ground import add, count, make_ledger, moved, opened, patch, seen, state_of, unit, verdict
from ..ledger.story import batches

KEY = bytes(range(48))
NATION, PROVINCE = Node("national", 0), Node("gansu", 1)


def sent(book: Path, out: Path, sender: Node, receiver: Node, selection: Selection | None = None) -> Path:
    with Ledger.reader(book) as ledger:
        export_package(ledger, out, selection or Selection(), sender=sender, receiver=receiver.name, key=KEY)
    return out


def taken(book: Path, package: Path, node: Node, receipt: Path | None = None) -> Taken:
    with Ledger.writer(book) as ledger:
        read = read_package(package, key=KEY, receiver=node.name)
        done = take_package(ledger, read, node=node)
        if receipt is not None:
            write_receipt(receipt, ledger, read, done, key=KEY)
        return done


def recorded(book: Path, receipt: Path, node: Node) -> int:
    with Ledger.writer(book) as ledger:
        return record_receipt(ledger, receipt, key=KEY, node=node.name)


@pytest.fixture
def nation(tmp_path: Path) -> Path:
    return make_ledger(tmp_path / "national.db", ("p1", "p2", "p3"))


@pytest.fixture
def province(tmp_path: Path) -> Path:
    return make_ledger(tmp_path / "gansu.db", ("p4",))


def test_there_and_back_twice(nation: Path, province: Path, tmp_path: Path) -> None:
    """The whole protocol: out, in, receipt, verdicts back, receipt; each step a second time changes nothing."""
    out, receipt = tmp_path / "out.zip", tmp_path / "receipt.json"
    sent(nation, out, NATION, PROVINCE)
    assert taken(province, out, PROVINCE, receipt) == Taken(7, 0, (), ())
    told = json.loads(receipt.read_text())
    assert (told["accepted"], told["duplicates"], told["refused"]) == (7, 0, [])
    assert told["head"]["seq"] == count(province) == 3 + 7 + 1
    again = taken(province, out, PROVINCE, tmp_path / "second.json")
    assert again == Taken(0, 7, (), ()) and count(province) == 11
    assert recorded(nation, receipt, NATION) == 1
    assert recorded(nation, receipt, NATION) == recorded(nation, tmp_path / "second.json", NATION) == 0

    add(province, verdict("p1", "problem", "wang"), moved("p1", "suspected", "confirmed", "wang"))
    back = sent(province, tmp_path / "back.zip", PROVINCE, NATION, Selection(since=11))
    done = taken(nation, back, NATION, tmp_path / "back.json")
    assert done == Taken(2, 0, (), ()) and state_of(nation, "p1") == "confirmed"
    assert taken(nation, back, NATION) == Taken(0, 2, (), ())
    assert recorded(province, tmp_path / "back.json", PROVINCE) == 1

    with Ledger.reader(nation) as one, Ledger.reader(province) as two:
        rows = [[tuple(r)[:-1] for r in ledger.rows("problem", "area_id = 'a' ORDER BY 1")] for ledger in (one, two)]
        assert rows[0] == rows[1] and len(rows[0]) == 3
        assert [e.event_id for e in one.events("problem_id = 'p1'")] == [
            e.event_id for e in two.events("problem_id = 'p1'")
        ]
        assert {r["sender"] for r in one.rows("package")} == {"national", "gansu"}


def test_the_same_head_gives_the_same_bytes_and_areas_are_chosen(nation: Path, tmp_path: Path) -> None:
    add(nation, unit("b"), patch("p4"), opened("p4"))
    signed = Event(
        EventKind.PERIOD_SIGNED, period="2026H1", payload={"head": "x", "programme": ""}, actor="li", at="2026-07-09"
    )
    add(nation, signed)
    one = sent(nation, tmp_path / "one.zip", NATION, PROVINCE)
    assert one.read_bytes() == sent(nation, tmp_path / "two.zip", NATION, PROVINCE).read_bytes()
    assert len(read_package(one, key=KEY, receiver="gansu").lines) == 10
    only = sent(nation, tmp_path / "b.zip", NATION, PROVINCE, Selection(areas=("b",)))
    assert {line.event.area_id for line in read_package(only, key=KEY, receiver="gansu").lines if line.event} == {"b"}
    for selection, code in [(Selection(areas=("z",)), "AREA_UNKNOWN"), (Selection(since=99), "EXCHANGE_SINCE")]:
        with pytest.raises(LedgerError, match=code):
            sent(nation, tmp_path / "x.zip", NATION, PROVINCE, selection)
    with pytest.raises(LedgerError, match=r"EXCHANGE_SELF"):
        sent(nation, tmp_path / "x.zip", NATION, NATION)


def test_machine_events_of_an_area_are_taken_from_its_own_node_only(
    nation: Path, province: Path, tmp_path: Path
) -> None:
    """The nation enters area a; the province sends it what it claims to have seen there, and one verdict."""
    taken(province, sent(nation, tmp_path / "out.zip", NATION, PROVINCE), PROVINCE)
    add(province, seen("p1"), verdict("p1", "problem", "wang"))
    done = taken(nation, sent(province, tmp_path / "back.zip", PROVINCE, NATION), NATION)
    assert [(r.code, "problem_seen" in r.finding) for r in done.refused] == [("AREA_OWNED", True)]
    assert done.duplicates == 7 and done.accepted == 3 + 1
    with Ledger.reader(nation) as ledger:
        assert ledger.rows("problem", "problem_id = 'p1'")[0]["last_period"] == "2026H1"
        assert len(ledger.rows("verdict")) == 1 and len(ledger.rows("problem")) == 4
    third = Node("qinghai", 1)
    rival = tmp_path / "rival.db"
    add(rival, unit("b", "2026H2"))
    refused = taken(nation, sent(rival, tmp_path / "r.zip", third, NATION), NATION).refused
    assert [r.code for r in refused] == ["AREA_OWNED"] and "entered by gansu" in refused[0].finding


@pytest.mark.parametrize("nation_first", [True, False])
def test_both_moved_one_problem_the_superior_has_the_last_word(
    nation: Path, province: Path, tmp_path: Path, nation_first: bool
) -> None:
    taken(province, sent(nation, tmp_path / "out.zip", NATION, PROVINCE), PROVINCE)
    add(nation, moved("p1", "suspected", "confirmed", "li"), moved("p2", "suspected", "confirmed", "li"))
    add(province, moved("p1", "suspected", "no_problem", "wang"), moved("p2", "suspected", "confirmed", "wang"))

    def up() -> Taken:
        return taken(nation, sent(province, tmp_path / "up.zip", PROVINCE, NATION), NATION)

    def down() -> Taken:
        return taken(province, sent(nation, tmp_path / "down.zip", NATION, PROVINCE), PROVINCE)

    first, second = (up, down) if nation_first else (down, up)
    (difference,) = first().differences
    assert (difference.problem_id, difference.holds, difference.by) == ("p1", "confirmed", "national")
    second()
    first()
    second()
    heads = count(nation), count(province)
    assert (up(), down()) and (count(nation), count(province)) == heads
    for book in (nation, province):
        assert (state_of(book, "p1"), state_of(book, "p2")) == ("confirmed", "confirmed")
        with Ledger.reader(book) as ledger:
            states = {e.payload["to"] for e in ledger.events("problem_id = 'p1' AND kind = 'state_moved'")}
            assert states == {"confirmed", "no_problem"}


def test_a_rank_that_a_node_gives_itself_never_passes_national() -> None:
    assert min(Node("gansu", 0), NATION, key=precedence) == NATION
    assert min(Node("gansu", 1), Node("anhui", 2), key=precedence).name == "gansu"


def test_all_that_happens_to_an_area_arrives_as_it_was(tmp_path: Path) -> None:
    """A ledger with every kind of event, sent whole to an empty one: all views of the area are the same there."""
    source, target = tmp_path / "source.db", tmp_path / "target.db"
    for batch in batches():
        add(source, *batch)
    done = taken(target, sent(source, tmp_path / "all.zip", NATION, PROVINCE), PROVINCE)
    assert done.refused == done.differences == () and done.accepted > 30
    with Ledger.reader(source) as one, Ledger.reader(target) as two:
        for view in sorted(set(VIEW_TABLES) - {"signed", "clue", "package"}):
            rows = [sorted(str({**dict(r), "seq": 0}) for r in ledger.rows(view)) for ledger in (one, two)]
            assert rows[0] == rows[1], view


def test_a_problem_that_relapsed_and_was_moved_on_is_no_difference(
    nation: Path, province: Path, tmp_path: Path
) -> None:
    add(nation, moved("p1", "suspected", "no_problem"))
    taken(province, sent(nation, tmp_path / "out.zip", NATION, PROVINCE), PROVINCE)
    relapsed = {"change_code": "6", "patches": [], "area_m2": 1.0, "delta_m2": 1.0}
    add(nation, Event(EventKind.PROBLEM_SEEN, "a", "2026H2", "p1", payload=relapsed, at="2026-11-20"))
    add(nation, moved("p1", "relapsed", "confirmed", at="2026-12-01"))
    done = taken(province, sent(nation, tmp_path / "more.zip", NATION, PROVINCE, Selection(since=8)), PROVINCE)
    assert done.differences == () and state_of(province, "p1") == "confirmed"


def repacked(package: Path, key: bytes = KEY, change: Callable[[list[dict[str, Any]]], Any] = list) -> Path:
    """A package whose events a holder of the key has changed, with everything around them made to fit."""
    with zipfile.ZipFile(package) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    rows = [json.loads(line) for line in parts[PARTS[0]].splitlines()]
    change(rows)
    events = "".join(json.dumps(row) + "\n" for row in rows).encode()
    manifest = json.loads(parts[PARTS[1]])
    digest = hashlib.sha256(events).hexdigest()
    manifest |= {"count": len(rows), "parts": {PARTS[0]: {"sha256": digest, "bytes": len(events)}}}
    told = manifest_bytes(manifest)
    write_zip(package, {PARTS[0]: events, PARTS[1]: told, PARTS[2]: signature(key, "exchange package", told).encode()})
    return package


def event_row(event: Event, seq: int = 50) -> dict[str, Any]:
    return {
        "seq": seq,
        "event_id": event.event_id,
        "kind": str(event.kind),
        "area_id": event.area_id,
        "period": event.period,
        "problem_id": event.problem_id,
        "patch_id": event.patch_id,
        "payload": json.loads(canonical(event.payload)),
        "actor": event.actor,
        "at": event.at,
    }


def merging(area: str, merged: list[Any]) -> Event:
    return Event(
        EventKind.PROBLEMS_MERGED, area, "2026H1", "p1", payload={"merged": merged, "parents": []}, at="2026-05-20"
    )


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (Event(EventKind.PERIOD_SIGNED, period="2026H1", payload={"head": "x"}, actor="li", at="2026-07-01"), "EVENT_KIND"),
        (Event(EventKind.PERIOD_SIGNED, "a", "2026H1", payload={"head": "x"}, actor="li", at="2026-07-01"), "EVENT_KIND"),
        (Event(EventKind.PROBLEM_OPENED, "a", "2026H1", "p9", payload={"patches": []}), "PAYLOAD_INVALID"),
        (opened("p1", geometry="00ff", stock=3), "PAYLOAD_INVALID"),
        (opened("p1", geometry=multipolygons([box(110, 30, 111, 31), Polygon()]).wkb.hex()), "PAYLOAD_INVALID"),
        (opened("p1", area_m2="large"), "PAYLOAD_INVALID"),
        (opened("p1", area_m2=10**40), "PAYLOAD_INVALID"),
        (opened("p1", state="guilty"), "PAYLOAD_INVALID"),
        (moved("p1", "suspected", "guilty"), "PAYLOAD_INVALID"),
        (verdict("p1", "perhaps", "li"), "PAYLOAD_INVALID"),
        (merging("a", [["p4"]]), "PAYLOAD_INVALID"),
        (merging("a", ["p4"]), "AREA_OTHER"),
        (unit("a", "2026H2", continuing=["p4"]), "AREA_OTHER"),
        (Event(EventKind.STATE_MOVED, "a", "", "p4", payload={"from": "suspected", "to": "closed"}, actor="li"), "AREA_OTHER"),
        (Event(EventKind.VERDICT_GIVEN, "a", "", "p9", payload={"verdict": "problem", "reason": "none", "note": ""},
         actor="li"), "PROBLEM_UNKNOWN"),
        (Event(EventKind.PROBLEM_SEEN, "a", "2026H2", "p9", payload={"change_code": "2", "patches": [], "area_m2": 1.0,
         "delta_m2": 1.0}), "PROBLEM_UNKNOWN"),
    ],
)  # fmt: skip
def test_an_event_that_may_not_enter_is_told_and_the_rest_goes_on(
    nation: Path, province: Path, tmp_path: Path, event: Event, code: str
) -> None:
    package = sent(nation, tmp_path / "out.zip", NATION, PROVINCE)
    done = taken(province, repacked(package, change=lambda rows: rows.append(event_row(event))), PROVINCE)
    assert [(r.event_id, r.code) for r in done.refused] == [(event.event_id, code)] and done.accepted == 7
    assert state_of(province, "p4") == "suspected"
    with Ledger.reader(province) as ledger:
        assert ledger.rows("problem", "problem_id = 'p4'")[0]["merged_into"] == ""


@pytest.mark.parametrize(
    "field",
    [{"actor": "zhao"}, {"kind": "wish"}, {"payload": []}, {"at": 5}, {"event_id": "ff" * 32}, {"area_id": None}],
)
def test_an_event_that_is_not_what_it_says_is_refused(
    nation: Path, province: Path, tmp_path: Path, field: dict[str, Any]
) -> None:
    package = sent(nation, tmp_path / "out.zip", NATION, PROVINCE)
    done = taken(province, repacked(package, change=lambda rows: rows[0].update(field)), PROVINCE)
    assert [r.code for r in done.refused] == ["EVENT_INVALID"] and done.accepted == 6


def test_a_changed_byte_anywhere_is_refused(nation: Path, province: Path, tmp_path: Path) -> None:
    whole = sent(nation, tmp_path / "out.zip", NATION, PROVINCE).read_bytes()
    before, damaged = count(province), tmp_path / "damaged.zip"
    for place in range(0, len(whole), 97):
        damaged.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            done = taken(province, damaged, PROVINCE)
        except IntakeError:
            continue
        # Times and the like are no content: then everything else must have arrived as it was sent.
        assert done.refused == () and done.accepted + done.duplicates == 7, place
    assert count(province) - before in (0, 8)
    for length in (0, 10, 21, 22, len(whole) // 2, len(whole) - 1):
        damaged.write_bytes(whole[:length])
        with pytest.raises(IntakeError, match=r"ZIP_(INVALID|CONTENT)"):
            taken(province, damaged, PROVINCE)


def tampered(change: Callable[[dict[str, bytes]], Any]) -> Callable[[Path], None]:
    def apply(package: Path) -> None:
        with zipfile.ZipFile(package) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        change(parts)
        write_zip(package, parts)

    return apply


def by_zipfile(*entries: tuple[zipfile.ZipInfo | str, bytes]) -> Callable[[Path], None]:
    def apply(package: Path) -> None:
        with zipfile.ZipFile(package, "w") as archive:
            for name, content in entries:
                archive.writestr(name, content)

    return apply


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return entry


def with_nul(package: Path) -> None:
    by_zipfile((PARTS[0] + "#.txt", b""), (PARTS[1], b"{}"), (PARTS[2], b""))(package)
    package.write_bytes(package.read_bytes().replace(b"#", b"\0"))


def bomb(package: Path) -> None:
    """Sixty-four megabytes of zeros in a few kilobytes, under a signed manifest that states a few thousand bytes."""
    with zipfile.ZipFile(package) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in PARTS[1:]:
            archive.writestr(name, parts[name])
        with archive.open(PARTS[0], "w", force_zip64=False) as stream:
            for _ in range(64):
                stream.write(bytes(1 << 20))


def lying(package: Path) -> None:
    """The directory states 10 bytes for a part of a million."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    content = packed.compress(bytes(10**6)) + packed.flush()
    made, directory = b"", b""
    for name in PARTS:
        common = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 33, zlib.crc32(bytes(10**6)), len(content), 10, len(name), 0)
        directory += (
            struct.pack("<IH", 0x02014B50, 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, len(made)) + name.encode()
        )
        made += struct.pack("<I", 0x04034B50) + common + name.encode() + content
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 3, 3, len(directory), len(made), 0)
    package.write_bytes(made + directory + end)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            tampered(lambda p: p.update({PARTS[0]: p[PARTS[0]].replace(b"suspected", b"confirmed")})),
            "EXCHANGE_DIGEST|ZIP_BOMB",
        ),
        (tampered(lambda p: p.update({PARTS[0]: p[PARTS[0]] + b"\n"})), "ZIP_BOMB"),
        (tampered(lambda p: p.update({PARTS[0]: b""})), "EXCHANGE_DIGEST"),
        (tampered(lambda p: p.update({PARTS[1]: p[PARTS[1]].replace(b"gansu", b"other")})), "SIGNATURE"),
        (tampered(lambda p: p.update({PARTS[2]: b"0" * 64})), "SIGNATURE"),
        (tampered(lambda p: p.update({PARTS[2]: b"\xff" * 64})), "SIGNATURE"),
        (tampered(lambda p: p.update({PARTS[2]: b"0" * 1000})), "ZIP_BOMB"),
        (tampered(lambda p: p.update({"more.txt": b"x"})), "ZIP_CONTENT .*4 entries"),
        (tampered(lambda p: p.update({"../" + PARTS[0]: p.pop(PARTS[0])})), "ZIP_CONTENT .*unexpected"),
        (tampered(lambda p: p.update({"/etc/cron.d/x": p.pop(PARTS[0])})), "ZIP_CONTENT .*unexpected"),
        (tampered(lambda p: p.update({"a\\" + PARTS[0]: p.pop(PARTS[0])})), "ZIP_CONTENT .*unexpected"),
        (tampered(lambda p: p.pop(PARTS[2])), "ZIP_CONTENT .*2 entries"),
        (by_zipfile((link(PARTS[0]), b"/etc/passwd"), (PARTS[1], b"{}"), (PARTS[2], b"")), "ZIP_CONTENT .*link"),
        (by_zipfile((PARTS[1], b"{}"), (PARTS[1], b"{}"), (PARTS[2], b"")), "ZIP_CONTENT"),
        (with_nul, "ZIP_CONTENT"),
        (bomb, "ZIP_BOMB"),
        (lying, "ZIP_|SIGNATURE"),
        (lambda p: p.write_bytes(p.read_bytes() + b"tail"), "ZIP_INVALID"),
        (lambda p: p.write_bytes(b"front" + p.read_bytes()), "ZIP_INVALID"),
        (lambda p: p.write_text("<html>"), "ZIP_INVALID"),
        (lambda p: p.unlink(), "ZIP_INVALID"),
    ],
)
def test_what_is_no_package_is_refused_and_nothing_enters(
    nation: Path, province: Path, tmp_path: Path, change: Callable[[Path], Any], expected: str
) -> None:
    package = sent(nation, tmp_path / "out.zip", NATION, PROVINCE)
    change(package)
    before = {p.name for p in tmp_path.rglob("*")}
    with pytest.raises(IntakeError, match=expected):
        taken(province, package, PROVINCE)
    assert count(province) == 3
    assert {p.name for p in tmp_path.rglob("*") if ".db" not in p.name} - before == set()


def test_a_wrong_key_or_another_receiver_is_refused(nation: Path, province: Path, tmp_path: Path) -> None:
    package = sent(nation, tmp_path / "out.zip", NATION, PROVINCE)
    with pytest.raises(IntakeError, match=r"SIGNATURE .*not signed with this key"):
        read_package(package, key=KEY[::-1], receiver="gansu")
    with pytest.raises(IntakeError, match=r"EXCHANGE_RECEIVER .*'national' to 'gansu'; this node is 'qinghai'"):
        read_package(package, key=KEY, receiver="qinghai")
    with pytest.raises(IntakeError, match=r"EXCHANGE_DIGEST|ZIP_BOMB"):
        read_package(package, key=KEY, receiver="gansu", max_event_bytes=100)
    with pytest.raises(IntakeError, match=r"EXCHANGE_EVENTS .*events.jsonl 1"):
        read_package(repacked(package, change=lambda rows: rows[0].pop("seq")), key=KEY, receiver="gansu")


def signed_manifest(**changes: Any) -> Callable[[Path], None]:
    def apply(package: Path) -> None:
        with zipfile.ZipFile(package) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        told = manifest_bytes(json.loads(parts[PARTS[1]]) | changes)
        write_zip(package, parts | {PARTS[1]: told, PARTS[2]: signature(KEY, "exchange package", told).encode()})

    return apply


@pytest.mark.parametrize(
    "changes",
    [{"rank": "0"}, {"rank": True}, {"head": []}, {"format": "2"}, {"parts": {}}, {"sender": ""}, {"as_of": 5}],
)
def test_a_manifest_of_another_form_is_refused(
    nation: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:  # fmt: skip
    package = sent(nation, tmp_path / "out.zip", NATION, PROVINCE)
    signed_manifest(**changes)(package)
    with pytest.raises(IntakeError, match=r"EXCHANGE_MANIFEST"):
        read_package(package, key=KEY, receiver="gansu")


def test_receipts_are_signed_and_belong_to_one_ledger(nation: Path, province: Path, tmp_path: Path) -> None:
    receipt = tmp_path / "receipt.json"
    taken(province, sent(nation, tmp_path / "out.zip", NATION, PROVINCE), PROVINCE, receipt)
    other = make_ledger(tmp_path / "other.db", ("p1",))
    with pytest.raises(LedgerError, match="RECEIPT_OF_OTHER"):
        recorded(other, receipt, NATION)
    with pytest.raises(LedgerError, match="RECEIPT_OF_OTHER"):
        recorded(nation, receipt, Node("qinghai", 1))
    forged = json.loads(receipt.read_text()) | {"accepted": 99}
    receipt.write_text(json.dumps(forged))
    with pytest.raises(IntakeError, match=r"SIGNATURE"):
        recorded(nation, receipt, NATION)
    for text, code in [("[]", "RECEIPT_INVALID"), ("{}", "RECEIPT_INVALID"), ('{"a": NaN}', "JSON_INVALID")]:
        receipt.write_text(text)
        with pytest.raises(IntakeError, match=code):
            recorded(nation, receipt, NATION)
    assert count(nation) == 7


def test_a_signature_serves_one_purpose_only() -> None:
    check_signature(KEY, "a", b"x", signature(KEY, "a", b"x"), "here")
    for purpose, content, given in [
        ("b", b"x", signature(KEY, "a", b"x")),
        ("a", b"y", signature(KEY, "a", b"x")),
        ("a", b"x", "é"),
    ]:
        with pytest.raises(IntakeError, match=r"SIGNATURE here"):
            check_signature(KEY, purpose, content, given, "here")


def test_a_key_file_is_private_long_and_random(tmp_path: Path) -> None:
    path = tmp_path / "key"
    for content, mode, code in [
        (KEY, 0o644, "KEY_OPEN .*644"),
        (KEY, 0o640, "KEY_OPEN"),
        (KEY[:31], 0o600, "KEY_SHORT .*31 bytes"),
        (KEY * 100, 0o600, "KEY_SHORT .*over 4096"),
        (b"a" * 40, 0o600, "KEY_WEAK"),
    ]:
        path.write_bytes(content)
        path.chmod(mode)
        with pytest.raises(IntakeError, match=code):
            read_key(path)
    path.write_bytes(KEY)
    assert read_key(path) == KEY
    (tmp_path / "link").symlink_to(path)
    for wrong in (tmp_path / "link", tmp_path / "none", tmp_path):
        with pytest.raises(IntakeError, match="KEY_MISSING"):
            read_key(wrong)


def test_a_zip_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    write_zip(path, {"b": b"2" * 100, "a": b""})
    with opened_zip(path, ("a", "b")) as archive:
        assert (read_member(archive, "a", 0), read_member(archive, "b", 100)) == (b"", b"2" * 100)
        with pytest.raises(IntakeError, match=r"ZIP_BOMB .*over 99 bytes"):
            read_member(archive, "b", 99)
    shutil.copy(path, tmp_path / "b.zip")
    (tmp_path / "c.zip").symlink_to(path)
    with (
        pytest.raises(EcowatchError, match=r"ZIP_INVALID .*no regular file"),
        opened_zip(tmp_path / "c.zip", ("a", "b")),
    ):
        pass
