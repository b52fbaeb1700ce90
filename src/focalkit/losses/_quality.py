"""Losses for targets that say how good, or where: quality focal and distribution focal loss (Li et al., 2020, arXiv
2006.04388), varifocal loss (Zhang et al., 2021, arXiv 2008.13367), Gaussian focal loss (CornerNet and CenterNet, arXiv
1808.01244 and 1904.07850).

Their papers divide by a count or a sum of qualities: pass it as `normalizer`.
"""

import torch
from torch import Tensor

from .._numerics import finite, focal_term, modulator, softplus, upcast
from .._reduce import fit_weight, reduce
from .._types import Backend, PerClass, Reduction, Vector
from ..kernels.dispatch import single_pass
from ._checks import (
    check_backend,
    check_logits,
    check_range,
    check_reduction,
    class_axis,
    ignored_value,
    labels_shape,
    readable_any,
)
from ._focal_terms import soft_focal
from ._module import LossModule
from ._sigmoid import sigmoid_loss


@single_pass
def quality_focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    beta: PerClass = 2.0,
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Quality focal loss on sigmoids (Li et al., 2020, eq. 4): $|t - p|^\beta \, BCE(p, t)$, smallest at p = t.

    On targets 0 and 1 it is the focal loss without alpha.

    Args:
        targets: Quality in [0, 1], such as the IoU at the true class and 0 elsewhere; or class indices.
        beta: Focusing parameter, at least 0; a number or a vector over the classes.

    The other arguments are those of `sigmoid_focal_loss`.

    Example:
        >>> quality_focal_loss(torch.zeros(1), torch.tensor([0.9]))
        tensor(0.1109)
    """
    name = "quality_focal_loss"
    check_backend(backend)
    check_range("beta", beta, 0)
    return sigmoid_loss(
        name,
        logits,
        targets,
        lambda x, *, beta: focal_term(x, beta),
        lambda x, *, beta: focal_term(-x, beta),
        soft=lambda x, t, *, beta: soft_focal(x, t, beta, "qfl"),
        per_class={"beta": beta},
        class_weight=class_weight,
        weight=weight,
        ignore_index=ignore_index,
        class_dim=class_dim,
        reduction=reduction,
        normalizer=normalizer,
        backend=backend,
    )


@single_pass
def varifocal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: PerClass = 0.75,
    gamma: PerClass = 2.0,
    iou_weighted: bool = True,
    detach_modulator: bool = False,
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Varifocal loss on sigmoids (Zhang et al., 2021, eq. 2): positives weighted by quality, only negatives modulated.

    $$q \, BCE(p, q) \text{ for } q > 0, \quad -\alpha p^\gamma \log(1 - p) \text{ for } q = 0$$

    Args:
        targets: Quality q in [0, 1]; or class indices, whose quality is 1.
        alpha: Weight of the negatives, at least 0; a number or a vector over the classes.
        gamma: Focusing parameter of the negatives, at least 0.
        iou_weighted: Multiply positives by q.
        detach_modulator: Hold the weight $p^\gamma$ of negatives constant in the gradient, as RT-DETR and D-FINE do;
            VarifocalNet does not.

    The other arguments are those of `sigmoid_focal_loss`.

    Example:
        >>> varifocal_loss(torch.zeros(1), torch.tensor([0.8]))
        tensor(0.5545)
    """
    name = "varifocal_loss"
    check_backend(backend)
    check_range("alpha", alpha, 0)
    check_range("gamma", gamma, 0)

    def negative(x: Tensor, *, alpha: float | Tensor, gamma: float | Tensor) -> Tensor:
        if detach_modulator:
            return alpha * modulator(-x.detach(), gamma) * softplus(x)
        return alpha * focal_term(-x, gamma)

    def soft(x: Tensor, q: Tensor, *, alpha: float | Tensor, gamma: float | Tensor) -> Tensor:
        bce = q * softplus(-x) + (1 - q) * softplus(x)
        return torch.where(q > 0, q * bce if iou_weighted else bce, negative(x, alpha=alpha, gamma=gamma))

    return sigmoid_loss(
        name,
        logits,
        targets,
        lambda x, **_: softplus(-x),
        negative,
        soft=soft,
        per_class={"alpha": alpha, "gamma": gamma},
        class_weight=class_weight,
        weight=weight,
        ignore_index=ignore_index,
        class_dim=class_dim,
        reduction=reduction,
        normalizer=normalizer,
        backend=backend,
    )


