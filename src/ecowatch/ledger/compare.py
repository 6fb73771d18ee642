"""Compare a view of a ledger with its replay: two sorted streams, row by row, so that size does not matter."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

_SHOWN = 60


def view_differences(stored: sqlite3.Connection, replayed: sqlite3.Connection, table: str) -> Iterator[str]:
    """Yield where a stored view differs from a replayed one.

    Parameters
    ----------
    stored, replayed
        Open databases that hold the table; rows as `sqlite3.Row`.
    table
        One of `schema.VIEW_TABLES`.

    Yields
    ------
    str
        ``problem P1: column area_m2 is 1.0, replay says 2.0``, in the order of the keys.
    """
    names = [row["name"] for row in replayed.execute(f"PRAGMA table_info({table})")]
    ordered = sorted(replayed.execute(f"PRAGMA table_info({table})").fetchall(), key=lambda row: row["pk"])
    key = [row["name"] for row in ordered if row["pk"]] or names
    query = f"SELECT {', '.join(names)} FROM {table} ORDER BY {', '.join(key)}"
    places = [names.index(name) for name in key]
    named = places if len(key) < len(names) else places[:4]
    for left, right in _paired(stored.execute(query), replayed.execute(query), places):
        row = left if right is None else right
        thing = f"{table} {'/'.join(_shown(row[i]) for i in named)}" if row else table
        if left is None:
            yield f"{thing}: the table lacks it, replay has it"
        elif right is None:
            yield f"{thing}: the table has it, replay does not"
        else:
            for name, have, should in zip(names, left, right, strict=True):
                if have != should:
                    yield f"{thing}: column {name} is {_shown(have)}, replay says {_shown(should)}"


Row = tuple[Any, ...]


def _paired(
    stored: sqlite3.Cursor, replayed: sqlite3.Cursor, places: list[int]
) -> Iterator[tuple[Row | None, Row | None]]:
    """Yield rows that are not the same on both sides, paired by key; None where one side has no such row."""
    left, right = next(stored, None), next(replayed, None)
    while left is not None or right is not None:
        a, b = (None if row is None else tuple(row) for row in (left, right))
        if a is not None and a == b:
            left, right = next(stored, None), next(replayed, None)
            continue
        first, second = (None if row is None else [_rank(row[i]) for i in places] for row in (a, b))
        if second is None or (first is not None and first < second):
            yield a, None
            left = next(stored, None)
        elif first is None or second < first:
            yield None, b
            right = next(replayed, None)
        else:
            yield a, b
            left, right = next(stored, None), next(replayed, None)


def _rank(value: Any) -> tuple[int, Any]:
    """Order as SQLite does: NULL, numbers, text, bytes."""
    if value is None:
        return 0, 0
    if isinstance(value, int | float):
        return 1, value
    return (2, value.encode("utf-8", "replace")) if isinstance(value, str) else (3, value)


def _shown(value: Any) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"
