"""The corpus: every damaged input has its right outcome written beside it, and nothing worse ever happens.

Never a traceback, a Python warning, a hang, advice to debug what is the input's fault, or silence.
"""

import re
import signal
import sys
import warnings

import pytest

import focalkit.evaluation  # noqa: F401  so that no case pays for loading it
from corrupt.base import Case, write
from corrupt.data_cases import CASES as DATA
from corrupt.hostile_cases import CASES as HOSTILE
from corrupt.run_cases import CASES as RUNS
from corrupt.table_cases import CASES as TABLES
from focalkit.cli import main

CASES = [*DATA, *RUNS, *TABLES, *HOSTILE]
LIMIT = 30
"""Seconds."""


def test_the_names_are_different():
    names = [case.name for case in CASES]
    assert len(names) == len(set(names)) >= 200


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_damaged_input_has_its_right_outcome(case: Case, tmp_path, monkeypatch, capsys):
    write(tmp_path, case.files)
    monkeypatch.chdir(tmp_path)
    check(case, capsys)
    assert not (tmp_path / "code-has-run").exists()


def check(case: Case, capsys) -> None:
    words = [re.sub(r"^\{(.*)\}$", r"\1", word) for word in case.words]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        status = within_limit(words)
    out, err = capsys.readouterr()
    said = out + err
    assert "Traceback" not in said
    assert "--debug" not in err, err
    assert status == case.status, said
    assert said.strip(), "it said nothing"
    assert "\x1b" not in said
    flat = re.sub(r"\s+", " ", said)  # tables and long lines are wrapped
    for word in case.says:
        assert word in said or word in flat, said


class Late(BaseException):
    """Of no kind that a command may take for a file that cannot be read."""


def within_limit(words: list[str]) -> int:
    def late(*_):
        raise Late(f"still running after {LIMIT} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT)
    try:
        return main(words)
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="makes pipes and links")
