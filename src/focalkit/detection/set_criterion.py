"""What a set predictor is trained to minimise: the losses of a dense detector, on every layer of its decoder."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from focalkit.detection.criterion import DetectionCriterion, Matcher, seen_in
from focalkit.detection.types import Assignment, DenseOutputs, DetectionTarget
from focalkit.detection.unmatched import not_a_number


class SetCriterion(nn.Module):
    """Losses of all layers, each matched by itself, and of denoised queries (Zhang et al., 2023, arXiv 2203.03605).

    A set predictor's outputs are those of a dense detector whose priors are the whole image, so the terms are the
    same, and any loss of the catalog fits: one of labels in a `ClassTerm`, one of qualities in a `QualityClassTerm`.
    Every layer's sums are divided by the number of its positives, which is that of the ground-truth boxes; the
    denoised queries' by the number of those that were made of a box.

    Args:
        matcher: `HungarianMatcher(coder)`.
        terms: As in `DetectionCriterion`.
        normalizer: "batch" or "image", as in `DetectionCriterion`; so is `seen`, of the last layer.

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
        self, matcher: Matcher, terms: Mapping[str, nn.Module], normalizer: Literal["batch", "image"] = "batch"
    ) -> None:
        super().__init__()
        if normalizer not in ("batch", "image"):
            raise ValueError(
                f'the number of boxes divides a set predictor\'s losses: normalizer is "batch" or "image",'
                f" got {normalizer!r}"
            )
        self.layer = DetectionCriterion(matcher, terms, normalizer)
        self.seen: dict[str, Tensor] = {}

    @property
    def matcher(self) -> Matcher:
        return self.layer.matcher

    @property
    def terms(self) -> nn.ModuleDict:
        return self.layer.terms

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
        rows, layers = _repeated(every, targets)
        assignments, finite = self.layer.assign_if_finite(every, rows)
        self.seen = seen_in(assignments[: len(targets)])
        losses = self.layer.judge(every, rows, assignments, layers)
        if outputs.denoising is not None:
            noised = outputs.denoising
            rows, layers = _repeated(noised.outputs, targets)
            found = self.layer.judge(noised.outputs, rows, noised.assignments * layers, layers)
            losses["denoising"] = torch.stack(list(found.values())).sum()
        return losses if finite else not_a_number(losses, outputs)


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
    return replace(one, logits=logits, deltas=deltas)
