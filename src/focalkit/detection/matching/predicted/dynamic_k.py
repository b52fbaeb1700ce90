"""Assignment by cost, as many priors for each box as its predictions overlap it: SimOTA and dynamic soft labels.

Sources: YOLOX (Ge et al., 2021, arXiv 2107.08430, sec. 2 "SimOTA"), after OTA (2103.14259); RTMDet (Lyu et al., 2022,
arXiv 2212.07784, sec. 3.3, eq. 1 to 4). What the papers leave open is settled as in the authors' code, and equal costs
go to the first prior and the first box, so that the answer is the same on every device.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from focalkit.detection.boxes.quality import iou
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


class Costs(Protocol):
    """How an assigner of this file prices pairs of priors and boxes."""

    @property
    def top_k(self) -> int: ...

    def near(self, priors: Tensor, boxes: Tensor) -> Tensor:
        """Which priors (n, 4) suit each box (g, 4), bool (g, n); a prior that suits none takes no part."""
        ...

    def costs(self, predictions: Predictions, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Cost and IoU of each pair, float32 (g, n)."""
        ...


@dataclass(frozen=True)
class SimOTAAssigner:
    """SimOTA (Ge et al., 2021): each box takes its cheapest priors, as many as the sum of its best IoUs.

    The cost of a pair is the cross-entropy of all classes, plus `iou_weight` times -log IoU; priors in the box and
    within `radius` strides of its centre are preferred to those in either alone, others are out of the question. Of
    several boxes that want a prior, the cheapest of all gets it.

    Attributes:
        coder: Reads the box outputs.
        top_k: Of how many IoUs the sum is taken, the most priors that a box gets.
        radius: Half the side of the square around the centre, in strides.
        iou_weight: Weight of the IoU's cost.
        hide: Ignores unmatched priors that lie in a crowd region.

    Example:
        >>> SimOTAAssigner(DistanceCoder()).match(model(images), targets)     # doctest: +SKIP
    """

    coder: BoxCoder
    top_k: int = 10
    radius: float = 2.5
    iou_weight: float = 3.0
    hide: HideInCrowds = field(default_factory=HideInCrowds)

    def __post_init__(self) -> None:
        _check(self.top_k, self.iou_weight, radius=self.radius)

    def match(self, outputs: DenseOutputs, targets: Sequence[DetectionTarget]) -> list[Assignment]:
        """Match a batch; `Assignment.quality` is the IoU of the prediction with its box."""
        return _match(self, outputs, targets, self.coder, self.hide)

    def near(self, priors: Tensor, boxes: Tensor) -> Tensor:
        """Priors in a box, or within `radius` strides of its centre."""
        return self._central(priors, boxes) | inside(centers(priors), boxes)

    def costs(self, predictions: Predictions, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Cost and IoU of each pair, (g, n)."""
        log_p = F.logsigmoid(predictions.logits)
        log_not_p = F.logsigmoid(-predictions.logits)
        if predictions.quality is not None:  # the root of class times quality, as YOLOX scores
            log_p = (log_p + F.logsigmoid(predictions.quality)[:, None]) / 2
            log_not_p = torch.log(-torch.expm1(log_p.clamp(max=-1e-7)))
        entropy = -log_not_p.sum(dim=1) + (log_not_p - log_p).t()[labels]
        overlap = iou(predictions.boxes, boxes[:, None])
        best = self._central(predictions.priors, boxes) & inside(predictions.points, boxes)
        return entropy - self.iou_weight * torch.log(overlap + 1e-8) + torch.where(best, 0.0, FAR), overlap

    def _central(self, priors: Tensor, boxes: Tensor) -> Tensor:
        reach = self.radius * (priors[:, 2] - priors[:, 0])
        return (centers(priors) - centers(boxes)[:, None]).abs().amax(dim=-1) < reach


FAR = 1e5
"""What SimOTA adds for priors outside of the box or of its centre: more than any sum of the other costs."""


@dataclass(frozen=True)
class DynamicSoftLabelAssigner:
    """Dynamic soft labels (RTMDet, Lyu et al., 2022, sec. 3.3): as SimOTA, with a cost that knows the IoU.

    The cost of a pair is the quality focal loss of all classes with the IoU as the target, plus `iou_weight` times
    -log IoU, plus 10^(distance - radius), the distance of the prior from the box's centre in strides. Priors in any of
    the boxes take part.

    Attributes:
        coder: Reads the box outputs.
        top_k: Of how many IoUs the sum is taken, the most priors that a box gets.
        radius: Distance in strides from which the centre's cost grows beyond 1.
        iou_weight: Weight of the IoU's cost.
        hide: Ignores unmatched priors that lie in a crowd region.

    Example:
        >>> DynamicSoftLabelAssigner(DistanceCoder()).match(model(images), targets)     # doctest: +SKIP
    """

    coder: BoxCoder
    top_k: int = 13
    radius: float = 3.0
    iou_weight: float = 3.0
    hide: HideInCrowds = field(default_factory=HideInCrowds)

    def __post_init__(self) -> None:
        _check(self.top_k, self.iou_weight, radius=self.radius)

    def match(self, outputs: DenseOutputs, targets: Sequence[DetectionTarget]) -> list[Assignment]:
        """Match a batch; `Assignment.quality` is the IoU of the prediction with its box."""
        return _match(self, outputs, targets, self.coder, self.hide)

    def near(self, priors: Tensor, boxes: Tensor) -> Tensor:
        """Priors in a box."""
        return inside(centers(priors), boxes)

    def costs(self, predictions: Predictions, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Cost and IoU of each pair, (g, n)."""
        overlap = iou(predictions.boxes, boxes[:, None])
        background = predictions.logits.sigmoid().square() * F.softplus(predictions.logits)
        x = predictions.logits.t()[labels]
        focal = (overlap - x.sigmoid()).square() * (F.softplus(x) - overlap * x)
        # subtle: the other classes' losses are those of background, so that no (g, n, k) is held
        classes = background.sum(dim=1) + focal - background.t()[labels]
        distance = (predictions.points - centers(boxes)[:, None]).square().sum(dim=-1).sqrt() / predictions.strides
        return classes - self.iou_weight * torch.log(overlap + 1e-7) + 10 ** (distance - self.radius), overlap


@torch.no_grad()
def _match(
    assigner: Costs,
    outputs: DenseOutputs,
    targets: Sequence[DetectionTarget],
    coder: BoxCoder,
    hide: HideInCrowds,
) -> list[Assignment]:
    found = []
    for predictions, target in predictions_of(outputs, coder, targets):
        gt_index = torch.full_like(predictions.strides, -1, dtype=torch.int64)
        labels, quality = torch.full_like(gt_index, BACKGROUND), torch.zeros_like(predictions.strides)
        boxes = target.boxes.float()
        if len(boxes):
            rows = _near_any(assigner, predictions.priors, boxes).nonzero()[:, 0]
            gt_index[rows] = _settle(assigner, predictions.at(rows), boxes, target.labels)
            taken = gt_index >= 0
            labels = torch.where(taken, target.labels[gt_index], labels)
            quality = torch.where(taken, iou(predictions.boxes, boxes[gt_index]), quality)
        found.append(hide(Assignment(labels, gt_index, quality), predictions.priors, target.ignore_boxes))
    return found


def _near_any(assigner: Costs, priors: Tensor, boxes: Tensor) -> Tensor:
    """Which priors suit any box, bool (n,)."""
    found = torch.zeros(len(priors), dtype=torch.bool, device=priors.device)
    for block in boxes.split(max(1, BLOCK // len(priors))):
        found |= assigner.near(priors, block).any(dim=0)
    return found


def _settle(assigner: Costs, predictions: Predictions, boxes: Tensor, labels: Tensor) -> Tensor:
    """For each prior the box that gets it, or -1; int64 (n,)."""
    n, m, device = len(predictions.priors), len(boxes), boxes.device
    if not n:
        return torch.zeros(0, dtype=torch.int64, device=device)
    least, cheapest = boxes.new_full((n,), torch.inf), torch.zeros(n, dtype=torch.int64, device=device)
    columns, wanted = [], []
    step = max(1, BLOCK // n)
    for start in range(0, m, step):
        block = slice(start, start + step)
        cost, overlap = assigner.costs(predictions, boxes[block], labels[block])
        count = overlap.topk(min(assigner.top_k, n), dim=1).values.sum(dim=1).int().clamp(min=1)
        chosen = smallest(cost, assigner.top_k)[1]
        columns.append(chosen)
        wanted.append(torch.arange(chosen.shape[1], device=device) < count[:, None])
        top, row = smallest(cost.t(), 1)
        better = top[:, 0] < least
        least, cheapest = torch.where(better, top[:, 0], least), torch.where(better, row[:, 0] + start, cheapest)
    chosen, claims = torch.cat(columns), torch.cat(wanted)
    flat = torch.where(claims, chosen, n).flatten()  # column n stands for "none"
    rows = torch.arange(m, device=device).repeat_interleave(chosen.shape[1])
    claimants = torch.zeros(n + 1, dtype=torch.int64, device=device).scatter_add(0, flat, torch.ones_like(flat))[:n]
    owner = torch.full((n + 1,), -1, device=device).scatter(0, flat, rows)[:n]
    # subtle: the cheapest of all boxes, also of those that did not claim it, as in the authors' code
    return torch.where(claimants > 1, cheapest, owner)


def _check(top_k: int, iou_weight: float, radius: float) -> None:
    if top_k < 1:
        raise ValueError(f"top_k counts the priors that a box may get and must be at least 1, got {top_k}")
    if not iou_weight >= 0:
        raise ValueError(f"iou_weight must be at least 0, got {iou_weight}")
    if not radius > 0:
        raise ValueError(f"radius counts strides and must be positive, got {radius}")
