"""What a dense detector is trained to minimise: a matcher, terms, and the number of positives that divides them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol, TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor, nn

from focalkit.detection.matches import Matches, matches_of
from focalkit.detection.terms import TermSum
from focalkit.detection.types import IGNORE, Assignment, DenseOutputs, DetectionTarget
from focalkit.detection.unmatched import all_background, not_a_number
from focalkit.errors import DivergedError

EMA_MOMENTUM = 0.9
EMA_START = 100.0
"""detectron2's values for its running number of positives."""


class OutputMatcher(Protocol):
    """A matcher that looks at what the model predicts, not at the priors alone."""

    def match(self, outputs: DenseOutputs, targets: Sequence[DetectionTarget]) -> list[Assignment]: ...


Matcher: TypeAlias = Callable[[Sequence[Tensor], DetectionTarget], Assignment] | OutputMatcher


def assign(matcher: Matcher, outputs: DenseOutputs, targets: Sequence[DetectionTarget]) -> list[Assignment]:
    """Match every image of a batch."""
    b = len(outputs.logits[0])
    if len(targets) != b:
        raise ValueError(f"expected one target for each of the {b} images, got {len(targets)}")
    if callable(matcher):
        return [matcher(outputs.priors, target) for target in targets]
    return matcher.match(outputs, targets)


class DetectionCriterion(nn.Module):
    """Losses on matched priors, each divided by the number of positive ones (Lin et al., 2017, sec. 4).

    In a multi-process run in training mode, "batch" and "ema" count the positives of all ranks: rank r divides its sums
    by (positives of all ranks) / (number of ranks), so that the mean of the ranks' gradients, which
    DistributedDataParallel takes, is the gradient of one process on the whole batch. In evaluation mode nothing is
    communicated.

    Args:
        matcher: (priors per level, target) -> Assignment, such as `MaxIoUAssigner()`, or `Sampled(matcher, sampler)` to
            train on a sample of the priors; or one with `match(outputs, targets)`, such as `HungarianMatcher`. What the
            last call matched is kept in `seen`, for logs: 0-d tensors "positives" (of the batch) and "ignored" (a share
            of the priors).
        terms: Name -> term. A term is a module that takes (`DenseOutputs`, `Matches`) and returns a `TermSum`:
            `ClassTerm`, `QualityClassTerm` or `HeatMapTerm`; `BoxTerm`, `DistributionTerm`, `QualityTerm`; yours.
        normalizer: The divisor. "batch": positives of the batch. "image": each image's own positives, then the mean
            over images. "ema": a running mean of the batch's positives, a buffer. All count at least 1. Sums that are
            weighted by quality are divided by the sum of the qualities in the place of the positives' number.

    Example:
        >>> from focalkit.detection import BoxTerm, ClassTerm, DeltaXYWH, MaxIoUAssigner
        >>> from focalkit.losses import SigmoidFocalLoss, SmoothL1Loss
        >>> criterion = DetectionCriterion(
        ...     MaxIoUAssigner(0.5, 0.4),
        ...     {"classification": ClassTerm(SigmoidFocalLoss()), "box": BoxTerm(SmoothL1Loss(), DeltaXYWH())},
        ... )
        >>> losses = criterion(model(images), targets)      # doctest: +SKIP
    """

    running_positives: Tensor

    def __init__(
        self,
        matcher: Matcher,
        terms: Mapping[str, nn.Module],
        normalizer: Literal["batch", "image", "ema"] = "batch",
    ) -> None:
        super().__init__()
        if normalizer not in ("batch", "image", "ema"):
            raise ValueError(f'normalizer must be "batch", "image" or "ema", got {normalizer!r}')
        if not terms:
            raise ValueError('a criterion needs terms, for example {"classification": ClassTerm(SigmoidFocalLoss())}')
        self.matcher = matcher
        self.terms = nn.ModuleDict(dict(terms))
        self.normalizer = normalizer
        self.seen: dict[str, Tensor] = {}
        if normalizer == "ema":
            self.register_buffer("running_positives", torch.tensor(EMA_START))

    def assign(self, outputs: DenseOutputs, targets: Sequence[DetectionTarget]) -> list[Assignment]:
        """Match every image of the batch."""
        return assign(self.matcher, outputs, targets)

    def assign_if_finite(
        self, outputs: DenseOutputs, targets: Sequence[DetectionTarget]
    ) -> tuple[list[Assignment], bool]:
        """As `assign`, and True; all background and False where the predictions are not finite."""
        try:
            return self.assign(outputs, targets), True
        except DivergedError:
            return all_background(outputs), False

    def forward(self, outputs: DenseOutputs, targets: Sequence[DetectionTarget]) -> dict[str, Tensor]:
        """Losses of a batch, normalised and weighted; minimise their sum.

        Returns:
            A 0-d tensor for each term, by its name; float32 unless the outputs are float64. An image without boxes
            counts as all background. NaN where the matcher looks at predictions and they are not finite: among
            several processes each must come to the same end.
        """
        assignments, finite = self.assign_if_finite(outputs, targets)
        self.seen = seen_in(assignments)
        losses = self.judge(outputs, targets, assignments)
        return losses if finite else not_a_number(losses, outputs)

    def judge(
        self,
        outputs: DenseOutputs,
        targets: Sequence[DetectionTarget],
        assignments: Sequence[Assignment],
        layers: int = 1,
        groups: int = 1,
    ) -> dict[str, Tensor]:
        """As the call, with the matching given.

        Args:
            outputs: Of b images, or of b images by each of several layers, layer after layer along the batch axis.
            targets, assignments: One for each row of the outputs' batch axis.
            layers: How many layers there are; their losses are added, not averaged.
            groups: How many times each layer has every image; their losses are averaged.
        """
        if self.normalizer != "image":
            sums, counts = self._sums(outputs, matches_of(outputs, targets, assignments))
            return _divided(sums, *self._divisor(counts / layers, groups))
        images = []
        for i, (target, assignment) in enumerate(zip(targets, assignments, strict=True)):
            one = _image(outputs, i)
            sums, counts = self._sums(one, matches_of(one, [target], [assignment]))
            images.append(_divided(sums, counts[0].clamp(min=1) * (len(targets) / layers), counts))
        return {name: torch.stack([image[name] for image in images]).sum() for name in self.terms}

    def _sums(self, outputs: DenseOutputs, matches: Matches) -> tuple[dict[str, TermSum], Tensor]:
        """Every term's sum, and the counts to divide by: the positives, then the weight of each weighted term."""
        sums: dict[str, TermSum] = {name: term(outputs, matches) for name, term in self.terms.items()}
        weights = [term.weight.float() for term in sums.values() if term.weight is not None]
        return sums, torch.stack([matches.num_positives.sum().float(), *weights])

    @torch.no_grad()
    def _divisor(self, counts: Tensor, groups: int) -> tuple[Tensor, Tensor]:
        """What to divide by, one positive for each group at least, and the counts of all ranks."""
        world = dist.get_world_size() if self.training and dist.is_available() and dist.is_initialized() else 1
        if world > 1:
            dist.all_reduce(counts)
        divisor = counts[0].clamp(min=groups) / world
        if self.normalizer == "ema":
            if self.training:
                self.running_positives.lerp_(divisor, 1 - EMA_MOMENTUM)
            # a copy: autograd keeps the divisor, and the next step writes to the buffer
            divisor = self.running_positives.clone()
        return divisor, counts


