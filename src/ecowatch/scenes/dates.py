"""When a scene was taken: an instant with its zone, or nothing."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

from ..errors import SceneError
from .scene import SHANGHAI

EARLIEST = date(1972, 7, 23)
"""Launch of Landsat 1; no scene here is older."""

_LEAP_SECOND = re.compile(r"(T\d\d:\d\d):60")


def utc_instant(text: object, where: object) -> datetime:
    """Return the UTC instant of an ISO 8601 time that names its zone.

    A leap second is read as the second before it.

    Raises
    ------
    SceneError
        ``DATE_MISSING``, ``DATE_AMBIGUOUS`` (no zone) or ``DATE_IMPLAUSIBLE``.
    """
    if not isinstance(text, str) or not text.strip():
        raise SceneError("DATE_MISSING", where, "no time of acquisition", "complete the metadata")
    try:
        instant = datetime.fromisoformat(_LEAP_SECOND.sub(r"\1:59", text.strip()))
        if instant.tzinfo is None:
            raise SceneError(
                "DATE_AMBIGUOUS", where, f"the time {text[:40]!r} names no zone", "write it in UTC with a 'Z'"
            )
        instant = instant.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise SceneError("DATE_IMPLAUSIBLE", where, f"{text[:40]!r} is no time", "correct the metadata") from error
    return plausible(instant, where)


def civil_noon(text: str, where: object) -> datetime:
    """Return the UTC instant of noon in Asia/Shanghai of a civil date that begins with its eight digits YYYYMMDD.

    Only the date is known of such a file; noon keeps it whatever zone it is shown in.

    Raises
    ------
    SceneError
        ``DATE_MISSING`` or ``DATE_IMPLAUSIBLE``.
    """
    digits = re.sub(r"\D", "", text)[:8]
    if len(digits) < 8:
        raise SceneError("DATE_MISSING", where, f"{text[:40]!r} holds no date YYYYMMDD", "rename the file")
    try:
        day = date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError as error:
        raise SceneError("DATE_IMPLAUSIBLE", where, f"{digits} is no date", "rename it, or set date_pattern") from error
    return plausible(datetime.combine(day, time(12), SHANGHAI).astimezone(UTC), where)


def plausible(instant: datetime, where: object) -> datetime:
    """Return `instant` if it lies between the launch of Landsat 1 and tomorrow.

    Raises
    ------
    SceneError
        ``DATE_IMPLAUSIBLE``.
    """
    latest = datetime.now(UTC) + timedelta(days=2)
    if instant.date() >= EARLIEST and instant <= latest:
        return instant
    raise SceneError(
        "DATE_IMPLAUSIBLE",
        where,
        f"acquired {instant.date()}, outside {EARLIEST} … {latest.date()}",
        "correct the date of the file or the clock of this machine",
    )
