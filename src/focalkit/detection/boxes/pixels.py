"""Box outputs that are boxes."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PixelCoder:
    """Boxes as they are, xyxy in pixels, whatever the prior: what exported set predictors give."""

    @property
    def channels(self) -> int:
        """Numbers that the network predicts for each prior."""
        return 4

    def encode(self, boxes: Tensor, priors: Tensor) -> Tensor:
        """The boxes (..., 4)."""
        return boxes

    def decode(self, deltas: Tensor, priors: Tensor) -> Tensor:
        """The boxes (..., 4), float32 at least."""
        return deltas.to(torch.promote_types(deltas.dtype, torch.float32))
