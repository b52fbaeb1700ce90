"""Which truth each prior answers for: matching by overlap, without the priors x boxes matrix."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from focalkit.detection._types import BACKGROUND, IGNORE, Assignment, DetectionTarget

BLOCK = 2**20
"""Elements of the overlap matrix that are held at a time."""


@dataclass(frozen=True)
class MaxIoUAssigner:
    """Match priors to boxes by intersection over union (Lin et al., 2017, sec. 4, "Anchors").

    A prior is positive for the box it overlaps most if that IoU is at least `fg_iou`, background below `bg_iou`, and
    ignored in between. Beyond the paper, as in Faster R-CNN's RPN: the priors that reach a box's best IoU become
    positive for it even below `fg_iou`, provided that the best is at least `min_pos_iou` and above zero (so a box that
    overlaps nothing matches nothing), and that the prior is not positive already. A prior that is the best of several
    boxes takes the one it overlaps most. Ties go to the lowest row of `boxes`.

    Priors that are not positive and lie with at least `ignore_iof` of their area in one of the target's ignore boxes
    (crowd regions) are ignored.

    The matrix is computed in blocks of rows, so memory is bounded: 500 boxes x 200,000 priors stay under 60 MB, and
    the answer is that of the whole matrix, bit for bit.

    Attributes:
        fg_iou, bg_iou: Thresholds of positives and of background.
        min_pos_iou: Least IoU of a match below `fg_iou`; 1 switches these matches off.
        ignore_iof: Intersection over the prior's area from which a crowd region hides the prior.
    """

    fg_iou: float = 0.5
    bg_iou: float = 0.4
    min_pos_iou: float = 0.05
    ignore_iof: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.bg_iou <= self.fg_iou <= 1:
            raise ValueError(f"expected 0 <= bg_iou <= fg_iou <= 1, got bg_iou={self.bg_iou}, fg_iou={self.fg_iou}")

    @torch.no_grad()
    def __call__(self, priors: Sequence[Tensor], target: DetectionTarget) -> Assignment:
        """Match one image.

        Args:
            priors: Per level (n_l, 4), xyxy.
            target: Boxes (m, 4) and labels (m,) of the image, and its ignore boxes (r, 4).

        Returns:
            Labels and box rows over the concatenated priors.
        """
        columns = torch.cat([level.t() for level in priors], dim=1)  # (4, n): one contiguous row per coordinate
        n, device = columns.shape[1], columns.device
        area = (columns[2] - columns[0]) * (columns[3] - columns[1])
        boxes, box_labels = target.boxes.to(columns.dtype), target.labels
        if len(boxes) != len(box_labels):
            raise ValueError(f"image {target.image_id}: {len(boxes)} boxes but {len(box_labels)} labels")

        labels = torch.full((n,), BACKGROUND, dtype=torch.int64, device=device)
        gt_index = torch.full((n,), -1, dtype=torch.int64, device=device)
        if n and len(boxes):
            best, index, forced, forced_index = self._match(boxes, columns, area)
            positive = best >= self.fg_iou
            low_quality = (forced > 0) & ~positive
            labels[(best >= self.bg_iou) & ~positive] = IGNORE
            gt_index = torch.where(positive, index, torch.where(low_quality, forced_index, gt_index))
            labels = torch.where(gt_index >= 0, box_labels[gt_index], labels)
        if n and len(target.ignore_boxes):
            hidden = self._covered(target.ignore_boxes.to(columns.dtype), columns, area)
            labels = torch.where(hidden & (gt_index < 0), IGNORE, labels)
        return Assignment(labels, gt_index)

    def _match(self, boxes: Tensor, columns: Tensor, area: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Per prior: its best IoU and the box; and the best IoU among boxes that it is the best prior of, and the box.

        "None" is an IoU of 0 in the second pair.
        """
        n = columns.shape[1]
        best, forced = area.new_zeros(n), area.new_zeros(n)
        index, forced_index = (torch.zeros(n, dtype=torch.int64, device=area.device) for _ in range(2))
        box_area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        rows = max(1, BLOCK // n)
        for start in range(0, len(boxes), rows):
            block = slice(start, start + rows)
            iou = _intersection(boxes[block], columns)
            union = box_area[block, None] + area
            union -= iou
            iou /= union
            del union
            _keep_larger(iou, start, best, index)
            # subtle: the best of a row is compared with the row it came from, so equality is exact
            top = iou.amax(dim=1, keepdim=True)
            reachable = (top > 0) & (top >= self.min_pos_iou)
            iou.masked_fill_((iou != top) | ~reachable, 0)
            _keep_larger(iou, start, forced, forced_index)
        return best, index, forced, forced_index

    def _covered(self, regions: Tensor, columns: Tensor, area: Tensor) -> Tensor:
        covered = torch.zeros_like(area, dtype=torch.bool)
        rows = max(1, BLOCK // columns.shape[1])
        for start in range(0, len(regions), rows):
            share = _intersection(regions[start : start + rows], columns).amax(dim=0) / area
            covered |= share >= self.ignore_iof
        return covered


def _intersection(boxes: Tensor, columns: Tensor) -> Tensor:
    """Overlap area of boxes (g, 4) with priors given as columns (4, n): (g, n)."""
    width = torch.minimum(boxes[:, 2, None], columns[2])
    width -= torch.maximum(boxes[:, 0, None], columns[0])
    height = torch.minimum(boxes[:, 3, None], columns[3])
    height -= torch.maximum(boxes[:, 1, None], columns[1])
    return width.clamp_(min=0).mul_(height.clamp_(min=0))


def _keep_larger(values: Tensor, start: int, best: Tensor, index: Tensor) -> None:
    """Update the running maximum over rows in place; `start` is the number of the first row of `values`."""
    top, row = values.max(dim=0)  # the first of equal maxima
    larger = top > best
    best.copy_(torch.where(larger, top, best))
    index.copy_(torch.where(larger, row + start, index))
