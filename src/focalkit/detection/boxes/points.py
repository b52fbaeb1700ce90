"""Detection without anchors: points as priors, and boxes as the distances from a point to the four sides.

A point is given as its cell, a square whose side is the stride, so that priors are boxes everywhere and every assigner
and coder reads the same thing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from focalkit.detection.boxes.anchors import AnchorGrid

LEAST = 1e-3
"""Smallest distance that is encoded, in units, so that its logarithm exists."""
MAX_LOG = math.log(1000)
"""Of the largest distance that is decoded, in units: a larger one would let exp overflow."""


@dataclass(frozen=True)
class PointGrid:
    """One point in the middle of every cell of every level (Tian et al., 2019, sec. 3.1).

    Attributes:
        strides: Pixels per cell, one per level.

    Example:
        >>> PointGrid((8,))([(1, 2)])[0].tolist()
        [[0.0, 0.0, 8.0, 8.0], [8.0, 0.0, 16.0, 8.0]]
    """

    strides: tuple[int, ...] = (8, 16, 32, 64, 128)

    @property
    def per_cell(self) -> int:
        """Number of points in a cell: one."""
        return 1

    def __call__(
        self,
        shapes: Sequence[tuple[int, int]],
        device: torch.device | str = "cpu",
        image_size: Sequence[int] | None = None,
    ) -> tuple[Tensor, ...]:
        """Cells of feature maps of the given (height, width): per level float32 (h*w, 4), xyxy.

        The tensors are cached: do not write to them. The size of the image, which `AnchorGrid` takes, does not matter.
        """
        return square_grid(tuple(map(float, self.strides)), self.strides)(shapes, device)


def square_grid(sizes: Sequence[float], strides: Sequence[int] = (8, 16, 32, 64, 128)) -> AnchorGrid:
    """One square anchor in the middle of every cell: the priors of ATSS, GFL and VarifocalNet; 8 strides wide."""
    return AnchorGrid(tuple(sizes), (1.0,), (1.0,), tuple(strides), offset=0.5)


@dataclass(frozen=True)
class DistanceCoder:
    """A box as the logarithms of its sides' distances from the prior's centre (Tian et al., 2019, eq. 1 and sec. 3.1).

    The order is left, top, right, bottom. A centre that lies outside of the box has no logarithm: the distance to that
    side is taken as a thousandth of a unit.

    Attributes:
        unit: What distances are measured in, as a share of the prior's width and height; 1 is the stride where priors
            are cells, 1/8 where they are 8 strides wide.

    Example:
        >>> cell, box = torch.tensor([[0.0, 0.0, 8.0, 8.0]]), torch.tensor([[-4.0, 0.0, 12.0, 8.0]])
        >>> DistanceCoder().encode(box, cell).exp()
        tensor([[1.0000, 0.5000, 1.0000, 0.5000]])
    """

    unit: float = 1.0

    @property
    def channels(self) -> int:
        """Numbers that the network predicts for each prior."""
        return 4

    def encode(self, boxes: Tensor, priors: Tensor) -> Tensor:
        """Logarithms of the distances (..., 4)."""
        return distances(boxes, priors, self.unit).clamp(min=LEAST).log()

    def decode(self, deltas: Tensor, priors: Tensor) -> Tensor:
        """Boxes (..., 4), xyxy; float32 at least. A distance is at most a thousand units."""
        deltas = deltas.to(torch.promote_types(deltas.dtype, torch.float32))
        return boxes_around(deltas.clamp(max=MAX_LOG).exp(), priors, self.unit)


@dataclass(frozen=True)
class PlainDistanceCoder:
    """A box as the distances of its sides from the centre of the prior: left, top, right, bottom (RTMDet tiny and s).

    Attributes:
        unit: What distances are measured in, as a share of the prior's width and height; see `DistanceCoder`.

    Example:
        >>> cell, box = torch.tensor([[0.0, 0.0, 8.0, 8.0]]), torch.tensor([[-4.0, 0.0, 12.0, 8.0]])
        >>> PlainDistanceCoder().encode(box, cell)
        tensor([[1.0000, 0.5000, 1.0000, 0.5000]])
    """

    unit: float = 1.0

    @property
    def channels(self) -> int:
        """Numbers that the network predicts for each prior."""
        return 4

    def encode(self, boxes: Tensor, priors: Tensor) -> Tensor:
        """Distances (..., 4) in units; negative where the centre lies outside of the box."""
        return distances(boxes, priors, self.unit)

    def decode(self, deltas: Tensor, priors: Tensor) -> Tensor:
        """Boxes (..., 4), xyxy; float32 at least. Without area where distances are negative enough."""
        return boxes_around(deltas.to(torch.promote_types(deltas.dtype, torch.float32)), priors, self.unit)


@dataclass(frozen=True)
class DistributionCoder:
    """Each side's distance from the prior's centre as a distribution over 0, 1, ..., bins - 1 (Li et al., 2020, eq. 3).

    The network gives `bins` scores per side, 4 * bins per prior, in the order left, top, right, bottom; the distance is
    the mean of their softmax. What is encoded is the true distance itself, which `distribution_focal_loss` takes.

    Attributes:
        bins: Positions; the paper's n + 1. The largest distance is bins - 1 units.
        unit: What distances are measured in, as a share of the prior's width and height; see `DistanceCoder`.

    Example:
        >>> scores = torch.zeros(1, 4 * 3)                  # all alike: the mean of 0, 1, 2
        >>> DistributionCoder(bins=3).decode(scores, torch.tensor([[0.0, 0.0, 8.0, 8.0]]))
        tensor([[-4., -4., 12., 12.]])
    """

    bins: int = 17
    unit: float = 1.0

    def __post_init__(self) -> None:
        if self.bins < 2:
            raise ValueError(f"a distribution needs at least 2 bins, got {self.bins}")

    @property
    def channels(self) -> int:
        """Numbers that the network predicts for each prior."""
        return 4 * self.bins

    def encode(self, boxes: Tensor, priors: Tensor) -> Tensor:
        """Distances (..., 4) in units, bounded to 0 .. bins - 1."""
        return distances(boxes, priors, self.unit).clamp(0, self.bins - 1)

    def decode(self, deltas: Tensor, priors: Tensor) -> Tensor:
        """Scores (..., 4 * bins) to boxes (..., 4), xyxy; float32 at least."""
        scores = deltas.to(torch.promote_types(deltas.dtype, torch.float32)).unflatten(-1, (4, self.bins))
        positions = torch.arange(self.bins, dtype=scores.dtype, device=scores.device)
        return boxes_around((scores.softmax(dim=-1) * positions).sum(dim=-1), priors, self.unit)


def distances(boxes: Tensor, priors: Tensor, unit: float = 1.0) -> Tensor:
    """From the centres of `priors` (..., 4) to the sides of `boxes` (..., 4): left, top, right, bottom; signed.

    Args:
        boxes: xyxy; broadcasts against `priors`.
        priors: xyxy.
        unit: Of the result, as a share of the prior's width and height.
    """
    centre, side = (priors[..., :2] + priors[..., 2:]) / 2, priors[..., 2:] - priors[..., :2]
    found = torch.cat([centre - boxes[..., :2], boxes[..., 2:] - centre], dim=-1)
    return found / (torch.cat([side, side], dim=-1) * unit)


def boxes_around(found: Tensor, priors: Tensor, unit: float = 1.0) -> Tensor:
    """Boxes (..., 4) from distances (..., 4): the inverse of `distances`."""
    centre, side = (priors[..., :2] + priors[..., 2:]) / 2, (priors[..., 2:] - priors[..., :2]) * unit
    return torch.cat([centre - found[..., :2] * side, centre + found[..., 2:] * side], dim=-1)
