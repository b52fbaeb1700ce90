"""What is missing or damaged is said at its place; the rest of the report stands."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from focalkit.report import write_report
from focalkit.report._read import number, read_run

MakeRun = Callable[..., Path]
PARTS = (
    "per_class",
    "pr",
    "gallery",
    "loss_concentration",
    "class_histogram",
    "metrics",
    "speed",
    "decisions",
    "mistakes",
)


@pytest.fixture(autouse=True)
def without_plotly(monkeypatch: pytest.MonkeyPatch):
    """The library's 4.8 MB are not the subject here."""
    monkeypatch.setattr("focalkit.report._write.get_plotlyjs", lambda: "")


def text_of(*runs: Path) -> str:
    out = write_report(runs, runs[0].parent / "out.html")
    return out.read_text(encoding="utf-8")


def test_a_run_without_evaluation_keeps_its_curves_and_says_so(make_run: MakeRun):
    run = make_run()
    (run / "evaluation.json").unlink()
    text = text_of(run)
    assert text.count("The run has not been evaluated: there is no evaluation.json.") == 8
    assert "Total loss" in text


def test_an_unfinished_run_shows_the_best_validation_so_far(make_run: MakeRun):
    run = make_run(level=0.41)
    (run / "evaluation.json").unlink()
    (run / "result.json").unlink()
    best = max(json.loads(line).get("AP", 0) for line in (run / "metrics.jsonl").read_text().splitlines())
    text = text_of(run)
    assert f"{best:.3f} AP so far, the best validation while training" in text
    assert "The run has not finished: there is no result.json. It stopped or stands at step 600." in text


def test_a_run_that_has_just_begun_is_still_a_report(make_run: MakeRun):
    run = make_run()
    for name in ("evaluation.json", "result.json", "metrics.jsonl"):
        (run / name).unlink()
    text = text_of(run)
    assert "there is no metrics.jsonl" in text
    assert "No AP yet" in text


def test_an_empty_metrics_file_is_said(make_run: MakeRun):
    run = make_run()
    (run / "metrics.jsonl").write_text("")
    assert "metrics.jsonl is empty" in text_of(run)


def test_a_line_cut_off_by_a_kill_costs_only_that_line(make_run: MakeRun):
    run = make_run()
    file = run / "metrics.jsonl"
    whole = len(file.read_text().splitlines())
    file.write_text(file.read_text() + '{"kind": "train", "st')
    record = read_run(run)
    assert len(record.train) + len(record.val) == whole
    assert "1 damaged line of metrics.jsonl" in text_of(run)


@pytest.mark.parametrize("part", PARTS)
def test_an_evaluation_without_one_part_is_a_report_without_it(part: str, make_run: MakeRun, edit: Callable[..., None]):
    run = make_run(pictures=1)
    edit(run / "evaluation.json", **{part: None})
    assert "0.410" in text_of(run, make_run("other", loss="bce", pictures=1))


@pytest.mark.parametrize("value", ["nonsense", 3, [1, 2], {"a": 1}, [{"x": "y"}]])
@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_another_form_is_no_crash(part: str, value: object, make_run: MakeRun, edit: Callable[..., None]):
    run = make_run(pictures=0)
    edit(run / "evaluation.json", **{part: value})
    assert "0.410" in text_of(run, make_run("other", loss="bce", pictures=0))


def test_damage_is_named_where_it_hurts(make_run: MakeRun, edit: Callable[..., None]):
    run = make_run()
    edit(run / "evaluation.json", per_class=[{"AP": 0.3}])
    assert "AP per class: the recorded data do not have the expected form (KeyError: &#39;name&#39;)." in text_of(run)


@pytest.mark.parametrize("content", ["{", "[1]", "\xff"])
def test_damaged_result_and_evaluation_files_are_named(content: str, make_run: MakeRun):
    run = make_run()
    (run / "evaluation.json").write_text(content, encoding="latin-1")
    (run / "result.json").write_text(content, encoding="latin-1")
    text = text_of(run)
    assert "evaluation.json: " in text
    assert "result.json: " in text


def test_a_missing_picture_leaves_its_caption(make_run: MakeRun):
    run = make_run()
    (run / "gallery" / "worst-1.jpg").unlink()
    assert "The picture gallery/worst-1.jpg is missing." in text_of(run)


def test_pictures_outside_the_run_are_not_read(make_run: MakeRun, edit: Callable[..., None], tmp_path: Path):
    run = make_run()
    (tmp_path / "private.jpg").write_bytes(b"private")
    edit(run / "evaluation.json", gallery=[{"kind": "best", "file": "../private.jpg", "caption": "c"}])
    (picture,) = read_run(run).pictures
    assert picture.uri is None
    assert "outside the run directory" in picture.note


def test_groups_without_examples_leave_the_other_curve(make_run: MakeRun, edit: Callable[..., None]):
    run = make_run()
    source = json.loads((run / "evaluation.json").read_text())["loss_concentration"]
    edit(run / "evaluation.json", loss_concentration=source | {"positives": [[], [], [], []], "num_positives": 0})
    text = text_of(run)
    assert "Negatives (6,894,126)" in text
    assert "Positives (0)" not in text


def test_coco_minus_one_and_nan_are_nothing_to_measure(make_run: MakeRun, edit: Callable[..., None]):
    assert [number(v) for v in (-1, -1.0, float("nan"), float("inf"), None, "0.3", True)] == [None] * 7
    run = make_run()
    rows = json.loads((run / "evaluation.json").read_text())["per_class"]
    rows[3] |= {"AP": -1, "AP50": float("nan"), "AP75": None}
    edit(run / "evaluation.json", per_class=rows)
    text = text_of(run)
    assert "NaN" not in text.split('id="figures">')[1].split("</script>")[0]
    assert '<th scope="row">four</th><td class="num">244</td><td class="num">61</td><td class="num">–</td>' in text


@pytest.mark.parametrize(("measured", "shown"), [("/data/own/val.json", False), ("/data/other", True)])
def test_an_evaluation_on_other_data_than_the_runs_own_names_them(make_run: MakeRun, measured: str, shown: bool):
    run = make_run()
    for file, change in (("run.json", {"data": "/data/own"}), ("evaluation.json", {"data": measured})):
        content = json.loads((run / file).read_text())
        (content["config"] if file == "run.json" else content).update(change)
        (run / file).write_text(json.dumps(content))
    assert (f"120 validation images of {measured}" in text_of(run)) is shown


@pytest.mark.parametrize("content", ["{", "[1]", '{"curves": 1, "thresholds": {}}', '{"curves": {}}'])
def test_a_damaged_calibration_is_no_crash(content: str, make_run: MakeRun):
    run = make_run(pictures=0)
    (run / "calibration").mkdir()
    (run / "calibration.json").write_text("{}")
    (run / "calibration" / "report.json").write_text(content)
    assert "0.410" in text_of(run)
