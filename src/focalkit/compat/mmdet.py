"""mmdetection (3.3): background is label K, weights per row, `avg_factor`, and a reduction that calls may override."""

import torch
from torch import Tensor, nn

from .._numerics import upcast
from .._reduce import NEVER, fit_weight
from ..losses import distribution_focal_loss as _dfl
from ..losses import quality_focal_loss as _qfl
from ..losses import sigmoid_focal_loss as _focal
from ..losses import softmax_focal_loss as _softmax_focal
from ..losses import varifocal_loss as _vfl


def _reduce(loss: Tensor, weight: Tensor | None, reduction: str, avg_factor: float | Tensor | None) -> Tensor:
    """Weights, then: no avg_factor, the plain reduction; with it, "mean" divides by avg_factor + float32 epsilon."""
    if weight is not None:
        loss = loss * fit_weight(weight, loss.shape, loss.device)
    if avg_factor is None:
        return {"none": loss, "mean": loss.mean(), "sum": loss.sum()}[reduction]
    if reduction == "mean":
        return loss.sum() / (avg_factor + torch.finfo(torch.float32).eps)
    if reduction != "none":
        raise ValueError('avg_factor can not be used with reduction="sum"')
    return loss


def _per_row(weight: Tensor | None, loss: Tensor) -> Tensor | None:
    if weight is None or weight.shape == loss.shape:
        return weight
    return weight.view(-1, 1) if weight.numel() == loss.shape[0] else weight.view(loss.shape[0], -1)


