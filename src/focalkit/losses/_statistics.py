"""Running statistics of a loss: when they move, over which processes they are summed, and which batches they skip.

A batch with NaN or overflowed logits moves nothing: mixed precision meets one now and then, its gradient scaler skips
the step, and one NaN in a running sum would stay there for good.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .._numerics import largest
from .._types import Backend, Reduction
from ._base import Loss
from ._checks import check_backend, check_reduction, ignored_value


class StatefulLoss(Loss):
    """A loss that learns from its batches, in training mode and with gradients on, and the arguments of all of them."""

    elementwise = False
    shared_statistics = True
    """Its statistics are those of all processes, so that each may compute its part of a batch."""

    def __init__(self, ignore_index: int | None, class_dim: int, reduction: Reduction, backend: Backend) -> None:
        super().__init__()
        check_backend(backend, type(self).__name__)
        check_reduction(reduction, None)
        ignored_value(ignore_index)
        self.ignore_index, self.class_dim, self.reduction, self.backend = ignore_index, class_dim, reduction, backend


def updating(module: nn.Module) -> bool:
    """Whether a batch moves the statistics now."""
    return module.training and torch.is_grad_enabled()


def gather(batch: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """What all processes add to a statistic, and whether they may: a 0-d bool, False where any logit is out of range.

    Args:
        batch: What this process adds.
        x: Its logits, after `finite`, 0 where they do not count.
    """
    bad = ~(x < largest(x.dtype)).all()  # subtle: NaN is not less
    total = all_sum(torch.cat([batch.flatten(), bad.to(batch.dtype).view(1)]))
    return total[:-1].view_as(batch), total[-1] == 0


def all_sum(x: Tensor) -> Tensor:
    """The sum of `x` over the processes of the default group; `x` itself where there is one process."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        x = x.clone()
        dist.all_reduce(x)
    return x
