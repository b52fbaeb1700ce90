"""Losses made of losses: sums, and weights that start late (Cao et al., 2019, arXiv 1906.07413, sec. 3.3)."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .._types import Vector
from ._base import Loss
from ._mining import OHEM, HardNegativeMining
from ._module import LossModule
from ._spec import build


class Sum(Loss):
    """A weighted sum of losses on the same logits and targets.

    Args:
        losses: Loss to factor: a spec such as "focal(gamma=1)", or a module.
        arguments: Further arguments for every spec, such as class_dim=-1.

    Example:
        >>> loss = Sum({"dice": 1.0, "focal": 0.5})
        >>> round(loss(torch.zeros(1, 1, 2), torch.tensor([[[1.0, 0.0]]])).item(), 4)
        0.3767
    """

    def __init__(self, losses: Mapping[str | nn.Module, float], **arguments: Any) -> None:
        super().__init__()
        if not losses:
            raise ValueError('Sum needs at least one loss, for example Sum({"dice": 1.0, "focal": 1.0})')
        self.losses = nn.ModuleList(build(loss, **arguments) if isinstance(loss, str) else loss for loss in losses)
        self.factors = tuple(float(factor) for factor in losses.values())
        self.elementwise = all(getattr(loss, "elementwise", False) for loss in self.losses)

    def forward(self, logits: Tensor, targets: Tensor, **call: Any) -> Tensor:
        """The sum; what else is given goes to every loss."""
        values = [loss(logits, targets, **call) for loss in self.losses]
        if len({v.shape for v in values}) > 1:
            shapes = ", ".join(str(tuple(v.shape)) for v in values)
            raise ValueError(f'Sum cannot add losses of shapes {shapes}; build them with reduction="sum" or "mean"')
        return torch.stack([v * factor for v, factor in zip(values, self.factors, strict=True)]).sum(0)

    def extra_repr(self) -> str:
        return f"factors={self.factors}"


class DeferredReweighting(Loss):
    """A loss whose class weights begin at an epoch (DRW): the plain loss first, so that the features are learned well.

    Args:
        loss: A loss of this package that takes `class_weight`, or a `Sum`, `OHEM` or `HardNegativeMining` of such.
        class_weight: Vector over the classes, for example `weights.effective_number(counts)`.
        start_epoch: First epoch, from 0, with the weights. (The paper: 160 of 200.)

    Example:
        >>> from focalkit.losses import CrossEntropy
        >>> loss = DeferredReweighting(CrossEntropy(), [1.0, 3.0], start_epoch=160)
        >>> x, y = torch.zeros(1, 2), torch.tensor([1])
        >>> before = loss(x, y)
        >>> loss.set_epoch(160)
        >>> round((loss(x, y) / before).item(), 4)
        3.0
    """

    class_weight: Tensor
    epoch: Tensor

    def __init__(self, loss: nn.Module, class_weight: Vector, start_epoch: int) -> None:
        super().__init__()
        for part in _parts(loss):
            if not isinstance(part, LossModule) or "class_weight" not in part.defaults:
                raise TypeError(f"DeferredReweighting needs a loss with class_weight, got {type(part).__name__}")
        self.loss = loss
        self.elementwise = getattr(loss, "elementwise", False)
        self.start_epoch = start_epoch
        self.register_buffer("class_weight", torch.as_tensor(class_weight, dtype=torch.float32).clone())
        self.register_buffer("epoch", torch.zeros((), dtype=torch.long))

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch, from 0, the next calls belong to."""
        super().set_epoch(epoch)
        self.epoch.fill_(epoch)

    def forward(self, logits: Tensor, targets: Tensor, **call: Any) -> Tensor:
        """The loss of the current epoch."""
        now = torch.where(self.epoch >= self.start_epoch, self.class_weight, 1.0)
        return self.loss(logits, targets, class_weight=now, **call)


def _parts(loss: nn.Module) -> Iterator[nn.Module]:
    """The losses that a composition is made of."""
    if isinstance(loss, Sum):
        for part in loss.losses:
            yield from _parts(part)
    elif isinstance(loss, HardNegativeMining | OHEM):
        yield from _parts(loss.loss)
    else:
        yield loss
