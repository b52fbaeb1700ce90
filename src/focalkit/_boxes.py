"""Areas and overlaps of boxes, xyxy: what the losses, the metrics and the matching of boxes share."""

import torch
from torch import Tensor


def area(boxes: Tensor) -> Tensor:
    """(..., 4) -> (...); a negative side counts as 0."""
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def intersection(one: Tensor, other: Tensor) -> Tensor:
    """The area that boxes share; both (..., 4), broadcast against each other."""
    low, high = torch.maximum(one[..., :2], other[..., :2]), torch.minimum(one[..., 2:], other[..., 2:])
    sides = (high - low).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def overlap(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Areas of intersection and union; both (..., 4), broadcast against each other."""
    shared = intersection(one, other)
    return shared, area(one) + area(other) - shared
