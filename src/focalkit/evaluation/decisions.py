"""What the scores of a detector mean and what comes of cutting them: calibration, operating point, confusion, errors.

Scores are taken as the detector gives them. Thresholds are those of the largest F1 of each class on the same images:
what they reach is what is possible there; `focalkit calibrate` chooses on some images and judges on others.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from focalkit._files import dump_json
from focalkit.calibration import detection_thresholds
from focalkit.metrics import (
    ERROR_KINDS,
    DetectionMatches,
    confusion_matrix,
    error_kinds,
    match_coco,
    matches_calibration_error,
    operating_point,
    over_thresholds,
    reliability_curve,
)

BINS = 20


def decisions(
    ground_truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    matches: DetectionMatches | None = None,
) -> dict[str, Any] | None:
    """Everything about scores and cut-offs that a report shows; None without detections or without boxes.

    Args:
        ground_truth: As `coco_ap` takes it.
        detections: As `coco_ap` takes them, with scores in [0, 1].
        matches: Those of the two at an overlap of .5, where they are known already.

    Returns:
        As it stands in evaluation.json; undefined numbers are None:

        - "D-ECE", "LaECE_0": see `focalkit.metrics.detection_calibration_error`;
        - "reliability": `ReliabilityCurve.to_dict()` of score against precision at IoU .5;
        - "over_thresholds": precision, recall and F1 at thresholds from 0 to 1, all classes together;
        - "thresholds": `Thresholds.to_dict()` of the largest F1, one per class, and "pooled";
        - "operating": `operating_point` there, with each class;
        - "confusion": the matrix there, true class by predicted class, background last;
        - "errors": kind -> "count" there, and "cost": the AP50 of all detections that mending the kind would add.

    Raises:
        InputError: As `match_coco`.
    """
    if matches is None:
        matches = match_coco(ground_truth, detections)
    rows = matches.counted
    if not len(rows) or not len(matches.truth_labels):
        return None
    thresholds, pooled = detection_thresholds(matches, f_beta=1.0)
    never = torch.nextafter(torch.ones((), dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64))
    cuts = torch.where(thresholds.values.isnan(), pooled.values, thresholds.values).nan_to_num(float(never))
    kept, every = error_kinds(matches, cuts), error_kinds(matches)
    found = {
        "D-ECE": matches_calibration_error(matches),
        "LaECE_0": matches_calibration_error(matches.at(0.0), kind="laece"),
        "reliability": reliability_curve(rows.scores, rows.correct, BINS, groups=rows.images).to_dict(),
        "over_thresholds": over_thresholds(matches),
        "thresholds": {**thresholds.to_dict(), "pooled": pooled.to_dict()},
        "operating": operating_point(matches, cuts),
        "confusion": confusion_matrix(matches, cuts).tolist(),
        "errors": {kind: {"count": kept.counts[kind], "cost": every.costs[kind]} for kind in ERROR_KINDS},
    }
    return json.loads(dump_json(found))
