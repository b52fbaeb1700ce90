"""The winner as a model, and the commands around a comparison."""

import csv as csv_module
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars
import pytest

import focalkit
from focalkit.cli import main
from focalkit.compare import Comparison, compare
from focalkit.errors import ConfigError
from focalkit.tasks import Budget


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    y = np.repeat([0, 1], [220, 30])
    columns = {f"x{i}": random.normal(size=250) + y * (i < 2) for i in range(4)}
    file = tmp_path_factory.mktemp("data") / "table.csv"
    polars.DataFrame({**columns, "target": y}).write_csv(file)
    return file


@pytest.fixture(scope="module")
def out(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    compare(table, ["ce", "post_hoc_la", "logistic", "focal"], seeds=3, out=out, budget=Budget(steps=20))
    return out


def test_a_cell_says_of_new_data_what_it_said_of_test_data(out: Path, table: Path):
    for method in ("ce", "post_hoc_la", "logistic"):
        cell = Comparison(out).store.cell(method, 1)
        predictor = focalkit.Predictor.from_run(cell.folder)
        p = predictor.predict_proba(table)[cell.test.ids]
        np.testing.assert_allclose(p, cell.test.probabilities, rtol=1e-5, atol=1e-6)
        decided = predictor.predict(table)
        assert set(decided) <= {"0", "1"}
        assert (decided == "1").sum() == (predictor.predict_proba(table)[:, 1] >= predictor.thresholds.values[1]).sum()


def test_probabilities_of_a_cell_are_those_of_the_posterior_on_request(out: Path, table: Path, tmp_path: Path, capsys):
    from focalkit.calibration import focal_to_posterior

    focal = Comparison(out).store.cell("focal", 1).folder
    predictor = focalkit.Predictor.from_run(focal)
    plain, posterior = predictor.predict_proba(table), predictor.predict_proba(table, posterior=True)
    np.testing.assert_allclose(posterior, focal_to_posterior(plain, 2.0, kind="softmax"), rtol=1e-5)
    for name, words in {"a": [], "b": ["--posterior"]}.items():
        assert main(["predict", str(focal), str(table), "--out", str(tmp_path / f"{name}.csv"), *words]) == 0
    read = [polars.read_csv(tmp_path / f"{name}.csv") for name in "ab"]
    assert read[0]["decision"].to_list() == read[1]["decision"].to_list()
    np.testing.assert_allclose(read[1]["probability_1"].to_numpy(), posterior[:, 1], rtol=1e-5)
    capsys.readouterr()
    ce = Comparison(out).store.cell("ce", 1).folder
    assert main(["predict", str(ce), str(table), "--posterior"]) == 2
    assert "the inverse of focal loss with one gamma is known" in capsys.readouterr().err


def test_a_cell_is_all_that_prediction_needs(out: Path, table: Path, tmp_path: Path):
    import shutil

    best = Comparison(out).best
    shutil.copytree(best.folder, tmp_path / "moved")
    ours, theirs = (focalkit.Predictor.from_run(run).predict_proba(table) for run in (tmp_path / "moved", out))
    np.testing.assert_array_equal(ours, theirs)


def test_best_is_the_first_of_the_ranking(out: Path):
    comparison = Comparison(out)
    assert (out / "best").resolve() == comparison.best.folder.resolve()
    means = {m: np.mean(list(v.values())) for m, v in comparison.values("average_precision").items()}
    assert comparison.ranking == sorted(means, key=lambda m: -means[m])


def test_best_may_be_a_file_that_names_the_cell(out: Path, table: Path, tmp_path: Path):
    import shutil

    shutil.copytree(out, tmp_path / "copy", symlinks=True)
    target = (tmp_path / "copy" / "best").readlink()
    (tmp_path / "copy" / "best").unlink()
    (tmp_path / "copy" / "best").write_text(f"{target}\n")
    assert len(focalkit.Predictor.from_run(tmp_path / "copy" / "best").predict(table)) == 250
    (tmp_path / "copy" / "best").write_text("../../elsewhere\n")
    with pytest.raises(ConfigError, match="no finished cell"):
        focalkit.Predictor.from_run(tmp_path / "copy" / "best")


def test_nothing_in_a_directory_makes_python_import_a_task(out: Path, tmp_path: Path):
    import shutil

    shutil.copytree(out, tmp_path / "copy", symlinks=True)
    for file in (tmp_path / "copy" / "plan.json", tmp_path / "copy" / "best" / "cell.json"):
        file.write_text(file.read_text().replace('"tabular"', '"evil:TASK"'))
    with pytest.raises(ConfigError, match="is not focalkit's"):
        Comparison(tmp_path / "copy")
    with pytest.raises(ConfigError, match="is not focalkit's"):
        focalkit.Predictor.from_run(tmp_path / "copy")


def test_a_threshold_changes_no_ranking_metric_and_adjusting_two_classes_neither(out: Path):
    comparison = Comparison(out)
    assert comparison.values("average_precision")["ce"] == comparison.values("average_precision")["post_hoc_la"]
    verdict = next(v for v in comparison.verdicts if v.method == "post_hoc_la")
    assert (verdict.difference, verdict.outcome) == (0, "equivalent")


def test_predict_writes_a_csv(out: Path, table: Path, tmp_path: Path, capsys):
    assert main(["predict", str(out / "best"), str(table), "--out", str(tmp_path / "p.csv")]) == 0
    assert "250 items" in capsys.readouterr().out
    with open(tmp_path / "p.csv", newline="") as file:
        rows = list(csv_module.DictReader(file))
    assert list(rows[0]) == ["row", "probability_1", "decision"]
    assert [int(row["row"]) for row in rows] == list(range(250))
    assert main(["predict", str(out), str(table)]) == 0
    assert capsys.readouterr().out == (tmp_path / "p.csv").read_text()
    assert main(["predict", str(out / "best"), str(table), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"] == 250


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["best"], "expected one file with new data, got 0"),
        (["best", "nothing.csv"], "no such file"),
        (["cells/ce/seed1", "a.csv", "b.csv"], "got 2"),
    ],
)
def test_what_cannot_be_predicted_is_said(out: Path, words: list[str], message: str, capsys):
    assert main(["predict", str(out / words[0]), *words[1:]]) == 2
    assert message in capsys.readouterr().err


