"""Variants of the IoU losses on xyxy boxes: (Focal-)EIoU, Focaler-IoU, Inner-IoU, Wise-IoU, Wasserstein distance.

Sources: Zhang et al. 2022 (arXiv 2101.08158), Zhang and Zhang 2024 (2401.10525) and 2023 (2311.02877), Tong et al. 2023
(2301.10051), Wang et al. 2021 (2110.13389). Factors that only say how much a box counts are held constant in the
gradient. Focaler and Inner replace the IoU in a loss and keep its penalty, so that each goes with all of `PENALTIES`.
Wise-IoU with its running mean is in `_box_running.py`. Not here: SIoU, alpha-IoU.
"""

import torch
from torch import Tensor

from .._numerics import safe_pow
from .._reduce import reduce
from .._types import Reduction
from ._boxes import check_boxes
from ._checks import TINY, check_choice, check_range
from ._module import LossModule
from ._overlap import PENALTIES, BoxLoss, between_centers, divide, eiou_penalty, enclosing, iou, sides


def eiou_loss(
    pred: Tensor,
    target: Tensor,
    *,
    gamma: float = 0.0,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
) -> Tensor:
    r"""EIoU, the DIoU loss plus the differences of the sides; Focal-EIoU at gamma 0.5 (Zhang et al., 2022).

    $$IoU^\gamma \left(1 - IoU + \frac{\rho^2}{C_w^2 + C_h^2} + \frac{(w - w_t)^2}{C_w^2} + \frac{(h - h_t)^2}{C_h^2}
    \right)$$

    rho is the distance of the centres, C the sides of the enclosing box. The factor is held constant in the gradient:
    with its own it would push boxes of IoU below gamma / (1 + gamma) away from their ground truth.

    Args:
        gamma: Exponent of the factor, at least 0; the paper's Focal-EIoU has 0.5, which lets well placed boxes count
            more. Divide by the sum of the factors, or mind that the loss becomes smaller.

    The other arguments are those of `giou_loss`.

    Example:
        >>> eiou_loss(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 3.0]]))
        tensor(0.9683)
    """
    p, t = check_boxes("eiou_loss", pred, target, reduction, normalizer)
    check_range("gamma", gamma, 0, hint="gamma=0 is EIoU, 0.5 the paper's Focal-EIoU")
    overlap = iou(p, t)
    loss = safe_pow(overlap.detach(), gamma) * (1 - overlap + eiou_penalty(p, t))
    return reduce(loss, reduction=reduction, normalizer=normalizer, weight=weight)


def focaler_iou_loss(
    pred: Tensor,
    target: Tensor,
    *,
    low: float = 0.0,
    high: float = 0.95,
    base: BoxLoss = "giou",
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
) -> Tensor:
    r"""Focaler-IoU: the IoU stretched over an interval, outside of which it teaches nothing (Zhang and Zhang, 2024).

    $$1 - \min\left(1, \max\left(0, \frac{IoU - d}{u - d}\right)\right) + \text{penalty}$$

    Args:
        low: d in [0, 1): raise it where easy boxes matter.
        high: u in (0, 1], above `low`: lower it where hard boxes matter.
        base: Whose penalty is added: "iou" (none), "giou", "diou", "ciou" or "eiou".

    The other arguments are those of `giou_loss`.

    Example:
        >>> focaler_iou_loss(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 3.0]]), base="iou")
        tensor(0.8496)
    """
    p, t = check_boxes("focaler_iou_loss", pred, target, reduction, normalizer)
    check_choice("base", base, list(PENALTIES))
    check_range("low", low, 0, 1)
    check_range("high", high, 0, 1)
    if not low < high:
        raise ValueError(f"low must be below high, got low={low!r} and high={high!r}")
    stretched = ((iou(p, t) - low) / (high - low)).clamp(0, 1)
    return reduce(1 - stretched + PENALTIES[base](p, t), reduction=reduction, normalizer=normalizer, weight=weight)


