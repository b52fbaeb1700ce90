"""Assign ground-truth boxes to priors by IoU, without the priors x boxes matrix."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from focalkit.detection.matching.blocks import match_tiles
from focalkit.detection.types import BACKGROUND, IGNORE, Assignment, DetectionTarget

BLOCK = 2**19
GPU_BLOCK = 2**22
"""Elements of the overlap matrix that are held at a time. A GPU launches some 25 kernels per block, so it takes larger
ones: three buffers of 16 MB, which its second-level cache holds (estimated)."""

MANY_PRIORS = 2**16
"""From here on a CPU is faster if each box looks only at the priors near it (measured: equal at 80,000)."""

HUGE = 1e38
"""Turns any difference of two IoUs that matter into a number far below minus the number of boxes."""


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

    The matrix is never whole: with many priors on a CPU each box looks only at those near it, otherwise the matrix is
    computed in blocks of rows. Memory is bounded (500 boxes x 200,000 priors on a CPU: under 60 MB), and the answer is
    that of the whole matrix, bit for bit.

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
        if not 0 < self.bg_iou <= self.fg_iou <= 1:
            raise ValueError(f"expected 0 < bg_iou <= fg_iou <= 1, got bg_iou={self.bg_iou}, fg_iou={self.fg_iou}")

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
            if n >= MANY_PRIORS and _values_are_here(columns.device):
                matched = match_tiles(boxes, columns, area, self.min_pos_iou)
            else:
                matched = self._match(boxes, columns, area)
            best, index, forced, forced_index = matched
            positive = best >= self.fg_iou
            labels.masked_fill_((best >= self.bg_iou) & ~positive, IGNORE)
            gt_index = torch.where(positive, index, torch.where(forced > 0, forced_index, gt_index))
            labels = torch.where(gt_index >= 0, box_labels[gt_index], labels)
        if n and len(target.ignore_boxes):
            hidden = self._covered(target.ignore_boxes.to(columns.dtype), columns, area)
            labels = torch.where(hidden & (gt_index < 0), IGNORE, labels)
        return Assignment(labels, gt_index)

    def _match(self, boxes: Tensor, columns: Tensor, area: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Per prior: its best IoU and the box; the best IoU among boxes whose best prior it is and the box.

        A prior that is the best of no box has 0 or less as its second IoU.
        """
        m, n = len(boxes), columns.shape[1]
        rows = min(m, max(1, (GPU_BLOCK if area.device.type == "cuda" else BLOCK) // n))
        # row 0 carries the maximum over earlier blocks; fresh memory in each block would cost more than the arithmetic
        iou_buffer, forced_buffer, scratch_buffer = (area.new_zeros(rows + 1, n) for _ in range(3))
        index, forced_index = area.new_zeros(n), area.new_zeros(n)
        numbers = torch.arange(m, dtype=area.dtype, device=area.device)[:, None]
        box_area = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))[:, None]
        for start in range(0, m, rows):
            block = slice(start, start + rows)
            g = len(boxes[block])
            iou, forced, scratch = (buffer[: g + 1] for buffer in (iou_buffer, forced_buffer, scratch_buffer))
            _intersection(boxes[block], columns, iou[1:], scratch[1:], forced[1:])
            union = torch.add(box_area[block], area, out=scratch[1:]).sub_(iou[1:])
            iou[1:].div_(union.clamp_(min=torch.finfo(area.dtype).tiny))
            # subtle: a row's best is compared with the row it came from, so equality is exact: there the gap is 0
            top = iou[1:].amax(dim=1, keepdim=True)
            gap = torch.sub(iou[1:], torch.where(top >= self.min_pos_iou, top, 2), out=forced[1:])
            gap.mul_(HUGE).add_(iou[1:])
            _fold(iou, index, numbers[block], scratch)
            _fold(forced, forced_index, numbers[block], scratch)
        return iou_buffer[0], index.to(torch.int64), forced_buffer[0], forced_index.to(torch.int64)

    def _covered(self, regions: Tensor, columns: Tensor, area: Tensor) -> Tensor:
        covered = torch.zeros_like(area, dtype=torch.bool)
        for region in regions.split(max(1, BLOCK // columns.shape[1])):
            share, scratch, other = (area.new_empty(len(region), len(area)) for _ in range(3))
            _intersection(region, columns, share, scratch, other)
            covered |= share.amax(dim=0) / area >= self.ignore_iof
        return covered


def _values_are_here(device: torch.device) -> bool:
    """Whether the work may depend on values without making the host wait for the device."""
    return device.type == "cpu"


def _intersection(boxes: Tensor, columns: Tensor, out: Tensor, height: Tensor, scratch: Tensor) -> None:
    """Write to `out` (g, n) the area that boxes (g, 4) share with priors given as columns (4, n)."""
    x0, y0, x1, y1 = boxes.t()[..., None]
    torch.minimum(x1, columns[2], out=out).sub_(torch.maximum(x0, columns[0], out=scratch)).clamp_(min=0)
    torch.minimum(y1, columns[3], out=height).sub_(torch.maximum(y0, columns[1], out=scratch)).clamp_(min=0)
    out.mul_(height)


def _fold(values: Tensor, index: Tensor, numbers: Tensor, scratch: Tensor) -> None:
    """Put the maximum over the rows of `values` into its row 0, and the first row that has it into `index`.

    Row 0 and `index` hold the result so far; the other rows have the given numbers. This is several times faster on a
    CPU than `values.max(dim=0)`, whose search for the row is not vectorised.
    """
    top = values.amax(dim=0)
    torch.sub(values, top, out=scratch).mul_(HUGE)
    # subtle: 0 where equal and hugely negative elsewhere, so the largest of (this - number) is at the first equal row
    scratch[0] -= index
    scratch[1:] -= numbers
    torch.amax(scratch, dim=0, out=index).neg_()
    values[0] = top
