"""Losses that train on the hard examples only: SSD's hard negative mining (Liu et al., 2016, arXiv 1512.02325, sec.
2.2) and online hard example mining (Shrivastava et al., 2016, arXiv 1604.03540) as segmentation uses it.

Both wrap any loss of this package with an unreduced value per row or element, and choose by that value. An example is a
row with class indices (its classes are summed) or with dense rows of a softmax, and an element with dense targets of
sigmoids. Nothing waits for the device.
"""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from .._reduce import finish
from .._types import Reduction, Vector
from ._base import Loss
from ._checks import check_reduction, ignored_value


class HardNegativeMining(Loss):
    """All positives, and per image the hardest negatives, `ratio` for each positive.

    Divides by the number of positives in the batch (at least 1). An image without positives adds `min_negatives`.

    With dense targets, which go with losses on sigmoids, elements above 0 are positives and elements at 0 negatives.

    Args:
        loss: A loss on logits (b, k, ...) or (b, ..., k), as its `class_dim` says.
        ratio: Negatives per positive, at least 0.
        min_negatives: Fewest negatives per image.
        background: The label of negatives: -1 for sigmoid losses; the class that means background for softmax losses.
        reduction: "mean" (over the positives) or "sum".

    Example:
        >>> from focalkit.losses import BinaryCrossEntropy
        >>> mined = HardNegativeMining(BinaryCrossEntropy(class_dim=-1), ratio=1)
        >>> mined(torch.tensor([[[0.0], [-9.0], [0.0]]]), torch.tensor([[0, -1, -1]]))
        tensor(1.3863)
    """

    elementwise = False

    def __init__(
        self,
        loss: nn.Module,
        ratio: float = 3,
        min_negatives: int = 0,
        *,
        background: int = -1,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_reduction(reduction, None)
        if reduction == "none":
            raise ValueError('HardNegativeMining picks examples and sums them; reduction must be "mean" or "sum"')
        if ratio < 0 or min_negatives < 0:
            raise ValueError(f"ratio and min_negatives must be at least 0, got {ratio!r} and {min_negatives!r}")
        self.loss, self.ignore_index = _unreduced(loss)
        self.ratio, self.min_negatives, self.background, self.reduction = ratio, min_negatives, background, reduction

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        class_weight: Vector | None = None,
        normalizer: float | Tensor | None = None,
    ) -> Tensor:
        """The loss of labels (b, ...), of one image (n,), or of dense targets shaped like the logits."""
        rows, valid = _examples(self.loss, logits, targets, self.ignore_index, class_weight)
        if is_floating(targets):
            if rows.shape != targets.shape:
                raise TypeError(
                    "HardNegativeMining takes dense targets with losses on sigmoids; for a softmax pass class indices"
                )
            negative = valid & (targets == 0)
        else:
            negative = valid & (targets.long() == self.background)
        shape = (1, -1) if rows.ndim < 2 else (len(rows), -1)
        rows, valid, negative = (t.reshape(shape) for t in (rows, valid, negative))
        positive = valid & ~negative
        # which rank each negative has among its image's, the hardest first
        order = torch.where(negative, rows.detach(), -math.inf).argsort(1, descending=True)
        rank = torch.empty_like(order).scatter(
            1, order, torch.arange(rows.shape[1], device=rows.device).expand_as(order)
        )
        quota = (self.ratio * positive.sum(1, keepdim=True)).clamp(min=self.min_negatives)
        chosen = positive | (negative & (rank < quota))
        total = torch.where(chosen, rows, 0.0).sum()
        return finish(total, positive.sum(), reduction=self.reduction, normalizer=normalizer)

    def extra_repr(self) -> str:
        return f"ratio={self.ratio}, min_negatives={self.min_negatives}"