def _divided(sums: Mapping[str, TermSum], divisor: Tensor, counts: Tensor) -> dict[str, Tensor]:
    """Sums / divisor; a weighted one also by the positives' mean weight. Means stay as they are."""
    mean_weights = iter(counts[1:].clamp(min=1) / counts[0].clamp(min=1))
    divisors = {n: divisor if term.weight is None else divisor * next(mean_weights) for n, term in sums.items()}
    return {name: term.total if term.is_mean else term.total / divisors[name] for name, term in sums.items()}


@torch.no_grad()
def seen_in(assignments: Sequence[Assignment]) -> dict[str, Tensor]:
    """Positives of the batch, and the share of its priors that is ignored; 0-d."""
    positives = torch.stack([(a.gt_index >= 0).sum() for a in assignments]).sum()
    ignored = torch.stack([(a.labels == IGNORE).float().mean() for a in assignments]).mean()
    return {"positives": positives, "ignored": ignored}


def _image(outputs: DenseOutputs, i: int) -> DenseOutputs:
    one = slice(i, i + 1)
    logits, deltas = (tuple(x[one] for x in levels) for levels in (outputs.logits, outputs.deltas))
    quality = None if outputs.quality is None else tuple(x[one] for x in outputs.quality)
    return DenseOutputs(logits, deltas, outputs.priors, outputs.num_classes, quality)
