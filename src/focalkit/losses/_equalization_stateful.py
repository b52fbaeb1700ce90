"""Long-tail losses that watch their own training: EQLv2 (Tan et al., 2021, arXiv 2012.08548), seesaw loss (Wang et al.,
2021, arXiv 2008.10032), equalized focal loss (Li et al., 2022, arXiv 2201.02593).

Their statistics are buffers: saved, restored, summed over processes, updated only in training mode with gradients on,
and by no batch with NaN or overflowed logits.
Background is not a class here: a background row has label -1. (The originals of EQLv2 and seesaw add objectness
columns.)
"""

import math

import torch
from torch import Tensor

from .._numerics import finite, focal_term, label_logit, modulator, softplus
from .._reduce import reduce
from .._types import Backend, Reduction
from ._checks import check_range, check_reduction
from ._sigmoid import Dense, dense_targets
from ._softmax import label_loss
from ._statistics import StatefulLoss, gather, updating


class _ClassStatistics(StatefulLoss):
    """A loss with statistics per class, and how many classes it was made for."""

    def __init__(
        self, num_classes: int, ignore_index: int | None, class_dim: int, reduction: Reduction, backend: Backend
    ) -> None:
        super().__init__(ignore_index, class_dim, reduction, backend)
        if num_classes < 1:
            raise ValueError(f"{type(self).__name__}: num_classes must be at least 1, got {num_classes!r}")
        self.num_classes = num_classes

    def check_classes(self, logits: Tensor, dim: int) -> None:
        if logits.shape[dim] != self.num_classes:
            raise ValueError(
                f"{type(self).__name__} was made for {self.num_classes} classes, got logits {tuple(logits.shape)} "
                f"with {logits.shape[dim]} on axis {dim}"
            )


class _GradientRatio(_ClassStatistics):
    """The summed gradients of each class's positives and negatives."""

    pos_grad: Tensor
    neg_grad: Tensor

    def __init__(
        self, num_classes: int, ignore_index: int | None, class_dim: int, reduction: Reduction, backend: Backend
    ) -> None:
        super().__init__(num_classes, ignore_index, class_dim, reduction, backend)
        self.register_buffer("pos_grad", torch.zeros(num_classes))
        self.register_buffer("neg_grad", torch.zeros(num_classes))

    def dense(self, logits: Tensor, targets: Tensor, weight: Tensor | None) -> Dense:
        name = type(self).__name__
        given = dense_targets(
            name, logits, targets, ignore_index=self.ignore_index, class_dim=self.class_dim, weight=weight
        )
        self.check_classes(given.x, given.dim)
        return given

    def ratio(self, at_start: float) -> Tensor:
        """positives / negatives of each class, `at_start` before the first update."""
        return torch.where(self.neg_grad.sum() > 0, self.pos_grad / (self.neg_grad + 1e-10), at_start)

    def take_in(self, given: Dense, positive: Tensor, negative: Tensor) -> None:
        """Adds a batch's gradients, elementwise and without its weights, to the sums."""
        scale = given.valid if given.weight is None else given.valid * given.weight
        batch = torch.stack([given.per_class(scale * positive), given.per_class(scale * negative)])
        total, usable = gather(batch.to(self.pos_grad), given.x)
        for kept, added in zip((self.pos_grad, self.neg_grad), total, strict=True):
            kept.add_(torch.where(usable, added, 0.0))


