"""Gradient harmonising mechanism (Li, Liu and Wang, 2019, arXiv 1811.05181): examples weighted by the density of their
gradient norm, so that neither the many easy ones nor the outliers rule.

The histogram is built without a loop and without waiting for the device. Its running mean has no bias from its start at
0, which the authors' code has; it is saved with the module, summed over processes, and updated in training only.
"""

import torch
from torch import Tensor

from .._numerics import upcast
from .._reduce import fit_weight, reduce
from .._types import Backend, Reduction
from ._base import Loss
from ._checks import check_range, check_reduction
from ._cross_entropy import binary_cross_entropy
from ._sigmoid import dense_targets
from ._statistics import StatefulLoss, gather, updating


class GradientDensity(Loss):
    """Weights N / (R_b M): the share that an example's bin would have if all bins were equally full, over what it has.

    Args:
        bins: Number of equal bins over gradient norms in [0, 1].
        momentum: Of the running mean of the histogram; 0 keeps the last batch only.
        valid_bins: M counts the bins that are not empty (the authors' code); otherwise all bins (the paper, eq. 8).
    """

    mean: Tensor

    def __init__(self, bins: int, momentum: float, valid_bins: bool) -> None:
        super().__init__()
        if bins < 1:
            raise ValueError(f"bins must be at least 1, got {bins!r}")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be at least 0 and below 1, got {momentum!r}; 0 keeps no history")
        self.bins, self.momentum, self.valid_bins = bins, momentum, valid_bins
        self.register_buffer("mean", torch.zeros(bins))

    def forward(self, norm: Tensor, valid: Tensor, x: Tensor) -> Tensor:
        """The weight of every element, shaped like `norm`; `valid` elements fill the histogram.

        `x` is what the norms were made of: where it is out of range, the running mean stays as it is.
        """
        update = updating(self)
        with torch.no_grad():
            index = (norm.nan_to_num() * self.bins).long().clamp(0, self.bins - 1)
            counts = torch.zeros(self.bins, dtype=torch.long, device=norm.device)
            counts = counts.scatter_add(0, index.flatten(), valid.expand_as(norm).flatten().long())
            batch = counts.to(self.mean)
            # subtle: no sum over processes outside training; one process that evaluates alone would wait for the others
            if update:
                counts, usable = gather(counts, x)
                batch = counts.to(self.mean)
                moved = self.mean * self.momentum + batch * (1 - self.momentum)
                self.mean.copy_(torch.where(usable, moved, self.mean))
            # subtle: N is the sum of the same mean, so that a mean that began at 0 biases nothing; before any update
            # the batch stands in.
            density = torch.where(self.mean.sum() > 0, self.mean, batch)
            filled = (density > 0).sum().clamp(min=1) if self.valid_bins else self.bins
            # a bin that no training example has met gets weight 1
            weights = torch.where(density > 0, density.sum() / (density.clamp(min=1e-12) * filled), 1.0)
            return weights.to(norm.dtype)[index]


class GHMC(StatefulLoss):
    r"""GHM for classification on sigmoids (Li et al., 2019, eq. 9): $\sum w \, BCE / N$, $w = N / (R_b M)$, $g = |p -
    t|$.

    Args:
        bins: Number of bins of the gradient norm. The paper uses 30.
        momentum: Of the running histogram, in [0, 1). The paper uses 0.75.
        valid_bins: M counts only bins that are not empty, as the authors' code does; `False` counts all, as the paper.
        ignore_index, class_dim, reduction, backend: As in `sigmoid_focal_loss`.

    Example:
        >>> GHMC(bins=2)(torch.tensor([-2.0, -2.0, 2.0]), torch.tensor([0.0, 0.0, 0.0]))
        tensor(1.1269)
    """

    def __init__(
        self,
        *,
        bins: int = 10,
        momentum: float = 0.0,
        valid_bins: bool = True,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = "mean",
        backend: Backend = "auto",
    ) -> None:
        super().__init__(ignore_index, class_dim, reduction, backend)
        self.bins, self.momentum, self.valid_bins = bins, momentum, valid_bins
        self.density = GradientDensity(bins, momentum, valid_bins)

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        weight: Tensor | None = None,
        normalizer: float | Tensor | None = None,
    ) -> Tensor:
        """The loss; `weight` multiplies it, and elements of weight 0 stay out of the histogram."""
        check_reduction(self.reduction, normalizer)
        x, t, valid, weight, _ = dense_targets(
            "GHMC", logits, targets, ignore_index=self.ignore_index, class_dim=self.class_dim, weight=weight
        )
        density = self.density((torch.sigmoid(x) - t).abs(), valid, x)
        loss = density * binary_cross_entropy(x, t, reduction="none")
        return reduce(loss, reduction=self.reduction, normalizer=normalizer, weight=weight, valid=valid)

    def extra_repr(self) -> str:
        return f"bins={self.bins}, momentum={self.momentum}, reduction={self.reduction!r}"


class GHMR(Loss):
    r"""GHM for box regression (Li et al., 2019, eq. 12): harmonised $\sqrt{d^2 + \mu^2} - \mu$, $g = |d| / \sqrt{d^2 +
    \mu^2}$.

    Args:
        mu: Where the loss turns from a parabola into a line, greater than 0.
        bins: Number of bins of the gradient norm.
        momentum: Of the running histogram, in [0, 1). The paper uses 0.7.
        valid_bins: As in `GHMC`.
        reduction: "none" (shape of `pred`), "sum", or "mean" over the valid elements.

    Example:
        >>> GHMR()(torch.tensor([0.5]), torch.tensor([0.0]))
        tensor(0.4804)
    """

    elementwise = False

    def __init__(
        self,
        *,
        mu: float = 0.02,
        bins: int = 10,
        momentum: float = 0.0,
        valid_bins: bool = True,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_range("mu", mu, 1e-12, hint="it is a length in the units of the deltas; the paper uses 0.02")
        check_reduction(reduction, None)
        self.mu, self.bins, self.momentum, self.valid_bins, self.reduction = mu, bins, momentum, valid_bins, reduction
        self.density = GradientDensity(bins, momentum, valid_bins)

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        *,
        weight: Tensor | None = None,
        normalizer: float | Tensor | None = None,
    ) -> Tensor:
        """The loss of `pred` against `target`, of one shape; elements of weight 0 stay out of the histogram."""
        check_reduction(self.reduction, normalizer)
        if pred.shape != target.shape:
            raise ValueError(
                f"GHMR: pred {tuple(pred.shape)} and target {tuple(target.shape)} must have the same shape"
            )
        d = upcast(pred) - upcast(target)
        valid = torch.ones_like(d, dtype=torch.bool)
        if weight is not None:
            weight = fit_weight(weight, d.shape, d.device)
            valid = (weight != 0).expand_as(d)
            d = torch.where(valid, d, 0.0)
        length = torch.hypot(d, torch.full_like(d, self.mu))
        density = self.density(d.abs() / length, valid, d.abs())
        # subtle: d^2 / (length + mu) is length - mu without the subtraction.
        loss = density * d * (d / (length + self.mu))
        return reduce(loss, reduction=self.reduction, normalizer=normalizer, weight=weight)

    def extra_repr(self) -> str:
        return f"mu={self.mu}, bins={self.bins}, momentum={self.momentum}, reduction={self.reduction!r}"