class OHEM(Loss):
    """The mean over the hardest examples of the batch.

    An example is kept where its loss is at least the `keep`-th largest, or at least -log(threshold): with
    cross-entropy, where its p_y is at most the larger of the two probabilities.

    Args:
        loss: A loss whose unreduced value has one number per example, or per example and class.
        keep: How many examples at least: a number, or a share in (0, 1] of those that are not ignored, as a
            float.
        threshold: Probability in (0, 1] below which every example is kept; `None` keeps the `keep` hardest.
        reduction: "mean" (over the kept examples) or "sum".

    Example:
        >>> from focalkit.losses import CrossEntropy
        >>> loss = OHEM(CrossEntropy(), keep=1)
        >>> loss(torch.tensor([[0.0, 0.0], [9.0, 0.0]]), torch.tensor([0, 0]))
        tensor(0.6931)
    """

    elementwise = False

    def __init__(
        self,
        loss: nn.Module,
        *,
        keep: int | float,
        threshold: float | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_reduction(reduction, None)
        if reduction == "none":
            raise ValueError('OHEM picks examples and sums them; reduction must be "mean" or "sum"')
        if (isinstance(keep, float) and not 0 < keep <= 1) or (keep < 1 and not isinstance(keep, float)):
            raise ValueError(f"keep must be a number of examples (int >= 1) or a share in (0, 1], got {keep!r}")
        if threshold is not None and not 0 < threshold <= 1:
            raise ValueError(f"threshold must be a probability in (0, 1], got {threshold!r}; 0.7 is usual")
        self.loss, self.ignore_index = _unreduced(loss)
        self.keep, self.threshold, self.reduction = keep, threshold, reduction

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        class_weight: Vector | None = None,
        normalizer: float | Tensor | None = None,
    ) -> Tensor:
        """The loss of the kept examples."""
        rows, valid = _examples(self.loss, logits, targets, self.ignore_index, class_weight)
        rows, valid = rows.flatten(), valid.flatten()
        hardness = torch.where(valid, rows.detach(), -math.inf)
        if not len(hardness):
            return rows.sum()
        if isinstance(self.keep, float):  # a share of the valid examples, whose number stays on the device
            last = (self.keep * valid.sum()).ceil().long().clamp(1, len(rows)) - 1
            bound = hardness.sort(descending=True).values.gather(0, last.view(1)).squeeze(0)
        else:
            bound = hardness.topk(min(self.keep, len(rows))).values[-1]
        if self.threshold is not None:
            bound = bound.clamp(max=-math.log(self.threshold))
        kept = valid & (hardness >= bound)
        total = torch.where(kept, rows, 0.0).sum()
        return finish(total, kept.sum(), reduction=self.reduction, normalizer=normalizer)

    def extra_repr(self) -> str:
        return f"keep={self.keep}, threshold={self.threshold}"


def _unreduced(loss: nn.Module) -> tuple[nn.Module, int]:
    """A copy of `loss` that does not reduce, and its ignore_index."""
    if not all(hasattr(loss, name) for name in ("reduction", "ignore_index", "class_dim")):
        raise TypeError(
            f"a loss with reduction, ignore_index and class_dim is needed, got {type(loss).__name__}; "
            "for a loss of your own, give it these attributes"
        )
    unreduced: Any = copy.deepcopy(loss)
    unreduced.reduction = "none"
    return unreduced, ignored_value(unreduced.ignore_index)


def _examples(
    loss: Any, logits: Tensor, targets: Tensor, ignore_index: int, class_weight: Vector | None
) -> tuple[Tensor, Tensor]:
    """The loss of every example, and where it is not ignored, both of the shape of the examples."""
    dense = is_floating(targets)
    if not dense and targets.ndim != logits.ndim - 1:
        raise ValueError(
            f"mining takes class indices with the class axis missing, or dense targets shaped like the logits; got "
            f"{targets.dtype} {tuple(targets.shape)} for logits {tuple(logits.shape)}"
        )
    rows = loss(logits, targets) if class_weight is None else loss(logits, targets, class_weight=class_weight)
    dim = loss.class_dim
    if dense:
        valid = targets != ignore_index
        return rows, valid if rows.ndim == logits.ndim else valid.all(dim)
    return rows.sum(dim) if rows.ndim == logits.ndim else rows, targets.long() != ignore_index


def is_floating(targets: Tensor) -> bool:
    """Whether targets are dense: floating, or bool."""
    return targets.is_floating_point() or targets.dtype == torch.bool
