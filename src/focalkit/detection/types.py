"""Types that detectors pass around: outputs, priors, targets, batches, assignments, box coders."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

BACKGROUND = -1
IGNORE = -100


def _no_boxes() -> Tensor:
    return torch.zeros(0, 4)


@dataclass(frozen=True)
class DetectionTarget:
    """The ground truth of one image, in the pixels of the network's input.

    Attributes:
        boxes: float32 (m, 4), xyxy.
        labels: int64 (m,), 0..K-1.
        ignore_boxes: float32 (r, 4): crowd regions. Priors that lie in one are neither positive nor negative.
        image_id: The id in the data set.
        size: Height and width of the image inside the padded batch.
        original_size: Height and width of the file.
    """

    boxes: Tensor
    labels: Tensor
    ignore_boxes: Tensor = field(default_factory=_no_boxes)
    image_id: int = 0
    size: tuple[int, int] = (0, 0)
    original_size: tuple[int, int] = (0, 0)

    @classmethod
    def unknown(cls, image_id: int, *, size: tuple[int, int], original_size: tuple[int, int]) -> "DetectionTarget":
        """The target of an image of which nothing but its sizes is known."""
        return cls(_no_boxes(), torch.zeros(0, dtype=torch.int64), _no_boxes(), image_id, size, original_size)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "DetectionTarget":
        return DetectionTarget(
            self.boxes.to(device, non_blocking=non_blocking),
            self.labels.to(device, non_blocking=non_blocking),
            self.ignore_boxes.to(device, non_blocking=non_blocking),
            self.image_id,
            self.size,
            self.original_size,
        )


@dataclass(frozen=True)
class DetectionBatch:
    """Images padded to one size, and their targets.

    Attributes:
        images: float32 (b, 3, H, W) in [0, 1], channels_last.
        targets: One per image.
    """

    images: Tensor
    targets: list[DetectionTarget]

    def __len__(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "DetectionBatch":
        """The batch on `device` (Lightning calls this)."""
        return DetectionBatch(
            self.images.to(device, non_blocking=non_blocking), [t.to(device, non_blocking) for t in self.targets]
        )

    def pin_memory(self) -> "DetectionBatch":
        """The batch with its images in page-locked memory (`DataLoader(pin_memory=True)` calls this)."""
        return DetectionBatch(self.images.pin_memory(), self.targets)


@dataclass(frozen=True)
class DenseOutputs:
    """A dense detector's raw predictions, the same in training and evaluation.

    The native layout is kept: class channel a*K + k, box channel a*4 + (dx, dy, dw, dh).

    Attributes:
        logits: Per level (b, a*k, h, w), before the sigmoid.
        deltas: Per level (b, a*4, h, w), or as many per prior as the coder reads.
        priors: Per level (h*w*a, 4), xyxy in pixels, in the order of `flatten_level`.
        num_classes: K.
        quality: Per level (b, a, h, w), before the sigmoid: how good each box is, such as FCOS's centerness; None
            where the model does not say.
        earlier: What else a decoder says of the same images along the batch axis: the last layer's further groups of
            queries, then the layers before, the last one first, each group after group; with the rows of `logits` they
            are (layers * groups * b, ...). None where there is one layer. Detections do not need it; `SetCriterion`
            does.
        denoising: What a decoder makes of noised ground truth; None where it was not given any.
        refinement: The distributions over the sides of its boxes, of which the boxes are the expectations; None where
            a model has none.
        groups: Of queries in training, each matched by itself; the rows of `logits` are those of the first.
    """

    logits: tuple[Tensor, ...]
    deltas: tuple[Tensor, ...]
    priors: tuple[Tensor, ...]
    num_classes: int
    quality: tuple[Tensor, ...] | None = None
    earlier: "DenseOutputs | None" = None
    denoising: "Denoising | None" = None
    refinement: "Refinement | None" = None
    groups: int = 1


class PriorGrid(Protocol):
    """Sizes of the feature maps (height, width) to priors per level (n_l, 4), xyxy; some need the images' size too."""

    @property
    def per_cell(self) -> int: ...

    @property
    def strides(self) -> tuple[int, ...]: ...

    def __call__(
        self,
        shapes: Sequence[tuple[int, int]],
        device: torch.device | str = "cpu",
        image_size: Sequence[int] | None = None,
    ) -> tuple[Tensor, ...]: ...


class BoxCoder(Protocol):
    """Between boxes (..., 4), xyxy, and what the network predicts for a prior: `channels` numbers."""

    @property
    def channels(self) -> int: ...

    def encode(self, boxes: Tensor, priors: Tensor) -> Tensor: ...

    def decode(self, deltas: Tensor, priors: Tensor) -> Tensor: ...


def flatten_level(level: Tensor, width: int) -> Tensor:
    """(b, a*width, h, w) -> (b, h*w*a, width); a view when `level` is channels_last."""
    b, _, h, w = level.shape
    return level.permute(0, 2, 3, 1).reshape(b, h * w * (level.shape[1] // width), width)


@dataclass(frozen=True)
class Assignment:
    """The assignment of ground-truth boxes to priors.

    Attributes:
        labels: int64 (n,): class 0..K-1, -1 background, -100 ignored.
        gt_index: int64 (n,): row of the target's boxes, -1 where there is none.
        quality: float32 (n,) in [0, 1], how well each positive fits its box, 0 elsewhere; None from a matcher that does
            not say.
    """

    labels: Tensor
    gt_index: Tensor
    quality: Tensor | None = None


@dataclass(frozen=True)
class Refinement:
    """Distributions over how far each side of a box lies from that of the box it refines (D-FINE).

    Rows are the first ones of the outputs' batch axis. Where several layers lie along it, the last layer comes first;
    the rest, such as an encoder's proposals, have no distributions.

    Attributes:
        scores: (rows, q, 4 * bins), logits: left, top, right, bottom.
        starts: (rows, q, 4): the boxes that are refined, centre and size as shares of the image.
        images: How many rows a layer has: as many as there are images, for each group of queries.
    """

    scores: Tensor
    starts: Tensor
    images: int


@dataclass(frozen=True)
class Denoising:
    """What a decoder made of noised ground truth, and which box each noised query was made of.

    Attributes:
        outputs: Of all layers, as in `DenseOutputs.earlier`: (layers * b, ...).
        assignments: One per image of the batch, b of them; the same for every layer.
    """

    outputs: DenseOutputs
    assignments: tuple[Assignment, ...]
