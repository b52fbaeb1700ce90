"""Losses that learn from a teacher's logits: plain distillation (Hinton et al., 2015, arXiv 1503.02531) and its focal
form (Tang et al., 2019, "Learning efficient detector with semi-supervised adaptive distillation", arXiv 1901.00366).

No gradient goes to the teacher.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .._numerics import finite, safe_pow, upcast
from .._reduce import fit_weight, reduce
from .._types import Backend, Reduction
from ._checks import check_backend, check_logits, check_range, check_reduction, class_axis
from ._module import LossModule


def distillation_loss(
    logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 4.0,
    weight: Tensor | None = None,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Knowledge distillation: $T^2 \, KL(q \| p)$ of softmaxes at temperature T (Hinton et al., 2015, sec. 2).

    Args:
        logits: The student's scores, the classes on `class_dim`.
        teacher_logits: The teacher's, of the same shape.
        temperature: T, greater than 0.
        weight: Broadcasts against the unreduced loss; what has weight 0 is not valid.
        class_dim: The class axis.
        reduction: "none" (one number per row), "sum", or "mean" over the valid rows.
        normalizer: Number or 0-d tensor that divides the sum instead.

    Example:
        >>> distillation_loss(torch.zeros(1, 2), torch.tensor([[4.0, 0.0]]))
        tensor(1.7751)
    """
    name = "distillation_loss"
    check_backend(backend, name)
    check_range("temperature", temperature, 1e-6)
    x, y = _both(name, logits, teacher_logits, reduction, normalizer)
    dim = class_axis(x, class_dim, name)
    log_p = finite((x / temperature).log_softmax(dim))
    log_q = finite((y / temperature).log_softmax(dim))
    loss = temperature**2 * (log_q.exp() * (log_q - log_p)).sum(dim)
    weight = None if weight is None else fit_weight(weight, loss.shape, loss.device, dim)
    return reduce(loss, reduction=reduction, normalizer=normalizer, weight=weight)


def focal_distillation_loss(
    logits: Tensor,
    teacher_logits: Tensor,
    *,
    gamma: float = 2.0,
    beta: float = 1.0,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Adaptive distillation on sigmoids (Tang et al., 2019, eq. 6): $(1 - e^{-(KL + \beta H(q))})^\gamma \, KL(q \|
    p)$.

    KL and the entropy H are those of each sigmoid, p the student's and q the teacher's. Examples that the student
    already copies, and on which the teacher is sure, are weighed down.

    Args:
        logits: The student's scores, any shape.
        teacher_logits: The teacher's, of the same shape.
        gamma: Focusing parameter, at least 0; 0 is plain distillation.
        beta: Weight of the teacher's entropy, at least 0.
        weight: Broadcasts against the unreduced loss; what has weight 0 is not valid.
        reduction: "none" (shape of `logits`), "sum", or "mean" over the valid elements.
        normalizer: Number or 0-d tensor that divides the sum instead.

    Example:
        >>> focal_distillation_loss(torch.zeros(1), torch.tensor([2.0]))
        tensor(0.0820)
    """
    name = "focal_distillation_loss"
    check_backend(backend, name)
    check_range("gamma", gamma, 0)
    check_range("beta", beta, 0)
    x, y = (finite(z) for z in _both(name, logits, teacher_logits, reduction, normalizer))
    q, not_q = torch.sigmoid(y), torch.sigmoid(-y)
    kl = q * (F.logsigmoid(y) - F.logsigmoid(x)) + not_q * (F.logsigmoid(-y) - F.logsigmoid(-x))
    entropy = -(q * F.logsigmoid(y) + not_q * F.logsigmoid(-y))
    kl = kl.clamp(min=0)  # rounding can leave a difference of nothing below 0
    loss = safe_pow(-torch.expm1(-(kl + beta * entropy)), gamma) * kl
    return reduce(loss, reduction=reduction, normalizer=normalizer, weight=weight)


def _both(
    name: str, logits: Tensor, teacher_logits: Tensor, reduction: str, normalizer: float | Tensor | None
) -> tuple[Tensor, Tensor]:
    check_reduction(reduction, normalizer)
    check_logits(logits, name)
    if logits.shape != teacher_logits.shape or not teacher_logits.is_floating_point():
        raise ValueError(
            f"{name}: the teacher's logits must be floating and shaped like the student's {tuple(logits.shape)}, "
            f"got {teacher_logits.dtype} {tuple(teacher_logits.shape)}"
        )
    x = upcast(logits)
    return x, teacher_logits.detach().to(x.dtype)


class DistillationLoss(LossModule, function=distillation_loss):
    """`distillation_loss` with remembered arguments."""


class FocalDistillationLoss(LossModule, function=focal_distillation_loss):
    """`focal_distillation_loss` with remembered arguments."""
