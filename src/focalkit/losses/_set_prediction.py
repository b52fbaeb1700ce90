r"""Classification losses of set predictors, for quality targets.

Sources: matchability-aware loss, DEIM, Huang et al. 2025 (arXiv 2412.04234); IoU-aware binary cross-entropy,
Align-DETR, Cai et al. 2023 (2304.07527), with the weights of LW-DETR, Chen et al. 2024 (2406.03459);
position-supervised focal loss, Stable-DINO, Liu et al. 2023 (2304.04742).

All divide their sum by the number of matched boxes: `normalizer`. A target of exactly 0 is a negative: give a matched
pair that does not overlap a small positive quality. They differ in what is held constant in the gradient: the weight
$p^\gamma$ of a negative by MAL's authors, and not by those of IA-BCE; at p = 1/2 and gamma 2 that is a gradient of
.125 or of .2983.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from .._numerics import focal_term, modulator, softplus
from .._types import Backend, PerClass, Reduction, Vector
from ..kernels.dispatch import single_pass
from ._checks import check_backend, check_range
from ._focal_terms import check_focal, complement, soft_focal
from ._module import LossModule
from ._sigmoid import sigmoid_loss


@single_pass
def matchability_aware_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: PerClass = 1.5,
    alpha: PerClass | None = None,
    detach_modulator: bool = True,
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Matchability-aware loss, MAL (Huang et al., 2025): matches of low quality still raise or lower a score.

    $$BCE(p, q^\gamma) \text{ for } q > 0, \quad -\alpha p^\gamma \log(1 - p) \text{ for } q = 0$$

    Varifocal loss multiplies positives by q, which leaves poor matches without a gradient; MAL does not.

    Args:
        targets: Quality q in [0, 1], the IoU of the matched pair at its class and 0 elsewhere; or class indices, whose
            quality is 1.
        gamma: Focusing parameter, at least 0; a number or a vector over the classes.
        alpha: Weight of the negatives, at least 0; `None` is 1, as in the paper.
        detach_modulator: Hold the weight $p^\gamma$ constant in the gradient, as the authors' code does.

    The other arguments are those of `sigmoid_focal_loss`.

    Example:
        >>> matchability_aware_loss(torch.zeros(1), torch.tensor([0.8]))
        tensor(0.6931)
    """
    name = "matchability_aware_loss"
    check_backend(backend)
    check_range("gamma", gamma, 0)
    if alpha is not None:
        check_range("alpha", alpha, 0)

    def negative(x: Tensor, *, gamma: float | Tensor, alpha: float | Tensor) -> Tensor:
        if detach_modulator:
            return alpha * modulator(-x.detach(), gamma) * softplus(x)
        return alpha * focal_term(-x, gamma)

    def soft(x: Tensor, q: Tensor, *, gamma: float | Tensor, alpha: float | Tensor) -> Tensor:
        goal = q**gamma
        bce = goal * softplus(-x) + (1 - goal) * softplus(x)
        return torch.where(q > 0, bce, negative(x, gamma=gamma, alpha=alpha))

    return sigmoid_loss(
        name,
        logits,
        targets,
        lambda x, **_: softplus(-x),
        negative,
        soft=soft,
        per_class={"gamma": gamma, "alpha": 1.0 if alpha is None else alpha},
        class_weight=class_weight,
        weight=weight,
        ignore_index=ignore_index,
        class_dim=class_dim,
        reduction=reduction,
        normalizer=normalizer,
        backend=backend,
    )


