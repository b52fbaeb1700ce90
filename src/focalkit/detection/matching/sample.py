"""Two-stage detectors' answer to imbalance: train on a few priors, half of them positive."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from focalkit.detection.types import BACKGROUND, IGNORE, Assignment, DetectionTarget


@dataclass(frozen=True)
class BalancedSampler:
    """A random sample of an image's priors, as region proposal networks take it (Ren et al., 2015, sec. 3.1.3).

    At most `num * positive_fraction` positives, and as many background priors as then fill up to `num`; all others are
    ignored. With fewer positives than that, the sample holds more background; with fewer priors in all, it is smaller.

    Attributes:
        num: Priors per image.
        positive_fraction: Largest share of positives among them.
        generator: Source of the random numbers; None is torch's own. Of the same state come the same samples.

    Example:
        >>> assignment = Assignment(torch.tensor([2, -1, -1, -1, -1]), torch.tensor([0, -1, -1, -1, -1]))
        >>> sample = BalancedSampler(2)(assignment)
        >>> int(sample.labels[0]), int((sample.labels == -1).sum()), int((sample.labels == -100).sum())
        (2, 1, 3)
    """

    num: int = 256
    positive_fraction: float = 0.5
    generator: torch.Generator | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.num < 1:
            raise ValueError(f"num counts the priors sampled per image and must be at least 1, got {self.num}")
        if not 0 <= self.positive_fraction <= 1:
            raise ValueError(f"positive_fraction must lie in [0, 1], got {self.positive_fraction}")

    @torch.no_grad()
    def __call__(self, assignment: Assignment) -> Assignment:
        """The assignment with all but the sampled priors ignored."""
        labels, gt_index = assignment.labels, assignment.gt_index
        n, device = len(labels), labels.device
        order = torch.rand(n, generator=self.generator, device=self.generator.device if self.generator else device)
        order = order.to(device)
        limit = int(self.num * self.positive_fraction)
        positive = _first(order, gt_index >= 0, min(limit, n), limit)
        background = _first(order, labels == BACKGROUND, min(self.num, n), self.num - positive.sum())
        kept = positive | background
        return replace(
            assignment, labels=torch.where(kept, labels, IGNORE), gt_index=torch.where(positive, gt_index, -1)
        )


@dataclass(frozen=True)
class Sampled:
    """A matcher of whose answer a sample is kept: the other priors are ignored.

    Attributes:
        matcher: (priors per level, target) -> Assignment.
        sampler: Assignment -> Assignment, such as `BalancedSampler(256)`.
    """

    matcher: Callable[[Sequence[Tensor], DetectionTarget], Assignment]
    sampler: Callable[[Assignment], Assignment]

    def __call__(self, priors: Sequence[Tensor], target: DetectionTarget) -> Assignment:
        """Match one image and draw the sample."""
        return self.sampler(self.matcher(priors, target))


def _first(order: Tensor, among: Tensor, at_most: int, limit: Tensor | int) -> Tensor:
    """Where the `limit` largest numbers of `order` lie among those marked; their number need not be known here."""
    key, row = torch.where(among, order, -1.0).topk(at_most)
    wanted = (key >= 0) & (torch.arange(at_most, device=key.device) < limit)
    return torch.zeros_like(among).scatter(0, row, wanted)
