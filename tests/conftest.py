"""Fixtures that every test may use."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

# before torch starts its threads: on the small tensors of tests they only wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

# Fake tensors (`compile`, `export`) make autograd believe in a GPU: were a process's first backward to come after them,
# autograd would start a thread for it, and no copy of the process (tests/ranks.py) could differentiate.
torch.ones((), requires_grad=True).backward()

PROCESSES = 2
"""Of the whole suite, where pytest-xdist is there; `-n 0` runs it in one."""


@pytest.hookimpl(tryfirst=True)  # before that of pytest-xdist, which reads what is set here
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run the whole suite in two processes, unless something was chosen: tests, a number, a debugger, live output.

    "worksteal" gives each process half of the files in a row, so that they hardly ever set up the same module twice.
    """
    told = config.option
    if hasattr(config, "workerinput"):  # one of those processes
        return
    whole = config.args_source is config.ArgsSource.TESTPATHS and told.markexpr == "not soak" and not told.keyword
    alone = told.usepdb or told.trace or told.collectonly or told.capture == "no"
    free = getattr(told, "numprocesses", 0) is None and told.dist == "no" and not told.tx
    if whole and free and not alone and (os.cpu_count() or 1) >= PROCESSES:
        told.numprocesses, told.dist = PROCESSES, "worksteal"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data beside the checkout; tests that need it are skipped where it is absent."""
    path = Path(os.environ.get("FOCALKIT_SHARED", Path(__file__).parents[2] / "shared"))
    if not (path / "data").is_dir():
        pytest.skip(f"needs the shared data folder, not found at {path} (set FOCALKIT_SHARED)")
    return path


@pytest.fixture
def reliability() -> Callable[[str, str, int], None]:
    """`reliability(kind, name, cases)` notes in the file FOCALKIT_SOAK, if set, how many cases came out right."""

    def record(kind: str, name: str, cases: int) -> None:
        if place := os.environ.get("FOCALKIT_SOAK"):
            path = Path(place)
            found = json.loads(path.read_text()) if path.is_file() else {}
            found.setdefault(kind, {})[name] = cases
            path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")

    return record
