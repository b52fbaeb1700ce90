"""Scores, operating point and errors of a run in its report, and of a calibration in the run's and in its own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from focalkit.calibration import DETECTION_MEASURES
from focalkit.report import write_calibration_page, write_report
from focalkit.report._charts import Charts
from focalkit.report._decisions import confusion_figure, kinds_figure, over_thresholds_figure, reliability_figure, view
from focalkit.report._read import read_run

MakeRun = Callable[..., Path]


@pytest.fixture(autouse=True)
def without_plotly(monkeypatch: pytest.MonkeyPatch):
    for module in ("_write", "_calibration"):
        monkeypatch.setattr(f"focalkit.report.{module}.get_plotlyjs", lambda: "")


def found(run: Path) -> dict[str, Any]:
    return json.loads((run / "evaluation.json").read_text())["decisions"]


def calibrated(run: Path) -> dict[str, Any]:
    """Write what `focalkit calibrate` leaves in a run; the report that it holds."""
    seen = found(run)
    report = {
        "recommendation": "Take the platt map.",
        "notes": ["a note"],
        "target": "precision",
        "split": {"seed": 0, "fraction": 0.5, "fit": 60, "judged": 61},
        "table": {m: {"before": 0.2, "precision": 0.05, "localisation": 0.1} for m in DETECTION_MEASURES},
        "thresholds": seen["thresholds"],
        "operating": seen["operating"],
        "confusion": seen["confusion"],
        "curves": {"before": seen["reliability"], "after": seen["reliability"]}
        | {"over_thresholds": seen["over_thresholds"]},
    }
    (run / "calibration").mkdir()
    (run / "calibration.json").write_text("{}")
    (run / "calibration" / "report.json").write_text(json.dumps(report))
    return report


def test_a_run_shows_its_scores_its_operating_point_and_its_errors(make_run: MakeRun):
    run = make_run()
    charts = Charts()
    shown = view(read_run(run), charts)
    assert [len(b.charts) for b in (shown.reliability, shown.operating, shown.confusion)] == [1, 1, 2]
    assert shown.thresholds[0][2][0] == "0.500"
    assert shown.thresholds[-1][2][1:3] == ["\u2013", "\u2013"], "undefined numbers are dashes"
    text = write_report([run], run.parent / "out.html").read_text(encoding="utf-8")
    assert "Do scores mean what they say?" in text
    assert "chosen on these very images" in text
    assert "D-ECE 0.081" in text


def test_a_calibrated_run_shows_before_and_after_and_the_thresholds_it_applies(make_run: MakeRun):
    run = make_run()
    calibrated(run)
    text = write_report([run], run.parent / "out.html").read_text(encoding="utf-8")
    assert all(words in text for words in ("Take the platt map.", "Before calibration", "After calibration"))
    assert "chosen on 60 images and judged here on 61 others" in text
    assert "chosen on these very images" not in text
    (run / "calibration.json").unlink()  # no longer applied
    assert "Take the platt map." not in write_report([run], run.parent / "out.html").read_text(encoding="utf-8")


def test_a_calibration_has_a_page_of_its_own(make_run: MakeRun, tmp_path: Path):
    report = calibrated(make_run())
    text = write_calibration_page(report, DETECTION_MEASURES, tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count("Take the platt map.") == 1
    assert all(words in text for words in (*DETECTION_MEASURES, "0.0500", "Map to precision times IoU"))


def test_empty_bins_are_left_out_of_the_reliability_diagram(make_run: MakeRun):
    curve = found(make_run())["reliability"]
    diagonal, points, bars = reliability_figure(curve, "precision", "#000000")["data"]
    assert diagonal["x"] == diagonal["y"] == [0, 1]
    assert len(points["x"]) == len(bars["y"]) == sum(n > 0 for n in curve["counts"]) < len(curve["counts"])
    assert bars["y"] == points["customdata"] == [n for n in curve["counts"] if n]
    low = [y - d for y, d in zip(points["y"], points["error_y"]["arrayminus"], strict=True)]
    assert low == pytest.approx([v for v in curve["low"] if v is not None])


def test_of_many_classes_those_with_the_most_mistakes_are_shown():
    k = 60
    table = [[0] * (k + 1) for _ in range(k + 1)]
    table[57][3], table[5][5] = 9, 100
    shape = confusion_figure(table, [f"c{i}" for i in range(k)])
    (trace,) = shape["data"]
    assert {"c57", "c3", "background"} <= set(trace["x"])
    assert len(trace["x"]) == 41
    assert trace["x"] == trace["y"]
    row, column = trace["y"].index("c57"), trace["x"].index("c3")
    assert trace["text"][row][column] == 9
    assert trace["z"][row][column] == 1.0


def test_kinds_and_thresholds_are_drawn_as_found(make_run: MakeRun):
    seen = found(make_run())
    counts, costs = kinds_figure(seen["errors"])["data"]
    assert counts["x"] == [0, 10, 20, 30, 40, 50]
    assert costs["x"] == pytest.approx([0, 0.02, 0.04, 0.06, 0.08, 0.1])
    names = [t["name"] for t in over_thresholds_figure(seen["over_thresholds"], 0.45)["data"]]
    assert names == ["precision", "recall", "F1", "threshold of all classes, 0.450"]
    assert len(over_thresholds_figure(seen["over_thresholds"], None)["data"]) == 3
