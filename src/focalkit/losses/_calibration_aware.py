"""Focal losses made for calibrated probabilities: sample-dependent gamma (Mukhoti et al., 2020, arXiv 2002.09437) and
dual focal (Tao et al., 2023, arXiv 2305.13665). Those that keep a state are in `_scheduled.py`.
"""

import torch
from torch import Tensor

from .._numerics import focal_term, label_logit, safe_pow, softplus
from .._types import Backend, Reduction, Vector
from ._checks import check_backend, check_range
from ._module import LossModule
from ._softmax import label_loss, softmax_loss


def flsd_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma_low: float = 5.0,
    gamma_high: float = 3.0,
    threshold: float = 0.2,
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""FLSD-53: softmax focal loss whose gamma depends on the sample (Mukhoti et al., 2020, sec. 4).

    gamma is `gamma_low` where p_y is below the threshold and `gamma_high` from there on, held constant in the gradient.

    Args:
        gamma_low: Focusing parameter of uncertain rows, at least 0.
        gamma_high: Focusing parameter of the others, at least 0.
        threshold: Probability in [0, 1].

    The other arguments are those of `softmax_focal_loss`.

    Example:
        >>> flsd_loss(torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.0866)
    """
    check_backend(backend, "flsd_loss")
    check_range("gamma_low", gamma_low, 0)
    check_range("gamma_high", gamma_high, 0)
    check_range("threshold", threshold, 0, 1)

    def term(u: Tensor) -> Tensor:
        low, high = (torch.as_tensor(gamma, dtype=u.dtype, device=u.device) for gamma in (gamma_low, gamma_high))
        return focal_term(u, torch.where(torch.sigmoid(u.detach()) < threshold, low, high))

    return softmax_loss(
        "flsd_loss",
        logits,
        targets,
        term,
        class_weight=class_weight,
        weight=weight,
        ignore_index=ignore_index,
        class_dim=class_dim,
        reduction=reduction,
        normalizer=normalizer,
    )


def dual_focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: float = 5.0,
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Dual focal loss on a softmax (Tao et al., 2023, eq. 6): $-(1 - p_y + p_j)^\gamma \log p_y$.

    $p_j$ is the largest probability strictly below $p_y$ (0 where there is none). The gradient goes through it.

    Args:
        targets: Class indices.
        gamma: Focusing parameter, at least 0; 0 is cross-entropy.

    The other arguments are those of `softmax_focal_loss`.

    Example:
        >>> dual_focal_loss(torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.0217)
    """
    check_backend(backend, "dual_focal_loss")
    check_range("gamma", gamma, 0)

    def rows(x: Tensor, index: Tensor, valid: Tensor, dim: int) -> Tensor:
        u = label_logit(x, index, dim)
        p = x.softmax(dim)
        below = torch.where(x < x.gather(dim, index.unsqueeze(dim)), p, 0.0).amax(dim)
        return safe_pow(torch.sigmoid(-u) + below, gamma) * softplus(-u)

    return label_loss(
        "dual_focal_loss",
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


class FLSDLoss(LossModule, function=flsd_loss):
    """`flsd_loss` with remembered arguments."""


class DualFocalLoss(LossModule, function=dual_focal_loss):
    """`dual_focal_loss` with remembered arguments."""
