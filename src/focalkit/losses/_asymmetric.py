r"""Asymmetric losses (Ridnik et al., 2021, arXiv 2009.14119): own focusing for positives and negatives, easy ones
dropped.

The defaults are the paper's; the authors' code ships gamma_pos=1, a detached modulator and a sum (see
`focalkit.compat.asl`).
"""

import torch
from torch import Tensor

from .._numerics import focal_term, modulator, safe_pow, softplus
from .._types import Backend, PerClass, Reduction, Vector
from ..kernels.dispatch import single_pass
from ._checks import check_backend, check_range
from ._module import LossModule
from ._sigmoid import sigmoid_loss
from ._softmax import softmax_loss


@single_pass
def asymmetric_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma_pos: PerClass = 0.0,
    gamma_neg: PerClass = 4.0,
    margin: float = 0.05,
    detach_modulator: bool = False,
    label_smoothing: float = 0.0,
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Asymmetric loss on sigmoids (Ridnik et al., 2021, eq. 7), for many labels of which few are true.

    $$L_+ = -(1 - p)^{\gamma_+} \log p, \quad L_- = -p_m^{\gamma_-} \log(1 - p_m), \quad p_m = \max(p - m, 0)$$

    At equal gammas and margin 0 it is the focal loss without alpha.

    Args:
        gamma_pos: Focusing of the positives, at least 0; a number or a vector over the classes.
        gamma_neg: Focusing of the negatives, at least 0; a number or a vector over the classes.
        margin: m in [0, 1): negatives with p below it lose nothing.
        detach_modulator: Hold the modulating factor constant in the gradient, as the authors' code does.
        label_smoothing: s turns targets 1 and 0 into 1 - s/2 and s/2.

    The other arguments are those of `sigmoid_focal_loss`.

    Example:
        >>> asymmetric_loss(torch.zeros(1), torch.zeros(1))
        tensor(0.0245)
    """
    name = "asymmetric_loss"
    check_backend(backend)
    check_range("gamma_pos", gamma_pos, 0)
    check_range("gamma_neg", gamma_neg, 0)
    if not 0 <= margin < 1:
        raise ValueError(f"margin must be at least 0 and below 1, got {margin!r}; the paper uses 0.05, and 0 for none")

    def positive(x: Tensor, *, gamma_pos: float | Tensor, **_: float | Tensor) -> Tensor:
        if detach_modulator:
            return modulator(x, gamma_pos).detach() * softplus(-x)
        return focal_term(x, gamma_pos)

    def negative(x: Tensor, *, gamma_neg: float | Tensor, **_: float | Tensor) -> Tensor:
        if margin == 0:
            return modulator(-x, gamma_neg).detach() * softplus(x) if detach_modulator else focal_term(-x, gamma_neg)
        p = (torch.sigmoid(x) - margin).clamp(min=0)
        factor = safe_pow(p, gamma_neg)
        return (factor.detach() if detach_modulator else factor) * -torch.log1p(-p)

    return sigmoid_loss(
        name,
        logits,
        targets,
        positive,
        negative,
        per_class={"gamma_pos": gamma_pos, "gamma_neg": gamma_neg},
        label_smoothing=label_smoothing,
        class_weight=class_weight,
        weight=weight,
        ignore_index=ignore_index,
        class_dim=class_dim,
        reduction=reduction,
        normalizer=normalizer,
        backend=backend,
    )


def asymmetric_softmax_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma_pos: PerClass = 0.0,
    gamma_neg: PerClass = 4.0,
    label_smoothing: float = 0.1,
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Asymmetric loss on a softmax (Ridnik et al., 2021, the authors' single-label form).

    $$-\sum_c q_c w_c \log p_c, \quad w_y = (1 - p_y)^{\gamma_+}, \quad w_{c \ne y} = p_c^{\gamma_-}$$

    q is the label smoothed by s: 1 - s + s/K at y and s/K elsewhere. The weights follow the hard label. Without
    smoothing it is the softmax focal loss at gamma_pos.

    Args:
        gamma_pos: Focusing of the true class, at least 0; a number or a vector over the classes.
        gamma_neg: Focusing of the other classes, at least 0; a number or a vector over the classes.
        label_smoothing: s in [0, 1).

    The other arguments are those of `softmax_focal_loss`.

    Example:
        >>> asymmetric_softmax_loss(torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.6607)
    """
    name = "asymmetric_softmax_loss"
    check_backend(backend, name)
    check_range("gamma_pos", gamma_pos, 0)
    check_range("gamma_neg", gamma_neg, 0)
    check_range("label_smoothing", label_smoothing, 0, 1)

    def rows(u: Tensor, t: Tensor, dim: int, *, gamma_pos: float | Tensor, gamma_neg: float | Tensor) -> Tensor:
        rest = label_smoothing / u.shape[dim]
        of_label = t * (1 - label_smoothing + rest) * focal_term(u, gamma_pos)
        return (of_label + (1 - t) * rest * modulator(-u, gamma_neg) * softplus(-u)).sum(dim)

    return softmax_loss(
        name,
        logits,
        targets,
        None,
        soft=rows,
        per_class={"gamma_pos": gamma_pos, "gamma_neg": gamma_neg},
        class_weight=class_weight,
        weight=weight,
        ignore_index=ignore_index,
        class_dim=class_dim,
        reduction=reduction,
        normalizer=normalizer,
    )


class AsymmetricLoss(LossModule, function=asymmetric_loss):
    """`asymmetric_loss` with remembered arguments."""


class AsymmetricSoftmaxLoss(LossModule, function=asymmetric_softmax_loss):
    """`asymmetric_softmax_loss` with remembered arguments."""
