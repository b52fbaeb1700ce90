"""Focal losses that change while training goes on: AdaFocal (Ghosh et al., 2022, arXiv 2211.11838), steered by the
calibration on validation data, and cyclical focal loss (Smith, 2022, arXiv 2202.08978), steered by the epoch.

Both are told when: `AdaFocalLoss.update(logits, labels)` once per epoch, `CyclicalFocalLoss.set_epoch(epoch)`.
"""

import torch
from torch import Tensor

from .._numerics import focal_term, label_logit, modulator, softplus, upcast
from .._types import Backend, Reduction
from ._asymmetric import asymmetric_softmax_loss
from ._checks import check_range, ignored_value
from ._softmax import label_loss, softmax_loss
from ._statistics import StatefulLoss, all_sum


class AdaFocalLoss(StatefulLoss):
    r"""AdaFocal on a softmax (Ghosh et al., 2022, algorithm 1): a gamma per confidence bin, steered by its calibration.

    $-(1 - p_y)^{\gamma} \log p_y$ where the bin's gamma is at least 0, $-(1 + p_y)^{|\gamma|} \log p_y$ where it is
    below.

    Args:
        bins: Number of confidence bins, each with the same number of validation rows.
        rate: lambda: gamma is multiplied by exp(rate * (confidence - accuracy)) at each update, divided when negative.
        gamma_init: gamma of every bin before the first update.
        gamma_min: Lower bound, negative.
        gamma_max: Upper bound, positive.
        switch: Where |gamma| falls below it, the sign flips and |gamma| becomes `switch`.
        ignore_index, class_dim, reduction, backend: As in `softmax_focal_loss`.

    Example:
        >>> loss = AdaFocalLoss(bins=2)
        >>> loss.update(torch.tensor([[3.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]))
        >>> loss.gammas.tolist()[0] > 1.0 > loss.gammas.tolist()[1]  # overconfident below, underconfident above
        True
    """

    elementwise = True

    gammas: Tensor
    edges: Tensor

    def __init__(
        self,
        *,
        bins: int = 15,
        rate: float = 1.0,
        gamma_init: float = 1.0,
        gamma_min: float = -2.0,
        gamma_max: float = 20.0,
        switch: float = 0.2,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = "mean",
        backend: Backend = "auto",
    ) -> None:
        super().__init__(ignore_index, class_dim, reduction, backend)
        check_range("rate", rate, 0)
        check_range("switch", switch, 0)
        if bins < 1 or not gamma_min < 0 < gamma_max:
            raise ValueError(
                f"AdaFocalLoss needs bins >= 1 and gamma_min < 0 < gamma_max, got {bins}, {gamma_min}, {gamma_max}"
            )
        self.bins, self.rate, self.gamma_init, self.switch = bins, rate, gamma_init, switch
        self.gamma_min, self.gamma_max = gamma_min, gamma_max
        self.register_buffer("gammas", torch.full((bins,), float(gamma_init)))
        self.register_buffer("edges", torch.arange(1, bins) / bins)

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        weight: Tensor | None = None,
        normalizer: float | Tensor | None = None,
    ) -> Tensor:
        """The loss of class indices under the gammas of the last update."""

        def rows(x: Tensor, index: Tensor, valid: Tensor, dim: int) -> Tensor:
            u = label_logit(x, index, dim)
            with torch.no_grad():
                gamma = self.gammas.to(u.dtype)[torch.bucketize(torch.sigmoid(u), self.edges.to(u.dtype), right=True)]
            inverse = (1 + torch.sigmoid(u)) ** gamma.clamp(max=0).neg() * softplus(-u)
            return torch.where(gamma >= 0, focal_term(u, gamma.clamp(min=0)), inverse)

        return label_loss(
            "AdaFocalLoss",
            logits,
            targets,
            rows,
            weight=weight,
            ignore_index=self.ignore_index,
            class_dim=self.class_dim,
            reduction=self.reduction,
            normalizer=normalizer,
        )

    @torch.no_grad()
    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Moves the bins and their gammas by the calibration on validation data (all of it, in one call; with several
        processes, each its part).

        Args:
            logits: Scores (n, k), or with any axes around `class_dim`.
            labels: Class indices; rows of `ignore_index`, and rows with NaN, are left out.
        """
        dim = self.class_dim if logits.ndim > 1 else 0
        labels = labels.long().flatten()
        p = upcast(logits).softmax(dim).movedim(dim, -1).flatten(0, -2)
        keep = (labels != ignored_value(self.ignore_index)) & ~p.isnan().any(-1)
        p = p[keep]
        confidence, predicted = p.max(-1)
        correct = (predicted == labels[keep]).to(p.dtype)
        # subtle: quantiles by sorting, because torch.quantile refuses more than 2^24 values
        ordered = confidence.sort().values
        n = len(ordered)
        cut = (torch.arange(1, self.bins, device=p.device) * n) // self.bins
        edges = ordered[cut.clamp(max=n - 1)] if n else p.new_zeros(self.bins - 1)
        # every process must use the same bins: the mean of their edges, weighted by their rows
        *edges, rows = all_sum(torch.cat([edges * n, p.new_tensor([float(n)])])).unbind()
        if rows == 0:
            return
        self.edges.copy_(torch.stack(edges) / rows if edges else self.edges)
        index = torch.bucketize(confidence, self.edges.to(p.dtype), right=True)
        sums = torch.zeros(2, self.bins, dtype=p.dtype, device=p.device)
        sums = sums.scatter_add(1, index.expand(2, -1), torch.stack([confidence - correct, torch.ones_like(correct)]))
        gap, count = all_sum(sums)
        change = torch.exp(self.rate * gap / count.clamp(min=1)).to(self.gammas)
        gammas = torch.where(self.gammas >= 0, self.gammas * change, self.gammas / change)
        gammas = gammas.clamp(self.gamma_min, self.gamma_max)
        self.gammas.copy_(torch.where(gammas.abs() < self.switch, -gammas.sign() * self.switch, gammas))

    def extra_repr(self) -> str:
        return f"bins={self.bins}, rate={self.rate}, reduction={self.reduction!r}"


class CyclicalFocalLoss(StatefulLoss):
    r"""Cyclical focal loss on a softmax (Smith, 2022, eq. 3 to 5): confident examples first and last, hard ones
    between.

    $$\xi (1 + p_y)^{\gamma_{hc}} (-\log p_y) + (1 - \xi) L_{asymmetric}$$

    xi falls from 1 at epoch 0 to 0 at epoch (epochs - 1) / factor and rises again to 1 at the last.

    Args:
        epochs: Length of the training.
        gamma_hc: Exponent of the confident half, at least 0.
        gamma_pos: As in `asymmetric_softmax_loss`.
        gamma_neg: As in `asymmetric_softmax_loss`.
        factor: Greater than 1: the turning point.
        label_smoothing: Of the asymmetric half.
        ignore_index, class_dim, reduction, backend: As in `softmax_focal_loss`.

    Example:
        >>> loss = CyclicalFocalLoss(epochs=9)
        >>> x, y = torch.zeros(1, 2), torch.tensor([0])
        >>> first = loss(x, y)
        >>> loss.set_epoch(2)
        >>> bool(loss(x, y) < first)
        True
    """

    elementwise = True

    epoch: Tensor

    def __init__(
        self,
        epochs: int,
        *,
        gamma_hc: float = 3.0,
        gamma_pos: float = 2.0,
        gamma_neg: float = 2.0,
        factor: float = 4.0,
        label_smoothing: float = 0.1,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = "mean",
        backend: Backend = "auto",
    ) -> None:
        super().__init__(ignore_index, class_dim, reduction, backend)
        for name, value in (("gamma_hc", gamma_hc), ("gamma_pos", gamma_pos), ("gamma_neg", gamma_neg)):
            check_range(name, value, 0)
        check_range("factor", factor, 1 + 1e-6, hint="the turning point is at (epochs - 1) / factor")
        check_range("epochs", epochs, 1)
        self.epochs, self.gamma_hc, self.gamma_pos, self.gamma_neg = epochs, gamma_hc, gamma_pos, gamma_neg
        self.factor, self.label_smoothing = factor, label_smoothing
        self.register_buffer("epoch", torch.zeros(()))

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch, from 0, the next calls belong to."""
        self.epoch.fill_(float(epoch))

    def share(self) -> Tensor:
        """xi at the current epoch, a 0-d tensor (eq. 4)."""
        done = self.factor * self.epoch / max(self.epochs - 1, 1)
        return torch.where(done < 1, 1 - done, (done - 1) / (self.factor - 1)).clamp(0, 1)

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        weight: Tensor | None = None,
        normalizer: float | Tensor | None = None,
    ) -> Tensor:
        """The loss at the current epoch."""
        common = {
            "weight": weight,
            "ignore_index": self.ignore_index,
            "class_dim": self.class_dim,
            "reduction": self.reduction,
            "normalizer": normalizer,
        }
        # (1 + p)^gamma is the modulator's sum: 1 - p of the other side plus 1
        confident = softmax_loss(
            "CyclicalFocalLoss",
            logits,
            targets,
            lambda u: (1 + modulator(-u, 1.0)) ** self.gamma_hc * softplus(-u),
            **common,
        )
        hard = asymmetric_softmax_loss(
            logits,
            targets,
            gamma_pos=self.gamma_pos,
            gamma_neg=self.gamma_neg,
            label_smoothing=self.label_smoothing,
            **common,
        )
        share = self.share().to(hard.dtype)
        return share * confident + (1 - share) * hard

    def extra_repr(self) -> str:
        return f"{self.epochs}, gamma_hc={self.gamma_hc}, factor={self.factor}, reduction={self.reduction!r}"
