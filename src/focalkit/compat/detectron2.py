"""fvcore and detectron2: as torchvision, but alpha is off by default; FL*; the running mean of positives."""

import torch
from torch import Tensor, nn

from .._types import Reduction
from ..losses import sigmoid_focal_loss as _focal
from ..losses import sigmoid_focal_loss_star as _star

_REDUCTIONS: dict[str, Reduction] = {"mean": "mean", "sum": "sum"}


def sigmoid_focal_loss(
    inputs: Tensor, targets: Tensor, alpha: float = -1, gamma: float = 2, reduction: str = "none"
) -> Tensor:
    """`fvcore.nn.sigmoid_focal_loss`.

    Surprises kept: alpha defaults to -1 (off); a reduction it does not know is "none"; inputs of any dtype are computed
    in float32, float64 too; soft targets by the "mix" form.

    Example:
        >>> sigmoid_focal_loss(torch.zeros(1), torch.ones(1))
        tensor([0.1733])
    """
    return _focal(
        inputs.float(),
        targets.float(),
        alpha=None if alpha < 0 else alpha,
        gamma=gamma,
        soft_targets="mix",
        ignore_index=None,
        reduction=_REDUCTIONS.get(reduction, "none"),
    )


def sigmoid_focal_loss_star(
    inputs: Tensor, targets: Tensor, alpha: float = -1, gamma: float = 1, reduction: str = "none"
) -> Tensor:
    """`fvcore.nn.sigmoid_focal_loss_star`: without the paper's shift beta, so that gamma=1 is cross-entropy.

    Example:
        >>> sigmoid_focal_loss_star(torch.zeros(1), torch.ones(1))
        tensor([0.6931])
    """
    return _star(
        inputs.float(),
        targets.float(),
        alpha=None if alpha < 0 else alpha,
        gamma=gamma,
        beta=0.0,
        ignore_index=None,
        reduction=_REDUCTIONS.get(reduction, "none"),
    )


class LossNormalizer(nn.Module):
    """The divisor of detectron2's RetinaNet: a running mean of max(positives, 1), from 100 on, momentum 0.9.

    detectron2 keeps it as a plain number, lost at a checkpoint and read on the host each step; here it is a buffer.

    Example:
        >>> LossNormalizer()(torch.tensor(50))
        tensor(95.)
    """

    mean: Tensor

    def __init__(self, start: float = 100.0, momentum: float = 0.9) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.tensor(start))

    @torch.no_grad()
    def forward(self, num_positives: Tensor) -> Tensor:
        """The divisor for this step; in training the mean takes in `num_positives` first."""
        if self.training:
            self.mean.lerp_(num_positives.to(self.mean).clamp(min=1), 1 - self.momentum)
        return self.mean.clone()
