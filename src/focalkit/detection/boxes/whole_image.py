"""Priors of a set predictor: each of its predictions may lie anywhere, so what it refers to is the whole image."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class WholeImage:
    """The image itself as the prior of every prediction (Carion et al., 2020).

    With `CenterSizeCoder((1, 1, 1, 1))` box outputs are the centre, width and height as shares of the image.

    Example:
        >>> WholeImage()([(2, 1)], image_size=(64, 96))
        (tensor([[ 0.,  0., 96., 64.],
                [ 0.,  0., 96., 64.]]),)
    """

    @property
    def per_cell(self) -> int:
        """Predictions in a cell of the map that they come in: one."""
        return 1

    @property
    def strides(self) -> tuple[int, ...]:
        """There is one map, of no stride of its own."""
        return (1,)

    def __call__(
        self,
        shapes: Sequence[tuple[int, int]],
        device: torch.device | str = "cpu",
        image_size: Sequence[int] | None = None,
    ) -> tuple[Tensor, ...]:
        """Per map of the given (height, width), float32 (height * width, 4), xyxy.

        Args:
            shapes: Of the maps.
            device: Where to put them.
            image_size: Height and width of the padded images.
        """
        if image_size is None:
            raise ValueError("the priors are the image: give image_size=(height, width)")
        height, width = image_size
        image = torch.tensor([0.0, 0.0, float(width), float(height)], device=device)
        return tuple(image.expand(h * w, 4) for h, w in shapes)
