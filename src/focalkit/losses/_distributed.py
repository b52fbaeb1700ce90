"""Sums over all processes, for the statistics that stateful losses keep."""

import torch.distributed as dist
from torch import Tensor


def all_sum(x: Tensor) -> Tensor:
    """The sum of `x` over the processes of the default group; `x` itself where there is one process."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        x = x.clone()
        dist.all_reduce(x)
    return x
