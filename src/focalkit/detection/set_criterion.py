"""What a set predictor is trained to minimise: the losses of a dense detector, on every layer of its decoder."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focalkit.detection.criterion import DetectionCriterion, Matcher, seen_in
from focalkit.detection.types import BACKGROUND, Assignment, DenseOutputs, DetectionTarget
from focalkit.detection.unmatched import not_a_number


class SetCriterion(nn.Module):
    """Losses of all layers, each matched by itself, and of denoised queries (Zhang et al., 2023, arXiv 2203.03605).

    A set predictor's outputs are those of a dense detector whose priors are the whole image, so the terms are the
    same, and any loss of the catalog fits: one of labels in a `ClassTerm`, one of qualities in a `QualityClassTerm`.
    Every layer's sums are divided by the number of its positives, which is that of the ground-truth boxes; the
    denoised queries' by the number of those that were made of a box. Groups of queries (Chen et al., 2023, arXiv
    2207.13085) count as further images with the same boxes: each is matched by itself, and the loss is their mean.

    Args:
        matcher: `HungarianMatcher(coder)`.
        terms: As in `DetectionCriterion`.
        normalizer: "batch" or "image", as in `DetectionCriterion`; so is `seen`, of the last layer.
        united: Names of terms that see the matches of all layers united, in every layer (Peng et al., 2024, sec. 4.2:
            box losses, whose divisor is then the number of queries that any layer has matched).

    Example:
        >>> coder = CenterSizeCoder((1, 1, 1, 1))                                # doctest: +SKIP
        >>> criterion = SetCriterion(                                            # doctest: +SKIP
        ...     HungarianMatcher(coder),
        ...     {
        ...         "classification": QualityClassTerm(VarifocalLoss(), PredictedIoU(coder)),
        ...         "box": BoxTerm(L1Loss(), coder, "deltas", 5.0),
        ...         "giou": BoxTerm(GIoULoss(), coder, "boxes", 2.0),
        ...     },
        ... )
    """

    def __init__(
        self,
        matcher: Matcher,
        terms: Mapping[str, nn.Module],
        normalizer: Literal["batch", "image"] = "batch",
        united: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if normalizer not in ("batch", "image"):
            raise ValueError(
                f'the number of boxes divides a set predictor\'s losses: normalizer is "batch" or "image",'
                f" got {normalizer!r}"
            )
        if normalizer == "image" and (batchwise := [n for n, t in terms.items() if getattr(t, "of_batches", False)]):
            raise ValueError(f'{", ".join(batchwise)} judge whole batches: the normalizer must be "batch"')
        if missing := set(united) - set(terms):
            raise ValueError(f"united names terms that there are not: {sorted(missing)}; there are {sorted(terms)}")
        own, shared = ({n: t for n, t in terms.items() if (n in united) is is_shared} for is_shared in (False, True))
        self.layer = DetectionCriterion(matcher, own, normalizer)
        self.united = DetectionCriterion(matcher, shared, normalizer) if shared else None
        self.seen: dict[str, Tensor] = {}

    @property
    def matcher(self) -> Matcher:
        return self.layer.matcher

    @property
    def terms(self) -> nn.ModuleDict:
        return self.layer.terms if self.united is None else nn.ModuleDict({**self.layer.terms, **self.united.terms})

    def assign(self, outputs: DenseOutputs, targets: Sequence[DetectionTarget]) -> list[Assignment]:
        """Match the last layer of every image."""
        return self.layer.assign(outputs, targets)

    def forward(self, outputs: DenseOutputs, targets: Sequence[DetectionTarget]) -> dict[str, Tensor]:
        """Losses of a batch, normalised, weighted and added over the layers; minimise their sum.

        Returns:
            A 0-d tensor for each term, by its name, and "denoising", the sum of all terms, where there was some. NaN
            where the predictions are not finite, as in `DetectionCriterion`.
        """
        every = outputs if outputs.earlier is None else _joined(outputs, outputs.earlier)
        groups, images = outputs.groups, tuple(targets) * outputs.groups
        rows, layers = _repeated(every, images)
        assignments, finite = self.layer.assign_if_finite(every, rows)
        self.seen = seen_in(assignments[: len(targets)])
        losses = self.layer.judge(every, rows, assignments, layers, groups)
        if self.united is not None:
            losses |= self.united.judge(every, rows, unite(assignments, images) * layers, layers, groups)
        if outputs.denoising is not None:
            noised = outputs.denoising
            rows, layers = _repeated(noised.outputs, targets)
            parts = [self.layer] if self.united is None else [self.layer, self.united]
            found = [part.judge(noised.outputs, rows, noised.assignments * layers, layers) for part in parts]
            losses["denoising"] = torch.stack([loss for part in found for loss in part.values()]).sum()
        return losses if finite else not_a_number(losses, outputs)


@torch.no_grad()
def unite(assignments: Sequence[Assignment], targets: Sequence[DetectionTarget]) -> tuple[Assignment, ...]:
    """For each image, every query that any layer has matched, with the box that most layers have matched it to.

    Args:
        assignments: Of all layers, layer after layer.
        targets: One for each image, in each group of queries.
    """
    found = []
    for i, target in enumerate(targets):
        matches = torch.stack([assignment.gt_index for assignment in assignments[i :: len(targets)]])  # (layers, q)
        votes = F.one_hot(matches + 1, len(target.labels) + 1).sum(dim=0)[:, 1:]  # of no match: column 0
        most, index = F.pad(votes, (0, 1)).max(dim=1)  # an image may have no boxes
        index = torch.where(most > 0, index, -1)
        labels = torch.cat([target.labels, target.labels.new_tensor([BACKGROUND])])[index]
        found.append(Assignment(labels, index))
    return tuple(found)


def _repeated(outputs: DenseOutputs, targets: Sequence[DetectionTarget]) -> tuple[tuple[DetectionTarget, ...], int]:
    """The targets once for every layer, and the number of layers."""
    layers, left = divmod(len(outputs.logits[0]), max(len(targets), 1))
    if left or not targets:
        raise ValueError(f"expected one target for each image, got {len(targets)} for {len(outputs.logits[0])} rows")
    return tuple(targets) * layers, layers


def _joined(one: DenseOutputs, other: DenseOutputs) -> DenseOutputs:
    """The same images seen by more layers."""
    logits, deltas = (
        tuple(torch.cat(pair) for pair in zip(a, b, strict=True))
        for a, b in ((one.logits, other.logits), (one.deltas, other.deltas))
    )
    refinement = one.refinement
    if refinement is not None and (more := other.refinement) is not None:
        scores, starts = torch.cat([refinement.scores, more.scores]), torch.cat([refinement.starts, more.starts])
        refinement = replace(refinement, scores=scores, starts=starts)
    return replace(one, logits=logits, deltas=deltas, refinement=refinement)
