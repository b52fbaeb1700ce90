"""`focalkit bench` from the words typed to the files written."""

import json

import pytest
import torch

from focalkit.cli import main

pytestmark = pytest.mark.filterwarnings("ignore")


def test_json_alone_prints_one_object(capsys):
    assert main(["bench", "match", "--quick", "--no-memory", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["command"] == "focalkit bench match --quick --no-memory"
    assert found["settings"]["quick"] is True
    assert [suite["suite"] for suite in found["suites"]] == ["match"]
    for case in found["suites"][0]["cases"]:
        assert [row["name"] for row in case["rows"]] == ["focalkit", "torchvision"]
        assert case["rows"][0]["agrees"] is True


def test_files_get_the_result_and_the_plot_and_the_terminal_the_table(tmp_path, capsys):
    out, plot = tmp_path / "results" / "out.json", tmp_path / "plots" / "out.html"
    words = ["bench", "postprocess", "--quick", "--no-memory", "--rounds", "2", "--device", "cpu"]
    assert main([*words, "--json", str(out), "--plot", str(plot)]) == 0
    shown = capsys.readouterr()
    assert "postprocess 1/1, few" in shown.err
    assert "not judged at this size" in shown.out
    found = json.loads(out.read_text())
    assert str(tmp_path) not in out.read_text()
    samples = [row["samples_ms"] for row in found["suites"][0]["cases"][0]["rows"]]
    assert [len(s) for s in samples] == [2, 2]
    page = plot.read_text()
    assert page.count('<div id="plot') == 1
    assert "torchvision" in page


def test_a_differing_row_of_ours_is_a_failure_and_a_missed_bar_is_not(monkeypatch, capsys):
    import focalkit.bench

    monkeypatch.setattr(focalkit.bench, "disagreements", lambda result: ["match, match-20: focalkit"])
    assert main(["bench", "match", "--quick", "--no-memory", "--rounds", "1"]) == 1
    assert "differs from its reference: match, match-20: focalkit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mach"], "there is no suite 'mach'"),
        (["--json", "loss"], "write `focalkit bench loss --json`"),
        (["match", "--rounds", "0"], "--rounds must be at least 1"),
        (["match", "--threads", "-2"], "--threads must be at least 1"),
    ],
)
def test_wrong_words_are_refused(words, message, capsys):
    assert main(["bench", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_refused(capsys):
    assert main(["bench", "match", "--device", "cuda"]) == 2
    assert "torch sees no CUDA device" in capsys.readouterr().err
