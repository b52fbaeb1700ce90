"""The authors' asymmetric losses (Alibaba-MIIL/ASL): gamma_pos=1, a held modulator, a sum, log(max(p, eps))."""

import torch
from torch import Tensor, nn

from .._numerics import upcast
from ..losses import asymmetric_softmax_loss as _single


class AsymmetricLoss(nn.Module):
    """`AsymmetricLoss` of the ASL repository, always a sum.

    Surprises kept: log(max(p, eps)) has no gradient beyond a logit of 18.4; on soft targets the exponent is
    gamma_pos t + gamma_neg (1 - t) and p_t = p t + p_m (1 - t). Mended: eps does not vanish in float16, and the
    gradient mode of the caller is left alone.

    Args:
        gamma_neg: Focusing of the negatives.
        gamma_pos: Focusing of the positives.
        clip: Margin; `None` or 0 for none.
        eps: Smallest probability in the logarithm.
        disable_torch_grad_focal_loss: Hold the modulator constant in the gradient.

    Example:
        >>> AsymmetricLoss()(torch.zeros(1, 1), torch.ones(1, 1))
        tensor(0.3466)
    """

    def __init__(
        self,
        gamma_neg: float = 4,
        gamma_pos: float = 1,
        clip: float | None = 0.05,
        eps: float = 1e-8,
        disable_torch_grad_focal_loss: bool = True,
    ) -> None:
        super().__init__()
        self.gamma_neg, self.gamma_pos, self.clip, self.eps = gamma_neg, gamma_pos, clip, eps
        self.disable_torch_grad_focal_loss = disable_torch_grad_focal_loss

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The summed loss of logits and 0/1 targets of one shape."""
        x = upcast(x)
        y = y.to(x.dtype)
        on, off = torch.sigmoid(x), torch.sigmoid(-x)
        if self.clip:
            off = (off + self.clip).clamp(max=1)
        loss = y * on.clamp(min=self.eps).log() + (1 - y) * off.clamp(min=self.eps).log()
        if self.gamma_neg > 0 or self.gamma_pos > 0:
            p_t = on * y + off * (1 - y)
            factor = (1 - p_t).clamp(min=0) ** (self.gamma_pos * y + self.gamma_neg * (1 - y))
            loss = loss * (factor.detach() if self.disable_torch_grad_focal_loss else factor)
        return -loss.sum()


class ASLSingleLabel(nn.Module):
    """`ASLSingleLabel` of the ASL repository: labels (N,), or one number with reduction "mean".

    Example:
        >>> ASLSingleLabel()(torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.6607)
    """

    def __init__(self, gamma_pos: float = 0, gamma_neg: float = 4, eps: float = 0.1, reduction: str = "mean") -> None:
        super().__init__()
        self.gamma_pos, self.gamma_neg, self.eps, self.reduction = gamma_pos, gamma_neg, eps, reduction

    def forward(self, inputs: Tensor, target: Tensor) -> Tensor:
        """The loss of logits (N, C)."""
        loss = _single(
            inputs,
            target,
            gamma_pos=self.gamma_pos,
            gamma_neg=self.gamma_neg,
            label_smoothing=self.eps,
            ignore_index=-(2**31),
            reduction="none",
        )
        return loss.mean() if self.reduction == "mean" else loss
