"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real test data outside the repository; skips where it is absent."""
    folder = os.environ.get("ECOWATCH_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real test data are absent: set ECOWATCH_TEST_DATA to their folder")
    return Path(folder)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample of `make demo`, written anew."""
    folder = tmp_path_factory.mktemp("sample") / "demo"
    arguments = sys.argv
    sys.argv = ["make_sample.py", "--out", str(folder)]
    try:
        runpy.run_path(str(ROOT / "sample_data" / "make_sample.py"), run_name="__main__")
    finally:
        sys.argv = arguments
    return folder
