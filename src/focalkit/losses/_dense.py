"""Focal loss of a dense detector in the layout its head produces: no permute, no concatenation, no one-hot."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .._types import Backend, PerClass
from ..kernels.autograd import evaluate
from ..kernels.call import SigmoidCall
from ..kernels.dispatch import single_pass
from ..kernels.operands import mixture
from ._checks import check_backend, check_labels, check_logits, ignored_value
from ._focal_terms import check_focal, focal_negative, focal_of, focal_parameters, focal_positive
from ._sigmoid import by_class


@single_pass
def dense_sigmoid_focal_loss(
    logits: Sequence[Tensor],
    labels: Sequence[Tensor],
    *,
    num_classes: int,
    alpha: PerClass | None = 0.25,
    gamma: PerClass = 2.0,
    pos_weight: PerClass | None = None,
    ignore_index: int | None = -100,
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Sigmoid focal loss over the levels of a detector, summed (Lin et al., 2017, eq. 5).

    Args:
        logits: Per level (b, a*k, h, w), contiguous or channels_last; class c of anchor a is channel a*k + c.
        labels: Per level (b, a, h, w), integer: 0..k-1, -1 background, `ignore_index` not valid.
        num_classes: k.
        alpha: Weight of positives, `1 - alpha` for negatives; `None` for none.
        gamma: Focusing parameter, at least 0.
        pos_weight: Factor on the positives alone.
        ignore_index: Label that is not valid.
        normalizer: Number or 0-d tensor that divides the sum, such as the number of positives.
        backend: As in `sigmoid_focal_loss`.

    Example:
        >>> logits, labels = [torch.zeros(1, 4, 2, 2)], [torch.full((1, 2, 2, 2), -1)]
        >>> dense_sigmoid_focal_loss(logits, labels, num_classes=2)
        tensor(2.0794)
    """
    if len(logits) != len(labels) or not len(logits):
        raise ValueError(f"expected as many levels of labels as of logits, got {len(labels)} and {len(logits)}")
    name = "dense_sigmoid_focal_loss"
    check_backend(backend)
    check_focal(alpha, gamma, None, pos_weight)
    ignore_index = ignored_value(ignore_index)
    if num_classes < 1:
        raise ValueError(f"{name}: num_classes must be at least 1, got {num_classes!r}")
    for i, (x, y) in enumerate(zip(logits, labels, strict=True)):
        check_logits(x, f"{name}, level {i}")
        if x.ndim != 4:
            raise ValueError(f"{name}, level {i}: expected logits (b, a*k, h, w), got {tuple(x.shape)}")
        if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
            raise TypeError(f"{name}, level {i}: labels must be integers, got {y.dtype}")
        b, channels, h, w = x.shape
        if channels % num_classes or tuple(y.shape) != (b, channels // num_classes, h, w):
            raise ValueError(
                f"level {i}: logits {tuple(x.shape)} with {num_classes} classes need labels "
                f"{(b, channels // num_classes, h, w)}, got {tuple(y.shape)}"
            )

    def check() -> None:
        for i, y in enumerate(labels):
            check_labels(y, num_classes, ignore_index, -1, f"{name}, level {i}")

    params = by_class(focal_parameters(alpha, gamma, None, pos_weight), logits[0], num_classes, name)
    call = SigmoidCall(
        targets=tuple(labels),
        dims=(2,) * len(logits),
        positive=focal_positive,
        negative=focal_negative,
        mixed=mixture(focal_positive, focal_negative, None),
        dense=False,
        classes=num_classes,
        params=params,
        ignore_index=ignore_index,
        reduction="sum",
        normalizer=normalizer,
        check=check,
        focal=focal_of(**params),
    )
    return evaluate(call, tuple(logits), backend)