class EQLv2(_GradientRatio):
    r"""Equalization loss v2 on sigmoids (Tan et al., 2021, eq. 5 to 7): balances each class's summed gradients.

    With $r_c = G^+_c / G^-_c$ and $f(r) = 1 / (1 + e^{-\gamma (r - \mu)})$, negatives of class c weigh $f(r_c)$ and
    positives $1 + \alpha (1 - f(r_c))$. The paper divides by the number of rows: pass it as `normalizer`.

    Args:
        num_classes: K.
        gamma: Steepness of f.
        mu: Ratio at which f is 1/2.
        alpha: Largest addition to the weight of positives.
        ignore_index, class_dim, reduction, backend: As in `sigmoid_focal_loss`.

    Example:
        >>> EQLv2(2)(torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.6931)
    """

    def __init__(
        self,
        num_classes: int,
        *,
        gamma: float = 12.0,
        mu: float = 0.8,
        alpha: float = 4.0,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = "mean",
        backend: Backend = "auto",
    ) -> None:
        super().__init__(num_classes, ignore_index, class_dim, reduction, backend)
        check_range("gamma", gamma, 0, hint="it is the steepness of f, 12 in the paper")
        check_range("alpha", alpha, 0)
        self.gamma, self.mu, self.alpha = gamma, mu, alpha

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        weight: Tensor | None = None,
        normalizer: float | Tensor | None = None,
    ) -> Tensor:
        """The loss under the ratios so far; afterwards they take in this batch."""
        check_reduction(self.reduction, normalizer)
        given = self.dense(logits, targets, weight)
        x, t = given.x, given.t
        with torch.no_grad():
            # the loss starts as cross-entropy
            f = torch.sigmoid(self.gamma * (self.ratio(at_start=100.0).to(x.dtype) - self.mu))
            pos_weight, neg_weight = given.columns(1 + self.alpha * (1 - f)), given.columns(f)
        if updating(self):
            with torch.no_grad():
                positive = pos_weight * torch.sigmoid(-x) * t
                self.take_in(given, positive, neg_weight * torch.sigmoid(x) * (1 - t))
        loss = t * pos_weight * softplus(-x) + (1 - t) * neg_weight * softplus(x)
        return reduce(loss, reduction=self.reduction, normalizer=normalizer, weight=given.weight, valid=given.valid)

    def extra_repr(self) -> str:
        return f"{self.num_classes}, gamma={self.gamma}, mu={self.mu}, alpha={self.alpha}, reduction={self.reduction!r}"


class EqualizedFocalLoss(_GradientRatio):
    r"""Equalized focal loss on sigmoids (Li et al., 2022, eq. 5 and 6): a focusing parameter per class, from its
    gradients.

    $$-\alpha_t \frac{\gamma_j}{\gamma_b} (1 - p_t)^{\gamma_j} \log p_t, \quad \gamma_j = \gamma_b + s (1 - g_j)$$

    $g_j \in [0, 1]$ is the ratio of the summed gradients of the positives and negatives of class j, 1 at the start.

    Args:
        num_classes: K.
        alpha: Weight of positives, `1 - alpha` for negatives, `None` for none.
        gamma: gamma_b, greater than 0.
        scale: s, at least 0; 0 is the focal loss.
        ignore_index, class_dim, reduction, backend: As in `sigmoid_focal_loss`.

    Example:
        >>> EqualizedFocalLoss(2)(torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.0866)
    """

    def __init__(
        self,
        num_classes: int,
        *,
        alpha: float | None = 0.25,
        gamma: float = 2.0,
        scale: float = 8.0,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = "mean",
        backend: Backend = "auto",
    ) -> None:
        super().__init__(num_classes, ignore_index, class_dim, reduction, backend)
        if alpha is not None:
            check_range("alpha", alpha, 0, 1)
        check_range("gamma", gamma, 1e-6, hint="the loss divides by it")
        check_range("scale", scale, 0)
        self.alpha, self.gamma, self.scale = alpha, gamma, scale

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        weight: Tensor | None = None,
        normalizer: float | Tensor | None = None,
    ) -> Tensor:
        """The loss under the ratios so far; afterwards they take in this batch."""
        check_reduction(self.reduction, normalizer)
        given = self.dense(logits, targets, weight)
        x, t = given.x, given.t
        pos_weight, neg_weight = (1.0, 1.0) if self.alpha is None else (self.alpha, 1 - self.alpha)
        with torch.no_grad():
            ratio = self.ratio(at_start=1.0).clamp(0, 1)
            gamma = given.columns((self.gamma + self.scale * (1 - ratio)).to(x.dtype))
            factor = gamma / self.gamma
        loss = factor * (t * pos_weight * focal_term(x, gamma) + (1 - t) * neg_weight * focal_term(-x, gamma))
        if updating(self):
            with torch.no_grad():
                positive = factor * pos_weight * t * focal_gradient(x, gamma)
                self.take_in(given, positive, factor * neg_weight * (1 - t) * focal_gradient(-x, gamma))
        return reduce(loss, reduction=self.reduction, normalizer=normalizer, weight=given.weight, valid=given.valid)

    def extra_repr(self) -> str:
        return f"{self.num_classes}, alpha={self.alpha}, gamma={self.gamma}, scale={self.scale}"


