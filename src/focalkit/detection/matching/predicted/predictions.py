"""What assigners that look at predictions share: the predictions of an image, and picking the best of each box."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from focalkit.detection.matches import by_prior
from focalkit.detection.types import BoxCoder, DenseOutputs, DetectionTarget, flatten_level
from focalkit.errors import DivergedError

BLOCK = 2**19
"""Pairs of a prediction and a box that are held at a time."""


@dataclass(frozen=True)
class Predictions:
    """What a model says of one image, in float32.

    Attributes:
        logits: (n, k).
        boxes: (n, 4), xyxy, decoded.
        priors: (n, 4), xyxy: the cells of the points.
        quality: (n,), the logits of the model's own estimate; None where it has none.
    """

    logits: Tensor
    boxes: Tensor
    priors: Tensor
    quality: Tensor | None = None

    @property
    def points(self) -> Tensor:
        """(n, 2), the middle of each prior."""
        return centers(self.priors)

    @property
    def strides(self) -> Tensor:
        """(n,), the width of each prior."""
        return self.priors[:, 2] - self.priors[:, 0]

    def at(self, rows: Tensor) -> "Predictions":
        """Some of them, by their rows int64 (r,)."""
        quality = None if self.quality is None else self.quality[rows]
        return Predictions(self.logits[rows], self.boxes[rows], self.priors[rows], quality)


def predictions_of(
    outputs: DenseOutputs, coder: BoxCoder, targets: Sequence[DetectionTarget]
) -> Iterator[tuple[Predictions, DetectionTarget]]:
    """The predictions of each image, beside its ground truth.

    Raises:
        DivergedError: A prediction is NaN or infinite; the message says which.
        ValueError: A ground-truth box is, or there are other numbers of boxes and labels, or of images and targets.
    """
    logits = torch.cat([flatten_level(level, outputs.num_classes) for level in outputs.logits], dim=1).float()
    deltas, priors = _flat(outputs.deltas, outputs).float(), torch.cat(outputs.priors)
    if len(targets) != len(logits):
        raise ValueError(f"expected one target for each of the {len(logits)} images, got {len(targets)}")
    boxes = coder.decode(deltas, priors)
    quality = None if outputs.quality is None else _flat(outputs.quality, outputs)[..., 0].float()
    given = [logits, deltas, *(t.boxes for t in targets)] + ([] if quality is None else [quality])
    if not torch.stack([x.isfinite().all() for x in given]).all():  # one wait for the device
        raise _blame(logits, deltas, quality, targets)
    for i, target in enumerate(targets):
        if len(target.boxes) != len(target.labels):
            raise ValueError(f"image {target.image_id}: {len(target.boxes)} boxes but {len(target.labels)} labels")
        yield Predictions(logits[i], boxes[i], priors, None if quality is None else quality[i]), target


def smallest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Of each row (g, n) the k smallest values and their columns, ascending, the first of equal ones first."""
    k = min(k, values.shape[1])
    last = values.topk(k, dim=1, largest=False).values[:, -1:]
    less, tied = values < last, values == last
    # subtle: `topk` may return any of several equal values; ranks are all different
    wanted = less | (tied & (tied.cumsum(dim=1) <= k - less.sum(dim=1, keepdim=True)))
    rank = torch.arange(values.shape[1], 0, -1, dtype=torch.int32, device=values.device)
    columns = torch.where(wanted, rank, 0).topk(k, dim=1).indices
    ordered, place = values.gather(1, columns).sort(dim=1, stable=True)
    return ordered, columns.gather(1, place)


def centers(boxes: Tensor) -> Tensor:
    """(..., 4) -> (..., 2)."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def inside(points: Tensor, boxes: Tensor, margin: float = 0.0) -> Tensor:
    """Whether each point (n, 2) lies in each box (g, 4), by more than `margin`; bool (g, n)."""
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    return torch.minimum(points - low, high - points).amin(dim=-1) > margin


def _flat(levels: Sequence[Tensor], outputs: DenseOutputs) -> Tensor:
    pairs = zip(levels, outputs.priors, strict=True)
    return torch.cat([by_prior(level, len(priors)) for level, priors in pairs], dim=1)


def _blame(logits: Tensor, deltas: Tensor, quality: Tensor | None, targets: Sequence[DetectionTarget]) -> Exception:
    """Which number is not finite."""
    for i, target in enumerate(targets):
        if len(bad := (~target.boxes.isfinite()).any(dim=1).nonzero()):
            row = int(bad[0, 0])
            return ValueError(
                f"image {target.image_id}: box {row} of its ground truth is {target.boxes[row].tolist()}, expected"
                " finite numbers; `focalkit inspect DATA` looks for such boxes"
            )
        found = {"logits": logits[i], "boxes": deltas[i]} | (
            {} if quality is None else {"quality": quality[i, :, None]}
        )
        for name, rows in found.items():
            if len(bad := (~rows.isfinite()).any(dim=1).nonzero()):
                row = int(bad[0, 0])
                return DivergedError(
                    f"image {target.image_id}: the predicted {name} of prior {row} are {rows[row].tolist()[:4]}, so"
                    " nothing can be matched: training diverged. Try a lower --optim.lr, a longer"
                    " --optim.warmup-steps, a smaller --optim.clip-norm, or --precision 32"
                )
    return DivergedError("a prediction is not finite: training diverged")
