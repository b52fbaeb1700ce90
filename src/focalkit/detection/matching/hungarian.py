"""One prediction for each ground-truth box, by the cheapest assignment of all (Carion et al., 2020, arXiv 2005.12872).

The costs are those of Deformable DETR and its successors (Zhu et al., 2021, arXiv 2010.04159): focal, L1, GIoU. What
this file does not do: it solves no assignment problem itself, scipy does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from focalkit.detection.boxes.quality import generalised_iou
from focalkit.detection.matches import by_prior
from focalkit.detection.matching.crowds import HideInCrowds
from focalkit.detection.types import BACKGROUND, Assignment, BoxCoder, DenseOutputs, DetectionTarget, flatten_level
from focalkit.errors import DivergedError

BLOCK = 2**21
"""Pairs of a prediction and a box whose costs are held at a time."""


@dataclass(frozen=True)
class HungarianMatcher:
    """Match each ground-truth box to the prediction that makes the sum of all costs smallest.

    The cost of a pair is `class_cost` times the focal loss of the box's class as a positive less that as a negative,
    plus `box_cost` times the L1 distance of what `coder` encodes, less `giou_cost` times the GIoU. Of more boxes than
    predictions, the dearest stay unmatched.

    Attributes:
        coder: Reads the box outputs; it must encode as many numbers as it decodes.
        class_cost, box_cost, giou_cost: Weights of the three, at least 0.
        alpha, gamma: Of the focal cost.
        hide: Ignores unmatched predictions that lie in a crowd region.

    Example:
        >>> HungarianMatcher(CenterSizeCoder((1, 1, 1, 1))).match(model(images), targets)     # doctest: +SKIP
    """

    coder: BoxCoder
    class_cost: float = 2.0
    box_cost: float = 5.0
    giou_cost: float = 2.0
    alpha: float = 0.25
    gamma: float = 2.0
    hide: HideInCrowds = field(default_factory=HideInCrowds)

    def __post_init__(self) -> None:
        weights = (self.class_cost, self.box_cost, self.giou_cost)
        if min(weights) < 0 or not any(weights):
            raise ValueError(f"expected costs of at least 0, one of them above, got {weights}")
        if self.coder.channels != 4:
            raise ValueError(f"{self.coder} encodes 4 numbers and decodes {self.coder.channels}: there is no L1 cost")

    @torch.no_grad()
    def match(self, outputs: DenseOutputs, targets: Sequence[DetectionTarget]) -> list[Assignment]:
        """Match a batch.

        Args:
            outputs: Of b images with q predictions each.
            targets: One per image.

        Returns:
            Per image, labels and `gt_index` (q,): -1 where a prediction has no box.

        Raises:
            DivergedError: A prediction is NaN or infinite.
            ValueError: A ground-truth box is.
        """
        from scipy.optimize import linear_sum_assignment

        q = sum(len(priors) for priors in outputs.priors)
        device = outputs.logits[0].device
        chosen = torch.full((len(targets), q), -1)
        for i, costs in enumerate(self._by_image(outputs, targets)):
            matrix = costs.numpy()
            if not torch.isfinite(costs).all():
                raise _blame(outputs, targets[i], i)
            rows, boxes = linear_sum_assignment(matrix)
            chosen[i, rows] = torch.from_numpy(boxes)
        chosen = chosen.to(device)
        priors = torch.cat(outputs.priors)
        found = []
        for i, (target, gt_index) in enumerate(zip(targets, chosen, strict=True)):
            # the last row stands for "none"
            labels = torch.cat([target.labels, target.labels.new_tensor([BACKGROUND])])[gt_index]
            assignment = Assignment(labels, gt_index)
            if len(target.ignore_boxes):
                boxes = self.coder.decode(_image(outputs.deltas, outputs, i), priors)
                assignment = self.hide(assignment, boxes, target.ignore_boxes)
            found.append(assignment)
        return found

    def costs(self, outputs: DenseOutputs, targets: Sequence[DetectionTarget]) -> list[Tensor]:
        """The cost matrix of each image, float32 (q, m) on the CPU."""
        return list(self._by_image(outputs, targets))

    def _by_image(self, outputs: DenseOutputs, targets: Sequence[DetectionTarget]) -> Iterator[Tensor]:
        """As `costs`, in blocks of images: a batch needs no more memory than `BLOCK` pairs, or those of one image."""
        logits = torch.cat([flatten_level(level, outputs.num_classes) for level in outputs.logits], dim=1).float()
        levels = zip(outputs.deltas, outputs.priors, strict=True)
        deltas = torch.cat([by_prior(level, len(priors)) for level, priors in levels], dim=1).float()
        priors, most = torch.cat(outputs.priors), max([1, *(len(target.labels) for target in targets)])
        step = max(1, BLOCK // (logits.shape[1] * most))
        for start in range(0, len(targets), step):
            block = slice(start, start + step)
            boxes, labels = _padded(targets[block], most)
            # one transfer for the block; the columns that pad it stay behind
            matrices = self._block(logits[block], deltas[block], priors, boxes, labels).cpu()
            for matrix, target in zip(matrices, targets[block], strict=True):
                yield matrix[:, : len(target.labels)]

    def _block(self, logits: Tensor, deltas: Tensor, priors: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """(b, q, k) and (b, q, 4) against (b, m, 4) and (b, m) -> (b, q, m)."""
        x = logits.gather(2, labels[:, None].expand(-1, logits.shape[1], -1))
        log_p, log_not_p = F.logsigmoid(x), F.logsigmoid(-x)
        positive = -self.alpha * (self.gamma * log_not_p).exp() * log_p
        negative = -(1 - self.alpha) * (self.gamma * log_p).exp() * log_not_p
        wanted = self.coder.encode(boxes[:, None], priors[:, None])  # (b, q, m, 4)
        distance = (deltas[:, :, None] - wanted).abs().sum(dim=-1)
        overlap = generalised_iou(self.coder.decode(deltas, priors)[:, :, None], boxes[:, None])
        return self.class_cost * (positive - negative) + self.box_cost * distance - self.giou_cost * overlap


def _padded(targets: Sequence[DetectionTarget], most: int) -> tuple[Tensor, Tensor]:
    """Boxes (b, most, 4) and labels (b, most), with unit boxes of class 0 behind each image's own."""
    device = targets[0].boxes.device
    boxes = torch.tensor([0.0, 0.0, 1.0, 1.0], device=device).repeat(len(targets), most, 1)
    labels = torch.zeros(len(targets), most, dtype=torch.int64, device=device)
    for i, target in enumerate(targets):
        boxes[i, : len(target.boxes)] = target.boxes.float()
        labels[i, : len(target.labels)] = target.labels
    return boxes, labels


