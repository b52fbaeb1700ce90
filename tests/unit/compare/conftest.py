"""The toy task, in its line of the table, and data for it."""

import importlib.util
import sys
from pathlib import Path

import pytest

from focalkit.tasks import TASKS

_spec = importlib.util.spec_from_file_location("toy_task", Path(__file__).with_name("toy_task.py"))
assert _spec is not None
assert _spec.loader is not None
toy_task = importlib.util.module_from_spec(_spec)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch):
    """The module of the toy task, which is in the table as any other."""
    monkeypatch.setitem(sys.modules, "toy_task", toy_task)
    if not hasattr(toy_task, "TASK"):
        _spec.loader.exec_module(toy_task)
    monkeypatch.setitem(TASKS, "toy", "toy_task:TASK")
    toy_task.FITS.clear()
    return toy_task


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """600 points."""
    file = tmp_path / "points.toy"
    file.write_text("600")
    return file
