"""`focalkit report`: where the file goes, what is printed, what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from focalkit.cli import main

MakeRun = Callable[..., Path]


def test_one_run_gets_its_report_inside(make_run: MakeRun, capsys: pytest.CaptureFixture[str]):
    run = make_run()
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    assert (run / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_several_runs_are_compared_in_the_file_asked_for(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    runs = [make_run("a"), make_run("b", loss="bce")]
    out = tmp_path / "new folder" / "both.html"
    assert main(["report", *map(str, runs), "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"report": str(out), "runs": [str(r) for r in runs]}
    assert "Comparison of 2 runs" in out.read_text(encoding="utf-8")


@pytest.mark.parametrize("words", [[], ["a", "b"]])
def test_no_run_and_several_without_a_file_are_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(["report", *words]) == 2
    assert "--out FILE.html" in capsys.readouterr().err


def test_a_directory_that_is_no_run_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["report", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_a_run_given_twice_is_refused_and_not_a_second_seed(make_run: MakeRun, capsys: pytest.CaptureFixture[str]):
    run = make_run("a")
    assert main(["report", str(run), str(run.parent / "b" / ".." / "a"), "--out", str(run.parent / "out.html")]) == 2
    assert "is given twice" in capsys.readouterr().err
