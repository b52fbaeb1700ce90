"""CenterNet's class targets (Zhou et al., 2019, arXiv 1904.07850): a Gaussian around the centre of every box.

The loss on them is `gaussian_focal_loss`; detections are the peaks (`DensePostprocess(peak_window=3)`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from focalkit.detection.matching.crowds import BLOCK
from focalkit.detection.types import DetectionTarget


def gaussian_radius(height: Tensor, width: Tensor, min_overlap: float = 0.3) -> Tensor:
    """How far both corners of a box may be off while its IoU stays at least `min_overlap` (Law and Deng, 2018, 3.2).

    The corners may move the same way, both inwards or both outwards; each case gives a quadratic equation in the
    radius, and the smallest solution counts.

    Args:
        height, width: Of the boxes, any shape, positive.
        min_overlap: The IoU, in (0, 1); the paper's 0.3.

    Example:
        >>> gaussian_radius(torch.tensor(10.0), torch.tensor(10.0))
        tensor(2.2614)
    """
    around, area, o = height + width, height * width, min_overlap
    # shifted: (h - r)(w - r) = o (2hw - (h - r)(w - r))
    shifted = (around - (around**2 - 4 * area * (1 - o) / (1 + o)).sqrt()) / 2
    # inwards: (h - 2r)(w - 2r) = o h w
    inwards = (around - (around**2 - 4 * (1 - o) * area).sqrt()) / 4
    # outwards: h w = o (h + 2r)(w + 2r)
    outwards = (-around + (around**2 + 4 * (1 / o - 1) * area).sqrt()) / 4
    return torch.minimum(shifted, torch.minimum(inwards, outwards))


@dataclass(frozen=True)
class GaussianHeatMap:
    """Class targets that are 1 at the cells of centres and fall off around them (Zhou et al., 2019, sec. 3, eq. 1).

    The radius in cells is that of `gaussian_radius`, cut to whole numbers; the standard deviation a sixth of the
    diameter 2 r + 1; outside of the square of that radius the map is 0. Where objects of a class overlap, the larger
    value counts.

    Attributes:
        min_overlap: Of a box that is off by the radius.

    Example:
        >>> cells = [torch.tensor([[0.0, 0.0, 4.0, 4.0], [4.0, 0.0, 8.0, 4.0]])]
        >>> target = DetectionTarget(torch.tensor([[3.0, 0.0, 7.0, 4.0]]), torch.tensor([1]))
        >>> GaussianHeatMap()(cells, target, 2).tolist()
        [[0.0, 0.0], [0.0, 1.0]]
    """

    min_overlap: float = 0.3

    @torch.no_grad()
    def __call__(self, priors: Sequence[Tensor], target: DetectionTarget, num_classes: int) -> Tensor:
        """The map of one image, (n, k) over the concatenated cells."""
        maps = []
        for cells in priors:
            heat = cells.new_zeros(num_classes, len(cells))
            side = cells[:1, 2:] - cells[:1, :2]  # one row, so that no value is read; empty without cells
            place = cells[:, :2] / side
            step = max(1, BLOCK // max(1, len(cells)))
            for boxes, labels in zip(target.boxes.split(step), target.labels.split(step), strict=True):
                if not len(cells) or not len(boxes):
                    continue
                size = ((boxes[:, 2:] - boxes[:, :2]) / side).clamp(min=0)
                radius = gaussian_radius(size[:, 1], size[:, 0], self.min_overlap).floor().clamp(min=0)[:, None]
                centre = ((boxes[:, :2] + boxes[:, 2:]) / 2 / side).floor()
                off = place - centre[:, None]  # (g, n, 2)
                near = off.abs().amax(dim=-1) <= radius
                value = torch.where(near, torch.exp(-18 * off.square().sum(dim=-1) / (2 * radius + 1) ** 2), 0.0)
                heat = heat.scatter_reduce(0, labels[:, None].expand_as(value), value, "amax")
            maps.append(heat.t())
        return torch.cat(maps)
