"""How good a positive prior is: what the relatives of RetinaNet teach their scores, or learn beside them.

Each is called with the predicted and the true boxes and the priors, all (..., 4), and returns (...) in [0, 1].
"""

import torch
from torch import Tensor

from focalkit.detection.boxes.points import distances


def iou(predicted: Tensor, true: Tensor, priors: Tensor) -> Tensor:
    """Overlap of the predicted with the true box (Li et al., 2020, sec. 3; Zhang et al., 2021, sec. 3.1).

    Example:
        >>> box = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
        >>> iou(box, box + torch.tensor([2.0, 0.0, 2.0, 0.0]), box)
        tensor([0.3333])
    """
    side = (torch.minimum(predicted[..., 2:], true[..., 2:]) - torch.maximum(predicted[..., :2], true[..., :2])).clamp(
        min=0
    )
    overlap = side.prod(dim=-1)
    mine, theirs = ((boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1) for boxes in (predicted, true))
    return overlap / (mine + theirs - overlap).clamp(min=torch.finfo(overlap.dtype).tiny)


def centerness(predicted: Tensor, true: Tensor, priors: Tensor) -> Tensor:
    """How near the prior's centre is to that of the true box (Tian et al., 2019, eq. 3); 0 outside of the box.

    Example:
        >>> cell = torch.tensor([[0.0, 0.0, 8.0, 8.0]])
        >>> centerness(cell, torch.tensor([[2.0, 0.0, 12.0, 8.0]]), cell)   # left 2, right 8: the root of 1/4
        tensor([0.5000])
    """
    found = distances(true, priors).clamp(min=0)
    low, high = (
        torch.stack([f(found[..., i], found[..., i + 2]) for i in (0, 1)]) for f in (torch.minimum, torch.maximum)
    )
    return (low / high.clamp(min=torch.finfo(low.dtype).tiny)).prod(dim=0).sqrt()
