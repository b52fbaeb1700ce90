"""COCO's average precision from detections that are judged already, so that resampled images need no new matching.

A detection of image i is judged once at each of the ten overlaps .5, .55, ..., .95: right, wrong, or neither (it lies
in a crowd region). What a sample of images needs is then to be sorted and counted.
"""

import numpy as np
import torch

from focalkit.metrics import Matches, best_f1_threshold, interpolated_precision

from .._task import Array, Outputs

OVERLAPS = np.linspace(0.5, 0.95, 10)
WRONG, RIGHT, NEITHER = 0, 1, 2
RARE, FREQUENT = 10, 100
"""LVIS (Gupta et al., 2019): classes in at most 10 training images are rare, in more than 100 frequent."""


def judge(boxes: Array, scores: Array, labels: Array, gt_boxes: Array, gt_labels: Array, crowd: Array) -> Array:
    """int8 (n, 10): WRONG, RIGHT or NEITHER at each overlap, by the rules of pycocotools.

    Args:
        boxes, scores, labels: Detections of one image: (n, 4) xyxy, (n,), (n,).
        gt_boxes, gt_labels, crowd: Its ground truth: (m, 4) xyxy, (m,), bool (m,).
    """
    found = np.full((len(boxes), len(OVERLAPS)), WRONG, dtype=np.int8)
    if not len(boxes) or not len(gt_boxes):
        return found
    iou = _overlap(boxes, gt_boxes, crowd)
    iou[labels[:, None] != gt_labels[None]] = -1
    free = np.repeat(~crowd[None], len(OVERLAPS), axis=0)
    least = np.minimum(OVERLAPS, 1 - 1e-10)
    every = np.arange(len(OVERLAPS))
    for row in np.argsort(-scores, kind="stable"):
        candidates = np.where(free, iou[row], -1)
        best = candidates.shape[1] - 1 - candidates[:, ::-1].argmax(1)  # of equal ones the last
        matched = candidates[every, best] >= least
        free[every[matched], best[matched]] = False
        found[row, matched] = RIGHT
        excused = ~matched & (np.where(crowd, iou[row], -1).max() >= least)
        found[row, excused] = NEITHER
    return found


def _overlap(boxes: Array, gt_boxes: Array, crowd: Array) -> Array:
    """(n, m) intersection over union; over the detection's own area where the box is a crowd region."""
    boxes, gt_boxes = boxes.astype(np.float64), gt_boxes.astype(np.float64)
    low, high = (
        np.maximum(boxes[:, None, :2], gt_boxes[None, :, :2]),
        np.minimum(boxes[:, None, 2:], gt_boxes[None, :, 2:]),
    )
    shared = (high - low).clip(min=0).prod(2)
    area, gt_area = (boxes[:, 2:] - boxes[:, :2]).prod(1)[:, None], (gt_boxes[:, 2:] - gt_boxes[:, :2]).prod(1)[None]
    union = np.where(crowd[None], area, area + gt_area - shared)
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def precisions(outputs: Outputs) -> tuple[Array, Array]:
    """The classes (c,) that have boxes, and their average precision (c, 10) at every overlap."""
    parts = outputs.parts
    counted = parts["truth.labels"][~parts["truth.crowd"]]
    classes, boxes = np.unique(counted, return_counts=True)
    labels = parts["detections.labels"]
    order = np.lexsort((-parts["detections.scores"], labels))
    starts = np.searchsorted(labels[order], classes, side="left")
    ends = np.searchsorted(labels[order], classes, side="right")
    judged = parts["detections.judged"]
    found = np.zeros((len(classes), len(OVERLAPS)))
    for c, (start, end, total) in enumerate(zip(starts, ends, boxes, strict=True)):
        if start < end:
            of_class = torch.from_numpy(judged[order[start:end]])
            found[c] = interpolated_precision(of_class == RIGHT, of_class == WRONG, int(total)).numpy()
    return classes, found


def best_threshold(outputs: Outputs) -> float:
    """The score with the best F1 at an overlap of .5, all classes together; .5 where nothing found is right."""
    judged, scores = (torch.from_numpy(outputs.parts[f"detections.{name}"]) for name in ("judged", "scores"))
    judged = judged[:, 0]
    boxes = torch.from_numpy(~outputs.parts["truth.crowd"])
    found = torch.zeros(int(boxes.sum()), dtype=torch.bool)
    nowhere = torch.full(judged.shape, -1)
    threshold, f1 = best_f1_threshold([scores], [Matches(judged == RIGHT, judged == NEITHER, nowhere, found)])
    return threshold if f1 > 0 else 0.5


def average_precision(outputs: Outputs) -> float:
    """AP of COCO: the mean over the classes that have boxes and over the overlaps .5 to .95."""
    return _mean(precisions(outputs)[1])


def ap50(outputs: Outputs) -> float:
    """AP at an overlap of .5."""
    return _mean(precisions(outputs)[1][:, 0])


def ap75(outputs: Outputs) -> float:
    """AP at an overlap of .75."""
    return _mean(precisions(outputs)[1][:, 5])


def ap_rare(outputs: Outputs) -> float:
    """AP of the classes in at most 10 training images."""
    return _of_classes(outputs, 0, RARE)


def ap_common(outputs: Outputs) -> float:
    """AP of the classes in 11 to 100 training images."""
    return _of_classes(outputs, RARE + 1, FREQUENT)


def ap_frequent(outputs: Outputs) -> float:
    """AP of the classes in more than 100 training images."""
    return _of_classes(outputs, FREQUENT + 1, np.iinfo(np.int64).max)


def _of_classes(outputs: Outputs, fewest: int, most: int) -> float:
    """NaN where no class that has boxes is in so many training images."""
    classes, found = precisions(outputs)
    images = dict(
        zip(outputs.parts["truth.labels"].tolist(), outputs.parts["truth.train_images"].tolist(), strict=True)
    )
    return _mean(found[[fewest <= images[c] <= most for c in classes.tolist()]])


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else float("nan")
