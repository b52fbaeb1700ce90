"""Localisation-recall-precision error (Oksuz et al., 2018 and 2021) and the score cut that makes it least."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .detection_calibration import per_class
from .detection_matches import DetectionMatches, match_coco


@dataclass(frozen=True)
class LRP:
    """LRP errors; 0 is best, 1 is worst. Classes without ground truth are NaN and left out of the means.

    Attributes:
        error: Mean over the classes.
        localisation: Mean 1 - IoU of the true positives, over the classes that have some.
        false_positives: Mean share of detections that are wrong, over the classes that have detections.
        false_negatives: Mean share of boxes not found.
        per_class: (k,) errors.
        thresholds: (k,) score cuts: detections scored at least this count. Above 1 where it is best to say nothing.
        names: Of the classes.
    """

    error: float
    localisation: float
    false_positives: float
    false_negatives: float
    per_class: Tensor
    thresholds: Tensor
    names: tuple[str, ...]


def lrp(
    ground_truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    *,
    tau: float = 0.5,
    score_threshold: float | Sequence[float] | Tensor | None = None,
    max_detections: int = 100,
) -> LRP:
    r"""LRP, and without a score threshold optimal LRP: per class the least over all score cuts.

    $$LRP = \frac{N_{FP} + N_{FN} + \sum_{TP} \frac{1 - IoU}{1 - \tau}}{N_{TP} + N_{FP} + N_{FN}}$$

    Args:
        ground_truth: As `coco_ap` takes it.
        detections: As `coco_ap` takes them, with scores in [0, 1].
        tau: IoU from which a detection is a true positive, in [0, 1).
        score_threshold: One number, or one per class in ascending category id; None looks for the best per class among
            all cuts between different scores; of equally good ones it takes the highest.
        max_detections: Per image and class.

    Raises:
        InputError: As `match_coco`.

    Example:
        >>> truth = {
        ...     "images": [{"id": 1}],
        ...     "categories": [{"id": 3, "name": "cat"}],
        ...     "annotations": [{"image_id": 1, "category_id": 3, "bbox": [0, 0, 50, 50]}],
        ... }
        >>> found = [{"image_id": 1, "category_id": 3, "bbox": [0, 0, 50, 40], "score": 0.9}]
        >>> round(lrp(truth, found).error, 3)   # (1 - 0.8) / 0.5
        0.4
    """
    return matches_lrp(
        match_coco(ground_truth, detections, iou_threshold=tau, max_detections=max_detections), score_threshold
    )


def matches_lrp(matches: DetectionMatches, score_threshold: float | Sequence[float] | Tensor | None = None) -> LRP:
    """`lrp` of detections that are matched already, at their own IoU threshold."""
    given = None if score_threshold is None else per_class(score_threshold, matches)
    rows = matches.counted
    table = torch.full((len(matches.names), 5), torch.nan, dtype=torch.float64)
    for c, boxes in enumerate(matches.num_truths.tolist()):
        if boxes:
            of = rows.labels == c
            cut = None if given is None else float(given[c])
            table[c] = _one_class(rows.scores[of], rows.iou[of], rows.correct[of], boxes, matches.iou_threshold, cut)
    error, localisation, wrong, missed = table[:, :4].nanmean(0).tolist()
    return LRP(error, localisation, wrong, missed, table[:, 0], table[:, 4], matches.names)


def _one_class(scores: Tensor, iou: Tensor, correct: Tensor, boxes: int, tau: float, given: float | None) -> Tensor:
    """Error, localisation, share of false positives, share of false negatives, cut."""
    order = scores.argsort(descending=True, stable=True)
    scores, iou, correct = scores[order], iou[order], correct[order]
    zero = torch.zeros(1, dtype=torch.float64)
    # entry i: the i best detections are kept; entry 0 keeps none
    tp = torch.cat([zero, correct.double().cumsum(0)])
    distance = torch.cat([zero, torch.where(correct, 1 - iou, 0).cumsum(0)])
    kept = torch.arange(len(scores) + 1, dtype=torch.float64)
    fp, fn = kept - tp, boxes - tp
    errors = (fp + fn + distance / (1 - tau)) / (tp + fp + fn)
    if given is None:
        possible = torch.ones(len(errors), dtype=torch.bool)
        possible[1:-1] = scores[:-1] != scores[1:]  # equal scores are kept or cut together
        at = int(errors.masked_fill(~possible, torch.inf).argmin())  # the first: the highest cut
        cut = float(scores[at - 1]) if at else float(torch.nextafter(torch.tensor(1.0), torch.tensor(2.0)))
    else:
        at, cut = int((scores >= given).sum()), given
    localisation = float(distance[at] / tp[at])  # NaN without a true positive
    wrong = float(fp[at] / kept[at])
    return torch.tensor([float(errors[at]), localisation, wrong, float(fn[at] / boxes), cut], dtype=torch.float64)
