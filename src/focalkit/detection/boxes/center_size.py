"""CenterNet's box outputs (Zhou et al., 2019, arXiv 1904.07850): the offset of the centre in its cell, and the size."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CenterSizeCoder:
    """A box as its centre's offset in the cell and its width and height, in cells (Zhou et al., 2019, sec. 4).

    Attributes:
        weights: Factors on (dx, dy, w, h) when encoding. With L1 they are the weights of the paper's two losses: 1 for
            the offset, 0.1 for the size.

    Example:
        >>> CenterSizeCoder().encode(torch.tensor([[1.0, 1.0, 5.0, 9.0]]), torch.tensor([[0.0, 4.0, 4.0, 8.0]]))
        tensor([[0.7500, 0.2500, 0.1000, 0.2000]])
    """

    weights: tuple[float, float, float, float] = (1.0, 1.0, 0.1, 0.1)

    @property
    def channels(self) -> int:
        """Numbers that the network predicts for each prior."""
        return 4

    def encode(self, boxes: Tensor, priors: Tensor) -> Tensor:
        """Offsets and sizes (..., 4)."""
        side = priors[..., 2:] - priors[..., :2]
        offset = ((boxes[..., :2] + boxes[..., 2:]) / 2 - priors[..., :2]) / side
        found = torch.cat([offset, (boxes[..., 2:] - boxes[..., :2]) / side], dim=-1)
        return torch.stack([column * w for column, w in zip(found.unbind(-1), self.weights, strict=True)], dim=-1)

    def decode(self, deltas: Tensor, priors: Tensor) -> Tensor:
        """Boxes (..., 4), xyxy; float32 at least. A negative size counts as 0."""
        deltas = deltas.to(torch.promote_types(deltas.dtype, torch.float32))
        found = torch.stack([column / w for column, w in zip(deltas.unbind(-1), self.weights, strict=True)], dim=-1)
        side = priors[..., 2:] - priors[..., :2]
        centre, half = priors[..., :2] + found[..., :2] * side, found[..., 2:].clamp(min=0) * side / 2
        return torch.cat([centre - half, centre + half], dim=-1)
