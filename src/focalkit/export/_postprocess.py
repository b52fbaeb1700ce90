"""Post-processing as a graph: every shape follows from the input's, and no step depends on a value.

What `DensePostprocess` does with a loop over images and lists of any length is done here for the whole batch, with
candidates that do not count at score -1. The result is padded to `max_detections` rows.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focalkit.detection import AnchorGrid, DensePostprocess
from focalkit.detection.inference.postprocess import logit, mean_logit, peaks
from focalkit.export._calibration import GraphCalibration

Suppress = Callable[[Tensor, Tensor, Tensor, int, float, int], Tensor]
"""Boxes (b, m, 4), scores (b, m), labels (b, m), number of classes, IoU threshold, most per class -> kept (b, m)."""


class GraphPostprocess(nn.Module):
    """Raw outputs, (height, width) of each image (b, 2) -> boxes (b, d, 4), scores (b, d), labels (b, d), counts (b,).

    Rows from an image's count on are padding: score 0.

    Args:
        priors: Of the model.
        settings: Thresholds, limits and coder.
        num_classes: K.
        suppress: How boxes of one class suppress each other.
        calibration: Maps the scores of what is left.
    """

    def __init__(
        self,
        priors: AnchorGrid,
        settings: DensePostprocess,
        num_classes: int,
        suppress: Suppress,
        calibration: GraphCalibration | None = None,
    ) -> None:
        super().__init__()
        self.calibration = calibration
        self.priors, self.settings, self.num_classes, self.suppress = priors, settings, num_classes, suppress
        # one cell per level, as if its stride were the given one; its neighbours are the same boxes moved by strides
        ones = [(1, 1)] * len(priors.strides)
        for level, base in enumerate(replace(priors, stride_from="levels", offset=0.0)(ones)):
            self.register_buffer(f"base{level}", base.clone(), persistent=False)

    def forward(self, outputs: tuple[Tensor, ...], sizes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        levels = len(self.priors.strides)
        finest = _cells(outputs[0])
        parts = [self._level(i, *outputs[i::levels], finest=finest) for i in range(levels)]
        boxes, logits, labels = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
        sizes = sizes.to(boxes.dtype)
        limits = torch.stack([sizes[:, 1], sizes[:, 0], sizes[:, 1], sizes[:, 0]], dim=1).unsqueeze(1)
        scores = torch.where(logits > logit(self.settings.score_threshold), logits.sigmoid(), -1.0)
        if self.settings.clip == "before_nms":
            boxes, scores = self._inside(boxes, scores, limits)
        most = min(self.settings.max_detections, scores.shape[1])
        kept = self.suppress(boxes, scores, labels, self.num_classes, self.settings.iou_threshold, most)
        best, order = torch.where(kept, scores, -1.0).topk(most, dim=1)
        boxes, labels = boxes.gather(1, order.unsqueeze(-1).expand(-1, -1, 4)), labels.gather(1, order)
        if self.settings.clip == "after_nms":
            boxes, best = self._inside(boxes, best, limits)
            best, order = best.topk(most, dim=1)  # those that have no area left go to the end
            boxes, labels = boxes.gather(1, order.unsqueeze(-1).expand(-1, -1, 4)), labels.gather(1, order)
        counts = (best > 0).sum(1)
        if self.calibration is not None:
            found = self.calibration(best.clamp(min=0), labels, boxes, limits)
            best, order = torch.where(best > 0, found, -1.0).topk(most, dim=1)
            boxes, labels = boxes.gather(1, order.unsqueeze(-1).expand(-1, -1, 4)), labels.gather(1, order)
        return boxes, best.clamp(min=0), labels, counts

    def _inside(self, boxes: Tensor, scores: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes cut at the image's edge; the score is -1 where nothing is left."""
        boxes = torch.minimum(boxes.clamp(min=0), limits)
        if self.settings.keep_empty:
            return boxes, scores
        return boxes, torch.where(((boxes[..., 2:] - boxes[..., :2]) > 0).all(-1), scores, -1.0)

    def _level(
        self,
        level: int,
        logits: Tensor,
        deltas: Tensor,
        quality: Tensor | None = None,
        *,
        finest: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        b, per_cell = logits.shape[0], self.priors.per_cell
        if self.settings.peak_window > 1:
            logits = peaks(logits, self.settings.peak_window)
        if quality is not None:
            logits = mean_logit(logits, quality.repeat_interleave(self.num_classes, dim=1))
        flat = logits.permute(0, 2, 3, 1).flatten(1)  # prior * K + class
        # subtle: a small level may have less than top_k of them; padding keeps the number of candidates fixed
        values, index = F.pad(flat, (0, self.settings.top_k), value=-math.inf).topk(self.settings.top_k, dim=1)
        index = index.clamp(max=flat.shape[1] - 1)
        row = index // self.num_classes
        width = deltas.shape[1] // per_cell
        moves = deltas.permute(0, 2, 3, 1).reshape(b, -1, width).gather(1, row.unsqueeze(-1).expand(-1, -1, width))
        priors = self._anchors(level, row, _cells(logits), finest)
        return self.settings.coder.decode(moves, priors), values, index % self.num_classes

    def _anchors(self, level: int, row: Tensor, size: tuple[Tensor, Tensor], finest: tuple[Tensor, Tensor]) -> Tensor:
        """The anchors (b, m, 4) of the given rows of a level, whose size and that of P3 are known in cells."""
        base, stride = self.get_buffer(f"base{level}"), self.priors.strides[level]
        dy, dx = stride, stride
        if self.priors.stride_from == "image":  # heights are multiples of 32: P3 has all of them
            dy, dx = (side * self.priors.strides[0] // cells for side, cells in zip(finest, size, strict=True))
        cell = row // self.priors.per_cell
        y = cell // size[1]
        x = (cell - y * size[1] + self.priors.offset) * dx
        y = (y + self.priors.offset) * dy
        return torch.stack([x, y, x, y], dim=-1) + base[row % self.priors.per_cell]


def _cells(level: Tensor) -> tuple[Tensor, Tensor]:
    """Height and width as 0-d tensors. As numbers they would be divided by, which ONNX cannot where they are open."""
    return torch.arange(level.shape[2]).amax(0) + 1, torch.arange(level.shape[3]).amax(0) + 1


def suppress_in_torch(
    boxes: Tensor, scores: Tensor, labels: Tensor, num_classes: int, iou_threshold: float, most: int
) -> Tensor:
    """All classes of all images in one pass, each moved to a place of its own; float64 keeps the boxes as they are."""
    from torchvision.ops import nms

    b, m = scores.shape
    exact = boxes.double()
    group = torch.arange(b).unsqueeze(1) * num_classes + labels
    moved = (exact + (group * (exact.max() - exact.min() + 1)).unsqueeze(-1)).view(-1, 4)
    kept = nms(moved, scores.reshape(-1).double(), iou_threshold)
    return torch.zeros(b * m, dtype=torch.bool).index_fill(0, kept, True).view(b, m) & (scores > 0)
