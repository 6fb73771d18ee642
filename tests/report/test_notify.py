"""The end of a run: the text file for Prometheus, and messages to a real mail server and a real web server."""

from __future__ import annotations

import builtins
import json
import socket
import threading
import time
from collections.abc import Iterator
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from prometheus_client.parser import text_string_to_metric_families

from ecowatch.report.notify import RunEnd, end_of, message, tell_end, write_metrics
from ecowatch.review.accounts import Accounts
from ecowatch.settings import Notify

SECRET = "hunter2-secret"
COUNTS = {"expected": 20, "produced": 12, "skipped": 7, "failed": 1, "quarantined": 1}
FAILURE = {"area_id": "park", "what": "tile 0_0", "error": "WORKER_DIED task: twice\nBcc: x@y.cn"}
END = RunEnd(
    review="half_yearly",
    period="2026H1",
    exit_code=3,
    error="",
    ended=1_790_000_000.0,
    duration_s=90.0,
    accounts={"stages": {"tile": COUNTS}, "failures": [FAILURE]},
    coverage=[{"area_id": "park", "pipeline": "bitemporal", "observed_share": 0.75}],
    totals={"patches": 4, "patch_ha": 1.5},
)
STOPPED = END._replace(exit_code=65, error="NO_SCENES x: none; look", ended=1_790_090_000.0, coverage=(), totals={})


def samples(path: Path) -> dict[tuple[str, ...], float]:
    """Every figure by its name and the values of its labels, in the order of the labels' names."""
    families = text_string_to_metric_families(path.read_text("utf-8"))
    return {
        (s.name.removeprefix("ecowatch_"), *(v for _, v in sorted(s.labels.items()))): s.value
        for family in families
        for s in family.samples
    }


def test_the_figures_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "m.prom"
    write_metrics(path, END)
    told = samples(path)
    assert told["last_success_timestamp_seconds", "2026H1", "half_yearly"] == 1_790_000_000
    assert told["exit_code", "2026H1", "half_yearly"] == 3 and told["duration_seconds", "2026H1", "half_yearly"] == 90
    assert told["tasks", "2026H1", "half_yearly", "tile", "quarantined"] == 1
    assert told["observed_share", "park", "2026H1", "bitemporal", "half_yearly"] == 0.75
    assert [p.name for p in tmp_path.iterdir()] == ["m.prom"]


def test_the_last_success_outlives_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "m.prom"
    write_metrics(path, STOPPED)
    assert ("last_success_timestamp_seconds", "2026H1", "half_yearly") not in samples(path)
    write_metrics(path, END)
    write_metrics(path, STOPPED)
    told = samples(path)
    assert told["last_success_timestamp_seconds", "2026H1", "half_yearly"] == 1_790_000_000
    assert told["last_run_timestamp_seconds", "2026H1", "half_yearly"] == 1_790_090_000
    assert told["exit_code", "2026H1", "half_yearly"] == 65


def test_a_run_that_did_not_begin_tells_nothing_of_another_one(tmp_path: Path) -> None:
    """Its books are not its own: another process wrote them."""
    books = Accounts(tmp_path, "half_yearly", "2025H2", run_id="former")
    books.expect("fit", "park", kept=False)
    books.ended("fit", "park", "fit", None)
    books.close([], 0)
    told = {"runs": tmp_path, "result": None, "started": 1.0, "ended": 2.0}
    assert end_of("half_yearly", "2026H1", 65, "NO_ROWS", **told).accounts["stages"]["fit"]["produced"] == 1
    complete = SimpleNamespace(folder=tmp_path / "former", reused=True)
    assert not end_of("half_yearly", "2026H1", 0, "", **(told | {"result": complete})).reused, "nobody told of it yet"
    # Process 1 of a container has the number of the one before.
    later = told | {"result": complete, "started": time.time() + 5}
    assert end_of("half_yearly", "2026H1", 0, "", **later).reused
    path = tmp_path / "accounts.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"pid": 1}))
    assert end_of("half_yearly", "2026H1", 65, "NO_ROWS", **told).accounts == {}
    path.write_text("{")
    assert end_of("half_yearly", "2026H1", 65, "NO_ROWS", **told).accounts == {}


def test_of_a_run_that_was_complete_already_there_are_figures_and_no_message(
    web: tuple[list[dict[str, Any]], str], tmp_path: Path
) -> None:
    got, hook = web
    (tmp_path / "targets").write_text(f"{hook}/hook\n")
    notify = Notify(metrics=tmp_path / "m.prom", targets_file=tmp_path / "targets")
    tell_end(notify, END._replace(exit_code=0, accounts={}, reused=True), "en", pytest.fail)
    assert got == []
    told = samples(tmp_path / "m.prom")
    assert told["last_success_timestamp_seconds", "2026H1", "half_yearly"] == END.ended
    assert told["observed_share", "park", "2026H1", "bitemporal", "half_yearly"] == 0.75


