"""Matching exactly as torchvision, Detectron2 and MMDetection do it, to train on as they would or to compare.

Where they differ from `MaxIoUAssigner`: the priors that reach a box's best IoU become positive however low that is, so
that a box that overlaps nothing makes every prior positive; and which box they then answer for is decided otherwise.
Crowd regions do not matter to any of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from focalkit._boxes import intersection
from focalkit.detection.types import BACKGROUND, IGNORE, Assignment, DetectionTarget

BLOCK = 2**21
"""Elements of the overlap matrix that are held at a time."""


@dataclass(frozen=True)
class TorchvisionAssigner:
    """torchvision's `Matcher(0.5, 0.4, allow_low_quality_matches=True)` on `box_iou`.

    A prior that reaches some box's best IoU answers for the box that it overlaps most itself, which may be another.

    Attributes:
        fg_iou, bg_iou: Thresholds of positives and of background.
    """

    fg_iou: float = 0.5
    bg_iou: float = 0.4

    @torch.no_grad()
    def __call__(self, priors: Sequence[Tensor], target: DetectionTarget) -> Assignment:
        """Match one image; see `MaxIoUAssigner`."""
        boxes, columns = _inputs(priors, target)
        best, index, forced = columns.new_full(columns.shape[:1], -1.0), None, None
        for first, iou in _overlaps(boxes, columns):
            best, index = _fold(iou, first, best, index)
            reached = (iou == iou.amax(dim=1, keepdim=True)).any(dim=0)
            forced = reached if forced is None else forced | reached
        if index is None or forced is None:
            return _background(columns)
        return _assignment(best, torch.where((best >= self.fg_iou) | forced, index, -1), target.labels, self.bg_iou)


@dataclass(frozen=True)
class Detectron2Assigner(TorchvisionAssigner):
    """Detectron2's `Matcher([0.4, 0.5], [0, -1, 1], allow_low_quality_matches=True)`: the same as torchvision's."""


@dataclass(frozen=True)
class MMDetAssigner:
    """MMDetection's `MaxIoUAssigner(0.5, 0.4, min_pos_iou=0)`.

    Box by box, the priors that reach its best IoU are given to it, whatever they had before: the last box wins, also
    over a better match of .5 and more.

    Attributes:
        fg_iou, bg_iou: Thresholds of positives and of background.
        min_pos_iou: Least IoU of a match below `fg_iou`.
    """

    fg_iou: float = 0.5
    bg_iou: float = 0.4
    min_pos_iou: float = 0.0

    @torch.no_grad()
    def __call__(self, priors: Sequence[Tensor], target: DetectionTarget) -> Assignment:
        """Match one image; see `MaxIoUAssigner`."""
        boxes, columns = _inputs(priors, target)
        best, index = columns.new_full(columns.shape[:1], -1.0), None
        last = torch.full(columns.shape[:1], -1, dtype=torch.int64, device=columns.device)
        for first, iou in _overlaps(boxes, columns, least_union=1e-6):
            best, index = _fold(iou, first, best, index)
            top = iou.amax(dim=1, keepdim=True)
            rows = torch.arange(first, first + len(iou), device=iou.device)[:, None]
            given = torch.where((iou == top) & (top >= self.min_pos_iou), rows, -1)
            last = torch.maximum(last, given.amax(dim=0))
        if index is None:
            return _background(columns)
        matched = torch.where(last >= 0, last, torch.where(best >= self.fg_iou, index, -1))
        return _assignment(best, matched, target.labels, self.bg_iou)


LIBRARIES = {"torchvision": TorchvisionAssigner, "detectron2": Detectron2Assigner, "mmdet": MMDetAssigner}
"""Assigners by the name that `criterion.matching` takes."""


def _inputs(priors: Sequence[Tensor], target: DetectionTarget) -> tuple[Tensor, Tensor]:
    columns = torch.cat(list(priors))
    if len(target.boxes) != len(target.labels):
        raise ValueError(f"image {target.image_id}: {len(target.boxes)} boxes but {len(target.labels)} labels")
    return target.boxes.to(columns.dtype), columns


def _overlaps(boxes: Tensor, priors: Tensor, least_union: float = 0.0) -> Iterator[tuple[int, Tensor]]:
    """(number of the first box, IoU of a block of boxes with all priors), in the libraries' order of operations."""
    prior_area = (priors[:, 2] - priors[:, 0]) * (priors[:, 3] - priors[:, 1])
    rows = max(1, BLOCK // max(1, len(priors)))
    for start in range(0, len(boxes), rows):
        block = boxes[start : start + rows]
        area = (block[:, 2] - block[:, 0]) * (block[:, 3] - block[:, 1])
        shared = intersection(block[:, None], priors)
        union = area[:, None] + prior_area - shared
        yield start, shared / (union.clamp(min=least_union) if least_union else union)


def _fold(iou: Tensor, first: int, best: Tensor, index: Tensor | None) -> tuple[Tensor, Tensor]:
    """The best IoU of each prior so far and its box; of equal ones the first."""
    top, row = iou.max(dim=0)
    if index is None:
        return top, row + first
    return torch.where(top > best, top, best), torch.where(top > best, row + first, index)


def _assignment(best: Tensor, matched: Tensor, box_labels: Tensor, bg_iou: float) -> Assignment:
    labels = torch.where(best >= bg_iou, IGNORE, BACKGROUND)
    return Assignment(torch.where(matched >= 0, box_labels[matched], labels), matched)


def _background(priors: Tensor) -> Assignment:
    none = torch.full(priors.shape[:1], -1, dtype=torch.int64, device=priors.device)
    return Assignment(torch.full_like(none, BACKGROUND), none)
