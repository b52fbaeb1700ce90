"""A matched batch as the terms of the criterion get it: labels of all priors, boxes of the positive ones.

What this file does not do: it decides nothing; which prior answers for which box is the matchers' (`matching/`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from focalkit.detection.types import Assignment, DenseOutputs, DetectionTarget


@dataclass(frozen=True)
class Positives:
    """The positive priors of a batch, one row each, over all images and levels.

    On a GPU every prior has a row, p = b * n, because the host would have to wait for the number of positive ones;
    `counts` then says which rows mean something.

    Attributes:
        deltas: Box outputs of the model as they are, (p, 4) or as many as the coder reads.
        priors: (p, 4), xyxy.
        boxes: The ground-truth boxes they answer for, float32 (p, 4), xyxy.
        counts: Bool (p,).
        rows: Image and prior of each row, int64 (p,) each; None where every prior has one.
        shape: (b, n).
        assigned: float32 (p,), the quality that the matcher gave; None where it gave none.
    """

    deltas: Tensor
    priors: Tensor
    boxes: Tensor
    counts: Tensor
    rows: tuple[Tensor, Tensor] | None
    shape: tuple[int, int]
    assigned: Tensor | None = None

    @torch.no_grad()
    def measure(self, quality: "Quality | None") -> Tensor:
        """How good each row is, (p,): 0 where it does not count or its box is NaN; 1 without a `quality`."""
        if quality is None:
            return self.counts.float()
        return torch.where(self.counts, quality(self), 0.0).nan_to_num(nan=0.0)  # its box loss is NaN all the same

    def spread(self, values: Tensor) -> Tensor:
        """Values (p,) at their place among all priors, (b, n); 0 elsewhere."""
        return (
            values.view(self.shape) if self.rows is None else values.new_zeros(self.shape).index_put(self.rows, values)
        )

    def pick(self, values: Tensor) -> Tensor:
        """The inverse: of values (b, n, ...) those of the rows, (p, ...)."""
        return values.flatten(0, 1) if self.rows is None else values[self.rows]


Quality = Callable[[Positives], Tensor]
"""How good each positive prior is, (p,) in [0, 1]: `PredictedIoU(coder)`, `Centerness()`, `AssignedQuality()`, or a
function of yours."""


@dataclass(frozen=True)
class Matches:
    """Attributes:
    labels: int64 (b, n): class 0..K-1, -1 background, -100 ignored.
    num_positives: int64 (b,), of each image.
    positives: Those priors, with their boxes.
    targets: The ground truth, one per image.
    """

    labels: Tensor
    num_positives: Tensor
    positives: Positives
    targets: Sequence[DetectionTarget]


def matches_of(outputs: DenseOutputs, targets: Sequence[DetectionTarget], assignments: Sequence[Assignment]) -> Matches:
    """Put the answers of a matcher together with the outputs and the ground truth of a batch."""
    gt_index = torch.stack([a.gt_index for a in assignments])  # (b, n)
    # the last row stands for "none", so that index -1 finds one even where an image has no boxes
    tables = [torch.cat([t.boxes.float(), t.boxes.new_zeros(1, 4, dtype=torch.float32)]) for t in targets]
    boxes = torch.stack([table[index] for table, index in zip(tables, gt_index, strict=True)])  # (b, n, 4)
    levels = zip(outputs.deltas, outputs.priors, strict=True)
    deltas = torch.cat([by_prior(level, len(priors)) for level, priors in levels], dim=1)
    priors, positive = torch.cat(outputs.priors).expand_as(boxes), gt_index >= 0
    image, prior = positive.nonzero(as_tuple=True) if counts_are_free(deltas.device) else (None, None)
    rows = None if image is None or prior is None else (image, prior)

    def pick(x: Tensor) -> Tensor:
        return x.flatten(0, 1) if rows is None else x[rows]

    given = [a.quality for a in assignments if a.quality is not None]
    assigned = pick(torch.stack(given)) if given and len(given) == len(assignments) else None
    picked = [pick(x) for x in (deltas, priors, boxes, positive)]
    return Matches(
        labels=torch.stack([a.labels for a in assignments]),
        num_positives=positive.sum(dim=1),
        positives=Positives(*picked, rows=rows, shape=(gt_index.shape[0], gt_index.shape[1]), assigned=assigned),
        targets=targets,
    )


def by_prior(level: Tensor, count: int) -> Tensor:
    """(b, a*width, h, w) -> (b, count, width), whatever the width; a view when `level` is channels_last."""
    return level.permute(0, 2, 3, 1).reshape(len(level), count, -1)


def counts_are_free(device: torch.device) -> bool:
    """Whether taking the positives out, whose number the host must know, does not make it wait for the device."""
    return device.type == "cpu"