def test_scenes_that_were_quarantined_are_named() -> None:
    quarantined = [{"code": "RASTER_TRUNCATED", "where": "b04.jp2", "finding": "cut off", "remedy": "fetch"}]
    _, body = message(END._replace(quarantined=quarantined), "en")
    assert "RASTER_TRUNCATED b04.jp2: cut off" in body


class Mailbox:
    def __init__(self) -> None:
        self.got: list[Any] = []

    async def handle_DATA(self, *arguments: Any) -> str:
        envelope = arguments[-1]
        self.got.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


@pytest.fixture
def mail() -> Iterator[tuple[Mailbox, str]]:
    box = Mailbox()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield box, f"mailto://127.0.0.1:{port}/?from=eco@x.cn&to=ops@x.cn&mode=insecure"
    finally:
        controller.stop()


@pytest.fixture
def web() -> Iterator[tuple[list[dict[str, Any]], str]]:
    got: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200 if self.path == "/hook" else 500)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield got, f"json://user:{SECRET}@127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_mail_and_webhook_arrive(
    mail: tuple[Mailbox, str], web: tuple[list[dict[str, Any]], str], tmp_path: Path
) -> None:
    (box, address), (got, hook), told = mail, web, []
    targets = tmp_path / "targets"
    targets.write_text(f"# operators\n{address}\n\n{hook}/hook\n")
    tell_end(Notify(targets_file=targets), END, "zh", told.append)
    assert told == []
    (letter,) = box.got
    assert (
        letter["subject"] == "ecowatch half_yearly 2026H1:完成,部分任务失败或影像被隔离(3)"
        and letter["to"] == "ops@x.cn"
    )
    body = letter.get_body(("plain", "html")).get_content()
    assert "park bitemporal: 观测比例 75%" in body and "WORKER_DIED" in body and "失败 1" in body
    assert letter["bcc"] is None
    assert got[0]["title"] == letter["subject"] and "图斑 4,合计 1.50 公顷" in got[0]["message"]


def test_what_cannot_be_told_is_told_without_its_secret(
    web: tuple[list[dict[str, Any]], str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    monkeypatch.setenv("ECO_TARGETS", f"{web[1]}/broken\nnosuch://{SECRET}@x\n")
    tell_end(Notify(targets_env="ECO_TARGETS"), END, "en", told.append)
    assert told == [
        "NOTIFY_FAILED target 1: the other side did not take the message; of 2 targets; see whether it answers"
    ]
    monkeypatch.setenv("ECO_TARGETS", f"nosuch://{SECRET}@x")
    tell_end(Notify(targets_env="ECO_TARGETS"), END, "en", told.append)
    assert told[1].startswith("NOTIFY_TARGETS target 1: apprise does not know such an address")
    monkeypatch.delenv("ECO_TARGETS")
    tell_end(Notify(targets_env="ECO_TARGETS"), END, "en", told.append)
    assert told[2] == "NOTIFY_TARGETS $ECO_TARGETS: it holds no address; one apprise address per line"
    spoken = capfd.readouterr()
    assert SECRET not in spoken.out + spoken.err + "".join(told)


def test_a_place_that_cannot_be_written_does_not_stop_the_message(
    web: tuple[list[dict[str, Any]], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ECO_TARGETS", f"{web[1]}/hook")
    told: list[str] = []
    tell_end(Notify(metrics=tmp_path / "file" / "m.prom", targets_env="ECO_TARGETS"), END, "en", told.append)
    assert len(told) == 1 and told[0].startswith("CANNOT_WRITE") and len(web[0]) == 1


def test_without_the_extra_its_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] in ("apprise", "prometheus_client"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    monkeypatch.setenv("ECO_TARGETS", "json://x")
    told: list[str] = []
    tell_end(Notify(metrics=tmp_path / "m.prom", targets_env="ECO_TARGETS"), END, "en", told.append)
    assert [line.split()[0] for line in told] == ["NOTIFY_MISSING"] * 2 and all("ecowatch[notify]" in t for t in told)


def test_a_message_in_english_of_a_run_that_could_not_begin() -> None:
    title, body = message(STOPPED._replace(accounts={}), "en")
    assert title == "ecowatch half_yearly 2026H1: bad input (65)" and "NO_SCENES x: none; look" in body


def test_a_line_from_outside_stays_one_line() -> None:
    _, body = message(END, "en")
    assert [line for line in body.splitlines() if "Bcc" in line] == [
        "park tile 0_0: WORKER_DIED task: twice Bcc: x@y.cn"
    ]
