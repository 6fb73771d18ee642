"""The cron line and the systemd units: the line is really run, the units are judged by systemd's own checker."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ecowatch.errors import ExitCode

CONFIGS = Path(__file__).parents[2] / "configs"


def cron_line() -> tuple[str, str]:
    """The five fields and the command of the one job."""
    lines = (CONFIGS / "cron.example").read_text("utf-8").splitlines()
    (job,) = [line for line in lines if line and line[0] != "#" and not re.match(r"[A-Z]+=", line)]
    *fields, command = job.split(None, 5)
    # cron takes a per cent sign for the end of the line.
    assert len(fields) == 5 and "%" not in command
    return " ".join(fields), command


def test_the_cron_fields_are_a_time() -> None:
    fields, _ = cron_line()
    minute, hour, *rest = fields.split()
    assert 0 <= int(minute) < 60 and 0 <= int(hour) < 24 and rest == ["*"] * 3


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder as the line expects it, where 'ecowatch' is this one and the review file is missing."""
    command = tmp_path / ".venv" / "bin" / "ecowatch"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m ecowatch "$@"\n')
    command.chmod(0o755)
    return tmp_path


def run_line(home: Path) -> int:
    command = cron_line()[1].replace("/srv/ecowatch", str(home))
    # As cron does: by sh, with hardly any environment, from another folder.
    return subprocess.run(["sh", "-c", command], cwd="/", env={"PATH": "/usr/bin:/bin"}, check=False).returncode


@pytest.mark.skipif(shutil.which("flock") is None, reason="flock of util-linux is not here")
def test_the_cron_command_runs_and_hands_its_exit_code_on(home: Path) -> None:
    assert run_line(home) == ExitCode.BAD_CONFIG
    assert "CONFIG_MISSING" in (home / "half_yearly.log").read_text("utf-8")
    holder = subprocess.Popen(["flock", str(home / "runs.lock"), "sleep", "60"])
    try:
        while subprocess.run(["flock", "-n", str(home / "runs.lock"), "true"], check=False).returncode == 0:
            pass
        assert run_line(home) == ExitCode.TRY_AGAIN
    finally:
        # Its child holds the lock too.
        subprocess.run(["pkill", "-P", str(holder.pid)], check=False)
        holder.wait()


def test_the_exit_codes_of_the_cron_file_are_those_of_the_program() -> None:
    text = (CONFIGS / "cron.example").read_text("utf-8")
    named = {int(n) for n in re.findall(r"(?:;|:) (\d+) \w", text)}
    assert named and named <= {int(code) for code in ExitCode}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
def test_systemd_takes_the_units(home: Path, tmp_path: Path) -> None:
    units = []
    for name in ("ecowatch.service", "ecowatch.timer"):
        text = (CONFIGS / "systemd" / name).read_text("utf-8")
        unit = tmp_path / name
        unit.write_text(text.replace("/srv/ecowatch", str(home)).replace("User=ecowatch", "User=root"))
        units.append(str(unit))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if "ecowatch" in line]
    assert done.returncode == 0 and ours == [], done.stderr
    # It can fail.
    Path(units[0]).write_text("[Service]\nExecStart=/nowhere/ecowatch\n")
    broken = subprocess.run(["systemd-analyze", "verify", "--man=no", units[0]], capture_output=True, check=False)
    assert broken.returncode != 0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
def test_systemd_takes_the_time() -> None:
    (when,) = re.findall(
        r"^OnCalendar=(.*)$", (CONFIGS / "systemd" / "ecowatch.timer").read_text("utf-8"), re.MULTILINE
    )
    command = ["systemd-analyze", "calendar", "--base-time=2026-06-01 00:00:00", when]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "2026-06-01 02:15:00" in done.stdout, done.stderr + done.stdout
