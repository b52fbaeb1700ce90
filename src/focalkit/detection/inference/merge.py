"""Merge detections of one image from tiles or test-time augmentation by suppressing them together."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from focalkit.detection.inference.detections import Detections
from focalkit.detection.inference.postprocess import nms_per_class

ACROSS_LOOKS = 0.6
"""IoU from which boxes of several looks are one object to a detector that suppresses nothing in a look of its own."""


def across_looks(iou_threshold: float) -> float:
    """At which overlap detections of several looks are suppressed, from a detector's own threshold.

    One that suppresses nothing (1: set predictors, CenterNet) finds an object once in every look, so again in the next.
    """
    return iou_threshold if iou_threshold < 1 else ACROSS_LOOKS


def merge(parts: Sequence[Detections], iou_threshold: float, max_detections: int | None) -> Detections:
    """All detections together, suppressed per class as those of one look are; the best first.

    One part comes back as it is: it has been through the detector's own suppression.

    Args:
        parts: In the pixels of the same image; at least one.
        iou_threshold: Of two boxes of one class that overlap more, the lower-scoring one is dropped.
        max_detections: The best so many are kept; None keeps all.
    """
    if len(parts) == 1:
        return parts[0] if max_detections is None else parts[0].first(max_detections)
    boxes = torch.cat([part.boxes for part in parts])
    scores = torch.cat([part.scores for part in parts])
    labels = torch.cat([part.labels for part in parts])
    kept = nms_per_class(boxes, scores, labels, iou_threshold)[:max_detections]
    return replace(parts[0], boxes=boxes[kept], scores=scores[kept], labels=labels[kept])
