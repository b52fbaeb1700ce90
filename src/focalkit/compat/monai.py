"""MONAI (1.6): a focal loss on (B, N, spatial), one-vs-rest unless told otherwise, with its own means and sums."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .._numerics import focal_term, one_vs_rest, safe_pow, softplus, upcast


class FocalLoss(nn.Module):
    """`monai.losses.FocalLoss`.

    Surprises kept: sigmoids even with `to_onehot_y`, unless `use_softmax`; a number alpha is (alpha, 1 - alpha) with
    sigmoids, a list is alpha_c on positives and 1 on negatives; on a softmax a number gives class 0 the weight 1 -
    alpha and the others alpha, and is ignored without the background; soft targets modulate by sigmoid(-x (2t - 1));
    without the background channel the softmax is over the foreground alone; "sum" is the sum of the spatial means;
    "mean" divides by B N times the pixels. Not here: its `ignore_index`, with which "mean" no longer divides by N.

    Example:
        >>> FocalLoss()(torch.zeros(1, 1, 2), torch.ones(1, 1, 2))
        tensor(0.1733)
    """

    def __init__(
        self,
        include_background: bool = True,
        to_onehot_y: bool = False,
        gamma: float = 2.0,
        alpha: float | Sequence[float] | None = None,
        weight: Sequence[float] | float | Tensor | None = None,
        reduction: str = "mean",
        use_softmax: bool = False,
    ) -> None:
        super().__init__()
        if reduction not in ("none", "mean", "sum"):
            raise ValueError(f"reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
        self.include_background, self.to_onehot_y, self.use_softmax = include_background, to_onehot_y, use_softmax
        self.gamma, self.alpha, self.reduction = gamma, alpha, reduction
        table = None if weight is None else torch.as_tensor(weight, dtype=torch.float32)
        self.register_buffer("class_weight", table)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of logits (B, N, ...) and targets of that shape, or labels (B, 1, ...) with `to_onehot_y`."""
        classes = input.shape[1]
        if self.to_onehot_y and classes > 1:
            hot = target.long() == torch.arange(classes, device=target.device).view(-1, *[1] * (target.ndim - 2))
            target = hot
        if not self.include_background and classes > 1:
            input, target = input[:, 1:], target[:, 1:]
        if target.shape != input.shape:
            raise ValueError(f"target {tuple(target.shape)} must have the shape of the input {tuple(input.shape)}")
        x = upcast(input).float()
        t = target.to(x.dtype)
        loss = self._softmax(x, t) if self.use_softmax else self._sigmoid(x, t)
        table = self.class_weight if isinstance(self.class_weight, Tensor) else None
        if table is not None:
            loss = loss * table.to(loss).expand(loss.shape[1]).view(1, -1, *[1] * (loss.ndim - 2))
        if self.reduction == "sum":
            return loss.flatten(2).mean(-1).sum() if loss.ndim > 2 else loss.sum()
        return loss.mean() if self.reduction == "mean" else loss

    def _shaped(self, loss: Tensor) -> Tensor:
        values = torch.as_tensor(self.alpha, dtype=loss.dtype, device=loss.device)
        return values.view(1, -1, *[1] * (loss.ndim - 2))

    def _sigmoid(self, x: Tensor, t: Tensor) -> Tensor:
        bce = t * softplus(-x) + (1 - t) * softplus(x)
        loss = safe_pow(torch.sigmoid(-x * (2 * t - 1)), self.gamma) * bce
        if self.alpha is None:
            return loss
        if isinstance(self.alpha, int | float):
            return loss * (t * self.alpha + (1 - t) * (1 - self.alpha))
        return loss * (t * self._shaped(loss) + (1 - t))

    def _softmax(self, x: Tensor, t: Tensor) -> Tensor:
        loss = t * focal_term(one_vs_rest(x, 1), self.gamma)
        if self.alpha is None:
            return loss
        if isinstance(self.alpha, int | float):
            if not self.include_background:
                return loss
            table = torch.full((x.shape[1],), float(self.alpha), device=x.device)
            table[0] = 1 - self.alpha
            return loss * table.view(1, -1, *[1] * (x.ndim - 2))
        return loss * self._shaped(loss)
