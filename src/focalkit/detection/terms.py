"""The terms of a detection criterion: what is compared with what, over which priors, and what divides the sum.

    ClassTerm          logits with the labels of all priors
    QualityClassTerm   logits with how good the positives' boxes are, in the place of the 1 at the true class
    HeatMapTerm        logits with a map of class targets
    BoxTerm            boxes or deltas of the positive priors with their ground-truth boxes
    DistributionTerm   the distributions of their sides with the true distances
    QualityTerm        the model's own estimate of a box's quality with the quality

Each takes the outputs and the matches of a batch. What this file does not do: it neither matches nor divides.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focalkit.detection.boxes.points import DistributionCoder
from focalkit.detection.boxes.quality import Centerness
from focalkit.detection.matches import Matches, Quality, by_prior
from focalkit.detection.matching.heat_map import GaussianHeatMap
from focalkit.detection.types import IGNORE, BoxCoder, DenseOutputs, DetectionTarget, flatten_level
from focalkit.losses import (
    OHEM,
    DeferredReweighting,
    FederatedLoss,
    HardNegativeMining,
    Sum,
    distribution_focal_loss,
)

HeatMap = Callable[[Sequence[Tensor], DetectionTarget, int], Tensor]
ElementLoss = Callable[..., Tensor]
Space = Literal["deltas", "boxes"]


class TermSum(NamedTuple):
    """What a term gives.

    Attributes:
        total: 0-d, the term's sum over the batch times its weight.
        weight: 0-d: the sum of the weights of the positives where they are weighted, which then takes the place of
            their number in the divisor; None where they are not.
        is_mean: The total is an average already, which nothing divides.
    """

    total: Tensor
    weight: Tensor | None = None
    is_mean: bool = False


class ClassTerm(nn.Module):
    """Classification of every prior that is not ignored, by its label.

    A loss that takes a detector's levels in their native layout (it has `native_layout`, as `SigmoidFocalLoss`) gets
    all of them in one call, without a copy of the logits. Another one that is elementwise gets level after level. Any
    other, such as hard negative mining or a loss of yours that does not say `elementwise = True`, gets whole images.

    Args:
        loss: (logits (b, n, k), labels int64 (b, n)) -> sum, 0-d; label -1 is background, -100 does not count.
            A loss of this package is called with `class_dim=-1` and `reduction="sum"`, whatever it remembers.
    """

    def __init__(self, loss: ElementLoss) -> None:
        super().__init__()
        self.loss = loss
        self.call = _at_the_call(loss, class_dim=-1, reduction="sum")

    def forward(self, outputs: DenseOutputs, matches: Matches) -> TermSum:
        native = getattr(self.loss, "native_layout", None)
        levels_loss = None if native is None else native(outputs.num_classes)
        if levels_loss is None:
            return TermSum(_over_classes(self.loss, self.call, outputs, matches.labels))
        flat = matches.labels.split([len(priors) for priors in outputs.priors], dim=1)
        maps = [
            labels.view(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2)
            for labels, x in zip(flat, outputs.logits, strict=True)
        ]
        return TermSum(levels_loss(outputs.logits, maps))


class QualityClassTerm(nn.Module):
    """Classification with the quality of a positive prior in the place of the 1 at its class (Li et al., 2020, sec. 3).

    Args:
        loss: (logits (b, n, k), targets (b, n, k) in [0, 1], -100 where they do not count) -> sum, 0-d, such as
            `QualityFocalLoss()` or `VarifocalLoss()`.
        quality: Such as `PredictedIoU(coder)`.
        by_quality: Divide by the sum of the qualities in the place of the positives' number, as task-aligned detectors
            and RTMDet do.
    """

    def __init__(self, loss: ElementLoss, quality: Quality, by_quality: bool = False) -> None:
        super().__init__()
        self.by_quality = by_quality
        self.loss = loss
        self.call = _at_the_call(loss, class_dim=-1, reduction="sum")
        self.quality = quality

    def forward(self, outputs: DenseOutputs, matches: Matches) -> TermSum:
        positives = matches.positives
        measured = quality = positives.measure(self.quality)
        # subtle: a positive whose box misses stays one; losses take exactly 0 for a negative
        quality = torch.where(positives.counts, quality.clamp(min=torch.finfo(quality.dtype).tiny), quality)
        quality = positives.spread(quality)[..., None]  # (b, n, 1)
        soft = quality.new_zeros(*matches.labels.shape, outputs.num_classes)
        soft = soft.scatter(2, matches.labels.clamp(min=0)[..., None], quality)
        total = _over_classes(self.loss, self.call, outputs, _without_ignored(soft, matches.labels))
        return TermSum(total, measured.sum() if self.by_quality else None)


class HeatMapTerm(nn.Module):
    """Classification by a map of class targets instead of the labels, of which only "ignored" counts (CenterNet).

    Args:
        loss: As in `QualityClassTerm`, such as `GaussianFocalLoss()`.
        heat_map: (priors per level, target, k) -> (n, k) in [0, 1].
    """

    def __init__(self, loss: ElementLoss, heat_map: HeatMap = GaussianHeatMap()) -> None:  # noqa: B008
        super().__init__()
        self.loss = loss
        self.call = _at_the_call(loss, class_dim=-1, reduction="sum")
        self.heat_map = heat_map

    def forward(self, outputs: DenseOutputs, matches: Matches) -> TermSum:
        maps = [self.heat_map(outputs.priors, target, outputs.num_classes) for target in matches.targets]
        targets = _without_ignored(torch.stack(maps), matches.labels)
        return TermSum(_over_classes(self.loss, self.call, outputs, targets))


class BoxTerm(nn.Module):
    """Boxes of the positive priors.

    Args:
        loss: (predicted (p, 4), true (p, 4)) -> sum, 0-d. With a `quality` it is called with `weight`, (p,) for boxes
            and (p, 1) for deltas. A loss of this package is called with `reduction="sum"`, whatever it remembers.
        coder: Between deltas and boxes.
        space: Whether `loss` compares encoded "deltas" or "boxes" in pixels.
        weight: Factor on the term.
        quality: Weighs the positives, and the sum of the weights divides; None counts each once.
    """

    def __init__(
        self,
        loss: ElementLoss,
        coder: BoxCoder,
        space: Space = "deltas",
        weight: float = 1.0,
        *,
        quality: Quality | None = None,
    ) -> None:
        super().__init__()
        if space not in ("boxes", "deltas"):
            raise ValueError(f'space must be "deltas" or "boxes", got {space!r}')
        if space == "deltas" and coder.channels != 4:
            raise ValueError(f'{coder} encodes 4 numbers and decodes {coder.channels}: it needs space="boxes"')
        self.loss = loss
        self.call = _at_the_call(loss, reduction="sum")
        self.coder = coder
        self.space = space
        self.weight = weight
        self.quality = quality

    def forward(self, outputs: DenseOutputs, matches: Matches) -> TermSum:
        positives = matches.positives
        if self.space == "boxes":
            predicted, true = self.coder.decode(positives.deltas, positives.priors), positives.boxes
        else:
            predicted, true = positives.deltas.float(), self.coder.encode(positives.boxes, positives.priors)
        if positives.rows is None:
            # rows that do not count compare a box with itself
            counts = positives.counts[:, None]
            predicted, true = (torch.where(counts, x, positives.priors) for x in (predicted, true))
        if self.quality is None:
            return TermSum(self.loss(predicted, true, **self.call) * self.weight)
        weight = positives.measure(self.quality)
        rows = weight if self.space == "boxes" else weight[:, None]
        return TermSum(self.loss(predicted, true, weight=rows, **self.call) * self.weight, weight.sum())


class DistributionTerm(nn.Module):
    """Distribution focal loss on the raw box outputs of the positive priors (Li et al., 2020, eq. 6).

    Args:
        coder: Whose distributions the outputs are.
        weight: Factor on the term (the authors' code: 1/4).
        quality: As in `BoxTerm`.
    """

    def __init__(self, coder: DistributionCoder, weight: float = 0.25, *, quality: Quality | None = None) -> None:
        super().__init__()
        self.coder = coder
        self.weight = weight
        self.quality = quality

    def forward(self, outputs: DenseOutputs, matches: Matches) -> TermSum:
        positives = matches.positives
        weight = positives.measure(self.quality)
        positions = self.coder.encode(positives.boxes, positives.priors)
        total = side_distribution_loss(positives.deltas, positions, weight=weight) * self.weight
        return TermSum(total, None if self.quality is None else weight.sum())


class QualityTerm(nn.Module):
    """Cross-entropy between the model's own estimate of a box's quality, `outputs.quality`, and the quality itself.

    Args:
        quality: What the positive priors' estimates learn; FCOS's centerness without one.
    """

    def __init__(self, quality: Quality = Centerness()) -> None:  # noqa: B008
        super().__init__()
        self.quality = quality

    def forward(self, outputs: DenseOutputs, matches: Matches) -> TermSum:
        if outputs.quality is None:
            raise ValueError("the model predicts no quality to teach: build it with PointHead(quality=True)")
        levels = zip(outputs.quality, outputs.priors, strict=True)
        logits = torch.cat([by_prior(level, len(priors)) for level, priors in levels], dim=1)
        positives = matches.positives
        truth = positives.measure(self.quality)
        logits = positives.pick(logits)[:, 0].to(truth.dtype)
        entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        return TermSum(torch.where(positives.counts, entropy, 0.0).sum())


def side_distribution_loss(scores: Tensor, positions: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Distribution focal loss of every prior, the mean of its four sides, summed over the priors (Li et al., 2020).

    Args:
        scores: (p, 4 * bins).
        positions: (p, 4), in 0 .. bins - 1, as `DistributionCoder.encode` gives them.
        weight: (p,); weight 0 is absence.

    Example:
        >>> side_distribution_loss(torch.zeros(1, 4 * 4), torch.full((1, 4), 1.25))
        tensor(1.3863)
    """
    by_side = scores.unflatten(-1, (4, scores.shape[-1] // 4))
    weight = None if weight is None else weight[:, None]
    return distribution_focal_loss(by_side, positions, weight=weight, class_dim=-1, reduction="sum") / 4


def _over_classes(loss: ElementLoss, call: dict[str, Any], outputs: DenseOutputs, targets: Tensor) -> Tensor:
    """The sum over all levels; targets (b, n) or (b, n, k). Elementwise losses need no copy of the logits."""
    levels = [flatten_level(logits, outputs.num_classes) for logits in outputs.logits]
    if not getattr(loss, "elementwise", False):
        return loss(torch.cat(levels, dim=1), targets, **call)
    parts = targets.split([level.shape[1] for level in levels], dim=1)
    return torch.stack([loss(x, t, **call) for x, t in zip(levels, parts, strict=True)]).sum()


def _without_ignored(targets: Tensor, labels: Tensor) -> Tensor:
    return torch.where((labels == IGNORE)[..., None], float(IGNORE), targets)


def _at_the_call(loss: ElementLoss, **wanted: Any) -> dict[str, Any]:
    """What to call `loss` with, because it remembers something else."""
    changes = {n: v for n, v in wanted.items() if any(kept != v for kept in _remembered(loss, n))}
    if not changes:
        return changes
    takes = inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss).parameters.values()
    if not any(p.kind is p.VAR_KEYWORD for p in takes):
        asked = ", ".join(f"{name}={value!r}" for name, value in changes.items())
        raise ValueError(f"a term needs the sum over rows of {type(loss).__name__}: build it with {asked}")
    return changes


def _remembered(loss: ElementLoss, name: str) -> Iterator[Any]:
    """What a loss remembers by this name; around others, which do so where it does not itself."""
    if hasattr(loss, name):
        yield getattr(loss, name)
    elif isinstance(loss, Sum):
        for part in loss.losses:
            yield from _remembered(part, name)
    elif isinstance(loss, FederatedLoss | DeferredReweighting | HardNegativeMining | OHEM):
        yield from _remembered(loss.loss, name)