def inner_iou_loss(
    pred: Tensor,
    target: Tensor,
    *,
    ratio: float = 0.7,
    base: BoxLoss = "giou",
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
) -> Tensor:
    r"""Inner-IoU: the IoU of both boxes scaled about their centres, in the place of theirs (Zhang et al., 2023).

    $$1 - IoU(\text{scaled}) + \text{penalty}$$

    Args:
        ratio: Factor on the sides, greater than 0. Below 1 boxes that are nearly right teach more; above 1 boxes that
            miss one another meet. The paper tries 0.5 to 1.5; 1 is the base.
        base: Whose penalty is added: "iou" (none), "giou", "diou", "ciou" or "eiou".

    The other arguments are those of `giou_loss`.

    Example:
        >>> inner_iou_loss(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 3.0]]))
        tensor(1.1797)
    """
    p, t = check_boxes("inner_iou_loss", pred, target, reduction, normalizer)
    check_choice("base", base, list(PENALTIES))
    check_range("ratio", ratio, TINY, hint="it scales the boxes; ratio=1 is the base")
    loss = 1 - iou(_scaled(p, ratio), _scaled(t, ratio)) + PENALTIES[base](p, t)
    return reduce(loss, reduction=reduction, normalizer=normalizer, weight=weight)


def wiou_loss(
    pred: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
) -> Tensor:
    r"""Wise-IoU v1: 1 - IoU times a factor that grows with the distance of the centres (Tong et al., 2023).

    $$e^{\rho^2 / (C_w^2 + C_h^2)} (1 - IoU)$$

    The sides C of the enclosing box are held constant in the gradient, so that boxes are not taught to spread.
    `WIoUv3Loss` adds the paper's dynamic focusing. Arguments as in `giou_loss`.

    Example:
        >>> wiou_loss(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 3.0]]))
        tensor(0.9579)
    """
    p, t = check_boxes("wiou_loss", pred, target, reduction, normalizer)
    return reduce(wiou(p, t), reduction=reduction, normalizer=normalizer, weight=weight)


def nwd_loss(
    pred: Tensor,
    target: Tensor,
    *,
    constant: float = 12.8,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
) -> Tensor:
    r"""1 - normalised Wasserstein distance of the boxes taken for Gaussians (Wang et al., 2021).

    $$1 - e^{-W / C}, \quad W^2 = \Delta x^2 + \Delta y^2 + (\Delta w^2 + \Delta h^2) / 4$$

    It falls with the distance in pixels whether or not the boxes overlap, which suits tiny objects. Unlike the IoU
    losses it depends on the unit of length, and far away its gradient fades: add it to another box loss.

    Args:
        constant: C, about the mean size of the objects in pixels, greater than 0; 12.8 is that of AI-TOD.

    The other arguments are those of `giou_loss`.

    Example:
        >>> nwd_loss(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 3.0]]))
        tensor(0.1046)
    """
    p, t = check_boxes("nwd_loss", pred, target, reduction, normalizer)
    check_range("constant", constant, TINY, hint="it is about the mean size of the objects, in pixels")
    squared = between_centers(p, t).square().sum(-1) + (sides(p) - sides(t)).square().sum(-1) / 4
    apart = squared != 0  # subtle: the root has no gradient at 0
    distance = torch.where(apart, torch.where(apart, squared, 1.0).sqrt(), 0.0)
    return reduce(-torch.expm1(-distance / constant), reduction=reduction, normalizer=normalizer, weight=weight)


def wiou(p: Tensor, t: Tensor) -> Tensor:
    """The unreduced Wise-IoU v1."""
    diagonal = enclosing(p, t).square().sum(-1).detach()
    # subtle: the share is at most 1 for boxes; with swapped corners its exponential would overflow
    share = divide(between_centers(p, t).square().sum(-1), diagonal).clamp(max=1)
    return share.exp() * (1 - iou(p, t))


def _scaled(boxes: Tensor, ratio: float) -> Tensor:
    center, half = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]) * (ratio / 2)
    return torch.cat([center - half, center + half], -1)


class EIoULoss(LossModule, function=eiou_loss):
    """`eiou_loss` with remembered arguments."""


class FocalerIoULoss(LossModule, function=focaler_iou_loss):
    """`focaler_iou_loss` with remembered arguments."""


class InnerIoULoss(LossModule, function=inner_iou_loss):
    """`inner_iou_loss` with remembered arguments."""


class WIoULoss(LossModule, function=wiou_loss):
    """`wiou_loss` with remembered arguments."""


class NWDLoss(LossModule, function=nwd_loss):
    """`nwd_loss` with remembered arguments."""
