"""The figures: right data, right order, small enough."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from focalkit.report import _classes, _curves, _format, _plot
from focalkit.report._read import RunRecord, read_run

MakeRun = Callable[..., Path]


def run_with(**evaluation: object) -> RunRecord:
    return RunRecord(Path("r"), "r", {}, evaluation=dict(evaluation))


def test_classes_go_from_head_to_tail(make_run: MakeRun):
    rows = _classes.class_rows(read_run(make_run()))
    assert [r.frequency for r in rows] == sorted((r.frequency for r in rows), reverse=True)
    shape = _classes.per_class([rows], ["a"], [0])
    assert shape is not None
    top = max(range(len(rows)), key=lambda i: shape["layout"]["yaxis"]["tickvals"][i])
    assert shape["layout"]["yaxis"]["ticktext"][top] == rows[0].name


def test_the_first_run_has_the_upper_bar_and_its_colour():
    rows = [_classes.ClassRow("c", 5, 1, 0.5, None, None)]
    shape = _classes.per_class([rows, rows], ["first", "second"], [0, 1])
    assert shape is not None
    bars = {t["name"]: t["marker"]["color"] for t in shape["data"]}
    assert [t["name"] for t in shape["data"]] == ["second", "first", "training boxes"]
    assert bars["first"] == _plot.run_color(0)
    assert bars["second"] == _plot.run_color(1)


def test_too_many_classes_for_bars_become_dots():
    rows = [_classes.ClassRow(f"c{i}", i + 1, 1, 0.5, None, None) for i in range(61)]
    shape = _classes.per_class([rows], ["a"], [0])
    assert shape is not None
    assert shape["data"][0]["type"] == "scatter"
    assert len(shape["data"][0]["x"]) == 61
    assert shape["layout"]["xaxis"]["type"] == "log"


def test_thirds_average_the_measured_classes():
    aps = (0.6, 0.4, 0.5, None, 0.1, 0.3)
    rows = [_classes.ClassRow(f"c{i}", 100 - i, 1, a, None, None) for i, a in enumerate(aps)]
    assert [(t, v) for t, _, v in _classes.thirds(rows)] == [
        ("Frequent", pytest.approx(0.5)),
        ("Middle", pytest.approx(0.5)),
        ("Rare", pytest.approx(0.2)),
    ]
    assert _classes.thirds(rows[:5]) == []


def test_a_class_without_boxes_has_no_bar_on_the_log_axis():
    run = run_with(class_histogram={"names": ["a", "b"], "train": [10, 0], "val": [0, 3]})
    shape = _classes.histogram(run, 0)
    assert shape is not None
    assert [t["y"] for t in shape["data"]] == [[10, None], [None, 3]]


def test_different_losses_share_a_log_axis(make_run: MakeRun):
    runs = [read_run(make_run()), read_run(make_run("ce", loss="bce"))]
    for log, kind in ((True, "log"), (False, "linear")):
        shape = _curves.overlay(runs, ["a", "b"], "train", "classification", "loss", log=log)
        assert shape is not None
        assert shape["layout"]["yaxis"]["type"] == kind


def test_without_training_counts_the_evaluated_boxes_stand_in(make_run: MakeRun, edit: Callable[..., None]):
    run = make_run()
    per_class = json.loads((run / "evaluation.json").read_text())["per_class"]
    histogram = {"names": ["a", "b"], "train": [], "val": [1, 4]}
    edit(run / "evaluation.json", per_class=[p | {"train_count": None} for p in per_class], class_histogram=histogram)
    found = read_run(run)
    rows = _classes.class_rows(found)
    assert [r.frequency for r in rows] == sorted((p["count"] for p in per_class), reverse=True)
    shape = _classes.per_class([rows], ["a"], [0])
    assert shape is not None
    assert shape["layout"]["xaxis2"]["title"]["text"] == "evaluated boxes (log)"
    bars = _classes.histogram(found, 0)
    assert bars is not None
    assert [(t["name"], t["y"]) for t in bars["data"]] == [("validation", [4, 1])]
    assert bars["layout"]["xaxis"]["ticktext"] == ["b", "a"]


def test_precision_recall_shows_all_classes_first(make_run: MakeRun):
    run = read_run(make_run(classes=("a", "b")))
    shape = _curves.precision_recall([run], ["r"], [0])
    assert shape is not None
    assert {t["meta"] for t in shape["data"] if t["visible"]} == {"all"}
    assert _curves.curve_names(shape) == ["all", "a", "b"]


def test_the_share_of_the_hardest_is_read_off_the_curve():
    # two examples in ten carry everything: the hardest tenth carries half
    fraction = [i / 10 for i in range(11)]
    curve = [0.0] * 9 + [0.5, 1.0]
    source = {"gammas": [2], "fraction": fraction, "negatives": [curve]}
    assert _curves.hardest_share(source, "negatives", 0.1) == [(2.0, pytest.approx(0.5))]
    assert _curves.hardest_share(source, "negatives", 0.05) == [(2.0, pytest.approx(0.25))]
    assert _curves.hardest_share(source, "positives", 0.1) == []


def test_long_series_are_averaged_down_to_a_bounded_number_of_points():
    raw, smooth = _plot.noisy_line(range(100_000), [1.0, 3.0] * 50_000, "loss", "#000000")
    assert len(raw["x"]) <= _plot.MAX_POINTS
    assert set(raw["y"]) == {2.0}
    assert smooth["y"][-1] == pytest.approx(2.0)
    assert _plot.smoothed({"data": [raw, smooth]})
    assert not _plot.smoothed({"data": _plot.noisy_line(range(5), range(5), "loss", "#000000")})


def test_a_running_mean_of_a_constant_is_that_constant_from_the_start():
    _, smooth = _plot.noisy_line(range(50), [7.0] * 50, "loss", "#000000")
    assert smooth["y"] == [pytest.approx(7.0)] * 50


def test_holes_in_a_series_stay_holes():
    assert _plot.line([1, 2, 3], [0.5, float("nan"), None], "AP", "#000000")["y"] == [0.5, None, None]


def test_numbers_are_written_for_readers():
    assert _format.ap(0.41234) == "0.412"
    assert _format.ap(-1) == _format.ap(None) == "–"
    assert [_format.duration(s) for s in (48.2, 141.3, 11_100)] == ["48 s", "2 min 21 s", "3 h 05 min"]
    assert _format.setting([1.0, 2 ** (1 / 3)]) == "1, 1.26"
    assert [_format.setting(v) for v in (None, True, (), "x")] == ["not set", "yes", "none", "x"]
    assert _format.flatten({"a": 1, "m": {"b": {"c": 2}}}) == {"a": 1, "m.b.c": 2}
