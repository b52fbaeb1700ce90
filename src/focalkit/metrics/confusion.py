"""The confusion matrix of a detector at its operating point, with background as a class of its own."""

from collections.abc import Sequence

import torch
from torch import Tensor

from focalkit._boxes import overlap

from .detection_calibration import per_class
from .detection_matches import DetectionMatches
from .pairing import greedy, pairs


def confusion_matrix(matches: DetectionMatches, score_threshold: float | Sequence[float] | Tensor = 0.0) -> Tensor:
    """How often a box of each class was taken for each class or for background, and what was found where nothing is.

    Detections take boxes of their own class first, as they were matched; those left over take boxes left over, best
    score first, whatever the class, if they overlap to the same threshold. Ignored detections (in crowds) are left out.

    Args:
        matches: What `match_coco` returned.
        score_threshold: Detections scored lower are left out: one number, or one per class in ascending category id.

    Returns:
        int64 (k + 1, k + 1): true class by predicted class, background last; the corner is 0.

    Example:
        >>> truth = {
        ...     "images": [{"id": 1}],
        ...     "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        ...     "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 50, 50]}],
        ... }
        >>> found = [{"image_id": 1, "category_id": 2, "bbox": [0, 0, 50, 40], "score": 0.9}]
        >>> confusion_matrix(match_coco(truth, found)).tolist()
        [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    """
    rows = matches.where(matches.scores >= per_class(score_threshold, matches)[matches.labels]).counted
    k = len(rows.names)
    predicted = torch.full((len(rows.truth_labels),), k, dtype=torch.int64)
    predicted[rows.gt_index[rows.correct]] = rows.labels[rows.correct]
    left = rows.where(~rows.correct)
    i, j = pairs(left.images, rows.truth_images)
    free = predicted[j] == k
    i, j = i[free], j[free]
    shared, union = overlap(left.boxes[i], rows.truth_boxes[j])
    ious = torch.where(union > 0, shared / union, 0.0)
    near = ious >= max(rows.iou_threshold, 1e-12)
    taken, _ = greedy(left.scores, i[near], j[near], ious[near], predicted < k, last=False)
    predicted[taken[taken >= 0]] = left.labels[taken >= 0]
    spurious = torch.bincount(left.labels[taken < 0], minlength=k)
    table = torch.bincount(rows.truth_labels * (k + 1) + predicted, minlength=k * (k + 1)).view(k, k + 1)
    return torch.cat([table, torch.cat([spurious, spurious.new_zeros(1)])[None]])
