"""Which detections are right, at one IoU threshold: COCO's greedy rule, image by image, with the matches themselves.

COCO AP hides who matched whom; galleries, error analysis and the choice of a threshold need it.

Not here: recall-interpolated AP (`coco_ap`), masks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from focalkit._boxes import area, intersection, overlap


@dataclass(frozen=True)
class Matches:
    """The verdict on the n detections of one image against its m boxes.

    Attributes:
        correct: bool (n,): took a box of its own class.
        ignored: bool (n,): neither right nor wrong, because it covers a crowd region.
        gt_index: int64 (n,): the box taken, -1 for none.
        found: bool (m,): the box was taken by a detection.
    """

    correct: Tensor
    ignored: Tensor
    gt_index: Tensor
    found: Tensor

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN), with ignored detections left out; 1 where there is nothing to find or to say."""
        true_positives = int(self.correct.sum())
        false_positives = int((~self.correct & ~self.ignored).sum())
        false_negatives = int((~self.found).sum())
        total = 2 * true_positives + false_positives + false_negatives
        return 2 * true_positives / total if total else 1.0


def iou_matrix(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of every pair: (n, 4), (m, 4) xyxy -> (n, m). A pair of empty boxes has 0."""
    shared, union = overlap(boxes[:, None], others)
    return torch.where(union > 0, shared / union, 0.0)


def match_detections(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    gt_boxes: Tensor,
    gt_labels: Tensor,
    *,
    crowd_boxes: Tensor | None = None,
    crowd_labels: Tensor | None = None,
    iou_threshold: float = 0.5,
) -> Matches:
    """Give every detection, best score first, the free box of its class that it overlaps most (at least the threshold).

    A detection left over that lies in a crowd region of its class to the extent of the threshold (intersection over the
    detection's own area, as in COCO) is ignored.

    Args:
        boxes: (n, 4) xyxy.
        scores: (n,).
        labels: (n,) integer.
        gt_boxes: (m, 4) xyxy, crowds not among them.
        gt_labels: (m,) integer.
        crowd_boxes: (r, 4) xyxy.
        crowd_labels: (r,) integer; None lets a crowd region excuse every class.
        iou_threshold: Least overlap that counts.
    """
    n, m = len(boxes), len(gt_boxes)
    gt_index = torch.full((n,), -1, dtype=torch.int64)
    found = torch.zeros(m, dtype=torch.bool)
    if n and m:
        ious = iou_matrix(boxes, gt_boxes).masked_fill(labels[:, None] != gt_labels[None], -1).cpu()
        for row in scores.argsort(descending=True, stable=True).tolist():
            free = ious[row].masked_fill(found, -1)
            best = int(free.argmax())
            if free[best] >= iou_threshold:
                gt_index[row] = best
                found[best] = True
    correct = gt_index >= 0
    ignored = torch.zeros(n, dtype=torch.bool)
    if n and crowd_boxes is not None and len(crowd_boxes):
        shared = intersection(boxes[:, None], crowd_boxes)
        inside = shared / area(boxes)[:, None].clamp(min=torch.finfo(boxes.dtype).tiny)
        if crowd_labels is not None:
            inside = inside.masked_fill(labels[:, None] != crowd_labels[None], 0)
        ignored = (inside >= iou_threshold).any(1).cpu() & ~correct
    return Matches(correct, ignored, gt_index, found)


def best_f1_threshold(scores: Sequence[Tensor], matches: Sequence[Matches]) -> tuple[float, float]:
    """The score threshold with the highest F1 over all images together, and that F1; (1, 0) where nothing is right.

    Args:
        scores: (n_i,) of each image.
        matches: Of the same images, in the same order.
    """
    total = sum(len(m.found) for m in matches)
    if not total or not any(len(s) for s in scores):
        return 1.0, 0.0
    counted = [~m.ignored for m in matches]
    flat = torch.cat([s.cpu().double()[keep] for s, keep in zip(scores, counted, strict=True)])
    correct = torch.cat([m.correct[keep] for m, keep in zip(matches, counted, strict=True)])
    order = flat.argsort(descending=True, stable=True)
    flat, true_positives = flat[order], correct[order].cumsum(0).double()
    f1 = 2 * true_positives / (torch.arange(1, len(flat) + 1) + total)
    # subtle: a threshold keeps all detections of equal score, so only the last of each run of ties can be cut at
    last_of_ties = torch.ones(len(flat), dtype=torch.bool)
    last_of_ties[:-1] = flat[:-1] != flat[1:]
    f1 = f1.masked_fill(~last_of_ties, -1)
    if not len(f1) or float(f1.max()) <= 0:
        return 1.0, 0.0
    best = int(f1.argmax())
    return float(flat[best]), float(f1[best])
