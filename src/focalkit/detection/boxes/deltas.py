"""Encode boxes as deltas from anchors (dx, dy, dw, dh), and decode them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import mul, truediv

import torch
from torch import Tensor

MAX_LOG_SCALE = math.log(1000 / 16)
"""Largest dw, dh that is decoded; a larger one would let exp overflow (Girshick's Faster R-CNN code)."""


@dataclass(frozen=True)
class DeltaXYWH:
    """Centre offset in units of the prior's side, and log of the size ratio (Girshick et al., 2014, appendix C).

    Attributes:
        weights: Factors on (dx, dy, dw, dh) when encoding; larger ones raise the weight of the box loss.
        clamp_dwdh_min: Bound dw and dh below as well, by minus the upper bound, as mmdetection does.

    Example:
        >>> coder = DeltaXYWH()
        >>> prior, box = torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.tensor([[5.0, 0.0, 15.0, 10.0]])
        >>> coder.encode(box, prior)
        tensor([[0.5000, 0.0000, 0.0000, 0.0000]])
    """

    weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    clamp_dwdh_min: bool = False

    @property
    def channels(self) -> int:
        """Numbers that the network predicts for each prior."""
        return 4

    def encode(self, boxes: Tensor, priors: Tensor) -> Tensor:
        """Deltas (..., 4) that move `priors` (..., 4) onto `boxes` (..., 4), both xyxy.

        A box without area has a size ratio of 0; its logarithm is bounded at one thousandth of a pixel.
        """
        size, prior_size = boxes[..., 2:] - boxes[..., :2], priors[..., 2:] - priors[..., :2]
        shift = (boxes[..., :2] + size / 2 - priors[..., :2] - prior_size / 2) / prior_size
        scale = torch.log(size.clamp(min=1e-3) / prior_size)
        return _by_column(torch.cat([shift, scale], dim=-1), mul, self.weights)

    def decode(self, deltas: Tensor, priors: Tensor) -> Tensor:
        """Boxes (..., 4), xyxy; float32 at least. dw and dh are bounded above by log(1000/16)."""
        deltas = deltas.to(torch.promote_types(deltas.dtype, torch.float32))
        deltas = _by_column(deltas, truediv, self.weights)
        prior_size = priors[..., 2:] - priors[..., :2]
        centre = priors[..., :2] + prior_size / 2 + deltas[..., :2] * prior_size
        least = -MAX_LOG_SCALE if self.clamp_dwdh_min else None
        half = prior_size * torch.exp(deltas[..., 2:].clamp(least, MAX_LOG_SCALE)) / 2
        return torch.cat([centre - half, centre + half], dim=-1)


def _by_column(deltas: Tensor, operation: Callable[[Tensor, float], Tensor], weights: Sequence[float]) -> Tensor:
    """Columns and numbers combined. Not a tensor of numbers, which would have to be sent to the device: that waits."""
    if all(weight == 1 for weight in weights):
        return deltas
    return torch.stack([operation(column, w) for column, w in zip(deltas.unbind(-1), weights, strict=True)], dim=-1)
