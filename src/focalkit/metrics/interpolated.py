"""COCO's average precision of detections that are judged already: the best precision at 101 recalls."""

import torch
from torch import Tensor

RECALLS = torch.arange(101, dtype=torch.float64) * 0.01  # as NumPy and so pycocotools have them: .57 is 57 * .01


def interpolated_precision(right: Tensor, wrong: Tensor, boxes: int) -> Tensor:
    """The mean over 101 recalls of the best precision at that recall or more; 0 at recalls that are not reached.

    Args:
        right: Bool (n, ...): the detections of a class, the best scored first; more axes are ways of judging, such as
            IoU thresholds.
        wrong: Likewise. A detection that is neither, in a crowd region, counts for nothing.
        boxes: How many there are to find, at least 1.

    Returns:
        float64, of the further axes.

    Example:
        >>> right = torch.tensor([True, False, True])
        >>> interpolated_precision(right, ~right, boxes=2)
        tensor(0.8350, dtype=torch.float64)
    """
    if not len(right):
        return torch.zeros(right.shape[1:], dtype=torch.float64)
    found, false = (of.movedim(0, -1).cumsum(-1) for of in (right, wrong))
    precision = found / (found + false).clamp(min=1).double()
    best = precision.flip(-1).cummax(-1).values.flip(-1)
    recalls = RECALLS.expand(*right.shape[1:], -1).contiguous()
    at = torch.searchsorted(found.double() / boxes, recalls)
    reached = at < len(right)
    return torch.where(reached, best.gather(-1, at.clamp(max=len(right) - 1)), 0.0).sum(-1) / len(RECALLS)
