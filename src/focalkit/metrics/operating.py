"""What a detector does at its operating point: precision, recall and F1, per class and over the threshold."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .detection_calibration import per_class
from .detection_matches import DetectionMatches


def operating_point(matches: DetectionMatches, score_threshold: float | Sequence[float] | Tensor) -> dict[str, Any]:
    """Precision, recall and F1 of each class and of all together, where detections scored lower are left out.

    Args:
        matches: What `match_coco` returned, perhaps with other scores; those in crowds count for nothing.
        score_threshold: One number, or one per class in ascending category id.

    Returns:
        "all" and "classes", a list with "name" beside: precision, recall and f1, NaN where undefined, and the numbers
        true_positives, false_positives and missed.

    Example:
        >>> truth = {
        ...     "images": [{"id": 1}],
        ...     "categories": [{"id": 3, "name": "cat"}],
        ...     "annotations": [{"image_id": 1, "category_id": 3, "bbox": [0, 0, 50, 50]}],
        ... }
        >>> found = [{"image_id": 1, "category_id": 3, "bbox": [0, 0, 50, 40], "score": 0.9}]
        >>> operating_point(match_coco(truth, found), 0.5)["all"]["recall"]
        1.0
    """
    rows = matches.counted
    kept = rows.scores >= per_class(score_threshold, matches)[rows.labels]
    k = len(rows.names)
    true_positives = torch.bincount(rows.labels[kept & rows.correct], minlength=k)
    detected = torch.bincount(rows.labels[kept], minlength=k)
    boxes = rows.num_truths
    classes = [
        {"name": name, **_rates(*map(int, numbers))}
        for name, *numbers in zip(rows.names, true_positives, detected, boxes, strict=True)
    ]
    return {"all": _rates(int(true_positives.sum()), int(detected.sum()), int(boxes.sum())), "classes": classes}


def over_thresholds(matches: DetectionMatches, steps: int = 101) -> dict[str, list[float]]:
    """Precision, recall and F1 of all classes together at `steps` thresholds from 0 to 1; NaN where undefined.

    Returns:
        "threshold", "precision", "recall" and "f1", a list each.
    """
    rows = matches.counted
    grid = torch.linspace(0, 1, steps, dtype=torch.float64)
    boxes = int(rows.num_truths.sum())
    detected = len(rows) - torch.searchsorted(rows.scores.sort().values, grid)
    right = rows.scores[rows.correct].sort().values
    true_positives = len(right) - torch.searchsorted(right, grid)
    lines = [_rates(h, s, boxes) for h, s in zip(true_positives.tolist(), detected.tolist(), strict=True)]
    return {"threshold": grid.tolist(), **{key: [row[key] for row in lines] for key in ("precision", "recall", "f1")}}


def _rates(true_positives: int, detected: int, boxes: int) -> dict[str, Any]:
    return {
        "precision": true_positives / detected if detected else math.nan,
        "recall": true_positives / boxes if boxes else math.nan,
        "f1": 2 * true_positives / (detected + boxes) if detected + boxes else math.nan,
        "true_positives": true_positives,
        "false_positives": detected - true_positives,
        "missed": boxes - true_positives,
    }
