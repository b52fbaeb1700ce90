"""Losses that shield rare classes from the negatives of frequent ones, without statistics of their own: equalization
loss and its softmax form (Tan et al., 2020, arXiv 2003.05176). Those that keep statistics are in
`_equalization_stateful.py`.
"""

import torch
from torch import Generator, Tensor

from .._numerics import label_logit, softplus
from .._reduce import reduce
from .._types import Backend, Reduction, Vector
from ._checks import check_backend, check_range, check_reduction, vector
from ._module import LossModule
from ._sigmoid import dense_targets
from ._softmax import label_loss


def equalization_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    frequency: Vector,
    threshold: float = 1.77e-3,
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Equalization loss on sigmoids (Tan et al., 2020, eq. 3 and 4): rare classes are no negatives of foreground rows.

    $$\sum_c w_c BCE_c, \quad w_c = 1 - E(r) \, T_\lambda(f_c) (1 - t_c)$$

    E is 1 for rows that hold an object, T is 1 for classes rarer than the threshold. The paper divides by the number of
    rows: pass it as `normalizer`.

    Args:
        frequency: Share of the training images that show each class, in [0, 1].
        threshold: lambda; 1.77e-3 for LVIS 0.5, 1.1e-3 for LVIS 1.0.

    The other arguments are those of `sigmoid_focal_loss`.

    Example:
        >>> equalization_loss(torch.zeros(1, 2), torch.tensor([0]), frequency=[0.5, 0.001], reduction="sum")
        tensor(0.6931)
    """
    name = "equalization_loss"
    check_backend(backend, name)
    check_reduction(reduction, normalizer)
    check_range("frequency", frequency, 0, 1, "it is the share of images that show the class")
    check_range("threshold", threshold, 0)
    given = dense_targets(name, logits, targets, ignore_index=ignore_index, class_dim=class_dim, weight=weight)
    x, t, valid, weight, dim = given
    rare = given.columns(vector("frequency", frequency, x.shape[dim], x, name)) < threshold
    shielded = rare & (t > 0).any(dim, keepdim=True)
    loss = t * softplus(-x) + (1 - t) * torch.where(shielded, 0.0, softplus(x))
    if class_weight is not None:
        by_class = given.columns(vector("class_weight", class_weight, x.shape[dim], x, name))
        weight = by_class if weight is None else weight * by_class
    return reduce(loss, reduction=reduction, normalizer=normalizer, weight=weight, valid=valid)


def softmax_equalization_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    frequency: Vector,
    threshold: float = 0.005,
    drop_prob: float = 0.9,
    generator: Generator | None = None,
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Softmax equalization loss (Tan et al., 2020, eq. 8 and 9): rare classes leave the denominator at random.

    $$-\log \frac{e^{x_y}}{\sum_k w_k e^{x_k}}, \quad w_k = 1 - \beta T_\lambda(f_k) (1 - 1[k = y]), \quad \beta \sim
    B(drop\_prob)$$

    Args:
        targets: Class indices.
        frequency: Share of the training examples of each class, in [0, 1].
        threshold: lambda: classes below it are rare.
        drop_prob: Probability in [0, 1] that a rare class leaves a row's denominator; the paper's gamma.
        generator: Source of the random numbers, on the device of the logits.

    The other arguments are those of `softmax_focal_loss`.

    Example:
        >>> x, y = torch.zeros(1, 2), torch.tensor([0])
        >>> softmax_equalization_loss(x, y, frequency=[0.9, 0.001], drop_prob=0.0)
        tensor(0.6931)
    """
    name = "softmax_equalization_loss"
    check_backend(backend, name)
    check_range("frequency", frequency, 0, 1, "it is the share of examples of the class")
    check_range("threshold", threshold, 0)
    check_range("drop_prob", drop_prob, 0, 1)

    def rows(x: Tensor, index: Tensor, valid: Tensor, dim: int) -> Tensor:
        shape = [-1 if d == dim else 1 for d in range(x.ndim)]
        rare = vector("frequency", frequency, x.shape[dim], x, name).view(shape) < threshold
        dropped = rare & (_uniform(x, generator) < drop_prob)
        kept = dropped.scatter(dim, index.unsqueeze(dim), False).logical_not()
        return softplus(-label_logit(torch.where(kept, x, float("-inf")), index, dim))

    return label_loss(
        name,
        logits,
        targets,
        rows,
        class_weight=class_weight,
        weight=weight,
        ignore_index=ignore_index,
        class_dim=class_dim,
        reduction=reduction,
        normalizer=normalizer,
    )


def _uniform(x: Tensor, generator: Generator | None) -> Tensor:
    """Random numbers in [0, 1), shaped like `x`."""
    if generator is None:  # subtle: under torch.compile with dynamic shapes even generator=None raises
        return torch.rand(x.shape, device=x.device)
    return torch.rand(x.shape, device=x.device, generator=generator)


class EqualizationLoss(LossModule, function=equalization_loss):
    """`equalization_loss` with remembered arguments."""


class SoftmaxEqualizationLoss(LossModule, function=softmax_equalization_loss):
    """`softmax_equalization_loss` with remembered arguments."""
