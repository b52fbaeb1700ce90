"""Peak memory is that of one row, measured in a process of its own."""

import sys

import pytest

from focalkit.bench import run_suites
from focalkit.bench._memory import child_peak

MIB = 2**20
MADE_UP = """
import torch
from focalkit.bench import Bar, Case, Row

def take(mib):
    return lambda inputs: lambda: [torch.ones(mib * 2**18).add_(1) for _ in range(2)][1]

def breaks(inputs):
    calls = iter([torch.zeros(1)])
    return lambda: next(calls)

def cases(settings):
    rows = (Row("small", take(8)), Row("large", take(48)), Row("breaks", breaks, "peer"))
    bar = Bar("less memory", "large", "small", 4.0, quantity="memory")
    return [Case("sizes", "two tensors each", lambda s: None, rows[:2], bars=(bar,), unit_bytes=lambda i: 2**20),
            Case("broken", "fails when called twice", lambda s: None, rows[2:])]
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the memory in use from /proc")


@pytest.fixture
def suite(tmp_path, monkeypatch):
    (tmp_path / "made_up_suite.py").write_text(MADE_UP)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    yield "made_up_suite:cases"
    sys.modules.pop("made_up_suite", None)


def test_both_tensors_of_a_row_count_and_neither_the_interpreter_nor_other_rows(suite, settings):
    import dataclasses

    found = run_suites([suite], dataclasses.replace(settings, memory=True, rounds=1, least=1), "made up")
    sizes = {row["name"]: row["memory_bytes"] / MIB for row in found["suites"][0]["cases"][0]["rows"]}
    assert sizes == {"small": pytest.approx(16, abs=3), "large": pytest.approx(96, abs=3)}
    bar = found["suites"][0]["cases"][0]["bars"][0]
    assert bar["measured"] == pytest.approx(6, rel=0.25)
    assert bar["met"] is True


def test_a_process_that_fails_says_why(suite, settings):
    with pytest.raises(RuntimeError, match="status 1: StopIteration"):
        child_peak(suite, "broken", "breaks", settings, 1)
