"""CenterNet's assignment (Zhou et al., 2019, arXiv 1904.07850): the cell that a box's centre lies in is positive."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from focalkit.detection.matching.fcos import assign_smallest
from focalkit.detection.types import Assignment, DetectionTarget


@dataclass(frozen=True)
class CenterAssigner:
    """The cell that a box's centre lies in is positive; of several boxes the smallest wins, then the first.

    Attributes:
        ignore_iof: Share of its cell from which a crowd region hides a point.
    """

    ignore_iof: float = 0.5

    @torch.no_grad()
    def __call__(self, priors: Sequence[Tensor], target: DetectionTarget) -> Assignment:
        """Match one image; `priors` are the cells of `PointGrid`, per level (n_l, 4)."""

        def wanted(level: int, boxes: Tensor) -> Tensor:
            cells, centre = priors[level], (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
            return ((cells[:, :2] <= centre) & (centre < cells[:, 2:])).all(dim=-1)

        return assign_smallest(priors, target, wanted, self.ignore_iof)
