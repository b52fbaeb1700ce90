"""Matching of points to boxes as in FCOS (Tian et al., arXiv 1904.01355; with centre sampling, arXiv 2006.09214).

The points are `PointGrid`'s cells, the boxes `DistanceCoder`'s distances, the centerness is in `quality.py`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from focalkit.detection.matching.crowds import BLOCK, HideInCrowds
from focalkit.detection.types import BACKGROUND, Assignment, DetectionTarget


@dataclass(frozen=True)
class PointAssigner:
    """Match points to the boxes around them (Tian et al., 2019, sec. 3.2).

    A point is positive for a box if it lies in the box, near its centre (centre sampling), and the largest of its four
    distances is in the range of the point's level. Of several boxes the smallest wins, of equally small ones the first.
    All other points are background, or ignored where a crowd region hides them.

    Attributes:
        limits: Largest distance in pixels of each level but the last; a level begins where the one before it ends (both
            ends count, as in the authors' code).
        radius: Half the side, in strides, of the square around the box's centre that positive points lie in; None takes
            the whole box, as the first version of the paper.
        ignore_iof: Share of its cell from which a crowd region hides a point.

    Example:
        >>> cells = [torch.tensor([[0.0, 0.0, 8.0, 8.0], [8.0, 0.0, 16.0, 8.0], [16.0, 0.0, 24.0, 8.0]])]
        >>> target = DetectionTarget(torch.tensor([[0.0, 0.0, 24.0, 8.0]]), torch.tensor([5]))
        >>> PointAssigner(limits=(), radius=0.5)(cells, target).labels.tolist()
        [-1, 5, -1]
    """

    limits: tuple[float, ...] = (64.0, 128.0, 256.0, 512.0)
    radius: float | None = 1.5
    ignore_iof: float = 0.5

    def __post_init__(self) -> None:
        if list(self.limits) != sorted(self.limits) or any(limit <= 0 for limit in self.limits):
            raise ValueError(f"limits are distances in pixels that grow from level to level, got {self.limits}")
        if self.radius is not None and self.radius <= 0:
            raise ValueError(f"radius counts strides and must be positive, or None, got {self.radius}")

    @torch.no_grad()
    def __call__(self, priors: Sequence[Tensor], target: DetectionTarget) -> Assignment:
        """Match one image.

        Args:
            priors: Per level (n_l, 4), the cells of its points, xyxy.
            target: Boxes (m, 4) and labels (m,) of the image, and its ignore boxes (r, 4).

        Returns:
            Labels and box rows over the concatenated points.
        """
        if len(priors) != len(self.limits) + 1:
            raise ValueError(f"expected {len(self.limits) + 1} levels, one more than limits, got {len(priors)}")
        low, high = (0.0, *self.limits), (*self.limits, math.inf)

        def wanted(level: int, boxes: Tensor) -> Tensor:
            cells = priors[level]
            point, stride = (cells[:, :2] + cells[:, 2:]) / 2, cells[:, 2:] - cells[:, :2]
            sides = torch.cat([point - boxes[:, None, :2], boxes[:, None, 2:] - point], dim=-1)  # (g, n_l, 4)
            reach = sides.amax(dim=-1)
            found = (sides.amin(dim=-1) > 0) & (reach >= low[level]) & (reach <= high[level])
            if self.radius is not None:
                middle = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
                found &= ((point - middle).abs() < self.radius * stride).all(dim=-1)
            return found

        return assign_smallest(priors, target, wanted, self.ignore_iof)


def assign_smallest(
    priors: Sequence[Tensor],
    target: DetectionTarget,
    wanted: Callable[[int, Tensor], Tensor],
    ignore_iof: float,
) -> Assignment:
    """Give every prior to the smallest of the boxes that want it, the first of equally small ones.

    Args:
        priors: Per level (n_l, 4), xyxy.
        target: The ground truth of the image.
        wanted: (level, boxes (g, 4)) -> bool (g, n_l). It is asked for a few boxes at a time.
        ignore_iof: Share of a prior from which a crowd region hides it.
    """
    everything = torch.cat(list(priors))
    device = everything.device
    boxes, box_labels = target.boxes.to(everything.dtype), target.labels
    if len(boxes) != len(box_labels):
        raise ValueError(f"image {target.image_id}: {len(boxes)} boxes but {len(box_labels)} labels")
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    found = []
    for level, cells in enumerate(priors):
        least = everything.new_full((len(cells),), math.inf)
        index = torch.full((len(cells),), -1, dtype=torch.int64, device=device)
        step = max(1, BLOCK // (4 * max(1, len(cells))))
        for start in range(0, len(boxes), step):
            block = slice(start, start + step)
            size = torch.where(wanted(level, boxes[block]), area[block, None], math.inf)
            top = size.amin(dim=0)
            # subtle: `argmin` may name any of several equal rows; the first of them is wanted
            row = torch.where(size == top, torch.arange(len(size), device=device)[:, None], len(size)).amin(dim=0)
            better = top < least
            least, index = torch.where(better, top, least), torch.where(better, row + start, index)
        found.append(index)
    gt_index = torch.cat(found)
    labels = torch.full_like(gt_index, BACKGROUND)
    if len(boxes):
        labels = torch.where(gt_index >= 0, box_labels[gt_index], labels)
    return HideInCrowds(ignore_iof)(Assignment(labels, gt_index), everything, target.ignore_boxes)
