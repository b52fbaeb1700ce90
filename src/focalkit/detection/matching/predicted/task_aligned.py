"""Task-aligned assignment (TOOD, Feng et al., 2021, arXiv 2108.07755): each box takes the priors that classify and
locate it best at once. With the numbers of YOLOv8 and its successors, in pairs as YOLOv10 (Wang et al., 2024, arXiv
2405.14458), and with positives for boxes too small to contain a point (what YOLO26 describes as STAL).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from focalkit.detection.boxes.quality import iou
from focalkit.detection.matching.atss import INSIDE, settle
from focalkit.detection.matching.crowds import HideInCrowds
from focalkit.detection.matching.predicted.predictions import (
    BLOCK,
    Predictions,
    centers,
    inside,
    predictions_of,
    smallest,
)
from focalkit.detection.types import BACKGROUND, Assignment, BoxCoder, DenseOutputs, DetectionTarget

LEAST_IOU = 1e-4
"""Stands for an overlap of 0 in the order of a box's priors, which is then that of their scores."""
LEAST_QUALITY = 0.01
"""Of a positive of a small box that its prediction does not touch."""


@dataclass(frozen=True)
class TaskAlignedAssigner:
    """Match each box to the priors of the highest alignment t = s^alpha u^beta (Feng et al., 2021, sec. 3.2, eq. 4).

    s is the score of the box's class, u the IoU of the prediction with the box. Of the priors in a box the `top_k` are
    positive whose predictions overlap it; a prior that several boxes want goes to the one its prediction overlaps most.
    The quality of a positive, the target of its score, is t scaled so that the largest of each box is its largest u:
    `AssignedQuality()` gives it to the terms, whose sums are divided by the sum of the qualities.

    A box with a side below `small` is looked for in a region of that side around its centre, and its `top_k` count even
    where nothing overlaps yet, with a quality of at least .01: so it always has a positive, unless another box takes
    it. Twice the finest stride gives such a box four points at least.

    Attributes:
        coder: Reads the box outputs.
        alpha, beta: Exponents of score and IoU: 0.5 and 6 as YOLOv8, 1 and 6 as TOOD.
        top_k: Most priors of a box: 10 as YOLOv8, 13 as TOOD.
        small: Side in pixels below which a box is small; 0 is none.
        hide: Ignores unmatched priors that lie in a crowd region.

    Example:
        >>> TaskAlignedAssigner(DistanceCoder()).match(model(images), targets)     # doctest: +SKIP
    """

    coder: BoxCoder
    alpha: float = 0.5
    beta: float = 6.0
    top_k: int = 10
    small: float = 0.0
    hide: HideInCrowds = field(default_factory=HideInCrowds)

    def __post_init__(self) -> None:
        if not (self.alpha >= 0 and self.beta >= 0):
            raise ValueError(f"alpha and beta are exponents of at least 0, got {self.alpha} and {self.beta}")
        if self.top_k < 1:
            raise ValueError(f"top_k counts the priors of a box and must be at least 1, got {self.top_k}")
        if not self.small >= 0:
            raise ValueError(f"small is a side in pixels of at least 0, got {self.small}")

    @torch.no_grad()
    def match(self, outputs: DenseOutputs, targets: Sequence[DetectionTarget]) -> list[Assignment]:
        """Match a batch; `Assignment.quality` is the aligned target of each positive."""
        found = []
        for predictions, target in predictions_of(outputs, self.coder, targets):
            n, boxes = len(predictions.priors), target.boxes.float()
            gt_index = torch.full((n,), -1, device=boxes.device)
            labels, quality = torch.full_like(gt_index, BACKGROUND), predictions.strides.new_zeros(n)
            if len(boxes) and n:
                columns, alignment, overlap = self._candidates(predictions, boxes, target.labels)
                gt_index = settle(n, columns, torch.where(alignment > -torch.inf, overlap, -1.0))
                won = (gt_index[columns] == torch.arange(len(boxes), device=boxes.device)[:, None]) & (
                    alignment > -torch.inf
                )
                value = self._quality(alignment, overlap, won, self._is_small(boxes))
                quality = quality.scatter_reduce(0, columns.flatten(), value.flatten(), "amax")
                labels = torch.where(gt_index >= 0, target.labels[gt_index], labels)
            found.append(self.hide(Assignment(labels, gt_index, quality), predictions.priors, target.ignore_boxes))
        return found

    def _candidates(self, predictions: Predictions, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of each box the `top_k` priors, log t (-inf where it is no candidate) and IoU; (m, k) each."""
        log_s = self.alpha * F.logsigmoid(predictions.logits).t()
        found = []
        for rows in torch.arange(len(boxes), device=boxes.device).split(max(1, BLOCK // len(predictions.priors))):
            small, region = self._is_small(boxes[rows]), self._region(boxes[rows])
            overlap = iou(predictions.boxes, boxes[rows, None])
            log_t = log_s[labels[rows]] + self.beta * overlap.clamp(min=LEAST_IOU).log()
            may = inside(predictions.points, region, INSIDE) & ((overlap > 0) | small[:, None])
            cost, columns = smallest(torch.where(may, -log_t, torch.inf), self.top_k)
            found.append((columns, -cost, overlap.gather(1, columns)))
        columns, alignment, overlap = (torch.cat(parts) for parts in zip(*found, strict=True))
        return columns, alignment, overlap

    def _is_small(self, boxes: Tensor) -> Tensor:
        return (boxes[:, 2:] - boxes[:, :2]).amin(dim=1) < self.small

    def _region(self, boxes: Tensor) -> Tensor:
        """Where a box looks for priors: itself, with sides of at least `small`."""
        half = (boxes[:, 2:] - boxes[:, :2]).clamp(min=self.small) / 2
        return torch.cat([centers(boxes) - half, centers(boxes) + half], dim=1) if self.small else boxes

    def _quality(self, alignment: Tensor, overlap: Tensor, won: Tensor, small: Tensor) -> Tensor:
        """t / max t * max u over the priors that each box has won (sec. 3.3, t hat); 0 where it has not, (m, k)."""
        log_t = torch.where(won, alignment, -torch.inf)
        top = log_t.amax(dim=1, keepdim=True).nan_to_num(neginf=0.0)
        best = torch.where(won, overlap, 0.0).amax(dim=1, keepdim=True)
        aligned = (log_t - top).exp() * best
        return torch.where(won & small[:, None], aligned.clamp(min=LEAST_QUALITY), aligned)


def dual_assigners(many: TaskAlignedAssigner) -> tuple[TaskAlignedAssigner, TaskAlignedAssigner]:
    """`many` for a one-to-many head, and its pair for a one-to-one head that needs no suppression (Wang et al., 2024).

    Both align by the same alpha and beta, the paper's consistent matching metric: on equal predictions, the one prior
    that the second gives to a box is the best of those that the first gives to it.

    Example:
        >>> [a.top_k for a in dual_assigners(TaskAlignedAssigner(DistanceCoder()))]     # doctest: +SKIP
        [10, 1]
    """
    return many, replace(many, top_k=1)
