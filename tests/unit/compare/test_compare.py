"""A comparison from end to end, on a task that only this test knows."""

import csv
import errno
import json
import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import focalkit.compare
from focalkit._runs import RunDir
from focalkit.cli import compare as command
from focalkit.cli import main
from focalkit.compare import METHODS, Comparison, Method, compare
from focalkit.compare import cell as cells
from focalkit.compare._specs import resolve
from focalkit.compare.run import run_plan
from focalkit.compare.store import Store
from focalkit.errors import ConfigError, DataError, InputError
from focalkit.findings import Finding
from focalkit.tasks import TASKS, Inspection, Metric

NOTHING: Any = SimpleNamespace()


def own_row(name: str, **values) -> Method:
    return Method(name, tasks=None, **values)


@pytest.fixture
def done(toy, data: Path, tmp_path: Path):
    methods = ["ce", own_row("adjusted", adjust="logit_adjustment(tau=1.0)"), own_row("other", loss="focal")]
    return compare(data, methods, out=tmp_path / "out", seeds=2)


def test_a_new_task_is_one_line_in_a_table(done, tmp_path: Path):
    out = tmp_path / "out"
    files = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file() and ".lock" not in p.name}
    cell = {"run.json", "cell.json", "val.npz", "test.npz", "model.safetensors", "model.json"}
    cells = {f"cells/{m}/seed{s}/{name}" for m in ("ce", "adjusted", "other") for s in (0, 1) for name in cell}
    best = {f"best/{name}" for name in cell} if Path(out / "best").is_dir() else set()
    assert files - best == {"plan.json", "data.json", "results.csv"} | cells
    assert done.ranking[0] in ("ce", "adjusted", "other")
    assert json.loads((out / "best" / "cell.json").read_text())["name"] == done.ranking[0]


def test_a_notebook_shows_the_sentence_and_a_row_for_each_method(done):
    shown = done._repr_html_()
    assert shown.startswith("<p>")
    first, *rest = (shown.index(f"<td>{name}</td>") for name in done.ranking)
    assert sorted(rest) == rest
    assert all(first < place for place in rest)
    assert f"<td>{np.mean(list(done.values(done.plan.metric)['ce'].values())):.3f}</td>" in shown


def test_what_compares_names_no_task():
    """A new task is a folder and a line in a table; its `kinds` say which methods and presets fit."""
    folder = Path(focalkit.compare.__file__).parent
    quoted = [f"{mark}{name}{mark}" for name in TASKS for mark in "\"'"]
    assert [(file.name, word) for file in folder.glob("*.py") for word in quoted if word in file.read_text()] == []


def test_methods_that_train_alike_train_once(done, toy):
    assert toy.FITS == {"ce": 2, "other": 2}
    record = done.store.cell("adjusted", 0).record
    assert record["derived_from"] == "ce"


def test_logit_adjustment_takes_the_log_prior_off_the_logits(done):
    plain, adjusted = (done.store.cell(name, 0).test.logits for name in ("ce", "adjusted"))
    counts = np.array(done.store.cell("ce", 0).record["class_counts"])
    np.testing.assert_allclose(plain - adjusted, np.broadcast_to(np.log(counts / counts.sum()), plain.shape), rtol=1e-5)
    assert done.values("ranked")["ce"] == done.values("ranked")["adjusted"]


