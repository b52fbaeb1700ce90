"""Poly-1 losses (Leng et al., 2022, arXiv 2204.12511): the first term of the Taylor series gets a weight of its own.

Class weights and alpha multiply the whole loss. (The authors' code leaves the polynomial term unweighted.)
"""

from torch import Tensor

from .._numerics import focal_term, modulator, softplus
from .._types import Backend, PerClass, Reduction, Vector
from ..kernels.dispatch import single_pass
from ._checks import INF, check_backend, check_range
from ._focal_terms import check_focal, complement
from ._module import LossModule
from ._sigmoid import sigmoid_loss
from ._softmax import softmax_loss


@single_pass
def poly1_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    epsilon: float = 1.0,
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Poly-1 cross-entropy on a softmax (Leng et al., 2022, eq. 5): $-\log p_y + \epsilon (1 - p_y)$.

    Args:
        epsilon: Weight added to the first polynomial term; 0 is cross-entropy. The paper uses 1 and 2 for
            classification, -1 for detection.

    The other arguments are those of `softmax_focal_loss`.

    Example:
        >>> poly1_cross_entropy(torch.zeros(1, 2), torch.tensor([0]))
        tensor(1.1931)
    """
    check_backend(backend)
    check_range("epsilon", epsilon, -INF)
    return softmax_loss(
        "poly1_cross_entropy",
        logits,
        targets,
        lambda u: softplus(-u) + epsilon * modulator(u, 1.0),
        class_weight=class_weight,
        weight=weight,
        ignore_index=ignore_index,
        class_dim=class_dim,
        reduction=reduction,
        normalizer=normalizer,
        backend=backend,
    )


@single_pass
def poly1_focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    epsilon: float = 1.0,
    alpha: PerClass | None = 0.25,
    gamma: PerClass = 2.0,
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Poly-1 focal loss on sigmoids (Leng et al., 2022, sec. 5): $\alpha_t (FL(p_t) + \epsilon (1 - p_t)^{\gamma +
    1})$.

    Args:
        epsilon: Weight added to the first polynomial term; 0 is the focal loss.
        alpha: Weight of positives, `1 - alpha` for negatives, `None` for none; it multiplies both terms.
        gamma: Focusing parameter, at least 0; a number or a vector over the classes.

    The other arguments are those of `sigmoid_focal_loss`.

    Example:
        >>> poly1_focal_loss(torch.zeros(1), torch.ones(1))
        tensor(0.0746)
    """
    name = "poly1_focal_loss"
    check_backend(backend)
    check_focal(alpha, gamma)
    check_range("epsilon", epsilon, -INF)

    def side(u: Tensor, gamma: float | Tensor) -> Tensor:
        return focal_term(u, gamma) + epsilon * modulator(u, gamma + 1)

    return sigmoid_loss(
        name,
        logits,
        targets,
        lambda x, *, pos_weight, gamma, **_: pos_weight * side(x, gamma),
        lambda x, *, neg_weight, gamma, **_: neg_weight * side(-x, gamma),
        per_class={
            "pos_weight": 1.0 if alpha is None else alpha,
            "neg_weight": 1.0 if alpha is None else complement(alpha),
            "gamma": gamma,
        },
        class_weight=class_weight,
        weight=weight,
        ignore_index=ignore_index,
        class_dim=class_dim,
        reduction=reduction,
        normalizer=normalizer,
        backend=backend,
    )


class Poly1CrossEntropy(LossModule, function=poly1_cross_entropy):
    """`poly1_cross_entropy` with remembered arguments."""


class Poly1FocalLoss(LossModule, function=poly1_focal_loss):
    """`poly1_focal_loss` with remembered arguments."""
