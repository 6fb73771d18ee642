"""Which part of the ledger is published: rows of its views up to the end of a period, as tables."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import pandas as pd

from ..errors import LedgerError
from ..ledger import Ledger
from ..ledger.calendar import period_dates

_AREAS = "(?3 = '[]' OR area_id IN (SELECT value FROM json_each(?3)))"
_PERIODS = "(SELECT value FROM json_each(?4))"
_UPTO = "WITH upto (period, rank) AS MATERIALIZED (SELECT value, key FROM json_each(?4))"


def period_days(period: str) -> tuple[date, date]:
    """Return the first and the last day of a period such as ``2026H1``, ``2026`` or ``2021-2025``.

    Raises
    ------
    LedgerError
        ``PERIOD_FORM``.
    """
    days = period_dates(period)
    if days is None:
        raise LedgerError("PERIOD_FORM", repr(period), "is no period", "one of the forms 2026H1, 2026, 2021-2025")
    return days


def last_day(period: str) -> date:
    """Return the last day of a period; raises as `period_days` does."""
    return period_days(period)[1]


@dataclass(frozen=True)
class Asked:
    """What is asked of the ledger: a period, and all areas or some.

    Parameters
    ----------
    ledger
        Open for reading.
    period
        Such as ``2026H1``.
    areas
        Identities; all where empty.
    """

    ledger: Ledger
    period: str
    areas: tuple[str, ...] = ()

    @property
    def day(self) -> str:
        """Last day of the period, ISO."""
        return last_day(self.period).isoformat()

    @cached_property
    def periods(self) -> tuple[str, ...]:
        """All periods of the ledger up to this one, oldest first; names of campaigns, which have no dates, are left out."""
        known = {row["period"] for row in self.ledger.rows("unit")}
        known |= {row["opened_period"] for row in self.ledger.rows("problem")}
        end = last_day(self.period)
        upto = [p for p in known if period_dates(p) and last_day(p) <= end]
        return tuple(sorted(upto, key=lambda p: (last_day(p), len(p), p)))

    def check(self) -> None:
        """Refuse a period or an area that the ledger does not know.

        Raises
        ------
        LedgerError
            ``PERIOD_FORM``, ``PERIOD_UNKNOWN`` or ``AREA_UNKNOWN``.
        """
        last_day(self.period)
        units = self.ledger.rows("unit")
        periods = sorted({row["period"] for row in units})
        if self.period not in periods:
            entered = ", ".join(periods) or "none"
            raise LedgerError("PERIOD_UNKNOWN", self.period, "nothing was entered for it", f"entered: {entered}")
        known = {row["area_id"] for row in units} | {row["area_id"] for row in self.ledger.rows("area_version")}
        if unknown := [area for area in self.areas if area not in known]:
            raise LedgerError("AREA_UNKNOWN", repr(unknown[0]), "the ledger has no such area", "correct --area")

    def rows(self, table: str, columns: str, where: str) -> pd.DataFrame:
        """Return columns of a view.

        Parameters
        ----------
        table
            One of the ledger's views.
        columns
            Names, apart by blanks.
        where
            A constant clause; ``?1`` is the period, ``?2`` its last day, ``:areas`` holds for rows of the areas asked for,
            ``:periods`` is the list of periods up to this one, ``:upto`` the same as a table ``upto (period, rank)``.
        """
        clause = where.replace(":areas", _AREAS).replace(":periods", _PERIODS).replace(":upto", _UPTO)
        # All four are named once, for sqlite3 wants as many values as the statement names.
        clause = f"?1 || ?2 || ?3 || ?4 IS NOT NULL AND {clause}"
        values = (self.period, self.day, json.dumps(self.areas), json.dumps(self.periods))
        found = self.ledger.rows(table, clause, values)
        return pd.DataFrame({name: pd.Series([row[name] for row in found], dtype=object) for name in columns.split()})

    def latest(self, columns: str, condition: str) -> pd.DataFrame:
        """Return, by problem, the last row of its history up to the period that satisfies a constant `condition`."""
        where = f"""(problem_id, period) IN (:upto SELECT problem_id, period FROM (
            SELECT h.problem_id, h.period, max(u.rank) FROM history h JOIN upto u ON u.period = h.period
            WHERE {condition} GROUP BY h.problem_id))"""
        return self.rows("history", f"problem_id {columns}", where).set_index("problem_id")

    def last_patches(self, columns: str) -> pd.DataFrame:
        """Return, by problem, its last patch up to the period."""
        where = """patch_id IN (:upto SELECT patch_id FROM (
            SELECT p.patch_id, max(u.rank * 1000000000000 + p.seq) FROM patch p JOIN upto u ON u.period = p.period
            GROUP BY p.problem_id))"""
        return self.rows("patch", f"problem_id {columns}", where).set_index("problem_id")