def test_results_hold_every_metric_under_its_threshold_rules(done, tmp_path: Path):
    with open(tmp_path / "out" / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    rules = {(row["metric"], row["threshold"]) for row in rows}
    assert rules == {("ranked", ""), ("accuracy", "default"), ("accuracy", "tuned")}
    assert len(rows) == 3 * 2 * 3
    assert done.results.columns == ["method", "seed", "metric", "threshold", "value"]


def test_finished_cells_are_never_repeated(done, toy, data: Path, tmp_path: Path):
    before = (tmp_path / "out" / "results.csv").read_bytes()
    toy.FITS.clear()
    again = compare(data, done.plan.methods, out=tmp_path / "out", seeds=2)
    assert not toy.FITS
    assert (tmp_path / "out" / "results.csv").read_bytes() == before
    compare(data, again.plan.methods, out=tmp_path / "out", seeds=3)
    assert toy.FITS == {"ce": 1, "other": 1}


def test_an_interrupted_comparison_goes_on(toy, data: Path, tmp_path: Path, monkeypatch):
    whole = compare(data, ["ce", own_row("other", loss="focal")], out=tmp_path / "whole", seeds=3)
    left = tmp_path / "left" / "cells" / "ce" / ".seed0.tmp-999999999"
    left.mkdir(parents=True)  # of a process that was killed
    seen = []

    def stop_at_third(event):
        seen.append(event)
        if len([e for e in seen if e.kind == "done"]) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(data, whole.plan.methods, out=tmp_path / "left", seeds=3, progress=stop_at_third)
    toy.FITS.clear()
    compare(data, whole.plan.methods, out=tmp_path / "left", seeds=3)
    assert sum(toy.FITS.values()) == 3
    assert not left.exists()
    assert (tmp_path / "left/results.csv").read_bytes() == (tmp_path / "whole/results.csv").read_bytes()


def test_a_failing_cell_is_reported_and_the_rest_goes_on(toy, data: Path, tmp_path: Path):
    events = []
    found = compare(data, ["ce", own_row("bad", loss="bce")], out=tmp_path / "out", seeds=2, progress=events.append)
    failures = [event for event in events if event.kind == "failed"]
    assert {event.job.method.name for event in failures} == {"bad"}
    assert "this loss always fails here" in failures[0].error
    assert found.store.cell("bad", 1).status == "failed"
    assert found.store.cell("ce", 1).status == "done"
    assert found.ranking == ["ce"]
    toy.FITS.clear()
    compare(data, found.plan.methods, out=tmp_path / "out", seeds=2)
    assert toy.FITS == {"bad": 2}, "a failed cell is tried again"


def test_failed_cells_are_named_with_their_tracebacks_and_the_exit_status_says_so(toy, data, tmp_path: Path, capsys):
    (tmp_path / "mine.py").write_text(
        "from focalkit.compare import Method\n"
        'good = Method("good", tasks=None)\nbad = Method("bad", loss="bce", tasks=None)\n'
    )
    words = ["compare", str(data), "--task", "toy", "--methods", str(tmp_path / "mine.py"), "--yardstick", "good"]
    assert main([*words, "--seeds", "2", "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "report" in said.out
    file = tmp_path / "out" / "cells" / "bad" / "seed1" / "error.txt"
    assert "focalkit: 2 of 4 cells failed" in said.err
    assert f"bad, seed 1: ArithmeticError: this loss always fails here\n    {file}" in said.err
    assert file.read_text().startswith("Traceback")
    assert main([*words, "--seeds", "2", "--out", str(tmp_path / "out"), "--json"]) == 1
    assert [one["seed"] for one in json.loads(capsys.readouterr().out)["failed"]] == [0, 1]
    assert main([*words[:3], "toy", "--methods", "ce", "--seeds", "1", "--out", str(tmp_path / "one")]) == 0


def test_the_yardstick_is_always_there(toy, data: Path, tmp_path: Path):
    found = compare(data, [own_row("other", loss="focal")], out=tmp_path / "out", seeds=1)
    assert [method.name for method in found.plan.methods] == ["ce", "other"]


def test_a_metric_of_ones_own_needs_no_training(toy, done, tmp_path: Path):
    toy.FITS.clear()
    mine = Metric("mine", lambda probabilities, targets: float(probabilities[:, 1].max()))
    found = Comparison(tmp_path / "out", [mine])
    assert set(found.values("mine")) == {"ce", "adjusted", "other"}
    assert not toy.FITS


def test_other_data_under_the_same_directory_are_refused(done, data: Path, tmp_path: Path):
    data.write_text("500")
    cells.read.cache_clear()
    with pytest.raises(ConfigError, match="other data"):
        compare(data, ["ce"], out=tmp_path / "out", seeds=2)


def test_another_method_under_the_same_name_is_refused(done, data: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="'other' was another one"):
        compare(data, [own_row("other", loss="asl")], out=tmp_path / "out", seeds=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": ["focl"]}, "no method 'focl'; did you mean \"focal\""),
        ({"methods": ["focal(gama=1)"]}, "no argument 'gama'; did you mean \"gamma\""),
        ({"methods": ["hist_gb"]}, "does not fit the task 'toy'"),
        ({"methods": [own_row("x", model="tree")]}, "for the model 'tree'"),
        ({"seeds": 0}, "seeds must be"),
        ({"seeds": [1, 1]}, "seeds must be"),
        ({"jobs": 0}, "jobs must be at least 1"),
        ({"engine": "spark"}, "no engine 'spark'"),
        ({"metric": "rankd"}, "no metric 'rankd'; did you mean \"ranked\""),
        ({"tune": -1}, "at least 0 trials"),
        ({"task": "toyy"}, "no task 'toyy'; did you mean \"toy\""),
    ],
)
def test_what_cannot_be_used_is_named(toy, data: Path, tmp_path: Path, arguments, message):
    with pytest.raises(InputError, match=message):
        compare(data, **{"methods": ["ce"], "out": tmp_path / "out", **arguments})
    assert not (tmp_path / "out" / "cells").exists()


def test_bad_data_are_refused_before_anything_is_written(toy, data: Path, tmp_path: Path):
    data.write_text("many")
    with pytest.raises(DataError, match="expected a number of points"):
        compare(data, ["ce"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_comparisons_do_not_share_a_directory(toy, data: Path, tmp_path: Path):
    with Store(tmp_path / "out").locked(), pytest.raises(ConfigError, match="another `focalkit compare`"):
        compare(data, ["ce"], out=tmp_path / "out")


def test_half_made_cells_of_living_processes_stay(tmp_path: Path):
    folder = tmp_path / "cells" / "ce" / f".seed0.tmp-{os.getppid()}"
    folder.mkdir(parents=True)
    Store(tmp_path).clean()
    assert folder.exists()


def test_what_was_found_in_the_data_and_untuned_thresholds_are_said_with_the_result(toy, data, tmp_path, monkeypatch):
    from focalkit.compare.findings import findings
    from focalkit.compare.summary import data_findings

    seen = (Finding("FK111", "7 of 90 rows are copies"), Finding("FK101", "9 : 1"))
    monkeypatch.setattr(toy.Toy, "inspect", lambda *_, **__: Inspection({}, seen))
    data.write_text("90")
    found = compare(data, ["ce"], out=tmp_path / "out", seeds=1)
    assert data_findings(found) == ["FK111 Items occur more than once: 7 of 90 rows are copies"]
    (note,) = [finding.seen for finding in findings(found) if finding.code == "FK304"]
    assert note.endswith(" validation items, at least 50 are needed")
    assert note[0].isdigit()


def test_every_method_can_be_stored():
    from focalkit.compare.plan import method_from_dict, method_to_dict

    for method in METHODS.values():
        assert method_from_dict(json.loads(json.dumps(method_to_dict(method)))) == method


def test_a_comparison_does_not_go_into_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = command.Args(data=Path("photos"))
    assert command.out_of(args) == Path("runs/photos")
    RunDir(Path("runs/photos")).write_run({})
    assert command.out_of(args) == Path("runs/photos-compare")
    with pytest.raises(ConfigError, match="holds a run of `focalkit train`"):
        run_plan(NOTHING, NOTHING, Path("runs/photos"))


@pytest.mark.parametrize(("number", "held"), [(errno.EWOULDBLOCK, True), (errno.ENOTSUP, False), (errno.ENOLCK, False)])
def test_a_file_system_without_locks_is_no_other_comparison(tmp_path, monkeypatch, number, held):
    def flock(*_):
        raise OSError(number, "no")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(ConfigError, match="running here") if held else nullcontext(), Store(tmp_path).locked():
        pass


def test_a_file_of_methods_that_is_edited_is_read_anew(tmp_path):
    file = tmp_path / "mine.py"
    text = 'from focalkit.compare import Method\nmine = Method("mine", loss="focal(gamma={})")\n'
    found = []
    for gamma in (1, 3):  # within one second, of one size
        file.write_text(text.format(gamma))
        found += [method.loss for method in resolve([str(file)], "tabular")]
    assert found == ["focal(gamma=1)", "focal(gamma=3)"]
