"""Calibrated scores in place of a detector's own, after its detections were chosen."""

from dataclasses import replace
from typing import Literal, TypeAlias

from focalkit.calibration import AppliedCalibration
from focalkit.detection.inference.detections import Detections

Cut: TypeAlias = float | Literal["calibrated"] | None
"""A score, the thresholds per class of the detector's calibration, or no further cut."""


def calibrate(found: Detections, size: tuple[int, int], calibration: AppliedCalibration, cut: Cut) -> Detections:
    """Map the scores, cut, and put the best first.

    Args:
        found: Of one image, on the CPU.
        size: Height and width of the image that the boxes are in.
        calibration: The maps and thresholds.
        cut: Detections of lower calibrated scores are dropped; a number drops what scores no more than it.
    """
    scores = calibration.transform(found.scores, found.labels, found.boxes, size)
    least = -1.0 if cut is None else cut
    keep = calibration.reach(scores, found.labels) if least == "calibrated" else scores > least
    order = scores.argsort(descending=True, stable=True)
    order = order[keep[order]]
    return replace(found, boxes=found.boxes[order], scores=scores[order], labels=found.labels[order])