@single_pass
def gaussian_focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float = 2.0,
    beta: float = 4.0,
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Focal loss for heat maps with Gaussian peaks (Law and Deng, 2018, eq. 1; Zhou et al., 2019, eq. 1), on logits.

    $$-(1 - p)^\alpha \log p \text{ at peaks } (Y = 1), \quad -(1 - Y)^\beta p^\alpha \log(1 - p) \text{ elsewhere}$$

    The papers divide the sum by the number of peaks: `normalizer=(targets == 1).sum().clamp(min=1)`.

    Args:
        targets: Heat map Y in [0, 1], exactly 1 at the peaks; or class indices.
        alpha: Focusing parameter, at least 0.
        beta: How fast the loss falls towards a peak, at least 0.

    The other arguments are those of `sigmoid_focal_loss`.

    Example:
        >>> gaussian_focal_loss(torch.zeros(1), torch.tensor([0.5]))
        tensor(0.0108)
    """
    name = "gaussian_focal_loss"
    check_backend(backend)
    check_range("alpha", alpha, 0)
    check_range("beta", beta, 0)
    return sigmoid_loss(
        name,
        logits,
        targets,
        lambda x: focal_term(x, alpha),
        lambda x: focal_term(-x, alpha),
        soft=lambda x, y: torch.where(y == 1, focal_term(x, alpha), (1 - y) ** beta * focal_term(-x, alpha)),
        class_weight=class_weight,
        weight=weight,
        ignore_index=ignore_index,
        class_dim=class_dim,
        reduction=reduction,
        normalizer=normalizer,
        backend=backend,
    )


def distribution_focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Distribution focal loss (Li et al., 2020, eq. 6): a softmax over positions 0..n, taught its two nearest
    neighbours.

    $$-((i + 1 - y) \log S_i + (y - i) \log S_{i+1}), \quad i \le y \le i + 1$$

    Args:
        logits: Scores of the n + 1 positions on `class_dim`.
        targets: Floating positions in [0, n], the shape of `logits` without `class_dim`.
        ignore_index: Value of `targets` that is not valid.
        weight, class_dim, reduction, normalizer, backend: As in `softmax_focal_loss`.

    Example:
        >>> distribution_focal_loss(torch.zeros(1, 4), torch.tensor([1.25]))
        tensor(1.3863)
    """
    name = "distribution_focal_loss"
    check_backend(backend, name)
    check_logits(logits, name)
    check_reduction(reduction, normalizer)
    ignore_index = ignored_value(ignore_index)
    dim = class_axis(logits, class_dim, name)
    if tuple(targets.shape) != labels_shape(logits, dim) or not targets.is_floating_point():
        raise ValueError(
            f"{name}: expected floating positions of shape {labels_shape(logits, dim)} (the logits "
            f"{tuple(logits.shape)} without axis {dim}), got {targets.dtype} {tuple(targets.shape)}"
        )
    last = logits.shape[dim] - 1
    if readable_any(lambda: ~((targets >= 0) & (targets <= last)) & (targets != ignore_index), targets):
        raise ValueError(
            f"{name}: positions must lie in [0, {last}] for {last + 1} logits; clamp them, or use more bins"
        )
    x = upcast(logits)
    valid = targets != ignore_index
    y = torch.where(valid, targets.to(x.dtype), 0.0)
    left = y.floor().clamp(max=max(last - 1, 0)).long()
    log_p = finite(torch.where(valid.unsqueeze(dim), x, 0.0).log_softmax(dim))
    at_left = log_p.gather(dim, left.unsqueeze(dim)).squeeze(dim)
    at_right = log_p.gather(dim, (left + 1).clamp(max=last).unsqueeze(dim)).squeeze(dim)
    share = y - left
    loss = -((1 - share) * at_left + share * at_right)
    weight = None if weight is None else fit_weight(weight, loss.shape, loss.device, dim)
    return reduce(loss, reduction=reduction, normalizer=normalizer, weight=weight, valid=valid)


class QualityFocalLoss(LossModule, function=quality_focal_loss):
    """`quality_focal_loss` with remembered arguments."""


class VarifocalLoss(LossModule, function=varifocal_loss):
    """`varifocal_loss` with remembered arguments."""


class GaussianFocalLoss(LossModule, function=gaussian_focal_loss):
    """`gaussian_focal_loss` with remembered arguments."""


class DistributionFocalLoss(LossModule, function=distribution_focal_loss):
    """`distribution_focal_loss` with remembered arguments."""
