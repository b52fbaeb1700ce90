"""Wise-IoU v3 (Tong et al., 2023, arXiv 2301.10051): it weighs a box by how its IoU compares with the others."""

import torch
from torch import Tensor

from .._reduce import fit_weight, reduce
from .._types import Reduction
from ._base import Loss
from ._box_variants import wiou
from ._boxes import check_boxes
from ._checks import TINY, check_range, check_reduction
from ._overlap import divide, iou
from ._statistics import gather, updating


class WIoUv3Loss(Loss):
    r"""Wise-IoU v3: neither the best nor the worst boxes count most (Tong et al., 2023).

    $$r L_{v1}, \quad r = \frac{\beta}{\delta \alpha^{\beta - \delta}}, \quad \beta = \frac{1 - IoU}{\text{mean}}$$

    The mean of 1 - IoU runs over the batches of the training, in training mode and with gradients on, over all
    processes; it starts at 1. r is 1 at beta = delta and is held constant in the gradient.

    Args:
        alpha: How fast r falls for boxes worse than the others, greater than 1; the paper has 1.9 with delta 3.
        delta: Beta at which r is 1, greater than 0.
        momentum: How much of the running mean the next batch replaces, in (0, 1].
        reduction: "none" (one number per box), "sum", or "mean" over the valid boxes.

    Example:
        >>> WIoUv3Loss().eval()(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 3.0]]))
        tensor(1.0829)
    """

    elementwise = False
    mean: Tensor

    def __init__(
        self, *, alpha: float = 1.9, delta: float = 3.0, momentum: float = 0.01, reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        check_range("alpha", alpha, 1 + 1e-9, hint="at 1 boxes much worse than the others would count most")
        check_range("delta", delta, TINY)
        check_range("momentum", momentum, TINY, 1, "it is the share of the running mean that a batch replaces")
        check_reduction(reduction, None)
        self.alpha, self.delta, self.momentum, self.reduction = alpha, delta, momentum, reduction
        self.register_buffer("mean", torch.tensor(1.0))

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        *,
        weight: Tensor | None = None,
        normalizer: float | Tensor | None = None,
    ) -> Tensor:
        """The loss of boxes (..., 4) against boxes of the same shape; boxes of weight 0 stay out of the mean."""
        p, t = check_boxes("WIoUv3Loss", pred, target, self.reduction, normalizer)
        missing = (1 - iou(p, t)).detach()
        if updating(self):
            self._update(missing, weight)
        beta = divide(missing, self.mean.to(missing.dtype).expand_as(missing))
        factor = beta / (self.delta * self.alpha ** (beta - self.delta))
        return reduce(factor * wiou(p, t), reduction=self.reduction, normalizer=normalizer, weight=weight)

    def _update(self, missing: Tensor, weight: Tensor | None) -> None:
        # subtle: a detector fills its batch with boxes that equal their target, which are none of its predictions
        valid = missing > 0
        if weight is not None:
            valid = valid & (fit_weight(weight, missing.shape, missing.device) != 0)
        sums = torch.stack([torch.where(valid, missing, 0.0).sum(), valid.sum()]).to(self.mean.dtype)
        (total, count), usable = gather(sums, missing)
        batch = torch.where(usable & (count > 0), total / count.clamp(min=1), self.mean)
        self.mean.lerp_(batch, self.momentum)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, delta={self.delta}, momentum={self.momentum}, reduction={self.reduction!r}"
