"""Online hard example mining for a dense detector: of every image the priors with the largest loss.

Sources: OHEM (Shrivastava et al., 2016, arXiv 1604.03540, sec. 4.1) with its suppression of overlapping examples, and
its use on a dense detector as Lin et al. (2017, arXiv 1708.02002, sec. 5.1, table 1d) compare focal loss with it.

What differs: the loss that ranks is that of the classes alone, and suppression looks at the `candidates` hardest only,
as it would otherwise take longer than the network.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from focalkit.detection.types import BACKGROUND, IGNORE, Assignment, DenseOutputs, DetectionTarget, flatten_level
from focalkit.errors import DivergedError


@dataclass(frozen=True)
class HardExamples:
    """A matcher of whose answer the hardest priors learn their class; the others are ignored.

    Positives that are not among them still learn their box and still count in the divisor.

    Attributes:
        matcher: (priors per level, target) -> Assignment, such as `MaxIoUAssigner()`.
        count: At most so many priors of an image.
        iou_threshold: Of two priors that overlap by more, the one with the larger loss is kept; 1 keeps both.
        positive_fraction: At most this share of `count` is positive, and for every positive at most
            (1 - fraction) / fraction negatives are kept: 0.25 is the paper's 1:3. None: whatever is hardest.
        candidates: Of so many hardest priors of an image the others are chosen.

    Example:
        >>> HardExamples(MaxIoUAssigner(), count=128).match(model(images), targets)     # doctest: +SKIP
    """

    matcher: Callable[[Sequence[Tensor], DetectionTarget], Assignment]
    count: int = 128
    iou_threshold: float = 0.5
    positive_fraction: float | None = None
    candidates: int = 2000

    def __post_init__(self) -> None:
        if self.count < 1 or self.candidates < 1:
            raise ValueError(f"count and candidates must be at least 1, got {self.count} and {self.candidates}")
        if not 0 < self.iou_threshold <= 1:
            raise ValueError(f"iou_threshold must lie in (0, 1], got {self.iou_threshold}")
        if self.positive_fraction is not None and not 0 < self.positive_fraction <= 1:
            raise ValueError(f"positive_fraction must lie in (0, 1], got {self.positive_fraction}")

    @torch.no_grad()
    def match(self, outputs: DenseOutputs, targets: Sequence[DetectionTarget]) -> list[Assignment]:
        """Match a batch and keep the labels of the hardest priors.

        Raises:
            DivergedError: A logit is NaN or infinite, so that nothing is the hardest.
        """
        logits = torch.cat([flatten_level(level, outputs.num_classes) for level in outputs.logits], dim=1).float()
        if not bool(logits.isfinite().all()):
            raise DivergedError("a logit is not finite: training diverged")
        boxes = torch.cat(outputs.priors).float()
        found = []
        for image, target in zip(logits, targets, strict=True):
            assignment = self.matcher(outputs.priors, target)
            kept = torch.zeros_like(assignment.labels, dtype=torch.bool)
            kept[self._hardest(_losses(image, assignment.labels), boxes, assignment.labels)] = True
            found.append(replace(assignment, labels=torch.where(kept, assignment.labels, IGNORE)))
        return found

    def _hardest(self, losses: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """Rows of the priors that are kept."""
        from torchvision.ops import nms

        value, rows = losses.topk(min(self.candidates, len(losses)))
        value, rows = value[value >= 0], rows[value >= 0]
        rows = rows[nms(boxes[rows], value, self.iou_threshold)]  # the hardest first
        if self.positive_fraction is None:
            return rows[: self.count]
        positive = rows[labels[rows] >= 0][: max(1, int(self.count * self.positive_fraction))]
        per_positive = (1 - self.positive_fraction) / self.positive_fraction
        negatives = min(self.count - len(positive), round(max(1, len(positive)) * per_positive))
        return torch.cat([positive, rows[labels[rows] == BACKGROUND][:negatives]])


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of every prior (n,), summed over the classes; -1 where it is ignored."""
    target = F.one_hot(labels.clamp(min=0), logits.shape[1]) * (labels >= 0)[:, None]
    loss = F.binary_cross_entropy_with_logits(logits, target.float(), reduction="none").sum(1)
    return torch.where(labels == IGNORE, -1.0, loss)
