"""What every loss module shares: whether it is elementwise, the epoch, and buffers that stay in float32."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from .._numerics import computed_in


class Loss(nn.Module):
    """Base of the losses.

    Buffers (vectors over the classes, running statistics) stay in float32 when a model is turned to half precision:
    float16 has no count beyond 65,504, and a running sum in bfloat16 soon stops to grow.

    Attributes:
        elementwise: Each unreduced number depends on its own row of logits and target alone, so that the loss of a
            batch may be computed in parts, such as the levels of a detector one by one. Losses of regions, of pairs,
            and those that weigh an element by the others of its batch are not; nor counts a loss as elementwise that
            does not say so.
    """

    elementwise: bool = True

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch, from 0, the next calls belong to: to this loss and those inside."""
        for child in self.children():
            for loss in child if isinstance(child, nn.ModuleList) else (child,):
                tell = getattr(loss, "set_epoch", None)
                if callable(tell):
                    tell(epoch)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, old in before.items():
            new = self._buffers[name]
            if old is not None and new is not None and new.is_floating_point() and computed_in(new) != new.dtype:
                self._buffers[name] = old.to(new.device, torch.float32)
        return self
