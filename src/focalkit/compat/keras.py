"""Keras (3): probabilities clipped to [1e-7, 1 - 1e-7], means over the last axis, alpha that needs a switch."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .._numerics import upcast

_EPSILON = 1e-7


def _reduce(loss: Tensor, reduction: str | None) -> Tensor:
    if reduction in (None, "none"):
        return loss
    if reduction == "sum":
        return loss.sum()
    if reduction in ("sum_over_batch_size", "mean"):
        return loss.mean()
    raise ValueError(f"reduction must be 'sum_over_batch_size', 'sum' or None, got {reduction!r}")


class BinaryFocalCrossentropy(nn.Module):
    """`keras.losses.BinaryFocalCrossentropy`, called as `loss(y_true, y_pred)`.

    Surprises kept: alpha does nothing without `apply_class_balancing`; probabilities are clipped, so that no loss
    exceeds 16.1 and no gradient comes from beyond; the unreduced loss is the mean over the last axis; smoothed targets
    use the "mix" form.

    Example:
        >>> BinaryFocalCrossentropy(from_logits=True)(torch.ones(1, 1), torch.zeros(1, 1))
        tensor(0.1733)
    """

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
    ) -> None:
        super().__init__()
        self.apply_class_balancing, self.alpha, self.gamma = apply_class_balancing, alpha, gamma
        self.from_logits, self.label_smoothing, self.axis, self.reduction = (
            from_logits,
            label_smoothing,
            axis,
            reduction,
        )

    def forward(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The loss of targets and predictions of one shape."""
        y_pred = upcast(y_pred)
        p = (y_pred.sigmoid() if self.from_logits else y_pred).clamp(_EPSILON, 1 - _EPSILON)
        t = y_true.to(p.dtype)
        if self.label_smoothing:
            t = t * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        p_t = t * p + (1 - t) * (1 - p)
        loss = (1 - p_t) ** self.gamma * -(t * p.log() + (1 - t) * (1 - p).log())
        if self.apply_class_balancing:
            loss = (t * self.alpha + (1 - t) * (1 - self.alpha)) * loss
        return _reduce(loss.mean(self.axis), self.reduction)


class CategoricalFocalCrossentropy(nn.Module):
    """`keras.losses.CategoricalFocalCrossentropy`, called as `loss(y_true, y_pred)` with one-hot targets.

    Surprises kept: a number alpha multiplies every class; probabilities are normalised, then clipped; with smoothing
    each class is modulated by its own probability (the "split" form).

    Example:
        >>> CategoricalFocalCrossentropy(from_logits=True)(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2))
        tensor(0.0433)
    """

    def __init__(
        self,
        alpha: float | Sequence[float] = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
    ) -> None:
        super().__init__()
        self.alpha, self.gamma, self.from_logits = alpha, gamma, from_logits
        self.label_smoothing, self.axis, self.reduction = label_smoothing, axis, reduction

    def forward(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The loss of one-hot targets and predictions of one shape, the classes on `axis`."""
        y_pred = upcast(y_pred)
        p = y_pred.softmax(self.axis) if self.from_logits else y_pred
        p = (p / p.sum(self.axis, keepdim=True)).clamp(_EPSILON, 1 - _EPSILON)
        t = y_true.to(p.dtype)
        if self.label_smoothing:
            t = t * (1 - self.label_smoothing) + self.label_smoothing / p.shape[self.axis]
        alpha = torch.as_tensor(self.alpha, dtype=p.dtype, device=p.device)
        if alpha.ndim:
            shape = [1] * p.ndim
            shape[self.axis] = -1
            alpha = alpha.view(shape)
        loss = alpha * (1 - p) ** self.gamma * -t * p.log()
        return _reduce(loss.sum(self.axis), self.reduction)