@single_pass
def iou_aware_bce_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: PerClass = 0.25,
    gamma: PerClass = 2.0,
    floor: PerClass = 0.01,
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""IoU-aware binary cross-entropy, IA-BCE (Align-DETR; LW-DETR, Chen et al., 2024): a target between the
    score and the quality.

    $$BCE(p, t) \text{ for } q > 0, \quad t = \max(p^\alpha q^{1 - \alpha}, \text{floor}), \quad -p^\gamma \log(1 - p)
    \text{ for } q = 0$$

    t is held constant in the gradient; the weight $p^\gamma$ of the negatives is not, as in the authors' code.

    Args:
        targets: Quality q in [0, 1], the IoU of the matched pair at its class and 0 elsewhere; or class indices, whose
            quality is 1.
        alpha: Share of the score in the target, in [0, 1]; a number or a vector over the classes.
        gamma: Focusing parameter of the negatives, at least 0.
        floor: The smallest target of a positive, in [0, 1]; a number or a vector over the classes.

    The other arguments are those of `sigmoid_focal_loss`.

    Example:
        >>> iou_aware_bce_loss(torch.ones(1), torch.tensor([0.8]))
        tensor(0.5311)
    """
    name = "iou_aware_bce_loss"
    check_backend(backend)
    check_range("alpha", alpha, 0, 1, "it is the share of the score in the target; the paper uses 0.25")
    check_range("gamma", gamma, 0)
    check_range("floor", floor, 0, 1)

    def positive(x: Tensor, q: Tensor | float, *, alpha: float | Tensor, floor: float | Tensor) -> Tensor:
        goal = (alpha * F.logsigmoid(x.detach())).exp() * q ** (1 - alpha)
        goal = goal.clamp(min=floor)  # pyright: ignore[reportCallIssue, reportArgumentType]
        return goal * softplus(-x) + (1 - goal) * softplus(x)

    def soft(x: Tensor, q: Tensor, *, alpha: float | Tensor, gamma: float | Tensor, floor: float | Tensor) -> Tensor:
        return torch.where(q > 0, positive(x, q, alpha=alpha, floor=floor), focal_term(-x, gamma))

    return sigmoid_loss(
        name,
        logits,
        targets,
        lambda x, *, alpha, floor, **_: positive(x, 1.0, alpha=alpha, floor=floor),
        lambda x, *, gamma, **_: focal_term(-x, gamma),
        soft=soft,
        per_class={"alpha": alpha, "gamma": gamma, "floor": floor},
        class_weight=class_weight,
        weight=weight,
        ignore_index=ignore_index,
        class_dim=class_dim,
        reduction=reduction,
        normalizer=normalizer,
        backend=backend,
    )


@single_pass
def position_supervised_focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: PerClass | None = 0.25,
    gamma: PerClass = 2.0,
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Position-supervised focal loss (Stable-DINO, Liu et al., 2023): $\alpha_t |t - p|^\gamma \, BCE(p, t)$.

    t is a measure of the position alone, in the paper the IoU of the matched pair over the largest of its image:
    `targets / targets.amax(dim=(1, 2), keepdim=True).clamp(min=1e-8)` for (b, n, k). Without alpha it is the quality
    focal loss.

    Args:
        targets: Quality t in [0, 1], 0 at the classes that are not true; or class indices, whose quality is 1.
        alpha: Weight where t > 0, `1 - alpha` elsewhere; `None` for none.
        gamma: Focusing parameter, at least 0; a number or a vector over the classes.

    The other arguments are those of `sigmoid_focal_loss`.

    Example:
        >>> position_supervised_focal_loss(torch.zeros(1), torch.tensor([0.9]))
        tensor(0.0277)
    """
    name = "position_supervised_focal_loss"
    check_backend(backend)
    check_focal(alpha, gamma)

    def soft(
        x: Tensor, t: Tensor, *, pos_weight: float | Tensor, neg_weight: float | Tensor, gamma: float | Tensor
    ) -> Tensor:
        loss = soft_focal(x, t, gamma, "qfl")
        return torch.where(t > 0, pos_weight * loss, neg_weight * loss)

    return sigmoid_loss(
        name,
        logits,
        targets,
        lambda x, *, pos_weight, gamma, **_: pos_weight * focal_term(x, gamma),
        lambda x, *, neg_weight, gamma, **_: neg_weight * focal_term(-x, gamma),
        soft=soft,
        per_class={
            "pos_weight": 1.0 if alpha is None else alpha,
            "neg_weight": 1.0 if alpha is None else complement(alpha),
            "gamma": gamma,
        },
        class_weight=class_weight,
        weight=weight,
        ignore_index=ignore_index,
        class_dim=class_dim,
        reduction=reduction,
        normalizer=normalizer,
        backend=backend,
    )


class MatchabilityAwareLoss(LossModule, function=matchability_aware_loss):
    """`matchability_aware_loss` with remembered arguments."""


class IoUAwareBCELoss(LossModule, function=iou_aware_bce_loss):
    """`iou_aware_bce_loss` with remembered arguments."""


class PositionSupervisedFocalLoss(LossModule, function=position_supervised_focal_loss):
    """`position_supervised_focal_loss` with remembered arguments."""