def test_images_still_need_a_folder(capsys):
    assert main(["predict", "runs/none", "image.png"]) == 2
    assert "--out is missing" in capsys.readouterr().err


def test_the_command_says_what_it_will_do_and_what_came_out(table: Path, tmp_path: Path, capsys):
    words = ["compare", str(table), "--methods", "ce", "logistic", "--seeds", "3", "--steps", "10", "--out"]
    assert main([*words, str(tmp_path / "out"), "--dry-run"]) == 0
    assert "2 methods x 3 seeds = 6 cells" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    assert main([*words, str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "6 of 6 done" in said
    assert "yardstick" in said
    assert "focalkit predict" in said
    assert main([*words, str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in found["methods"]] == found["ranking"]
    assert found["verdict"] in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "quik"], 'did you mean "quick"'),
        (["--steps", "0"], "--steps must be at least 1"),
        (["--methods", "focl"], 'did you mean "focal"'),
        (["--target", "targt"], 'did you mean "target"'),
        (["--methods", "nothing.py"], "no such file"),
    ],
)
def test_wrong_flags_are_usage_errors(table: Path, tmp_path: Path, words: list[str], message: str, capsys):
    assert main(["compare", str(table), "--out", str(tmp_path / "out"), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_method_of_ones_own_is_a_line_of_a_file(table: Path, tmp_path: Path, capsys):
    (tmp_path / "mine.py").write_text(
        'from focalkit.compare import Method\nmild = Method("mild", loss="softmax_focal(gamma=0.5)")\n'
    )
    words = ["--methods", str(tmp_path / "mine.py"), "--seeds", "1", "--steps", "5", "--json"]
    assert main(["compare", str(table), "--out", str(tmp_path / "out"), *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["method"] for row in found["methods"]} == {"ce", "mild"}
    assert "too few seeds (1) to say whether that is more than chance; 3 or more can" in found["verdict"]


def test_the_methods_for_the_data_are_listed(table: Path, tmp_path: Path, capsys):
    assert main(["compare", str(table), "--out", str(tmp_path), "--list"]) == 0
    listed = capsys.readouterr().out
    assert "easy_ensemble" in listed
    assert "Lin 2017" in listed


KILLED = """
import os, sys
from pathlib import Path
from focalkit.compare import compare
from focalkit.tasks import Budget
def die(event):
    if event.kind == "done" and (event.job.method.name, event.job.seed) == ("logistic", 0):
        os.kill(os.getpid(), 9)
if __name__ == "__main__":
    compare(sys.argv[1], ["ce", "logistic"], seeds=2, out=sys.argv[2], budget=Budget(steps=20), progress=die,
            jobs=int(sys.argv[3]))
"""


def test_a_killed_comparison_ends_as_an_undisturbed_one(table: Path, out: Path, tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(KILLED)
    done = subprocess.run([sys.executable, script, table, tmp_path / "out", "2"], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "cells").glob("*/seed*/cell.json")}
    assert kept
    again = compare(table, ["ce", "logistic"], seeds=2, out=tmp_path / "out", budget=Budget(steps=20))
    assert all(p.stat().st_mtime_ns == when for p, when in kept.items())
    undisturbed = Comparison(out)
    assert [r for r in undisturbed.rows if r[0] in ("ce", "logistic") and r[1] < 2] == again.rows
