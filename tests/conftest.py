"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real test data outside the repository; skips where it is absent."""
    folder = os.environ.get("ECOWATCH_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real test data are absent: set ECOWATCH_TEST_DATA to their folder")
    return Path(folder)
