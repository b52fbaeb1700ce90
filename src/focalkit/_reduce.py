"""The one place where weights, valid elements, reductions and normalisers meet.

An element is valid unless it is ignored or its weight is 0; one that is not is left out of the sum and of the mean's
denominator, and its gradient is 0. The mean over no element is 0. Nothing here reads a value from the device.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

REDUCTIONS = ("none", "sum", "mean")
NEVER = 2 - 2**31
"""The ignore_index of no target; the least that handwritten kernels read"""


def reduce(
    loss: Tensor,
    *,
    reduction: str,
    normalizer: float | Tensor | None = None,
    weight: Tensor | None = None,
    valid: Tensor | None = None,
) -> Tensor:
    """Weights, masks and reduces an unreduced loss.

    Args:
        loss: Unreduced loss, any shape.
        reduction: "none", "sum" or "mean" (over the valid elements).
        normalizer: Divides the sum instead of the mean's count: a number or a 0-d tensor.
        weight: Multiplies; fits `loss` as `fit_weight` says. Elements of weight 0 are not valid.
        valid: Where elements are valid; broadcasts against `loss`.
    """
    if weight is not None:
        weight = fit_weight(weight, loss.shape, loss.device)
        nonzero = weight != 0
        valid = nonzero if valid is None else valid & nonzero
        loss = loss * weight.to(loss.dtype)
    if valid is not None:
        loss = torch.where(valid, loss, 0.0)
    if reduction == "none":
        return loss
    count = loss.numel() if valid is None else valid.expand_as(loss).sum()
    return finish(loss.sum(), count, reduction=reduction, normalizer=normalizer)


def as_weight(weight: Any, device: torch.device) -> Tensor:
    """A weight as a tensor: also an array of numpy, a list or a number, which then lies on `device`.

    Raises:
        TypeError: It is no real numbers.
    """
    if not isinstance(weight, Tensor):
        try:
            weight = torch.as_tensor(weight, device=device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"weight must be a tensor, or an array or a list of numbers, got {weight!r}") from error
    if weight.is_complex():
        raise TypeError(f"weight must be real, got {weight.dtype}")
    return weight


def fit_weight(weight: Any, shape: Sequence[int], device: torch.device, class_dim: int | None = None) -> Tensor:
    """`weight`, where it fits an unreduced loss of `shape`: it broadcasts up to the loss and never enlarges it.

    It has as many axes as the loss, each of the loss's size or 1, or none at all. Fewer axes are refused: on a square
    batch a vector of rows would silently weigh the columns.

    Args:
        class_dim: The class axis of the logits where the loss has lost it: there a weight may keep it, with size 1.

    Raises:
        ValueError: It does not fit.
        TypeError: It is no real numbers.
    """
    weight = as_weight(weight, device)
    given = tuple(weight.shape)
    if class_dim is not None and weight.ndim == len(shape) + 1 and given[class_dim] == 1:
        weight = weight.squeeze(class_dim)
    fits = weight.ndim == len(shape) and all(w in (1, s) for w, s in zip(weight.shape, shape, strict=True))
    if not fits and weight.ndim:
        wanted = tuple(shape)
        rows = (*wanted[:1], *(1 for _ in wanted[1:]))
        raise ValueError(
            f"weight of shape {given} does not fit the unreduced loss of shape {wanted}: expected {len(wanted)} axes, "
            f"each of the loss's size or 1. One weight per row has shape {rows}"
            + ("; for one per class use class_weight" if len(wanted) > 1 else "")
        )
    return weight


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