def _image(levels: Sequence[Tensor], outputs: DenseOutputs, i: int) -> Tensor:
    """The rows (q, width) of an image."""
    pairs = zip(levels, outputs.priors, strict=True)
    return torch.cat([by_prior(level[i : i + 1], len(priors))[0] for level, priors in pairs])


def _blame(outputs: DenseOutputs, target: DetectionTarget, i: int) -> Exception:
    """Which numbers make the costs of an image NaN or infinite."""
    if not torch.isfinite(target.boxes).all():
        row = int((~torch.isfinite(target.boxes).all(dim=1)).nonzero()[0, 0])
        return ValueError(
            f"image {target.image_id}: box {row} of its ground truth is {target.boxes[row].tolist()}, expected finite"
            " numbers; `focalkit inspect DATA` looks for such boxes"
        )
    for name, levels in (("logits", outputs.logits), ("boxes", outputs.deltas)):
        rows = _image(levels, outputs, i)
        if bool((bad := ~torch.isfinite(rows).all(dim=1)).any()):
            row = int(bad.nonzero()[0, 0])
            return DivergedError(
                f"image {target.image_id}: the predicted {name} of query {row} are {rows[row].tolist()[:4]}, so nothing"
                " can be matched: training diverged. Try a lower --optim.lr, a longer --optim.warmup-steps, a smaller"
                " --optim.clip-norm, or --precision 32"
            )
    return DivergedError(f"image {target.image_id}: the costs of matching are not finite; training diverged")
