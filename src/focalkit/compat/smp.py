"""segmentation_models_pytorch (0.6): one class for binary, multi-label and "multiclass", all of them sigmoids."""

import torch
from torch import Tensor, nn

from .._numerics import softplus, upcast


class FocalLoss(nn.Module):
    """`segmentation_models_pytorch.losses.FocalLoss`.

    Surprises kept: "multiclass" is one sigmoid per class, each reduced on its own, and the mean over the classes, so
    that "sum" is the sum over C and "none" a number; p_t = e^-BCE, also for soft targets; the reduced form divides by
    the threshold and jumps there unless it is 1/2; `normalized` divides by the sum of the modulators and takes the mean
    after that.

    Args:
        mode: "binary", "multilabel" or "multiclass".
        alpha: Weight of positives, `1 - alpha` for negatives; `None` for none.
        gamma: Focusing parameter.
        ignore_index: Target value left out.
        reduction: "mean", "sum" or "none".
        normalized: Divide by the sum of the modulators.
        reduced_threshold: Threshold of the reduced form.

    Example:
        >>> FocalLoss("binary")(torch.zeros(1, 1, 2), torch.ones(1, 1, 2))
        tensor(0.1733)
    """

    def __init__(
        self,
        mode: str,
        alpha: float | None = None,
        gamma: float = 2.0,
        ignore_index: int | None = None,
        reduction: str = "mean",
        normalized: bool = False,
        reduced_threshold: float | None = None,
    ) -> None:
        super().__init__()
        if mode not in ("binary", "multilabel", "multiclass"):
            raise ValueError(f"mode must be 'binary', 'multilabel' or 'multiclass', got {mode!r}")
        self.mode, self.alpha, self.gamma, self.ignore_index = mode, alpha, gamma, ignore_index
        self.reduction, self.normalized, self.reduced_threshold = reduction, normalized, reduced_threshold

    def forward(self, y_pred: Tensor, y_true: Tensor) -> Tensor:
        """The loss of logits: (N, C, ...) with labels (N, ...) for "multiclass", one shape otherwise."""
        if self.mode != "multiclass":
            x, t = y_pred.flatten(), y_true.flatten()
            keep = None if self.ignore_index is None else t != self.ignore_index
            return self._one(x, t.to(x.dtype), keep)
        keep = None if self.ignore_index is None else y_true != self.ignore_index
        parts = [self._one(y_pred[:, c], (y_true == c).to(y_pred.dtype), keep) for c in range(y_pred.shape[1])]
        return torch.stack([p if p.ndim == 0 else p.mean() for p in parts]).mean()

    def _one(self, x: Tensor, t: Tensor, keep: Tensor | None) -> Tensor:
        x = upcast(x)
        if keep is not None:
            x, t = x[keep], t[keep]
        bce = t * softplus(-x) + (1 - t) * softplus(x)
        wrong = -torch.expm1(-bce)
        if self.reduced_threshold is None:
            factor = wrong.clamp(min=torch.finfo(x.dtype).tiny) ** self.gamma
        else:
            th = self.reduced_threshold
            factor = torch.where(torch.exp(-bce) < th, 1.0, (wrong / th).clamp(min=1e-37) ** self.gamma)
        loss = factor * bce
        if self.alpha is not None:
            loss = loss * (self.alpha * t + (1 - self.alpha) * (1 - t))
        if self.normalized:
            loss = loss / factor.sum().clamp(min=1e-6)
        return {"mean": loss.mean, "sum": loss.sum}.get(self.reduction, lambda: loss)()
