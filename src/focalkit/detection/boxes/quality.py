"""How good a positive prior is: what the relatives of RetinaNet teach their scores, or learn beside them.

`iou` and `centerness` compare boxes; `PredictedIoU(coder)` and `Centerness()` are the same for the positive priors of a
batch, as the terms of a criterion take them; `AssignedQuality()` is what the matcher said of them.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from focalkit._boxes import area, overlap
from focalkit.detection.boxes.points import distances
from focalkit.detection.types import BoxCoder


class Matched(Protocol):
    """Priors and ground-truth boxes (p, 4), the model's raw box outputs (p, channels), the matcher's quality (p,)."""

    @property
    def priors(self) -> Tensor: ...

    @property
    def deltas(self) -> Tensor: ...

    @property
    def boxes(self) -> Tensor: ...

    @property
    def assigned(self) -> Tensor | None: ...


@dataclass(frozen=True)
class PredictedIoU:
    """Overlap of the predicted with the true box (Li et al., 2020, sec. 3; Zhang et al., 2021, sec. 3.1).

    Attributes:
        coder: Turns the outputs into boxes.
    """

    coder: BoxCoder

    def __call__(self, positives: Matched) -> Tensor:
        return iou(self.coder.decode(positives.deltas, positives.priors), positives.boxes)


@dataclass(frozen=True)
class Centerness:
    """How near the prior's centre is to that of the true box (Tian et al., 2019, eq. 3)."""

    def __call__(self, positives: Matched) -> Tensor:
        return centerness(positives.priors, positives.boxes)


@dataclass(frozen=True)
class AssignedQuality:
    """What the matcher said: the aligned target of `TaskAlignedAssigner`, the IoU of `SimOTAAssigner`."""

    def __call__(self, positives: Matched) -> Tensor:
        if positives.assigned is None:
            raise ValueError("the matcher gives no quality: take one that looks at predictions, or PredictedIoU(coder)")
        return positives.assigned


def iou(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of boxes (..., 4), broadcast against each other; 0 where both are empty.

    Example:
        >>> box = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
        >>> iou(box, box + torch.tensor([2.0, 0.0, 2.0, 0.0]))
        tensor([0.3333])
    """
    shared, union = overlap(one, other)
    return shared / union.clamp(min=torch.finfo(shared.dtype).tiny)


def generalised_iou(one: Tensor, other: Tensor) -> Tensor:
    """IoU less the empty share of the enclosing box (Rezatofighi et al., 2019, arXiv 1902.09630), in [-1, 1].

    Args:
        one, other: (..., 4), xyxy, broadcast against each other.

    Example:
        >>> box = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
        >>> generalised_iou(box, box + 4)           # two quarters of the enclosing square
        tensor([-0.5000])
    """
    shared, union = overlap(one, other)
    low, high = torch.minimum(one[..., :2], other[..., :2]), torch.maximum(one[..., 2:], other[..., 2:])
    enclosing = area(torch.cat([low, high], dim=-1))
    tiny = torch.finfo(shared.dtype).tiny
    return shared / union.clamp(min=tiny) - (enclosing - union) / enclosing.clamp(min=tiny)


def centerness(priors: Tensor, true: Tensor) -> Tensor:
    """How near the priors' centres are to those of the true boxes (Tian et al., 2019, eq. 3); 0 outside of the box.

    Args:
        priors, true: (..., 4), xyxy.

    Example:
        >>> cell = torch.tensor([[0.0, 0.0, 8.0, 8.0]])
        >>> centerness(cell, torch.tensor([[2.0, 0.0, 12.0, 8.0]]))   # left 2, right 8: the root of 1/4
        tensor([0.5000])
    """
    found = distances(true, priors).clamp(min=0)
    low, high = (
        torch.stack([f(found[..., i], found[..., i + 2]) for i in (0, 1)]) for f in (torch.minimum, torch.maximum)
    )
    return (low / high.clamp(min=torch.finfo(low.dtype).tiny)).prod(dim=0).sqrt()
