"""Two variants of focal loss: FL* (Lin et al., 2017, appendix) and reduced focal (Sergievskiy and Ponamarev, 2019)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .._numerics import finite, safe_pow, softplus
from .._types import Backend, PerClass, Reduction, Vector
from ..kernels.dispatch import single_pass
from ._checks import INF, check_backend, check_range
from ._focal_terms import check_focal, complement
from ._module import LossModule
from ._sigmoid import sigmoid_loss


@single_pass
def sigmoid_focal_loss_star(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: PerClass | None = None,
    gamma: PerClass = 2.0,
    beta: PerClass = 1.0,
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""FL*, the variant of the appendix (Lin et al., 2017): $-\alpha_t \log\sigma(\gamma u + \beta) / \gamma$.

    u is the signed logit. gamma=1, beta=0 is cross-entropy; the paper's best is gamma=2, beta=1. fvcore's
    `sigmoid_focal_loss_star` is this with beta=0.

    Args:
        gamma: Slope, greater than 0; a number or a vector over the classes.
        beta: Shift of the signed logit; a number or a vector over the classes.

    The other arguments are those of `sigmoid_focal_loss`.

    Example:
        >>> sigmoid_focal_loss_star(torch.zeros(1), torch.ones(1))
        tensor(0.1566)
    """
    name = "sigmoid_focal_loss_star"
    check_backend(backend)
    check_focal(alpha, 0.0)
    check_range("beta", beta, -INF)
    check_range("gamma", gamma, 1e-6, hint="FL* divides by gamma; gamma=1 with beta=0 is cross-entropy")

    def side(u: Tensor, gamma: float | Tensor, beta: float | Tensor) -> Tensor:
        # subtle: u is infinite where a label is not; its product with a gamma that is learned has no gradient
        return -F.logsigmoid(finite(gamma * finite(u) + beta)) / gamma

    return sigmoid_loss(
        name,
        logits,
        targets,
        lambda x, *, pos_weight, gamma, beta, **_: pos_weight * side(x, gamma, beta),
        lambda x, *, neg_weight, gamma, beta, **_: neg_weight * side(-x, gamma, beta),
        per_class={
            "pos_weight": 1.0 if alpha is None else alpha,
            "neg_weight": 1.0 if alpha is None else complement(alpha),
            "gamma": gamma,
            "beta": beta,
        },
        class_weight=class_weight,
        weight=weight,
        ignore_index=ignore_index,
        class_dim=class_dim,
        reduction=reduction,
        normalizer=normalizer,
        backend=backend,
    )


@single_pass
def reduced_focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: PerClass = 2.0,
    threshold: float = 0.5,
    legacy: bool = False,
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Reduced focal loss on sigmoids: cross-entropy below the threshold, focal above it (arXiv 1903.01347).

    $$-f \log p_t, \quad f = 1 \text{ for } p_t < th, \quad f = \left(\frac{1 - p_t}{1 - th}\right)^\gamma \text{
    beyond}$$

    The paper's factor divides by th, which jumps at the threshold unless th is 1/2; `legacy=True` gives that form.

    Args:
        gamma: Focusing parameter, at least 0; a number or a vector over the classes.
        threshold: th, strictly between 0 and 1.
        legacy: Divide by th instead of 1 - th.

    The other arguments are those of `sigmoid_focal_loss`.

    Example:
        >>> reduced_focal_loss(torch.tensor([-1.0]), torch.ones(1))
        tensor(1.3133)
    """
    name = "reduced_focal_loss"
    check_backend(backend)
    check_focal(None, gamma)
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must lie strictly between 0 and 1, got {threshold!r}; the paper uses 0.5")
    edge = math.log(threshold / (1 - threshold))

    def side(u: Tensor, gamma: float | Tensor) -> Tensor:
        one_minus_p = torch.sigmoid(-u)
        if legacy:
            factor = torch.where(u < edge, 1.0, safe_pow(one_minus_p / threshold, gamma))
        else:
            factor = safe_pow((one_minus_p / (1 - threshold)).clamp(max=1.0), gamma)
        return factor * softplus(-u)

    return sigmoid_loss(
        name,
        logits,
        targets,
        lambda x, *, gamma: side(x, gamma),
        lambda x, *, gamma: side(-x, gamma),
        per_class={"gamma": gamma},
        class_weight=class_weight,
        weight=weight,
        ignore_index=ignore_index,
        class_dim=class_dim,
        reduction=reduction,
        normalizer=normalizer,
        backend=backend,
    )


class SigmoidFocalLossStar(LossModule, function=sigmoid_focal_loss_star):
    """`sigmoid_focal_loss_star` with remembered arguments."""


class ReducedFocalLoss(LossModule, function=reduced_focal_loss):
    """`reduced_focal_loss` with remembered arguments."""
