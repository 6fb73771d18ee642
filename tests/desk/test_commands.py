"""The commands from end to end: what is printed, and the exit code that a script goes by."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ecowatch.cli import app

from .ground import count, make_ledger, state_of

KEY = bytes(range(40))


@pytest.fixture
def nation(tmp_path: Path) -> Path:
    return node(tmp_path, "national", ("p1", "p2"))


def node(folder: Path, name: str, problems: tuple[str, ...]) -> Path:
    make_ledger(folder / f"{name}.db", problems)
    (folder / f"{name}.toml").write_text(f'node = "{name}"\npath = "{name}.db"\n')
    key = folder / "key"
    key.write_bytes(KEY)
    key.chmod(0o600)
    return folder / f"{name}.toml"


def call(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [*map(str, words), "--lang", "en"])
    assert result.exit_code == code, result.output
    return result


def say(copy: Path, problem: str, word: str, reviewer: str) -> None:
    with closing(sqlite3.connect(copy)) as base:
        typed = "INSERT INTO review_log (problem_id, verdict, reviewer, at) VALUES (?, ?, ?, '2026-07-01')"
        base.execute(typed, (problem, word, reviewer))
        base.commit()


def test_verdicts_out_and_in_with_a_conflict_and_its_ruling(nation: Path, tmp_path: Path) -> None:
    copies = [tmp_path / "one.gpkg", tmp_path / "two.gpkg"]
    for copy in copies:
        told = call("review", "export", "2026H1", copy, "--ledger", nation, "--area", "a", "--state", "suspected")
        assert "2 problems, 2 patches" in told.output
    say(copies[0], "p1", "problem", "li")
    say(copies[0], "p2", "problem", "li")
    say(copies[1], "p1", "no_problem", "wang")
    told = call("review", "import", *copies, "--ledger", nation, code=3)
    assert "4 events added; 1 problems moved; 1 conflicts; 0 rows set aside" in told.output
    assert "VERDICTS_DIFFER p1: li: problem (2026-07-01); wang: no_problem (2026-07-01)" in told.output
    call("review", "conflicts", "--ledger", nation, code=3)
    ruled = ("--verdict", "no_problem", "--reason", "permitted", "--by", "zhao", "--at", "2026-07-09")
    assert "2 events added; 1 problems moved" in call("review", "resolve", "p1", "--ledger", nation, *ruled).output
    call("review", "conflicts", "--ledger", nation)
    assert "0 events added" in call("review", "import", *copies, "--ledger", nation).output
    database = tmp_path / "national.db"
    assert (state_of(database, "p1"), state_of(database, "p2")) == ("no_problem", "confirmed")
    assert "COPY_EXISTS" in call("review", "export", "2026H1", copies[0], "--ledger", nation, code=73).output


def test_a_clue_out_and_its_receipt_in(nation: Path, tmp_path: Path) -> None:
    terms = (
        "--to",
        "unit",
        "--deadline",
        "2026-12-31",
        "--at",
        "2026-07-10",
        "--by",
        "zhao",
        "--out",
        tmp_path / "out",
    )
    told = call("clue", "export", "p1", "p2", "--ledger", nation, *terms)
    assert "p1: no chips: no review or run was named" in told.output and "2 problems" in told.output
    assert count(tmp_path / "national.db") == 6
    call("clue", "export", "p2", "p1", "--ledger", nation, *terms, "--zip")
    assert count(tmp_path / "national.db") == 6
    folder = next(p for p in (tmp_path / "out").iterdir() if p.is_dir())
    assert (folder.parent / (folder.name + ".zip")).is_file()
    receipt = folder / "receipt.json"
    assert "NAME_MISSING" in call("clue", "receipt", receipt, "--ledger", nation, code=65).output
    filled = json.loads(receipt.read_text()) | {"received_by": "sun", "received_at": "2026-07-12"}
    receipt.write_text(json.dumps(filled))
    assert "is recorded" in call("clue", "receipt", receipt, "--ledger", nation).output
    assert "recorded already" in call("clue", "receipt", receipt, "--ledger", nation).output


def test_a_package_there_and_its_receipt_back(nation: Path, tmp_path: Path) -> None:
    province, key, package = node(tmp_path, "gansu", ("p4",)), tmp_path / "key", tmp_path / "p.zip"
    out = ("exchange", "export", "--ledger", nation, "--to", "gansu", "--key", key, "--out", package)
    assert "5 events, up to number 5" in call(*out).output
    taking = ("exchange", "import", package, "--ledger", province, "--key", key, "--out", tmp_path / "r.json")
    assert "5 accepted; 0 duplicates; 0 refused; 0 differences" in call(*taking).output
    assert "recorded" in call("exchange", "receipt", tmp_path / "r.json", "--ledger", nation, "--key", key).output
    assert "0 accepted; 5 duplicates" in call(*taking).output
    key.chmod(0o644)
    assert re.search(r"KEY_OPEN .*chmod 600", call(*taking, code=65).output.replace("\n", " "))
    key.chmod(0o600)
    package.write_bytes(package.read_bytes()[:-5])
    assert "ZIP_INVALID" in call(*taking, code=65).output
