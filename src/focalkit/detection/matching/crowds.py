"""Crowd regions hide the priors in them: the step that the assigners share."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from focalkit._boxes import area, intersection
from focalkit.detection.types import IGNORE, Assignment

BLOCK = 2**19
"""Elements of the overlap matrix that are held at a time."""


@dataclass(frozen=True)
class HideInCrowds:
    """Ignore the priors that are not positive and lie in a crowd region.

    Attributes:
        ignore_iof: Intersection over the prior's area from which a region hides the prior.
    """

    ignore_iof: float = 0.5

    def __call__(self, assignment: Assignment, priors: Tensor, regions: Tensor) -> Assignment:
        """The assignment with the hidden priors ignored; `priors` (n, 4) and `regions` (r, 4) are xyxy."""
        if not len(regions) or not len(priors):
            return assignment
        areas = area(priors)
        hidden = torch.zeros_like(assignment.labels, dtype=torch.bool)
        for block in regions.to(priors.dtype).split(max(1, BLOCK // len(priors))):
            hidden |= (intersection(block[:, None], priors) / areas >= self.ignore_iof).any(dim=0)
        labels = torch.where(hidden & (assignment.gt_index < 0), IGNORE, assignment.labels)
        return replace(assignment, labels=labels)
