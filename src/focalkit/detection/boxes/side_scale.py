"""Distributions over the sides of a box, on positions that lie close together in the middle (D-FINE).

Peng et al., 2024 (arXiv 2410.13842), sec. 4.1. What this file does not do: it predicts and judges nothing.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SideScale:
    """Positions of the bins, and what they mean for a box.

    A distribution says how far a side lies from that of the box it refines: position W(n) is the shift divided by the
    box's size and multiplied by `scale`. Boxes are centre and size as shares of the image.

    Attributes:
        bins: N; there are N + 1 positions.
        reach: The paper's a: the last but one position is this share of the box's size, the last twice as much.
        scale: One over the paper's c: larger is flatter around 0.

    Example:
        >>> SideScale(bins=6).values()
        tensor([-4.0000, -2.0000, -0.7321,  0.0000,  0.7321,  2.0000,  4.0000])
    """

    bins: int = 32
    reach: float = 0.5
    scale: float = 4.0

    def values(self, device: torch.device | str = "cpu") -> Tensor:
        """W(0) .. W(N), rising (eq. 5)."""
        bound = self.reach * self.scale
        step = (bound + 1) ** (2 / (self.bins - 2))
        rising = [step**n - 1 for n in range(1, self.bins // 2)]
        return torch.tensor([-2 * bound, *(-w for w in reversed(rising)), 0.0, *rising, 2 * bound], device=device)

    def decode(self, starts: Tensor, scores: Tensor) -> Tensor:
        """The boxes (..., 4) at the expectations of distributions.

        Args:
            starts: (..., 4), the boxes that are refined.
            scores: (..., 4 * (N + 1)), logits: left, top, right, bottom.
        """
        shifts = scores.unflatten(-1, (4, -1)).softmax(dim=-1) @ self.values(scores.device)
        centre, size = starts[..., :2], starts[..., 2:]
        low = centre - (0.5 * self.scale + shifts[..., :2]) * (size / self.scale)
        high = centre + (0.5 * self.scale + shifts[..., 2:]) * (size / self.scale)
        return torch.cat([(low + high) / 2, high - low], dim=-1)

    def positions(self, starts: Tensor, boxes: Tensor) -> Tensor:
        """Where the sides of true boxes lie: (..., 4) in 0 .. N, between two bins in proportion.

        Args:
            starts: (..., 4), the boxes that are refined.
            boxes: (..., 4), the true ones.
        """
        centre, size = starts[..., :2], starts[..., 2:].clamp(min=1e-12) / self.scale
        low, high = boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2
        shifts = torch.cat([(centre - low) / size, (high - centre) / size], dim=-1) - 0.5 * self.scale
        values = self.values(boxes.device)
        left = (torch.searchsorted(values, shifts.contiguous(), right=True) - 1).clamp(0, self.bins - 1)
        share = (shifts - values[left]) / (values[left + 1] - values[left])
        return left + share.clamp(0, 1)
