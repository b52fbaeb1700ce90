"""Raw predictions of a dense detector to detections."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from focalkit.detection.boxes.deltas import DeltaXYWH
from focalkit.detection.inference.detections import Detections
from focalkit.detection.types import BoxCoder, DenseOutputs

MANY_BOXES = 1000
"""From this number on, suppressing class by class is faster than all classes in one pass."""


@dataclass(frozen=True)
class DensePostprocess:
    """Threshold, best of each level, decode, clip, suppress, best of all (Lin et al., 2017, sec. 4, "Inference").

    Selection works on logits, of which only the survivors go through the sigmoid; only survivors are decoded. Where the
    model predicts a quality of its boxes, the score is the geometric mean of the class's and the quality's probability.

    Attributes:
        coder: Turns deltas into boxes.
        score_threshold: Predictions that score no more than this are dropped; 0 keeps all.
        iou_threshold: Of two boxes of one class that overlap more than this, the lower-scoring one is dropped.
        max_detections: Per image.
        top_k: Predictions per level that go on to be decoded.
        peak_window: Of each class, only cells that are the highest of a square of so many cells a side go on
            (CenterNet: 3, and no suppression behind it: `iou_threshold=1`); 1 takes all.
        clip: When boxes are cut at the image's edge; "after_nms" as detectron2.
        keep_empty: Keep detections whose box has no area left inside the image, as torchvision.
    """

    coder: BoxCoder = field(default_factory=DeltaXYWH)
    score_threshold: float = 0.05
    iou_threshold: float = 0.5
    max_detections: int = 100
    top_k: int = 1000
    peak_window: int = 1
    clip: Literal["before_nms", "after_nms"] = "before_nms"
    keep_empty: bool = False

    @torch.no_grad()
    def __call__(self, outputs: DenseOutputs, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Detections per image, the best first, in pixels of the network's input.

        Args:
            outputs: Of a batch of b images.
            image_sizes: Height and width of each image inside the padded batch, b pairs; boxes are clipped to it.
        """
        b = len(outputs.logits[0])
        if len(image_sizes) != b:
            raise ValueError(f"expected the size of each of the {b} images, got {len(image_sizes)} sizes")
        return [self._one(outputs, i, size) for i, size in enumerate(image_sizes)]

    def _one(self, outputs: DenseOutputs, i: int, size: tuple[int, int]) -> Detections:
        boxes, scores, labels = [], [], []
        threshold = logit(self.score_threshold)
        # no quality above 1 can lift a class that scores less than the square
        least = threshold if outputs.quality is None else logit(self.score_threshold**2)
        k = outputs.num_classes
        qualities = outputs.quality or (None,) * len(outputs.logits)
        for logits, deltas, priors, quality in zip(
            outputs.logits, outputs.deltas, outputs.priors, qualities, strict=True
        ):
            level = logits[i] if self.peak_window == 1 else peaks(logits[i], self.peak_window)
            flat = level.permute(1, 2, 0).reshape(-1)  # prior * k + class; a view when channels_last
            keep = (flat > least).nonzero().squeeze(1)
            values = flat[keep].float()
            if quality is not None:
                values = mean_logit(values, quality[i].permute(1, 2, 0).reshape(-1)[keep // k].float())
                keep, values = keep[values > threshold], values[values > threshold]
            if len(keep) > self.top_k:
                values, order = values.topk(self.top_k)
                keep = keep[order]
            row = keep.div(k, rounding_mode="floor")
            moves = deltas[i].permute(1, 2, 0).reshape(len(priors), -1)[row]
            boxes.append(self.coder.decode(moves, priors[row]))
            scores.append(values.sigmoid())
            labels.append(keep - row * k)
        found, score, label = torch.cat(boxes), torch.cat(scores), torch.cat(labels)
        if self.clip == "before_nms":
            found, score, label = self._inside(size, found, score, label)
        kept = nms_per_class(found, score, label, self.iou_threshold)[: self.max_detections]
        found, score, label = found[kept], score[kept], label[kept]
        if self.clip == "after_nms":
            found, score, label = self._inside(size, found, score, label)
        return Detections(found, score, label)

    def _inside(
        self, size: tuple[int, int], boxes: Tensor, scores: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes cut at the image's edge, without those of which nothing is left."""
        h, w = size
        boxes = torch.minimum(boxes.clamp(min=0), boxes.new_tensor([w, h, w, h]))
        if self.keep_empty:
            return boxes, scores, labels
        area = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(dim=1)
        return boxes[area], scores[area], labels[area]


def logit(probability: float) -> float:
    if not 0 <= probability <= 1:
        raise ValueError(f"score_threshold must lie in [0, 1], got {probability}")
    if probability in (0.0, 1.0):
        return math.copysign(math.inf, probability - 0.5)
    return math.log(probability) - math.log1p(-probability)


def peaks(logits: Tensor, window: int) -> Tensor:
    """(c, h, w), or a batch of it, with minus infinity wherever a neighbour is higher."""
    highest = F.max_pool2d(logits, window, stride=1, padding=window // 2)
    return torch.where(logits == highest, logits, -math.inf)


def mean_logit(one: Tensor, other: Tensor) -> Tensor:
    """The logit of the geometric mean of two probabilities given as logits."""
    log_mean = (F.logsigmoid(one) + F.logsigmoid(other)) / 2
    return log_mean - torch.log(-torch.expm1(log_mean))


def nms_per_class(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """Rows that survive suppression within their class, the best score first.

    torchvision's `batched_nms` moves each class to a place of its own by adding a float32 offset, which at 1,000
    classes costs an eighth of a pixel; float64 keeps the boxes as they are.
    """
    from torchvision.ops import nms

    if not len(boxes):
        return labels
    exact = boxes.double()
    if len(boxes) <= MANY_BOXES:
        # unclipped boxes reach below zero too
        offset = labels.double() * (exact.max() - exact.min() + 1)
        return nms(exact + offset[:, None], scores.double(), iou_threshold)
    kept = []
    for label in labels.unique():
        rows = (labels == label).nonzero().squeeze(1)
        kept.append(rows[nms(exact[rows], scores[rows].double(), iou_threshold)])
    rows = torch.cat(kept)
    return rows[scores[rows].argsort(descending=True, stable=True)]
