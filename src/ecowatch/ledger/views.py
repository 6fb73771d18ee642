"""What the events add up to: each kind of event has one function that brings the views up to date with it.

The same functions serve the writer, event by event, and the replay that checks it: there is no second way to a view.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from ..codes import ChangeKind, ProblemState
from .event import Event, EventKind, canonical

Database = sqlite3.Connection


def project(database: Database, seq: int, event: Event) -> None:
    """Bring the views up to date with one event.

    Parameters
    ----------
    database
        Connection within a transaction; holds the tables of `schema.VIEWS`.
    seq
        Number of the event.
    event
        What happened.
    """
    _PROJECTIONS[event.kind](database, seq, event)


def _blob(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


def _put(database: Database, table: str, values: dict[str, Any]) -> None:
    names = ", ".join(values)
    marks = ", ".join("?" * len(values))
    database.execute(f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))


def _unit_entered(database: Database, seq: int, event: Event) -> None:
    p, unit = event.payload, (event.area_id, event.period)
    # A later issue of a period takes the place of the former one here; the log keeps both.
    database.execute("DELETE FROM patch WHERE area_id = ? AND period = ?", unit)
    database.execute("DELETE FROM not_observed WHERE area_id = ? AND period = ?", unit)
    values = {"area_id": event.area_id, "period": event.period, "issue": p["issue"], "inputs": canonical(p["inputs"])}
    values |= {"inputs_digest": p["inputs_digest"], "run_id": p["run_id"], "observed_share": p["observed_share"]}
    _put(database, "unit", values | {"patches": p["patches"], "seq": seq})
    for row in p["unseen"]:
        part = {"area_id": event.area_id, "period": event.period, "pipeline": row["pipeline"], "reason": row["reason"]}
        shape = {"area_m2": row["area_m2"], "geometry": _blob(row["geometry"])}
        _put(database, "not_observed", part | shape | {"seq": seq})
    _quiet(database, seq, event.period, p["continuing"], ChangeKind.CONTINUING)
    _quiet(database, seq, event.period, p["not_observed_problems"], ChangeKind.NOT_OBSERVED)


def _quiet(database: Database, seq: int, period: str, problems: list[str], change: ChangeKind) -> None:
    """Problems of which a period has nothing new to say."""
    database.executemany(
        "INSERT OR REPLACE INTO history SELECT problem_id, ?, ?, area_m2, 0.0, '[]', NULL, ? FROM problem WHERE problem_id = ?",
        [(period, str(change), seq, problem) for problem in problems],
    )
    database.executemany(
        "UPDATE problem SET last_period = ?, last_change = ?, seq = ? WHERE problem_id = ?",
        [(period, str(change), seq, problem) for problem in problems],
    )


def _patch_found(database: Database, seq: int, event: Event) -> None:
    p = event.payload
    names = ("issue", "change_code", "activity_code", "direction", "area_m2", "before_date", "after_date", "pipeline")
    values = {
        "patch_id": event.patch_id,
        "area_id": event.area_id,
        "period": event.period,
        "problem_id": event.problem_id,
    }
    values |= {name: p[name] for name in names}
    shape = {"geometry": _blob(p["geometry"]), "line": _blob(p.get("line"))}
    _put(database, "patch", values | {"facts": canonical(p["facts"])} | shape | {"seq": seq})


def _problem_opened(database: Database, seq: int, event: Event) -> None:
    p = event.payload
    _insert_problem(database, seq, event, event.problem_id, p)
    history = {
        "problem_id": event.problem_id,
        "period": event.period,
        "change_code": p.get("change_code", ChangeKind.NEW),
    }
    # A part that was split off is no new ground: the problem it came from has told of the change.
    size = {"area_m2": p["area_m2"], "delta_m2": 0.0 if p["parents"] else p["area_m2"]}
    rest = {"patches": canonical(p["patches"]), "geometry": _blob(p["geometry"]), "seq": seq}
    _put(database, "history", history | size | rest)


def _insert_problem(database: Database, seq: int, event: Event, problem_id: str, p: Any) -> None:
    period, code = event.period, p["activity_code"]
    values = {
        "problem_id": problem_id,
        "area_id": event.area_id,
        "state": p["state"],
        "opened_period": period,
        "last_period": period,
        "last_change": p.get("change_code", ChangeKind.NEW),
        "activity_code": code,
        "activity_found": code,
        "area_m2": p["area_m2"],
        "area_found_m2": p["area_m2"],
        "stock": p["stock"],
        "relapses": 0,
        "merged_into": "",
        "parents": canonical(p["parents"]),
        "withdrawn": 0,
        "responsible": "",
        "deadline": "",
        "rectification": "",
        "evidence": "{}",
        "geometry": _blob(p["geometry"]),
        "seq": seq,
    }
    _put(database, "problem", values)


def _problem_seen(database: Database, seq: int, event: Event) -> None:
    p, problem = event.payload, event.problem_id
    history = {"problem_id": problem, "period": event.period, "change_code": p["change_code"], "area_m2": p["area_m2"]}
    history |= {"delta_m2": p["delta_m2"], "patches": canonical(p["patches"]), "geometry": _blob(p.get("geometry"))}
    _put(database, "history", history | {"seq": seq})
    database.execute(
        "UPDATE problem SET last_period = ?, last_change = ?, area_m2 = ?, geometry = coalesce(?, geometry),"
        " merged_into = '', state = coalesce(?, state), seq = ? WHERE problem_id = ?",
        (event.period, p["change_code"], p["area_m2"], _blob(p.get("geometry")), p.get("state"), seq, problem),
    )
    if p["change_code"] == ChangeKind.RELAPSED:
        # Counted from the periods: one that is issued again has not relapsed twice.
        periods = "(SELECT count(*) FROM history WHERE problem_id = ? AND change_code = ?)"
        moved = f"UPDATE problem SET state = ?, relapses = {periods}, withdrawn = 0 WHERE problem_id = ?"
        database.execute(moved, (ProblemState.RELAPSED, problem, ChangeKind.RELAPSED, problem))


def _problems_merged(database: Database, seq: int, event: Event) -> None:
    merged = event.payload["merged"]
    database.executemany(
        "UPDATE problem SET merged_into = ?, seq = ? WHERE problem_id = ?",
        [(event.problem_id, seq, problem) for problem in merged],
    )
    parents = canonical(event.payload["parents"])
    database.execute("UPDATE problem SET parents = ?, seq = ? WHERE problem_id = ?", (parents, seq, event.problem_id))


def _problem_split(database: Database, seq: int, event: Event) -> None:
    database.execute("UPDATE problem SET seq = ? WHERE problem_id = ?", (seq, event.problem_id))


def _problem_withdrawn(database: Database, seq: int, event: Event) -> None:
    database.execute("UPDATE problem SET withdrawn = 1, seq = ? WHERE problem_id = ?", (seq, event.problem_id))
    gone = "DELETE FROM history WHERE problem_id = ? AND period = ?"
    database.execute(gone, (event.problem_id, event.period))


def _grouping_undone(database: Database, seq: int, event: Event) -> None:
    p = event.payload
    database.execute("INSERT OR REPLACE INTO apart VALUES (?, ?, ?)", (*sorted((p["patch_a"], p["patch_b"])), seq))
    for part in p["into"]:
        if part["problem_id"] != event.problem_id:
            _insert_problem(database, seq, event, part["problem_id"], part)
        history = {"problem_id": part["problem_id"], "period": event.period, "change_code": part["change_code"]}
        size = {"area_m2": part["area_m2"], "delta_m2": 0.0, "patches": canonical(part["patches"])}
        _put(database, "history", history | size | {"geometry": _blob(part["geometry"]), "seq": seq})
        database.execute(
            "UPDATE problem SET area_m2 = ?, geometry = ?, seq = ? WHERE problem_id = ?",
            (part["area_m2"], _blob(part["geometry"]), seq, part["problem_id"]),
        )
        moved = [(part["problem_id"], patch) for patch in part["patches"]]
        database.executemany("UPDATE patch SET problem_id = ? WHERE patch_id = ?", moved)


def _area_versioned(database: Database, seq: int, event: Event) -> None:
    p = event.payload
    database.execute(
        "UPDATE area_version SET valid_to = ? WHERE area_id = ? AND valid_to = ''", (p["valid_from"], event.area_id)
    )
    values = {
        "area_id": event.area_id,
        "version": p["version"],
        "name": p["name"],
        "kind": p["kind"],
        "grade": p["grade"],
    }
    values |= {"valid_from": p["valid_from"], "valid_to": "", "zones": canonical(p["zones"])}
    values |= {"geometry": _blob(p["geometry"]), "changes": canonical(p["changes"]), "seq": seq}
    _put(database, "area_version", values)


def _baseline_frozen(database: Database, seq: int, event: Event) -> None:
    p = event.payload
    values = {"area_id": event.area_id, "as_of": p["as_of"], "digest": p["digest"], "problems": len(p["items"])}
    values |= {"area_m2": p["area_m2"], "geometry": _blob(p["geometry"]), "signed_by": p["signed_by"], "seq": seq}
    _put(database, "baseline", values)
    frozen = [(item["problem_id"],) for item in p["items"]]
    database.executemany("UPDATE problem SET stock = 1 WHERE problem_id = ?", frozen)


def _verdict_given(database: Database, seq: int, event: Event) -> None:
    p, problem = event.payload, event.problem_id
    values = {"event_id": event.event_id, "problem_id": problem, "patch_id": event.patch_id, "verdict": p["verdict"]}
    values |= {"reason": p["reason"], "activity_code": p.get("activity_code") or "", "area_m2": p.get("area_m2")}
    _put(database, "verdict", values | {"note": p["note"], "reviewer": event.actor, "at": event.at, "seq": seq})
    # Beside what was found, never over it: activity_found and area_found_m2 stay.
    if p.get("activity_code"):
        database.execute("UPDATE problem SET activity_code = ? WHERE problem_id = ?", (p["activity_code"], problem))
    if p.get("area_m2") is not None:
        database.execute("UPDATE problem SET area_verified_m2 = ? WHERE problem_id = ?", (p["area_m2"], problem))


def _state_moved(database: Database, seq: int, event: Event) -> None:
    p = event.payload
    database.execute(
        "UPDATE problem SET state = ?, responsible = coalesce(?, responsible), deadline = coalesce(?, deadline),"
        " rectification = coalesce(?, rectification), seq = ? WHERE problem_id = ?",
        (p["to"], p.get("responsible"), p.get("deadline"), p.get("rectification"), seq, event.problem_id),
    )


def _claim_checked(database: Database, seq: int, event: Event) -> None:
    evidence = canonical({**event.payload, "at": event.at})
    database.execute("UPDATE problem SET evidence = ?, seq = ? WHERE problem_id = ?", (evidence, seq, event.problem_id))


def _period_signed(database: Database, seq: int, event: Event) -> None:
    values = {"period": event.period, "at": event.at, "actor": event.actor, "head": event.payload["head"], "seq": seq}
    _put(database, "signed", values)


def _clue_handed_over(database: Database, seq: int, event: Event) -> None:
    p = event.payload
    values = {"clue_id": p["clue_id"], "problems": canonical(p["problems"]), "receiver": p["receiver"]}
    values |= {"deadline": p["deadline"], "digest": p["digest"], "handed_over_at": event.at}
    _put(database, "clue", values | {"received_at": "", "receipt": "{}", "seq": seq})


def _clue_received(database: Database, seq: int, event: Event) -> None:
    p = event.payload
    values = (event.at, canonical(p["receipt"]), seq, p["clue_id"])
    database.execute("UPDATE clue SET received_at = ?, receipt = ?, seq = ? WHERE clue_id = ?", values)


def _package_received(database: Database, seq: int, event: Event) -> None:
    p = event.payload
    values = {"package_id": p["package_id"], "sender": event.actor, "receipt": canonical(p["receipt"])}
    _put(database, "package", values | {"at": event.at, "seq": seq})


_PROJECTIONS: dict[EventKind, Callable[[Database, int, Event], None]] = {
    EventKind.UNIT_ENTERED: _unit_entered,
    EventKind.PATCH_FOUND: _patch_found,
    EventKind.PROBLEM_OPENED: _problem_opened,
    EventKind.PROBLEM_SEEN: _problem_seen,
    EventKind.PROBLEMS_MERGED: _problems_merged,
    EventKind.PROBLEM_SPLIT: _problem_split,
    EventKind.PROBLEM_WITHDRAWN: _problem_withdrawn,
    EventKind.GROUPING_UNDONE: _grouping_undone,
    EventKind.AREA_VERSIONED: _area_versioned,
    EventKind.BASELINE_FROZEN: _baseline_frozen,
    EventKind.VERDICT_GIVEN: _verdict_given,
    EventKind.STATE_MOVED: _state_moved,
    EventKind.CLAIM_CHECKED: _claim_checked,
    EventKind.PERIOD_SIGNED: _period_signed,
    EventKind.CLUE_HANDED_OVER: _clue_handed_over,
    EventKind.CLUE_RECEIVED: _clue_received,
    EventKind.PACKAGE_RECEIVED: _package_received,
}