class SeesawLoss(_ClassStatistics):
    r"""Seesaw loss on a softmax (Wang et al., 2021, eq. 4 to 6): frequent labels punish rarer classes less.

    $$-\log \frac{e^{x_y}}{e^{x_y} + \sum_{j \ne y} S_{yj} e^{x_j}}, \quad S = M \cdot C$$

    $M_{yj} = (N_j / N_y)^p$ where $N_j < N_y$ (mitigation), $C_{yj} = (\sigma_j / \sigma_y)^q$ where $\sigma_j >
    \sigma_y$ (compensation), each 1 otherwise. N counts the labels seen so far, this batch included.

    Args:
        num_classes: K.
        p: Exponent of the mitigation, at least 0.
        q: Exponent of the compensation, at least 0.
        eps: Smallest sigma_y in the compensation.
        ignore_index, class_dim, reduction, backend: As in `softmax_focal_loss`.

    Example:
        >>> SeesawLoss(2)(torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.6931)
    """

    cum_samples: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        p: float = 0.8,
        q: float = 2.0,
        eps: float = 1e-2,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = "mean",
        backend: Backend = "auto",
    ) -> None:
        super().__init__(num_classes, ignore_index, class_dim, reduction, backend)
        check_range("p", p, 0)
        check_range("q", q, 0)
        check_range("eps", eps, 1e-12, 1)
        self.p, self.q, self.eps = p, q, eps
        self.register_buffer("cum_samples", torch.zeros(num_classes, dtype=torch.long))

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        weight: Tensor | None = None,
        normalizer: float | Tensor | None = None,
    ) -> Tensor:
        """The loss of class indices; rows of weight 0 are not among the labels."""

        def rows(x: Tensor, index: Tensor, valid: Tensor, dim: int) -> Tensor:
            self.check_classes(x, dim)
            if updating(self):
                seen = torch.zeros(self.num_classes, dtype=torch.long, device=x.device)
                seen = seen.scatter_add(0, index.flatten(), valid.expand_as(index).flatten().long())
                seen, usable = gather(seen, finite(x))
                self.cum_samples.add_(torch.where(usable, seen, 0))
            return softplus(-label_logit(x + self._log_factors(x.detach(), index, dim), index, dim))

        return label_loss(
            "SeesawLoss",
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
    def _log_factors(self, x: Tensor, index: Tensor, dim: int) -> Tensor:
        """log S_yj, shaped like the logits; 0 at j = y."""
        log_n = self.cum_samples.clamp(min=1).to(x.dtype).log()
        shape = [-1 if d == dim else 1 for d in range(x.ndim)]
        mitigation = (log_n.view(shape) - log_n[index].unsqueeze(dim)).clamp(max=0)
        log_p = x.log_softmax(dim)
        of_label = log_p.gather(dim, index.unsqueeze(dim)).clamp(min=math.log(self.eps))
        compensation = (log_p - of_label).clamp(min=0)
        return self.p * mitigation + self.q * compensation

    def extra_repr(self) -> str:
        return f"{self.num_classes}, p={self.p}, q={self.q}, reduction={self.reduction!r}"


def focal_gradient(u: Tensor, gamma: Tensor) -> Tensor:
    """The size of the focal term's gradient at the signed logit u."""
    return modulator(u, gamma) * (torch.sigmoid(-u) + gamma * torch.sigmoid(u) * softplus(-u))
