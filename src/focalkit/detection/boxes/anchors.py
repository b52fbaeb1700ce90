"""Anchors: the boxes that a dense head scores and moves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class AnchorGrid:
    """Anchors of several scales and ratios at every cell of every level (Lin et al., 2017, sec. 4).

    Unless told otherwise strides are fixed and coordinates are floats: nothing is rounded, and an anchor's place
    depends on its level and cell only, not on the size of the image. Anchor `a` of a cell is
    `ratio * len(scales) + scale` (torchvision's and mmdetection's order); the anchors of a level are in row-major order
    of its cells, then `a`.

    Attributes:
        sizes: Side in pixels of the square anchor, one per level. Halve them for small objects.
        scales: Factors on the side.
        ratios: Height / width, at equal area.
        strides: Pixels per cell, one per level.
        offset: Where in its cell an anchor is centred, in units of the stride; 0 is the upper left corner, as in
            detectron2, mmdetection and torchvision.
        rounded: Whole-pixel anchors as torchvision's: sides (size * scale) are cut to whole pixels, corners of the
            anchors rounded, half to even.
        stride_from: "levels" takes `strides`; "image" the size of the padded image // that of the feature map, as
            torchvision: the coarse levels then drift with the size of the image.

    Example:
        >>> grid = AnchorGrid(sizes=(32.0,), scales=(1.0,), ratios=(1.0,), strides=(8,))
        >>> grid([(1, 2)])[0].tolist()
        [[-16.0, -16.0, 16.0, 16.0], [-8.0, -16.0, 24.0, 16.0]]
    """

    sizes: tuple[float, ...] = (32.0, 64.0, 128.0, 256.0, 512.0)
    scales: tuple[float, ...] = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    strides: tuple[int, ...] = (8, 16, 32, 64, 128)
    offset: float = 0.0
    rounded: bool = False
    stride_from: Literal["levels", "image"] = "levels"

    def __post_init__(self) -> None:
        if len(self.sizes) != len(self.strides):
            raise ValueError(
                f"expected one anchor size per level ({len(self.strides)}), got {len(self.sizes)}: {self.sizes}"
            )
        for name in ("sizes", "scales", "ratios", "strides"):
            values = getattr(self, name)
            if not values or not all(value > 0 for value in values):
                raise ValueError(f"anchor {name} must be positive numbers, at least one, got {values}")

    @property
    def per_cell(self) -> int:
        """Number of anchors in a cell."""
        return len(self.scales) * len(self.ratios)

    def __call__(
        self,
        shapes: Sequence[tuple[int, int]],
        device: torch.device | str = "cpu",
        image_size: Sequence[int] | None = None,
    ) -> tuple[Tensor, ...]:
        """Anchors for feature maps of the given (height, width), one per level.

        Args:
            shapes: Of the feature maps.
            device: Of the result.
            image_size: Height and width of the padded images; needed for strides from the image.

        Returns:
            Per level float32 (h*w*a, 4), xyxy. The tensors are cached: do not write to them.
        """
        if len(shapes) != len(self.strides):
            raise ValueError(f"expected {len(self.strides)} feature maps, one per stride, got {len(shapes)}")
        shapes = tuple((int(h), int(w)) for h, w in shapes)
        if self.stride_from == "levels":
            steps = tuple((stride, stride) for stride in self.strides)
        elif image_size is None:
            raise ValueError("strides from the image need image_size, (height, width) of the padded images")
        else:
            steps = tuple((int(image_size[0]) // h, int(image_size[1]) // w) for h, w in shapes)
        return _grid(self, shapes, steps, torch.device(device))


@lru_cache(maxsize=8)  # of 9 anchors at 800 x 1333 pixels each takes 3 MB
def _grid(
    grid: AnchorGrid, shapes: tuple[tuple[int, int], ...], steps: tuple[tuple[int, int], ...], device: torch.device
) -> tuple[Tensor, ...]:
    levels = []
    with torch.inference_mode(False), torch.no_grad():
        for size, (dy, dx), (h, w) in zip(grid.sizes, steps, shapes, strict=True):
            squares = [int(size * s) if grid.rounded else size * s for s in grid.scales]
            sides = [(s / math.sqrt(r), s * math.sqrt(r)) for r in grid.ratios for s in squares]
            half = torch.tensor(sides, dtype=torch.float64) / 2
            base = torch.cat([-half, half], dim=1)  # (a, 4)
            if grid.rounded:
                base = base.round()
            x = (torch.arange(w, dtype=torch.float64) + grid.offset) * dx
            y = (torch.arange(h, dtype=torch.float64) + grid.offset) * dy
            yy, xx = torch.meshgrid(y, x, indexing="ij")
            centres = torch.stack([xx, yy, xx, yy], dim=-1).view(h * w, 1, 4)
            levels.append((centres + base).view(-1, 4).to(device=device, dtype=torch.float32))
    return tuple(levels)
