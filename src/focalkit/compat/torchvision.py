"""torchvision.ops (0.29): soft targets by the "mix" form, alpha=-1 for off, no reduction by default."""

from typing import cast

from torch import Tensor

from .._types import Reduction
from ..losses import sigmoid_focal_loss as _focal


def sigmoid_focal_loss(
    inputs: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2, reduction: str = "none"
) -> Tensor:
    """`torchvision.ops.sigmoid_focal_loss`.

    Surprises kept: on soft targets (1 - p_t)^gamma BCE with 1 - p_t = p + t - 2pt, whose minimum lies beyond the label.
    Mended: the gradient at gamma < 1, float16 and bfloat16.

    Args:
        inputs: Logits, any shape.
        targets: Floating, the same shape.
        alpha: Weight of positives in [0, 1]; -1 switches balancing off.
        gamma: Focusing parameter.
        reduction: "none", "mean" (over all elements) or "sum".

    Example:
        >>> import torch
        >>> sigmoid_focal_loss(torch.zeros(1), torch.ones(1))
        tensor([0.0433])
    """
    if not (0 <= alpha <= 1) and alpha != -1:
        raise ValueError(f"alpha must lie in [0, 1], or be -1 for off, got {alpha!r}")
    return _focal(
        inputs,
        targets.to(inputs.dtype),
        alpha=None if alpha == -1 else alpha,
        gamma=gamma,
        soft_targets="mix",
        ignore_index=None,
        reduction=cast("Reduction", reduction),  # checked there
    )
