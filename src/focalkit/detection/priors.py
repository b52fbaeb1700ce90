"""Anchors: the boxes that a dense head scores and moves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class AnchorGrid:
    """Anchors of several scales and ratios at every cell of every level (Lin et al., 2017, sec. 4).

    Strides are fixed and coordinates are floats: nothing is rounded, and an anchor's place depends on its level and
    cell only, not on the size of the image. Anchor `a` of a cell is `ratio * len(scales) + scale` (torchvision's and
    mmdetection's order); the anchors of a level are in row-major order of its cells, then `a`.

    Attributes:
        sizes: Side in pixels of the square anchor, one per level. Halve them for small objects.
        scales: Factors on the side.
        ratios: Height / width, at equal area.
        strides: Pixels per cell, one per level.
        offset: Where in its cell an anchor is centred, in units of the stride; 0 is the upper left corner, as in
            detectron2, mmdetection and torchvision.

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

    def __call__(self, shapes: Sequence[tuple[int, int]], device: torch.device | str = "cpu") -> tuple[Tensor, ...]:
        """Anchors for feature maps of the given (height, width), one per level.

        Returns:
            Per level float32 (h*w*a, 4), xyxy. The tensors are cached: do not write to them.
        """
        if len(shapes) != len(self.strides):
            raise ValueError(f"expected {len(self.strides)} feature maps, one per stride, got {len(shapes)}")
        return _grid(self, tuple((int(h), int(w)) for h, w in shapes), torch.device(device))


@lru_cache(maxsize=64)
def _grid(grid: AnchorGrid, shapes: tuple[tuple[int, int], ...], device: torch.device) -> tuple[Tensor, ...]:
    levels = []
    with torch.inference_mode(False), torch.no_grad():
        for size, stride, (h, w) in zip(grid.sizes, grid.strides, shapes, strict=True):
            sides = [(size * s / math.sqrt(r), size * s * math.sqrt(r)) for r in grid.ratios for s in grid.scales]
            half = torch.tensor(sides, dtype=torch.float64) / 2
            base = torch.cat([-half, half], dim=1)  # (a, 4)
            x = (torch.arange(w, dtype=torch.float64) + grid.offset) * stride
            y = (torch.arange(h, dtype=torch.float64) + grid.offset) * stride
            yy, xx = torch.meshgrid(y, x, indexing="ij")
            centres = torch.stack([xx, yy, xx, yy], dim=-1).view(h * w, 1, 4)
            levels.append((centres + base).view(-1, 4).to(device=device, dtype=torch.float32))
    return tuple(levels)
