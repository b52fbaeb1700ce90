"""kornia (0.9): a softmax focal loss with alpha by "class 0 or not", unreduced over (B, C, *), and its binary loss."""

import torch
from torch import Tensor, nn

from .._reduce import NEVER
from ..losses import sigmoid_focal_loss as _focal
from ..losses import softmax_focal_loss as _softmax_focal


def focal_loss(
    pred: Tensor,
    target: Tensor,
    alpha: float | None,
    gamma: float = 2.0,
    reduction: str = "none",
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
) -> Tensor:
    """`kornia.losses.focal_loss`, a softmax focal loss.

    Surprises kept: alpha weighs every class but class 0, which gets 1 - alpha; "none" has the shape of `pred`, 0 but at
    the labels; "mean" divides by all its elements, so by C times the pixels, ignored ones included.

    Example:
        >>> focal_loss(torch.zeros(1, 2), torch.tensor([0]), alpha=None, reduction="mean")
        tensor(0.0866)
    """
    table = None
    if alpha is not None:
        table = torch.full((pred.shape[1],), float(alpha))
        table[0] = 1 - alpha
    skip = NEVER if ignore_index is None else ignore_index
    rows = _softmax_focal(pred, target, gamma=gamma, alpha=table, ignore_index=skip, reduction="none")
    kept = target != skip
    index = torch.where(kept, target, 0)
    if weight is not None:
        rows = rows * weight.to(rows)[index]
    full = torch.zeros_like(pred, dtype=rows.dtype).scatter(1, index.unsqueeze(1), rows.unsqueeze(1))
    return _finish(full, reduction)


def binary_focal_loss_with_logits(
    pred: Tensor,
    target: Tensor,
    alpha: float | None = 0.25,
    gamma: float = 2.0,
    reduction: str = "none",
    pos_weight: Tensor | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
) -> Tensor:
    """`kornia.losses.binary_focal_loss_with_logits`: soft targets by the "split" form.

    Surprises kept: "mean" counts ignored elements; `weight` and `pos_weight` are over the classes on axis 1.

    Example:
        >>> binary_focal_loss_with_logits(torch.zeros(1, 1), torch.ones(1, 1))
        tensor([[0.0433]])
    """
    skip = NEVER if ignore_index is None else ignore_index
    t = target.to(pred.dtype)
    loss = _focal(pred, t, alpha=alpha, gamma=gamma, ignore_index=skip, reduction="none")
    axis = [1, -1] + [1] * (pred.ndim - 2)
    if pos_weight is not None:
        on = _focal(pred, torch.ones_like(pred), alpha=alpha, gamma=gamma, reduction="none")
        loss = loss + torch.where(t == skip, 0.0, t * on * (pos_weight.to(loss).view(axis) - 1))
    if weight is not None:
        loss = loss * weight.to(loss).view(axis)
    return _finish(loss, reduction)


class FocalLoss(nn.Module):
    """`kornia.losses.FocalLoss`: `focal_loss` with remembered arguments; alpha has no default."""

    def __init__(
        self,
        alpha: float | None,
        gamma: float = 2.0,
        reduction: str = "none",
        weight: Tensor | None = None,
        ignore_index: int | None = -100,
    ) -> None:
        super().__init__()
        self.alpha, self.gamma, self.reduction, self.ignore_index = alpha, gamma, reduction, ignore_index
        self.register_buffer("weight", weight)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """The loss of logits (B, C, *) and labels (B, *)."""
        weight = self.weight if isinstance(self.weight, Tensor) else None
        return focal_loss(pred, target, self.alpha, self.gamma, self.reduction, weight, self.ignore_index)


def _finish(loss: Tensor, reduction: str) -> Tensor:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
    return {"none": loss, "mean": loss.mean(), "sum": loss.sum()}[reduction]
