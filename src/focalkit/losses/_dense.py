"""Focal loss of a dense detector in the layout its head produces: no permute, no concatenation, no one-hot."""

from collections.abc import Sequence

from torch import Tensor

from .._types import Backend, PerClass
from ._focal import sigmoid_focal_loss


def dense_sigmoid_focal_loss(
    logits: Sequence[Tensor],
    labels: Sequence[Tensor],
    *,
    num_classes: int,
    alpha: PerClass | None = 0.25,
    gamma: PerClass = 2.0,
    ignore_index: int = -100,
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Sigmoid focal loss over the levels of a detector, summed (Lin et al., 2017, eq. 5).

    Args:
        logits: Per level (b, a*k, h, w), contiguous or channels_last; class c of anchor a is channel a*k + c.
        labels: Per level (b, a, h, w), integer: 0..k-1, -1 background, `ignore_index` absent.
        num_classes: k.
        alpha: Weight of positives, `1 - alpha` for negatives; `None` for none.
        gamma: Focusing parameter, at least 0.
        ignore_index: Label that marks absence.
        normalizer: Number or 0-d tensor that divides the sum, such as the number of positives.
        backend: As in `sigmoid_focal_loss`.

    Example:
        >>> logits, labels = [torch.zeros(1, 4, 2, 2)], [torch.full((1, 2, 2, 2), -1)]
        >>> dense_sigmoid_focal_loss(logits, labels, num_classes=2)
        tensor(2.0794)
    """
    if len(logits) != len(labels) or not len(logits):
        raise ValueError(f"expected as many levels of labels as of logits, got {len(labels)} and {len(logits)}")
    total = None
    for i, (x, y) in enumerate(zip(logits, labels, strict=True)):
        b, channels, h, w = x.shape
        if channels % num_classes or tuple(y.shape) != (b, channels // num_classes, h, w):
            raise ValueError(
                f"level {i}: logits {tuple(x.shape)} with {num_classes} classes need labels "
                f"{(b, channels // num_classes, h, w)}, got {tuple(y.shape)}"
            )
        level = sigmoid_focal_loss(
            x.unflatten(1, (-1, num_classes)),
            y,
            alpha=alpha,
            gamma=gamma,
            ignore_index=ignore_index,
            class_dim=2,
            reduction="sum",
            backend=backend,
        )
        total = level if total is None else total + level
    assert total is not None
    return total if normalizer is None else total / normalizer
