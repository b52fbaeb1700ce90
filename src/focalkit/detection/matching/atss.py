"""Adaptive training sample selection (Zhang et al., 2020, arXiv 1912.02424): a threshold for each box of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from focalkit.detection.boxes.quality import iou
from focalkit.detection.matching.crowds import BLOCK, HideInCrowds
from focalkit.detection.types import BACKGROUND, Assignment, DetectionTarget

INSIDE = 0.01
"""Pixels by which a centre must lie inside the box, as in the authors' code."""


@dataclass(frozen=True)
class ATSSAssigner:
    """Match priors to boxes by the statistics of the nearest ones (Zhang et al., 2020, algorithm 1).

    For each box: the `top_k` priors of each level whose centres are nearest to the box's are candidates; their IoUs'
    mean plus standard deviation is the box's threshold; candidates that reach it, and whose centre lies in the box,
    are positive. A prior that several boxes want goes to the one it overlaps most. All others are background, or
    ignored where a crowd region hides them; there is no band in between.

    What the paper leaves open is settled thus: the standard deviation divides by the number less one, as in the
    authors' code; equally near priors count in their order, and of boxes equally overlapped the first wins, so that the
    answer is the same on every device. Memory is bounded: distances are computed for a few boxes at a time.

    Attributes:
        top_k: Candidates per level (the paper's k, sec. 4.4: 7 to 17 make no difference).
        ignore_iof: Intersection over the prior's area from which a crowd region hides the prior.

    Example:
        >>> priors = [torch.tensor([[0.0, 0.0, 8.0, 8.0], [8.0, 0.0, 16.0, 8.0], [16.0, 0.0, 24.0, 8.0]])]
        >>> target = DetectionTarget(torch.tensor([[1.0, 0.0, 9.0, 8.0]]), torch.tensor([3]))
        >>> ATSSAssigner()(priors, target).labels.tolist()     # IoU 7/9, 1/15, 0: mean .281 + deviation .431 = .713
        [3, -1, -1]
    """

    top_k: int = 9
    ignore_iof: float = 0.5

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise ValueError(f"top_k counts candidates per level and must be at least 1, got {self.top_k}")

    @torch.no_grad()
    def __call__(self, priors: Sequence[Tensor], target: DetectionTarget) -> Assignment:
        """Match one image.

        Args:
            priors: Per level (n_l, 4), xyxy.
            target: Boxes (m, 4) and labels (m,) of the image, and its ignore boxes (r, 4).

        Returns:
            Labels and box rows over the concatenated priors.
        """
        everything = torch.cat(list(priors))
        n, device = len(everything), everything.device
        boxes, box_labels = target.boxes.to(everything.dtype), target.labels
        m = len(boxes)
        if m != len(box_labels):
            raise ValueError(f"image {target.image_id}: {m} boxes but {len(box_labels)} labels")
        labels = torch.full((n,), BACKGROUND, dtype=torch.int64, device=device)
        gt_index = torch.full((n,), -1, dtype=torch.int64, device=device)
        if n and m:
            candidates = self._candidates(priors, boxes)  # (m, c)
            iou, inside = _compare(everything[candidates], boxes)
            deviation = iou.std(dim=1, correction=min(1, iou.shape[1] - 1))
            positive = (iou >= (iou.mean(dim=1) + deviation)[:, None]) & inside
            gt_index = settle(n, candidates, torch.where(positive, iou, -1.0))
            labels = torch.where(gt_index >= 0, box_labels[gt_index], labels)
        return HideInCrowds(self.ignore_iof)(Assignment(labels, gt_index), everything, target.ignore_boxes)

    def _candidates(self, priors: Sequence[Tensor], boxes: Tensor) -> Tensor:
        """Per box, the rows of its candidates among all priors, int64 (m, c)."""
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        found, start = [], 0
        for level in priors:
            points = (level[:, :2] + level[:, 2:]) / 2
            k = min(self.top_k, len(level))
            if k:
                blocks = centre.split(max(1, BLOCK // len(level)))
                found.append(torch.cat([_nearest(block, points, k) for block in blocks]) + start)
            start += len(level)
        return torch.cat(found, dim=1)


def _nearest(centres: Tensor, points: Tensor, k: int) -> Tensor:
    """Per centre (g, 2) the k nearest of the points (n, 2), the earlier ones of those equally far; int64 (g, k)."""
    distance = (centres[:, None] - points).square().sum(dim=2)
    last = distance.topk(k, dim=1, largest=False).values[:, -1:]
    nearer, tied = distance < last, distance == last
    # subtle: `topk` may return any of several equal values; ranks are all different
    wanted = nearer | (tied & (tied.cumsum(dim=1) <= k - nearer.sum(dim=1, keepdim=True)))
    rank = torch.arange(len(points), 0, -1, dtype=torch.int32, device=points.device)
    return torch.where(wanted, rank, 0).topk(k, dim=1).indices


def _compare(candidates: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """IoU of the candidates (m, c, 4) with their box (m, 4), and whether their centres lie in it; both (m, c)."""
    boxes = boxes[:, None]
    centre = (candidates[..., :2] + candidates[..., 2:]) / 2
    inside = torch.minimum(centre - boxes[..., :2], boxes[..., 2:] - centre).amin(dim=-1) > INSIDE
    return iou(candidates, boxes), inside


def settle(n: int, candidates: Tensor, value: Tensor) -> Tensor:
    """For each of n priors the row with the highest value of at least 0 among those that name it; -1 without one."""
    m = len(candidates)
    flat, value = candidates.flatten(), value.flatten()
    best = value.new_full((n,), -1.0).scatter_reduce(0, flat, value, "amax")
    rows = torch.arange(m, device=flat.device).repeat_interleave(candidates.shape[1])
    wins = (value >= 0) & (value == best[flat])
    index = rows.new_full((n,), m).scatter_reduce(0, flat, torch.where(wins, rows, m), "amin")
    return torch.where(index < m, index, -1)
