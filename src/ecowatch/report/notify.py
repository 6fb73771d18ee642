"""The end of a scheduled run: a text file for Prometheus, and mail or webhooks through apprise.

Neither is part of the run: what goes wrong here is told and changes nothing. Addresses hold secrets; they are read from a file
or from the environment, and never told, not even where they are wrong.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from ..atomic import write_text
from ..errors import ConfigError, EcowatchError, ExitCode, StorageError, UnavailableError
from ..review import RunResult, read_accounts, read_record
from ..settings import Notify
from ..texts import Language, text

_REMEDY = "pip install 'ecowatch[notify]'"
_LISTED = 20
_MAX_BYTES = 100_000


class RunEnd(NamedTuple):
    """How a run ended.

    Parameters
    ----------
    review, period
        Which one.
    exit_code
        What the process tells.
    error
        The line of a run that could not go on.
    ended, duration_s
        Unix time in seconds, and seconds since the start.
    accounts
        Of this run, where it came so far.
    coverage, totals, quarantined
        From ``run.json``, where it is complete.
    reused
        Whether it was complete already, and told: then there is nothing to send a message about.
    """

    review: str
    period: str
    exit_code: int
    error: str
    ended: float
    duration_s: float
    accounts: Mapping[str, Any]
    coverage: Sequence[Mapping[str, Any]]
    totals: Mapping[str, Any]
    quarantined: Sequence[Mapping[str, Any]] = ()
    reused: bool = False


def end_of(
    review: str,
    period: str,
    exit_code: int,
    error: str,
    *,
    runs: Path | None,
    result: RunResult | None,
    started: float,
    ended: float,
) -> RunEnd:
    """Gather what is known of the run that has just ended.

    Parameters
    ----------
    review, period
        Which one.
    exit_code, error
        What the process tells.
    runs
        ``<runs>/<review>``; None where the settings of the review cannot be read.
    result
        What came of the run; None where it did not come so far.
    started, ended
        Unix time in seconds.
    """
    told = (result and read_record(result.folder)) or {}
    found = (told.get("coverage", ()), told.get("totals", {}), told.get("quarantined", ()))
    accounts = _own_accounts(runs, started) if runs else {}
    # Of a run that was killed before it could tell, the one that finds it complete writes the accounts, and tells.
    reused = result is not None and result.reused and not accounts
    return RunEnd(review, period, exit_code, error, ended, ended - started, accounts, *found, reused)


def _own_accounts(folder: Path, started: float) -> Mapping[str, Any]:
    """The accounts that this process wrote; a run that did not come so far finds those of another one, and tells none."""
    try:
        told = read_accounts(folder)
    except StorageError:
        return {}
    if told is None or (told["host"], told["pid"]) != (socket.gethostname(), os.getpid()):
        return {}
    # In containers every program may be process 1 of a host of one name. Accounts tell whole seconds.
    return told if datetime.fromisoformat(told["started"]).timestamp() >= int(started) else {}


def tell_end(notify: Notify, end: RunEnd, language: Language, warn: Callable[[str], None]) -> None:
    """Write the metrics and send the message; whatever fails is told to `warn`, and nothing is raised.

    Parameters
    ----------
    notify
        Where to.
    end
        How the run ended.
    language
        Of the message.
    warn
        Told of each failure, one line without any address.
    """
    steps: list[Callable[[], None]] = []
    if notify.metrics is not None:
        path = notify.metrics
        steps.append(lambda: write_metrics(path, end))
    if not end.reused and (notify.targets_file is not None or notify.targets_env is not None):
        steps.append(lambda: send(read_targets(notify), end, language))
    for step in steps:
        try:
            step()
        except EcowatchError as error:
            warn(str(error))
        except Exception as error:
            # Another library's words may hold an address.
            warn(f"NOTIFY_FAILED end of run: {type(error).__name__}; the run itself is not concerned")


def write_metrics(path: Path, end: RunEnd) -> None:
    """Write the figures of a run as a text file for Prometheus, as a whole; the last success outlives later failures.

    Raises
    ------
    ConfigError
        ``NOTIFY_MISSING`` where prometheus_client is not installed.
    StorageError
        ``CANNOT_WRITE`` or ``DISK_FULL``.
    """
    try:
        from prometheus_client import CollectorRegistry, Gauge, generate_latest  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError("NOTIFY_MISSING", "notify.metrics", "prometheus_client is not installed", _REMEDY) from error
    registry = CollectorRegistry()
    names, values = ["review", "period"], [end.review, end.period]

    def gauge(name: str, told: str, rows: Mapping[tuple[str, ...], float], *labels: str) -> None:
        metric = Gauge(f"ecowatch_{name}", told, [*names, *labels], registry=registry)
        for row, number in rows.items():
            metric.labels(*values, *row).set(number)

    good = end.exit_code in (ExitCode.DONE, ExitCode.PARTIAL)
    success = end.ended if good else _last_success(path)
    gauge("last_run_timestamp_seconds", "End of the last run.", {(): end.ended})
    gauge(
        "last_success_timestamp_seconds",
        "End of the last run whose products are complete (exit code 0 or 3).",
        {} if success is None else {(): success},
    )
    gauge("exit_code", "Exit code of the last run.", {(): end.exit_code})
    gauge("duration_seconds", "Length of the last run.", {(): end.duration_s})
    gauge("tasks", "Tasks of the last run.", _task_rows(end), "stage", "state")
    shares: dict[tuple[str, ...], float] = {
        (str(r["area_id"]), str(r["pipeline"] or "")): float(r["observed_share"]) for r in end.coverage
    }
    gauge("observed_share", "Share of an area that was seen in both dates.", shares, "area", "pipeline")
    write_text(path, generate_latest(registry).decode("utf-8"))


def _task_rows(end: RunEnd) -> dict[tuple[str, ...], float]:
    stages = end.accounts.get("stages", {})
    return {(stage, state): float(n) for stage, counts in stages.items() for state, n in counts.items()}


def _last_success(path: Path) -> float | None:
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415

    try:
        families = list(text_string_to_metric_families(path.read_text("utf-8")))
    except (OSError, ValueError):
        return None
    name = "ecowatch_last_success_timestamp_seconds"
    return next((float(s.value) for family in families for s in family.samples if s.name == name), None)


def read_targets(notify: Notify) -> list[str]:
    """Return the addresses to send to, from a file or from the environment.

    Raises
    ------
    ConfigError
        ``NOTIFY_TARGETS``: there are none.
    """
    if notify.targets_env is not None:
        where, told = f"${notify.targets_env}", os.environ.get(notify.targets_env, "")
    else:
        assert notify.targets_file is not None
        where = str(notify.targets_file)
        try:
            with notify.targets_file.open(encoding="utf-8") as stream:
                told = stream.read(_MAX_BYTES)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError("NOTIFY_TARGETS", where, type(error).__name__, "one apprise address per line") from error
    lines = [line.strip() for line in told.splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise ConfigError("NOTIFY_TARGETS", where, "it holds no address", "one apprise address per line")
    return found


def send(targets: Sequence[str], end: RunEnd, language: Language) -> None:
    """Send the message of the end of a run to all targets.

    Raises
    ------
    ConfigError
        ``NOTIFY_MISSING`` where apprise is not installed, ``NOTIFY_TARGETS`` where it knows no such address.
    UnavailableError
        ``NOTIFY_FAILED``: which of the targets, by number, took nothing.
    """
    try:
        import apprise  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError("NOTIFY_MISSING", "notify.targets", "apprise is not installed", _REMEDY) from error
    title, body = message(end, language)
    unknown, failed = [], []
    with _quiet():
        for number, target in enumerate(targets, 1):
            one = apprise.Apprise()
            if not one.add(target):
                unknown.append(str(number))
            elif not one.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT):
                failed.append(str(number))
    if failed:
        finding = f"the other side did not take the message; of {len(targets)} targets"
        raise UnavailableError("NOTIFY_FAILED", f"target {', '.join(failed)}", finding, "see whether it answers")
    if unknown:
        finding = "apprise does not know such an address"
        raise ConfigError(
            "NOTIFY_TARGETS", f"target {', '.join(unknown)}", finding, "mailtos://…, json://…, wecombot://…"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    # Its warnings would quote addresses with their passwords.
    logger = logging.getLogger("apprise")
    former = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = former


def message(end: RunEnd, language: Language) -> tuple[str, str]:
    """Return title and body of the message of the end of a run.

    Parameters
    ----------
    end
        How it ended.
    language
        zh or en.
    """
    known = {code.value for code in ExitCode}
    outcome = text(f"exit_{end.exit_code}" if end.exit_code in known else "exit_1", language)
    title = text("end_title", language, review=end.review, period=end.period, outcome=outcome, code=end.exit_code)
    body = [text("end_where", language, host=socket.gethostname(), minutes=end.duration_s / 60)]
    body += [end.error] if end.error else []
    if end.coverage:
        seen = {str(row["area_id"]) for row in end.coverage}
        hectares = float(end.totals["patch_ha"])
        body.append(text("end_areas", language, areas=len(seen), patches=end.totals["patches"], hectares=hectares))
        body += [
            f"{row['area_id']} {row['pipeline'] or '-'}: {text('observed', language)} {row['observed_share']:.0%}"
            for row in end.coverage[:_LISTED]
        ]
    body += [
        f"{text('quarantined', language)}: {q['code']} {q['where']}: {q['finding']}" for q in end.quarantined[:_LISTED]
    ]
    for stage, counts in end.accounts.get("stages", {}).items():
        body.append(text("tasks_line", language, stage=text(f"step_{stage}", language), **counts))
    body += [f"{f['area_id']} {f['what']}: {f['error']}" for f in end.accounts.get("failures", ())[:_LISTED]]
    return _plain(title), "\n".join(map(_plain, body))


def _plain(line: str) -> str:
    """Names and errors come from outside: one line stays one line."""
    return "".join(c if c.isprintable() else " " for c in line)
