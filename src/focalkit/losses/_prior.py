"""Losses that know the class frequencies: balanced softmax (Ren et al., 2020, arXiv 2007.10740), logit adjustment
(Menon et al., 2021, arXiv 2007.07314), vector scaling (Kini et al., 2021, arXiv 2103.01550), LDAM (Cao et al., 2019,
arXiv 1906.07413).

All are cross-entropy on changed logits; predict with the unchanged ones. A class with count 0 has no prior: its
adjusted logit is -inf, and it takes no part. Not here: post-hoc adjustment (subtract tau log pi from the logits of any
model).
"""

from torch import Tensor

from .._numerics import finite, softplus, upcast
from .._types import Backend, Reduction, Vector
from ..kernels.dispatch import single_pass
from ..kernels.operands import CROSS_ENTROPY
from ._checks import TINY, check_backend, check_logits, check_range, class_axis, vector
from ._module import LossModule
from ._softmax import softmax_loss


@single_pass
def balanced_softmax_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    class_counts: Vector,
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Balanced softmax (Ren et al., 2020, eq. 4): cross-entropy of $x_c + \log n_c$.

    Args:
        class_counts: Training examples per class, at least 0.

    The other arguments are those of `softmax_focal_loss`.

    Example:
        >>> balanced_softmax_loss(torch.zeros(1, 2), torch.tensor([1]), class_counts=[3, 1])
        tensor(1.3863)
    """
    name = "balanced_softmax_loss"
    check_backend(backend)
    counts, _ = _counts(name, logits, class_counts, class_dim)
    return softmax_loss(
        name,
        logits,
        targets,
        lambda u: softplus(-u),
        focal=CROSS_ENTROPY,
        shift=counts.log().flatten(),
        class_weight=class_weight,
        weight=weight,
        ignore_index=ignore_index,
        class_dim=class_dim,
        reduction=reduction,
        normalizer=normalizer,
        backend=backend,
    )


@single_pass
def logit_adjusted_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    class_counts: Vector,
    tau: float = 1.0,
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Logit-adjusted cross-entropy (Menon et al., 2021, eq. 10): cross-entropy of $x_c + \tau \log \pi_c$.

    At tau 1 it is balanced softmax, at tau 0 cross-entropy.

    Args:
        class_counts: Training examples per class, at least 0; pi is their share.
        tau: Strength of the adjustment, at least 0.

    The other arguments are those of `softmax_focal_loss`.

    Example:
        >>> logit_adjusted_loss(torch.zeros(1, 2), torch.tensor([1]), class_counts=[3, 1])
        tensor(1.3863)
    """
    name = "logit_adjusted_loss"
    check_backend(backend)
    check_range("tau", tau, 0)
    counts, dim = _counts(name, logits, class_counts, class_dim)
    return softmax_loss(
        name,
        logits,
        targets,
        lambda u: softplus(-u),
        focal=CROSS_ENTROPY,
        shift=tau * _log_prior(counts, dim).flatten() if tau else None,
        class_weight=class_weight,
        weight=weight,
        ignore_index=ignore_index,
        class_dim=class_dim,
        reduction=reduction,
        normalizer=normalizer,
        backend=backend,
    )


def vector_scaling_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    class_counts: Vector,
    gamma: float = 0.3,
    tau: float = 1.0,
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Vector-scaling loss (Kini et al., 2021, eq. 2): cross-entropy of $x_c / \Delta_c + \tau \log \pi_c$.

    $\Delta_c = (n_{max} / n_c)^\gamma$. At gamma 0 it is logit adjustment, at tau 0 CDT.

    Args:
        class_counts: Training examples per class, at least 0.
        gamma: Exponent of the multiplicative part, at least 0.
        tau: Strength of the additive part, at least 0.

    The other arguments are those of `softmax_focal_loss`.

    Example:
        >>> vector_scaling_loss(torch.zeros(1, 2), torch.tensor([1]), class_counts=[3, 1])
        tensor(1.3863)
    """
    name = "vector_scaling_loss"
    check_backend(backend, name)
    check_range("gamma", gamma, 0)
    check_range("tau", tau, 0)
    counts, dim = _counts(name, logits, class_counts, class_dim)
    x = finite(upcast(logits)) * (counts / counts.max()) ** gamma
    return softmax_loss(
        name,
        x + tau * _log_prior(counts, dim) if tau else x,
        targets,
        lambda u: softplus(-u),
        class_weight=class_weight,
        weight=weight,
        ignore_index=ignore_index,
        class_dim=class_dim,
        reduction=reduction,
        normalizer=normalizer,
    )


def ldam_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    class_counts: Vector,
    max_margin: float = 0.5,
    scale: float = 30.0,
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Label-distribution-aware margin loss (Cao et al., 2019, eq. 12): cross-entropy of $s (x - m_y 1_y)$.

    $m_c = m_{max} (n_c / n_{min})^{-1/4}$. The paper's logits are cosines of normalised features and weights; its
    schedule is `DeferredReweighting`.

    Args:
        logits: Cosines in [-1, 1].
        class_counts: Training examples per class, greater than 0.
        max_margin: Margin of the rarest class, at least 0.
        scale: s, greater than 0.

    The other arguments are those of `softmax_focal_loss`.

    Example:
        >>> ldam_loss(torch.tensor([[0.5, 0.0]]), torch.tensor([0]), class_counts=[16, 1])
        tensor(0.0006)
    """
    name = "ldam_loss"
    check_backend(backend, name)
    check_range("max_margin", max_margin, 0)
    check_range("scale", scale, TINY, hint="the paper's is 30")
    check_range("class_counts", class_counts, 1e-12, hint="LDAM's margin needs at least one example of every class")
    counts, _ = _counts(name, logits, class_counts, class_dim)
    margins = max_margin * (counts / counts.min()) ** -0.25
    # subtle: a margin on the label's logit is the same margin on its signed logit u_y = x_y - logsumexp of the others.
    return softmax_loss(
        name,
        upcast(logits) * scale,
        targets,
        lambda u, *, margin: softplus(scale * margin - u),
        per_class={"margin": margins.flatten()},
        class_weight=class_weight,
        weight=weight,
        ignore_index=ignore_index,
        class_dim=class_dim,
        reduction=reduction,
        normalizer=normalizer,
    )


def _counts(name: str, logits: Tensor, class_counts: Vector, class_dim: int) -> tuple[Tensor, int]:
    """The counts, shaped to broadcast against the logits, and the class axis."""
    check_logits(logits, name)
    check_range("class_counts", class_counts, 0, hint="it holds the number of training examples of each class")
    dim = class_axis(logits, class_dim, name)
    counts = vector("class_counts", class_counts, logits.shape[dim], logits, name)
    return counts.view([-1 if d == dim else 1 for d in range(logits.ndim)]), dim


def _log_prior(counts: Tensor, dim: int) -> Tensor:
    return counts.log() - counts.sum(dim, keepdim=True).log()


class BalancedSoftmaxLoss(LossModule, function=balanced_softmax_loss):
    """`balanced_softmax_loss` with remembered arguments."""


class LogitAdjustedLoss(LossModule, function=logit_adjusted_loss):
    """`logit_adjusted_loss` with remembered arguments."""


class VectorScalingLoss(LossModule, function=vector_scaling_loss):
    """`vector_scaling_loss` with remembered arguments."""


class LDAMLoss(LossModule, function=ldam_loss):
    """`ldam_loss` with remembered arguments."""
