"""The one place where weights, absent elements, reductions and normalisers meet.

An element is absent when it is ignored or its weight is 0: it is left out of the sum and of the mean's denominator, and
its gradient is 0. The mean over no element is 0. Nothing here reads a value from the device.
"""

import torch
from torch import Tensor

REDUCTIONS = ("none", "sum", "mean")


def reduce(
    loss: Tensor,
    *,
    reduction: str,
    normalizer: float | Tensor | None = None,
    weight: Tensor | None = None,
    counted: Tensor | None = None,
) -> Tensor:
    """Weights, masks and reduces an unreduced loss.

    Args:
        loss: Unreduced loss, any shape.
        reduction: "none", "sum" or "mean" (over the elements that count).
        normalizer: Divides the sum instead of the mean's count: a number or a 0-d tensor.
        weight: Multiplies; broadcasts against `loss`. Elements of weight 0 are absent.
        counted: False where an element is absent; broadcasts against `loss`.
    """
    if weight is not None:
        present = weight != 0
        counted = present if counted is None else counted & present
        loss = loss * weight.to(loss.dtype)
    if counted is not None:
        loss = torch.where(counted, loss, 0.0)
    if reduction == "none":
        return loss
    count = loss.numel() if counted is None else counted.expand_as(loss).sum()
    return finish(loss.sum(), count, reduction=reduction, normalizer=normalizer)


def finish(total: Tensor, count: int | Tensor, *, reduction: str, normalizer: float | Tensor | None = None) -> Tensor:
    """The sum, the sum over `normalizer`, or the mean over `count` elements (0 when there are none)."""
    if normalizer is not None:
        # subtle: two 0-d tensors promote, and a float64 count would make a float32 loss float64
        return total / (normalizer.to(total.dtype) if isinstance(normalizer, Tensor) else normalizer)
    if reduction == "sum":
        return total
    return total / (count.clamp(min=1) if isinstance(count, Tensor) else max(count, 1))


def not_ignored(labels: Tensor, ignore_index: int) -> Tensor:
    return labels.long() != ignore_index  # subtle: .long() first, uint8 takes -100 for 156
