"""Contrastive losses that weigh hard pairs: focal InfoNCE (Hou and Li, 2023, arXiv 2310.06918) and the hard-negative
contrastive loss (Robinson et al., 2021, arXiv 2010.04592), on a batch of pairs of embeddings.
"""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from .._numerics import label_logit, softplus, upcast
from .._reduce import reduce
from .._types import Backend, Reduction
from ._checks import INF, check_backend, check_range, check_reduction
from ._module import LossModule


def focal_infonce_loss(
    anchors: Tensor,
    partners: Tensor,
    *,
    temperature: float = 0.05,
    margin: float = 0.3,
    one_sided: bool = False,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Focal InfoNCE (Hou and Li, 2023, eq. 3): InfoNCE on $s_{ii}^2 / \tau$ and $s_{ij} (s_{ij} + m) / \tau$.

    s are cosines. As published the positive term does not know the sign of its cosine, and a negative pair below -m/2
    is taken for a hard one; `one_sided=True` uses max(s, 0)^2 and max(s, -m/2) instead.

    Args:
        anchors: Embeddings (b, d); they are normalised here.
        partners: Embeddings (b, d); row i belongs to anchor i, all others are its negatives.
        temperature: tau, greater than 0.
        margin: m.
        one_sided: Ignore what lies beyond the turning points.
        weight: One per anchor; one of weight 0 is not valid (its embedding still serves as a negative).
        reduction: "none" (b,), "sum" or "mean".
        normalizer: Number or 0-d tensor that divides the sum instead.

    Example:
        >>> focal_infonce_loss(torch.eye(2), torch.eye(2), temperature=1.0)
        tensor(0.3133)
    """
    check_backend(backend, "focal_infonce_loss")
    check_range("temperature", temperature, 1e-6)
    check_range("margin", margin, -INF)
    a, b = _pairs("focal_infonce_loss", anchors, partners, reduction, normalizer)
    s = _cosines(a, b)
    is_pair = torch.eye(len(s), dtype=torch.bool, device=s.device)
    positive = s.clamp(min=0) if one_sided else s
    negative = s.clamp(min=-margin / 2) if one_sided else s
    logits = torch.where(is_pair, positive * positive, negative * (negative + margin)) / temperature
    loss = softplus(-label_logit(logits, torch.arange(len(s), device=s.device), 1))
    return reduce(loss, reduction=reduction, normalizer=normalizer, weight=weight)


def hard_contrastive_loss(
    anchors: Tensor,
    partners: Tensor,
    *,
    temperature: float = 0.5,
    beta: float = 1.0,
    tau_plus: float = 0.1,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Contrastive loss with hard negatives, debiased (Robinson et al., 2021, eq. 4 to 6).

    $$-\log \frac{e^+}{e^+ + N_g}, \quad N_g = \max\left(\frac{R - \tau^+ N e^+}{1 - \tau^+}, N e^{-1/\tau}\right),
    \quad R = \frac{\sum_j e_j^{\beta + 1}}{\frac{1}{N} \sum_j e_j^\beta}$$

    $e = e^{s / \tau}$ of cosines s. Each of the 2b embeddings is an anchor once; its N = 2b - 2 negatives are those of
    the other pairs.

    Args:
        anchors: Embeddings (b, d), b at least 2; they are normalised here.
        partners: Embeddings (b, d); row i belongs to anchor i.
        temperature: tau, greater than 0.
        beta: Concentration on hard negatives, at least 0.
        tau_plus: Prior probability that a negative is a positive, in [0, 1).
        weight: One per pair; one of weight 0 is no valid anchor.
        reduction: "none" (b,) (the mean of the pair's two), "sum" or "mean".
        normalizer: Number or 0-d tensor that divides the sum instead.

    Example:
        >>> hard_contrastive_loss(torch.eye(2), torch.eye(2))
        tensor(0.0756)
    """
    check_backend(backend, "hard_contrastive_loss")
    check_range("temperature", temperature, 1e-6)
    check_range("beta", beta, 0)
    check_range("tau_plus", tau_plus, 0, 1 - 1e-6)
    a, b = _pairs("hard_contrastive_loss", anchors, partners, reduction, normalizer)
    n = len(a)
    if n < 2:
        raise ValueError(f"hard_contrastive_loss needs at least 2 pairs to have negatives, got {n}")
    both = torch.cat([a, b])
    s = _cosines(both, both)
    other = ~torch.eye(n, dtype=torch.bool, device=s.device).repeat(2, 2)
    positive = (a * b).sum(-1).repeat(2)
    # subtle: everything is divided by e^(1/tau), the largest value possible, so that no temperature overflows.
    e = torch.where(other, torch.exp((s - 1) / temperature), 0.0)
    hardness = torch.where(other, torch.exp(beta * (s - 1) / temperature), 0.0)
    count = 2 * n - 2
    reweighted = (hardness * e).sum(-1) / (hardness.sum(-1) / count).clamp(min=torch.finfo(s.dtype).tiny)
    of_pair = torch.exp((positive - 1) / temperature)
    debiased = (reweighted - tau_plus * count * of_pair) / (1 - tau_plus)
    floor = count * torch.exp(-2 / torch.as_tensor(temperature, dtype=s.dtype, device=s.device))
    debiased = torch.maximum(debiased, floor.clamp(min=torch.finfo(s.dtype).tiny))
    loss = softplus(debiased.log() - (positive - 1) / temperature)
    return reduce(loss.view(2, n).mean(0), reduction=reduction, normalizer=normalizer, weight=weight)


def _cosines(a: Tensor, b: Tensor) -> Tensor:
    """All products of two batches of unit vectors, in their own precision under autocast too."""
    kind = a.device.type
    with torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext():
        return a @ b.mT


def _pairs(
    name: str, anchors: Tensor, partners: Tensor, reduction: str, normalizer: float | Tensor | None
) -> tuple[Tensor, Tensor]:
    check_reduction(reduction, normalizer)
    if anchors.ndim != 2 or anchors.shape != partners.shape or not anchors.is_floating_point():
        raise ValueError(
            f"{name}: expected two floating batches of embeddings of one shape (b, d), "
            f"got {anchors.dtype} {tuple(anchors.shape)} and {partners.dtype} {tuple(partners.shape)}"
        )
    return F.normalize(upcast(anchors), dim=-1), F.normalize(upcast(partners), dim=-1)


class FocalInfoNCELoss(LossModule, function=focal_infonce_loss):
    """`focal_infonce_loss` with remembered arguments."""

    elementwise = False


class HardContrastiveLoss(LossModule, function=hard_contrastive_loss):
    """`hard_contrastive_loss` with remembered arguments."""

    elementwise = False
