"""What `focalkit evaluate` writes and says about scores and their thresholds."""

from pathlib import Path

import pytest

from focalkit.data import open_detection_data
from focalkit.detection import Detector
from focalkit.evaluation.evaluate import evaluate_into
from focalkit.evaluation.run import evaluated_threshold
from unit.cli.test_evaluate_lvis import Sees, write


@pytest.mark.parametrize(("above", "threshold"), [(0.4, 0.5), (0.6, None), (0.9, None)])
def test_there_is_no_best_threshold_where_nothing_is_right(
    tmp_path: Path, above: float, threshold: float | None
) -> None:
    """The owls score .5; the cats, which are not there, .88."""
    data = open_detection_data(write(tmp_path / "data", "val"), "val")
    detector = Detector(Sees(), names=data.names, category_ids=data.category_ids, min_size=64, max_size=64)
    detector.postprocess = type(detector.postprocess)(score_threshold=above)
    found = evaluate_into(tmp_path, detector, data, pictures=0)
    assert found["best_f1_threshold"] == threshold == evaluated_threshold(tmp_path)
