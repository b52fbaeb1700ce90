"""Multi-scale deformable attention in plain PyTorch (Zhu et al., 2021, arXiv 2010.04159; RT-DETRv2, sec. 3.1)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Shapes = Sequence[tuple[int, int]]
"""Height and width of each level."""


class DeformableAttention(nn.Module):
    """Each query looks at a few points around its box on every level, and weighs what it finds.

    Args:
        channels: Of queries and maps.
        heads: Groups of channels that look at points of their own.
        levels: Number of maps.
        points: Points on each level for each head, or as many numbers as there are levels.
        reach: How far an offset of 1, divided by the number of points, is: in widths and heights of the box.
        projected: With linear layers before and after; D-FINE does without.
    """

    steps: Tensor

    def __init__(
        self,
        channels: int = 256,
        heads: int = 8,
        levels: int = 3,
        points: int | Sequence[int] = 4,
        reach: float = 0.5,
        projected: bool = True,
    ) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{heads} heads do not divide {channels} channels")
        self.heads = heads
        self.points = (points,) * levels if isinstance(points, int) else tuple(points)
        if len(self.points) != levels:
            raise ValueError(f"expected points for {levels} levels, got {self.points}")
        steps = torch.tensor([reach / n for n in self.points for _ in range(n)])
        self.register_buffer("steps", steps[:, None], persistent=False)
        self.sampling_offsets = nn.Linear(channels, heads * len(steps) * 2)
        self.attention_weights = nn.Linear(channels, heads * len(steps))
        self.value_proj = nn.Linear(channels, channels) if projected else nn.Identity()
        self.output_proj = nn.Linear(channels, channels) if projected else nn.Identity()
        self._initialise()

    def _initialise(self) -> None:
        """Heads look in directions of their own, points ever further, all alike (Zhu et al., sec. 4.1 and code)."""
        angles = torch.arange(self.heads) * (2 * math.pi / self.heads)
        directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
        directions = directions / directions.abs().amax(dim=-1, keepdim=True)
        steps = torch.cat([torch.arange(1, n + 1) for n in self.points])
        nn.init.zeros_(self.sampling_offsets.weight)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_((directions[:, None] * steps[:, None]).flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for layer in (self.value_proj, self.output_proj):
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, queries: Tensor, boxes: Tensor, memory: Tensor, shapes: Shapes) -> Tensor:
        """Look.

        Args:
            queries: (b, q, channels).
            boxes: (b, q, 4), centre and size as shares of the image.
            memory: (b, n, channels): the cells of all levels, row by row.
            shapes: Of the levels; n is the sum of their products.

        Returns:
            (b, q, channels).
        """
        b, q, _ = queries.shape
        offsets = self.sampling_offsets(queries).view(b, q, self.heads, len(self.steps), 2)
        weights = self.attention_weights(queries).view(b, q, self.heads, len(self.steps)).softmax(dim=-1)
        centres, sizes = boxes[:, :, None, None, :2], boxes[:, :, None, None, 2:]
        places = centres + offsets * sizes * self.steps
        values = self.value_proj(memory).transpose(1, 2).unflatten(1, (self.heads, -1)).flatten(0, 1)
        found = sample(values, shapes, places.transpose(1, 2).flatten(0, 1), self.points)
        seen = (found * weights.transpose(1, 2).flatten(0, 1)[:, None]).sum(dim=-1)  # (b * heads, channels / heads, q)
        return self.output_proj(seen.view(b, -1, q).transpose(1, 2))


def sample(values: Tensor, shapes: Shapes, places: Tensor, points: Sequence[int]) -> Tensor:
    """Values at places between cells, bilinear; 0 outside of the map.

    Args:
        values: (b, c, n), the cells of all levels.
        shapes: Height and width of each level.
        places: (b, q, p, 2), x and y as shares of the image; the first points are those of the first level.
        points: How many there are on each level; p is their sum.

    Returns:
        (b, c, q, p).
    """
    grids = (2 * places - 1).split(list(points), dim=2)
    maps = values.split([h * w for h, w in shapes], dim=2)
    found = [
        # in float32: half precision rounds places to a good part of a cell
        F.grid_sample(level.unflatten(2, shape).float(), grid.float(), align_corners=False).to(level.dtype)
        for level, shape, grid in zip(maps, shapes, grids, strict=True)
    ]
    return torch.cat(found, dim=-1)
