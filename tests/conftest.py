"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

# before torch starts its threads: on the small tensors of tests they only wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data beside the checkout; tests that need it are skipped where it is absent."""
    path = Path(os.environ.get("FOCALKIT_SHARED", Path(__file__).parents[2] / "shared"))
    if not (path / "data").is_dir():
        pytest.skip(f"needs the shared data folder, not found at {path} (set FOCALKIT_SHARED)")
    return path