class _Loss(nn.Module):
    def __init__(self, reduction: str, loss_weight: float) -> None:
        super().__init__()
        self.reduction, self.loss_weight = reduction, loss_weight

    def chosen(self, override: str | None) -> str:
        reduction = override or self.reduction
        if reduction not in ("none", "mean", "sum"):
            raise ValueError(f"reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
        return reduction


class FocalLoss(_Loss):
    """`mmdet.models.losses.FocalLoss`: targets are labels 0..K with K for background, or one-hot.

    Surprise kept: "mean" without avg_factor is over all elements, although the CUDA op alone divides by rows.

    Example:
        >>> FocalLoss()(torch.zeros(1, 2), torch.tensor([2]), avg_factor=1)
        tensor(0.2599)
    """

    def __init__(
        self,
        use_sigmoid: bool = True,
        gamma: float = 2.0,
        alpha: float = 0.25,
        reduction: str = "mean",
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(reduction, loss_weight)
        if not use_sigmoid:
            raise ValueError("mmdet's FocalLoss has only the sigmoid; use focalkit.softmax_focal_loss")
        self.gamma, self.alpha = gamma, alpha

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """The loss of logits (N, K)."""
        one_hot = target.ndim == pred.ndim
        target = target.to(pred.dtype) if one_hot else torch.where(target == pred.shape[1], -1, target)
        loss = _focal(
            pred,
            target,
            alpha=self.alpha,
            gamma=self.gamma,
            soft_targets="mix",
            ignore_index=NEVER,
            reduction="none",
        )
        reduction = self.chosen(reduction_override)
        return self.loss_weight * _reduce(loss, _per_row(weight, loss), reduction, avg_factor)


class QualityFocalLoss(_Loss):
    """`mmdet.models.losses.QualityFocalLoss`: targets (labels, scores), K for background; summed over the classes.

    Example:
        >>> target = (torch.tensor([0]), torch.tensor([0.9]))
        >>> QualityFocalLoss()(torch.zeros(1, 2), target)
        tensor(0.2842)
    """

    def __init__(
        self, use_sigmoid: bool = True, beta: float = 2.0, reduction: str = "mean", loss_weight: float = 1.0
    ) -> None:
        super().__init__(reduction, loss_weight)
        if not use_sigmoid:
            raise ValueError("quality focal loss has only the sigmoid")
        self.beta = beta

    def forward(
        self,
        pred: Tensor,
        target: tuple[Tensor, Tensor] | Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """The loss of logits (N, K)."""
        if isinstance(target, Tensor):
            dense = target
        else:
            label, score = target
            hot = label.unsqueeze(1) == torch.arange(pred.shape[1], device=pred.device)
            dense = torch.where(hot, score.unsqueeze(1).to(pred.dtype), 0.0)
        loss = _qfl(pred, dense, beta=self.beta, ignore_index=NEVER, reduction="none").sum(1)
        return self.loss_weight * _reduce(loss, weight, self.chosen(reduction_override), avg_factor)


class DistributionFocalLoss(_Loss):
    """`mmdet.models.losses.DistributionFocalLoss`: logits (N, n + 1), positions (N,) below n.

    Example:
        >>> DistributionFocalLoss()(torch.zeros(1, 4), torch.tensor([1.25]))
        tensor(1.3863)
    """

    def __init__(self, reduction: str = "mean", loss_weight: float = 1.0) -> None:
        super().__init__(reduction, loss_weight)

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """The loss of the positions."""
        loss = _dfl(pred, target, ignore_index=NEVER, reduction="none")
        return self.loss_weight * _reduce(loss, weight, self.chosen(reduction_override), avg_factor)


class VarifocalLoss(_Loss):
    """`mmdet.models.losses.VarifocalLoss`: dense qualities; "mean" is over all elements, the head passes avg_factor.

    Example:
        >>> VarifocalLoss()(torch.zeros(1, 1), torch.tensor([[0.8]]))
        tensor(0.5545)
    """

    def __init__(
        self,
        use_sigmoid: bool = True,
        alpha: float = 0.75,
        gamma: float = 2.0,
        iou_weighted: bool = True,
        reduction: str = "mean",
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(reduction, loss_weight)
        if not use_sigmoid:
            raise ValueError("varifocal loss has only the sigmoid")
        self.alpha, self.gamma, self.iou_weighted = alpha, gamma, iou_weighted

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """The loss of logits (N, K).

        Surprise kept: mmdet weighs negatives by alpha |p - q|^gamma, which is the paper's p^gamma at q = 0.
        """
        loss = _vfl(
            pred,
            target.to(pred.dtype),
            alpha=self.alpha,
            gamma=self.gamma,
            iou_weighted=self.iou_weighted,
            ignore_index=NEVER,
            reduction="none",
        )
        return self.loss_weight * _reduce(loss, weight, self.chosen(reduction_override), avg_factor)


class GaussianFocalLoss(_Loss):
    """`mmdet.models.losses.GaussianFocalLoss`: takes probabilities and adds 1e-12 inside the logarithm.

    Surprises kept: no loss exceeds 27.6, and a probability of exactly 0 or 1 has no gradient to leave it.

    Example:
        >>> GaussianFocalLoss()(torch.tensor([0.5]), torch.tensor([1.0]))
        tensor(0.1733)
    """

    def __init__(
        self,
        alpha: float = 2.0,
        gamma: float = 4.0,
        reduction: str = "mean",
        loss_weight: float = 1.0,
        pos_weight: float = 1.0,
        neg_weight: float = 1.0,
    ) -> None:
        super().__init__(reduction, loss_weight)
        self.alpha, self.gamma, self.pos_weight, self.neg_weight = alpha, gamma, pos_weight, neg_weight

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """The loss of probabilities, any shape."""
        eps, pred = 1e-12, upcast(pred)
        on = -(pred + eps).log() * (1 - pred) ** self.alpha * (target == 1)
        off = -(1 - pred + eps).log() * pred**self.alpha * (1 - target) ** self.gamma
        loss = self.pos_weight * on + self.neg_weight * off
        return self.loss_weight * _reduce(loss, weight, self.chosen(reduction_override), avg_factor)


def softmax_focal_loss(
    input: Tensor,
    target: Tensor,
    gamma: float = 2.0,
    alpha: float = 0.25,
    weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """`mmcv.ops.softmax_focal_loss`: alpha is a constant factor, a negative label loses nothing, "mean" is over the
    rows.

    Example:
        >>> softmax_focal_loss(torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.0433)
    """
    labels = torch.where(target >= 0, target, NEVER)
    loss = alpha * _softmax_focal(input, labels, gamma=gamma, ignore_index=NEVER, reduction="none")
    if weight is not None:
        loss = loss * weight[target.clamp(min=0)]
    return {"none": loss, "mean": loss.sum() / max(len(input), 1), "sum": loss.sum()}[reduction]
