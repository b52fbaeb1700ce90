"""Cross-entropy, the yardstick: on a softmax and on independent sigmoids, with the package's calling convention."""

import torch.nn.functional as F
from torch import Tensor

from .._numerics import softplus
from .._types import Backend, PerClass, Reduction, Vector
from ..kernels.dispatch import single_pass
from ..kernels.operands import CROSS_ENTROPY, Focal
from ._checks import check_backend, check_range
from ._focal_terms import complement
from ._module import LossModule
from ._sigmoid import sigmoid_loss
from ._softmax import softmax_loss


@single_pass
def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    label_smoothing: float = 0.0,
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Cross-entropy of a softmax, -log p_y.

    As `F.cross_entropy`, with these differences: the class axis is `class_dim`; a batch without rows gives 0 instead of
    NaN; and the mean with `class_weight` divides by the number of rows of non-zero weight, as class-balanced loss does
    (Cui et al., 2019), not by the sum of the weights.

    Args:
        logits: Scores before the softmax; classes on `class_dim`.
        targets: Class indices with the class axis missing, or dense rows shaped like `logits`.
        label_smoothing: s mixes the uniform distribution into the target: (1 - s) q + s / K.

    The other arguments are those of `softmax_focal_loss`.

    Example:
        >>> cross_entropy(torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.6931)
    """
    check_backend(backend)
    return softmax_loss(
        "cross_entropy",
        logits,
        targets,
        lambda u: -F.logsigmoid(u),
        focal=CROSS_ENTROPY,
        label_smoothing=label_smoothing,
        class_weight=class_weight,
        weight=weight,
        ignore_index=ignore_index,
        class_dim=class_dim,
        reduction=reduction,
        normalizer=normalizer,
        backend=backend,
    )


@single_pass
def binary_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: PerClass | None = None,
    pos_weight: PerClass | None = None,
    label_smoothing: float = 0.0,
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Cross-entropy of independent sigmoids, -alpha_t log p_t.

    Args:
        logits: Scores before the sigmoid, any shape.
        targets: Floating or bool, shaped like `logits`, or class indices with -1 for background.
        alpha: Weight of positives in [0, 1], `1 - alpha` for negatives; a number or a vector over the classes.
        pos_weight: Factor on the positives alone, as in `F.binary_cross_entropy_with_logits`.
        label_smoothing: s turns targets 1 and 0 into 1 - s/2 and s/2.

    The other arguments are those of `sigmoid_focal_loss`.

    Example:
        >>> binary_cross_entropy(torch.zeros(1), torch.ones(1))
        tensor(0.6931)
    """
    check_backend(backend)
    if alpha is not None:
        check_range("alpha", alpha, 0, 1, "for a factor on the positives alone use pos_weight")
    if pos_weight is not None:
        check_range("pos_weight", pos_weight, 0)
    return sigmoid_loss(
        "binary_cross_entropy",
        logits,
        targets,
        lambda x, *, pos_weight, factor, **_: pos_weight * factor * softplus(-x),
        lambda x, *, neg_weight, **_: neg_weight * softplus(x),
        per_class={
            "pos_weight": 1.0 if alpha is None else alpha,
            "neg_weight": 1.0 if alpha is None else complement(alpha),
            "factor": 1.0 if pos_weight is None else pos_weight,
        },
        focal=lambda pos_weight, neg_weight, factor: Focal.of(pos_weight * factor, neg_weight, 0.0, 0.0),
        label_smoothing=label_smoothing,
        class_weight=class_weight,
        weight=weight,
        ignore_index=ignore_index,
        class_dim=class_dim,
        reduction=reduction,
        normalizer=normalizer,
        backend=backend,
    )


class CrossEntropy(LossModule, function=cross_entropy):
    """`cross_entropy` with remembered arguments."""


class BinaryCrossEntropy(LossModule, function=binary_cross_entropy):
    """`binary_cross_entropy` with remembered arguments."""
