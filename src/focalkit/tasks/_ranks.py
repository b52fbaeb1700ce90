"""The processes that share a training, where torch.distributed has a group of them; without one, this one alone."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import nn


def count() -> int:
    """How many they are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which one this is; the first is 0."""
    return dist.get_rank() if count() > 1 else 0


def own_part(n: int) -> slice:
    """Which of n things are this process's: neighbours, as many as another's or one more.

    Example:
        >>> own_part(5)
        slice(0, 5, None)
    """
    return slice(rank() * n // count(), (rank() + 1) * n // count())


def start_alike(module: nn.Module) -> None:
    """Give every process the weights and buffers of the first."""
    if count() > 1:
        for value in [*module.parameters(), *module.buffers()]:
            dist.broadcast(value.detach(), 0)


def sum_gradients(module: nn.Module) -> None:
    """Add up the gradients of all processes, in one message."""
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    if count() == 1 or not gradients:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, total in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(total.view_as(gradient))


def gathered(parts: Sequence[Any]) -> list[Any]:
    """The values of all processes in turn: the first of each, the second of each, ..."""
    if count() == 1:
        return list(parts)
    every: list[Any] = [None] * count()
    dist.all_gather_object(every, list(parts))
    return [values[i] for i in range(max(map(len, every))) for values in every if i < len(values)]
