"""Losses on boxes: smooth L1 on deltas, and 1 - GIoU, DIoU, CIoU on xyxy boxes.

Sources: smooth L1, Girshick 2015 (arXiv 1504.08083, eq. 3) with the transition point beta of Detectron; GIoU,
Rezatofighi et al. 2019 (arXiv 1902.09630, eq. 5); DIoU and CIoU, Zheng et al. 2020 (arXiv 1911.08287, eq. 7, 9, 10).
A box without area has finite values and gradients. The maths of the IoU losses is in `_overlap.py`, their variants in
`_box_variants.py`. Not here: coding boxes as deltas (`detection`), rotated boxes.
"""

import torch
from torch import Tensor

from .._numerics import computed_in, upcast
from .._reduce import reduce
from .._types import Reduction
from ._checks import check_range, check_reduction
from ._module import LossModule
from ._overlap import ciou_penalty, diou_penalty, giou_penalty, iou


def smooth_l1_loss(
    pred: Tensor,
    target: Tensor,
    *,
    beta: float = 1 / 9,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
) -> Tensor:
    """d^2 / (2 beta) for |d| < beta, |d| - beta / 2 beyond; beta=0 is L1.

    Args:
        pred: Any shape.
        target: The same shape.
        beta: Where the parabola meets the line, at least 0.
        weight: Broadcasts against the unreduced loss; what has weight 0 is not valid.
        reduction: "none" (shape of `pred`), "sum", or "mean" over the valid elements.
        normalizer: Number or 0-d tensor that divides the sum instead.

    Example:
        >>> smooth_l1_loss(torch.tensor([2.0]), torch.tensor([0.0]), beta=1.0)
        tensor(1.5000)
    """
    _check("smooth_l1_loss", pred, target, reduction, normalizer)
    check_range("beta", beta, 0, hint="beta=0 is L1")
    d = (upcast(pred) - upcast(target)).abs()
    loss = d if beta == 0 else torch.where(d < beta, d * d / (2 * beta), d - beta / 2)
    return reduce(loss, reduction=reduction, normalizer=normalizer, weight=weight)


def l1_loss(
    pred: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
) -> Tensor:
    """|pred - target|, which is `smooth_l1_loss` at beta=0.

    Example:
        >>> l1_loss(torch.tensor([2.0]), torch.tensor([0.0]))
        tensor(2.)
    """
    return smooth_l1_loss(pred, target, beta=0.0, weight=weight, reduction=reduction, normalizer=normalizer)


def giou_loss(
    pred: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
) -> Tensor:
    """1 - GIoU, in [0, 2]: IoU minus the empty share of the enclosing box.

    Args:
        pred: Boxes (..., 4), xyxy, in one unit of length.
        target: The same shape.
        weight: Broadcasts against the unreduced loss (...,); what has weight 0 is not valid.
        reduction: "none" (one number per box), "sum", or "mean" over the valid boxes.
        normalizer: Number or 0-d tensor that divides the sum instead.

    Example:
        >>> giou_loss(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 3.0]]))
        tensor(1.0794)
    """
    p, t = check_boxes("giou_loss", pred, target, reduction, normalizer)
    return reduce(1 - iou(p, t) + giou_penalty(p, t), reduction=reduction, normalizer=normalizer, weight=weight)


def diou_loss(
    pred: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
) -> Tensor:
    """1 - IoU + (distance of the centres)^2 / (diagonal of the enclosing box)^2, in [0, 2].

    Arguments as in `giou_loss`.

    Example:
        >>> diou_loss(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 3.0]]))
        tensor(0.9683)
    """
    p, t = check_boxes("diou_loss", pred, target, reduction, normalizer)
    return reduce(1 - iou(p, t) + diou_penalty(p, t), reduction=reduction, normalizer=normalizer, weight=weight)


def ciou_loss(
    pred: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
) -> Tensor:
    """The DIoU loss plus a v, v the squared difference of the aspect angles times 4 / pi^2 and a = v / (1 - IoU + v).

    a is held constant in the gradient, as the paper does. Arguments as in `giou_loss`.

    Example:
        >>> ciou_loss(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 3.0]]))
        tensor(0.9683)
    """
    p, t = check_boxes("ciou_loss", pred, target, reduction, normalizer)
    return reduce(1 - iou(p, t) + ciou_penalty(p, t), reduction=reduction, normalizer=normalizer, weight=weight)


def _check(name: str, pred: Tensor, target: Tensor, reduction: str, normalizer: float | Tensor | None) -> None:
    check_reduction(reduction, normalizer)
    if pred.shape != target.shape:
        raise ValueError(f"{name}: pred {tuple(pred.shape)} and target {tuple(target.shape)} must have the same shape")
    if not pred.is_floating_point():
        raise TypeError(f"{name}: pred must be floating point, got {pred.dtype}")


def check_boxes(
    name: str, pred: Tensor, target: Tensor, reduction: str, normalizer: float | Tensor | None
) -> tuple[Tensor, Tensor]:
    """Checks the arguments of a loss on xyxy boxes, and gives both in the dtype that losses are computed in."""
    _check(name, pred, target, reduction, normalizer)
    if pred.ndim == 0 or pred.shape[-1] != 4:
        raise ValueError(f"{name}: expected xyxy boxes (..., 4), got {tuple(pred.shape)}")
    return upcast(pred), upcast(target).to(computed_in(pred))


class SmoothL1Loss(LossModule, function=smooth_l1_loss):
    """`smooth_l1_loss` with remembered arguments."""


class L1Loss(LossModule, function=l1_loss):
    """`l1_loss` with remembered arguments."""


class GIoULoss(LossModule, function=giou_loss):
    """`giou_loss` with remembered arguments."""


class DIoULoss(LossModule, function=diou_loss):
    """`diou_loss` with remembered arguments."""


class CIoULoss(LossModule, function=ciou_loss):
    """`ciou_loss` with remembered arguments."""
