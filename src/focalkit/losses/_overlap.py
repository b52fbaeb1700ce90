"""IoU of pairs of boxes, and what the IoU losses add to 1 - IoU: the maths behind `_boxes.py` and `_box_variants.py`.

A penalty is 0 for equal boxes and grows with what IoU cannot see: the empty share of the enclosing box (GIoU), the
distance of the centres (DIoU), the aspect (CIoU), the sides (EIoU). Boxes (..., 4), xyxy; without area they have finite
values and gradients, and no denominator has an epsilon.
"""

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from .._boxes import overlap

BoxLoss: TypeAlias = Literal["iou", "giou", "diou", "ciou", "eiou"]


def iou(p: Tensor, t: Tensor) -> Tensor:
    """(..., 4), (..., 4) -> (...)."""
    return divide(*overlap(p, t))


def divide(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and 0 with gradient 0 where b is 0; NaN stays NaN."""
    nothing = b == 0
    return torch.where(nothing, 0.0, a / torch.where(nothing, 1.0, b))


def sides(boxes: Tensor) -> Tensor:
    """Width and height, (..., 2); 0 where negative."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)


def enclosing(p: Tensor, t: Tensor) -> Tensor:
    """Width and height of the smallest box around both, (..., 2)."""
    return (torch.maximum(p[..., 2:], t[..., 2:]) - torch.minimum(p[..., :2], t[..., :2])).clamp(min=0)


def between_centers(p: Tensor, t: Tensor) -> Tensor:
    """From one centre to the other, (..., 2)."""
    return (p[..., :2] - t[..., :2] + (p[..., 2:] - t[..., 2:])) / 2  # subtle: exactly 0 for equal boxes


def giou_penalty(p: Tensor, t: Tensor) -> Tensor:
    """The empty share of the enclosing box (Rezatofighi et al., 2019, eq. 5)."""
    side = enclosing(p, t)
    whole = side[..., 0] * side[..., 1]
    return divide(whole - overlap(p, t)[1], whole)


def diou_penalty(p: Tensor, t: Tensor) -> Tensor:
    """(Distance of the centres)^2 / (diagonal of the enclosing box)^2 (Zheng et al., 2020, eq. 7)."""
    return divide(between_centers(p, t).square().sum(-1), enclosing(p, t).square().sum(-1))


def ciou_penalty(p: Tensor, t: Tensor) -> Tensor:
    """The penalty of DIoU plus that of the aspect (Zheng et al., 2020, eq. 9 to 11)."""
    v = 4 / math.pi**2 * (_aspect(t) - _aspect(p)) ** 2
    trade_off = divide(v, 1 - iou(p, t) + v).detach()  # subtle: no_grad would not hold it constant in forward mode
    return diou_penalty(p, t) + trade_off * v


def eiou_penalty(p: Tensor, t: Tensor) -> Tensor:
    """The penalty of DIoU plus the squared differences of the sides over those of the enclosing box (Zhang, 2022)."""
    return diou_penalty(p, t) + divide((sides(p) - sides(t)).square(), enclosing(p, t).square()).sum(-1)


def _aspect(boxes: Tensor) -> Tensor:
    """atan(width / height); 0, with gradient 0, for a point."""
    width, height = sides(boxes).unbind(-1)
    return torch.atan2(width, torch.where(width + height > 0, height, 1.0))


PENALTIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "iou": lambda p, t: p.new_zeros(p.shape[:-1]),
    "giou": giou_penalty,
    "diou": diou_penalty,
    "ciou": ciou_penalty,
    "eiou": eiou_penalty,
}
"""What the loss of that name adds to 1 - IoU."""
