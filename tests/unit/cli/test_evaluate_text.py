"""What `focalkit evaluate` writes and says about scores and their thresholds."""

from dataclasses import replace
from pathlib import Path

import pytest

from focalkit.calibration import AppliedCalibration
from focalkit.cli.evaluate import Args, as_text, calibration_of
from focalkit.data import DetectionData, open_detection_data
from focalkit.detection import Detector
from focalkit.evaluation.evaluate import evaluate, evaluate_into
from focalkit.evaluation.run import evaluated_threshold
from focalkit.metrics import ApRule
from unit.cli.test_evaluate_lvis import Sees, write


def opened(folder: Path, above: float) -> tuple[DetectionData, Detector]:
    """Two pictures of owls, and what sees owls and cats in them."""
    data = open_detection_data(write(folder / "data", "val"), "val")
    detector = Detector(Sees(), names=data.names, category_ids=data.category_ids, min_size=64, max_size=64)
    detector.postprocess = type(detector.postprocess)(score_threshold=above)
    return data, detector


@pytest.mark.parametrize(("above", "threshold"), [(0.4, 0.5), (0.6, None), (0.9, None)])
def test_there_is_no_best_threshold_where_nothing_is_right(
    tmp_path: Path, above: float, threshold: float | None
) -> None:
    """The owls score .5; the cats, which are not there, .88."""
    data, detector = opened(tmp_path, above)
    found = evaluate_into(tmp_path, detector, data, pictures=0)
    assert found["best_f1_threshold"] == threshold == evaluated_threshold(tmp_path)


def test_what_is_printed_says_what_its_numbers_are_of(tmp_path: Path) -> None:
    data, detector = opened(tmp_path, 0.4)
    none = {"calibration": None}
    plain = as_text(Args(tmp_path), evaluate(detector, data).summary() | none)
    assert "among detections of all scores" in plain
    assert "as your rule says" not in plain
    assert "uncalibrated" not in plain
    (tmp_path / "calibration.json").write_text("{}")
    assert calibration_of(tmp_path, None) == "left out"
    found = evaluate(detector, data, rule=ApRule(max_detections=500)).summary() | {"calibration": "left out"}
    ruled = as_text(Args(tmp_path), found)
    assert "of up to 500 detections of a class per image, as your rule says" in ruled
    assert f"of uncalibrated scores; predict applies {tmp_path / 'calibration.json'}" in ruled


def test_of_an_exported_file_it_is_said_whether_its_scores_are_calibrated(tmp_path: Path) -> None:
    data, detector = opened(tmp_path, 0.4)
    summary = evaluate(detector, data).summary()
    file = tmp_path / "model.onnx"
    file.touch()

    def said() -> str:
        return as_text(Args(file), summary | {"calibration": calibration_of(file, detector)})

    assert f"{file} holds no calibration" in said()
    detector.calibration = AppliedCalibration.posterior(2.0, None)
    assert f"of uncalibrated scores; predict applies the calibration in {file}" in said()
    detector.model.info = {"calibrated_inside": True}
    assert f"of calibrated scores: the graph of {file} holds the calibration" in said()


@pytest.mark.parametrize(("boxes", "said"), [(True, "nothing was detected:"), (False, "no boxes to detect:")])
def test_where_there_is_nothing_to_decide_the_reason_is_the_true_one(tmp_path: Path, boxes: bool, said: str) -> None:
    data, detector = opened(tmp_path, 0.9 if boxes else 0.4)
    if not boxes:
        data = replace(
            data,
            images=tuple(replace(i, boxes=(), labels=(), areas=(), crowd=(), annotation_ids=()) for i in data.images),
        )
    assert said in as_text(Args(tmp_path), evaluate(detector, data).summary() | {"calibration": None})
